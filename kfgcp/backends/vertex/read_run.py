"""Convert a pipeline job of the service to a `Run`.

Field names and states come from `google.cloud.aiplatform.v1` (pipeline_job.proto). tree.py finds
the paths of the tasks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from kfgcp.backends.applied import APPLIED_MARKER
from kfgcp.backends.run_values import (
    LEAVES,
    add_group_errors,
    add_group_outputs,
    dag_outputs,
    find_first_failure,
    order_values,
    parse_time,
    read_metrics,
    read_params,
    read_spec,
    uris_as_values,
)
from kfgcp.backends.status import error_info
from kfgcp.backends.vertex.messages import (
    SERVICE,
    ArtifactList,
    OldValue,
    PipelineJob,
    RuntimeConfig,
    TaskDetail,
)
from kfgcp.backends.vertex.skipped_inputs import add_skipped_inputs
from kfgcp.backends.vertex.tree import PlacedTask, place_tasks
from kfgcp.model import (
    Artifact,
    Cache,
    ErrorInfo,
    JsonValue,
    Run,
    RunState,
    Task,
    TaskKind,
    TaskState,
)
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
# In the proto, SKIPPED means that the outputs of the task came from the cache, and NOT_TRIGGERED
# means that the condition of the task was false.
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
_CACHE_HIT: Final = Cache(
    True, "Vertex AI took the outputs of an earlier run with the same code and inputs"
)
_CACHE_MISS: Final = Cache(False, "Vertex AI does not say why")
NO_REASON: Final = "Vertex AI gives no reason"
DEFAULT_EXPERIMENT: Final = "default"


@dataclass(frozen=True, slots=True)
class JobLocation:
    """The project and the region of a job, and the environment that its run gets.

    Attributes:
        project: the Google Cloud project.
        region: such as `europe-west4`.
        env: the name of the environment.
    """

    project: str
    region: str
    env: str


def run_from_job(job: PipelineJob, location: JobLocation) -> tuple[Run, dict[str, Any] | None]:
    """Return the run of a job, and the PipelineSpec of the job, None when it cannot be read.

    A job that comes from a list has no tasks, and of its spec only the name of the pipeline.

    Args:
        job: as `messages.read_job` returns it.
        location: the project, the region and the environment of the job.
    """
    name = job["name"]
    job_id = name.rpartition("/")[2]
    spec, graph = _spec_and_graph(job)
    labels = dict(job.get("labels") or {})
    if not job.get("scheduleName"):
        # The console copies the labels of a job that somebody clones. `schedule_name` is "only
        # returned if the Pipeline is created by Schedule API" (pipeline_job.proto), and without the
        # marker, the clone is not the run of a due time.
        labels.pop(APPLIED_MARKER, None)
    # Vertex AI has no field for the experiment, so a label keeps it.
    experiment = labels.pop("experiment", "")
    params = _params(job.get("runtimeConfig") or {}, spec)
    placed_tasks = locate_tasks(job)
    tasks = _tasks(placed_tasks, graph, params)
    state = job_state(job)
    outputs: dict[str, JsonValue] = {}
    if graph is not None and state is RunState.SUCCEEDED:
        outputs = dag_outputs(graph.root, {task.path: task for task in tasks})
    artifacts = [artifact for placed in placed_tasks for artifact in _output_artifacts(placed)]
    run = Run(
        run_id=job_id,
        env=location.env,
        backend="vertex",
        backend_ref=name,
        url=console_url(job_id, location),
        pipeline=_pipeline_name(job, spec),
        version=spec.version if spec else "",
        experiment=experiment or DEFAULT_EXPERIMENT,
        name=job.get("displayName") or job_id,
        labels=labels,
        state=state,
        created_at=read_time(job.get("createTime")),
        started_at=read_time(job.get("startTime")),
        ended_at=read_time(job.get("endTime")),
        params=params,
        outputs=outputs,
        metrics=tuple(read_metrics(artifacts)),
        artifacts=tuple(artifacts),
        tasks=tuple(tasks),
        error=_run_error(job, tasks),
    )
    return run, spec.pipeline_spec if spec else None


def console_url(job_id: str, location: JobLocation) -> str:
    """Return the address of a job in Google's console."""
    console = "https://console.cloud.google.com/vertex-ai/locations"
    return f"{console}/{location.region}/pipelines/runs/{job_id}?project={location.project}"


