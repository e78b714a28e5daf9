"""Find the reason why a task failed in the log of its pod.

The API and ML Metadata do not give the reason. The log contains it: the last exception of the
program, or the last line of a launcher or driver that stopped with an error. `log_noise`
distinguishes these lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import Enum
from typing import Final

from kfgcp.backends.kubeflow.log_noise import (
    EXIT_STATUS,
    ONLY_A_STATUS,
    LineClassifier,
    Source,
    remove_klog_prefix,
)
from kfgcp.services.redact import redacted_line

# The greatest length of a cause, in characters.
MAX_LENGTH: Final = 1000

# The first line of a traceback. The lines of an exception group have a margin.
_TRACEBACK: Final = re.compile(
    r"(?P<margin>  \+ )?(?:Exception Group )?Traceback \(most recent call last\):\s*"
)
_GROUP_MARGIN: Final = "  | "

# A traceback has at least one frame (docs.python.org: library/traceback.html, reference of
# `print_tb`).
_FRAME: Final = re.compile(r'  File ".*", line \d+.*')
_NAME: Final = r"(?:(?:[^\W\d]\w*|<locals>)\.)*[^\W\d]\w*"

# The line below the frames of a traceback: the name of an exception, and its message.
_EXCEPTION: Final = re.compile(rf"(?P<name>{_NAME})(?::.*)?")

# The endings of the names of Python's own exceptions. By convention (PEP 8), the names of other
# exceptions end with "Error", too.
_EXCEPTION_ENDINGS: Final = (
    "Error",
    "Exception",
    "Interrupt",
    "Exit",
    "Iteration",
    "Warning",
    "Group",
)

# An exception without a traceback: a syntax error, or an exception of another language.
_LONE_EXCEPTION: Final = re.compile(
    rf"{_NAME}(?:Error|Exception|Interrupt)(?::\s.*)?|panic: .+"
    r'|Exception in thread ".*|Caused by: .+|Uncaught \w+: .+|thread \'.*\' panicked at .+'
)

# The codes of colours, which FORCE_COLOR and logging libraries put into lines.
_COLOUR: Final = re.compile(r"\x1b\[[\d;]*m")

# The message of a driver: a function call with quoted arguments, and the reason
# (backend/src/v2/driver/driver.go).
_DRIVER: Final = re.compile(
    r'KFP driver: [\w.]+\((?:[^")]|"(?:[^"\\]|\\.)*")*\) failed: (?P<reason>.+)'
)


def find_cause(lines: Iterable[str]) -> str:
    """Return why the program failed, on one line, or "" when its log does not say why.

    Args:
        lines: all lines of the log, in their order.

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
    """Looks for the cause of a failure in the lines of one log. It must get all lines, in order.

    It keeps only a few lines, because logs may be long.
    """

    def __init__(self) -> None:
        self._classifier = LineClassifier()
        # The prefix of each line in the current traceback, None outside of a traceback.
        self._margin: str | None = None
        self._has_frame = False
        self._likeness = _Likeness.NONE
        # The last exception with a traceback, and the exception before the current traceback.
        self._exception = ""
        self._earlier_exception = ""
        self._lone_exception = ""
        self._last_line = ""
        self._fatal_message = ""
        self._status_line = ""

    def feed(self, line: str) -> None:
        """Read the next line."""
        source = self._classifier.classify(line)
        if source is Source.FATAL:
            self._fatal_message = _read_reason(remove_klog_prefix(line))
        elif source is Source.STATUS:
            self._status_line = line
        elif source is Source.PROGRAM:
            # Only the beginning of a very long line is shown, without colours.
            self._read_program_line(_COLOUR.sub("", line[: 2 * MAX_LENGTH]))

    @property
    def cause(self) -> str:
        """The cause on one line, "" when the log has none."""
        if self._fatal_message and not ONLY_A_STATUS.fullmatch(self._fatal_message):
            # The launcher or driver failed, not the program. So the exceptions in the log are not
            # the cause: the program handled them.
            return redacted_line(self._fatal_message, limit=MAX_LENGTH)
        exception = self._exception or self._lone_exception
        if exception:
            return redacted_line(exception, limit=MAX_LENGTH)
        status = EXIT_STATUS.fullmatch(self._status_line)
        ending = self._fatal_message
        if not ending and status is not None:
            ending = status["status"]
        last_line = redacted_line(self._last_line, limit=MAX_LENGTH)
        if ending and last_line:
            return f"{ending} (last line: {last_line})"
        return ending or last_line

    def _read_program_line(self, line: str) -> None:
        """Read the next line of the program."""
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
            self._read_traceback_line(line.removeprefix(self._margin).rstrip())
            return
        if text and self._exception.endswith(":"):
            # The message of the exception begins on the next line.
            self._exception = f"{self._exception} {text}"
        elif self._margin is None and _LONE_EXCEPTION.fullmatch(line.rstrip()):
            self._lone_exception = text

    def _read_traceback_line(self, line: str) -> None:
        """Read a line below the first line of a traceback.

        The program may write other lines in between, such as `epoch: 5`, which have the form of an
        exception. So a line counts as the exception only below a frame, until another frame or a
        line that looks more like an exception follows. A line with the name of one of Python's own
        exceptions ends the traceback, because the message below it may have any form.
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
            likeness = _rate_likeness(match["name"])
            if likeness.value > self._likeness.value:
                self._exception = line
                self._likeness = likeness
        elif not self._has_frame and _LONE_EXCEPTION.fullmatch(line):
            self._lone_exception = line
        is_indented = line.startswith(" ")
        has_exception = self._likeness is not _Likeness.NONE
        is_outside = has_exception and match is None and not is_indented
        if is_outside or self._likeness is _Likeness.CLEAR:
            self._margin = None


class _Likeness(Enum):
    """How much the name at the beginning of a line looks like the name of an exception.

    NONE is a line without a name, WORD a name in lower case, CLASS a name with the form of a class,
    and CLEAR a name with the ending of an exception.
    """

    NONE = 0
    WORD = 1
    CLASS = 2
    CLEAR = 3


def _rate_likeness(name: str) -> _Likeness:
    """Return how much a name looks like the name of an exception."""
    last_part = name.rpartition(".")[2]
    if last_part.endswith(_EXCEPTION_ENDINGS):
        return _Likeness.CLEAR
    if "." in name or last_part[0].isupper():
        return _Likeness.CLASS
    return _Likeness.WORD


def _read_reason(message: str) -> str:
    """Return the reason in the message of a driver. Other messages stay unchanged."""
    driver = _DRIVER.fullmatch(message)
    return driver["reason"] if driver is not None else message
