"""Split bytes of logs that arrive in pieces into lines, and read lines that are JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final

# A longer line is split, so that a task that writes no line ends cannot fill the memory.
_MAX_LINE_BYTES: Final = 1024 * 1024

# Severities of Cloud Logging that readers need not see before a message.
_QUIET_SEVERITIES: Final = ("DEFAULT", "DEBUG", "INFO", "NOTICE")


def readable_line(text: str) -> str:
    """Return the message of a line that is JSON with a severity and a message, else the line.

    Programs write such lines for Cloud Logging, which shows the field `message` (the page
    "Structured logging" of its documentation). Our components do so too.

    Example:
        >>> readable_line('{"severity": "WARNING", "message": "2 rows have no target", "rows": 2}')
        'WARNING: 2 rows have no target'
        >>> readable_line('{"rows": 2}')
        '{"rows": 2}'
    """
    # Most lines are not JSON, and a run can write thousands of them in a second.
    if not text.startswith("{") or '"message"' not in text:
        return text
    try:
        line = json.loads(text)
    except (ValueError, RecursionError):
        return text
    severity = line.get("severity")
    message = line.get("message")
    if not isinstance(severity, str) or not isinstance(message, str):
        return text
    # A message of several lines would look like lines of their own.
    one_line = " ".join(message.splitlines())
    return one_line if severity in _QUIET_SEVERITIES else f"{severity}: {one_line}"


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
