"""Derive the states and times of DAGs and loops in an ended run from the tasks inside them.

The server leaves many groups RUNNING after the end of a run. So the state of a group follows from
its tasks.
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
    """Return the tasks of a run that has ended, with corrected states and times of groups.

    Args:
        tasks: the tasks of the run, with the states from the server.
        execution_by_path: the execution of each task, by the path of the task. None for a task
            without an execution.
        progress: the state and the times of the run.
    """
    by_path = {task.path: task for task in tasks}
    paths_inside = group_by_parent(by_path)
    # The state of a group depends on the groups inside it, so the innermost groups come first.
    for path in sorted(by_path, key=_depth, reverse=True):
        group = by_path[path]
        if group.kind not in _GROUPS or group.state in (TaskState.SKIPPED, TaskState.CACHED):
            continue
        if _has_own_error(group, execution_by_path[path]):
            continue
        inner_tasks = [by_path[inner_path] for inner_path in paths_inside[path]]
        all_started = all(execution_by_path[task.path] is not None for task in inner_tasks)
        state = _group_state(group, inner_tasks, progress, all_started=all_started)
        by_path[path] = _with_times(replace(group, state=state), inner_tasks, progress)
    return [by_path[task.path] for task in tasks]


def _depth(path: str) -> int:
    """Return how many groups contain a task, from its path.

    A loop and each of its iterations count as groups.
    """
    return path.count("/") + path.count("[")


def _has_own_error(group: Task, execution: Execution | None) -> bool:
    """Return whether the driver of a group failed. Then the tasks inside it are irrelevant.

    A server of 3.0 gives a reason when the driver of a group failed (the function `DAG` in
    driver/dag.go of its source). It gives no reason when a task inside the group failed.
    """
    return group.state is TaskState.FAILED and execution is not None and bool(execution.error)


def _group_state(
    group: Task, inner_tasks: Sequence[Task], progress: Progress, *, all_started: bool
) -> TaskState:
    """Return the state of a group, which follows from the tasks inside it.

    Args:
        group: the group, with the state from the server.
        inner_tasks: the tasks or iterations in the group.
        progress: the state and the times of the run.
        all_started: whether each of `inner_tasks` has an execution.
    """
    states = {task.state for task in inner_tasks}
    # FAILED comes first: when a task fails, the server may cancel others.
    for bad_state in (TaskState.FAILED, TaskState.CANCELLED):
        if bad_state in states:
            return bad_state
    if group.state.final:
        # The state FAILED of a group can come from before a retry of the run. None of its tasks is
        # FAILED or CANCELLED any more, so the group has succeeded.
        return TaskState.SUCCEEDED if inner_tasks else group.state
    # The server left the group RUNNING. No task inside failed or was cancelled. But a cancelled run
    # may have ended before all tasks of the group started.
    is_complete = bool(inner_tasks) and all_started
    if progress.state is RunState.CANCELLED and not is_complete:
        return TaskState.CANCELLED
    return TaskState.SUCCEEDED


def _with_times(group: Task, inner_tasks: Sequence[Task], progress: Progress) -> Task:
    """Return a group with its start and end, which follow from the tasks inside it."""
    ends = [task.ended_at for task in inner_tasks if task.ended_at]
    ended_at = max(ends, default=group.ended_at or progress.ended_at)
    if group.state is TaskState.CANCELLED:
        ended_at = progress.ended_at or ended_at
    started_at = group.started_at
    starts = [task.started_at for task in inner_tasks if task.started_at]
    retried_at = progress.retried_at
    # A retry of the run keeps the execution of a group with its old start time. When all tasks
    # inside the group started after the retry, the group started after the retry, too.
    if starts and started_at and retried_at and started_at < retried_at <= min(starts):
        started_at = min(starts)
    return replace(group, started_at=started_at, ended_at=ended_at)
