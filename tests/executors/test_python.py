"""Processes forked from warm servers: libraries are there, and no task sees another."""

import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kfgcp.engine.executors.base import Attempt, AttemptEnded
from kfgcp.engine.executors.python import PythonExecutor
from kfgcp.engine.libraries import common_libraries
from kfgcp.model import Run
from kfgcp.spec.graph import build
from kfgcp.spec.lightweight import Lightweight
from kfgcp.spec.load import load
from patience import REQUEST, wait_for
from service_fixtures import Server

linux = pytest.mark.skipif(
    sys.platform != "linux", reason="libraries are imported ahead on Linux only"
)


Start = Callable[..., tuple[PythonExecutor, Callable[..., str]]]


@pytest.fixture
def ended() -> "queue.SimpleQueue[AttemptEnded]":
    return queue.SimpleQueue()


@pytest.fixture
def start(ended: "queue.SimpleQueue[AttemptEnded]", tmp_path: Path) -> Iterator[Start]:
    """Return a function that makes an executor with some preloaded libraries.

    It returns the executor and a function that runs a body there and returns its output.
    """
    executors: list[PythonExecutor] = []

    def make(*libraries: str) -> tuple[PythonExecutor, Callable[..., str]]:
        executor = PythonExecutor(ended.put, libraries=libraries)
        executors.append(executor)

        def run(number: int, body: str, **env: str) -> str:
            log = tmp_path / f"{number}.log"
            wire = {
                "inputs": {},
                "outputs": {"outputFile": str(tmp_path / str(number) / "out.json")},
            }
            source = f"def f():\n    {body}\n"
            executor.start(
                Attempt(
                    number,
                    Lightweight("f", source),
                    wire,
                    env,
                    tmp_path / "scratch" / str(number),
                    log,
                )
            )
            end = ended.get(timeout=REQUEST)
            assert end == AttemptEnded(number, None)
            return log.read_text().strip()

        return executor, run

    yield make
    for executor in executors:
        executor.close()


def test_tasks_start_before_the_libraries_are_imported_and_have_them_afterwards(
    start: Start,
) -> None:
    executor, run = start("numpy", "no_such_module")
    assert run(1, "import sys; print('numpy' in sys.modules)") == "False"
    wait_for(lambda: executor._warm_server.ready)
    assert run(2, "import sys; print('numpy' in sys.modules)") == "True"


@linux
def test_only_the_first_task_imports_the_libraries_itself(
    start: Start,
    ended: "queue.SimpleQueue[AttemptEnded]",
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The import in the warm server waits for a file. A task imports the library at once.
    go_on = tmp_path / "go_on"
    library = f"""
import pathlib, sys, time
imported_by = "task" if "ephemeral_component" in sys.modules else "warm server"
while imported_by == "warm server" and not pathlib.Path({str(go_on)!r}).exists():
    time.sleep(0.01)
"""
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "pyarrow.py").write_text(library)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "lib"))
    executor, run = start("pyarrow")
    assert run(1, "import pyarrow; print(pyarrow.imported_by)") == "task"
    assert run(2, "print('uses no library')") == "uses no library"

    wire = {"inputs": {}, "outputs": {"outputFile": str(tmp_path / "out.json")}}
    source = "def f():\n    import pyarrow; print(pyarrow.imported_by)\n"
    log = tmp_path / "waiting.log"
    executor.start(Attempt(3, Lightweight("f", source), wire, {}, tmp_path / "scratch" / "3", log))
    assert run(4, "print('does not wait')") == "does not wait"
    assert ended.empty()
    go_on.touch()
    assert ended.get(timeout=REQUEST) == AttemptEnded(3, None)
    assert log.read_text() == "warm server\n"


@linux
def test_a_task_that_waits_for_libraries_can_be_killed(
    start: Start,
    ended: "queue.SimpleQueue[AttemptEnded]",
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    library = "import sys, time\nif 'ephemeral_component' not in sys.modules: time.sleep(3600)\n"
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "pyarrow.py").write_text(library)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "lib"))
    executor, run = start("pyarrow")
    run(1, "import pyarrow")
    wire = {"inputs": {}, "outputs": {"outputFile": str(tmp_path / "out.json")}}
    source = "def f():\n    import pyarrow\n"
    log = tmp_path / "waiting.log"
    executor.start(Attempt(2, Lightweight("f", source), wire, {}, tmp_path / "scratch" / "2", log))
    executor.kill(2)
    end = ended.get(timeout=REQUEST)
    assert (end.id, end.lost) == (2, True)
    assert run(3, "print('still')") == "still"


