"""Decide when a failed request is sent again, and when kfgcp gives up.

The waits between tries follow exponential backoff with full jitter, or the header Retry-After of
the service. kfgcp gives up when the time budget or the number of retries of the call is used up.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from kfgcp.errors import BackendError
from kfgcp.services.transport import Response

# The longest wait that kfgcp chooses itself, in seconds. Retry-After may ask for a longer wait.
MAX_BACKOFF: Final = 32.0

# The shortest timeout of a try, in seconds. A try near the end of the budget gets a short timeout,
# but with less than a second it would fail, and only add load to the service.
MIN_READ_TIMEOUT: Final = 1.0

Error = TypeVar("Error", bound=BackendError)


@dataclass(frozen=True, slots=True)
class Clock:
    """The functions for time and random numbers that retries use. Tests replace them.

    Attributes:
        sleep: waits for a number of seconds.
        now: returns monotonic time, in seconds.
        jitter: returns a random number between 0 and 1.
    """

    sleep: Callable[[float], None] = time.sleep
    now: Callable[[], float] = time.monotonic
    jitter: Callable[[], float] = random.random


class Retries:
    """The tries of one call.

    Args:
        budget: another try may begin within this many seconds after the first try.
        retries: the most tries after the first try.
        clock: the functions for time and random numbers.
    """

    def __init__(self, budget: float, retries: int, clock: Clock) -> None:
        self._clock = clock
        self._start = clock.now()
        self._budget = budget
        self._retries = retries
        self._tries = 1
        # The wait that the service asked for in its last answer, when kfgcp does not wait for it.
        self._retry_after: float | None = None

    def read_timeout(self, read_timeout: float) -> float:
        """Return how many seconds the next try may wait for bytes.

        Args:
            read_timeout: the result for the first try. For a later try, the result is less when the
                budget ends earlier.
        """
        if self._tries == 1:
            return read_timeout
        seconds_left = self._start + self._budget - self._clock.now()
        return min(read_timeout, max(seconds_left, MIN_READ_TIMEOUT))

    def wait_for_next(
        self, response: Response | None = None, *, max_retries: int | None = None
    ) -> bool:
        """Wait, and return True when the next try may begin. Return False at once to give up.

        Args:
            response: the response to the failed try, which may have a Retry-After header; None
                without a response.
            max_retries: a lower limit of retries for this kind of failure; None for the limit of
                the call.
        """
        self._retry_after = None
        if response is not None:
            self._retry_after = read_retry_after(response.headers.get("retry-after", ""))
        delay = max(self._retry_after or 0.0, self._backoff())
        retry_limit = self._retries if max_retries is None else min(self._retries, max_retries)
        seconds_spent = self._clock.now() - self._start
        if self._tries > retry_limit or seconds_spent + delay >= self._budget:
            return False
        self._tries += 1
        self._retry_after = None
        self._clock.sleep(delay)
        return True

    def _backoff(self) -> float:
        """Return a random wait: at most 1 s after the first try, 2 s after the second, then 4 s."""
        # Full jitter: when many clients fail at the same time, they must not all try again at the
        # same time.
        max_wait: float = min(MAX_BACKOFF, 2.0 ** (self._tries - 1))
        return self._clock.jitter() * max_wait

    def describe(self, error: Error) -> Error:
        """Add the number of tries to the message of an error, and the Retry-After to its hint."""
        message, hint = error.message, error.hint
        if self._tries > 1:
            message += f" Tried {self._tries} times in {self._clock.now() - self._start:.0f} s."
        if self._retry_after:
            hint = f"The service asks to wait {self._retry_after:.0f} s. {hint}".strip()
        return error.amended(message=message, hint=hint)


def read_retry_after(header: str) -> float | None:
    """Return the seconds to wait in a Retry-After header (RFC 9110, section 10.2.3).

    The header is a number of seconds or a date. For a date in the past the result is 0, and for any
    other text it is None.
    """
    text = header.strip()
    if text.isascii() and text.isdigit():
        return float(text)
    # This import is slow, and only few answers have the header.
    from email.utils import parsedate_to_datetime

    try:
        retry_at = parsedate_to_datetime(header).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
    return max(0.0, retry_at - time.time())
