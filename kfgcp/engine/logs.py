"""The logs of attempts: read as they grow, and their ends. No log is ever held in memory as a whole."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

_READ_BYTES = 256 * 1024
_LONGEST_LINE = 1024 * 1024
_TAIL_BYTES = 64 * 1024


class LogReader:
    """Reads a log as it grows; only whole lines until it has ended, but endless ones in pieces."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._offset = 0
        self._rest = b""

    def read(self, *, to_the_end: bool = False) -> Iterator[str]:
        """New lines without their ends; with `to_the_end` also a last one that has none."""
        try:
            with self._file.open("rb") as log:
                log.seek(self._offset)
                while data := log.read(_READ_BYTES):
                    self._offset += len(data)
                    *lines, self._rest = (self._rest + data).split(b"\n")
                    yield from map(_line, lines)
                    if len(self._rest) >= _LONGEST_LINE:
                        piece, self._rest = self._rest, b""
                        yield _line(piece)
        except FileNotFoundError:
            pass
        if to_the_end and self._rest:
            piece, self._rest = self._rest, b""
            yield _line(piece)


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


def _line(raw: bytes) -> str:
    return raw.decode("utf-8", errors="replace").rstrip("\r")
