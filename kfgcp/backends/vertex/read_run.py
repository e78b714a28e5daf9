"""A PipelineJob of the service as a run of ours.

Field names and states are those of `google.cloud.aiplatform.v1` (pipeline_job.proto); what tasks
are called, and how they are nested, is in tree.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from kfgcp.backends.run_values import (
    LEAVES,
    add_group_errors,
    add_group_outputs,
    dag_outputs,
    error_info,
    find_first_failure,
    order_values,
    parse_time,
    read_metrics,
    read_params,
    read_spec,
    uris_as_values,
)
from kfgcp.backends.vertex.skipped_inputs import with_condition_inputs
from kfgcp.backends.vertex.tree import Placed, place_tasks
from kfgcp.model import Artifact, Cache, ErrorInfo, Run, RunState, Task, TaskKind, TaskState
from kfgcp.spec.graph import Graph
from kfgcp.spec.json_values import normalize_numbers
from kfgcp.spec.load import Spec

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
_HIT: Final = Cache(
    True, "Vertex AI took the outputs of an earlier run with the same code and inputs"
)
_MISS: Final = Cache(False, "Vertex AI does not say why")
NO_REASON: Final = "Vertex AI gives no reason"


@dataclass(frozen=True, slots=True)
class Where:
    """The place of a job. env: the environment that its runs belong to when they do not say so
    themselves."""

    project: str
    location: str
    env: str


def run_of(job: Mapping[str, Any], where: Where) -> tuple[Run, dict[str, Any] | None]:
    """The run, and its spec when the job has one that can be read.

    A job of the list view has no tasks and only the name of its pipeline.

    Args:
        job: as `messages.read_job` returns it.
        where: its place.
    """
    name = job["name"]
    job_id = name.rpartition("/")[2]
    spec, graph = _spec(job)
    labels = dict(job.get("labels") or {})
    experiment = labels.pop(
        "experiment", "default"
    )  # it is one only because the service has no field for it
    params = _params(job.get("runtimeConfig") or {}, spec)
    placed = placed_tasks(job)
    groups = {
        each.path: each.component for each in placed if each.component and each.kind not in LEAVES
    }
    tasks = add_group_errors(add_group_outputs([_task(each) for each in placed], groups))
    if graph is not None:
        tasks = with_condition_inputs(tasks, placed, graph, params)
    state = RUN_STATES.get(job.get("state", ""), RunState.PENDING)  # one of a newer service goes on
    done = state is RunState.SUCCEEDED
    artifacts = [artifact for each in placed for artifact in _artifacts(each)]
    run = Run(
        run_id=job_id,
        env=where.env,
        backend="vertex",
        backend_ref=name,
        url=url(job_id, where),
        pipeline=_pipeline_name(job, spec),
        version=spec.version if spec else "",
        experiment=experiment or "default",
        name=job.get("displayName") or job_id,
        labels=labels,
        state=state,
        created_at=at(job.get("createTime")),
        started_at=at(job.get("startTime")),
        ended_at=at(job.get("endTime")),
        params=params,
        outputs=dag_outputs(graph.root, {task.path: task for task in tasks})
        if graph and done
        else {},
        metrics=tuple(read_metrics(artifacts)),
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
    return parse_time(text, "Vertex AI")


def state_of(task: Mapping[str, Any]) -> TaskState:
    """The state of a task; one that is not known, of a newer service, is taken for PENDING."""
    return TASK_STATES.get(task.get("state") or "", TaskState.PENDING)


def jobs_of_attempts(task: Mapping[str, Any]) -> list[str]:
    """The ids of the custom jobs that a task's attempts ran as, first to last: what its log entries
    are found by."""
    detail = (task.get("executorDetail") or {}).get("containerDetail") or {}
    custom = (task.get("executorDetail") or {}).get("customJobDetail") or {}
    names = [*(detail.get("failedMainJobs") or ()), detail.get("mainJob")]
    names += [*(custom.get("failedJobs") or ()), custom.get("job")]
    return list(dict.fromkeys(name.rpartition("/")[2] for name in names if name))


def placed_tasks(job: Mapping[str, Any]) -> list[Placed]:
    """The tasks of a job at their paths, in the order they started."""
    return place_tasks((job.get("jobDetail") or {}).get("taskDetails") or (), _spec(job)[1])


def _spec(job: Mapping[str, Any]) -> tuple[Spec | None, Graph | None]:
    return read_spec(job.get("pipelineSpec"))


def _pipeline_name(job: Mapping[str, Any], spec: Spec | None) -> str:
    if spec is not None:
        return spec.name
    info = (job.get("pipelineSpec") or {}).get("pipelineInfo") or {}
    return str(info.get("name") or job.get("displayName") or "")


def _params(runtime: Mapping[str, Any], spec: Spec | None) -> dict[str, Any]:
    """The values of the pipeline's parameters, in the order of its declaration; defaults where
    nothing was given."""
    given = {name: _given(value) for name, value in (runtime.get("parameters") or {}).items()}
    given |= {
        name: normalize_numbers(value)
        for name, value in (runtime.get("parameterValues") or {}).items()
    }
    return read_params(given, spec)


def _given(value: Mapping[str, Any]) -> Any:
    """A Value of schema 2.0.0."""
    if "intValue" in value:
        return int(value["intValue"])
    return normalize_numbers(next(iter(value.values()), None))


def _task(placed: Placed) -> Task:
    detail, kind = placed.detail, placed.kind
    state = state_of(detail)
    attempts = 0
    if kind in LEAVES and state not in (TaskState.SKIPPED, TaskState.PENDING):
        jobs = len(jobs_of_attempts(detail))
        attempts = jobs or int(state is not TaskState.CACHED)
    cache = None
    if kind is TaskKind.CONTAINER and state in (
        TaskState.CACHED,
        TaskState.SUCCEEDED,
        TaskState.FAILED,
    ):
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
        started_at=at(detail.get("startTime"))
        or (at(detail.get("createTime")) if attempts else None),
        ended_at=at(detail.get("endTime")) if state.final else None,
        inputs=order_values(inputs, component, inside=True),
        outputs=order_values(outputs, component, inside=False),
        error=error_info(detail.get("error"), NO_REASON, placed.path)
        if state is TaskState.FAILED
        else None,
    )


def _values(metadata: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {
        key.removeprefix(prefix): normalize_numbers(value)
        for key, value in metadata.items()
        if key.startswith(prefix)
    }


def _uris(artifacts: Any) -> dict[str, Any]:
    return uris_as_values(
        {
            name: [artifact.get("uri") or "" for artifact in (entry or {}).get("artifacts") or ()]
            for name, entry in (artifacts or {}).items()
        }
    )


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
                normalize_numbers(artifact.get("metadata") or {}),
            )


def _error(job: Mapping[str, Any], tasks: list[Task]) -> ErrorInfo | None:
    """Of a failed run: the first failure of a task, else what the service says of the whole."""
    if job.get("state") != "PIPELINE_STATE_FAILED":
        return None
    return find_first_failure(tasks) or error_info(job.get("error"), NO_REASON)