def test_random_numbers_of_tasks_differ(start: Start) -> None:
    executor, run = start("numpy.random")
    wait_for(lambda: executor._warm_server.ready)
    drawn = {
        run(number, "import numpy, random; print(numpy.random.rand(), random.random())")
        for number in range(5)
    }
    assert len({line.split()[0] for line in drawn}) == 5
    assert len({line.split()[1] for line in drawn}) == 5


def fresh(code: str, **env: str) -> str:
    """What an interpreter prints that is started with these variables."""
    return subprocess.check_output(
        [sys.executable, "-c", code], env=os.environ | env, text=True
    ).strip()


def test_variables_that_are_read_at_start_have_their_effect(start: Start, tmp_path: Path) -> None:
    executor, run = start()
    seeds = [fresh("print(hash('a'))", PYTHONHASHSEED=seed) for seed in ("1", "2")]
    assert seeds[0] != seeds[1]
    assert run(1, "print(hash('a'))", PYTHONHASHSEED="1") == seeds[0]
    assert run(2, "print(hash('a'))", PYTHONHASHSEED="2", OTHER="x") == seeds[1]
    assert run(3, "print(hash('a'))", PYTHONHASHSEED="1", OTHER="y") == seeds[0]
    assert len(executor._other_executors) == 2, (
        "tasks with the same variables do not share a server"
    )

    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "only_there.py").write_text("print('found')")
    assert run(4, "import only_there", PYTHONPATH=str(tmp_path / "lib")) == "found"
    assert run(
        5,
        "import sys; print(sys.flags.utf8_mode, sys.warnoptions)",
        PYTHONUTF8="1",
        PYTHONWARNINGS="error",
    ) == ("1 ['error']")
    assert run(6, "import sys; print(sys.flags.utf8_mode, sys.warnoptions)") == "0 []"
    assert len(executor._other_executors) == 4


@linux
def test_variables_that_a_library_reads_when_it_is_imported_have_their_effect(start: Start) -> None:
    executor, run = start("sklearn.ensemble")
    wait_for(lambda: executor._warm_server.ready)
    body = (
        "import sklearn.ensemble, threadpoolctl; print(*{p['num_threads'] for p in"
        " threadpoolctl.threadpool_info() if p['user_api'] == 'openmp'})"
    )
    assert run(1, body, OMP_NUM_THREADS="5") == "5"
    assert run(2, body) == fresh(body) != "5"
    assert run(3, "import os; print(os.environ['OMP_NUM_THREADS'])", OMP_NUM_THREADS="5") == "5"


@linux
def test_a_library_can_be_preloaded_into_a_task(start: Start, tmp_path: Path) -> None:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler to make a library with")
    library = tmp_path / "seven.so"
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-o", library, "-x", "c", "-"],
        input=b"int getpagesize(void) { return 7; }",
        check=True,
    )
    _, run = start()
    assert (
        run(1, "import ctypes; print(ctypes.CDLL(None).getpagesize())", LD_PRELOAD=str(library))
        == "7"
    )
    assert run(2, "import ctypes; print(ctypes.CDLL(None).getpagesize())") == str(
        os.sysconf("SC_PAGE_SIZE")
    )


def test_output_is_not_held_back_when_it_is_to_be_unbuffered(
    start: Start, tmp_path: Path, ended: "queue.SimpleQueue[AttemptEnded]"
) -> None:
    executor, _ = start()
    source = "def f():\n    import time\n    print('half a line', end='')\n    time.sleep(3600)\n"
    log = tmp_path / "half.log"
    wire = {"inputs": {}, "outputs": {"outputFile": str(tmp_path / "out.json")}}
    env = {"PYTHONUNBUFFERED": "1"}
    executor.start(Attempt(1, Lightweight("f", source), wire, env, tmp_path / "scratch" / "1", log))
    wait_for(lambda: log.exists() and log.read_text() == "half a line")
    executor.signal(1, signal.SIGKILL)
    assert ended.get(timeout=REQUEST) == AttemptEnded(1, "the process was killed by SIGKILL")


def kill(server: Server) -> None:
    os.kill(server._process.pid, signal.SIGKILL)
    wait_for(lambda: bool(server.lost))


