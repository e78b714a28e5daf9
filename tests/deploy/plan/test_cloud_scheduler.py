"""A plan names the jobs of Cloud Scheduler that start the pipelines of new schedules."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from kfgcp.testing import VertexStandIn
from kfgcp.workspace import Workspace
from simulated_project import write_pipeline

PROJECT = '[project]\nname = "shop"\n'
TABLES = """
[pipeline.churn]
source = "churn.yaml"

[schedule.daily]
pipeline = "churn"
env = "dev"
cron = "0 6 * * *"
"""
PIPELINE_JOBS = (
    "https://europe-west4-aiplatform.googleapis.com/v1/projects/acme/locations/europe-west4"
    "/pipelineJobs"
)
TEMPLATE = "https://europe-west4-kfp.pkg.dev/acme/pipelines/churn/v1"


def scheduler_job(
    name: str, template: str = TEMPLATE, uri: str = PIPELINE_JOBS, state: str = "ENABLED"
) -> dict[str, object]:
    """Return a job as terraform/modules/scheduler/main.tf makes it, in the JSON of ListJobs."""
    body = json.dumps({"displayName": name, "templateUri": template}).encode()
    return {
        "name": f"projects/acme/locations/europe-west4/jobs/{name}",
        "schedule": "0 6 * * 1-5",
        "timeZone": "Europe/Berlin",
        "state": state,
        "httpTarget": {
            "uri": uri,
            "httpMethod": "POST",
            "body": base64.b64encode(body).decode(),
        },
    }


@pytest.fixture
def project(home: Path, service: VertexStandIn) -> VertexStandIn:
    write_pipeline(home, "churn")
    (home / "kfgcp.toml").write_text(PROJECT + service.toml("dev") + TABLES)
    return service


def plan_notes(home: Path) -> tuple[str, ...]:
    with Workspace(home) as workspace:
        return workspace.plan(env="dev").notes


def test_a_job_that_starts_the_same_pipeline_is_named(home: Path, project: VertexStandIn) -> None:
    project.cloud_scheduler.jobs.append(scheduler_job("kfgcp-churn-daily"))

    assert plan_notes(home) == (
        "The job kfgcp-churn-daily of Cloud Scheduler starts churn too (0 6 * * 1-5 Europe/Berlin)."
        " Remove it, so that no due time starts two runs.",
    )


@pytest.mark.parametrize(
    "job",
    [
        scheduler_job("other-pipeline", template=TEMPLATE.replace("churn", "sales")),
        scheduler_job("other-service", uri="https://acme.example/pipelineJobs"),
        scheduler_job("paused", state="PAUSED"),
        {"name": "projects/acme/locations/europe-west4/jobs/topic", "state": "ENABLED"},
        {**scheduler_job("no-json"), "httpTarget": {"uri": PIPELINE_JOBS, "body": "%%%"}},
    ],
    ids=lambda job: str(job["name"]).rpartition("/")[2],
)
def test_other_jobs_are_not_named(
    home: Path, project: VertexStandIn, job: dict[str, object]
) -> None:
    project.cloud_scheduler.jobs.append(job)

    assert plan_notes(home) == ()


def test_a_refusal_is_a_note_and_the_plan_is_made(home: Path, project: VertexStandIn) -> None:
    project.fail_next("403", method="GET", path="*/jobs")

    [note] = plan_notes(home)

    assert note.startswith("Other schedulers of the pipelines are not known: ")


def test_a_plan_without_a_new_schedule_does_not_ask(home: Path, project: VertexStandIn) -> None:
    with Workspace(home) as workspace:
        workspace.apply(env="dev")
    requests = len(project.requests)

    plan_notes(home)

    assert project.requests.count("GET", "*/jobs", since=requests) == 0
