"""Locks of the state folder.

The system frees a lock when the process that holds it ends, even when the process is killed. A run
belongs to one engine process, which holds the `RunLock` of the run. `FileUse` keeps the files of
earlier runs in place while an engine finds them and records that its run uses them.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kfgcp import private
from kfgcp.engine.layout import FILE_USE, lock_file
from kfgcp.store.database import convert_errors


class RunLock:
    """The lock of a run, held by this process.

    Its descriptor `fd` can be handed to a child process, which then holds the lock too (flock(2): a
    lock belongs to the open file, and is freed when its last descriptor is closed).
    """

    def __init__(self, file: Path, fd: int) -> None:
        self.file = file
        self.fd = fd

    def release(self) -> None:
        """Free the lock and remove its file."""
        # The file is removed while the lock is held. Once the lock is free, the next holder may
        # already use the file. `take` handles processes that have opened the removed file.
        self.file.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Close the descriptor. The lock stays with a child that has it."""
        os.close(self.fd)


def take(home: Path, run_id: str) -> RunLock | None:
    """Take the lock of a run and return it; return None when a living process holds the lock.

    Raises:
        StateError: the state folder cannot be written.
    """
    file = lock_file(home, run_id)
    with convert_errors(file):
        private.make_folders(file.parent)
        while True:
            fd = _open(file)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is_same_file(fd, file):
                    return RunLock(file, fd)
            except BlockingIOError:
                os.close(fd)
                return None
            except BaseException:
                os.close(fd)
                raise
            # Between `open` and `flock` the last holder removed the file and freed the lock. Other
            # processes now lock a new file of that name, so a lock on the old file has no effect.
            os.close(fd)


class FileUse:
    """The lock that keeps files of earlier runs in place while an engine starts to use them.

    An engine that takes outputs from an earlier run first finds that the files exist, and then
    records that its run uses them. Between these two steps, nobody may remove the last other run
    that uses the files. Many engines may hold the shared lock at the same time, each only for a
    moment.

    The file of this lock is never removed. So the check in `take` for a removed file is not needed.
    """

    def __init__(self, home: Path) -> None:
        self._file = lock_file(home, FILE_USE)

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Hold the lock to use files. Wait until nobody removes the record of a run."""
        with self._locked(fcntl.LOCK_SH):
            yield

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the lock to remove the record of a run. Wait until no engine starts to use files.

        Only the record must be removed under the lock. The files can be removed later, because
        without the record nobody finds them.
        """
        with self._locked(fcntl.LOCK_EX):
            yield

    @contextmanager
    def _locked(self, lock_type: int) -> Iterator[None]:
        with convert_errors(self._file):
            private.make_folders(self._file.parent)
            fd = _open(self._file)
        try:
            fcntl.flock(fd, lock_type)
            yield
        finally:
            os.close(fd)


def _open(file: Path) -> int:
    return os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _is_same_file(fd: int, file: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.stat(file))
    except FileNotFoundError:
        return False