def test_servers_that_are_killed_are_replaced(start: Start) -> None:
    executor, run = start("numpy")
    wait_for(lambda: executor._warm_server.ready)
    kill(executor._warm_server)
    assert run(1, "print('still')") == "still"
    kill(executor._plain_server)
    assert run(2, "print('again')") == "again"


def test_an_attempt_whose_server_is_killed_is_reported_as_lost(
    start: Start, ended: "queue.SimpleQueue[AttemptEnded]", tmp_path: Path
) -> None:
    executor, _ = start()
    wire = {"inputs": {}, "outputs": {"outputFile": str(tmp_path / "out.json")}}
    source = "def f():\n    import time\n    print('up', flush=True)\n    time.sleep(3600)\n"
    log = tmp_path / "sleeper.log"
    executor.start(Attempt(7, Lightweight("f", source), wire, {}, tmp_path / "scratch" / "7", log))
    wait_for(lambda: log.exists() and "up" in log.read_text())
    os.kill(executor._plain_server._process.pid, signal.SIGKILL)
    end = ended.get(timeout=REQUEST)
    assert (end.id, end.lost) == (7, True)
    assert "SIGKILL" in (end.message or "")


def waiting(server: Server) -> list[int]:
    """The processes of an idle server: those that wait for a task."""
    pid = server._process.pid
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@linux
def test_a_process_waits_for_each_task_and_runs_no_other(start: Start) -> None:
    executor, run = start()
    seen = []
    for number in range(3):
        wait_for(lambda: len(waiting(executor._plain_server)) == 1)
        seen += waiting(executor._plain_server)
        assert (
            run(number, "import os; print(os.getpid(), os.getpgid(0))") == f"{seen[-1]} {seen[-1]}"
        )
    assert len(set(seen)) == 3


@linux
def test_a_task_starts_although_the_process_that_waited_for_it_was_killed(start: Start) -> None:
    executor, run = start()
    wait_for(lambda: len(waiting(executor._plain_server)) == 1)
    os.kill(waiting(executor._plain_server)[0], signal.SIGKILL)
    wait_for(lambda: waiting(executor._plain_server) == [])
    assert run(1, "print('done')") == "done"
    wait_for(lambda: len(waiting(executor._plain_server)) == 1)


@linux
def test_processes_that_wait_end_with_their_server(start: Start) -> None:
    executor, _ = start()
    wait_for(lambda: len(waiting(executor._plain_server)) == 1)
    pid = waiting(executor._plain_server)[0]
    kill(executor._plain_server)
    wait_for(
        lambda: not Path(f"/proc/{pid}").exists() or " Z " in Path(f"/proc/{pid}/stat").read_text()
    )


def test_an_input_of_megabytes_reaches_a_task(
    start: Start, ended: "queue.SimpleQueue[AttemptEnded]", tmp_path: Path
) -> None:
    executor, _ = start()
    text = "x" * 3_000_000
    wire = {
        "inputs": {"parameterValues": {"text": text}},
        "outputs": {"outputFile": str(tmp_path / "o" / "out.json")},
    }
    function = Lightweight("f", "def f(text: str):\n    print(len(text))\n")
    for number in range(2):
        log = tmp_path / f"{number}.log"
        executor.start(Attempt(number, function, wire, {}, tmp_path / "scratch" / str(number), log))
        assert ended.get(timeout=REQUEST) == AttemptEnded(number, None)
        assert log.read_text() == "3000000\n"


@linux
def test_closing_does_not_wait_for_libraries_that_are_still_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    importing = tmp_path / "importing"
    library = f"import pathlib, time\npathlib.Path({str(importing)!r}).touch()\ntime.sleep(3600)\n"
    (tmp_path / "takes_an_hour.py").write_text(library)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    executor = PythonExecutor(lambda ended: None, libraries=["takes_an_hour"])
    wait_for(importing.exists)
    server = executor._warm_server._process.pid

    closing = threading.Thread(target=executor.close, daemon=True)
    closing.start()
    closing.join(REQUEST)

    assert not closing.is_alive()
    wait_for(lambda: not Path(f"/proc/{server}").exists())


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
    assert common_libraries(build(spec.pipeline_spec)) == [
        "numpy.linalg",
        "pandas",
        "sklearn.linear_model",
    ]


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
    assert {task.path: task.state.value for task in run.tasks} == {
        "uses": "FAILED",
        "does-not": "SUCCEEDED",
    }
    assert run.error is not None
    assert run.error.message == "RuntimeError: broken here"
