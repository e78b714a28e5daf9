"""The order in which changes of tasks are told: a task starts before it ends, and after what it
waits for.

A look at a run gives the tasks that have changed since the look before. Their times alone do not
put them in order: backends give whole seconds, and groups begin and end with the tasks in them.
"""

from __future__ import annotations

import heapq
import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Final

from kfgcp.model import Task, TaskKind, TaskState
from kfgcp.spec.graph import Dag, Graph

_RAN: Final = (TaskState.RUNNING, TaskState.SUCCEEDED, TaskState.FAILED, TaskState.CANCELLED)
"""States of a task that was started."""
_PROGRAMS: Final = (TaskKind.CONTAINER, TaskKind.IMPORTER)
_LAST: Final = "~"
"""Sorts after every time."""


class Dependencies:
    """Which tasks of a run have to end before a task starts.

    Args:
        graph: the pipeline of the run; None when it is not known.
    """

    def __init__(self, graph: Graph | None) -> None:
        self._graph = graph
        self._upstream: dict[tuple[str, ...], tuple[str, ...]] = {}

    def of(self, path: str) -> list[str]:
        """Return the paths of the tasks that the task at `path` waits for, in the same group.

        Example:
            >>> dependencies.of("for-loop-1[2]/evaluate")
            ['for-loop-1[2]/train']
        """
        group, _, name = path.rpartition("/")
        if name.endswith("]"):  # an iteration: its loop waits for others
            return []
        keys = tuple(segment.partition("[")[0] for segment in path.split("/"))
        if keys not in self._upstream:
            self._upstream[keys] = self._find(keys)
        prefix = f"{group}/" if group else ""
        return [f"{prefix}{key}" for key in self._upstream[keys]]

    def _find(self, keys: tuple[str, ...]) -> tuple[str, ...]:
        if self._graph is None:
            return ()
        dag: Dag | None = self._graph.root.dag
        for key in keys[:-1]:
            task = dag.tasks.get(key) if dag is not None else None
            if task is None:
                return ()
            dag = self._graph.component(task).dag
        last = dag.tasks.get(keys[-1]) if dag is not None else None
        return last.upstream if last is not None else ()


@dataclass(eq=False, slots=True)
class _Change:
    """A change of a task that was not told yet.

    Attributes:
        task: the task as it was then.
        at: when, RFC 3339; `_LAST` when that is not known.
        is_end: whether the task ended; otherwise it started or waits.
        number: of all changes, in the order in which they were added.
        after: the changes that have to be told before.
    """

    task: Task
    at: str
    is_end: bool
    number: int
    after: list[_Change] = field(default_factory=list)
    is_told: bool = False

    @property
    def rank(self) -> tuple[str, bool, int]:
        """Where it belongs among changes that do not depend on each other."""
        return self.at, not self.is_end, self.number