def read_time(text: str | None) -> str | None:
    """Convert a time of the service to the form that kfgcp uses. None stays None."""
    return parse_time(text, SERVICE)


def job_state(job: PipelineJob) -> RunState:
    """Return the state of the run of a job."""
    # A newer service may have a state that is not in the table. Such a run has not ended.
    return RUN_STATES.get(job.get("state", ""), RunState.PENDING)


def task_state(detail: TaskDetail) -> TaskState:
    """Return the state of a task, PENDING when kfgcp does not know the state."""
    return TASK_STATES.get(detail.get("state") or "", TaskState.PENDING)


def attempt_jobs(detail: TaskDetail) -> list[str]:
    """Return the ids of a task's custom jobs: one for each attempt, from the first to the last.

    The entries in Cloud Logging have the same ids.
    """
    executor = detail.get("executorDetail") or {}
    container = executor.get("containerDetail") or {}
    custom_job = executor.get("customJobDetail") or {}
    names = list(container.get("failedMainJobs") or [])
    names.append(container.get("mainJob", ""))
    names += custom_job.get("failedJobs") or []
    names.append(custom_job.get("job", ""))
    job_ids = [name.rpartition("/")[2] for name in names if name]
    return list(dict.fromkeys(job_ids))


def locate_tasks(job: PipelineJob) -> list[PlacedTask]:
    """Return the tasks of a job at their paths, in the order in which they started."""
    details = (job.get("jobDetail") or {}).get("taskDetails") or []
    _, graph = _spec_and_graph(job)
    return place_tasks(details, graph)


def _spec_and_graph(job: PipelineJob) -> tuple[Spec | None, Graph | None]:
    return read_spec(job.get("pipelineSpec"))


def _tasks(
    placed_tasks: Sequence[PlacedTask], graph: Graph | None, params: Mapping[str, JsonValue]
) -> list[Task]:
    """Return the tasks of a job.

    kfgcp adds what the service leaves out: the outputs of DAGs and loops, the task that caused
    their error, and the inputs of skipped tasks.
    """
    group_components = {}
    for placed in placed_tasks:
        if placed.component is not None and placed.kind not in LEAVES:
            group_components[placed.path] = placed.component
    tasks = [_task(placed) for placed in placed_tasks]
    tasks = add_group_outputs(tasks, group_components)
    tasks = add_group_errors(tasks)
    if graph is None:
        return tasks
    return add_skipped_inputs(tasks, placed_tasks, graph, params)


def _pipeline_name(job: PipelineJob, spec: Spec | None) -> str:
    if spec is not None:
        return spec.name
    info = (job.get("pipelineSpec") or {}).get("pipelineInfo") or {}
    return str(info.get("name") or job.get("displayName") or "")


def _params(runtime: RuntimeConfig, spec: Spec | None) -> dict[str, JsonValue]:
    """Return the values of the pipeline's parameters.

    A job of schema 2.0.0 has them in `parameters`, a job of a later schema in `parameterValues`.
    """
    values: dict[str, JsonValue] = {}
    for name, old_value in (runtime.get("parameters") or {}).items():
        values[name] = _read_old_value(old_value)
    for name, value in (runtime.get("parameterValues") or {}).items():
        values[name] = normalize_numbers(value)
    return read_params(values, spec)


def _read_old_value(value: OldValue) -> JsonValue:
    """Return a parameter of schema 2.0.0. It is an object with one field, whose name is a type."""
    if "intValue" in value:
        return int(value["intValue"])
    only_field = next(iter(value.values()), None)
    parameter: JsonValue = normalize_numbers(only_field)
    return parameter


