"""Processes forked from warm servers: libraries are there, and no task sees another."""

import os
import queue
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kfgcp.engine.executors.base import Attempt, Ended
from kfgcp.engine.executors.python import PythonExecutor
from kfgcp.engine.libraries import common_libraries
from kfgcp.model import Run
from kfgcp.spec.graph import build
from kfgcp.spec.lightweight import Lightweight
from kfgcp.spec.load import load

linux = pytest.mark.skipif(sys.platform != "linux", reason="libraries are imported ahead on Linux only")


@pytest.fixture
def ended() -> "queue.SimpleQueue[Ended]":
    return queue.SimpleQueue()


@pytest.fixture
def start(ended: "queue.SimpleQueue[Ended]", tmp_path: Path) -> Iterator[Callable[..., tuple[PythonExecutor, Any]]]:
    """An executor with these libraries, and a function that starts `body` in it and gives what it wrote."""
    made: list[PythonExecutor] = []

    def make(*libraries: str) -> tuple[PythonExecutor, Callable[[int, str], str]]:
        executor = PythonExecutor(ended.put, libraries=libraries)
        made.append(executor)

        def run(number: int, body: str) -> str:
            log = tmp_path / f"{number}.log"
            wire = {"inputs": {}, "outputs": {"outputFile": str(tmp_path / str(number) / "out.json")}}
            source = f"def f():\n    {body}\n"
            executor.start(Attempt(number, Lightweight("f", source), wire, {}, tmp_path / "scratch" / str(number), log))
            found = ended.get(timeout=30)
            assert found == Ended(number, None)
            return log.read_text().strip()

        return executor, run

    yield make
    for executor in made:
        executor.close()


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_tasks_start_before_the_libraries_are_imported_and_have_them_afterwards(start: Any) -> None:
    executor, run = start("numpy", "no_such_module")
    assert run(1, "import sys; print('numpy' in sys.modules)") == "False"
    until(lambda: executor._warm.ready)
    assert run(2, "import sys; print('numpy' in sys.modules)") == "True"


def test_random_numbers_of_tasks_differ(start: Any) -> None:
    executor, run = start("numpy.random")
    until(lambda: executor._warm.ready)
    drawn = {run(number, "import numpy, random; print(numpy.random.rand(), random.random())") for number in range(5)}
    assert len({line.split()[0] for line in drawn}) == 5
    assert len({line.split()[1] for line in drawn}) == 5


def kill(server: Any) -> None:
    os.kill(server._process.pid, signal.SIGKILL)
    until(lambda: bool(server.lost))


def test_servers_that_are_killed_are_replaced(start: Any) -> None:
    executor, run = start("numpy")
    until(lambda: executor._warm.ready)
    kill(executor._warm)
    assert run(1, "print('still')") == "still"
    kill(executor._plain)
    assert run(2, "print('again')") == "again"


def test_an_attempt_whose_server_is_killed_is_reported_as_lost(start: Any, ended: Any, tmp_path: Path) -> None:
    executor, _ = start()
    wire = {"inputs": {}, "outputs": {"outputFile": str(tmp_path / "out.json")}}
    source = "def f():\n    import time\n    print('up', flush=True)\n    time.sleep(60)\n"
    log = tmp_path / "sleeper.log"
    executor.start(Attempt(7, Lightweight("f", source), wire, {}, tmp_path / "scratch" / "7", log))
    until(lambda: log.exists() and "up" in log.read_text())
    os.kill(executor._plain._process.pid, signal.SIGKILL)
    found = ended.get(timeout=30)
    assert (found.id, found.lost) == (7, True)
    assert "SIGKILL" in (found.message or "")


def test_closing_does_not_wait_for_libraries_that_are_still_imported(tmp_path: Path, start: Any) -> None:
    executor = PythonExecutor(lambda ended: None, libraries=["sklearn.ensemble", "pandas", "scipy.stats"])
    begun = time.monotonic()
    executor.close()
    assert time.monotonic() - begun < 1


@linux
def test_libraries_are_found_in_the_functions_of_a_pipeline(home: Path) -> None:
    (home / "uses.py").write_text(
        """
from kfp import dsl

@dsl.component(base_image="python:3.11")
def one():
    import json, pandas as pd
    from sklearn.linear_model import LogisticRegression

@dsl.component(base_image="python:3.11")
def two(text: str = "import scipy"):
    def inner():
        import numpy.linalg
    import torch

@dsl.pipeline(name="uses")
def pipeline():
    one()
    two()
""",
        encoding="utf-8",
    )
    spec = load("uses.py")
    assert common_libraries(build(spec.pipeline_spec)) == ["numpy.linalg", "pandas", "sklearn.linear_model"]


def test_a_library_that_breaks_at_import_fails_only_who_imports_it(
    home: Path, execute: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "lib").mkdir()
    (home / "lib" / "pyarrow.py").write_text("raise RuntimeError('broken here')\n")
    monkeypatch.setenv("PYTHONPATH", str(home / "lib"))
    run = execute(
        """
from kfp import dsl

@dsl.component(base_image="python:3.11")
def uses():
    import pyarrow

@dsl.component(base_image="python:3.11")
def does_not() -> str:
    return "fine"

@dsl.pipeline(name="breaks")
def pipeline():
    uses()
    does_not()
"""
    )
    assert {task.path: task.state.value for task in run.tasks} == {"uses": "FAILED", "does-not": "SUCCEEDED"}
    assert run.error is not None
    assert run.error.message == "RuntimeError: broken here"
