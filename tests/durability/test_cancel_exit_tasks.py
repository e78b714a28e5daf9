"""A run that is cancelled while its exit task runs."""

from pathlib import Path

import pytest
from kfp import dsl

from kfgcp import api
from kfgcp.tracking.handle import RunHandle
from patience import PROCESS, wait_for


@dsl.component(base_image="python:3.11")
def work() -> str:
    return "done"


@dsl.component(base_image="python:3.11")
def clean_up(gate: str) -> str:
    import os
    import time

    print("cleaning")
    while not os.path.exists(gate):
        time.sleep(0.01)
    return "clean"


@dsl.pipeline(name="guarded-by-a-slow-task")
def guarded(gate: str) -> None:
    with dsl.ExitHandler(clean_up(gate=gate)):
        work()


@pytest.fixture
def gate(home: Path) -> Path:
    """A file that does not exist yet; the exit task ends when it does."""
    return home / "gate"


@pytest.fixture
def run(home: Path, gate: Path) -> RunHandle:
    """A run in a process of its own, whose exit task has started."""
    from google.protobuf import json_format

    from kfgcp.spec.load import from_documents

    spec = from_documents([json_format.MessageToDict(guarded.pipeline_spec)], "test")
    run = api.submit(spec, params={"gate": str(gate)})
    wait_for(lambda: [line for line in run.refresh().logs() if line.text == "cleaning"])
    return run


@pytest.mark.rule("Control flow: the exit task runs whatever happened in its exit handler")
def test_an_exit_task_that_runs_already_is_left_to_its_end(run: RunHandle, gate: Path) -> None:
    run.cancel()
    wait_for(lambda: run.refresh().state == "CANCELLING")
    gate.touch()

    run.wait(PROCESS, check=False)

    assert run.task("clean-up").state == "SUCCEEDED"
    assert run.task("clean-up").outputs == {"Output": "clean"}


def test_a_second_cancel_kills_it(run: RunHandle) -> None:
    run.cancel()
    wait_for(lambda: run.refresh().state == "CANCELLING")

    run.cancel().wait(PROCESS, check=False)

    assert run.state == "CANCELLED"
    assert run.task("clean-up").state == "CANCELLED"
