"""Why a task failed, from what its pod wrote.

Neither the API nor ML Metadata gives the reason. The log does: the last exception of the program,
or the line in which the launcher or the driver gives up. `log_noise` tells their lines apart.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import Enum
from typing import Final

from kfgcp.backends.kubeflow.log_noise import (
    EXIT_STATUS,
    ONLY_A_STATUS,
    LineSources,
    Source,
    message_of,
)
from kfgcp.services.redact import redacted_line

# Characters of a cause.
MAX_LENGTH: Final = 1000

# An exception group has a margin.
_TRACEBACK: Final = re.compile(
    r"(?P<margin>  \+ )?(?:Exception Group )?Traceback \(most recent call last\):\s*"
)
_GROUP_MARGIN: Final = "  | "

# A traceback has at least one frame (docs.python.org: library/traceback.html, reference of
# `print_tb`).
_FRAME: Final = re.compile(r'  File ".*", line \d+.*')
_NAME: Final = r"(?:(?:[^\W\d]\w*|<locals>)\.)*[^\W\d]\w*"

# A line below a traceback: the name of an exception, and its message.
_EXCEPTION: Final = re.compile(rf"(?P<name>{_NAME})(?::.*)?")

# How the names of Python's own exceptions end, and by its convention (PEP 8) those of others.
_EXCEPTION_ENDINGS: Final = (
    "Error",
    "Exception",
    "Interrupt",
    "Exit",
    "Iteration",
    "Warning",
    "Group",
)

# An exception without a traceback: a syntax error, or one of another language.
_LONE_EXCEPTION: Final = re.compile(
    rf"{_NAME}(?:Error|Exception|Interrupt)(?::\s.*)?|panic: .+"
    r'|Exception in thread ".*|Caused by: .+|Uncaught \w+: .+|thread \'.*\' panicked at .+'
)

# What FORCE_COLOR and libraries for logs put around parts of a line.
_COLOUR: Final = re.compile(r"\x1b\[[\d;]*m")

# The driver's message: its call, whose arguments are quoted, and the reason
# (backend/src/v2/driver/driver.go).
_DRIVER: Final = re.compile(
    r'KFP driver: [\w.]+\((?:[^")]|"(?:[^"\\]|\\.)*")*\) failed: (?P<reason>.+)'
)


def find_cause(lines: Iterable[str]) -> str:
    """Return why the program of a log failed, on one line; "" when the log does not say it.

    Example:
        >>> traceback = "Traceback (most recent call last):"
        >>> find_cause([traceback, '  File "a.py", line 1', "ValueError: too large", "bye"])
        'ValueError: too large'
    """
    finder = CauseFinder()
    for line in lines:
        finder.feed(line)
    return finder.cause


class CauseFinder:
    """Looks for the cause in the lines of one log, from its beginning on.

    It keeps only a few lines, because logs may be long.
    """

    def __init__(self) -> None:
        self._sources = LineSources()
        # What is before each line of the traceback that is being read; None outside of one.
        self._margin: str | None = None
        self._has_frame = False
        self._likeness = _Likeness.NONE
        # The last exception, and the one before the traceback that is being read.
        self._exception = ""
        self._earlier_exception = ""
        self._lone_exception = ""
        self._last_line = ""
        self._fatal = ""
        self._status = ""

    def feed(self, line: str) -> None:
        """Read the next line."""
        source = self._sources.source_of(line)
        if source is Source.FATAL:
            self._fatal = _read_reason(message_of(line))
        elif source is Source.STATUS:
            self._status = line
        elif source is Source.PROGRAM:
            # Only the beginning of a very long line is shown, without colours.
            self._read_program(_COLOUR.sub("", line[: 2 * MAX_LENGTH]))

    @property
    def cause(self) -> str:
        """The cause on one line, "" when the log has none."""
        if self._fatal and not ONLY_A_STATUS.fullmatch(self._fatal):
            # The program ended well, so it handled the exceptions in its log.
            return redacted_line(self._fatal, limit=MAX_LENGTH)
        exception = self._exception or self._lone_exception
        if exception:
            return redacted_line(exception, limit=MAX_LENGTH)
        status = EXIT_STATUS.fullmatch(self._status)
        ending = self._fatal
        if not ending and status is not None:
            ending = status["status"]
        last_line = redacted_line(self._last_line, limit=MAX_LENGTH)
        if ending and last_line:
            return f"{ending} (last line: {last_line})"
        return ending or last_line

    def _read_program(self, line: str) -> None:
        text = line.strip()
        if text:
            self._last_line = text
        traceback = _TRACEBACK.fullmatch(line)
        if traceback is not None:
            self._margin = _GROUP_MARGIN if traceback["margin"] else ""
            self._has_frame = False
            self._likeness = _Likeness.NONE
            self._earlier_exception = self._exception
            return
        if self._margin is not None and line.startswith(self._margin):
            self._read_traceback(line.removeprefix(self._margin).rstrip())
            return
        if text and self._exception.endswith(":"):
            # The message of the exception begins on the next line.
            self._exception = f"{self._exception} {text}"
        elif self._margin is None and _LONE_EXCEPTION.fullmatch(line.rstrip()):
            self._lone_exception = text

    def _read_traceback(self, line: str) -> None:
        """Read a line below the first line of a traceback.

        The program may write lines of its own in between, such as `epoch: 5`. So a line is the
        exception only below a frame. It is not the exception when another frame follows, or a line
        that looks more like one. A line that looks like one of Python's own exceptions always is:
        its message may have any lines.
        """
        if _FRAME.fullmatch(line):
            self._has_frame = True
            self._exception = self._earlier_exception
            self._likeness = _Likeness.NONE
            return
        if self._likeness is not _Likeness.NONE and self._exception.endswith(":") and line:
            self._exception = f"{self._exception} {line.strip()}"
            return
        match = _EXCEPTION.fullmatch(line)
        if match is not None and self._has_frame:
            likeness = _likeness(match["name"])
            if likeness.value > self._likeness.value:
                self._exception = line
                self._likeness = likeness
        elif not self._has_frame and _LONE_EXCEPTION.fullmatch(line):
            self._lone_exception = line
        is_indented = line.startswith(" ")
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
    if last_part.endswith(_EXCEPTION_ENDINGS):
        return _Likeness.CLEAR
    if "." in name or last_part[0].isupper():
        return _Likeness.CLASS
    return _Likeness.WORD


def _read_reason(message: str) -> str:
    """Return the reason in the message of a driver, without the arguments of its call.

    Other messages are returned as they are.
    """
    driver = _DRIVER.fullmatch(message)
    return driver["reason"] if driver is not None else message
