"""The states and times of DAGs and loops in a run that has ended, from the tasks inside them.

The server leaves many groups RUNNING after the end of a run, so only their tasks tell how a group
ended.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from kfgcp.backends.kubeflow.execution import Execution
from kfgcp.backends.kubeflow.progress import Progress
from kfgcp.backends.run_values import group_by_parent
from kfgcp.model import RunState, Task, TaskKind, TaskState

_GROUPS: Final = (TaskKind.DAG, TaskKind.LOOP)


def with_group_states(
    tasks: Sequence[Task], execution_by_path: Mapping[str, Execution | None], progress: Progress
) -> list[Task]:
    """Return the tasks of a run that has ended, with the states and times of its groups corrected.

    Args:
        tasks: the tasks of the run, as the server describes them.
        execution_by_path: the execution of each task, by the path of the task. None for a task
            without an execution.
        progress: the state and the times of the run.
    """
    by_path = {task.path: task for task in tasks}
    paths_inside = group_by_parent(by_path)
    # Inner groups first, because outer ones depend on them.
    for path in sorted(by_path, key=_depth, reverse=True):
        group = by_path[path]
        if group.kind not in _GROUPS or group.state in (TaskState.SKIPPED, TaskState.CACHED):
            continue
        if _has_own_error(group, execution_by_path[path]):
            continue
        inner = [by_path[inner_path] for inner_path in paths_inside[path]]
        all_started = all(execution_by_path[task.path] is not None for task in inner)
        state = _group_state(group, inner, progress, all_started=all_started)
        by_path[path] = _with_times(replace(group, state=state), inner, progress)
    return [by_path[task.path] for task in tasks]


def _depth(path: str) -> int:
    return path.count("/") + path.count("[")


def _has_own_error(group: Task, execution: Execution | None) -> bool:
    """Return whether a group failed by itself, so that the tasks inside it do not decide.

    When the driver of a group failed, a server of 3.0 gives the reason (the function `DAG` in
    driver/dag.go of its source). A group that failed because of a task inside it has no reason.
    """
    return group.state is TaskState.FAILED and execution is not None and bool(execution.error)


def _group_state(
    group: Task, inner: Sequence[Task], progress: Progress, *, all_started: bool
) -> TaskState:
    """Return the state of a group, which follows from the tasks inside it.

    Args:
        group: the group, as the server describes it.
        inner: the tasks or iterations in it.
        progress: the state and the times of the run.
        all_started: whether each of `inner` has an execution.
    """
    states = {task.state for task in inner}
    # FAILED comes first: when a task fails, the server may cancel others.
    for bad_state in (TaskState.FAILED, TaskState.CANCELLED):
        if bad_state in states:
            return bad_state
    if group.state.final:
        return TaskState.SUCCEEDED if inner else group.state
    # The server left the group RUNNING. In a cancelled run, a group succeeded only when all its
    # tasks had started.
    if progress.state is RunState.CANCELLED and not (inner and all_started):
        return TaskState.CANCELLED
    return TaskState.SUCCEEDED


def _with_times(group: Task, inner: Sequence[Task], progress: Progress) -> Task:
    """Return a group with its start and end, which follow from the tasks inside it."""
    ends = [task.ended_at for task in inner if task.ended_at]
    ended_at = max(ends, default=group.ended_at or progress.ended_at)
    if group.state is TaskState.CANCELLED:
        ended_at = progress.ended_at or ended_at
    started_at = group.started_at
    starts = [task.started_at for task in inner if task.started_at]
    retried_at = progress.retried_at
    # After a retry of the run, the execution of a group still has its start from before the retry.
    # When all tasks inside the group started after the retry, so did the group.
    if starts and started_at and retried_at and started_at < retried_at <= min(starts):
        started_at = min(starts)
    return replace(group, started_at=started_at, ended_at=ended_at)
