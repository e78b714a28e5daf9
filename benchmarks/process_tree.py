"""Measure the CPU time of a whole process tree.

`measure` starts this file as a small process, the meter, and the meter starts the command. When a
process waits for a child, the kernel adds the CPU time of the child to the waiting process. So the
meter waits for all processes of the tree, and reads the sum.

On Linux the meter is a "child subreaper": a process whose parent has ended becomes a child of the
meter. So the meter also counts daemons and processes in other sessions, and the measurement ends
when the last process has ended. On other systems the meter counts only processes whose parents
waited for them. No system counts a process whose parent ignores SIGCHLD.
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

# From linux/prctl.h.
PR_SET_CHILD_SUBREAPER = 36

# Seconds that a process tree may take. Only a tree that never ends takes as long.
TIMEOUT = 900.0


class CommandFailed(Exception):
    """A command that failed or did not end. The message contains the command and the reason."""


@dataclass(frozen=True)
class Usage:
    """What one process tree used.

    Attributes:
        cpu_seconds: user and system time of all its processes.
        wall_seconds: time until the command itself had ended.
        counts_orphans: whether cpu_seconds contains processes that outlived their parents.
        output: what all processes wrote to standard output.
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

    No process of the tree runs any more when this function returns or raises, also after Ctrl-C.

    Args:
        command: an absolute path and arguments.
        folder: the working directory.
        environment: all variables of the process.
        times: how often to run the command, one after the other. The result contains the sums.
        timeout: seconds that all runs together may take.

    Raises:
        CommandFailed: the exit code is not 0, or the tree did not end in time.

    Example:
        measure(["/bin/ls", "-l"], Path("/tmp"), {}).cpu_seconds
    """
    with tempfile.TemporaryDirectory(prefix="kfgcp-meter-") as streams:
        # Without `site` (-S), the meter starts faster and adds less of its own time.
        meter_command = [sys.executable, "-S", __file__, streams, str(times)]
        meter_command += command
        meter = subprocess.Popen(
            meter_command,
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
                f"{' '.join(command)}: one of its processes still ran after {timeout:g} s"
            ) from None
        finally:
            meter.terminate()
            meter.wait()
        output = Path(streams, "stdout").read_text(encoding="utf-8", errors="replace")
        errors = Path(streams, "stderr").read_text(encoding="utf-8", errors="replace")
    figures = json.loads(answer)
    exit_code = figures["exit_code"]
    if exit_code:
        raise CommandFailed(
            f"{' '.join(command)} failed with exit code {exit_code}:\n{errors or output}"
        )
    return Usage(figures["cpu_seconds"], figures["wall_seconds"], figures["counts_orphans"], output)


def main() -> None:
    """Be the meter: run a command and print what its process tree used, as JSON."""
    streams, times, *command = sys.argv[1:]
    counts_orphans = become_subreaper()
    signal.signal(signal.SIGTERM, exit_on_signal)
    exit_code = 0
    wall_seconds = 0.0
    for _ in range(int(times)):
        start = time.perf_counter()
        pid = spawn(command, Path(streams))
        try:
            command_exit_code = wait_for(pid)
            # The first failure counts.
            exit_code = exit_code or command_exit_code
            wall_seconds += time.perf_counter() - start
            wait_for_orphans()
        finally:
            kill_tree(pid)
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    figures = {
        "exit_code": exit_code,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "wall_seconds": wall_seconds,
        "counts_orphans": counts_orphans,
    }
    print(json.dumps(figures), flush=True)


def wait_for(command_pid: int) -> int:
    """Wait until the command has ended, and return its exit code."""
    while True:
        # This also returns orphans that end before the command.
        pid, status = os.wait()
        if pid == command_pid:
            return os.waitstatus_to_exitcode(status)


def wait_for_orphans() -> None:
    """Wait until the last process of the tree has ended."""
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()


def become_subreaper() -> bool:
    """Make this process the new parent of descendants whose parents end.

    Returns:
        Whether this system can do that.
    """
    if sys.platform != "linux":
        return False
    result: int = ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    return result == 0


def exit_on_signal(number: int, frame: FrameType | None) -> None:
    """Stop waiting. The `finally` in `main` then kills the tree."""
    raise SystemExit(128 + number)


def spawn(command: Sequence[str], streams: Path) -> int:
    """Start the command in its own process group, and return the pid.

    The output goes to the files `stdout` and `stderr` in the folder `streams`.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    redirections = [
        (os.POSIX_SPAWN_OPEN, 1, str(streams / "stdout"), flags, 0o600),
        (os.POSIX_SPAWN_OPEN, 2, str(streams / "stderr"), flags, 0o600),
    ]
    return os.posix_spawn(command[0], command, os.environ, file_actions=redirections, setpgroup=0)


def kill_tree(command_pid: int) -> None:
    """Kill all processes of the tree that still run.

    When a child is killed, its own children become children of the meter. So the loop ends when no
    process of the tree is left.
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
    """Return the children of this process from /proc.

    They include children that have ended, until this process waits for them.
    """
    children = []
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = file.read_text(encoding="utf-8", errors="replace")
        except OSError:
            # The process has ended since the folder was listed.
            continue
        # The fields after the name of the program, which is in parentheses and may contain spaces:
        # the state, then the pid of the parent (man page proc_pid_stat).
        fields = text.rpartition(")")[2].split()
        parent_pid = int(fields[1])
        if parent_pid == os.getpid():
            children.append(int(file.parent.name))
    return children


if __name__ == "__main__":
    main()
