"""A run of a remote backend that this process waits for, as it waits for one that it executes itself."""

from __future__ import annotations

import threading
from collections.abc import Callable

from kfgcp.errors import BackendError
from kfgcp.model import RunState
from kfgcp.tracking.follow import Update, follow
from kfgcp.tracking.handle import RunHandle
from kfgcp.tracking.poll import Poller


class WatchedRun:
    """Fulfils `kfgcp.backends.base.ForegroundRun`: `execute` follows the run until it has ended.

    One thread asks the backend for everything, because a backend object belongs to one thread.

    Args:
        handle: the run, which was submitted.
        notice: called with a line of text when its backend cannot be reached, and when it can again.
    """

    def __init__(self, handle: RunHandle, notice: Callable[[str], None] = lambda text: None) -> None:
        self.run_id = handle.run_id
        self._handle = handle
        self._notice = notice
        self._must_cancel = self._must_leave = self._must_ask_again = self._was_asked = False
        self._thread: threading.Thread | None = None

    def execute(self, show: Callable[[Update], None] = lambda update: None) -> RunState:
        """Follow the run in this thread.

        Args:
            show: called with what has changed, about ten times a second.

        Returns:
            The state of the run. It is not final when the run was left with `cancel(force=True)`.
        """
        self._thread = threading.current_thread()
        try:
            return self._follow(show)
        except _LeftError:
            return RunState.CANCELLING if self._was_asked else RunState.RUNNING
        finally:
            self._thread = None

    def _follow(self, show: Callable[[Update], None]) -> RunState:
        handle = self._handle
        poller = Poller(handle.backend, handle.ref, notice=self._notice)

        def look() -> None:
            if self._must_leave:
                raise _LeftError
            if self._must_cancel or self._must_ask_again:
                self._must_cancel = False
                self._must_ask_again = not self._ask_to_end()
            poller.look()

        state = handle.state
        store = handle.workspace.store
        for update in follow(store, self.run_id, handle.tail(), check=look, notice=self._notice):
            show(update)
            state = update.run.state
        return state

    def _ask_to_end(self) -> bool:
        """Ask the run to end. False when its backend cannot be reached, which is tried again."""
        try:
            self._handle.cancel()
        except BackendError as error:
            if not error.passing:
                raise
            if not self._must_ask_again:
                self._notice(f"run {self.run_id} is not told to end yet; this is tried again: {error.message}")
            return False
        self._was_asked = True
        return True

    def cancel(self, *, force: bool = False) -> None:
        """Ask the run to end. With `force`, do not wait for it any longer, nor for an answer that does not come."""
        if not force:
            self._must_cancel = True
            return
        self._must_leave = True
        if threading.current_thread() is self._thread:  # in a signal handler: a request may hang below it
            raise _LeftError


class _LeftError(BaseException):
    """Waiting was given up, wherever it was."""
