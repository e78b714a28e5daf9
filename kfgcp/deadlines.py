"""Set the time by which an exchange with a service has to end.

The timeout of a socket starts again with each byte, so it never ends an answer that sends one byte
each second. A deadline does not move. `within` sets a deadline for a block of code, and the sockets
of `kfgcp.sockets` obey this deadline:

    with within(120) as deadline:
        answer = session.send(request)
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final, TypeVar

from kfgcp.machine import start_thread

Result = TypeVar("Result")

# How long one exchange may take, unless the environment has another `request_seconds`.
REQUEST_SECONDS: Final = 120.0


class DeadlineError(TimeoutError):
    """A deadline has passed."""


class Deadline:
    """A time in the future.

    Args:
        seconds: the time from now to the deadline.
        clock: a monotonic clock, in seconds.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds = seconds
        self._clock = clock
        self._end = clock() + seconds

    @property
    def seconds_left(self) -> float:
        """Seconds until the deadline; 0 or less when it has passed."""
        return self._end - self._clock()

    @property
    def has_passed(self) -> bool:
        """Whether the deadline is over."""
        return self.seconds_left <= 0


class MovingDeadline(Deadline):
    """A deadline that moves with the progress of a transfer: it is set again for each piece.

    Args:
        seconds: how long a piece may take.
        piece_bytes: the size of a piece.
        clock: a monotonic clock, in seconds.
    """

    def __init__(
        self, seconds: float, piece_bytes: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(seconds, clock)
        self._piece_bytes = piece_bytes
        self._bytes = 0

    def count(self, size: int) -> None:
        """Count bytes that were transferred. When a piece is complete, set the next deadline."""
        self._bytes += size
        if self._bytes >= self._piece_bytes:
            self._bytes = 0
            self._end = self._clock() + self.seconds


_current: ContextVar[Deadline | None] = ContextVar("kfgcp-deadline", default=None)


def current_deadline() -> Deadline | None:
    """Return the deadline of the current block of code, None without a deadline."""
    return _current.get()


@contextmanager
def within(seconds: float, clock: Callable[[], float] = time.monotonic) -> Iterator[Deadline]:
    """Set a deadline for a block of code.

    Inside another block, the earlier of the two deadlines counts.
    """
    with obey(Deadline(seconds, clock)) as deadline:
        yield deadline


@contextmanager
def obey(deadline: Deadline) -> Iterator[Deadline]:
    """Set an existing deadline for a block of code. `within` does the same with a new deadline."""
    outer = _current.get()
    if outer is not None and outer.seconds_left < deadline.seconds_left:
        deadline = outer
    token = _current.set(deadline)
    try:
        yield deadline
    finally:
        _current.reset(token)


def call_within(
    seconds: float,
    function: Callable[[], Result],
    *,
    discard: Callable[[Result], object] | None = None,
) -> Result:
    """Call a function that cannot be interrupted, such as a name lookup.

    The function runs in a thread. When it takes too long, the thread continues and its result is
    not used.

    Args:
        seconds: how long it may take.
        function: called once.
        discard: called with a result that came too late.

    Returns:
        What the function returned.

    Raises:
        DeadlineError: the function did not return in time.
        Exception: what the function raised.
    """
    # Imported only here: commands that make no request start faster without this module.
    import queue

    results: queue.SimpleQueue[tuple[Result | None, Exception | None]] = queue.SimpleQueue()
    lock = threading.Lock()
    abandoned = False

    def run() -> None:
        result: Result | None = None
        error: Exception | None = None
        try:
            result = function()
        except Exception as raised:
            error = raised
        with lock:
            if not abandoned:
                results.put((result, error))
                return
        if error is None and discard is not None:
            # Without an error, `result` is what the function returned.
            discard(result)  # type: ignore[arg-type]

    start_thread(run, "kfgcp-call-within")
    try:
        result, error = results.get(timeout=max(seconds, 0))
    except BaseException as interruption:
        with lock:
            abandoned = True
        if isinstance(interruption, queue.Empty):
            raise DeadlineError(f"no answer within {seconds:g} s") from None
        raise
    if error is not None:
        raise error
    # Without an error, `result` is what the function returned.
    return result  # type: ignore[return-value]
