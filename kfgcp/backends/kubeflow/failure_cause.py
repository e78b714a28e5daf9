"""Why a task failed, from what its pod wrote.

Neither the API nor ML Metadata tells the reason. The log does: the last exception of the program,
or the line in which the launcher or the driver gives up. They are told apart in `log_noise`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import Enum
from typing import Final

from kfgcp.backends.kubeflow.log_noise import EXIT_STATUS, ONLY_A_STATUS, Lines, Source, message_of
from kfgcp.services.redact import redacted_line

MOST: Final = 1000
"""Characters of a cause."""
_TRACEBACK: Final = re.compile(
    r"(?P<margin>  \+ )?(?:Exception Group )?Traceback \(most recent call last\):\s*"
)
_FRAME: Final = re.compile(r'  File ".*", line \d+.*')
"""A traceback has at least one frame (docs.python.org: library/traceback.html, reference of
`print_tb`)."""
_NAME: Final = r"(?:(?:[^\W\d]\w*|<locals>)\.)*[^\W\d]\w*"
_RAISED: Final = re.compile(rf"(?P<name>{_NAME})(?::.*)?")
"""A line below a traceback: the name of an exception, with what it says."""
_ENDINGS: Final = ("Error", "Exception", "Interrupt", "Exit", "Iteration", "Warning", "Group")
"""How the names of Python's own exceptions end, and by its convention (PEP 8) those of others."""
_LOOKS_RAISED: Final = re.compile(
    rf"{_NAME}(?:Error|Exception|Interrupt)(?::\s.*)?|panic: .+"
    r'|Exception in thread ".*|Caused by: .+|Uncaught \w+: .+|thread \'.*\' panicked at .+'
)
"""A line without a traceback that is an exception all the same: of a syntax error, or of another
language."""
_COLOUR: Final = re.compile(r"\x1b\[[\d;]*m")
"""What FORCE_COLOR and libraries for logs put around parts of a line."""
_DRIVER: Final = re.compile(
    r'KFP driver: [\w.]+\((?:[^")]|"(?:[^"\\]|\\.)*")*\) failed: (?P<reason>.+)'
)
"""The driver's message: its call, whose arguments are quoted, and the reason
(backend/src/v2/driver/driver.go)."""


class CauseFinder:
    """Looks for the cause in the lines of one log, from its beginning on; keeps a few lines
    only."""

    def __init__(self) -> None:
        self._log = Lines()
        # What stands before each line of the traceback that is being read; None outside of one.
        self._margin: str | None = None
        self._has_frame = False
        self._likeness = _Likeness.NONE
        self._raised = ""
        self._raised_before = ""
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
            return redacted_line(self._fatal, limit=MOST)
        raised = self._raised or self._looks_raised
        if raised:
            return redacted_line(raised, limit=MOST)
        status = EXIT_STATUS.fullmatch(self._status)
        ending = self._fatal or (status[1] if status else "")
        last = redacted_line(self._last, limit=MOST)
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
            self._has_frame, self._likeness = False, _Likeness.NONE
            self._raised_before = self._raised
            return
        if self._margin is not None and line.startswith(self._margin):
            self._read_traceback(line.removeprefix(self._margin).rstrip())
            return
        if text and self._raised.endswith(":"):
            self._raised = f"{self._raised} {text}"
        elif self._margin is None and _LOOKS_RAISED.fullmatch(line.rstrip()):
            self._looks_raised = text

    def _read_traceback(self, line: str) -> None:
        """Read a line below the first line of a traceback.

        The program may write lines of its own in between, such as `epoch: 5`. So a line is the
        exception only below a frame. It is not when a frame follows, or a line that looks more like
        an exception; unless it looks like one of Python's own, whose message may have such lines.
        """
        if _FRAME.fullmatch(line):
            self._has_frame = True
            self._raised, self._likeness = self._raised_before, _Likeness.NONE
            return
        is_indented = line.startswith(" ")
        if self._likeness is not _Likeness.NONE and self._raised.endswith(":") and line:
            self._raised = f"{self._raised} {line.strip()}"
            return
        match = _RAISED.fullmatch(line)
        if match is not None and self._has_frame:
            likeness = _likeness(match["name"])
            if likeness.value > self._likeness.value:
                self._raised, self._likeness = line, likeness
        elif _LOOKS_RAISED.fullmatch(line) and not self._has_frame:
            self._looks_raised = line
        is_over = self._likeness is not _Likeness.NONE and match is None and not is_indented
        if is_over or self._likeness is _Likeness.CLEAR:
            self._margin = None


class _Likeness(Enum):
    """How much a line below a traceback looks like an exception, by its name."""

    NONE = 0
    WORD = 1
    CLASS = 2
    CLEAR = 3


def _likeness(name: str) -> _Likeness:
    last_part = name.rpartition(".")[2]
    if last_part.endswith(_ENDINGS):
        return _Likeness.CLEAR
    if "." in name or last_part[0].isupper():
        return _Likeness.CLASS
    return _Likeness.WORD


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
    """Return what a driver says was wrong, without the arguments of its call; other messages as
    they are."""
    driver = _DRIVER.fullmatch(message)
    return driver["reason"] if driver else message
