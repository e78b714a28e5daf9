"""A run of the service, with what ML Metadata knows of it, as a run of ours.

Field names and states are those of the v2beta1 API (`V2beta1Run`, `V2beta1RuntimeState`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from kfgcp.backends.kubeflow.attempts import AttemptPods
from kfgcp.backends.kubeflow.body import labels_of
from kfgcp.backends.kubeflow.metadata import Execution, StoredArtifact
from kfgcp.backends.kubeflow.pod_names import FailedDriver
from kfgcp.backends.kubeflow.tree import Placed, place_executions, place_nodes, with_failed_drivers
from kfgcp.backends.reading import (
    LEAVES,
    by_parent,
    first_failure,
    in_order,
    metrics_of,
    one_or_all,
    outputs_of,
    params_of,
    read_spec,
    reason,
    time_of,
    with_group_errors,
    with_group_outputs,
)
from kfgcp.labels import EXPERIMENT, SUBMISSION, of_pipeline
from kfgcp.model import Artifact, Cache, ErrorInfo, Run, RunState, Task, TaskKind, TaskState, timestamp
from kfgcp.spec.documents import whole
from kfgcp.spec.graph import Graph
from kfgcp.spec.load import Spec

RUN_STATES: Final = {
    "RUNTIME_STATE_UNSPECIFIED": RunState.PENDING,
    "PENDING": RunState.PENDING,
    "RUNNING": RunState.RUNNING,
    "SUCCEEDED": RunState.SUCCEEDED,
    "SKIPPED": RunState.SUCCEEDED,
    "FAILED": RunState.FAILED,
    "CANCELING": RunState.CANCELLING,
    "CANCELED": RunState.CANCELLED,
    "PAUSED": RunState.PAUSED,
}
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
_HIT: Final = Cache(True, "Kubeflow Pipelines took the outputs of an earlier run with the same code and inputs")
_MISS: Final = Cache(False, "Kubeflow Pipelines does not say why")
NO_REASON: Final = "the task failed; its log says why"
NOT_STARTED: Final = "the task could not be started; the log of its driver says why"
"""The driver reads the inputs of a task, decides whether it runs, and makes its pod."""


@dataclass(frozen=True, slots=True)
class Where:
    """The place of a run. host: its address. env: the environment its runs belong to."""

    host: str
    env: str


def run_of(
    body: Mapping[str, Any], where: Where, *, experiment: str = "", executions: Sequence[Execution] = ()
) -> tuple[Run, dict[str, Any] | None]:
    """The run, and its spec when it has one that can be read.

    Args:
        body: as `messages.read_run` returns it.
        where: its place.
        experiment: its experiment's name.
        executions: what ML Metadata knows; without them the tasks are those of the workflow, without their values.
    """
    run_id = body["run_id"]
    spec, graph = _spec(body)
    labels = _labels(body, spec)
    state = RUN_STATES.get(str(body.get("state")), RunState.PENDING)  # one of a newer service goes on
    ended, done = state.final, state is RunState.SUCCEEDED
    placed = [task for task in placed_tasks(body, executions) if ended or _is_known(task)]
    tasks = _tasks(placed, ended, AttemptPods(_details(body)))
    artifacts = [artifact for each in placed for artifact in _artifacts(each)]
    run = Run(
        run_id=run_id,
        env=where.env,
        backend="kubeflow",
        backend_ref=run_id,
        url=f"{where.host}/#/runs/details/{run_id}",
        pipeline=labels.get("pipeline") or (spec.name if spec else str(body.get("display_name") or "")),
        version=spec.version if spec else "",
        experiment=experiment or "default",
        name=str(body.get("display_name") or run_id),
        labels=labels,
        state=state,
        created_at=at(body.get("created_at")),
        started_at=min((task.started_at for task in tasks if task.started_at), default=at(body.get("created_at"))),
        ended_at=_run_end(body, tasks) if ended else None,
        params=params_of(whole((body.get("runtime_config") or {}).get("parameters") or {}), spec),
        outputs=outputs_of(graph.root, {task.path: task for task in tasks}) if graph and done else {},
        metrics=tuple(metrics_of(artifacts)),
        artifacts=tuple(artifacts),
        tasks=tuple(tasks),
        error=_error(body, tasks),
    )
    return (replace(run, pipeline=spec.name) if spec else run), spec.pipeline_spec if spec else None


def _labels(body: Mapping[str, Any], spec: Spec | None) -> dict[str, str]:
    """The labels of a run; of one of ours those that its spec tells too."""
    found = labels_of(body.get("description"))
    found.pop(EXPERIMENT, None)  # there for lists, which know it by its id
    return {**of_pipeline(spec.name, spec.version), **found} if spec and SUBMISSION in found else found


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
        pod = placed.execution.pod if placed.execution is not None else str((placed.node or {}).get("pod_name") or "")
        if pod:
            pods[placed.path] = attempts.of(pod)
    return pods


def at(text: Any) -> str | None:
    """A time of the service as ours."""
    return time_of(text, "Kubeflow Pipelines")


def _details(body: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return (body.get("run_details") or {}).get("task_details") or ()


def _run_end(body: Mapping[str, Any], tasks: Sequence[Task]) -> str | None:
    """The service has whole seconds; a run does not end before its last task."""
    return max(filter(None, (_past(body.get("finished_at")), *(task.ended_at for task in tasks))), default=None)


def _past(text: Any) -> str | None:
    """The service has the year 1, or 1970, for what has not begun or not ended."""
    if isinstance(text, str) and text.startswith(("0001-", "1970-01-01")):
        return None
    return at(text)


def _spec(body: Mapping[str, Any]) -> tuple[Spec | None, Graph | None]:
    document = body.get("pipeline_spec")
    inner = document.get("pipeline_spec") if isinstance(document, Mapping) else None
    return read_spec(inner or document)


def _is_known(placed: Placed) -> bool:
    """Return whether the service told something of a task; of others nothing is known before the run has ended."""
    return bool(placed.execution or placed.node or placed.failed_driver)


def _tasks(placed: Sequence[Placed], ended: bool, attempts: AttemptPods) -> list[Task]:
    tasks = [_task(each, ended, attempts) for each in placed]
    groups = {each.path: each.component for each in placed if each.kind not in LEAVES}
    return with_group_errors(with_group_outputs(_with_groups(tasks) if ended else tasks, groups))


def _task(placed: Placed, ended: bool, attempts: AttemptPods) -> Task:
    if placed.failed_driver is not None:
        return _of_failed_driver(placed, placed.failed_driver)
    if placed.node is not None:
        return _of_node(placed)
    return _of_execution(placed, ended, attempts)


def _of_failed_driver(placed: Placed, driver: FailedDriver) -> Task:
    detail = driver.detail
    return Task(
        path=placed.path,
        kind=placed.kind,
        state=TaskState.FAILED,
        started_at=_past(detail.get("start_time")) or at(detail.get("create_time")),
        ended_at=_past(detail.get("end_time")),
        error=ErrorInfo(NOT_STARTED, placed.path),
    )


def _of_node(placed: Placed) -> Task:
    node = placed.node or {}
    state = NODE_STATES.get(str(node.get("state")), TaskState.PENDING)
    ran = state not in (TaskState.PENDING, TaskState.SKIPPED)
    return Task(
        path=placed.path,
        kind=placed.kind,
        state=state,
        attempts=int(ran and placed.kind in LEAVES),
        started_at=(_past(node.get("start_time")) or at(node.get("create_time"))) if ran else None,
        ended_at=_past(node.get("end_time")) if state.final else None,
        error=reason(node.get("error"), NO_REASON, placed.path) if state is TaskState.FAILED else None,
    )


def _of_execution(placed: Placed, ended: bool, attempts: AttemptPods) -> Task:
    execution = placed.execution
    if execution is None:
        return Task(placed.path, placed.kind, TaskState.SKIPPED if ended else TaskState.PENDING)
    state = EXECUTION_STATES.get(execution.state, TaskState.PENDING)
    if ended and not state.final and placed.kind in LEAVES:
        state = TaskState.CANCELLED
    if execution.cached and state is TaskState.SUCCEEDED:
        state = TaskState.CACHED
    pods = attempts.of(execution.pod)
    if state is TaskState.FAILED and not ended and len(pods) <= placed.retries:
        state = TaskState.RUNNING  # until the next attempt starts, the execution is as the last one left it
    ran = state not in (TaskState.SKIPPED, TaskState.PENDING)
    leaf = placed.kind in LEAVES
    cache = None
    if placed.kind is TaskKind.CONTAINER and state in (TaskState.CACHED, TaskState.SUCCEEDED, TaskState.FAILED):
        cache = _HIT if state is TaskState.CACHED else _MISS
    return Task(
        path=placed.path,
        kind=placed.kind,
        state=state,
        attempts=len(pods) if ran and leaf and state is not TaskState.CACHED else 0,
        cache=cache,
        started_at=timestamp(execution.started_at) if ran and execution.started_at else None,
        ended_at=timestamp(execution.ended_at) if state.final and execution.ended_at else None,
        inputs=in_order({**execution.params, **_uris(execution.inputs)}, placed.component, inside=True),
        outputs=in_order({**execution.output_params, **_uris(execution.outputs)}, placed.component, inside=False),
        error=ErrorInfo(NO_REASON, placed.path) if state is TaskState.FAILED else None,
    )


def _with_groups(tasks: list[Task]) -> list[Task]:
    """DAGs and loops in the state that what they hold gives them: the service leaves many of them RUNNING."""
    found = {task.path: task for task in tasks}
    below = by_parent(found)
    for path in sorted(found, key=lambda each: -each.count("/") - each.count("[")):
        task = found[path]
        if task.kind not in (TaskKind.DAG, TaskKind.LOOP) or task.state in (TaskState.SKIPPED, TaskState.CACHED):
            continue
        inner = [found[each] for each in below[path]]
        states = {each.state for each in inner}
        state = task.state
        if inner and all(each.final for each in states):
            bad = [each for each in (TaskState.FAILED, TaskState.CANCELLED) if each in states]
            state = bad[0] if bad else TaskState.SUCCEEDED
        ends = [each.ended_at for each in inner if each.ended_at]
        ended_at = (max(ends) if ends else task.ended_at) if state.final else None
        found[path] = replace(task, state=state, ended_at=ended_at)
    return [found[task.path] for task in tasks]


def _uris(artifacts: Mapping[str, Sequence[StoredArtifact]]) -> dict[str, Any]:
    return one_or_all({name: [each.uri for each in items] for name, items in artifacts.items()})


def _artifacts(placed: Placed) -> Iterator[Artifact]:
    execution = placed.execution
    if execution is None or placed.kind in (TaskKind.DAG, TaskKind.LOOP):
        return
    if EXECUTION_STATES.get(execution.state) not in (TaskState.SUCCEEDED, TaskState.CACHED):
        return
    for name, items in execution.outputs.items():
        for each in items:
            yield Artifact(placed.path, name, each.type, each.uri, dict(each.metadata))


def _error(body: Mapping[str, Any], tasks: Sequence[Task]) -> ErrorInfo | None:
    """Of a failed run: the first failure of a task, else what the service says of the whole."""
    if RUN_STATES.get(str(body.get("state"))) is not RunState.FAILED:
        return None
    return first_failure(tasks) or reason(body.get("error"), "Kubeflow Pipelines gives no reason")
