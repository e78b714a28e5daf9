"""The standard streams of a command, which may be closed, on a full disk, or a pipe without a
reader."""

from __future__ import annotations

import io
import os
import select
import sys
from typing import Any, Final, TextIO

from kfgcp.errors import MachineError

STDIN: Final = 0
STDOUT: Final = 1
STDERR: Final = 2


class _Output(io.FileIO):
    """A descriptor to write to.

    What cannot be written to standard error is dropped: a message that nobody can read must not
    change the exit code of a command. When a result cannot be written to standard output, that is
    an error. It is raised once, and later output is dropped.
    """

    def __init__(self, fd: int) -> None:
        super().__init__(fd, "wb", closefd=False)
        self._is_broken = False

    def write(self, data: Any, /) -> int:
        if self._is_broken:
            return memoryview(data).nbytes
        try:
            count: int | None = super().write(data)
            # None: another program made the pipe or terminal non-blocking, and it is full now.
            while count is None:
                select.select([], [self], [])
                count = super().write(data)
            return count
        except BrokenPipeError:
            self._is_broken = True
            raise
        except OSError as error:
            self._is_broken = True
            if self.fileno() == STDERR:
                return memoryview(data).nbytes
            raise MachineError(f"Standard output cannot be written: {error.strerror}.") from None


def prepare() -> None:
    """Make the standard streams safe to use.

    A descriptor that the caller closed is opened on /dev/null. Otherwise the next file that is
    opened, a lock for example, would get its number, and a child process would get that file as its
    standard stream.
    """
    for fd in (STDIN, STDOUT, STDERR):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free: this one
    if sys.stdin is None:
        sys.stdin = open(STDIN, closefd=False)  # noqa: SIM115
    if sys.stdout is None or sys.stdout is sys.__stdout__:
        sys.stdout = _text_stream(STDOUT, sys.stdout)
    if sys.stderr is None or sys.stderr is sys.__stderr__:
        sys.stderr = _text_stream(STDERR, sys.stderr)


def _text_stream(fd: int, before: TextIO | None) -> TextIO:
    """Return a stream with the encoding and the buffering of the one that Python made."""
    if isinstance(before, io.TextIOWrapper):
        before.flush()
        encoding, lines, through = before.encoding, before.line_buffering, before.write_through
    else:
        encoding, lines, through = "utf-8", True, False
    return io.TextIOWrapper(
        io.BufferedWriter(_Output(fd)),
        encoding=encoding,
        errors="backslashreplace",
        line_buffering=lines,
        write_through=through,
    )
