"""The time of one run."""

from __future__ import annotations

import time

from kfgcp.model import timestamp


class Clock:
    """Times that never go back during a run.

    The clock of the machine is read once. When a user or NTP changes that clock later, the times
    here do not change.
    """

    def __init__(self) -> None:
        self._wall_start = time.time()
        self._start = time.monotonic()

    def now(self) -> str:
        """Return the time as a timestamp."""
        return timestamp(self._wall_start + time.monotonic() - self._start)
