"""Put the changes of tasks in order: a task starts before it ends, and after what it waits for.

A look at a run returns the tasks that have changed since the previous look. Their times alone do
not give their order: some backends have whole seconds, and groups begin and end together with the
tasks in them.
"""

from __future__ import annotations

import heapq
import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Final

from kfgcp.model import Task, TaskKind, TaskState, enclosing_paths
from kfgcp.spec.graph import Dag, Graph

# States of a task that was started.
_STARTED: Final = (TaskState.RUNNING, TaskState.SUCCEEDED, TaskState.FAILED, TaskState.CANCELLED)

# Tasks that execute something themselves. Others are groups of tasks.
_PROGRAMS: Final = (TaskKind.CONTAINER, TaskKind.IMPORTER)

# In the place of an unknown time. "~" sorts after every time.
_UNKNOWN_TIME: Final = "~"


class Dependencies:
    """The tasks of a run that must end before another task starts.

    Args:
        graph: the pipeline of the run, None when it is not known.
    """

    def __init__(self, graph: Graph | None) -> None:
        self._graph = graph
        self._upstream: dict[tuple[str, ...], tuple[str, ...]] = {}

    def find(self, path: str) -> list[str]:
        """Return the paths of the tasks that the task at `path` waits for, in the same group.

        For `for-loop-1[2]/evaluate`, this may be `["for-loop-1[2]/train"]`.
        """
        group, _, name = path.rpartition("/")
        if name.endswith("]"):
            # An iteration waits for nothing: its loop does.
            return []
        # All iterations of a loop have the same dependencies.
        keys = tuple(segment.partition("[")[0] for segment in path.split("/"))
        if keys not in self._upstream:
            self._upstream[keys] = self._read_upstream(keys)
        prefix = f"{group}/" if group else ""
        return [f"{prefix}{key}" for key in self._upstream[keys]]

    def _read_upstream(self, keys: tuple[str, ...]) -> tuple[str, ...]:
        """Return the keys of the tasks that a task depends on. `keys` lead from the root to it."""
        if self._graph is None:
            return ()
        dag: Dag | None = self._graph.root.dag
        for key in keys[:-1]:
            task = dag.tasks.get(key) if dag is not None else None
            if task is None:
                return ()
            dag = self._graph.component(task).dag
        last_task = dag.tasks.get(keys[-1]) if dag is not None else None
        return last_task.upstream if last_task is not None else ()


@dataclass(eq=False, slots=True)
class _Change:
    """A change of a task.

    Attributes:
        task: the task as it was then.
        at: when, as RFC 3339 text; `_UNKNOWN_TIME` when that is not known.
        is_end: whether the task ended. Otherwise it started or waits.
        number: counts all changes, in the order in which they were added.
        after: the changes that must be returned before this one.
        is_done: whether it was returned.
    """

    task: Task
    at: str
    is_end: bool
    number: int
    after: list[_Change] = field(default_factory=list)
    is_done: bool = False

    @property
    def rank(self) -> tuple[str, bool, int]:
        """The place of the change among changes that do not depend on each other.

        At the same time, ends come before starts.
        """
        return self.at, not self.is_end, self.number


