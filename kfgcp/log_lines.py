"""Lines of logs, from bytes that arrive in pieces."""

from __future__ import annotations

from collections.abc import Iterator

_LONGEST_LINE = 1024 * 1024
"""Longer lines are split."""


class LineSplitter:
    """Splits bytes that arrive in pieces into lines. Bytes that are not UTF-8 become U+FFFD."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[str]:
        """Yield the lines that are complete now, without their ends. The caller must read all of
        them."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        yield from map(_line, lines)
        if len(self._rest) >= _LONGEST_LINE:
            yield from self.end()

    def end(self) -> Iterator[str]:
        """Yield the last line, if it has no end."""
        if self._rest:
            piece, self._rest = self._rest, b""
            yield _line(piece)


def _line(raw: bytes) -> str:
    return raw.decode("utf-8", errors="replace").rstrip("\r")
