"""How long one call goes on trying: exponential backoff with full jitter, Retry-After, a budget of time."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from kfgcp.backends.wire import Answer
from kfgcp.errors import BackendError


@dataclass(frozen=True, slots=True)
class Clock:
    """Time and chance, for tests to put their own in the place of."""

    sleep: Callable[[float], None] = time.sleep
    now: Callable[[], float] = time.monotonic
    jitter: Callable[[], float] = random.random


class Patience:
    """The tries of one call. budget: seconds from the first after which no other begins; retries: others at most."""

    def __init__(self, budget: float, retries: int, clock: Clock) -> None:
        self._clock = clock
        self._start = clock.now()
        self._budget = budget
        self._retries = retries
        self._tries = 1
        self._asked: float | None = None

    def limit(self, read_timeout: float) -> float:
        """Seconds that a try may wait for an answer: a second one no longer than there is time."""
        left = self._start + self._budget - self._clock.now()
        return read_timeout if self._tries == 1 else min(read_timeout, max(left, 1))

    def wait(self, answer: Answer | None = None, *, most: int | None = None) -> bool:
        """Waits until it is time for another try; False, at once, when there is none.

        most: tries more than the first, when fewer than for the whole call.
        """
        self._asked = _retry_after(answer.headers.get("retry-after", "")) if answer else None
        delay = max(self._asked or 0, self._clock.jitter() * min(32, 2 ** (self._tries - 1)))
        spent = self._clock.now() - self._start
        if self._tries > min(self._retries, self._retries if most is None else most) or spent + delay >= self._budget:
            return False
        self._tries += 1
        self._asked = None
        self._clock.sleep(delay)
        return True

    def told(self, error: BackendError) -> BackendError:
        """The error, which says how often it was tried and how long the service asks to wait."""
        if self._tries > 1:
            error.message += f" Tried {self._tries} times in {self._clock.now() - self._start:.0f} s."
            error.args = (error.message,)
        if self._asked:
            error.hint = f"It asks to wait {self._asked:.0f} s. {error.hint}".strip()
        return error


def _retry_after(text: str) -> float | None:
    """Seconds to wait by a Retry-After header (RFC 9110, 10.2.3): a number or a date; None when it is neither."""
    if text.strip().isascii() and text.strip().isdigit():
        return float(text)
    from email.utils import parsedate_to_datetime

    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None
