"""Read the logs of attempts while they grow, and the last lines of a log.

A log may be larger than the memory, so it is always read in pieces.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from kfgcp.engine.log_times import first_line_since
from kfgcp.log_lines import LineSplitter

_READ_BYTES: Final = 256 * 1024
_TAIL_BYTES: Final = 64 * 1024
"""How much of the end of a log is searched for its last lines."""

_MAX_TAIL_LINE: Final = 2000
"""How many characters of each of the last lines are kept. A longer line loses its beginning."""


class LogReader:
    """A reader of a log that still grows.

    While the log grows, an incomplete last line is not read yet. A very long line is read in
    pieces.

    Args:
        file: the log.
        since: seconds since 1970. Lines that were written before are left out, see
            `kfgcp.engine.log_times`. None for all lines.
    """

    def __init__(self, file: Path, since: float | None = None) -> None:
        self._file = file
        self._since = since
        self._offset = 0
        self._lines = LineSplitter()

    def read(self, *, to_the_end: bool = False) -> Iterator[str]:
        """Yield the new lines without their line ends.

        Args:
            to_the_end: the log does not grow any more; yield also a last line without a line end.
        """
        if self._since is not None:
            start = first_line_since(self._file, self._since)
            if start is None:
                return
            # All lines after this one were written later, so `since` is not needed any more.
            self._offset = start
            self._since = None
        try:
            with self._file.open("rb") as log:
                log.seek(self._offset)
                while data := log.read(_READ_BYTES):
                    self._offset += len(data)
                    yield from self._lines.feed(data)
        except FileNotFoundError:
            pass
        if to_the_end:
            yield from self._lines.end()


def log_tail(file: Path, lines: int = 20) -> tuple[str, ...]:
    """Return the last lines of a log, without the beginning of long lines.

    Args:
        file: the log.
        lines: the number of lines.

    Returns:
        The lines; empty when the log cannot be read.
    """
    try:
        with file.open("rb") as log:
            log.seek(0, os.SEEK_END)
            log.seek(max(0, log.tell() - _TAIL_BYTES))
            text = log.read().decode("utf-8", errors="replace")
    except OSError:
        return ()
    last_lines = text.splitlines()[-lines:]
    return tuple(line[-_MAX_TAIL_LINE:] for line in last_lines)
