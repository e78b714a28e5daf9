"""Runs that are ended from outside: cancelled, interrupted, out of time, killed; and runs that are
let go."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from json_types import JsonDict
from kfgcp.store.store import Store
from kfgcp_command import Command
from patience import PROCESS

Pipeline = Callable[[str], Path]
Alive = Callable[[int], bool]
Eventually = Callable[..., Any]
AN_HOUR_OF_GRACE = """
import functools
from kfgcp.backends.local import local_run
from kfgcp.cli.main import main
local_run.EngineSettings = functools.partial(local_run.EngineSettings, grace=3600.0)
main()
"""
PATIENT_KFGCP = (sys.executable, "-c", AN_HOUR_OF_GRACE)
"""`kfgcp` that gives a task an hour to end by itself, so that a task that is gone earlier was
killed."""
INTERRUPT_AT_THE_START = """
import os, signal
from kfgcp.cli import output
from kfgcp.cli.main import main
output.print_notes = lambda notes: os.kill(os.getpid(), signal.SIGINT)
main()
"""
INTERRUPTED_KFGCP = (sys.executable, "-c", INTERRUPT_AT_THE_START)
"""`kfgcp` that gets Ctrl-C when a run has started and is not shown yet."""


@pytest.fixture(autouse=True)
def _leave_nothing_running(home: Path) -> Iterator[None]:
    yield
    if (home / ".kfgcp" / "kfgcp.db").is_file():
        with Store(home / ".kfgcp") as store:
            for run_id in store.unfinished("local"):
                store.request_cancel(run_id, "2026-01-01T00:00:00.000Z")


@pytest.fixture
def asleep(
    kfgcp: Command, pipeline: Pipeline, home: Path, eventually: Eventually
) -> Callable[..., tuple[subprocess.Popen[str], list[int]]]:
    """Starts `kfgcp run` of the sleeping pipeline; its process, and those of the task, which is
    under way."""

    def start(*arguments: str, **options: Any) -> tuple[subprocess.Popen[str], list[int]]:
        file = home / "pids"
        process = kfgcp.start(
            "run", pipeline("sleeps"), "-p", f"pids={file}", *arguments, **options
        )
        eventually(lambda: file.exists() or process.poll() is not None)
        assert file.exists(), process.communicate()
        return process, [int(pid) for pid in file.read_text().split()]

    return start


def _states(run: JsonDict) -> tuple[str, dict[str, str]]:
    return run["state"], {task["path"]: task["state"] for task in run["tasks"]}


CANCELLED = ("CANCELLED", {"sleep": "CANCELLED", "after": "CANCELLED"})


def test_cancel_from_another_process_ends_the_run(
    kfgcp: Command, asleep: Callable[..., Any], alive: Alive, eventually: Eventually
) -> None:
    process, pids = asleep("--json")
    assert all(map(alive, pids))

    asked = kfgcp("cancel")

    result = kfgcp.end(process)
    assert asked.code == 0
    assert asked.out.split()[1:] in (["cancel", "requested"], ["CANCELLED"])
    assert (result.code, _states(result.json)) == (6, CANCELLED)
    eventually(lambda: not any(map(alive, pids)))
    assert kfgcp("show", "--json").json == result.json


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_cancels_the_run(
    kfgcp: Command,
    asleep: Callable[..., Any],
    alive: Alive,
    eventually: Eventually,
    number: signal.Signals,
) -> None:
    process, pids = asleep("--json")

    os.killpg(process.pid, number)

    result = kfgcp.end(process)
    assert (result.code, _states(result.json)) == (6, CANCELLED)
    eventually(lambda: not any(map(alive, pids)))
    assert "Traceback" not in result.err
    assert kfgcp("list", "--json").json[0]["state"] == "CANCELLED"


def test_an_interrupt_before_the_run_is_shown_cancels_it(
    kfgcp: Command, pipeline: Pipeline, home: Path
) -> None:
    process = kfgcp.start(
        "run", pipeline("sleeps"), "-p", f"pids={home / 'pids'}", program=INTERRUPTED_KFGCP
    )

    result = kfgcp.end(process)

    assert result.code == 130
    assert "Traceback" not in result.err
    assert [run["state"] for run in kfgcp("list", "--json").json] == ["CANCELLED"]


def test_a_second_interrupt_kills_what_does_not_end(
    kfgcp: Command, asleep: Callable[..., Any], alive: Alive, eventually: Eventually, home: Path
) -> None:
    process, pids = asleep("-p", "stubborn=true", "--json", program=PATIENT_KFGCP)

    os.killpg(process.pid, signal.SIGINT)
    with Store(home / ".kfgcp") as store:
        run_id = store.find("latest")
        eventually(lambda: store.get(run_id).state == "CANCELLING")
        assert alive(pids[0])
    os.killpg(process.pid, signal.SIGINT)

    result = kfgcp.end(process)
    assert (result.code, _states(result.json)) == (6, CANCELLED)
    eventually(lambda: not any(map(alive, pids)))


def test_a_run_that_is_out_of_time_is_cancelled_and_exits_with_7(
    kfgcp: Command, pipeline: Pipeline
) -> None:
    result = kfgcp("run", pipeline("sleeps"), "--timeout", "0.5", "--json")

    assert result.code == 7
    assert result.json["state"] == "CANCELLED"
    assert "did not end within 0.5 s and was cancelled" in result.err
    assert kfgcp("list", "--json").json[0]["state"] == "CANCELLED"


def test_a_run_that_ends_in_time_is_not_cancelled(kfgcp: Command, pipeline: Pipeline) -> None:
    assert kfgcp("run", pipeline("echo"), "--timeout", "600", "--json").json["state"] == "SUCCEEDED"


def test_a_killed_run_is_failed_and_leaves_no_process(
    kfgcp: Command, asleep: Callable[..., Any], alive: Alive, eventually: Eventually, home: Path
) -> None:
    process, pids = asleep()

    process.kill()
    process.wait()

    eventually(lambda: not any(map(alive, pids)))
    [row] = kfgcp("list", "--json").json
    message = row["error"]["message"]
    assert row["state"] == "FAILED"
    assert row["error"] == {"task": None, "message": message, "log_tail": [], "kind": "INTERRUPTED"}
    assert re.search(r"the engine .*killed.* or crashed", message)
    assert row["ended_at"] is not None
    shown = kfgcp("show")
    assert shown.err == f"failed: {message}\n"
    assert {task["path"]: task["state"] for task in kfgcp("show", "--json").json["tasks"]}[
        "sleep"
    ] == "CANCELLED"
    assert kfgcp("logs").out == "sleep | asleep\n"


def test_a_run_killed_while_it_is_watched_ends_the_watching(
    kfgcp: Command, asleep: Callable[..., Any]
) -> None:
    process, _ = asleep()
    watching = kfgcp.start("watch", "--json")
    assert "run " in watching.stderr.readline()

    process.kill()
    process.wait()

    result = kfgcp.end(watching)
    assert (result.code, result.json["state"]) == (6, "FAILED")


def test_a_detached_run_continues_by_itself(
    kfgcp: Command, pipeline: Pipeline, home: Path, alive: Alive, eventually: Eventually
) -> None:
    begun = kfgcp("run", pipeline("sleeps"), "-p", f"pids={home / 'pids'}", "--detach")

    assert begun.code == 0
    run_id = begun.out.strip()
    assert begun.err == f"next: kfgcp watch {run_id}\n"
    eventually((home / "pids").exists)
    pids = [int(pid) for pid in (home / "pids").read_text().split()]
    assert all(map(alive, pids))
    assert kfgcp("show", run_id, "--json").json["state"] == "RUNNING"

    watching = kfgcp.start("watch", run_id, "--json")
    assert watching.stderr.readline() == f"run {run_id}  sleeps  env local  experiment default\n"
    ended = kfgcp("cancel", run_id, "--wait", "--json")
    result = kfgcp.end(watching)

    assert (ended.code, ended.json["state"]) == (0, "CANCELLED")
    assert (result.code, _states(result.json)) == (6, CANCELLED)
    assert "sleep | asleep" in result.err.splitlines()
    eventually(lambda: not any(map(alive, pids)))


def test_a_detached_run_can_be_followed_to_its_end(kfgcp: Command, pipeline: Pipeline) -> None:
    begun = kfgcp("run", pipeline("sleeps"), "-p", "seconds=0.3", "--detach", "--json")
    assert begun.code == 0
    assert begun.json["state"] in ("PENDING", "RUNNING", "SUCCEEDED")

    logs = kfgcp.start("logs", "latest", "--follow")
    watched = kfgcp("watch")

    assert watched.code == 0
    lines = [line.split()[:2] for line in watched.err.splitlines()]
    assert ["sleep", "SUCCEEDED"] in lines
    assert ["after", "SUCCEEDED"] in lines
    assert lines[-1] == ["run", begun.json["run_id"]]
    followed = kfgcp.end(logs)
    assert (followed.code, followed.out) == (0, "sleep | asleep\n")
    assert kfgcp("show", "--json").json["tasks"][1]["outputs"] == {"Output": "slept 0.3 s"}


def test_an_interrupted_watch_leaves_the_run_alone(
    kfgcp: Command, asleep: Callable[..., Any], alive: Alive
) -> None:
    process, pids = asleep()
    watching = kfgcp.start("watch")
    assert watching.stderr.readline().startswith("run ")

    os.killpg(watching.pid, signal.SIGINT)

    result = kfgcp.end(watching)
    assert result.code == 130
    assert "Traceback" not in result.err
    assert all(map(alive, pids))
    assert kfgcp("list", "--json").json[0]["state"] == "RUNNING"
    os.killpg(process.pid, signal.SIGINT)
    assert kfgcp.end(process).code == 6


def test_cancelling_an_ended_run_changes_nothing_and_is_not_an_error(
    kfgcp: Command, pipeline: Pipeline
) -> None:
    run = kfgcp("run", pipeline("echo"), "--json").json

    result = kfgcp("cancel", run["run_id"])

    assert (result.code, result.out) == (0, f"{run['run_id']}  SUCCEEDED\n")
    assert kfgcp("cancel", "--json", "--wait").json == run


def test_the_python_functions_do_the_same(home: Path, pipeline: Pipeline) -> None:
    from kfgcp import api
    from kfgcp.errors import RunTimeout

    handle = api.submit(str(pipeline("sleeps")), labels={"k": "v"})
    with pytest.raises(RunTimeout):
        handle.wait(timeout=0.05)
    assert handle.state in ("PENDING", "RUNNING")
    assert handle.cancel().wait(timeout=PROCESS, check=False).state == "CANCELLED"

    updates = list(api.watch(handle))
    assert updates[-1].run.state == "CANCELLED"
    assert json.loads(json.dumps(api.show(handle.run_id).to_dict()))["labels"]["k"] == "v"
