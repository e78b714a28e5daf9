"""A run as it goes on: what changed since the last look, with the lines its tasks wrote meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from kfgcp.backends.base import LogLine, LogTail
from kfgcp.errors import BackendError
from kfgcp.model import Run, Task
from kfgcp.store.store import Store

INTERVAL = 0.1
LATE_INTERVAL = 1.0


@dataclass(frozen=True, slots=True)
class Update:
    """A look at a run: `run` without tasks and artifacts.

    tasks: those whose state is new, in the order they started. lines: what was written since the last look; read
    while it is iterated, which must be done before the next look.
    """

    run: Run
    tasks: Sequence[Task]
    lines: Iterable[LogLine]


def follow(
    store: Store,
    run_id: str,
    tail: LogTail | None = None,
    *,
    check: Callable[[], object] = lambda: None,
    sleep: Callable[[float], object] = time.sleep,
    notice: Callable[[str], None] = lambda text: None,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Update]:
    """An update a look until the run has ended and its last lines are there; the last one holds its final state.

    Args:
        store: a connection of the calling thread.
        run_id: which run.
        tail: its logs, None to leave them out.
        check: called before each look; may raise to stop, or bring the run up to date.
        sleep: waits between looks; gets seconds.
        notice: takes a line when the logs cannot be read; the run is followed all the same.
        clock: seconds that only grow.
    """
    seen = -1
    lines = _Lines(tail, notice)
    while True:
        check()
        # One snapshot: a task that changes between two reads would be shown now and again at the next look.
        with store.snapshot():
            rev = store.rev(run_id)
            if rev > seen:
                run = store.get(run_id, whole=False)
            tasks = store.tasks(run_id, after_rev=seen) if rev > seen else []
        seen = rev
        yield Update(run, tasks, lines.read(tasks))
        if run.state.final:
            break
        sleep(INTERVAL)
    until = clock() + lines.late
    while clock() < until:  # the last lines may be on their way
        time.sleep(LATE_INTERVAL)
        yield Update(run, (), lines.read(()))


class _Lines:
    """Logs that may be refused or out of reach."""

    def __init__(self, tail: LogTail | None, notice: Callable[[str], None]) -> None:
        self._tail = tail
        self._notice = notice
        self.late = tail.late if tail is not None else 0.0

    def read(self, tasks: Sequence[Task]) -> Iterator[LogLine]:
        if self._tail is None:
            return
        try:
            yield from self._tail.read(tasks)
        except BackendError as error:
            if error.passing:  # the next look may have it
                return
            self._tail = None
            self.late = 0.0
            self._notice(f"the logs cannot be followed: {error.message} {error.hint}".rstrip())
