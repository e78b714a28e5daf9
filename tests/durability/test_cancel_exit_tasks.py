"""A run that is cancelled while its exit task runs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kfp import dsl

from kfgcp import api
from kfgcp.tracking.handle import RunHandle


@dsl.component(base_image="python:3.11")
def work() -> str:
    return "done"


@dsl.component(base_image="python:3.11")
def clean_up(seconds: float) -> str:
    import time

    print("cleaning")
    time.sleep(seconds)
    return "clean"


@dsl.pipeline(name="guarded-by-a-slow-task")
def guarded(seconds: float) -> None:
    with dsl.ExitHandler(clean_up(seconds=seconds)):
        work()


@pytest.fixture
def cleaning(home: Path, eventually: Callable[[Callable[[], Any]], Any]) -> Callable[[float], RunHandle]:
    """A run on its own, whose exit task has started."""

    def start(seconds: float) -> RunHandle:
        from google.protobuf import json_format

        from kfgcp.spec.load import from_documents

        spec = from_documents([json_format.MessageToDict(guarded.pipeline_spec)], "test")
        run = api.submit(spec, params={"seconds": seconds})
        eventually(lambda: [line for line in run.refresh().logs() if line.text == "cleaning"])
        return run

    return start


@pytest.mark.rule("Control flow: the exit task runs whatever happened in its exit handler")
def test_an_exit_task_that_runs_already_is_left_to_its_end(cleaning: Callable[[float], RunHandle]) -> None:
    run = cleaning(3.0)

    run.cancel().wait(30)

    assert run.task("clean-up").state == "SUCCEEDED"
    assert run.task("clean-up").outputs == {"Output": "clean"}


def test_a_second_cancel_kills_it(cleaning: Callable[[float], RunHandle]) -> None:
    run = cleaning(120.0)
    run.cancel()
    assert run.state == "CANCELLING" or run.refresh().state in ("RUNNING", "CANCELLING")

    run.cancel().wait(30)

    assert run.state == "CANCELLED"
    assert run.task("clean-up").state == "CANCELLED"
