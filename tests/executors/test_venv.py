"""packages_to_install: environments built once, shared, isolated, and safe under races and
interruptions.

The packages are wheels made here; of the index only kfp itself is asked for, as the installed one's
version.
"""

import fcntl
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import IO

import pytest

from kfgcp import api
from kfgcp.engine.executors import venv
from kfgcp.engine.executors.venv import Builder, BuildError
from kfgcp.engine.requirements import READY, Requirements, missing_requirements
from kfgcp.engine.uv_program import _find, uv_program
from kfgcp.model import Run, RunState, timestamp
from kfgcp.spec.lightweight import Lightweight
from patience import PROCESS, REQUEST, wait_for

Execute = Callable[..., Run]
MakeWheel = Callable[[str, str], Path]


def source(wheel: Path, name: str, body: str) -> str:
    return f"""
from kfp import dsl

@dsl.component(base_image="python:3.11", packages_to_install=["{name} @ {wheel.as_uri()}"])
def task() -> str:
{body}

@dsl.pipeline(name="packages")
def pipeline() -> str:
    return task().output
"""


def test_a_component_gets_its_packages_and_nothing_of_ours(
    execute: Execute, wheel: MakeWheel, home: Path
) -> None:
    body = """
    import importlib.util
    import probe_one
    names = ("click", "rich", "pytest", "kfgcp_components")
    ours = [name for name in names if importlib.util.find_spec(name)]
    return f"{probe_one.VERSION} {ours}"
"""
    run = execute(source(wheel("probe_one", "1.2"), "probe_one", body))
    assert run.outputs == {"Output": "1.2 []"}, run.error
    [environment] = [path for path in (home / ".kfgcp" / "envs").iterdir() if path.is_dir()]
    built = (environment / READY).stat().st_mtime_ns
    assert (
        execute(source(wheel("probe_one", "1.2"), "probe_one", body), cache=False).state
        is RunState.SUCCEEDED
    )
    assert (environment / READY).stat().st_mtime_ns == built, (
        "the second run uses the environment of the first"
    )


def test_the_installation_of_an_environment_is_not_time_of_the_task(
    execute: Execute, wheel: MakeWheel, home: Path
) -> None:
    body = (
        "    import warnings\n    warnings.simplefilter('ignore')\n    import pkg_resources\n   "
        " return 'there'"
    )
    text = source(wheel("probe_nine", "1"), "probe_nine", body)

    first = execute(text)
    second = execute(text, cache=False)

    assert first.outputs == second.outputs == {"Output": "there"}, first.error
    lines = [line.text for line in api.logs(first.run_id)]
    assert lines[0].startswith("kfgcp: installing probe_nine @ file:///")
    assert re.fullmatch(r"kfgcp: installed in \d+\.\d s \(not part of the task's time\)", lines[1])
    assert [line.text for line in api.logs(second.run_id)] == []
    [environment] = [path for path in (home / ".kfgcp" / "envs").iterdir() if path.is_dir()]
    started = first.tasks[0].started_at
    assert started is not None
    built = timestamp((environment / READY).stat().st_mtime)
    assert started >= built  # both are cut off to milliseconds
    [recorded] = api.show(first.run_id).snapshot.tasks
    assert recorded.started_at == started


def test_a_newer_setuptools_that_a_component_asks_for_is_kept() -> None:
    asked = Lightweight("f", "", ("setuptools>=82", "no-such-package==1"))

    assert venv.wants_setuptools(missing_requirements(asked)) is None
    assert (
        venv.wants_setuptools(
            missing_requirements(Lightweight("f", "", ("setuptools-scm==99999",)))
        )
        == "setuptools<82"
    )


def test_an_environment_that_was_interrupted_is_built_again(
    execute: Execute, wheel: MakeWheel, home: Path
) -> None:
    text = source(
        wheel("probe_two", "3"), "probe_two", "    import probe_two\n    return probe_two.VERSION"
    )
    assert execute(text).outputs == {"Output": "3"}
    [environment] = [path for path in (home / ".kfgcp" / "envs").iterdir() if path.is_dir()]
    (environment / READY).unlink()
    for file in environment.rglob("probe_two*"):
        if file.is_file():
            file.unlink()
    assert execute(text, cache=False).outputs == {"Output": "3"}


def test_packages_that_cannot_be_had_fail_the_task_with_what_uv_says(
    execute: Execute, tmp_path: Path
) -> None:
    gone = tmp_path / "gone-1-py3-none-any.whl"
    run = execute(source(gone, "gone", "    return ''"))
    assert run.state is RunState.FAILED
    assert run.error is not None
    assert run.error.task == "task"
    assert run.error.message.startswith("its packages cannot be installed: error:")
    assert "gone" in run.error.message
    assert "\n" not in run.error.message


