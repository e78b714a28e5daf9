"""A PipelineJob of the service as a run of ours.

Field names and states are those of `google.cloud.aiplatform.v1` (pipeline_job.proto); what tasks are called, and how
they are nested, is in tree.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

from kfgcp.backends.vertex.tree import Placed, place_tasks
from kfgcp.errors import BackendError, SpecError
from kfgcp.model import (
    Artifact,
    Cache,
    ErrorInfo,
    Metric,
    Run,
    RunState,
    Task,
    TaskKind,
    TaskState,
    timestamp,
)
from kfgcp.spec.documents import parse_json, whole
from kfgcp.spec.graph import Component, FromTask, Graph, build
from kfgcp.spec.load import Spec, from_documents

RUN_STATES: Final = {
    "PIPELINE_STATE_QUEUED": RunState.PENDING,
    "PIPELINE_STATE_PENDING": RunState.PENDING,
    "PIPELINE_STATE_RUNNING": RunState.RUNNING,
    "PIPELINE_STATE_SUCCEEDED": RunState.SUCCEEDED,
    "PIPELINE_STATE_FAILED": RunState.FAILED,
    "PIPELINE_STATE_CANCELLING": RunState.CANCELLING,
    "PIPELINE_STATE_CANCELLED": RunState.CANCELLED,
    "PIPELINE_STATE_PAUSED": RunState.PAUSED,
}
TASK_STATES: Final = {
    "PENDING": TaskState.PENDING,
    "RUNNING": TaskState.RUNNING,
    "SUCCEEDED": TaskState.SUCCEEDED,
    "CANCEL_PENDING": TaskState.RUNNING,
    "CANCELLING": TaskState.RUNNING,
    "CANCELLED": TaskState.CANCELLED,
    "FAILED": TaskState.FAILED,
    "SKIPPED": TaskState.CACHED,
    "NOT_TRIGGERED": TaskState.SKIPPED,
}
_HIT: Final = Cache(True, "Vertex AI took the outputs of an earlier run with the same code and inputs")
_MISS: Final = Cache(False, "Vertex AI does not say why")
_METRICS: Final = "system.Metrics"
_GARBAGE: Final = "Is api_endpoint of the environment right, and does a proxy change answers? If not, update kfgcp."


@dataclass(frozen=True, slots=True)
class Where:
    """The place of a job. env: the environment that its runs belong to when they do not say so themselves."""

    project: str
    location: str
    env: str


def run_of(job: Mapping[str, Any], where: Where) -> tuple[Run, dict[str, Any] | None]:
    """The run, and its spec when the job has one that can be read.

    A job of the list view has no tasks and only the name of its pipeline.

    Raises:
        BackendError: it is no PipelineJob.
    """
    name = job.get("name") if isinstance(job, Mapping) else job
    if not isinstance(name, str) or job.get("state", "PIPELINE_STATE_PENDING") not in RUN_STATES:
        raise BackendError(f"Vertex AI answered with what is no pipeline job: {str(name)[:200]}.", hint=_GARBAGE)
    job_id = name.rpartition("/")[2]
    spec, graph = _spec(job)
    labels = {str(key): str(value) for key, value in (job.get("labels") or {}).items()}
    params = _params(job.get("runtimeConfig") or {}, spec)
    placed = placed_tasks(job)
    tasks = [_task(each) for each in placed]
    artifacts = [artifact for each in placed for artifact in _artifacts(each)]
    run = Run(
        run_id=job_id,
        env=where.env,
        backend="vertex",
        backend_ref=name,
        url=url(job_id, where),
        pipeline=_pipeline_name(job, spec),
        version=spec.version if spec else "",
        experiment=labels.get("experiment") or "default",
        name=job.get("displayName") or job_id,
        labels=labels,
        state=RUN_STATES[job.get("state", "PIPELINE_STATE_PENDING")],
        created_at=at(job.get("createTime")),
        started_at=at(job.get("startTime")),
        ended_at=at(job.get("endTime")),
        params=params,
        outputs=_outputs(graph, tasks) if graph else {},
        metrics=tuple(metric for artifact in artifacts for metric in _metrics(artifact)),
        artifacts=tuple(artifacts),
        tasks=tuple(tasks),
        error=_error(job, tasks),
    )
    return run, spec.pipeline_spec if spec else None


def url(job_id: str, where: Where) -> str:
    """The job in Google's console."""
    console = "https://console.cloud.google.com/vertex-ai/locations"
    return f"{console}/{where.location}/pipelines/runs/{job_id}?project={where.project}"


