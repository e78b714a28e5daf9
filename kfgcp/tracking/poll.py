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
    """Requests one run from its backend, with pauses between the requests.

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
        self._unreachable_since: float | None = None

    def poll(self) -> Run | None:
        """Request the run if the pause is over, and return it.

        Return None when it is too early for a request, or when the backend cannot be reached. This
        method never waits for the end of the pause.

        Raises:
            BackendError: the run does not exist any more, the sign-in is not valid any longer, or
                the backend could not be reached for `OUTAGE` seconds.
        """
        if self._clock() < self._next_at:
            return None
        return self.request()

    def request(self) -> Run | None:
        """Request the run now, also during a pause, and return it.

        Return None when the backend cannot be reached.

        Raises:
            BackendError: see `poll`.
        """
        started_at = self._clock()
        try:
            run = self._backend.get(self._ref)
        except BackendError as error:
            # After a passing error, the next request may succeed.
            if not error.passing:
                raise
            self._handle_outage(error)
            return None
        now = self._clock()
        if self._unreachable_since is not None:
            self._notice(f"{self._ref.env} answers again")
            self._unreachable_since = None
        if self._run is None or _without_results(run) != _without_results(self._run):
            self._run = run
            self._changed_at = now
        shortest_pause = min(SLOW_REQUEST_FACTOR * (now - started_at), self._pace.longest)
        self._next_at = now + max(self._pace.pause(now - self._changed_at), shortest_pause)
        return run

    @property
    def seconds_to_next_request(self) -> float:
        """The seconds until `poll` makes the next request."""
        return max(self._next_at - self._clock(), 0.0)

    def _handle_outage(self, error: BackendError) -> None:
        """Set the time of the next request, or raise the error when the outage is too long."""
        now = self._clock()
        if self._unreachable_since is None:
            self._unreachable_since = now
            notice = (
                f"{self._ref.env} cannot be reached; the run continues, and kfgcp tries again:"
                f" {error.message}"
            )
            self._notice(notice)
        if now - self._unreachable_since > OUTAGE:
            raise error
        self._next_at = now + self._pace.pause(now - self._unreachable_since)


def _without_results(run: Run) -> Run:
    """Return a run without the fields that do not show progress: results and settings."""
    return replace(run, metrics=(), artifacts=(), labels={}, params={})
