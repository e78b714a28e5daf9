"""A clock that notices when the time of the machine jumps."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from kfgcp.errors import BackendError

# A smaller step is an ordinary correction of the clock.
TOLERANCE: Final = timedelta(seconds=5)


class SteadyClock:
    """The time in UTC. It raises an error after a jump.

    The steps of a schedule depend on due times, so a wrong time could start a run twice.

    Args:
        now: returns the time of the machine.
        passed: returns the seconds of a clock that never jumps.
    """

    def __init__(
        self,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        passed: Callable[[], float] = time.monotonic,
    ) -> None:
        self._now = now
        self._passed = passed
        self._start = now()
        self._passed_at_start = passed()

    def now(self) -> datetime:
        """Return the time.

        Raises:
            BackendError: the clock has jumped since this object was made.
        """
        current = self._now()
        passed = timedelta(seconds=self._passed() - self._passed_at_start)
        jump = current - self._start - passed
        if abs(jump) > TOLERANCE:
            direction = "forward" if jump > timedelta(0) else "back"
            raise BackendError(
                f"The clock of this machine went {direction} by {abs(jump).total_seconds():.0f} s"
                " while schedules were changed, so kfgcp has stopped.",
                hint="Check the clock, then continue: kfgcp apply",
            )
        return current