def at(text: Any) -> str | None:
    """A time of the service as ours."""
    if not isinstance(text, str) or not text:
        return None
    try:
        return timestamp(datetime.fromisoformat(text).timestamp())
    except ValueError:
        raise BackendError(f"Vertex AI answered with a time that is none: {text[:100]}.", hint=_GARBAGE) from None


def state_of(task: Mapping[str, Any]) -> TaskState:
    """The state of a task; one that is not known, of a newer service, is taken for PENDING."""
    return TASK_STATES.get(task.get("state") or "", TaskState.PENDING)


def jobs_of_attempts(task: Mapping[str, Any]) -> list[str]:
    """The ids of the custom jobs that a task's attempts ran as, first to last: what its log entries are found by."""
    detail = (task.get("executorDetail") or {}).get("containerDetail") or {}
    custom = (task.get("executorDetail") or {}).get("customJobDetail") or {}
    names = [*(detail.get("failedMainJobs") or ()), detail.get("mainJob")]
    names += [*(custom.get("failedJobs") or ()), custom.get("job")]
    return list(dict.fromkeys(name.rpartition("/")[2] for name in names if name))


def placed_tasks(job: Mapping[str, Any]) -> list[Placed]:
    """The tasks of a job at their paths, in the order they started."""
    return place_tasks((job.get("jobDetail") or {}).get("taskDetails") or (), _spec(job)[1])


def _spec(job: Mapping[str, Any]) -> tuple[Spec | None, Graph | None]:
    document = job.get("pipelineSpec")
    if not isinstance(document, Mapping) or "root" not in document:
        return None, None
    return _read_spec(json.dumps(document, sort_keys=True))


@lru_cache(maxsize=64)
def _read_spec(text: str) -> tuple[Spec | None, Graph | None]:
    """A spec and its graph, nothing when it is not one that kfgcp can read; most jobs share theirs with others."""
    try:
        spec = from_documents([whole(json.loads(text))], "pipelineSpec")
    except SpecError:  # of an older SDK, or with what only Google knows
        return None, None
    return spec, build(spec.pipeline_spec)


def _pipeline_name(job: Mapping[str, Any], spec: Spec | None) -> str:
    if spec is not None:
        return spec.name
    info = (job.get("pipelineSpec") or {}).get("pipelineInfo") or {}
    return str(info.get("name") or job.get("displayName") or "")


def _params(runtime: Mapping[str, Any], spec: Spec | None) -> dict[str, Any]:
    """The values of the pipeline's parameters, in the order of its declaration; defaults where nothing was given."""
    given = {name: _given(value) for name, value in (runtime.get("parameters") or {}).items()}
    given |= {name: whole(value) for name, value in (runtime.get("parameterValues") or {}).items()}
    if spec is None:
        return given
    declared = {
        name: _typed(given.get(name, param.default if param.has_default else None), param.type)
        for name, param in spec.params.items()
    }
    return declared | {name: value for name, value in given.items() if name not in declared}


def _typed(value: Any, kind: str) -> Any:
    """A value of the service as its parameter has it: 2**60 may come as a float, 1e300 with all digits, and in schema
    2.0.0 a list as its JSON."""
    if isinstance(value, str) and kind in ("BOOLEAN", "LIST", "STRUCT"):
        with suppress(ValueError):
            return parse_json(value)
    if kind == "NUMBER_INTEGER" and isinstance(value, float) and value.is_integer():
        return int(value)
    return float(value) if kind == "NUMBER_DOUBLE" and type(value) is int and abs(value) >= 2**53 else value


def _given(value: Mapping[str, Any]) -> Any:
    """A Value of schema 2.0.0."""
    if "intValue" in value:
        return int(value["intValue"])
    return whole(next(iter(value.values()), None))


