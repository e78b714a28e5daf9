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

from kfgcp.deploy.schedules.schedules import Schedules
from kfgcp.deploy.schedules.tick import TickAction, TickResult
from kfgcp.model import ErrorKind, Run, RunState
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
        return Schedules(lambda: workspace.project, runs, runs.ended, now=lambda: now).tick(env)


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
