"""Make the standard streams of a command safe to use.

A stream may be closed, lead to a full disk, or be a pipe that nobody reads.
"""

from __future__ import annotations

import io
import os
import select
import sys
from typing import TYPE_CHECKING, Final, TextIO

from kfgcp.errors import MachineError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

STDIN: Final = 0
STDOUT: Final = 1
STDERR: Final = 2


class _Output(io.FileIO):
    """A file descriptor of an output stream.

    Text that cannot be written to standard error is dropped: a message that nobody can read must
    not change the exit code of a command. When a result cannot be written to standard output, the
    first attempt raises an error, and later output is dropped.
    """

    def __init__(self, fd: int) -> None:
        super().__init__(fd, "wb", closefd=False)
        self._is_broken = False

    def write(self, data: ReadableBuffer, /) -> int:
        """Write bytes, and return how many were written or dropped.

        Raises:
            BrokenPipeError: nobody reads the pipe any longer.
            MachineError: standard output cannot be written.
        """
        if self._is_broken:
            return memoryview(data).nbytes
        try:
            count: int | None = super().write(data)
            # None means that the pipe or terminal is non-blocking and full. Another program that
            # uses the same pipe or terminal, such as the parent process, can make it non-blocking.
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
            # The system uses the lowest free descriptor, which is `fd`.
            os.open(os.devnull, os.O_RDWR)
    if sys.stdin is None:
        sys.stdin = open(STDIN, closefd=False)  # noqa: SIM115
    if sys.stdout is None or sys.stdout is sys.__stdout__:
        sys.stdout = _text_stream(STDOUT, sys.stdout)
    if sys.stderr is None or sys.stderr is sys.__stderr__:
        sys.stderr = _text_stream(STDERR, sys.stderr)


def _text_stream(fd: int, before: TextIO | None) -> TextIO:
    """Return a stream for a descriptor, with the encoding and the buffering of an older stream.

    Args:
        fd: the descriptor.
        before: the stream that Python made. None when the descriptor was closed at the start.
    """
    encoding = "utf-8"
    line_buffering = True
    write_through = False
    if isinstance(before, io.TextIOWrapper):
        before.flush()
        encoding = before.encoding
        line_buffering = before.line_buffering
        write_through = before.write_through
    return io.TextIOWrapper(
        io.BufferedWriter(_Output(fd)),
        encoding=encoding,
        errors="backslashreplace",
        line_buffering=line_buffering,
        write_through=write_through,
    )
