"""What is wrong with this machine or with how a command was called is not a bug: one line, its own
exit code."""

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kfgcp import api, machine
from kfgcp.errors import MachineError, StateError
from kfgcp.model import Run
from kfgcp.store.store import Store
from patience import PROCESS

KFGCP = Path(sys.executable).with_name("kfgcp")
FULL = Path("/dev/full")
needs_full = pytest.mark.skipif(not FULL.exists(), reason="no /dev/full")

NOTHING_TO_START = """
import _posixsubprocess, os, subprocess, sys, threading

def no_process(*args):
    raise BlockingIOError(11, "Resource temporarily unavailable")

def no_thread(*args, **kwargs):
    raise RuntimeError("can't start new thread")

if "processes" in sys.argv[1]:
    subprocess._fork_exec = os.fork = os.posix_spawn = no_process
    _posixsubprocess.fork_exec = no_process
if "threads" in sys.argv[1]:
    threading._start_new_thread = threading._start_joinable_thread = no_thread
del sys.argv[1]
from kfgcp.cli.main import main
main()
"""
"""`kfgcp` on a system that has reached its limit of processes, threads or both."""


@pytest.fixture
def shell(
    environment: Callable[..., dict[str, str]],
) -> Callable[[str], subprocess.CompletedProcess[str]]:
    """Runs a line of a shell in which `kfgcp` is ours; standard input is a file without a line."""

    def run(line: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-c", f'kfgcp() {{ "{KFGCP}" "$@"; }}; {line}'],
            env=environment(),
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=PROCESS,
        )

    return run


@needs_full
@pytest.mark.parametrize(
    "command", ["--help", "--version", "list", "list --json", "export", "run --help"]
)
def test_a_result_that_cannot_be_written_is_an_error(
    command: str,
    store: Store,
    make_run: Callable[..., Run],
    shell: Callable[[str], subprocess.CompletedProcess[str]],
) -> None:
    store.add_run(make_run())

    result = shell(f"kfgcp {command} > /dev/full")

    assert result.stderr == "error: Standard output cannot be written: No space left on device.\n"
    assert result.returncode == 5


@needs_full
def test_messages_that_cannot_be_written_change_nothing(
    home: Path,
    shell: Callable[[str], subprocess.CompletedProcess[str]],
    pipeline: Callable[[str], Path],
) -> None:
    """The exit codes are those of the same commands with a standard error that works."""
    echo, fails = pipeline("echo"), pipeline("one_fails")

    succeeded = shell(f"kfgcp run {echo} --json 2> /dev/full")
    failed = shell(f"kfgcp run {fails} 2> /dev/full")
    unknown = shell("kfgcp show nonsense 2> /dev/full")
    no_verb = shell("kfgcp nonsense 2> /dev/full")

    assert [result.returncode for result in (succeeded, failed, unknown, no_verb)] == [0, 6, 2, 2]
    assert '"state": "SUCCEEDED"' in succeeded.stdout


def test_a_reader_that_has_gone_ends_the_command_silently(
    store: Store,
    make_run: Callable[..., Run],
    shell: Callable[[str], subprocess.CompletedProcess[str]],
) -> None:
    store.add_run(make_run())

    result = shell("set -o pipefail; kfgcp list | head -0")

    assert (result.returncode, result.stderr) == (141, "")


def test_a_run_in_the_background_needs_no_standard_streams(
    home: Path,
    shell: Callable[[str], subprocess.CompletedProcess[str]],
    pipeline: Callable[[str], Path],
) -> None:
    """Its lock must not get the number of a closed stream, which the engine's process has for
    itself."""
    result = shell(f"kfgcp run {pipeline('echo')} --detach <&- >&- 2>&-")

    assert result.returncode == 0
    [run] = api.list()
    assert api.show(run.run_id).wait(PROCESS).state == "SUCCEEDED"


@pytest.mark.parametrize("stdin", ["", "<&-"])
def test_a_question_without_a_terminal_is_a_wrong_call(
    store: Store,
    make_run: Callable[..., Run],
    shell: Callable[[str], subprocess.CompletedProcess[str]],
    stdin: str,
) -> None:
    store.add_run(make_run("aaaa00000001"))

    result = shell(f"kfgcp delete aaaa {stdin}")

    assert result.returncode == 2
    assert (
        result.stderr
        == "error: kfgcp cannot ask this question without a terminal: Delete aaaa00000001?\nhint:"
        " To answer yes in advance, use --yes.\n"
    )
    assert store.known_ids() == {"aaaa00000001"}


