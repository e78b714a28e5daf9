"""Kill the processes that a run may have left behind."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Final

RUN_ID_VARIABLE: Final = "KFGCP_RUN_ID"
"""The environment variable that all processes of a run have. Its value is the id of the run."""


def kill(run_id: str) -> None:
    """Kill the processes of this user whose `RUN_ID_VARIABLE` is the id of the run.

    A fork server ends with its engine, and tasks end with their fork server. But a task can start
    processes in sessions of their own, and these do not end with the task.

    This works only on Linux, which shows the environment of processes. Linux shows the environment
    from the start of the program (proc(5)). So a forked process that starts no other program shows
    the environment of its fork server, and therefore fork servers have the variable too.
    """
    assignment = f"{RUN_ID_VARIABLE}={run_id}".encode()
    for file in Path("/proc").glob("[0-9]*/environ"):
        # An OSError means that the process has ended, or belongs to another user.
        with suppress(OSError):
            pid = int(file.parent.name)
            belongs_to_run = assignment in file.read_bytes().split(b"\0")
            # This process may have the variable too, because a task can start kfgcp.
            if belongs_to_run and pid != os.getpid():
                os.kill(pid, signal.SIGKILL)
