"""Processes that a killed engine may have left behind."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

MARK = "KFGCP_RUN_ID"
"""The variable by which the processes of a run are found."""


def kill(run_id: str) -> None:
    """Kills what the tasks of a run started and what is still alive: processes of this user with
    `MARK` set so.

    Tasks themselves die with their fork server, and that with the engine; this is for what they
    started in sessions of its own. Only where the system shows the environment of processes
    (Linux), which is the one that their program was started with: of what is only forked, that of
    the fork server.
    """
    mark = f"{MARK}={run_id}".encode()
    for file in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if mark in file.read_bytes().split(b"\0") and int(file.parent.name) != os.getpid():
                os.kill(int(file.parent.name), signal.SIGKILL)