def _task(placed: PlacedTask) -> Task:
    detail = placed.detail
    state = task_state(detail)
    attempts = _count_attempts(placed, state)
    started_at = read_time(detail.get("startTime"))
    if started_at is None and attempts:
        started_at = read_time(detail.get("createTime"))
    error = None
    if state is TaskState.FAILED:
        error = error_info(detail.get("error"), NO_REASON, placed.path)
    metadata = (detail.get("execution") or {}).get("metadata") or {}
    inputs = _params_of_execution(metadata, "input:") | _uris(detail.get("inputs") or {})
    outputs = _params_of_execution(metadata, "output:") | _uris(detail.get("outputs") or {})
    return Task(
        path=placed.path,
        kind=placed.kind,
        state=state,
        attempts=attempts,
        cache=_cache(placed, state),
        started_at=started_at,
        ended_at=read_time(detail.get("endTime")) if state.final else None,
        inputs=order_values(inputs, placed.component, are_inputs=True),
        outputs=order_values(outputs, placed.component, are_inputs=False),
        error=error,
    )


def _count_attempts(placed: PlacedTask, state: TaskState) -> int:
    if placed.kind not in LEAVES or state in (TaskState.SKIPPED, TaskState.PENDING):
        return 0
    job_ids = attempt_jobs(placed.detail)
    if job_ids:
        return len(job_ids)
    # The service may list the custom job later than the start of the task. So a task that runs or
    # ran has at least one attempt. A cached task has none.
    return 0 if state is TaskState.CACHED else 1


def _cache(placed: PlacedTask, state: TaskState) -> Cache | None:
    if placed.kind is not TaskKind.CONTAINER:
        return None
    if state is TaskState.CACHED:
        return _CACHE_HIT
    return _CACHE_MISS if state in (TaskState.SUCCEEDED, TaskState.FAILED) else None


def _params_of_execution(metadata: Mapping[str, JsonValue], prefix: str) -> dict[str, JsonValue]:
    """Return the input or output parameters of a task from the metadata of its execution.

    Args:
        metadata: a value for each key `input:NAME` and `output:NAME`.
        prefix: `input:` or `output:`, to choose the parameters.
    """
    params: dict[str, JsonValue] = {}
    for key, value in metadata.items():
        if key.startswith(prefix):
            params[key.removeprefix(prefix)] = normalize_numbers(value)
    return params


def _uris(artifact_lists: Mapping[str, ArtifactList]) -> dict[str, JsonValue]:
    uris = {}
    for name, artifact_list in artifact_lists.items():
        artifacts = artifact_list.get("artifacts") or []
        uris[name] = [artifact.get("uri") or "" for artifact in artifacts]
    return uris_as_values(uris)


def _output_artifacts(placed: PlacedTask) -> Iterator[Artifact]:
    """Yield the output artifacts of a task, none when the task did not succeed.

    A DAG yields none, because the task inside it that made an artifact yields this artifact.
    """
    if placed.kind not in LEAVES or not task_state(placed.detail).ok:
        return
    for name, artifact_list in (placed.detail.get("outputs") or {}).items():
        for artifact in artifact_list.get("artifacts") or []:
            yield Artifact(
                task=placed.path,
                name=name,
                type=artifact.get("schemaTitle") or "system.Artifact",
                uri=artifact.get("uri") or "",
                metadata=normalize_numbers(artifact.get("metadata") or {}),
            )


def _run_error(job: PipelineJob, tasks: Sequence[Task]) -> ErrorInfo | None:
    """Return the error of a failed run, None for other runs.

    It is the first error of a task. Without one, it is the error of the job.
    """
    if job.get("state") != "PIPELINE_STATE_FAILED":
        return None
    return find_first_failure(tasks) or error_info(job.get("error"), NO_REASON)
