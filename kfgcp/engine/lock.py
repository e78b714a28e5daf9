"""A run belongs to one engine process: it holds a lock that the system frees when the process ends, however it ends."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from kfgcp.engine.layout import lock_file
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
        file.parent.mkdir(parents=True, exist_ok=True)
        while True:
            fd = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
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
