"""An apply is killed with kill -9 between any two of its writes, and two applies run at once."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from kfgcp import testing
from kfgcp.testing import KubeflowStandIn, VertexStandIn
from kfgcp.tracking.deployment import hold_lock
from kfgcp.workspace import Workspace
from kfgcp_command import Command
from simulated_project import write_pipeline
from trials import Trial

StandIn = VertexStandIn | KubeflowStandIn
STAND_INS: dict[str, Callable[[], StandIn]] = {
    "vertex": partial(testing.vertex, mode="instant"),
    "kubeflow": partial(testing.kubeflow, mode="instant", version="2.17.0"),
}
KILLED_APPLY = Path(__file__).parents[2] / "support" / "killed_apply.py"
APPLY = ("apply", "--env", "dev", "--yes")

# More than the writes of one apply, so that some trials are not killed.
MOST_WRITES = 24


def write_version(home: Path, service: StandIn, text: str, hour: int) -> None:
    write_pipeline(home, "churn", text)
    tables = ['[project]\nname = "shop"', service.toml("dev")]
    tables.append('[pipeline.churn]\nsource = "churn.yaml"\nenvs = ["dev"]')
    tables.append('tags = ["main"]\n')
    for name in ("one", "two"):
        tables.append(f'[schedule.{name}]\npipeline = "churn"\nenv = "dev"')
        # The due times are hours away, so no apply waits.
        tables.append(f'cron = "0 {hour} 1 1 *"\n')
    (home / "kfgcp.toml").write_text("\n".join(tables))


@pytest.mark.trial("applies to a stand-in killed with kill -9 between any two writes")
@pytest.mark.parametrize("backend", sorted(STAND_INS))
def test_the_next_apply_finishes_what_a_killed_one_began(
    home: Path, command: Command, trial: Trial, backend: str
) -> None:
    choose = trial.random()
    with STAND_INS[backend]() as service:
        for number in range(trial.size(sample=3, proof=300)):
            write_version(home, service, f"text-{number}", hour=number % 24)
            write = choose.randrange(1, MOST_WRITES)
            moment = choose.choice(("before", "after"))
            program = (sys.executable, str(KILLED_APPLY), str(write), moment)
            killed = command.end(command.start(*APPLY, program=program))
            assert killed.code in (0, -signal.SIGKILL), killed.err

            finished = command(*APPLY)

            assert finished.code == 0, finished.err
            with Workspace(home) as workspace:
                assert workspace.plan(env="dev").changes == ()
                states = [info.deployed for info in workspace.schedules.list("dev")]
                versions = workspace.versions.list("churn", env="dev")
            assert [(state.enabled, state.count) for state in states if state] == [(True, 1)] * 2
            assert [tag.rpartition("-")[0] or tag for tag in versions[0].tags] == [
                "main",
                "use-one",
                "use-two",
            ]
            # A pipeline that was pushed twice would have two entries.
            assert len({entry.version for entry in versions}) == len(versions) == number + 1
            trial.count("trials")
            trial.count("kills", int(killed.code != 0))


@pytest.mark.parametrize("backend", sorted(STAND_INS))
def test_of_two_applies_at_once_one_stops_and_names_the_other(
    home: Path, command: Command, backend: str
) -> None:
    with STAND_INS[backend]() as service, Workspace(home) as workspace:
        write_version(home, service, "hello", hour=6)
        with hold_lock(workspace, "dev"):
            requests = len(service.requests)
            refused = command(*APPLY)
            pushes = service.requests.select("POST", "*upload*", since=requests)

        assert refused.code == 5
        error, _ = refused.err.splitlines()
        assert error.startswith("error: Another apply changes the schedules of shop now: ")
        assert f"process {os.getpid()}" in error
        assert pushes == []
        assert command(*APPLY).code == 0
