"""Notice that another process asked for the end of a run.

Cancelling is a column in the run's row, so that any process can ask for it. The engine polls it.
"""

from __future__ import annotations

import time
from typing import Final

from kfgcp.store.store import Store

POLL_SECONDS: Final = 0.25
"""How long a request may wait until the engine sees it."""


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

    def read_new(self, now: float) -> int:
        """Return how many requests there are in all, 0 when there is none since the last call.

        The store is read only when the last time is `POLL_SECONDS` ago.

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
