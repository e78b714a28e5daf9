"""What a schedule on this machine has done: one JSON file for each schedule in the state folder.

A file is replaced as a whole, so a process that is killed leaves the old or the new content. The
files say only which due times need no further look. That a due time has a run is known from the
labels of the runs, which the store records together with the run.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import quote

from kfgcp import private
from kfgcp.atomic import write_file
from kfgcp.errors import StateError
from kfgcp.store.database import convert_errors

# The file below the state folder. It lies beside the locks of runs, and no run has this id.
_LOCK: Final = "locks/schedules"


@dataclass(frozen=True, slots=True)
class ScheduleState:
    """What a schedule has done.

    Attributes:
        handled_until: all due times up to this time are handled.
    """

    handled_until: datetime


def read_state(folder: Path, env: str, name: str) -> ScheduleState | None:
    """Return the state of a schedule, None before its first tick.

    Args:
        folder: the folder with the states of the project, see `states_folder`.
        env: the environment of the schedule.
        name: the name of the schedule.

    Raises:
        StateError: the file cannot be read.
    """
    file = state_file(folder, env, name)
    if not file.exists():
        return None
    try:
        with convert_errors(file):
            values = json.loads(file.read_bytes())
        handled_until = datetime.fromisoformat(values["handled_until"]).astimezone(UTC)
        return ScheduleState(handled_until)
    except (ValueError, KeyError, TypeError):
        raise StateError(
            f"{file} is not the state of a schedule.",
            hint=f"Remove the file. The schedule then begins again at its next tick: rm {file}",
        ) from None


def write_state(folder: Path, env: str, name: str, state: ScheduleState) -> None:
    """Record the state of a schedule.

    Raises:
        StateError: the file cannot be written.
    """
    file = state_file(folder, env, name)
    values = {"handled_until": state.handled_until.isoformat()}
    with convert_errors(file):
        private.make_folders(file.parent)
        write_file(file, json.dumps(values).encode())


def state_file(folder: Path, env: str, name: str) -> Path:
    """Return the file with the state of a schedule."""
    return folder / _folder_name(env) / f"{name}.json"


def states_folder(home: Path, project: str) -> Path:
    """Return the folder with the states of the schedules of a project.

    Several projects can have the same state folder, through KFGCP_HOME.
    """
    return home / "schedules" / _folder_name(project)


def _folder_name(text: str) -> str:
    """Return a name of a folder for a text, which may contain any character or be empty."""
    # `quote` leaves dots, and `..` would be another folder.
    return quote(text, safe="").replace(".", "%2E") or "%"


@contextmanager
def hold_schedules(home: Path, *, wait: bool = False) -> Iterator[bool]:
    """Hold the lock of all schedules of a state folder, and tell whether this process has it.

    The system frees the lock when the process ends, also when it is killed.

    Args:
        home: the state folder.
        wait: wait while another process has the lock. The result is then True.

    Raises:
        StateError: the state folder cannot be written.
    """
    file = home / _LOCK
    with convert_errors(file):
        private.make_folders(file.parent)
        fd = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True
    finally:
        os.close(fd)
