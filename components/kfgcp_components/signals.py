"""Stop a task in an orderly way when its process gets SIGTERM.

Vertex AI, Kubernetes and the local engine send SIGTERM to cancel a task, and SIGKILL some seconds
later. Without a handler, SIGTERM ends the process at once, so that no `finally` clause runs.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

# What a shell reports for a process that SIGTERM has ended: 128 + 15.
EXIT_CODE = 128 + signal.SIGTERM


@contextmanager
def on_sigterm(stop: Callable[[], None]) -> Iterator[None]:
    """Call a function when the process gets SIGTERM within the block.

    Python lets only the main thread set a handler (`signal.signal`). In another thread, the block
    runs without one.

    Args:
        stop: runs in the main thread, between two of its instructions. It may raise an error.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, frame: FrameType | None) -> None:
        stop()

    handler_before = signal.signal(signal.SIGTERM, handle)
    try:
        yield
    finally:
        # None is a handler that was not set by Python, which cannot be set again.
        signal.signal(signal.SIGTERM, handler_before or signal.SIG_DFL)


@contextmanager
def exit_on_sigterm() -> Iterator[None]:
    """Raise SystemExit when the process gets SIGTERM within the block, so that the block cleans up.

    Example::

        with exit_on_sigterm(), TemporaryDirectory() as folder:
            download(url, folder)
    """
    is_stopping = False

    def stop() -> None:
        nonlocal is_stopping
        # A second signal must not interrupt the cleaning up.
        if is_stopping:
            return
        is_stopping = True
        raise SystemExit(EXIT_CODE)

    with on_sigterm(stop):
        yield
