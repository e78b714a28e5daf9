"""The time of one run."""

from __future__ import annotations

import time

from kfgcp.model import timestamp


class Clock:
    """Times that never go back during a run, whatever is done to the machine's clock."""

    def __init__(self) -> None:
        self._wall, self._start = time.time(), time.monotonic()
        self.next_poll = self._start

    def now(self) -> str:
        return timestamp(self._wall + time.monotonic() - self._start)
