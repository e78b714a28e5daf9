"""Locks of the state folder, which the system frees when the process that holds them ends, however
it ends.

A run belongs to one engine process, which holds its `RunLock`. `FileUse` keeps the files of earlier
runs in place while an engine finds them and records that its run uses them.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kfgcp import private
from kfgcp.engine.layout import FILE_USE, lock_file
from kfgcp.store.database import failures


class RunLock:
    """The lock of a run, taken; `fd` can be handed to a child process, which then holds it too."""

    def __init__(self, file: Path, fd: int) -> None:
        self.file = file
        self.fd = fd

    def release(self) -> None:
        self.file.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        os.close(self.fd)


def take(home: Path, run_id: str) -> RunLock | None:
    """The run's lock, or None when a living process holds it."""
    file = lock_file(home, run_id)
    with failures(file):
        private.make_folders(file.parent)
        while True:
            fd = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is(fd, file):
                    return RunLock(file, fd)
            except BlockingIOError:
                os.close(fd)
                return None
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)  # its holder released and removed it meanwhile: that lock excludes nobody


def _is(fd: int, file: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.stat(file))
    except FileNotFoundError:
        return False


class FileUse:
    """Who may use the files of earlier runs, and who may give them up.

    An engine that takes outputs from an earlier run does two things: it finds out that the files
    are there, and records that its run uses them. Between the two, nobody may remove the last other
    run that uses them. Many engines may do that at the same time, and each holds the lock for a
    moment only.
    """

    def __init__(self, home: Path) -> None:
        self._file = lock_file(home, FILE_USE)

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Hold the lock to use files; wait while somebody gives files up."""
        with self._locked(fcntl.LOCK_SH):
            yield

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the lock to remove the record of a run; wait for those who are about to use
        files."""
        with self._locked(fcntl.LOCK_EX):
            yield

    @contextmanager
    def _locked(self, kind: int) -> Iterator[None]:
        with failures(self._file):
            private.make_folders(self._file.parent)
            fd = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, kind)
            yield
        finally:
            os.close(fd)
