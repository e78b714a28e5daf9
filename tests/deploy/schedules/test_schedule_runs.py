"""Runs of schedules in a real project: the engine of this machine, its store and its registry."""

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from kfgcp.config_tables import TableLeftOut
from kfgcp.deploy.schedules.schedules import Schedules
from kfgcp.deploy.schedules.tick import TickAction, TickResult
from kfgcp.model import ErrorKind, Run, RunState
from kfgcp.tracking.deployment import open_services
from kfgcp.tracking.schedule_runs import ScheduleRuns
from kfgcp.workspace import Workspace
from patience import wait_for

PIPELINES = Path(__file__).parents[2] / "pipelines"
NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
TOML = """
[pipeline.report]
source = "echo.py"
params = { text = "from the table" }

[schedule.hourly]
pipeline = "report"
env = "local"
cron = "@hourly"
"""
SIZE = """
from kfp import dsl
from kfp.dsl import Artifact, Input


@dsl.component(base_image="python:3.11")
def measure(table: Input[Artifact]) -> str:
    with open(table.path) as file:
        return file.read()


@dsl.pipeline(name="table-size")
def size(table: Input[Artifact]) -> str:
    return measure(table=table).output
"""


@pytest.fixture
def project(home: Path) -> Path:
    """Return the folder of a project with a schedule that is due each hour."""
    shutil.copy(PIPELINES / "echo.py", home)
    (home / "kfgcp.toml").write_text(TOML)
    return home


def tick(folder: Path, now: datetime, env: str | None = None) -> list[TickResult]:
    """Start the runs of a project that are due at a time."""
    with Workspace.open(folder) as workspace:
        runs = ScheduleRuns(workspace)
        services = open_services(workspace)
        schedules = Schedules(
            lambda: workspace.project, runs, runs.ended, services, now=lambda: now
        )
        return schedules.tick(env)


def actions(results: list[TickResult]) -> dict[str, TickAction]:
    return {result.schedule: result.action for result in results}


def ended_runs(folder: Path) -> list[Run]:
    """Wait until all runs of a state folder have ended, and return them."""
    with Workspace.open(folder) as workspace:
        wait_for(lambda: all(run.state.final for run in workspace.list(env="local")))
        return workspace.list(env="local")


@contextmanager
def without_new_processes() -> Iterator[None]:
    """Let the start of each process fail, as when the user has too many of them."""

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess, "Popen", fail)
        yield


def test_projects_that_share_a_state_folder_have_their_own_runs(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    shutil.copytree(project, other)
    monkeypatch.setenv("KFGCP_HOME", str(tmp_path / "state"))
    for folder in (project, other):
        assert actions(tick(folder, NOON)) == {"hourly": TickAction.BEGUN}

    for folder in (project, other):
        assert actions(tick(folder, NOON + HOUR)) == {"hourly": TickAction.STARTED}

    labels = {run.labels["kfgcp-project"] for run in ended_runs(project)}
    assert labels == {"project", "other"}


def test_a_run_whose_engine_cannot_be_started_continues_at_the_next_tick(project: Path) -> None:
    tick(project, NOON)
    with without_new_processes():
        failed = tick(project, NOON + HOUR)
    assert actions(failed) == {"hourly": TickAction.FAILED}
    reason = os.strerror(errno.EAGAIN)
    assert failed[0].note == f"The engine could not be started: {reason}."
    run = ended_runs(project)[0]
    assert run.error is not None
    assert run.error.kind is ErrorKind.INTERRUPTED

    with without_new_processes():
        assert actions(tick(project, NOON + HOUR)) == {"hourly": TickAction.FAILED}
    continued = tick(project, NOON + HOUR)

    assert [(result.action, result.run_id) for result in continued] == [
        (TickAction.CONTINUED, run.run_id)
    ]
    runs = ended_runs(project)
    assert [(run.state, run.params) for run in runs] == [
        (RunState.SUCCEEDED, {"text": "from the table"})
    ]
    assert tick(project, NOON + HOUR) == []


def test_a_version_is_that_of_the_pipeline_in_the_table_with_the_parameters_of_the_table(
    project: Path,
) -> None:
    (project / "kfgcp.toml").write_text(TOML.replace('"report"', '"report@main"'))
    with Workspace.open(project) as workspace:
        pushed = workspace.push("report", env="local", tags=["main"])
    # The text of the pipeline changes, and the tag does not move.
    source = project / "echo.py"
    source.write_text(source.read_text().replace("return text", "return text + text"))
    tick(project, NOON)

    assert actions(tick(project, NOON + HOUR)) == {"hourly": TickAction.STARTED}

    run = ended_runs(project)[0]
    assert (run.state, run.pipeline, run.version) == (RunState.SUCCEEDED, "echo", pushed.version)
    assert run.params == {"text": "from the table"}


def test_relative_paths_in_params_start_from_the_folder_of_the_table(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "size.py").write_text(SIZE)
    (project / "table.txt").write_text("three rows")
    toml = TOML.replace('"echo.py"\nparams = { text = "from the table" }', '"size.py"')
    (project / "kfgcp.toml").write_text(toml + 'params = { table = "table.txt" }\n')
    (project / "deep").mkdir()
    monkeypatch.chdir(project / "deep")
    tick(project, NOON)

    results = tick(project, NOON + HOUR)

    assert actions(results) == {"hourly": TickAction.STARTED}, results
    assert [run.state for run in ended_runs(project)] == [RunState.SUCCEEDED]


def test_tables_that_are_not_valid_do_not_stop_the_other_schedules(project: Path) -> None:
    invalid = (
        '[env.broken]\nbackend = "vertx"\n'
        '[schedule.wrong-key]\npipeline = "report"\nenv = "broken"\ncrn = "@daily"\n'
        '[schedule.wrong-env]\npipeline = "report"\nenv = "broken"\ncron = "@daily"\n'
    )
    with (project / "kfgcp.toml").open("a") as file:
        file.write(invalid)

    of_all = tick(project, NOON)
    with pytest.warns(TableLeftOut, match="unknown key 'crn'"):
        of_local = tick(project, NOON + HOUR, "local")

    assert actions(of_all) == {
        "hourly": TickAction.BEGUN,
        "wrong-env": TickAction.FAILED,
        "wrong-key": TickAction.FAILED,
    }
    notes = {result.schedule: result.note for result in of_all}
    assert notes["wrong-key"].startswith("kfgcp.toml [schedule.wrong-key]: unknown key 'crn'")
    assert "has the unknown backend 'vertx'" in notes["wrong-env"]
    assert actions(of_local) == {"hourly": TickAction.STARTED}
    assert len(ended_runs(project)) == 1


def test_runs_of_a_schedule_have_the_executor_of_their_environment(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (project / "kfgcp.toml").open("a") as file:
        file.write('[env.local]\nbackend = "local"\nexecutor = "docker"\n')
    monkeypatch.setenv("DOCKER_HOST", f"unix://{project}/no-docker.sock")
    tick(project, NOON)

    (result,) = tick(project, NOON + HOUR)

    assert result.action is TickAction.FAILED
    assert "say runs a container." in result.note
