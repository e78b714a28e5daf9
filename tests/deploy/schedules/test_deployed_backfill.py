"""`kfgcp schedule backfill` for a schedule on Vertex AI, with its stand-in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import requests

from kfgcp.testing import VertexStandIn
from kfgcp_command import Command
from patience import REQUEST
from simulated_project import write_pipeline

TABLES = """
[pipeline.churn]
source = "churn.yaml"

[schedule.daily]
pipeline = "churn"
env = "dev"
cron = "* * * * *"
time_param = "day"
time_zone = "Europe/Berlin"
"""


def test_a_clone_of_a_scheduled_job_is_not_the_run_of_a_due_time(
    service: VertexStandIn, kfgcp: Command, home: Path
) -> None:
    write_pipeline(home, "churn")
    (home / "kfgcp.toml").write_text(f'[project]\nname = "shop"\n{service.toml("dev")}{TABLES}')
    assert kfgcp("apply", "--env", "dev", "--yes").code == 0
    ref = kfgcp("schedule", "show", "daily", "--json").json["ref"]
    job_id = service.fire(ref)
    jobs = f"{service.api_endpoint}/v1/{ref.rpartition('/schedules/')[0]}/pipelineJobs"
    job = requests.get(f"{jobs}/{job_id}", timeout=REQUEST).json()
    # The console sends the fields of the request. It cannot send the name of the schedule.
    names = ("displayName", "labels", "runtimeConfig", "pipelineSpec", "templateUri")
    copied = {name: job[name] for name in names if name in job}

    clone = requests.post(jobs, json=copied, timeout=REQUEST)

    clone.raise_for_status()
    clone_id = clone.json()["name"].rpartition("/")[2]
    runs = kfgcp("list", "--env", "dev", "--json").json
    markers = {run["run_id"]: "kfgcp-applied" in run["labels"] for run in runs}
    assert markers == {job_id: True, clone_id: False}
    assert "kfgcp-applied" in clone.json()["labels"]
    shown = kfgcp("show", clone_id, "--json").json
    assert "kfgcp-applied" not in shown["labels"]


def test_a_backfill_starts_the_missed_runs_and_leaves_those_of_the_service(
    service: VertexStandIn, kfgcp: Command, home: Path
) -> None:
    write_pipeline(home, "churn")
    (home / "kfgcp.toml").write_text(f'[project]\nname = "shop"\n{service.toml("dev")}{TABLES}')
    applied = kfgcp("apply", "--env", "dev", "--yes")
    assert applied.code == 0, applied.err
    ref = kfgcp("schedule", "show", "daily", "--json").json["ref"]
    service.fire(ref)
    [job] = kfgcp("list", "--env", "dev", "--json").json
    created = datetime.fromisoformat(job["created_at"]).astimezone(UTC)
    due = created.replace(second=0, microsecond=0)
    # The marker tells that a schedule has started the job. It has no label with its due time.
    assert "kfgcp-applied" in job["labels"]
    assert "kfgcp-due" not in job["labels"]
    now = datetime.now(UTC).isoformat()
    too_young = kfgcp("schedule", "backfill", "daily", "--from", due.isoformat(), "--to", now)
    assert "is less than a minute ago" in too_young.err
    start, end = due - timedelta(minutes=3), due - timedelta(minutes=1)

    filled = kfgcp(
        "schedule", "backfill", "daily", "--from", start.isoformat(), "--to", end.isoformat()
    )

    assert filled.code == 0, filled.err
    runs = kfgcp("list", "--env", "dev", "--json").json
    times = {run["params"]["day"] for run in runs if run["run_id"] != job["run_id"]}
    expected = [start, start + timedelta(minutes=1)]
    assert times == {time.strftime("%Y-%m-%dT%H:%M:%SZ") for time in expected}