def test_two_builders_of_one_environment_install_it_once(tmp_path: Path, wheel: MakeWheel) -> None:
    requirements = Requirements((f"probe_three @ {wheel('probe_three', '1').as_uri()}",), (), None)
    builders = [Builder(requirements, tmp_path / "envs") for _ in range(4)]
    threads = [threading.Thread(target=builder.build) for builder in builders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum("probe-three==1" in builder.output for builder in builders) == 1
    python = builders[0].build()
    assert (
        subprocess.check_output([python, "-c", "import probe_three; print(probe_three.VERSION)"])
        == b"1\n"
    )


def test_a_builder_that_is_killed_leaves_nothing_that_is_taken_for_whole(
    tmp_path: Path, wheel: MakeWheel
) -> None:
    requirements = Requirements((f"probe_four @ {wheel('probe_four', '1').as_uri()}",), (), None)
    code = f"""
from pathlib import Path
from kfgcp.engine.executors.venv import Builder
from kfgcp.engine.requirements import Requirements
Builder(Requirements({requirements.packages!r}, (), None), Path({str(tmp_path / "envs")!r})).build()
"""
    for delay in (0.05, 0.15, 0.25):
        process = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
        python = Builder(requirements, tmp_path / "envs").build()
        assert subprocess.call([python, "-c", "import probe_four"]) == 0


def test_the_lock_is_held_while_the_installer_of_a_killed_builder_lives(tmp_path: Path) -> None:
    installer = tmp_path / "uv"
    installer.write_text(
        f"#!/bin/sh\ntouch {tmp_path}/up\nuntil test -e {tmp_path}/go; do sleep 0.01; done\n"
    )
    installer.chmod(0o755)
    code = f"""
import uv
from pathlib import Path
from kfgcp.engine.executors.venv import Builder
from kfgcp.engine.requirements import Requirements
uv.find_uv_bin = lambda: {str(installer)!r}
Builder(Requirements(("anything",), (), None), Path({str(tmp_path)!r})).build()
"""
    with subprocess.Popen([sys.executable, "-c", code]) as process:
        wait_for((tmp_path / "up").exists)
        process.kill()
    [file] = tmp_path.glob("*.lock")
    with file.open() as lock:
        assert not _taken(lock)
        (tmp_path / "go").touch()
        wait_for(lambda: _taken(lock))


def _taken(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def test_a_stopped_builder_ends(tmp_path: Path) -> None:
    builder = Builder(Requirements(("anything",), (), None), tmp_path)
    builder.stop()
    with pytest.raises(BuildError, match="stopped"):
        builder.build()


def test_strict_environments_have_the_pinned_kfp(execute: Execute) -> None:
    text = """
from kfp import dsl

@dsl.component(base_image="python:3.11", packages_to_install=["kfp==2.14.6"])
def task() -> str:
    from importlib.metadata import version
    return version("kfp")

@dsl.pipeline(name="strict")
def pipeline() -> str:
    return task().output
"""
    from importlib.metadata import version

    assert execute(text).outputs == {"Output": version("kfp")}
    assert execute(text, strict_env=True, cache=False).outputs == {"Output": "2.14.6"}


SLOW_FIRST_CALL = """
import queue, sys, sysconfig, threading
from pathlib import Path
from kfgcp.engine.executors.base import Attempt
from kfgcp.engine.executors.router import Router
from kfgcp.options import RunOptions
from kfgcp.spec.lightweight import Lightweight

folder, limit = Path(sys.argv[1]), float(sys.argv[2])
a_task_ended = threading.Event()
initialise = sysconfig._init_posix

def initialise_slowly(variables):
    # In the main thread nobody else asks meanwhile. In another one, the second builder does.
    if threading.current_thread() is not threading.main_thread():
        a_task_ended.wait(limit)
    initialise(variables)

sysconfig._init_posix = initialise_slowly
ends = queue.SimpleQueue()

def emit(event):
    a_task_ended.set()
    ends.put(event)

functions = [
    Lightweight("f", "", (f"gone-{n} @ file:///gone_{n}-1-py3-none-any.whl",)) for n in (1, 2)
]
router = Router(emit, folder / "envs")
router.warm_up(functions, RunOptions())
for number, function in enumerate(functions):
    scratch = folder / str(number)
    router.start(Attempt(number, function, {}, {}, scratch, scratch / "log"))
for _ in functions:
    print(ends.get(timeout=limit).message)
router.close()
"""


def test_two_builders_can_look_for_the_installer_at_the_same_time(tmp_path: Path) -> None:
    """In Python 3.11 a first call of sysconfig hands out None to a second thread that asks
    meanwhile."""
    command = [sys.executable, "-c", SLOW_FIRST_CALL, str(tmp_path), str(REQUEST)]
    process = subprocess.run(command, capture_output=True, text=True, timeout=PROCESS, check=True)

    messages = sorted(process.stdout.splitlines())
    assert len(messages) == 2
    for number, message in enumerate(messages, 1):
        assert message.startswith("its packages cannot be installed: error:")
        assert f"gone_{number}-1-py3-none-any.whl" in message


def test_the_installer_is_looked_for_once_by_many_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    import uv

    at_once = threading.Barrier(8)
    calls: list[str] = []
    interpreters: list[str] = []

    def find() -> str:
        calls.append(threading.current_thread().name)
        return "/bin/uv"

    def look() -> None:
        at_once.wait(REQUEST)
        interpreters.append(uv_program())

    monkeypatch.setattr(uv, "find_uv_bin", find)
    monkeypatch.setattr("kfgcp.engine.uv_program._find", cache(_find.__wrapped__))
    threads = [threading.Thread(target=look) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(REQUEST)

    assert len(calls) == 1
    assert interpreters == ["/bin/uv"] * 8
