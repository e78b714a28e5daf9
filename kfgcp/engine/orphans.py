"""Processes that a killed engine may have left behind."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path


def kill(run_id: str) -> None:
    """Kills what the tasks of a run started and what is still alive: processes of this user with KFGCP_RUN_ID set so.

    Tasks themselves die with their fork server, and that with the engine; this is for what they started in sessions of
    its own. Only where the system shows the environment of processes (Linux).
    """
    mark = f"KFGCP_RUN_ID={run_id}".encode()
    for file in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if mark in file.read_bytes().split(b"\0") and int(file.parent.name) != os.getpid():
                os.kill(int(file.parent.name), signal.SIGKILL)
