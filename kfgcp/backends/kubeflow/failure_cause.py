"""Why a task failed, from what its pod wrote.

Neither the API nor ML Metadata tells the reason. The log does: the last exception of the program, or the line in which
the launcher or the driver gives up. They are told apart in `log_noise`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from kfgcp.backends.kubeflow.log_noise import EXIT_STATUS, ONLY_A_STATUS, Lines, Source, message_of
from kfgcp.backends.secrecy import one_line

MOST: Final = 1000
"""Characters of a cause."""
_TRACEBACK: Final = re.compile(r"(?P<margin>  \+ )?(?:Exception Group )?Traceback \(most recent call last\):\s*")
_NAME: Final = r"(?:(?:[^\W\d]\w*|<locals>)\.)*[^\W\d]\w*"
_RAISED: Final = re.compile(rf"{_NAME}(?::.*)?")
"""A line below a traceback: the name of an exception, with what it says."""
_LOOKS_RAISED: Final = re.compile(
    rf"{_NAME}(?:Error|Exception|Interrupt)(?::\s.*)?|panic: .+"
    r'|Exception in thread ".*|Caused by: .+|Uncaught \w+: .+|thread \'.*\' panicked at .+'
)
"""A line without a traceback that is an exception all the same: of a syntax error, or of another language."""
_COLOUR: Final = re.compile(r"\x1b\[[\d;]*m")
"""What FORCE_COLOR and libraries for logs put around parts of a line."""
_DRIVER: Final = re.compile(r'KFP driver: [\w.]+\((?:[^")]|"(?:[^"\\]|\\.)*")*\) failed: (?P<reason>.+)')
"""The driver's message: its call, whose arguments are quoted, and the reason (backend/src/v2/driver/driver.go)."""


class CauseFinder:
    """Looks for the cause in the lines of one log, from its beginning on; keeps a few lines only."""

    def __init__(self) -> None:
        self._log = Lines()
        self._margin: str | None = None
        self._raised = ""
        self._looks_raised = ""
        self._last = ""
        self._fatal = ""
        self._status = ""

    def feed(self, line: str) -> None:
        """Read the next line."""
        source = self._log.source_of(line)
        if source is Source.FATAL:
            self._fatal = _reason(message_of(line))
        elif source is Source.STATUS:
            self._status = line
        elif source is Source.PROGRAM:
            self._read_program(_COLOUR.sub("", line[: 2 * MOST]))

    @property
    def cause(self) -> str:
        """The cause on one line, "" when the log has none."""
        fatal_tells = self._fatal and not ONLY_A_STATUS.fullmatch(self._fatal)
        if fatal_tells:
            # The program ended well, so an exception in its log is one that it handled.
            return one_line(self._fatal, limit=MOST)
        raised = self._raised or self._looks_raised
        if raised:
            return one_line(raised, limit=MOST)
        status = EXIT_STATUS.fullmatch(self._status)
        ending = self._fatal or (status[1] if status else "")
        last = one_line(self._last, limit=MOST)
        if ending and last:
            return f"{ending} (last line: {last})"
        return ending or last

    def _read_program(self, line: str) -> None:
        text = line.strip()
        if text:
            self._last = text
        traceback = _TRACEBACK.fullmatch(line)
        if traceback is not None:
            self._margin = "  | " if traceback["margin"] else ""
            return
        if self._margin is not None:
            inside = line.removeprefix(self._margin).rstrip()
            if line.startswith(self._margin) and _RAISED.fullmatch(inside):
                self._raised, self._margin = inside, None
            return
        if text and self._raised.endswith(":"):
            self._raised = f"{self._raised} {text}"
        elif _LOOKS_RAISED.fullmatch(line.rstrip()):
            self._looks_raised = text


def cause_of(lines: Iterable[str]) -> str:
    """Return why the program of a log failed, on one line; "" when the log does not tell.

    Example:
        >>> cause_of(["Traceback (most recent call last):", '  File "a.py", line 1', "ValueError: too large", "bye"])
        'ValueError: too large'
    """
    finder = CauseFinder()
    for line in lines:
        finder.feed(line)
    return finder.cause


def _reason(message: str) -> str:
    """Return what a driver says was wrong, without the arguments of its call; other messages as they are."""
    driver = _DRIVER.fullmatch(message)
    return driver["reason"] if driver else message