def _task(placed: Placed) -> Task:
    detail, kind = placed.detail, placed.kind
    state = state_of(detail)
    attempts = 0
    if kind in (TaskKind.CONTAINER, TaskKind.IMPORTER) and state not in (TaskState.SKIPPED, TaskState.PENDING):
        jobs = len(jobs_of_attempts(detail))
        attempts = jobs or int(state is not TaskState.CACHED)
    cache = None
    if kind is TaskKind.CONTAINER and state in (TaskState.CACHED, TaskState.SUCCEEDED, TaskState.FAILED):
        cache = _HIT if state is TaskState.CACHED else _MISS
    values = (detail.get("execution") or {}).get("metadata") or {}
    component = placed.component
    inputs = {**_values(values, "input:"), **_uris(detail.get("inputs"))}
    outputs = {**_values(values, "output:"), **_uris(detail.get("outputs"))}
    return Task(
        path=placed.path,
        kind=kind,
        state=state,
        attempts=attempts,
        cache=cache,
        started_at=at(detail.get("startTime")) or (at(detail.get("createTime")) if attempts else None),
        ended_at=at(detail.get("endTime")) if state.final else None,
        inputs=_in_order(inputs, component, inside=True),
        outputs=_in_order(outputs, component, inside=False),
        error=_task_error(detail, placed.path) if state is TaskState.FAILED else None,
    )


def _values(metadata: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {key.removeprefix(prefix): whole(value) for key, value in metadata.items() if key.startswith(prefix)}


def _uris(artifacts: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, entry in (artifacts or {}).items():
        uris = [artifact.get("uri") or "" for artifact in (entry or {}).get("artifacts") or ()]
        found[name] = uris[0] if len(uris) == 1 else uris
    return found


def _in_order(values: Mapping[str, Any], component: Component | None, *, inside: bool) -> dict[str, Any]:
    """As the component declares them; a JSON object of the service has no order."""
    if component is None:
        return dict(values)
    params = component.params if inside else component.output_params
    artifacts = component.artifacts if inside else component.output_artifacts
    order = {name: number for number, name in enumerate([*params, *artifacts])}
    typed = {name: _typed(value, params[name].type) if name in params else value for name, value in values.items()}
    return dict(sorted(typed.items(), key=lambda item: (order.get(item[0], len(order)), item[0])))


def _artifacts(placed: Placed) -> Iterator[Artifact]:
    """Outputs of a task that succeeded; those of a DAG are listed by the task that made them."""
    if placed.kind in (TaskKind.DAG, TaskKind.LOOP):
        return
    if not state_of(placed.detail).ok:
        return
    for name, entry in (placed.detail.get("outputs") or {}).items():
        for artifact in (entry or {}).get("artifacts") or ():
            yield Artifact(
                placed.path,
                name,
                artifact.get("schemaTitle") or "system.Artifact",
                artifact.get("uri") or "",
                whole(artifact.get("metadata") or {}),
            )


def _metrics(artifact: Artifact) -> Iterator[Metric]:
    if artifact.type == _METRICS:
        for name, value in artifact.metadata.items():
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                yield Metric(artifact.task, artifact.name, name, value)


def _outputs(graph: Graph, tasks: list[Task]) -> dict[str, Any]:
    """The pipeline's outputs: those of the first producer of each that did its work (semantics.md, OneOf)."""
    by_path = {task.path: task for task in tasks}
    dag = graph.root.dag
    found = {}
    if dag is not None:
        for name, producers in (*dag.param_outputs.items(), *dag.artifact_outputs.items()):
            for producer in producers:
                made = _made(producer, by_path, graph)
                if made is not None:
                    found[name] = made
                    break
    return found


def _made(producer: FromTask, tasks: Mapping[str, Task], graph: Graph) -> Any:
    task = tasks.get(producer.task)
    return task.outputs.get(producer.output) if task is not None and task.state.ok else None


def _task_error(detail: Mapping[str, Any], path: str) -> ErrorInfo:
    message = (detail.get("error") or {}).get("message") or "Vertex AI gives no reason"
    return ErrorInfo(" ".join(str(message).split()), path)


def _error(job: Mapping[str, Any], tasks: list[Task]) -> ErrorInfo | None:
    """Of a failed run: the first failure of a task that did work, else what the service says of the whole."""
    if job.get("state") != "PIPELINE_STATE_FAILED":
        return None
    failed = [task for task in tasks if task.state is TaskState.FAILED and task.error is not None]
    leaves = [task for task in failed if task.kind in (TaskKind.CONTAINER, TaskKind.IMPORTER)] or failed
    first = min(leaves, key=lambda task: task.ended_at or "~", default=None)
    if first is not None and first.error is not None:
        return first.error
    message = (job.get("error") or {}).get("message") or "Vertex AI gives no reason"
    return ErrorInfo(" ".join(str(message).split()))
