"""When to ask a backend for a run: often while the run changes, seldom otherwise. An outage does
not end it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from kfgcp.backends.base import Backend, Pace, RunRef
from kfgcp.errors import BackendError
from kfgcp.model import Run

SHARE: Final = 10.0
"""Requests take at most a tenth of the time: the pause is ten times as long as the last request
took.

It is never longer than the longest pause: the request may have been slow because of an outage that
is over.
"""
OUTAGE: Final = 3600.0
"""Seconds without an answer after which following the run ends with an error. The run itself
continues."""


class Poller:
    """Asks a backend for one run, when it is time.

    Args:
        backend: the backend of the run.
        ref: the run.
        pace: the pauses between requests; those of the backend when None.
        notice: called with a line of text when the backend cannot be reached, and when it can
            again.
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
        self._changed_at = self._next = clock()
        self._lost_at: float | None = None

    def look(self) -> Run | None:
        """Return the run. Return None at once when it is too early, or when the backend cannot be
        reached.

        Raises:
            BackendError: the run is gone, the sign-in is not valid any longer, or the backend could
                not be reached for `OUTAGE` seconds.
        """
        began = self._clock()
        if began < self._next:
            return None
        try:
            run = self._backend.get(self._ref)
        except BackendError as error:
            if not error.passing:
                raise
            self._outage(error)
            return None
        now = self._clock()
        if self._lost_at is not None:
            self._notice(f"{self._ref.env} answers again")
            self._lost_at = None
        if self._run is None or _fingerprint(run) != _fingerprint(self._run):
            self._run, self._changed_at = run, now
        share = min(SHARE * (now - began), self._pace.longest)
        self._next = now + max(self._pace.pause(now - self._changed_at), share)
        return run

    @property
    def wait(self) -> float:
        """Seconds until the next request."""
        return max(self._next - self._clock(), 0.0)

    def _outage(self, error: BackendError) -> None:
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
        self._next = now + self._pace.pause(now - self._lost_at)


def _fingerprint(run: Run) -> Run:
    """Return the parts of a run that change while it is executed."""
    return replace(run, metrics=(), artifacts=(), labels={}, params={})
