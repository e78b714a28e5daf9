"""When to look at a run that goes on: often while it changes, seldom while it does not; and through outages."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from kfgcp.backends.base import Backend, Pace, RunRef
from kfgcp.errors import BackendError
from kfgcp.model import Run

SHARE: Final = 10.0
"""A look may take a tenth of the time at most: the next one waits ten times as long as the last one took, up to the
longest pause; it may have taken long because of an outage that is over."""
OUTAGE: Final = 3600.0
"""Seconds without an answer after which looking ends with an error; the run goes on all the same."""


class Poller:
    """Looks at one run.

    Args:
        backend: the run's.
        ref: which run.
        pace: how often, the backend's own when not given.
        notice: takes a line when the backend cannot be reached, and one when it can again.
        clock: seconds that only grow.
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
        """The run when it is time to look at it and it can be reached; else None at once.

        Raises:
            BackendError: it is gone, the sign-in ended, or nothing was reached for `OUTAGE` seconds.
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
        """Seconds until the next look."""
        return max(self._next - self._clock(), 0.0)

    def _outage(self, error: BackendError) -> None:
        now = self._clock()
        if self._lost_at is None:
            self._lost_at = now
            notice = f"{self._ref.env} cannot be reached; the run continues, and kfgcp tries again: {error.message}"
            self._notice(notice)
        if now - self._lost_at > OUTAGE:
            raise error
        self._next = now + self._pace.pause(now - self._lost_at)


def _fingerprint(run: Run) -> Run:
    """What changes when the run gets on."""
    return replace(run, metrics=(), artifacts=(), labels={}, params={})
