"""The time of one run."""

from __future__ import annotations

import time

from kfgcp.model import timestamp


class Clock:
    """Times that never go back during a run.

    The clock of the machine is read once. Later changes of it, by a user or by NTP, do not count.
    """

    def __init__(self) -> None:
        self._wall_start = time.time()
        self._start = time.monotonic()

    def now(self) -> str:
        """Return the time as a timestamp."""
        return timestamp(self._wall_start + time.monotonic() - self._start)
