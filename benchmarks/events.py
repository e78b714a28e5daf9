"""Measure the CPU time that the events of a run add to a task, in the process that writes them.

    .venv/bin/python benchmarks/events.py [--folder DIR] [--tasks N] [--rounds N]

The program writes a chain of tasks to a store as the engine does: one transaction records that a
task has started and that the task before it has ended. Each task has two metrics. A round writes
one chain with events and one without. The result is the median of the differences of the rounds.

Exit codes: 0, 4 when events cost more than the limit of 0.2 ms a task.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from kfgcp.event import Event, task_events
from kfgcp.model import Metric, Run, RunState, Task, TaskKind, TaskState, timestamp
from kfgcp.store.rows import Changes
from kfgcp.store.store import Store

# Milliseconds of CPU time for one task.
LIMIT = 0.2

# The exit code when events cost more than the limit.
ABOVE_LIMIT = 4
RUN = Run(
    "bench",
    "local",
    "local",
    "chain",
    "sha256:0",
    RunState.PENDING,
    created_at="2026-01-01T00:00:00.000Z",
)

TaskEvents = Callable[[str, Sequence[Task], Sequence[Metric]], Sequence[Event]]


def main() -> None:
    """Print the CPU time of a task with events and without events, and the difference."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--folder", type=Path, default=Path(), help="where to write (default: the current folder)"
    )
    parser.add_argument("--tasks", type=int, default=1000, help="tasks of a run (default: 1000)")
    parser.add_argument("--rounds", type=int, default=11, help="rounds that count (default: 11)")
    arguments = parser.parse_args()
    with_events: list[float] = []
    without: list[float] = []
    for number in range(arguments.rounds + 1):
        pair = [(True, with_events), (False, without)]
        # The second run of a round may be faster because of the first, so the order alternates.
        if number % 2 == 0:
            pair.reverse()
        for events, times in pair:
            with tempfile.TemporaryDirectory(prefix="kfgcp-bench-", dir=arguments.folder) as folder:
                milliseconds = write_chain(Path(folder), arguments.tasks, events=events)
            # The first round fills caches.
            if number:
                times.append(milliseconds / arguments.tasks)
    pairs = zip(with_events, without, strict=True)
    costs = [time_with - time_without for time_with, time_without in pairs]
    cost = statistics.median(costs)
    print(f"with events     {statistics.median(with_events):.3f} ms of CPU time a task")
    print(f"without events  {statistics.median(without):.3f} ms")
    print(f"events          {cost:.3f} ms (from {min(costs):.3f} to {max(costs):.3f})")
    sys.exit(ABOVE_LIMIT if cost > LIMIT else 0)


def write_chain(home: Path, tasks: int, *, events: bool) -> float:
    """Write a run of a chain of tasks. Return the milliseconds of CPU time that it took.

    Args:
        home: the state folder.
        tasks: how many.
        events: whether events are derived and written.
    """
    derive_events: TaskEvents = task_events if events else derive_nothing
    store_class = Store if events else StoreWithoutEvents
    with store_class(home) as store:
        store.add_run(RUN)
        start = time.process_time()
        store.apply(RUN.run_id, Changes(state=RunState.RUNNING, started_at=timestamp(0)))
        ended_tasks: list[Task] = []
        for number in range(tasks):
            now = timestamp(number)
            running = Task(
                f"task-{number}", TaskKind.CONTAINER, TaskState.RUNNING, 1, started_at=now
            )
            metrics = []
            for task in ended_tasks:
                metrics.append(Metric(task.path, "metrics", "accuracy", 0.5))
                metrics.append(Metric(task.path, "metrics", "loss", 0.5))
            changed_tasks = [*ended_tasks, running]
            new_events = derive_events(RUN.run_id, changed_tasks, metrics)
            changes = Changes(tasks=changed_tasks, metrics=metrics, events=new_events)
            store.apply(RUN.run_id, changes)
            ended_tasks = [replace(running, state=TaskState.SUCCEEDED, ended_at=now)]
        store.apply(
            RUN.run_id,
            Changes(tasks=ended_tasks, state=RunState.SUCCEEDED, ended_at=timestamp(tasks)),
        )
        return (time.process_time() - start) * 1000


def derive_nothing(
    run_id: str, tasks: Sequence[Task], metrics: Sequence[Metric]
) -> Sequence[Event]:
    """Return no events."""
    return ()


class StoreWithoutEvents(Store):
    """The store without its table of events."""

    def _add_events(self, events: object) -> None:
        """Write nothing."""


if __name__ == "__main__":
    main()
