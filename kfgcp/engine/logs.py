"""Read the logs of attempts while they grow, and their ends.

No log is ever held in memory as a whole.
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
_TAIL_LINE: Final = 2000
"""The longest line of a tail, in characters. Of a longer line the end is shown."""


class LogReader:
    """A reader of a log that still grows.

    It gives only whole lines until the log has ended, but very long lines in pieces.

    Args:
        file: the log.
        since: seconds since 1970; older lines are left out, see `kfgcp.engine.log_times`.
    """

    def __init__(self, file: Path, since: float | None = None) -> None:
        self._file = file
        self._since = since
        self._offset = 0
        self._lines = LineSplitter()

    def read(self, *, to_the_end: bool = False) -> Iterator[str]:
        """Yield the new lines without their line ends.

        Args:
            to_the_end: the log has ended; yield also a last line without a line end.
        """
        if self._since is not None:
            start = first_line_since(self._file, self._since)
            if start is None:
                return
            # The lines after the first one that is new enough were written later.
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
    """Return the last lines of a log; of a long line its end."""
    try:
        with file.open("rb") as log:
            log.seek(0, os.SEEK_END)
            log.seek(max(0, log.tell() - _TAIL_BYTES))
            text = log.read().decode("utf-8", errors="replace")
    except OSError:
        return ()
    return tuple(line[-_TAIL_LINE:] for line in text.splitlines()[-lines:])
