"""`kfgcp plan`, `apply`, `destroy` and `schedule`: real commands with stand-ins of the services."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from kfgcp import testing
from kfgcp.testing import KubeflowStandIn, VertexStandIn
from kfgcp_command import Command
from simulated_project import write_pipeline

StandIn = VertexStandIn | KubeflowStandIn
STAND_INS: dict[str, Callable[[], StandIn]] = {
    "vertex": partial(testing.vertex, mode="instant"),
    "kubeflow": partial(testing.kubeflow, mode="instant", version="2.17.0"),
}
PROJECT = '[project]\nname = "shop"\n'
TABLES = """
[pipeline.churn]
source = "churn.yaml"
envs = ["dev"]
tags = ["main"]

[schedule.daily]
pipeline = "churn"
env = "dev"
cron = "0 6 * * *"
params = { lr = 0.5 }
"""


@pytest.fixture(params=sorted(STAND_INS))
def stand_in(request: pytest.FixtureRequest, home: Path) -> Iterator[StandIn]:
    """A service. The current project has a pipeline and a schedule for it."""
    with STAND_INS[request.param]() as service:
        write_pipeline(home, "churn")
        write_tables(home, service, TABLES)
        yield service
        assert service.unused_faults == []


def write_tables(home: Path, service: StandIn, tables: str) -> None:
    (home / "kfgcp.toml").write_text(PROJECT + service.toml("dev") + tables)


def count_writes(service: StandIn, since: int = 0) -> int:
    requests = service.requests.select(since=since)
    return len([request for request in requests if request.method != "GET"])


def test_a_plan_writes_nothing_and_an_apply_brings_the_service_there(
    stand_in: StandIn, kfgcp: Command
) -> None:
    planned = kfgcp("plan", "--env", "dev", "--exit-code")

    assert (planned.code, count_writes(stand_in)) == (4, 0)
    titles = [line for line in planned.out.splitlines() if not line.startswith(" ")]
    assert titles == ["+ pipeline churn", "+ schedule daily", "2 to create"]
    assert "    cron: 0 6 * * *" in planned.out.splitlines()

    applied = kfgcp("apply", "--env", "dev", "--yes")
    assert (applied.code, applied.out) == (0, "2 changes in dev\n"), applied.err
    assert "schedule daily: tag use-daily-" in applied.err

    requests = len(stand_in.requests)
    again = kfgcp("apply", "--env", "dev", "--yes")
    assert (again.code, again.out) == (0, "No changes: dev is as kfgcp.toml says.\n")
    assert count_writes(stand_in, requests) == 0
    assert kfgcp("plan", "--env", "dev", "--exit-code").code == 0


def test_a_plan_in_a_file_is_applied_once(stand_in: StandIn, kfgcp: Command, home: Path) -> None:
    assert kfgcp("plan", "--env", "dev", "--out", "dev.plan").code == 0

    applied = kfgcp("apply", "dev.plan", "--json")
    assert applied.code == 0, applied.err
    assert [change["action"] for change in applied.json["changes"]] == ["create", "create"]

    requests = len(stand_in.requests)
    again = kfgcp("apply", "dev.plan")
    assert again.code == 4
    error, hint = again.err.splitlines()
    assert error.startswith("error: The plan is out of date: dev is already as kfgcp.toml says")
    assert hint == "hint: Check the environment: kfgcp plan --env dev"
    assert count_writes(stand_in, requests) == 0


def test_a_plan_in_a_file_is_refused_after_an_edit(
    stand_in: StandIn, kfgcp: Command, home: Path
) -> None:
    kfgcp("plan", "--env", "dev", "--out", "dev.plan")
    write_pipeline(home, "churn", "goodbye")

    refused = kfgcp("apply", "dev.plan")

    assert refused.code == 4
    assert "the pipeline churn on this machine" in refused.err
    assert count_writes(stand_in) == 0


OTHER_FILE = "Make a plan in another file: kfgcp plan --env ENV --out FILE"


@pytest.mark.parametrize(
    ("content", "advice"),
    [
        ("", OTHER_FILE),
        ("[]", OTHER_FILE),
        ('{"format": 1, "names": 1}', OTHER_FILE),
        ('{"format": 2}', "Make a new plan: kfgcp plan --env ENV --out dev.plan"),
    ],
)
def test_a_file_that_is_not_a_plan_is_one_line(
    kfgcp: Command, home: Path, content: str, advice: str
) -> None:
    (home / "dev.plan").write_text(content)

    refused = kfgcp("apply", "dev.plan")

    assert refused.code == 2
    error, hint = refused.err.splitlines()
    assert error.startswith("error: dev.plan is ")
    assert hint == f"hint: {advice}"


def test_an_apply_without_a_terminal_needs_yes(stand_in: StandIn, kfgcp: Command) -> None:
    refused = kfgcp("apply", "--env", "dev")

    assert refused.code == 2
    assert refused.err.splitlines()[-1] == "hint: To answer yes in advance, use --yes."
    assert count_writes(stand_in) == 0


def test_a_pause_is_drift_and_a_resume_ends_it(stand_in: StandIn, kfgcp: Command) -> None:
    kfgcp("apply", "--env", "dev", "--yes")

    paused = kfgcp("schedule", "pause", "daily")
    assert paused.out == "daily  paused  env dev\n", paused.err
    assert "The next apply starts it again, unless [schedule.daily] has paused" in paused.err
    planned = kfgcp("plan", "--env", "dev")
    assert planned.out.splitlines()[0] == "! schedule daily"
    [listed] = kfgcp("schedule", "list", "--json").json
    assert listed["deployed"]["enabled"] is False
    assert "paused" in kfgcp("schedule", "list").out

    assert kfgcp("schedule", "resume", "daily").out == "daily  enabled  env dev\n"
    assert kfgcp("plan", "--env", "dev", "--exit-code").code == 0
    shown = kfgcp("schedule", "show", "daily", "--json").json
    assert (shown["enabled"], shown["changed_by_hand"]) == (True, False)
    assert shown["fields"]["params.lr"] == 0.5


def test_a_run_of_a_schedule_has_its_parameters_and_labels(
    stand_in: StandIn, kfgcp: Command, home: Path
) -> None:
    kfgcp("apply", "--env", "dev", "--yes")
    applied_version = kfgcp("compile", "churn.yaml", "--json").json["version"]
    write_pipeline(home, "churn", "goodbye")

    started = kfgcp("schedule", "run", "daily", "--json")

    assert started.code == 0, started.err
    run = kfgcp("show", started.json["run_id"], "--json").json
    assert run["params"]["lr"] == 0.5
    assert run["labels"]["kfgcp-schedule"] == "daily"
    assert "kfgcp-due" not in run["labels"]
    assert applied_version.startswith(run["version"]) or run["version"] == applied_version


def test_destroy_deletes_the_schedules_and_keeps_the_versions(
    stand_in: StandIn, kfgcp: Command
) -> None:
    kfgcp("apply", "--env", "dev", "--yes")

    destroyed = kfgcp("destroy", "--env", "dev", "--yes")

    assert (destroyed.code, destroyed.out) == (0, "1 change in dev\n"), destroyed.err
    shown = kfgcp("schedule", "show", "daily")
    assert shown.code == 2
    assert "has no schedule 'daily' of this project" in shown.err
    [version] = kfgcp("version", "list", "churn", "--env", "dev", "--json").json
    assert version["tags"] == ["main"]
    planned = kfgcp("plan", "--env", "dev", "--json").json
    assert [change["name"] for change in planned["changes"]] == ["daily"]


def test_a_schedule_with_active_runs_is_deleted_by_a_later_command(
    kfgcp: Command, home: Path
) -> None:
    # Before 2.16, the deletion of a recurring run ends its active runs.
    with testing.kubeflow(mode="instant", version="2.14.3") as service:
        service.instant.seconds = 10_000
        write_pipeline(home, "churn")
        write_tables(home, service, TABLES.replace('tags = ["main"]\n', ""))
        applied = kfgcp("apply", "--env", "dev", "--yes")
        assert applied.code == 0, applied.err
        shown = json.loads(kfgcp("schedule", "show", "daily", "--json").out)
        service.fire(shown["ref"])

        first = kfgcp("destroy", "daily", "--env", "dev", "--yes")
        active = [line for line in first.err.splitlines() if "schedule daily: " in line]
        shown = json.loads(kfgcp("schedule", "show", "daily", "--env", "dev", "--json").out)
        service.finish_runs()
        second = kfgcp("destroy", "daily", "--env", "dev", "--yes")

    assert (first.code, second.code) == (0, 0), first.err
    assert not shown["enabled"]
    assert active[-2:] == [
        "schedule daily: disabled",
        "schedule daily: is deleted by the next apply, after its active runs have ended",
    ]
    assert "schedule daily: deleted" in second.err


def test_a_schedule_without_a_table_is_deleted(
    stand_in: StandIn, kfgcp: Command, home: Path
) -> None:
    kfgcp("apply", "--env", "dev", "--yes")
    write_tables(home, stand_in, "")

    planned = kfgcp("plan", "--env", "dev", "--json").json

    [change] = planned["changes"]
    assert (change["action"], change["name"]) == ("delete", "daily")
    assert kfgcp("apply", "--env", "dev", "--yes").code == 0
    [version] = kfgcp("version", "list", "churn", "--env", "dev", "--json").json
    assert version["tags"] == ["main"]


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        (TABLES.replace("lr = 0.5", "rows = 1"), "rows"),
        (TABLES.replace('"churn"\nenv', '"churn@v9"\nenv'), "has no tag 'v9'"),
        (TABLES + TABLES[TABLES.index("[schedule") :], "('schedule', 'daily') twice"),
        (TABLES.replace("churn.yaml", "missing.yaml"), "missing.yaml does not exist"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(
    stand_in: StandIn, kfgcp: Command, home: Path, tables: str, message: str
) -> None:
    write_tables(home, stand_in, tables)

    refused = kfgcp("apply", "--env", "dev", "--yes")

    assert refused.code == 2
    errors = [line for line in refused.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert message in errors[0]
    assert count_writes(stand_in) == 0


def test_json_of_a_plan_is_what_the_library_returns(stand_in: StandIn, kfgcp: Command) -> None:
    planned = json.loads(kfgcp("plan", "--env", "dev", "--json").out)

    assert planned["project"] == "shop"
    assert planned["env"] == "dev"
    assert [change["kind"] for change in planned["changes"]] == ["pipeline", "schedule"]


def test_an_environment_without_a_registry_is_one_line(
    service: VertexStandIn, kfgcp: Command, home: Path
) -> None:
    write_pipeline(home, "churn")
    settings = service.toml("dev").splitlines()
    without = [line for line in settings if not line.startswith("pipeline_registry")]
    (home / "kfgcp.toml").write_text(PROJECT + "\n".join(without) + TABLES)

    refused = kfgcp("apply", "--env", "dev", "--yes")

    assert refused.code == 2
    assert refused.err.splitlines()[0] == (
        "error: Environment 'dev' has no registry for versions of pipelines."
    )
    assert count_writes(service) == 0


def test_a_registry_of_another_format_is_one_line(
    service: VertexStandIn, kfgcp: Command, home: Path
) -> None:
    write_pipeline(home, "churn")
    service.artifact_registry.make_repository("images", "DOCKER")
    settings = service.toml("dev").replace(
        service.pipeline_registry, service.pipeline_registry.replace("/pipelines", "/images")
    )
    (home / "kfgcp.toml").write_text(PROJECT + settings + TABLES)

    refused = kfgcp("apply", "--env", "dev", "--yes")

    assert refused.code == 2
    assert "has the format 'DOCKER', not KFP" in refused.err.splitlines()[0]
    assert count_writes(service) == 0


def test_a_name_that_the_registry_refuses_is_an_error_before_the_first_write(
    stand_in: StandIn, kfgcp: Command, home: Path
) -> None:
    write_pipeline(home, "Big")
    tables = TABLES + '\n[pipeline.big]\nsource = "Big.yaml"\nenvs = ["dev"]\n'
    write_tables(home, stand_in, tables)

    refused = kfgcp("apply", "--env", "dev", "--yes")

    assert refused.code in (2, 3)
    errors = [line for line in refused.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "'Big'" in errors[0]
    assert count_writes(stand_in) == 0