class TaskOrder:
    """Puts the changes of tasks in order, look by look.

    Each look first calls `add`, then `before_line` for each line of a log, then `rest`.
    """

    def __init__(self, dependencies: Dependencies) -> None:
        self._dependencies = dependencies
        self._known: dict[str, Task] = {}
        self._waiting: defaultdict[str, list[_Change]] = defaultdict(list)
        self._count = 0

    def add(self, tasks: Iterable[Task]) -> list[Task]:
        """Add the tasks of a look, and return those that are new or have changed."""
        changed = []
        for task in tasks:
            known = self._known.get(task.path)
            if task == known:
                continue
            changed.append(task)
            self._known[task.path] = task
            self._split(task, known)
        self._link()
        return changed

    def before_line(self, path: str) -> Iterator[Task]:
        """Yield what has to be told before a line of the log of a task: its start, and what that
        waited for."""
        waiting = self._waiting.get(path)
        if not waiting or waiting[0].is_end:
            return
        stack = [waiting[0]]
        visited: set[int] = set()
        while stack:
            change = stack[-1]
            missing = [
                before
                for before in change.after
                if not before.is_told and before.number not in visited
            ]
            if change.number not in visited and missing:
                visited.add(change.number)
                stack.extend(sorted(missing, key=lambda before: before.rank, reverse=True))
                continue
            stack.pop()
            if not change.is_told:
                yield self._tell(change)

    def rest(self, *, run_ended: bool = False) -> Iterator[Task]:
        """Yield all other changes.

        Args:
            run_ended: also the starts that are held back because the end of a task before them was
                not seen yet. Parts of a run that were read one after the other can differ so.
        """
        held = set() if run_ended else {change.number for change in self._held()}
        changes = [
            change
            for waiting in self._waiting.values()
            for change in waiting
            if change.number not in held
        ]
        open_before = {change.number: 0 for change in changes}
        followers: defaultdict[int, list[_Change]] = defaultdict(list)
        for change in changes:
            for before in change.after:
                if not before.is_told and before.number in open_before:
                    open_before[change.number] += 1
                    followers[before.number].append(change)
        ready = [(change.rank, change) for change in changes if not open_before[change.number]]
        heapq.heapify(ready)
        while ready:
            _, change = heapq.heappop(ready)
            yield self._tell(change)
            for follower in followers[change.number]:
                open_before[follower.number] -= 1
                if not open_before[follower.number]:
                    heapq.heappush(ready, (follower.rank, follower))
        # A group that ended and started again since the last look can leave changes that wait for
        # each other.
        for change in sorted(changes, key=lambda change: change.rank):
            if not change.is_told:
                yield self._tell(change)

    def _split(self, task: Task, known: Task | None) -> None:
        """Make the changes that led from what was known of a task to what it is now."""
        was_running = known is not None and known.state is TaskState.RUNNING
        if not task.state.final:
            self._put(task, task.started_at, is_end=False)
            return
        has_ended_before = known is not None and known.state.final
        if (
            task.state in _RAN
            and task.started_at is not None
            and not was_running
            and not has_ended_before
        ):
            running = replace(task, state=TaskState.RUNNING, ended_at=None, outputs={}, error=None)
            self._put(running, task.started_at, is_end=False)
        self._put(task, task.ended_at or task.started_at, is_end=True)

    def _put(self, task: Task, at: str | None, *, is_end: bool) -> None:
        self._count += 1
        self._waiting[task.path].append(_Change(task, at or _LAST, is_end, self._count))

    def _link(self) -> None:
        """Set for each change which others come before it."""
        for changes in self._waiting.values():
            for change in changes:
                change.after = []
            for before, change in itertools.pairwise(changes):
                change.after.append(before)
        for path, changes in self._waiting.items():
            first, last = changes[0], changes[-1]
            for group in _groups(path):
                around = self._waiting.get(group, [])
                first.after.extend(change for change in around if not change.is_end)
                for change in around:
                    if change.is_end and last is not change:
                        change.after.append(last)
            for upstream in self._dependencies.of(path):
                first.after.extend(
                    change for change in self._waiting.get(upstream, ()) if change.is_end
                )

    def _held(self) -> Iterator[_Change]:
        """Yield the starts of programs that wait for the end of another program, which was not seen
        yet."""
        for path, changes in self._waiting.items():
            is_start = len(changes) == 1 and changes[0].task.state is TaskState.RUNNING
            if not is_start or changes[0].task.kind not in _PROGRAMS:
                continue
            upstream = [self._known.get(other) for other in self._dependencies.of(path)]
            if any(
                task is not None and task.kind in _PROGRAMS and not task.state.final
                for task in upstream
            ):
                yield changes[0]

    def _tell(self, change: _Change) -> Task:
        change.is_told = True
        path = change.task.path
        waiting = self._waiting[path]
        waiting.remove(change)
        if not waiting:
            del self._waiting[path]
        return change.task


def _groups(path: str) -> Iterator[str]:
    """Yield the paths of the groups, loops and iterations that a task is in, innermost first.

    Example:
        >>> list(_groups("a/for-loop-1[2]/train"))
        ['a/for-loop-1[2]', 'a/for-loop-1', 'a']
    """
    while path:
        if path.endswith("]"):
            path = path.rpartition("[")[0]
        else:
            path = path.rpartition("/")[0]
        if path:
            yield path
