"""Notice when files on this machine that tasks read have changed.

The state of a file is its size and the time of its last change. A different state means that
somebody has edited the file.
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
"""The most files and folders below an artifact whose states are read. Reading this many takes some
hundredths of a second."""

USED_TIMES_AS_LONG: Final = 20
"""After an attempt has ended, a state stays usable for this multiple of the time that reading it
took. So reading states takes at most 5 % of the time."""

_LONGEST_PATH: Final = 4096
"""PATH_MAX of Linux: a longer text cannot name a file."""

_OUTPUT_DEPTH: Final = 5
"""An output is at least this many levels below an output folder: pipeline, run, task, attempt,
name."""


class TooManyFilesError(Exception):
    """A folder has more than `MOST_ENTRIES` files and folders.

    The message tells the user why the task that reads the folder must run.
    """

    def __init__(self, folder: str) -> None:
        number = f"{MOST_ENTRIES:,}"
        problem = f"the folder {folder} has more than {number} files and folders"
        super().__init__(f"{problem}, so kfgcp cannot see changes in it")


@dataclass(frozen=True, slots=True)
class _ArtifactState:
    """The state of an artifact, which may be used again.

    Attributes:
        state: what `FileStates.artifact_state` returns, None after a problem.
        problem: the error for a folder with too many files, None for any other artifact.
        ended_when_read: how many attempts had ended when the state was read.
        valid_until: a time of the clock, in seconds. Later, the state is too old.
    """

    state: str | None
    problem: TooManyFilesError | None
    ended_when_read: int
    valid_until: float


class FileStates:
    """The states of the files that the tasks of one run read.

    Many tasks of a loop may read the same large folder, so the state of an artifact is kept and
    used again. Only attempts change files during a run, so a state can be used until an attempt
    ends. Afterwards, tasks that were ready when the state was read still use it for a short time.
    They do not depend on the attempt, so they could also have started before the attempt ended.

    Args:
        submit_dir: the folder that relative paths start from.
        output_folders: the folders where runs write their outputs. Nobody edits outputs, so output
            folders have no state.
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
        self._states: dict[str, _ArtifactState] = {}

    def parameter_state(self, value: object) -> str | None:
        """Return the state of the file that a parameter names, None when it names no file.

        A folder has no state. The text may be "." or "/" by chance, or the folder that the task
        writes to.
        """
        if not isinstance(value, str) or not 0 < len(value) < _LONGEST_PATH:
            return None
        status = _stat(self._absolute_path(value))
        if status is None or not S_ISREG(status.st_mode):
            return None
        return _file_state(status)

    def artifact_state(self, uri: str, ended_when_ready: int) -> str | None:
        """Return the state of an artifact that is a file, or a folder with all that is in it.

        Inside a folder, a link to a file has the state of that file. A link to a folder has the
        path that the link contains as its state.

        Args:
            uri: the URI of the artifact.
            ended_when_ready: how many attempts had ended when the task that reads the artifact
                became ready.

        Returns:
            The state. None when the artifact is not on this machine, or is a folder of outputs.

        Raises:
            TooManyFilesError: the folder has more than `MOST_ENTRIES` files and folders.
        """
        artifact = self._states.get(uri)
        if artifact is None or not self._is_usable(artifact, ended_when_ready):
            artifact = self._read_artifact(uri)
            self._states[uri] = artifact
        if artifact.problem is not None:
            raise artifact.problem
        return artifact.state

    def _is_usable(self, artifact: _ArtifactState, ended_when_ready: int) -> bool:
        """Return whether a state that was read before can be used again for a task."""
        if artifact.ended_when_read == self.ended_attempts:
            return True
        was_ready = artifact.ended_when_read >= ended_when_ready
        return was_ready and self._now() < artifact.valid_until

    def _read_artifact(self, uri: str) -> _ArtifactState:
        start = self._now()
        state: str | None = None
        problem: TooManyFilesError | None = None
        try:
            state = self._read_state(uri)
        except TooManyFilesError as error:
            problem = error
        end = self._now()
        valid_until = end + (end - start) * USED_TIMES_AS_LONG
        return _ArtifactState(state, problem, self.ended_attempts, valid_until)

    def _read_state(self, uri: str) -> str | None:
        """Read the state of an artifact, as in `artifact_state`."""
        if "://" in uri and not file_uris.is_file_uri(uri):
            return None
        path = self._absolute_path(uri)
        status = _stat(path)
        if status is None:
            return None
        if S_ISREG(status.st_mode):
            return _file_state(status)
        if not S_ISDIR(status.st_mode) or self._is_output(path):
            return None
        return _folder_state(path)

    def _absolute_path(self, path_or_uri: str) -> str:
        return os.path.join(self._submit_dir, file_uris.to_path(path_or_uri))

    def _is_output(self, path: str) -> bool:
        """Return whether a path is an output of an attempt, or inside one."""
        for folder in self._output_folders:
            if path.startswith(folder):
                parts = path.removeprefix(folder).rstrip("/").split("/")
                return len(parts) >= _OUTPUT_DEPTH and ".." not in parts
        return False


def _stat(path: str) -> os.stat_result | None:
    """Return the status of a file or folder, None when it cannot be read."""
    try:
        return os.stat(path)
    except (OSError, ValueError):
        # ValueError means that no file can have this name, for example because of a zero byte.
        return None


def _file_state(status: os.stat_result) -> str:
    return f"{status.st_size} {status.st_mtime_ns}"


def _folder_state(folder: str) -> str:
    """Return the digest of the names and states of all that is in a folder."""
    lines: list[str] = []
    for line in _entries(folder):
        lines.append(line)
        if len(lines) > MOST_ENTRIES:
            raise TooManyFilesError(folder)
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


def _entries(folder: str) -> Iterator[str]:
    """Yield a line with the name and state of each file and folder below a folder, in any order.

    The line of a folder does not have the time of its last change. That time changes also when a
    file is created and removed again, which is not an edit.
    """
    # Relative paths with a slash at the end.
    folders_to_read = [""]
    while folders_to_read:
        relative_folder = folders_to_read.pop()
        try:
            with os.scandir(os.path.join(folder, relative_folder)) as entries:
                for entry in entries:
                    path = f"{relative_folder}{entry.name}"
                    if entry.is_dir(follow_symlinks=False):
                        folders_to_read.append(f"{path}/")
                        yield f"{path!r} folder"
                    else:
                        yield f"{path!r} {_entry_state(entry)}"
        except OSError as error:
            # This user may not read the folder, or somebody has removed it meanwhile.
            yield f"{relative_folder!r} cannot be read: {error.errno}"


def _entry_state(entry: os.DirEntry[str]) -> str:
    if entry.is_symlink():
        status = _stat(entry.path)
        if status is None or S_ISDIR(status.st_mode):
            return f"link to {os.readlink(entry.path)!r}"
        return _file_state(status)
    return _file_state(entry.stat(follow_symlinks=False))
