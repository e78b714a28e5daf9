"""Collect the updates of a run in batches, for programs that redraw everything at each update."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from kfgcp.backends.base import LogLine
from kfgcp.model import Run, Task
from kfgcp.tracking.updates import LogWritten, RunChanged, RunEnded, RunUpdates, TaskChanged

# The largest number of lines in one batch. Logs can have any size.
LINES: Final = 1000


@dataclass(frozen=True, slots=True)
class Update:
    """All that happened in a run since the last update.

    Attributes:
        run: the run as it is now, without its tasks and artifacts.
        tasks: the tasks that have changed, as they are now, in the order of their last change.
        lines: the lines that were written.
    """

    run: Run
    tasks: Sequence[Task]
    lines: Sequence[LogLine]


def in_batches(updates: RunUpdates) -> Iterator[Update]:
    """Yield the updates of a run in batches until its end.

    A batch ends when there are no more updates at the moment, or when it has `LINES` log lines. It
    can be empty.

    Args:
        updates: the updates of the run. No other code may iterate over them.
    """
    run: Run | None = None
    while True:
        tasks: dict[str, Task] = {}
        lines: list[LogLine] = []
        for update in updates.available():
            match update:
                case RunChanged(new_run) | RunEnded(new_run):
                    run = replace(new_run, tasks=(), artifacts=())
                case TaskChanged(task):
                    # Removed first, so that the task moves to the end of the dict.
                    tasks.pop(task.path, None)
                    tasks[task.path] = task
                case LogWritten(line):
                    lines.append(line)
            if len(lines) == LINES and run is not None:
                yield Update(run, tuple(tasks.values()), tuple(lines))
                tasks.clear()
                lines.clear()
        if run is not None:
            yield Update(run, tuple(tasks.values()), tuple(lines))
        if updates.have_ended:
            return
        updates.pause()
