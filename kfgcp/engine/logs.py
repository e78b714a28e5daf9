"""The logs of attempts, read as they grow, and their ends. No log is ever held in memory as a
whole."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from kfgcp.engine.log_times import first_line_since
from kfgcp.log_lines import LineSplitter

_READ_BYTES = 256 * 1024
_TAIL_BYTES = 64 * 1024


class LogReader:
    """Reads a log while it grows: only whole lines until the log has ended, but very long lines in
    pieces.

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
        """New lines without their ends; with `to_the_end` also a last one that has none."""
        if self._since is not None:
            start = first_line_since(self._file, self._since)
            if start is None:
                return
            self._offset, self._since = start, None  # lines after it were written later
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
    """The last lines of a log; of a long line its end."""
    try:
        with file.open("rb") as log:
            log.seek(0, 2)
            log.seek(max(0, log.tell() - _TAIL_BYTES))
            text = log.read().decode("utf-8", errors="replace")
    except OSError:
        return ()
    return tuple(line[-2000:] for line in text.splitlines()[-lines:])
