"""Execute a local run in a thread of this process, so that another thread can follow the run."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from kfgcp.backends.base import ForegroundRun
from kfgcp.machine import start_thread


class EngineThread:
    """The thread that executes a recorded run. Python waits for it before the process ends.

    Where the system cannot start another thread, `execute_here` executes the run.

    Args:
        run: the run.
    """

    def __init__(self, run: ForegroundRun) -> None:
        self._run = run
        self._has_ended = threading.Event()
        self._error: BaseException | None = None
        self._start_failure = ""
        try:
            self._thread: threading.Thread | None = start_thread(
                self._execute, "kfgcp-engine", daemon=False
            )
        except OSError as error:
            self._thread = None
            self._start_failure = error.strerror or str(error)

    def execute_here(self, notice: Callable[[str], None]) -> None:
        """Execute the run in the calling thread, if its own thread could not be started.

        Args:
            notice: called with a line of text that explains why the run cannot be followed.
        """
        if self._thread is None and not self._has_ended.is_set():
            notice(f"the run cannot be shown while it runs: {self._start_failure}")
            self._execute()

    @property
    def has_ended(self) -> bool:
        """Whether the engine has recorded everything that it will record."""
        return self._has_ended.is_set()

    def pause(self, seconds: float) -> None:
        """Wait for a number of seconds, or until the engine has ended."""
        self._has_ended.wait(seconds)

    def finish(self) -> None:
        """Wait until the engine has ended.

        Raises:
            KfgcpError: the error that ended the engine before the end of the run.
        """
        if self._thread is not None:
            self._thread.join()
        if self._error is not None:
            raise self._error

    def cancel(self, *, force: bool = False) -> None:
        """Ask the run to end. It is safe in a signal handler and in any thread.

        Args:
            force: kill what is running instead of asking it to end first.
        """
        self._run.cancel(force=force)

    def _execute(self) -> None:
        try:
            self._run.execute()
        except BaseException as error:
            # `finish` raises it in the thread that follows the run.
            self._error = error
        finally:
            self._has_ended.set()


@contextmanager
def cancelled_on_interrupt(engine: EngineThread | None) -> Iterator[None]:
    """Cancel the run of an engine when Ctrl-C ends the code inside.

    Otherwise the process would execute the run to its end while nobody can see it.
    """
    try:
        yield
    except KeyboardInterrupt:
        if engine is not None:
            engine.cancel()
        raise
