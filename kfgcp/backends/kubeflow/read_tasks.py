"""Convert the tasks of a run of Kubeflow Pipelines to `Task`s.

`tree` has placed each task at its path, with an execution, a node, or a failed driver. This module
gives each task its state, its times and its values. After the end of a run, `group_states` corrects
the states of DAGs and loops, because the server often leaves them RUNNING.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from kfgcp.backends.kubeflow.execution import ENDED_STATES, Execution, StoredArtifact
from kfgcp.backends.kubeflow.group_states import with_group_states
from kfgcp.backends.kubeflow.messages import NodeAnswer
from kfgcp.backends.kubeflow.pod_attempts import AttemptPods
from kfgcp.backends.kubeflow.pod_names import FailedDriver
from kfgcp.backends.kubeflow.progress import Progress
from kfgcp.backends.kubeflow.states import execution_state, node_state
from kfgcp.backends.kubeflow.times import format_seconds, read_event_time, read_time
from kfgcp.backends.kubeflow.tree import PlacedTask
from kfgcp.backends.run_values import (
    LEAVES,
    add_group_errors,
    add_group_outputs,
    order_values,
    uris_as_values,
)
from kfgcp.backends.status import Status, error_info
from kfgcp.model import (
    Artifact,
    Cache,
    ErrorInfo,
    ErrorKind,
    RunState,
    Task,
    TaskKind,
    TaskState,
)

NO_REASON: Final = "the task failed; its log says why"
# The driver reads the inputs of a task, decides whether the task runs, and creates its pod.
NOT_STARTED: Final = "the task could not be started; the log of its driver says why"
_CACHE_HIT: Final = Cache(
    True, "Kubeflow Pipelines took the outputs of an earlier run with the same code and inputs"
)
_CACHE_MISS: Final = Cache(False, "Kubeflow Pipelines does not say why")
_GROUPS: Final = (TaskKind.DAG, TaskKind.LOOP)


def read_tasks(
    placed: Sequence[PlacedTask], progress: Progress, attempts: AttemptPods
) -> list[Task]:
    """Return the tasks of a run, in the order of `placed`.

    Args:
        placed: the tasks at their paths.
        progress: the state and the times of the run.
        attempts: finds the pods of attempts.
    """
    tasks = [_read_task(task, progress, attempts) for task in placed]
    if progress.has_ended:
        execution_by_path = {task.path: task.execution for task in placed}
        tasks = with_group_states(tasks, execution_by_path, progress)
    components = {task.path: task.component for task in placed if task.kind not in LEAVES}
    # These steps copy the outputs and errors of tasks to the groups, so they come last.
    return add_group_errors(add_group_outputs(tasks, components))


def read_artifacts(placed: Sequence[PlacedTask]) -> Iterator[Artifact]:
    """Yield the output artifacts of the tasks that succeeded.

    An artifact of a group is also an artifact of a task inside the group, so groups are left out.
    """
    for task in placed:
        execution = task.execution
        if execution is None or task.kind in _GROUPS:
            continue
        state = execution_state(execution.state)
        if state not in (TaskState.SUCCEEDED, TaskState.CACHED):
            continue
        for name, artifacts in execution.outputs.items():
            for artifact in artifacts:
                metadata = dict(artifact.metadata)
                yield Artifact(task.path, name, artifact.type, artifact.uri, metadata)


def _read_task(task: PlacedTask, progress: Progress, attempts: AttemptPods) -> Task:
    if task.failed_driver is not None:
        return _from_failed_driver(task, task.failed_driver)
    if task.node is not None:
        return _from_node(task, task.node, progress)
    if task.execution is not None:
        return _from_execution(task, task.execution, progress, attempts)
    state = TaskState.SKIPPED if progress.has_ended else TaskState.PENDING
    return Task(task.path, task.kind, state)


def _from_failed_driver(task: PlacedTask, driver: FailedDriver) -> Task:
    """Return a task that did not start because its driver failed."""
    node = driver.node
    return Task(
        path=task.path,
        kind=task.kind,
        state=TaskState.FAILED,
        started_at=_node_start(node),
        ended_at=read_event_time(node.get("end_time")),
        error=ErrorInfo(NOT_STARTED, task.path, kind=ErrorKind.LOG_UNREAD),
    )


# -- tasks that have only a node of the workflow


def _from_node(task: PlacedTask, node: NodeAnswer, progress: Progress) -> Task:
    state = _state_from_node(node, progress)
    ended_at = read_event_time(node.get("end_time"))
    if state is TaskState.FAILED and _was_killed(ended_at, progress):
        state = TaskState.CANCELLED
        ended_at = progress.ended_at
    did_run = state not in (TaskState.PENDING, TaskState.SKIPPED)
    if did_run and ended_at is None:
        ended_at = progress.ended_at
    error = None
    if state is TaskState.FAILED:
        error = _read_error(node.get("error"), task.path)
    return Task(
        path=task.path,
        kind=task.kind,
        state=state,
        attempts=int(did_run and task.kind in LEAVES),
        started_at=_node_start(node) if did_run else None,
        ended_at=ended_at if state.final else None,
        error=error,
    )


def _state_from_node(node: NodeAnswer, progress: Progress) -> TaskState:
    """Return the state of a task that has only a node."""
    if not progress.has_ended:
        return node_state(node)
    # The API leaves the state out for a node with Argo's state Omitted.
    if not node.get("state"):
        return TaskState.SKIPPED
    return progress.task_state(node_state(node))


def _was_killed(ended_at: str | None, progress: Progress) -> bool:
    """Return whether a failed node was killed because the run was cancelled.

    Argo uses the state Failed for both reasons (recorded: sleepy-cancelled).
    """
    if progress.state is not RunState.CANCELLED or progress.cancelled_at is None:
        return False
    return ended_at is None or ended_at >= progress.cancelled_at


def _node_start(node: NodeAnswer) -> str | None:
    return read_event_time(node.get("start_time")) or read_time(node.get("create_time"))


def _read_error(error: Status | None, path: str) -> ErrorInfo:
    return error_info(error, NO_REASON, path, kind=ErrorKind.LOG_UNREAD)


# -- tasks that have an execution


def _from_execution(
    task: PlacedTask, execution: Execution, progress: Progress, attempts: AttemptPods
) -> Task:
    is_leaf = task.kind in LEAVES
    pods = attempts.find_for_execution(execution)
    state = _state_from_execution(task, execution, progress, len(pods))
    did_run = state not in (TaskState.SKIPPED, TaskState.PENDING)
    was_cut_off = is_leaf and progress.has_ended and execution.state not in ENDED_STATES
    ended_at = progress.ended_at if was_cut_off else format_seconds(execution.ended_at)
    attempt_count = 0
    if did_run and is_leaf and state is not TaskState.CACHED:
        # After a retry of the run, the nodes of earlier pods are gone, but the logs of these pods
        # stay.
        attempt_count = max(len(pods), len(execution.logs))
    inputs = {**execution.params, **_read_uris(execution.inputs)}
    outputs = {**execution.output_params, **_read_uris(execution.outputs)}
    error = None
    if state is TaskState.FAILED:
        error = _read_error(Status(message=execution.error), task.path)
    return Task(
        path=task.path,
        kind=task.kind,
        state=state,
        attempts=attempt_count,
        cache=_read_cache(task.kind, state),
        started_at=_start_of_execution(execution, progress, ended_at) if did_run else None,
        ended_at=ended_at if state.final else None,
        inputs=order_values(inputs, task.component, are_inputs=True),
        outputs=order_values(outputs, task.component, are_inputs=False),
        error=error,
    )


def _read_cache(kind: TaskKind, state: TaskState) -> Cache | None:
    if kind is not TaskKind.CONTAINER:
        return None
    if state is TaskState.CACHED:
        return _CACHE_HIT
    if state in (TaskState.SUCCEEDED, TaskState.FAILED):
        return _CACHE_MISS
    return None


def _state_from_execution(
    task: PlacedTask, execution: Execution, progress: Progress, attempt_count: int
) -> TaskState:
    """Return the state of a task that has an execution.

    After the end of the run, `group_states` may correct the state of a group.
    """
    is_leaf = task.kind in LEAVES
    state = execution_state(execution.state)
    if execution.cached and state is TaskState.SUCCEEDED:
        state = TaskState.CACHED
    # The server leaves a loop without items RUNNING (recorded: loop-empty).
    if task.kind is TaskKind.LOOP and execution.iterations == 0 and not state.final:
        return TaskState.SUCCEEDED
    if progress.has_ended:
        return progress.task_state(state) if is_leaf else state
    if state is not TaskState.FAILED:
        return state
    # The execution keeps the state FAILED until the next attempt starts.
    if is_leaf and attempt_count <= task.retries:
        return TaskState.RUNNING
    if _is_before_retry(execution, progress):
        return TaskState.PENDING if is_leaf else TaskState.RUNNING
    return state


def _is_before_retry(execution: Execution, progress: Progress) -> bool:
    """Return whether an execution has not changed since a retry of the run that reuses it."""
    ended_at = format_seconds(execution.ended_at)
    retried_at = progress.retried_at
    if not execution.is_reused or retried_at is None or ended_at is None:
        return False
    return not _is_in_later_second(ended_at, retried_at)


def _start_of_execution(
    execution: Execution, progress: Progress, ended_at: str | None
) -> str | None:
    """Return when a task started.

    A retry of the run reuses the execution of a task with its old start time. When the task ran
    again, its start is the time of the retry.
    """
    started_at = format_seconds(execution.started_at)
    retried_at = progress.retried_at
    if not execution.is_reused or not started_at or not retried_at or started_at >= retried_at:
        return started_at
    ran_again = ended_at is None or _is_in_later_second(ended_at, retried_at)
    return retried_at if ran_again else started_at


def _is_in_later_second(time: str, retried_at: str) -> bool:
    """Return whether a time is after the second in which a run was retried.

    The server has the time of the retry in whole seconds, so a time in the same second can be
    before or after the retry. A pod needs more than a second to start and end. So a task that ended
    in this second ended before the retry.
    """
    seconds = len("2026-01-02T03:04:05")
    return time[:seconds] > retried_at[:seconds]


def _read_uris(artifacts: Mapping[str, Sequence[StoredArtifact]]) -> dict[str, Any]:
    """Return the URIs of artifacts by the names of the inputs or outputs."""
    uris_by_name: dict[str, list[str]] = {}
    for name, stored in artifacts.items():
        # On 3.0, metrics have no file. Their values are in the metadata.
        uris = [artifact.uri for artifact in stored if artifact.uri]
        if uris:
            uris_by_name[name] = uris
    return uris_as_values(uris_by_name)
