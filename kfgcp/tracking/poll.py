"""Ask a backend for a run: often while the run changes, and seldom otherwise.

An outage of the service does not end the polling.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from kfgcp.backends.base import Backend, Pace, RunRef
from kfgcp.errors import BackendError
from kfgcp.model import Run

# A pause is at least ten times as long as the last request took, so that a slow service is not kept
# busy. But it is never longer than the longest pause of the backend: the request may have been slow
# because of an outage that is over.
SLOW_REQUEST_FACTOR: Final = 10.0

# Seconds without an answer after which the polling ends with an error. The run itself continues.
OUTAGE: Final = 3600.0


class Poller:
    """The requests for one run, each when it is time.

    Args:
        backend: the backend of the run.
        ref: the run.
        pace: the pauses between requests, None for those of the backend.
        notice: called with a line of text when the backend cannot be reached, and when it can be
            reached again.
        clock: returns seconds that only increase.
    """

    def __init__(
        self,
        backend: Backend,
        ref: RunRef,
        *,
        pace: Pace | None = None,
        notice: Callable[[str], None] = lambda text: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._backend = backend
        self._ref = ref
        self._pace = pace or backend.pace
        self._notice = notice
        self._clock = clock
        self._run: Run | None = None
        self._changed_at = clock()
        self._next_at = self._changed_at
        self._lost_at: float | None = None

    def look(self) -> Run | None:
        """Return the run, or None at once.

        None means that it is too early for a request, or that the backend cannot be reached.

        Raises:
            BackendError: the run does not exist any more, the sign-in is not valid any longer, or
                the backend could not be reached for `OUTAGE` seconds.
        """
        started_at = self._clock()
        if started_at < self._next_at:
            return None
        try:
            run = self._backend.get(self._ref)
        except BackendError as error:
            if not error.passing:
                raise
            self._wait_for_end_of_outage(error)
            return None
        now = self._clock()
        if self._lost_at is not None:
            self._notice(f"{self._ref.env} answers again")
            self._lost_at = None
        if self._run is None or _without_results(run) != _without_results(self._run):
            self._run = run
            self._changed_at = now
        shortest_pause = min(SLOW_REQUEST_FACTOR * (now - started_at), self._pace.longest)
        self._next_at = now + max(self._pace.pause(now - self._changed_at), shortest_pause)
        return run

    @property
    def wait(self) -> float:
        """Seconds until the next request."""
        return max(self._next_at - self._clock(), 0.0)

    def _wait_for_end_of_outage(self, error: BackendError) -> None:
        now = self._clock()
        if self._lost_at is None:
            self._lost_at = now
            notice = (
                f"{self._ref.env} cannot be reached; the run continues, and kfgcp tries again:"
                f" {error.message}"
            )
            self._notice(notice)
        if now - self._lost_at > OUTAGE:
            raise error
        self._next_at = now + self._pace.pause(now - self._lost_at)


def _without_results(run: Run) -> Run:
    """Return a run without the fields that do not tell whether it makes progress."""
    return replace(run, metrics=(), artifacts=(), labels={}, params={})
