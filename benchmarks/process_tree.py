"""The CPU time of a whole process tree.

`measure` starts this file as a small process, the meter, and the meter starts the command. The
kernel adds the CPU time of a process to that of the process that waits for it, so the meter waits
for all of them and reads the sum.

On Linux the meter is a "child subreaper": a process whose parent has ended becomes a child of the
meter. Daemons and processes in sessions of their own are therefore counted too, and the measurement
ends when the last of them has ended. Elsewhere only processes are counted whose parents waited for
them. On no system is a process counted whose parent ignores SIGCHLD.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

PR_SET_CHILD_SUBREAPER = 36
"""From linux/prctl.h."""

TIMEOUT = 900.0
"""Seconds that a process tree may take. Only one that never ends takes as long."""


class CommandFailed(Exception):
    """A command failed or did not end; the message says which and why."""


@dataclass(frozen=True)
class Usage:
    """What one process tree used.

    Attributes:
        cpu_seconds: user and system time of all its processes.
        wall_seconds: time until the command itself had ended.
        counts_orphans: whether processes are counted that outlived their parents.
        output: what the tree wrote to standard output.
    """

    cpu_seconds: float
    wall_seconds: float
    counts_orphans: bool
    output: str


def measure(
    command: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    *,
    times: int = 1,
    timeout: float = TIMEOUT,
) -> Usage:
    """Run a command, wait until its whole process tree has ended, and return what the tree used.

    Nothing of the tree is left when this function returns or raises, also after Ctrl-C.

    Args:
        command: an absolute path and arguments.
        folder: the working directory.
        environment: all variables of the process.
        times: how often to run it, one after the other; the sums are returned.
        timeout: seconds that all of this may take.

    Raises:
        CommandFailed: the exit code is not 0, or the tree did not end in time.

    Example:
        measure(["/bin/ls", "-l"], Path("/tmp"), {}).cpu_seconds
    """
    with tempfile.TemporaryDirectory(prefix="kfgcp-meter-") as streams:
        meter = subprocess.Popen(
            [sys.executable, "-S", __file__, streams, str(times), *command],
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            # A Ctrl-C in the terminal must reach this process only, which then stops the meter.
            start_new_session=True,
        )
        try:
            answer, _ = meter.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            raise CommandFailed(
                f"{' '.join(command)}: a process of it still ran after {timeout:g} s"
            ) from None
        finally:
            meter.terminate()
            meter.wait()
        output = Path(streams, "stdout").read_text(encoding="utf-8", errors="replace")
        errors = Path(streams, "stderr").read_text(encoding="utf-8", errors="replace")
    used = json.loads(answer)
    if used["exit_code"]:
        raise CommandFailed(
            f"{' '.join(command)} failed with exit code {used['exit_code']}:\n{errors or output}"
        )
    return Usage(used["cpu_seconds"], used["wall_seconds"], used["counts_orphans"], output)


def main() -> None:
    """Be the meter: run a command and print what its process tree used, as JSON."""
    streams, times, *command = sys.argv[1:]
    counts_orphans = become_subreaper()
    signal.signal(signal.SIGTERM, stop)
    exit_code, wall_seconds = 0, 0.0
    for _ in range(int(times)):
        start = time.perf_counter()
        pid = spawn(command, Path(streams))
        try:
            exit_code = exit_code or wait_for(pid)
            wall_seconds += time.perf_counter() - start
            wait_for_orphans()
        finally:
            kill_tree(pid)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    answer = {
        "exit_code": exit_code,
        "cpu_seconds": used.ru_utime + used.ru_stime,
        "wall_seconds": wall_seconds,
        "counts_orphans": counts_orphans,
    }
    print(json.dumps(answer), flush=True)


def wait_for(command_pid: int) -> int:
    """Wait until the command has ended, and return its exit code."""
    while True:
        # Orphans that end meanwhile are waited for as well.
        pid, status = os.wait()
        if pid == command_pid:
            return os.waitstatus_to_exitcode(status)


def wait_for_orphans() -> None:
    """Wait until the last process of the tree has ended."""
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()


def become_subreaper() -> bool:
    """Adopt descendants whose parents end; return whether this system can do that."""
    if sys.platform != "linux":
        return False
    result: int = ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    return result == 0


def stop(number: int, frame: FrameType | None) -> None:
    """Stop waiting; a `finally` then kills the tree."""
    raise SystemExit(128 + number)


def spawn(command: Sequence[str], streams: Path) -> int:
    """Start the command in a process group of its own and return its pid; its output goes to
    files."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    to_files = [
        (os.POSIX_SPAWN_OPEN, 1, str(streams / "stdout"), flags, 0o600),
        (os.POSIX_SPAWN_OPEN, 2, str(streams / "stderr"), flags, 0o600),
    ]
    return os.posix_spawn(command[0], command, os.environ, file_actions=to_files, setpgroup=0)


def kill_tree(command_pid: int) -> None:
    """Kill all that is left of the tree.

    Killing a child makes its own children those of the meter, so after some turns nobody is left.
    """
    if sys.platform != "linux":
        with contextlib.suppress(ProcessLookupError):
            os.killpg(command_pid, signal.SIGKILL)
        return
    while pids := child_pids():
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        for pid in pids:
            os.waitpid(pid, 0)


def child_pids() -> list[int]:
    """Return the children of this process, from /proc; ended ones too until they are waited for."""
    children = []
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = file.read_text(encoding="utf-8", errors="replace")
        except OSError:
            # It has ended since the folder was listed.
            continue
        # The name of the program, in parentheses, may hold spaces.
        fields = text.rpartition(")")[2].split()
        parent_pid = int(fields[1])
        if parent_pid == os.getpid():
            children.append(int(file.parent.name))
    return children


if __name__ == "__main__":
    main()
