"""Find out when the lines of a log were written, although the log itself contains no times.

Tasks write to their logs directly, from any number of processes. So the engine does not see single
lines. It sees the size of the file and the time of its last change: all bytes up to this size were
written by this time. Once a second while an attempt runs, the engine appends this pair to a file
beside the log, `1.times` for `1.log`. A pair is two unsigned integers of 8 bytes in network byte
order: the size, and the time in nanoseconds since 1970.

The time of a line is the time in the first pair whose size includes the line. It is up to a second
late, never early. Lines after the last pair have the time of the last change of the log. A log
without pairs comes from a short attempt or from an earlier version of kfgcp. All its lines have the
time of the last change of the log.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

NOTE_SECONDS: Final = 1.0
"""The time between two pairs."""

CLOCK_TICK_NS: Final = 20_000_000
"""How much too early the time of a file's last change may be. It comes from a clock of the kernel
that advances in steps."""

_PAIR: Final = struct.Struct("!QQ")
_LOOK_BACK_BYTES: Final = 1024 * 1024
"""The longest line whose start is searched for."""


class LogTimes:
    """The writer of the `.times` files of all running attempts."""

    def __init__(self) -> None:
        self._next_time = 0.0
        self._sizes: dict[int, int] = {}

    def is_due(self, now: float) -> bool:
        """Return whether `write` should be called.

        Args:
            now: seconds of a monotonic clock.
        """
        return now >= self._next_time

    def write(self, now: float, logs: Mapping[int, Path]) -> None:
        """Write a pair for each log that has grown since the last call.

        Args:
            now: seconds of a monotonic clock.
            logs: the log of each running attempt, by the attempt's id.
        """
        self._next_time = now + NOTE_SECONDS
        previous_sizes = self._sizes
        # A new dict, so that it does not keep attempts that have ended.
        self._sizes = {}
        for attempt_id, log in logs.items():
            size = previous_sizes.get(attempt_id, 0)
            # The log may not exist yet, or the disk may be full. The lines then get a later time.
            with suppress(OSError):
                status = os.stat(log)
                if status.st_size > size:
                    _append(times_file(log), _PAIR.pack(status.st_size, status.st_mtime_ns))
                size = status.st_size
            self._sizes[attempt_id] = size


def times_file(log: Path) -> Path:
    """Return the file that holds the times of a log."""
    return log.with_suffix(".times")


def first_line_since(log: Path, since: float) -> int | None:
    """Return the offset of the first line that was written at a given time or later.

    A line that was written in pieces has the time of its end.

    Args:
        log: the log of an attempt.
        since: seconds since 1970.

    Returns:
        The offset in bytes; None when all lines of the log are older.
    """
    since_ns = int(since * 1e9) - CLOCK_TICK_NS
    try:
        if os.stat(log).st_mtime_ns < since_ns:
            return None
        older_bytes = _size_before(times_file(log), since_ns)
        return _line_start(log, older_bytes)
    except FileNotFoundError:
        return None


def _append(file: Path, data: bytes) -> None:
    fd = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        # The pair is written in one call. So after a kill, only the last pair can be incomplete.
        os.write(fd, data)
    finally:
        os.close(fd)


def _size_before(times: Path, since_ns: int) -> int:
    """Return the size in the last pair whose time is before `since_ns`, 0 when there is none."""
    try:
        fd = os.open(times, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return 0
    try:
        # A long run has many pairs, so this is a binary search. At its end, `low` is the number of
        # pairs before `since_ns`. The division ignores an incomplete pair at the end of the file.
        low = 0
        high = os.fstat(fd).st_size // _PAIR.size
        while low < high:
            middle = (low + high) // 2
            _, time_ns = _read_pair(fd, middle)
            if time_ns < since_ns:
                low = middle + 1
            else:
                high = middle
        if low == 0:
            return 0
        size, _ = _read_pair(fd, low - 1)
        return size
    finally:
        os.close(fd)


def _read_pair(fd: int, number: int) -> tuple[int, int]:
    """Return the size and the time of a pair; the first pair has the number 0."""
    size, time_ns = _PAIR.unpack(os.pread(fd, _PAIR.size, number * _PAIR.size))
    return size, time_ns


def _line_start(log: Path, offset: int) -> int:
    """Return the offset where the line that contains `offset` starts.

    For a line that is longer than `_LOOK_BACK_BYTES`, return `offset` itself.
    """
    start = max(0, offset - _LOOK_BACK_BYTES)
    with log.open("rb") as file:
        file.seek(start)
        before = file.read(offset - start)
    newline = before.rfind(b"\n")
    if newline < 0 and start > 0:
        return offset
    # Without a newline this is the start of the file: `start` is 0 and `newline` is -1.
    return start + newline + 1
