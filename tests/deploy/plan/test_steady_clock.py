"""A clock that jumps while schedules are changed ends the apply before the next write."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from kfgcp.deploy.plan.steady_clock import SteadyClock
from kfgcp.deploy.schedules.converge import Clock
from kfgcp.errors import BackendError
from kfgcp.tracking.deployment import make_plan
from simulated_project import SimulatedWorkspace, write_pipeline, write_project
from simulated_schedules import WITH_UPDATE

START = datetime(2026, 11, 30, 6, tzinfo=UTC)
TABLES = """
[pipeline.churn]
source = "churn.yaml"

[schedule.daily]
pipeline = "churn"
env = "dev"
cron = "0 6 * * *"
"""


class Machine:
    """The clocks of a machine."""

    def __init__(self) -> None:
        self.time = START
        self.passed = 100.0

    def let_pass(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)
        self.passed += seconds


def test_time_that_passes_is_not_a_jump() -> None:
    machine = Machine()
    clock = SteadyClock(lambda: machine.time, lambda: machine.passed)

    machine.let_pass(10_000)

    assert clock.now() == START + timedelta(seconds=10_000)


@pytest.mark.parametrize(("seconds", "word"), [(-90, "back by 90 s"), (3600, "forward by 3600 s")])
def test_a_jump_is_an_error(seconds: int, word: str) -> None:
    machine = Machine()
    clock = SteadyClock(lambda: machine.time, lambda: machine.passed)
    machine.time += timedelta(seconds=seconds)

    with pytest.raises(BackendError, match=word):
        clock.now()


def test_a_jump_ends_an_apply_before_the_schedule_is_written(home: Path) -> None:
    write_pipeline(home, "churn")
    write_project(home, TABLES)
    workspace = SimulatedWorkspace(home, WITH_UPDATE)
    machine = Machine()
    steady = SteadyClock(lambda: machine.time, lambda: machine.passed)
    plan = make_plan(workspace, (), "dev", clock=lambda: Clock(now=steady.now))
    machine.time -= timedelta(hours=1)

    with pytest.raises(BackendError, match="The clock of this machine went back by 3600 s"):
        plan.apply()

    assert workspace.dev.writes == 0
