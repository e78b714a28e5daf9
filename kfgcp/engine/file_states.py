"""The states of files that tasks read on this machine.

An edit is noticed by the size and the time of change.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from stat import S_ISDIR, S_ISREG
from typing import Final

from kfgcp import file_uris

MOST_ENTRIES: Final = 10_000
"""How many files and folders below an artifact are looked at. This many take some hundredths of a
second."""

USED_TIMES_AS_LONG: Final = 20
"""After an attempt has ended, a look is used for this multiple of its own duration: looking takes
at most 5 %."""

_LONGEST_PATH: Final = 4096
"""PATH_MAX of Linux: a longer text cannot name a file."""

_PARTS_OF_OUTPUT: Final = 5
"""An output is at least this far below a folder of outputs: pipeline, run, task, attempt, name."""


class TooManyFilesError(Exception):
    """A folder has more than `MOST_ENTRIES` files and folders.

    The message is the reason that its task must run.
    """

    def __init__(self, folder: str) -> None:
        number = f"{MOST_ENTRIES:,}"
        problem = f"the folder {folder} has more than {number} files and folders"
        super().__init__(f"{problem}, so changes in it cannot be seen")


@dataclass(frozen=True, slots=True)
class _Look:
    """The result of one look at an artifact.

    Attributes:
        state: the state of the file or folder, None when it could not be read.
        problem: the reason when the state could not be read.
        after: how many attempts had ended before the look.
        until: the time in seconds from which the look is too old.
    """

    state: str | None
    problem: TooManyFilesError | None
    after: int
    until: float


class FileStates:
    """Looks at files for the tasks of one run.

    Many tasks of a loop may have the same large folder, so a look at an artifact is used again. It
    is used until an attempt ends, because only attempts change files during a run. Tasks that were
    ready before the look use it for a short time after that. They do not depend on the attempt, so
    they could also have started before it ended.

    Args:
        submit_dir: the folder that relative paths start from.
        output_folders: where runs write their outputs. Nobody edits outputs, so their folders are
            not looked at.
        now: a monotonic clock, in seconds.

    Attributes:
        ended_attempts: how many attempts of the run have ended.
    """

    def __init__(
        self,
        submit_dir: str,
        output_folders: Sequence[str],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.ended_attempts = 0
        self._submit_dir = submit_dir
        self._output_folders = tuple(f"{folder.rstrip('/')}/" for folder in output_folders)
        self._now = now
        self._looks: dict[str, _Look] = {}

    def parameter_state(self, value: object) -> str | None:
        """Return the state of the file that a parameter names, None when it does not name one.

        A folder has no state: the text may be "." or "/", or the folder that the task writes to.
        """
        if not isinstance(value, str) or not 0 < len(value) < _LONGEST_PATH:
            return None
        status = _stat(self._path(value))
        if status is None or not S_ISREG(status.st_mode):
            return None
        return _file_state(status)

    def artifact_state(self, uri: str, ready_after: int) -> str | None:
        """Return the state of a file, or of all that is in a folder.

        A link to a file counts as that file. A link to a folder counts as the path that it leads
        to.

        Args:
            uri: of the artifact.
            ready_after: how many attempts had ended when the task that reads it became ready.

        Returns:
            None when the artifact is not on this machine.

        Raises:
            TooManyFilesError: the folder has more than `MOST_ENTRIES` files and folders.
        """
        look = self._looks.get(uri)
        if look is None or not self._is_usable(look, ready_after):
            look = self._look_again(uri)
            self._looks[uri] = look
        if look.problem is not None:
            raise look.problem
        return look.state

    def _is_usable(self, look: _Look, ready_after: int) -> bool:
        if look.after == self.ended_attempts:
            return True
        return look.after >= ready_after and self._now() < look.until

    def _look_again(self, uri: str) -> _Look:
        start = self._now()
        state: str | None = None
        problem: TooManyFilesError | None = None
        try:
            state = self._look_at(uri)
        except TooManyFilesError as error:
            problem = error
        end = self._now()
        return _Look(state, problem, self.ended_attempts, end + (end - start) * USED_TIMES_AS_LONG)

    def _look_at(self, uri: str) -> str | None:
        if "://" in uri and not file_uris.is_file_uri(uri):
            return None
        path = self._path(uri)
        status = _stat(path)
        if status is None:
            return None
        if S_ISREG(status.st_mode):
            return _file_state(status)
        if not S_ISDIR(status.st_mode) or self._is_output(path):
            return None
        return _folder_state(path)

    def _path(self, text: str) -> str:
        return os.path.join(self._submit_dir, file_uris.to_path(text))

    def _is_output(self, path: str) -> bool:
        for folder in self._output_folders:
            if path.startswith(folder):
                parts = path.removeprefix(folder).rstrip("/").split("/")
                return len(parts) >= _PARTS_OF_OUTPUT and ".." not in parts
        return False


def _stat(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except (OSError, ValueError):
        # ValueError means that no file can have this name.
        return None


def _file_state(status: os.stat_result) -> str:
    return f"{status.st_size} {status.st_mtime_ns}"


def _folder_state(folder: str) -> str:
    lines: list[str] = []
    for line in _entries(folder):
        lines.append(line)
        if len(lines) > MOST_ENTRIES:
            raise TooManyFilesError(folder)
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


def _entries(folder: str) -> Iterator[str]:
    """Yield a line for each file and folder below a folder, in any order.

    The time of a folder is left out. It changes when a file in it is created and removed again,
    which is not an edit.
    """
    places = [""]
    while places:
        place = places.pop()
        try:
            with os.scandir(os.path.join(folder, place)) as entries:
                for entry in entries:
                    name = f"{place}{entry.name}"
                    if entry.is_dir(follow_symlinks=False):
                        places.append(f"{name}/")
                        yield f"{name!r} folder"
                    else:
                        yield f"{name!r} {_entry_state(entry)}"
        except OSError as error:
            # The folder may not be read, or was removed meanwhile.
            yield f"{place!r} cannot be read: {error.errno}"


def _entry_state(entry: os.DirEntry[str]) -> str:
    if entry.is_symlink():
        status = _stat(entry.path)
        if status is None or S_ISDIR(status.st_mode):
            return f"link to {os.readlink(entry.path)!r}"
        return _file_state(status)
    return _file_state(entry.stat(follow_symlinks=False))