@pytest.mark.parametrize(
    "command", ["init", "init new", "list", "show latest", "run p.py", "export", "diff a.py b.py"]
)
def test_a_current_folder_that_was_deleted_is_named(
    command: str, home: Path, shell: Callable[[str], subprocess.CompletedProcess[str]]
) -> None:
    result = shell(f"mkdir gone && cd gone && rmdir ../gone && kfgcp {command}")

    assert result.returncode == 5
    assert (
        result.stderr == "error: The current folder does not exist any more.\n"
        "hint: Change to another folder with cd.\n"
    )


def test_a_new_project_has_its_folder_anywhere(
    home: Path, shell: Callable[[str], subprocess.CompletedProcess[str]]
) -> None:
    result = shell(f"mkdir gone && cd gone && rmdir ../gone && kfgcp init {home}/new")

    assert result.returncode == 0
    assert (home / "new" / "kfgcp.toml").exists()


def test_a_scaffold_in_a_deleted_folder_is_refused(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "gone").mkdir()
    monkeypatch.chdir(home / "gone")
    (home / "gone").rmdir()

    with pytest.raises(StateError, match="current folder"):
        api.init("new")


@pytest.mark.parametrize("missing", ["processes", "threads", "processes and threads"])
def test_a_run_without_processes_or_threads_fails_in_one_line(
    missing: str,
    home: Path,
    environment: Callable[..., dict[str, str]],
    pipeline: Callable[[str], Path],
) -> None:
    result = subprocess.run(
        [sys.executable, "-c", NOTHING_TO_START, missing, "run", str(pipeline("echo"))],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=PROCESS,
    )

    assert "Traceback" not in result.stderr
    assert "This is a bug" not in result.stderr
    assert result.returncode == 6
    reason = (
        "Resource temporarily unavailable"
        if "processes" in missing
        else "no more threads can be started"
    )
    assert f"failed in task say: cannot prepare the task: {reason}" in result.stderr


def test_a_run_in_the_background_without_processes_does_not_start(
    home: Path, environment: Callable[..., dict[str, str]], pipeline: Callable[[str], Path]
) -> None:
    result = subprocess.run(
        [
            sys.executable,
            "-c",
            NOTHING_TO_START,
            "processes",
            "run",
            "--detach",
            str(pipeline("echo")),
        ],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=PROCESS,
    )

    assert result.returncode == 5
    assert result.stderr.splitlines()[0].startswith(
        "error: The engine could not be started: Resource temporarily"
    )


def test_too_little_memory_is_not_a_bug(
    environment: Callable[..., dict[str, str]], home: Path
) -> None:
    """At its import this pipeline asks for more than the limit of the address space."""
    (home / "big.py").write_text("data = bytearray(1 << 40)\n")

    result = subprocess.run(
        [KFGCP, "compile", "big.py"],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=PROCESS,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (1 << 33, 1 << 33)),
    )

    assert result.returncode == 5
    assert result.stderr.splitlines()[0] == "error: This machine or container has no memory left."


def test_problems_of_the_machine_are_distinguished_from_bugs() -> None:
    library = ImportError("failed to map segment", path="/lib/_rust.abi3.so")

    assert isinstance(machine.machine_error(library), MachineError)
    assert machine.machine_error(ImportError("no module", path="/lib/a.py")) is None
    assert machine.machine_error(ImportError("no module")) is None
    assert (
        machine.machine_error(RuntimeError("can't start new thread")) is None
    )  # not raised by a thread's start
    problem = machine.machine_error(OSError(5, os.strerror(5), "/data/x"))
    assert problem is not None
    assert problem.message == "Input/output error: /data/x."


def test_threads_that_cannot_start_are_distinguished_from_bugs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import threading

    def no_thread(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("can't start new thread")

    for name in ("_start_new_thread", "_start_joinable_thread"):
        monkeypatch.setattr(threading, name, no_thread, raising=False)
    with pytest.raises(RuntimeError) as caught:
        threading.Thread(target=print).start()

    problem = machine.machine_error(caught.value)

    assert problem is not None
    assert (problem.message, problem.exit_code) == ("The system cannot start another thread.", 5)