class TaskOrder:
    """Puts the changes of tasks in order, look by look.

    Each look first calls `add`, then `before_line` for each line of a log, then `rest`.
    """

    def __init__(self, dependencies: Dependencies) -> None:
        self._dependencies = dependencies
        self._tasks: dict[str, Task] = {}
        # Path -> the changes of this task that were not returned yet, in their order.
        self._waiting: defaultdict[str, list[_Change]] = defaultdict(list)
        self._count = 0

    def add(self, tasks: Iterable[Task]) -> list[Task]:
        """Add the tasks of a look, and return those that are new or have changed."""
        changed_tasks = []
        for task in tasks:
            previous = self._tasks.get(task.path)
            if task == previous:
                continue
            changed_tasks.append(task)
            self._tasks[task.path] = task
            self._add_changes(task, previous)
        self._link()
        return changed_tasks

    def has_started(self, path: str) -> bool:
        """Return whether a task was added that has started."""
        task = self._tasks.get(path)
        return task is not None and task.state in _STARTED

    def before_line(self, path: str) -> Iterator[Task]:
        """Yield the changes that come before a line in the log of a task.

        These are the start of the task, and the changes that its start waited for.
        """
        changes = self._waiting.get(path)
        if not changes or changes[0].is_end:
            return
        # A depth-first walk: a change is yielded when all changes before it were yielded.
        stack = [changes[0]]
        visited: set[int] = set()
        while stack:
            change = stack[-1]
            if change.number not in visited:
                visited.add(change.number)
                # A change that was visited already is on the stack: that is a cycle, see `rest`.
                missing = [
                    before
                    for before in change.after
                    if not before.is_done and before.number not in visited
                ]
                # The first one by rank is on top of the stack.
                stack.extend(sorted(missing, key=lambda before: before.rank, reverse=True))
                if missing:
                    continue
            stack.pop()
            if not change.is_done:
                yield self._finish(change)

    def rest(self, *, run_ended: bool = False) -> Iterator[Task]:
        """Yield all other changes.

        Args:
            run_ended: yield also the starts that are held back, because the end of a task before
                them was not seen yet. Parts of a run that were read one after the other can differ
                in this way.
        """
        held = set() if run_ended else {change.number for change in self._find_held()}
        changes = []
        for waiting in self._waiting.values():
            changes += [change for change in waiting if change.number not in held]
        yield from self._yield_sorted(changes)
        # A group that ended and started again since the last look can leave changes that wait for
        # each other. They are in the order of their times.
        for change in sorted(changes, key=lambda change: change.rank):
            if not change.is_done:
                yield self._finish(change)

    def _yield_sorted(self, changes: list[_Change]) -> Iterator[Task]:
        """Yield changes in topological order, and by rank where this leaves a choice."""
        missing_counts = {change.number: 0 for change in changes}
        followers: defaultdict[int, list[_Change]] = defaultdict(list)
        for change in changes:
            for before in change.after:
                if not before.is_done and before.number in missing_counts:
                    missing_counts[change.number] += 1
                    followers[before.number].append(change)
        ready = [(change.rank, change) for change in changes if not missing_counts[change.number]]
        heapq.heapify(ready)
        while ready:
            _, change = heapq.heappop(ready)
            yield self._finish(change)
            for follower in followers[change.number]:
                missing_counts[follower.number] -= 1
                if not missing_counts[follower.number]:
                    heapq.heappush(ready, (follower.rank, follower))

    def _add_changes(self, task: Task, previous: Task | None) -> None:
        """Add the changes between the previous state of a task and its state now."""
        if not task.state.final:
            self._add_change(task, task.started_at, is_end=False)
            return
        was_running = previous is not None and previous.state is TaskState.RUNNING
        had_ended = previous is not None and previous.state.final
        has_started = task.state in _STARTED and task.started_at is not None
        if has_started and not was_running and not had_ended:
            # Its start was not seen, so this adds the task as it was then.
            running = replace(task, state=TaskState.RUNNING, ended_at=None, outputs={}, error=None)
            self._add_change(running, task.started_at, is_end=False)
        self._add_change(task, task.ended_at or task.started_at, is_end=True)

    def _add_change(self, task: Task, at: str | None, *, is_end: bool) -> None:
        self._count += 1
        change = _Change(task, at or _UNKNOWN_TIME, is_end, self._count)
        self._waiting[task.path].append(change)

    def _link(self) -> None:
        """Set for each waiting change which other changes come before it."""
        for changes in self._waiting.values():
            for change in changes:
                change.after = []
            for before, change in itertools.pairwise(changes):
                change.after.append(before)
        for path, changes in self._waiting.items():
            first = changes[0]
            last = changes[-1]
            # A task starts after the groups around it, and ends before them.
            for group in enclosing_paths(path):
                for group_change in self._waiting.get(group, ()):
                    if not group_change.is_end:
                        first.after.append(group_change)
                    elif last is not group_change:
                        group_change.after.append(last)
            for upstream in self._dependencies.find(path):
                ends = [change for change in self._waiting.get(upstream, ()) if change.is_end]
                first.after.extend(ends)

    def _find_held(self) -> Iterator[_Change]:
        """Yield the starts of programs that depend on a program whose end was not seen."""
        for path, changes in self._waiting.items():
            is_start = len(changes) == 1 and changes[0].task.state is TaskState.RUNNING
            if not is_start or changes[0].task.kind not in _PROGRAMS:
                continue
            if any(map(self._is_unfinished_program, self._dependencies.find(path))):
                yield changes[0]

    def _is_unfinished_program(self, path: str) -> bool:
        task = self._tasks.get(path)
        return task is not None and task.kind in _PROGRAMS and not task.state.final

    def _finish(self, change: _Change) -> Task:
        """Remove a change from the waiting ones, and return its task."""
        change.is_done = True
        path = change.task.path
        self._waiting[path].remove(change)
        if not self._waiting[path]:
            del self._waiting[path]
        return change.task
