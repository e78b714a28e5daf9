"""A run of a remote backend that this process waits for, as it waits for one that it executes itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from kfgcp.errors import BackendError
from kfgcp.model import RunState
from kfgcp.tracking.handle import RunHandle
from kfgcp.tracking.poll import Poller

_NAP = 0.1


class WatchedRun:
    """Fulfils `kfgcp.backends.base.ForegroundRun`: `execute` looks at the run until it has ended.

    Args:
        handle: the run, which was submitted.
        notice: takes a line when its backend cannot be reached, and one when it can again.
    """

    def __init__(self, handle: RunHandle, notice: Callable[[str], None] = lambda text: None) -> None:
        self.run_id = handle.run_id
        self._handle = handle
        self._notice = notice
        self._cancel = self._leave = self._unasked = self._asked = False
        self._thread: threading.Thread | None = None

    def execute(self) -> RunState:
        self._thread = threading.current_thread()
        try:
            return self._watch()
        except _LeftError:
            return RunState.CANCELLING if self._asked else RunState.RUNNING
        finally:
            self._thread = None

    def _watch(self) -> RunState:
        poller = Poller(self._handle.backend, self._handle.ref, notice=self._notice)
        while True:
            if self._cancel or self._unasked:
                self._cancel = False
                self._unasked = not self._ask()
            run = poller.look()
            state = run.state if run is not None else RunState.RUNNING
            if state.final or self._leave:
                return state
            until = time.monotonic() + poller.wait
            while time.monotonic() < until and not (self._cancel or self._leave):
                time.sleep(_NAP)  # short, as a signal handler can only leave a mark

    def _ask(self) -> bool:
        """Asks the run to end; False when its backend cannot be reached, which is tried again."""
        try:
            self._handle.cancel()
        except BackendError as error:
            if not error.passing:
                raise
            if not self._unasked:
                self._notice(f"run {self.run_id} is not told to end yet; this is tried again: {error.message}")
            return False
        self._asked = True
        return True

    def cancel(self, *, force: bool = False) -> None:
        """Asks the run to end; with `force` it is not waited for any longer, nor for an answer that does not come."""
        if not force:
            self._cancel = True
            return
        self._leave = True
        if threading.current_thread() is self._thread:  # in a signal handler: a request may hang below it
            raise _LeftError


class _LeftError(BaseException):
    """Waiting was given up, wherever it was."""
