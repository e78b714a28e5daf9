"""Decides whether and when a failed request is sent again.

Waits follow exponential backoff with full jitter, or the Retry-After of the service. A budget of
time limits the call.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from kfgcp.errors import BackendError
from kfgcp.services.transport import Response

# The longest wait that kfgcp chooses itself, in seconds. Retry-After may ask for a longer one.
LONGEST_BACKOFF: Final = 32.0

# A late try may be short, but with less than a second it would only add load.
SHORTEST_TIMEOUT: Final = 1.0

Error = TypeVar("Error", bound=BackendError)


@dataclass(frozen=True, slots=True)
class Clock:
    """The time and the randomness that retries use. Tests replace them."""

    sleep: Callable[[float], None] = time.sleep
    now: Callable[[], float] = time.monotonic
    jitter: Callable[[], float] = random.random


class Retries:
    """The tries of one call.

    Args:
        budget: seconds after the first try in which another one may begin.
        retries: the most tries after the first one.
        clock: the time and the randomness.
    """

    def __init__(self, budget: float, retries: int, clock: Clock) -> None:
        self._clock = clock
        self._start = clock.now()
        self._budget = budget
        self._retries = retries
        self._tries = 1
        self._retry_after: float | None = None

    def read_timeout(self, read_timeout: float) -> float:
        """Return how many seconds this try may wait for bytes. A later try ends with the budget."""
        if self._tries == 1:
            return read_timeout
        left = self._start + self._budget - self._clock.now()
        return min(read_timeout, max(left, SHORTEST_TIMEOUT))

    def wait(self, response: Response | None = None, *, most: int | None = None) -> bool:
        """Wait until the next try. Return False at once when there must not be another one.

        Args:
            response: of the failed try, None when there was none. It may have a Retry-After header.
            most: the most tries after this kind of failure. None is the limit of the call.
        """
        self._retry_after = None
        if response is not None:
            self._retry_after = read_retry_after(response.headers.get("retry-after", ""))
        delay = max(self._retry_after or 0.0, self._backoff())
        retries = self._retries if most is None else min(self._retries, most)
        spent = self._clock.now() - self._start
        if self._tries > retries or spent + delay >= self._budget:
            return False
        self._tries += 1
        self._retry_after = None
        self._clock.sleep(delay)
        return True

    def _backoff(self) -> float:
        """Return a random wait: up to 1 s after the first try, 2 s after the second, and so on."""
        # Full jitter: many clients that failed together must not come back together.
        longest: float = min(LONGEST_BACKOFF, 2.0 ** (self._tries - 1))
        return self._clock.jitter() * longest

    def described(self, error: Error) -> Error:
        """Return the error with the number of tries, and the wait that the service asks for."""
        message, hint = error.message, error.hint
        if self._tries > 1:
            message += f" Tried {self._tries} times in {self._clock.now() - self._start:.0f} s."
        if self._retry_after:
            hint = f"It asks to wait {self._retry_after:.0f} s. {hint}".strip()
        return error.amended(message=message, hint=hint)


def read_retry_after(header: str) -> float | None:
    """Return the seconds that a Retry-After header asks for (RFC 9110, section 10.2.3).

    The header is a number of seconds or a date. A date in the past means 0. Other texts are
    ignored: None.
    """
    text = header.strip()
    if text.isascii() and text.isdigit():
        return float(text)
    # This import is slow, and most answers have no such header.
    from email.utils import parsedate_to_datetime

    try:
        due = parsedate_to_datetime(header).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
    return max(0.0, due - time.time())
