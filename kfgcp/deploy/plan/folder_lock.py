"""The lock of `apply` for an environment whose service has none: a file in the state folder."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from kfgcp import private
from kfgcp.backends.locks import HeldLock, LockOwner, locked_error
from kfgcp.store.database import convert_errors

# The most bytes that are read of a lock. Its owner is JSON with about 300 characters.
_MAX_BYTES = 10_000


class FolderLock:
    """Keeps locks in a state folder, see `SupportsLock`.

    The system frees a lock when its process ends, also when it is killed.

    Args:
        home: the state folder.
    """

    def __init__(self, home: Path) -> None:
        self._home = home

    @contextmanager
    def hold_lock(self, name: str, owner: LockOwner) -> Iterator[HeldLock]:
        """Hold a lock in a `with` block.

        Raises:
            Locked: another process holds it. The error names the process.
            StateError: the state folder cannot be written.
        """
        file = self._home / "locks" / f"apply-{quote(name, safe='')}"
        with convert_errors(file):
            private.make_folders(file.parent)
            fd = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise locked_error(name, _read_owner(fd)) from None
            with convert_errors(file):
                os.ftruncate(fd, 0)
                os.pwrite(fd, json.dumps(owner.to_dict()).encode(), 0)
            yield _Held()
        finally:
            os.close(fd)


class _Held:
    """A lock that only the end of this process, or of the `with` block, removes."""

    def check(self) -> None:
        """Do nothing: nobody can take the lock over."""


def _read_owner(fd: int) -> LockOwner | None:
    """Return the holder that a file names, None when it names none yet."""
    try:
        return LockOwner.from_dict(json.loads(os.pread(fd, _MAX_BYTES, 0)))
    except (ValueError, AttributeError):
        return None
