"""A run as it goes on: what changed since the last look, with the lines its tasks wrote meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from kfgcp.backends.base import LogLine
from kfgcp.engine.layout import log_file
from kfgcp.engine.logs import LogReader
from kfgcp.model import Run, Task, TaskKind
from kfgcp.store.store import Store

INTERVAL = 0.1


@dataclass(frozen=True, slots=True)
class Update:
    """A look at a run: `run` without tasks and artifacts.

    tasks: those whose state is new, in the order they started. lines: what was written since the last look; read from
    the files while it is iterated, which must be done before the next look.
    """

    run: Run
    tasks: Sequence[Task]
    lines: Iterable[LogLine]


def follow(
    store: Store,
    home: Path,
    run_id: str,
    *,
    check: Callable[[], None] = lambda: None,
    sleep: Callable[[float], object] = time.sleep,
    logs: bool = True,
) -> Iterator[Update]:
    """An update a look until the run has ended; the last one holds its final state.

    Args:
        store: a connection of the calling thread.
        home: the state folder, where the logs are.
        run_id: which run.
        check: called before each look; may raise to stop, or bring the run up to date.
        sleep: waits between looks; gets seconds.
        logs: whether to read the tasks' logs.
    """
    seen = -1
    tails: dict[tuple[str, int], LogReader] = {}
    while True:
        check()
        rev = store.rev(run_id)
        if rev > seen:
            run = store.get(run_id, whole=False)
        tasks = store.tasks(run_id, after_rev=seen) if rev > seen else []
        seen = rev
        yield Update(run, tasks, _new_lines(home, run_id, tasks, tails) if logs else ())
        if run.state.final:
            return
        sleep(INTERVAL)


def _new_lines(
    home: Path, run_id: str, tasks: Sequence[Task], tails: dict[tuple[str, int], LogReader]
) -> Iterator[LogLine]:
    """What was written since the last look, of tasks that have ended first, in the order of their ends."""
    for task in tasks:
        if task.kind is TaskKind.CONTAINER:
            for attempt in range(1, task.attempts + 1):
                tails.setdefault((task.path, attempt), LogReader(log_file(home, run_id, task.path, attempt)))
    ended = {task.path: task.ended_at or "" for task in tasks if task.state.final}
    in_order = sorted(tails.items(), key=lambda item: (item[0][0] not in ended, ended.get(item[0][0], "")))
    for (path, attempt), tail in in_order:
        for line in tail.read(to_the_end=path in ended):
            yield LogLine(path, attempt, line)
        if path in ended:
            del tails[path, attempt]
