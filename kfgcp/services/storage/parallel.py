"""Run the parts of a transfer in several threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import islice
from typing import Final, TypeVar

from kfgcp.machine import start_thread

Item = TypeVar("Item")

# The most threads of one transfer, including the thread of the caller. There may be more threads
# than processors, because they mostly wait for the service.
WORKERS: Final = 16


def run_all(items: Iterable[Item], work: Callable[[Item], None]) -> None:
    """Call `work` for each item, in several threads.

    After the first error, the threads finish the items that they have begun, and begin no others.

    Args:
        items: the items. The next item is read only when a thread is free.
        work: the function, which is called once for each item.

    Raises:
        BaseException: the first error of `work` or of `items`, after all threads have ended.
    """
    queue = _ItemQueue(iter(items))

    def run() -> None:
        try:
            for item in queue:
                work(item)
        except BaseException as error:
            queue.stop(error)

    threads: list[threading.Thread] = []
    # When the machine cannot start another thread, the threads so far do all the work.
    with suppress(OSError):
        while len(threads) < WORKERS - 1 and queue.has_next():
            threads.append(start_thread(run, "kfgcp-transfer-part"))
    run()
    for thread in threads:
        thread.join()
    if queue.error is not None:
        raise queue.error


class _ItemQueue(Iterator[Item]):
    """An iterator that several threads share. It ends when one of the threads reports an error."""

    def __init__(self, items: Iterator[Item]) -> None:
        self.error: BaseException | None = None
        self._items = items
        # [] or a list of one item: the next item, after `_look_ahead` has read it.
        self._next: list[Item] = []
        self._lock = threading.Lock()

    def has_next(self) -> bool:
        """Return whether an item is left and no thread has reported an error."""
        with self._lock:
            self._look_ahead()
            return bool(self._next)

    def stop(self, error: BaseException) -> None:
        """End the iteration for all threads. Only the first error is kept."""
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
