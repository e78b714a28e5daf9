"""Tell when the lines of a log were written, without a time in the log itself.

Tasks write to their logs directly, from any number of processes, so the engine does not see single
lines. What it can see is the size of the file and the time of its last change: all bytes up to that
size were written by that time. While an attempt runs, the engine notes such pairs once a second in
a file beside the log, `1.times` for `1.log`. A pair is two unsigned integers of 8 bytes in network
order: the size, and the time in nanoseconds since 1970.

The time of a line is that of the first pair that covers it: up to a second late, never early. Lines
after the last pair have the time of the last change of the log. The same is true for all lines of a
log without pairs, which a short attempt or an earlier version of kfgcp wrote.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

NOTE_SECONDS: Final = 1.0
CLOCK_TICK_NS: Final = 20_000_000
"""The time of a file's last change comes from a coarse clock of the kernel, and may be this much
early."""

_PAIR: Final = struct.Struct("!QQ")
_LOOK_BACK_BYTES: Final = 1024 * 1024
"""How far back the beginning of a line is looked for."""


class LogTimes:
    """Notes of how far the logs of running attempts have grown, once a second."""

    def __init__(self) -> None:
        self._next = 0.0
        self._sizes: dict[int, int] = {}

    def is_due(self, now: float) -> bool:
        """Return whether the logs should be looked at; now: seconds of a monotonic clock."""
        return now >= self._next

    def note(self, now: float, logs: Mapping[int, Path]) -> None:
        """Note the sizes of the logs that have grown.

        Args:
            now: seconds of a monotonic clock.
            logs: the log of each running attempt, by the attempt's id.
        """
        self._next = now + NOTE_SECONDS
        before = self._sizes
        # A new dict, so that attempts that have ended are forgotten.
        self._sizes = {}
        for attempt_id, log in logs.items():
            size = before.get(attempt_id, 0)
            # The log may not exist yet, or the disk may be full. The lines then get a later time.
            with suppress(OSError):
                state = os.stat(log)
                if state.st_size > size:
                    _append(times_file(log), _PAIR.pack(state.st_size, state.st_mtime_ns))
                size = state.st_size
            self._sizes[attempt_id] = size


def times_file(log: Path) -> Path:
    """Return the file that holds the times of a log."""
    return log.with_suffix(".times")


def first_line_since(log: Path, since: float) -> int | None:
    """Return where the first line begins that was written at a given time or later.

    The time of a line is when its end was written.

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
        older = _size_before(times_file(log), since_ns)
        return _start_of_line(log, older)
    except FileNotFoundError:
        return None


def _append(file: Path, data: bytes) -> None:
    fd = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        # In one call, so that a kill leaves at most one incomplete pair, at the end.
        os.write(fd, data)
    finally:
        os.close(fd)


def _size_before(times: Path, since_ns: int) -> int:
    """Return the size in the last pair that is older than a time, 0 when there is none.

    This is a binary search, because a long run has many pairs.
    """
    try:
        fd = os.open(times, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return 0
    try:
        low = 0
        # Without an incomplete pair at the end.
        high = os.fstat(fd).st_size // _PAIR.size
        while low < high:
            middle = (low + high) // 2
            if _pair(fd, middle)[1] < since_ns:
                low = middle + 1
            else:
                high = middle
        return _pair(fd, low - 1)[0] if low else 0
    finally:
        os.close(fd)


def _pair(fd: int, number: int) -> tuple[int, int]:
    size, time_ns = _PAIR.unpack(os.pread(fd, _PAIR.size, number * _PAIR.size))
    return size, time_ns


def _start_of_line(log: Path, offset: int) -> int:
    """Return where the line begins that contains an offset.

    For a very long line, return the offset itself.
    """
    start = max(0, offset - _LOOK_BACK_BYTES)
    with log.open("rb") as file:
        file.seek(start)
        before = file.read(offset - start)
    newline = before.rfind(b"\n")
    return start + newline + 1 if newline >= 0 or start == 0 else offset
