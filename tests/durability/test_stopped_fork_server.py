"""A fork server that was stopped (SIGSTOP): its run can still be cancelled, and timeouts still end
its tasks."""

import functools
import os
import queue
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from google.protobuf import json_format
from kfp import dsl

from kfgcp import api
from kfgcp.engine.executors import task_server as server
from kfgcp.engine.executors.base import Attempt, AttemptEnded, PackagesInstalled
from kfgcp.engine.executors.task_server import Server
from kfgcp.engine.settings import EngineSettings
from kfgcp.spec.lightweight import Lightweight
from kfgcp.spec.load import from_documents
from kfgcp.tracking.handle import RunHandle
from patience import PROCESS, wait_for

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="finds the processes of a run in /proc"
)


@dsl.component(base_image="python:3.11")
def stubborn() -> None:
    import signal
    import subprocess
    import time

    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    subprocess.Popen(["sleep", "3600"])
    print("up")
    while True:
        time.sleep(0.05)


@dsl.pipeline(name="one-stubborn-task")
def one() -> None:
    stubborn()


@dsl.component(base_image="python:3.11")
def stop_the_server() -> None:
    import os
    import signal
    import time

    os.kill(os.getppid(), signal.SIGSTOP)
    while True:
        time.sleep(0.05)


@dsl.pipeline(name="a-task-that-stops-its-server")
def stopping() -> None:
    stop_the_server()


def processes(run_id: str) -> dict[int, int]:
    """The processes that a run has started, with their parents."""
    mark = f"KFGCP_RUN_ID={run_id}".encode()
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                parents[int(folder.name)] = int(
                    (folder / "stat").read_text().rpartition(")")[2].split()[1]
                )
    return parents


def servers(run_id: str) -> Sequence[int]:
    """The fork servers of a run: what its engine has started."""
    started = processes(run_id)
    return [pid for pid, parent in started.items() if parent not in started]


@pytest.fixture
def ends() -> queue.SimpleQueue[AttemptEnded | PackagesInstalled]:
    """Takes what servers report."""
    return queue.SimpleQueue()


@pytest.fixture
def stop() -> Iterator[Callable[[str], None]]:
    """Stops the fork servers of a run; they go on at the end, so that nothing is left behind."""
    stopped: list[int] = []

    def stop_servers(run_id: str) -> None:
        for pid in servers(run_id):
            os.kill(pid, signal.SIGSTOP)
            stopped.append(pid)

    yield stop_servers
    for pid in stopped:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


@pytest.fixture
def run(home: Path) -> RunHandle:
    """A run in a process of its own, whose task is at work."""
    spec = from_documents([json_format.MessageToDict(one.pipeline_spec)], "test")
    run = api.submit(spec)
    wait_for(lambda: [line for line in run.refresh().logs() if line.text == "up"])
    return run


def test_a_second_cancel_ends_a_run_whose_fork_server_is_stopped(
    run: RunHandle, stop: Callable[[str], None]
) -> None:
    stop(run.run_id)

    run.cancel()
    wait_for(lambda: run.refresh().state == "CANCELLING")
    run.cancel().wait(PROCESS, check=False)

    assert run.state == "CANCELLED"
    assert run.task("stubborn").state == "CANCELLED"
    wait_for(lambda: processes(run.run_id) == {})


def test_a_timeout_ends_a_task_whose_fork_server_is_stopped(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "kfgcp.backends.local.local_run.EngineSettings",
        functools.partial(EngineSettings, grace=0.1),
    )
    executor = {"activeDeadlineSeconds": 1}
    platform = {
        "platforms": {
            "kubernetes": {"deploymentSpec": {"executors": {"exec-stop-the-server": executor}}}
        }
    }
    spec = from_documents([json_format.MessageToDict(stopping.pipeline_spec), platform], "test")

    handle = api.submit(spec, in_process=True).wait(check=False)

    error = handle.refresh().snapshot.error
    assert error is not None
    assert error.message == "took longer than its timeout of 1 s"


def test_a_stopped_server_does_not_hold_up_its_engine(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    ends: queue.SimpleQueue[AttemptEnded | PackagesInstalled],
) -> None:
    monkeypatch.setattr(server, "CLOSING_SECONDS", 0.1)
    stopped = Server(ends.put, sys.executable)
    wait_for(lambda: stopped.ready)
    stopped._process.send_signal(signal.SIGSTOP)
    message: dict[str, object] = {"do": "start", "id": 1, "text": "x" * 5_000_000}
    attempt = Attempt(1, Lightweight("f", "", ()), {}, {}, tmp_path, tmp_path / "log")

    stopped.start(attempt, message)  # far more than a socket takes when nobody reads
    stopped.start(attempt, message)
    stopped.close()

    assert stopped._process.wait(PROCESS) == -signal.SIGKILL


def test_what_a_busy_server_does_not_take_at_once_arrives_later(
    tmp_path: Path, ends: queue.SimpleQueue[AttemptEnded | PackagesInstalled]
) -> None:
    busy = Server(ends.put, sys.executable)
    wait_for(lambda: busy.ready)
    busy._process.send_signal(signal.SIGSTOP)
    program = tmp_path / "ephemeral_component.py"
    program.write_text("def f(text: str):\n    print(len(text))\n", encoding="utf-8")
    for number in range(1, 4):
        scratch = tmp_path / str(number)
        (scratch / ".tmp").mkdir(parents=True)
        attempt = Attempt(
            number, Lightweight("f", "", ()), {}, {}, scratch, tmp_path / f"{number}.log"
        )
        values = {"text": "x" * number * 1_000_000}
        executor_input = {
            "inputs": {"parameterValues": values},
            "outputs": {"outputFile": str(scratch / "executor_output.json")},
        }
        busy.start(
            attempt,
            {
                "do": "start",
                "id": number,
                "program": str(program),
                "function": "f",
                "executor_input": executor_input,
                "env": {},
                "scratch": str(scratch),
                "log": str(attempt.log),
                "copies_folder": None,
            },
        )
    busy._process.send_signal(signal.SIGCONT)

    reports = [ends.get(timeout=PROCESS) for _ in range(3)]

    busy.close()
    assert sorted((report.id, report) for report in reports) == [
        (n, AttemptEnded(n)) for n in (1, 2, 3)
    ]
    texts = [(tmp_path / f"{number}.log").read_text() for number in (1, 2, 3)]
    assert texts == ["1000000\n", "2000000\n", "3000000\n"]
