"""The limits for waiting in tests, far longer than a slow, busy machine needs.

A test waits for a condition and gives up after one of these limits, so the speed of the machine
never decides whether it passes. A test about time itself uses its own clock, or compares two
measurements.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol, TypeVar

Answer = TypeVar("Answer")

REQUEST = 120.0
"""Seconds for one request to a server of the test, and for one wait between threads."""

PROCESS = 300.0
"""Seconds for a whole command, or for a run to end."""

PAUSE = 0.02
"""Seconds between two looks at a condition."""


def wait_for(condition: Callable[[], Answer], seconds: float = PROCESS) -> Answer:
    """Return the first true value of a condition, and fail when there is none within the limit.

    Args:
        condition: called again and again until what it returns is true.
        seconds: the limit.
    """
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"the condition did not hold within {seconds:g} s"
        time.sleep(PAUSE)
    return answer


class WaitFor(Protocol):
    """The type of `wait_for`, for tests that get it as the fixture `eventually`."""

    def __call__(self, condition: Callable[[], Answer], seconds: float = PROCESS) -> Answer:
        """Return the first true value of a condition."""
