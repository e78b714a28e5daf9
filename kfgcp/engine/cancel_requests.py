"""Requests to cancel a run.

Any process can cancel a run: it increases the number of requests in the row of the run. The engine
reads this number at regular intervals.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

from kfgcp.store.store import Store

POLL_SECONDS: Final = 0.25
"""How long a request may wait until the engine sees it."""


@dataclass(frozen=True, slots=True)
class CancelRequested:
    """The event that somebody asked the run to end.

    Attributes:
        force: the tasks are killed at once.
    """

    force: bool


class CancelRequests:
    """The requests of other processes to end a run.

    Args:
        store: where they are recorded.
        run_id: the run.
    """

    def __init__(self, store: Store, run_id: str) -> None:
        self._store = store
        self._run_id = run_id
        self._next_poll = time.monotonic()
        self._count = 0

    def count_if_changed(self, now: float) -> int:
        """Return how many requests there are in all, or 0 when no request came since the last call.

        Calls within `POLL_SECONDS` after a read of the store do not read it again. They return 0.

        Args:
            now: seconds of `time.monotonic`.
        """
        if now < self._next_poll:
            return 0
        self._next_poll = now + POLL_SECONDS
        count = self._store.cancel_requests(self._run_id)
        if count <= self._count:
            return 0
        self._count = count
        return count
