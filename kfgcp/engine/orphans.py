"""End the processes that a killed engine may have left behind."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Final

RUN_ID_VARIABLE: Final = "KFGCP_RUN_ID"
"""The variable that marks the processes of a run."""


def kill(run_id: str) -> None:
    """Kill the processes of this user that have `RUN_ID_VARIABLE` set to this run.

    Tasks die with their fork server, and the server dies with the engine. This is for processes
    that tasks started in sessions of their own.

    It works only where the system shows the environment of processes (Linux). That is the
    environment at the start of the program (proc(5)), so a forked process without a new program has
    that of the fork server. The server has the mark for that reason.
    """
    mark = f"{RUN_ID_VARIABLE}={run_id}".encode()
    for file in Path("/proc").glob("[0-9]*/environ"):
        # The process has ended, or belongs to another user.
        with suppress(OSError):
            pid = int(file.parent.name)
            is_marked = mark in file.read_bytes().split(b"\0")
            # A task can start kfgcp itself, so this process may have the mark too.
            if is_marked and pid != os.getpid():
                os.kill(pid, signal.SIGKILL)
