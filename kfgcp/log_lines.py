"""Split bytes of logs that arrive in pieces into lines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

# A longer line is split, so that a task that writes no line ends cannot fill the memory.
_MAX_LINE_BYTES: Final = 1024 * 1024


class LineSplitter:
    """Splits bytes that arrive in pieces into lines. Bytes that are not UTF-8 become U+FFFD."""

    def __init__(self) -> None:
        self._incomplete_line = b""

    def feed(self, data: bytes) -> Iterator[str]:
        """Yield the lines that are complete now, without their line ends.

        The caller must read all lines, because the code of a generator runs only while it is read.
        """
        *lines, self._incomplete_line = (self._incomplete_line + data).split(b"\n")
        yield from map(_decode_line, lines)
        if len(self._incomplete_line) >= _MAX_LINE_BYTES:
            yield from self.end()

    def end(self) -> Iterator[str]:
        """Yield the last line if it has no line end."""
        if self._incomplete_line:
            piece, self._incomplete_line = self._incomplete_line, b""
            yield _decode_line(piece)


def _decode_line(raw: bytes) -> str:
    return raw.decode("utf-8", errors="replace").rstrip("\r")
