"""A run of the service, with what ML Metadata knows of it, as a run of ours.

Field names and states are those of the v2beta1 API (`V2beta1Run`, `V2beta1RuntimeState`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from kfgcp.backends.kubeflow.metadata import Execution, StoredArtifact
from kfgcp.backends.kubeflow.pod_attempts import AttemptPods
from kfgcp.backends.kubeflow.pod_names import FailedDriver
from kfgcp.backends.kubeflow.progress import RUN_STATES as RUN_STATES
from kfgcp.backends.kubeflow.progress import SERVICE, Progress, past, progress_of
from kfgcp.backends.kubeflow.request import labels_of
from kfgcp.backends.kubeflow.tree import (
    ENDED,
    Placed,
    place_executions,
    place_nodes,
    with_failed_drivers,
)
from kfgcp.backends.run_values import (
    LEAVES,
    add_group_errors,
    add_group_outputs,
    dag_outputs,
    error_info,
    find_first_failure,
    group_by_parent,
    order_values,
    parse_time,
    read_metrics,
    read_params,
    read_spec,
    uris_as_values,
)
from kfgcp.labels import EXPERIMENT, SUBMISSION, pipeline_labels
from kfgcp.model import (
    Artifact,
    Cache,
    ErrorInfo,
    ErrorKind,
    Run,
    RunState,
    Task,
    TaskKind,
    TaskState,
    timestamp,
)
from kfgcp.spec.graph import Graph
from kfgcp.spec.json_values import normalize_numbers
from kfgcp.spec.load import Spec

NODE_STATES: Final = {
    "RUNTIME_STATE_UNSPECIFIED": TaskState.PENDING,
    "PENDING": TaskState.PENDING,
    "RUNNING": TaskState.RUNNING,
    "SUCCEEDED": TaskState.SUCCEEDED,
    "SKIPPED": TaskState.SKIPPED,
    "FAILED": TaskState.FAILED,
    "CANCELING": TaskState.RUNNING,
    "CANCELED": TaskState.CANCELLED,
    "PAUSED": TaskState.PENDING,
}
EXECUTION_STATES: Final = {
    "UNKNOWN": TaskState.PENDING,
    "NEW": TaskState.PENDING,
    "RUNNING": TaskState.RUNNING,
    "COMPLETE": TaskState.SUCCEEDED,
    "FAILED": TaskState.FAILED,
    "CACHED": TaskState.CACHED,
    "CANCELED": TaskState.SKIPPED,
}
_HIT: Final = Cache(
    True, "Kubeflow Pipelines took the outputs of an earlier run with the same code and inputs"
)
_MISS: Final = Cache(False, "Kubeflow Pipelines does not say why")
NO_REASON: Final = "the task failed; its log says why"
RUN_FAILED: Final = "Kubeflow Pipelines gives no reason"
NOT_STARTED: Final = "the task could not be started; the log of its driver says why"
"""The driver reads the inputs of a task, decides whether it runs, and makes its pod."""
PIPELINE_NOT_STARTED: Final = (
    "the pipeline could not be started; the log of its pod root-driver says why"
)


@dataclass(frozen=True, slots=True)
class Where:
    """The place of a run. host: its address. env: the environment its runs belong to."""

    host: str
    env: str


def run_of(
    body: Mapping[str, Any],
    where: Where,
    *,
    experiment: str = "",
    executions: Sequence[Execution] = (),
    cancelled: bool = False,
) -> tuple[Run, dict[str, Any] | None]:
    """The run, and its spec when it has one that can be read.

    Args:
        body: as `messages.read_run` returns it.
        where: its place.
        experiment: its experiment's name.
        executions: what ML Metadata knows; without them the tasks are those of the workflow,
            without their values.
        cancelled: whether it was cancelled from here.
    """
    run_id = body["run_id"]
    spec, graph = _spec(body)
    labels = _labels(body, spec)
    progress = progress_of(body, cancelled=cancelled)
    placed = [
        task for task in placed_tasks(body, executions) if progress.has_ended or _is_known(task)
    ]
    tasks = _tasks(placed, progress, AttemptPods(_details(body)))
    artifacts = [artifact for each in placed for artifact in _artifacts(each)]
    run = Run(
        run_id=run_id,
        env=where.env,
        backend="kubeflow",
        backend_ref=run_id,
        url=f"{where.host}/#/runs/details/{run_id}",
        pipeline=labels.get("pipeline")
        or (spec.name if spec else str(body.get("display_name") or "")),
        version=spec.version if spec else "",
        experiment=experiment or "default",
        name=str(body.get("display_name") or run_id),
        labels=labels,
        state=progress.state,
        created_at=at(body.get("created_at")),
        started_at=min(
            (task.started_at for task in tasks if task.started_at),
            default=at(body.get("created_at")),
        ),
        ended_at=_run_end(progress, tasks),
        params=read_params(
            normalize_numbers((body.get("runtime_config") or {}).get("parameters") or {}), spec
        ),
        outputs=_outputs(graph, tasks) if progress.state is RunState.SUCCEEDED else {},
        metrics=tuple(read_metrics(artifacts)),
        artifacts=tuple(artifacts),
        tasks=tuple(tasks),
        error=_error(body, tasks) if progress.state is RunState.FAILED else None,
    )
    return (replace(run, pipeline=spec.name) if spec else run), spec.pipeline_spec if spec else None


def _labels(body: Mapping[str, Any], spec: Spec | None) -> dict[str, str]:
    """The labels of a run; of one of ours those that its spec tells too."""
    found = labels_of(body.get("description"))
    found.pop(EXPERIMENT, None)  # there for lists, which know it by its id
    return (
        {**pipeline_labels(spec.name, spec.version), **found}
        if spec and SUBMISSION in found
        else found
    )


def placed_tasks(body: Mapping[str, Any], executions: Sequence[Execution] = ()) -> Sequence[Placed]:
    """The tasks of a run at their paths, in the order they started."""
    graph = _spec(body)[1]
    if graph is None:
        return []
    details = _details(body)
    placed = place_executions(executions, graph) if executions else place_nodes(details, graph)
    return with_failed_drivers(placed, details, graph)


def pods_of(body: Mapping[str, Any], executions: Sequence[Execution]) -> dict[str, list[str]]:
    """Task path -> the pods of its attempts, first to last, of what has one."""
    attempts = AttemptPods(_details(body))
    pods = {}
    for placed in placed_tasks(body, executions):
        execution, node = placed.execution, placed.node or {}
        if execution is not None and execution.pod:
            pods[placed.path] = _attempt_pods(execution, attempts)
        elif node.get("pod_name"):
            pods[placed.path] = attempts.of(str(node["pod_name"]))
    return pods


def graph_of(body: Mapping[str, Any]) -> Graph | None:
    """Return the pipeline of a run, None when its spec cannot be read."""
    return _spec(body)[1]


def at(text: Any) -> str | None:
    """A time of the service as ours."""
    return parse_time(text, SERVICE)


def _attempt_pods(execution: Execution, attempts: AttemptPods) -> list[str]:
    """Return the pods of the attempts of a task, first to last; one empty name when none is
    known."""
    return list(execution.pods) or attempts.of(execution.pod)


def _details(body: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return (body.get("run_details") or {}).get("task_details") or ()


def _run_end(progress: Progress, tasks: Sequence[Task]) -> str | None:
    """Return when a run ended. The service has whole seconds; a run does not end before its last
    task."""
    if not progress.has_ended:
        return None
    ends = [progress.ended_at, *(task.ended_at for task in tasks)]
    return max((end for end in ends if end), default=None)


def _outputs(graph: Graph | None, tasks: Sequence[Task]) -> dict[str, Any]:
    return dag_outputs(graph.root, {task.path: task for task in tasks}) if graph is not None else {}


def _spec(body: Mapping[str, Any]) -> tuple[Spec | None, Graph | None]:
    document = body.get("pipeline_spec")
    inner = document.get("pipeline_spec") if isinstance(document, Mapping) else None
    return read_spec(inner or document)


def _is_known(placed: Placed) -> bool:
    """Return whether the service told something of a task; of others nothing is known before the
    run has ended."""
    return bool(placed.execution or placed.node or placed.failed_driver)


def _tasks(placed: Sequence[Placed], progress: Progress, attempts: AttemptPods) -> list[Task]:
    tasks = [_task(each, progress, attempts) for each in placed]
    if progress.has_ended:
        tasks = _with_groups(placed, tasks, progress)
    groups = {each.path: each.component for each in placed if each.kind not in LEAVES}
    return add_group_errors(add_group_outputs(tasks, groups))


def _task(placed: Placed, progress: Progress, attempts: AttemptPods) -> Task:
    if placed.failed_driver is not None:
        return _of_failed_driver(placed, placed.failed_driver)
    if placed.node is not None:
        return _of_node(placed, placed.node, progress)
    if placed.execution is not None:
        return _of_execution(placed, placed.execution, progress, attempts)
    return Task(
        placed.path, placed.kind, TaskState.SKIPPED if progress.has_ended else TaskState.PENDING
    )


def _of_failed_driver(placed: Placed, driver: FailedDriver) -> Task:
    detail = driver.detail
    return Task(
        path=placed.path,
        kind=placed.kind,
        state=TaskState.FAILED,
        started_at=past(detail.get("start_time")) or at(detail.get("create_time")),
        ended_at=past(detail.get("end_time")),
        error=ErrorInfo(NOT_STARTED, placed.path, kind=ErrorKind.LOG_UNREAD),
    )


def _of_node(placed: Placed, node: Mapping[str, Any], progress: Progress) -> Task:
    state = NODE_STATES.get(str(node.get("state")), TaskState.PENDING)
    if progress.has_ended:
        # The API has no word for Argo's state Omitted, and leaves it out.
        state = progress.task_state(state) if node.get("state") else TaskState.SKIPPED
    ran = state not in (TaskState.PENDING, TaskState.SKIPPED)
    ended_at = past(node.get("end_time"))
    if state is TaskState.FAILED and _was_killed(ended_at, progress):
        state, ended_at = TaskState.CANCELLED, progress.ended_at
    if ran and ended_at is None:
        ended_at = progress.ended_at
    return Task(
        path=placed.path,
        kind=placed.kind,
        state=state,
        attempts=int(ran and placed.kind in LEAVES),
        started_at=(past(node.get("start_time")) or at(node.get("create_time"))) if ran else None,
        ended_at=ended_at if state.final else None,
        error=_reason(node.get("error"), placed.path) if state is TaskState.FAILED else None,
    )


def _reason(error: Any, task: str) -> ErrorInfo:
    return error_info(error, NO_REASON, task, kind=ErrorKind.LOG_UNREAD)


def _was_killed(ended_at: str | None, progress: Progress) -> bool:
    """Return whether a node that failed was ended with its run: Argo says Failed of both.

    ML Metadata leaves such a task RUNNING (recorded: sleepy-cancelled).
    """
    if progress.state is not RunState.CANCELLED or progress.cancelled_at is None:
        return False
    return ended_at is None or ended_at >= progress.cancelled_at


def _of_execution(
    placed: Placed, execution: Execution, progress: Progress, attempts: AttemptPods
) -> Task:
    is_leaf = placed.kind in LEAVES
    pods = _attempt_pods(execution, attempts)
    state = _execution_state(placed, execution, progress, len(pods))
    was_cut_off = is_leaf and progress.has_ended and execution.state not in ENDED
    ran = state not in (TaskState.SKIPPED, TaskState.PENDING)
    ended_at = progress.ended_at if was_cut_off else _time(execution.ended_at)
    cache = None
    if placed.kind is TaskKind.CONTAINER and state in (
        TaskState.CACHED,
        TaskState.SUCCEEDED,
        TaskState.FAILED,
    ):
        cache = _HIT if state is TaskState.CACHED else _MISS
    return Task(
        path=placed.path,
        kind=placed.kind,
        state=state,
        # The pods that ran before a retry of the run are no more among the nodes, but their logs
        # were kept.
        attempts=max(len(pods), len(execution.logs))
        if ran and is_leaf and state is not TaskState.CACHED
        else 0,
        cache=cache,
        started_at=_start(execution, progress, ended_at) if ran else None,
        ended_at=ended_at if state.final else None,
        inputs=order_values(
            {**execution.params, **_uris(execution.inputs)}, placed.component, inside=True
        ),
        outputs=order_values(
            {**execution.output_params, **_uris(execution.outputs)}, placed.component, inside=False
        ),
        error=_reason({"message": execution.error}, placed.path)
        if state is TaskState.FAILED
        else None,
    )


def _execution_state(
    placed: Placed, execution: Execution, progress: Progress, attempts: int
) -> TaskState:
    """Return the state of a task; that of a group in a run that has ended may depend on what it
    holds."""
    is_leaf = placed.kind in LEAVES
    state = EXECUTION_STATES.get(execution.state, TaskState.PENDING)
    if execution.cached and state is TaskState.SUCCEEDED:
        state = TaskState.CACHED
    if placed.kind is TaskKind.LOOP and execution.iterations == 0 and not state.final:
        # The service does not end it.
        return TaskState.SUCCEEDED
    if progress.has_ended:
        return progress.task_state(state) if is_leaf else state
    if state is TaskState.FAILED and is_leaf and attempts <= placed.retries:
        # Until the next attempt starts, the execution is as the last one left it.
        return TaskState.RUNNING
    if state is TaskState.FAILED and _is_before_retry(execution, progress):
        return TaskState.PENDING if is_leaf else TaskState.RUNNING
    return state


def _is_before_retry(execution: Execution, progress: Progress) -> bool:
    """Return whether an execution is as it was when the run was continued, which uses it again."""
    ended_at = _time(execution.ended_at)
    retried_at = progress.retried_at if execution.is_reused else None
    return (
        retried_at is not None
        and ended_at is not None
        and not _is_in_later_second(ended_at, retried_at)
    )


def _start(execution: Execution, progress: Progress, ended_at: str | None) -> str | None:
    """Return when a task started; one that was run again in a run that was continued started with
    that."""
    started_at = _time(execution.started_at)
    retried_at = progress.retried_at if execution.is_reused else None
    if not started_at or not retried_at or started_at >= retried_at:
        return started_at
    was_run_again = ended_at is None or _is_in_later_second(ended_at, retried_at)
    return retried_at if was_run_again else started_at


def _is_in_later_second(time: str, retried_at: str) -> bool:
    """Return whether a time is not in the second in which a run was continued.

    The server gives whole seconds for that, so a time in the same second can be before or after it.
    A pod takes longer than a second to start and end, so what ended in that second ended before.
    """
    seconds = len("2026-01-02T03:04:05")
    return time[:seconds] > retried_at[:seconds]


def _time(seconds: float) -> str | None:
    return timestamp(seconds) if seconds else None


def _with_groups(placed: Sequence[Placed], tasks: Sequence[Task], progress: Progress) -> list[Task]:
    """Return the tasks of a run that has ended; groups with the state and the times that what they
    hold gives them.

    The service leaves many groups RUNNING.
    """
    by_path = {task.path: task for task in tasks}
    executions = {each.path: each.execution for each in placed}
    below = group_by_parent(by_path)
    for path in sorted(by_path, key=lambda each: -each.count("/") - each.count("[")):
        group = by_path[path]
        if group.kind in (TaskKind.DAG, TaskKind.LOOP) and group.state not in (
            TaskState.SKIPPED,
            TaskState.CACHED,
        ):
            if _failed_by_itself(group, executions[path]):
                continue
            inner = [by_path[each] for each in below[path]]
            has_all = all(executions[task.path] is not None for task in inner)
            by_path[path] = _with_inner(group, inner, progress, has_all=has_all)
    return [by_path[task.path] for task in tasks]


def _failed_by_itself(group: Task, execution: Execution | None) -> bool:
    """Return whether a group failed for a reason of its own, so that what it holds does not decide.

    A server of 3.0 tells the reason when the driver of a group failed (DAG in driver/dag.go of that
    branch). A group that failed because of a task in it has no reason.
    """
    return group.state is TaskState.FAILED and execution is not None and bool(execution.error)


def _with_inner(group: Task, inner: Sequence[Task], progress: Progress, *, has_all: bool) -> Task:
    """Return a group with the state and the times that what it holds gives it.

    Args:
        group: as the service tells it.
        inner: the tasks or iterations in it.
        progress: how far the run is.
        has_all: whether the service made all of them.
    """
    states = {task.state for task in inner}
    state = group.state
    for bad in (TaskState.FAILED, TaskState.CANCELLED):
        if bad in states:
            state = bad
            break
    else:
        if inner:
            state = TaskState.SUCCEEDED
        if not group.state.final:
            is_cut_off = progress.state is RunState.CANCELLED and not (inner and has_all)
            state = TaskState.CANCELLED if is_cut_off else TaskState.SUCCEEDED
    ends = [task.ended_at for task in inner if task.ended_at]
    ended_at = max(ends, default=group.ended_at or progress.ended_at)
    if state is TaskState.CANCELLED:
        ended_at = progress.ended_at or ended_at
    starts = [task.started_at for task in inner if task.started_at]
    started_at = group.started_at
    if (
        starts
        and started_at
        and progress.retried_at
        and started_at < progress.retried_at <= min(starts)
    ):
        started_at = min(starts)
    return replace(group, state=state, started_at=started_at, ended_at=ended_at)


def _uris(artifacts: Mapping[str, Sequence[StoredArtifact]]) -> dict[str, Any]:
    uris = {
        name: [artifact.uri for artifact in items if artifact.uri]
        for name, items in artifacts.items()
    }
    # Metrics of 3.0 have no file: their values are in the metadata.
    return uris_as_values({name: found for name, found in uris.items() if found})


def _artifacts(placed: Placed) -> Iterator[Artifact]:
    execution = placed.execution
    if execution is None or placed.kind in (TaskKind.DAG, TaskKind.LOOP):
        return
    if EXECUTION_STATES.get(execution.state) not in (TaskState.SUCCEEDED, TaskState.CACHED):
        return
    for name, items in execution.outputs.items():
        for each in items:
            yield Artifact(placed.path, name, each.type, each.uri, dict(each.metadata))


def _error(body: Mapping[str, Any], tasks: Sequence[Task]) -> ErrorInfo:
    """Return the error of a failed run: the first failure of a task, else what the service says of
    the whole."""
    failure = find_first_failure(tasks)
    if failure is not None:
        return failure
    if any(_is_failed_root_driver(detail) for detail in _details(body)):
        return error_info(body.get("error"), PIPELINE_NOT_STARTED, kind=ErrorKind.LOG_UNREAD)
    return error_info(body.get("error"), RUN_FAILED)


def _is_failed_root_driver(detail: Mapping[str, Any]) -> bool:
    name = str(detail.get("display_name") or "")
    return detail.get("state") == "FAILED" and name.partition("(")[0] == "root-driver"
