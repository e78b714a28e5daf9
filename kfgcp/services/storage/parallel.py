"""Runs the parts of a transfer in a few threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import islice
from typing import Final, TypeVar

from kfgcp.machine import start_thread

Item = TypeVar("Item")

# Threads of one transfer, with the calling one. They mostly wait for the service.
WORKERS: Final = 16


def run_all(items: Iterable[Item], work: Callable[[Item], None]) -> None:
    """Call `work` for each item, in a few threads. After the first error no other item is begun.

    Args:
        items: read one at a time, when a thread is free.
        work: called once for each item.

    Raises:
        BaseException: the first error, when all threads have ended.
    """
    queue = _ItemQueue(iter(items))

    def run() -> None:
        try:
            for item in queue:
                work(item)
        except BaseException as error:
            queue.stop(error)

    threads: list[threading.Thread] = []
    # When the machine has no more threads, this thread and those that started do all the work.
    with suppress(OSError):
        while len(threads) < WORKERS - 1 and queue.has_next():
            threads.append(start_thread(run, "kfgcp-transfer-part"))
    run()
    for thread in threads:
        thread.join()
    if queue.error is not None:
        raise queue.error


class _ItemQueue(Iterator[Item]):
    """An iterator that several threads share, until one of them reports an error."""

    def __init__(self, items: Iterator[Item]) -> None:
        self.error: BaseException | None = None
        self._items = items
        # The next item, if `has_next` has already read it.
        self._next: list[Item] = []
        self._lock = threading.Lock()

    def has_next(self) -> bool:
        """Return whether there is another item."""
        with self._lock:
            self._look_ahead()
            return bool(self._next)

    def stop(self, error: BaseException) -> None:
        """End the iteration for all threads. The first error is kept."""
        with self._lock:
            if self.error is None:
                self.error = error

    def __next__(self) -> Item:
        with self._lock:
            self._look_ahead()
            if self.error is not None or not self._next:
                raise StopIteration
            return self._next.pop()

    def _look_ahead(self) -> None:
        if self.error is None and not self._next:
            self._next.extend(islice(self._items, 1))
