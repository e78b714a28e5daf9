"""When a request is sent again: exponential backoff with full jitter, Retry-After, and a budget of
time."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from kfgcp.errors import BackendError
from kfgcp.services.transport import Response

LONGEST_BACKOFF: Final = 32.0
"""The longest wait that kfgcp chooses itself, in seconds. Retry-After may ask for a longer one."""
E = TypeVar("E", bound=BackendError)


@dataclass(frozen=True, slots=True)
class Clock:
    """Time and chance. Tests give their own."""

    sleep: Callable[[float], None] = time.sleep
    now: Callable[[], float] = time.monotonic
    jitter: Callable[[], float] = random.random


class Retries:
    """The tries of one call.

    Args:
        budget: seconds after the first try in which another one may begin.
        retries: how often the request is sent again at most.
        clock: time and chance.
    """

    def __init__(self, budget: float, retries: int, clock: Clock) -> None:
        self._clock = clock
        self._start = clock.now()
        self._budget = budget
        self._retries = retries
        self._tries = 1
        self._retry_after: float | None = None

    def read_timeout(self, read_timeout: float) -> float:
        """Return how many seconds this try may wait for bytes. A later try ends with the budget,
        after 1 s at least."""
        if self._tries == 1:
            return read_timeout
        left = self._start + self._budget - self._clock.now()
        return min(read_timeout, max(left, 1))

    def wait(self, response: Response | None = None, *, most: int | None = None) -> bool:
        """Wait until the next try, and return True. Return False at once when there must not be
        another one.

        Args:
            response: the response of the failed try. It may have a Retry-After header.
            most: how often the request is sent again at most, when that is less than for the whole
                call.
        """
        self._retry_after = (
            _retry_after(response.headers.get("retry-after", "")) if response else None
        )
        delay = max(self._retry_after or 0, self._backoff())
        retries = self._retries if most is None else min(self._retries, most)
        spent = self._clock.now() - self._start
        if self._tries > retries or spent + delay >= self._budget:
            return False
        self._tries += 1
        self._retry_after = None
        self._clock.sleep(delay)
        return True

    def _backoff(self) -> float:
        """Return a wait in seconds between 0 and 1, 2, 4, ... after the first, second, third, ...
        try."""
        longest: float = min(LONGEST_BACKOFF, 2.0 ** (self._tries - 1))
        return self._clock.jitter() * longest

    def described(self, error: E) -> E:
        """Return the error with the number of tries, and with the wait that the service asks
        for."""
        message, hint = error.message, error.hint
        if self._tries > 1:
            message += f" Tried {self._tries} times in {self._clock.now() - self._start:.0f} s."
        if self._retry_after:
            hint = f"It asks to wait {self._retry_after:.0f} s. {hint}".strip()
        return error.amended(message=message, hint=hint)


def _retry_after(text: str) -> float | None:
    """Return the seconds of a Retry-After header, which is a number or a date (RFC 9110, 10.2.3);
    None for neither."""
    if text.strip().isascii() and text.strip().isdigit():
        return float(text)
    from email.utils import parsedate_to_datetime

    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None
