"""Write a run of kfgcp as the jobDetail of a Vertex pipeline job.

The sources of its rules:

- The comments in aiplatform_v1.types.pipeline_job: the names and types of fields, the states of
  tasks (SKIPPED for a cache hit, NOT_TRIGGERED for a false condition), the parts of taskUniqueName,
  and the order of failedMainJobs.
- Public scripts that read real jobs: the pipeline itself and conditions are tasks too, without a
  custom job. mainJob is `projects/NUMBER/locations/LOCATION/customJobs/NUMBER`. Its last part is
  `job_id` of the log entries.
- `PipelineJob._query_experiment_row` of google-cloud-aiplatform: the execution of the pipeline has
  the schema system.Run. Its metadata has the parameters of the run as `input:NAME`. Metrics are in
  the metadata of artifacts of the schema system.Metrics or a similar one.

Nothing confirms the following, so a client should not rely on it:

- The task of the pipeline is the parent of top-level tasks.
- The name of the pipeline is not a part of taskUniqueName.
- The iterations of a loop are tasks `LOOP-0`, `LOOP-1`, ... between the loop and its tasks.
- The codes and texts of errors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from kfgcp.model import Artifact, Run, RunState, Task, TaskKind, TaskState, json_number
from kfgcp.spec.graph import Graph
from kfgcp.spec.json_values import EXACT_DOUBLES, JsonObject
from kfgcp.testing import paths
from kfgcp.testing.google import JsonBody, stable_number

# Numbers of google.rpc.Code, for `error.code` of a job or a task.
FAILED_PRECONDITION: Final = 9
CANCELLED: Final = 1

# The names of PipelineState in aiplatform_v1 are the names of our states with a prefix.
JOB_STATES: Final[Mapping[RunState, str]] = {state: f"PIPELINE_STATE_{state}" for state in RunState}
# Our state of a task -> PipelineTaskDetail.State of aiplatform_v1, where SKIPPED means a cache hit
# and not a false condition.
TASK_STATES: Final[Mapping[TaskState, str]] = {
    TaskState.PENDING: "PENDING",
    TaskState.RUNNING: "RUNNING",
    TaskState.SUCCEEDED: "SUCCEEDED",
    TaskState.CACHED: "SKIPPED",
    TaskState.SKIPPED: "NOT_TRIGGERED",
    TaskState.FAILED: "FAILED",
    TaskState.CANCELLED: "CANCELLED",
}
# The state of a task -> Execution.State of aiplatform_v1.
_EXECUTION_STATES: Final = {
    "RUNNING": "RUNNING",
    "SUCCEEDED": "COMPLETE",
    "SKIPPED": "CACHED",
    "FAILED": "FAILED",
}
# The schema of the execution of a task, by kind. All other kinds have the schema of a DAG.
_SCHEMAS: Final = {
    TaskKind.CONTAINER: "system.ContainerExecution",
    TaskKind.IMPORTER: "system.ImporterExecution",
}
_GROUPS: Final = (TaskKind.DAG, TaskKind.LOOP)


@dataclass(frozen=True, slots=True)
class Place:
    """The project and the location of resources. project: the project's number."""

    project: int
    location: str

    @property
    def parent(self) -> str:
        """Return the resource name of the location."""
        return f"projects/{self.project}/locations/{self.location}"

    @property
    def metadata_store(self) -> str:
        """Return the resource name of the metadata store that jobs write to."""
        return f"{self.parent}/metadataStores/default"


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt of a task. It runs as a custom job.

    job: the id of the pipeline job. path: the path of the task. number: from 1.
    """

    job: str
    path: str
    number: int


def custom_job_id(attempt: Attempt) -> str:
    """Return the id of the custom job of an attempt."""
    return str(stable_number("customJob", attempt.job, attempt.path, attempt.number))


def list_attempts(job_id: str, run: Run) -> list[Attempt]:
    """Return all attempts of the containers of a run so far."""
    attempts = []
    for task in run.tasks:
        # Only containers run as custom jobs.
        if task.kind is TaskKind.CONTAINER:
            numbers = range(1, task.attempts + 1)
            attempts += [Attempt(job_id, task.path, number) for number in numbers]
    return attempts


def job_error(run: Run) -> JsonBody | None:
    """Return the `error` of a job, None if the job has neither failed nor been cancelled."""
    if run.state is RunState.CANCELLED:
        return {"code": CANCELLED, "message": "The PipelineJob was cancelled."}
    if run.state is not RunState.FAILED:
        return None
    failed_paths = [task.path for task in run.tasks if _has_failed_itself(task)]
    names = ", ".join(map(_last_name, failed_paths))
    message = f"The DAG failed because some tasks failed. The failed tasks are: [{names}]."
    if not failed_paths and run.error is not None:
        message = run.error.message
    return {"code": FAILED_PRECONDITION, "message": message}


def _has_failed_itself(task: Task) -> bool:
    # A group fails only because a task inside of it fails.
    return task.state is TaskState.FAILED and task.kind not in _GROUPS


def task_details(job_id: str, run: Run, graph: Graph, place: Place) -> list[JsonBody]:
    """Return a PipelineTaskDetail for the pipeline itself, and then one for each task."""
    builder = _DetailBuilder(job_id, run, graph, place)
    details = [builder.build_pipeline()]
    details += [builder.build_task(task) for task in run.tasks]
    return details


def struct_value(value: Any) -> Any:
    """Return a value as a protobuf Struct holds it.

    NaN and infinities become text, and large integers get the value of their double.
    """
    if isinstance(value, Mapping):
        return {key: struct_value(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [struct_value(item) for item in value]
    # A bool is also an int for isinstance, so compare the type itself.
    if type(value) is int and abs(value) > EXACT_DOUBLES:
        return int(float(value))
    return json_number(value)


class _DetailBuilder:
    """Builds the PipelineTaskDetail messages of a job."""

    def __init__(self, job_id: str, run: Run, graph: Graph, place: Place) -> None:
        self._job_id = job_id
        self._run = run
        self._graph = graph
        self._place = place
        self._artifacts_by_uri = {artifact.uri: artifact for artifact in run.artifacts}

    def build_pipeline(self) -> JsonBody:
        """Return the detail of the pipeline itself, whose path is empty."""
        run = self._run
        state = str(run.state)
        # PipelineTaskDetail.State has no PAUSED, and another name for CANCELLING.
        if run.state is RunState.PAUSED:
            state = "PENDING"
        elif run.state is RunState.CANCELLING:
            state = "CANCEL_PENDING"
        detail = self._common_fields(
            path="",
            name=self._job_id,
            unique_name=self._job_id,
            state=state,
            started_at=run.started_at,
            ended_at=run.ended_at,
        )
        detail["execution"] = self._execution(
            path="",
            schema="system.Run",
            state=state,
            inputs=run.params,
            outputs=run.outputs,
            name=self._job_id,
        )
        detail["error"] = job_error(run)
        return _without_empty(detail)

    def build_task(self, task: Task) -> JsonBody:
        """Return the detail of a task."""
        state = TASK_STATES[task.state]
        name = _last_name(task.path)
        unique_name = ".".join(paths.names(task.path))
        detail = self._common_fields(
            task.path, name, unique_name, state, task.started_at, task.ended_at
        )
        detail["parentTaskId"] = self._task_id(paths.parent(task.path))
        _, component = paths.find(self._graph, task.path)
        detail["inputs"] = self._artifact_lists(task, task.inputs, set(component.artifacts))
        output_names = set(component.output_artifacts)
        detail["outputs"] = self._artifact_lists(task, task.outputs, output_names)
        # A task that never started has no execution.
        if task.state is not TaskState.SKIPPED:
            params = _without_keys(task.inputs, set(component.artifacts))
            output_params = _without_keys(task.outputs, output_names)
            schema = _SCHEMAS.get(task.kind, "system.DagExecution")
            detail["execution"] = self._execution(
                task.path, schema, state, params, output_params, name
            )
        if task.kind is TaskKind.CONTAINER and task.attempts:
            detail["executorDetail"] = {"containerDetail": self._container_detail(task)}
        if task.error is not None:
            error = {"code": FAILED_PRECONDITION, "message": task.error.message}
            if task.state is TaskState.FAILED:
                detail["error"] = error
            else:
                # PipelineTaskStatus.error of aiplatform_v1: if the state is not FAILED, the error
                # is one of an attempt that the service repeats.
                detail["pipelineTaskStatus"][-1]["error"] = error
        return _without_empty(detail)

    def _common_fields(
        self,
        path: str,
        name: str,
        unique_name: str,
        state: str,
        started_at: str | None,
        ended_at: str | None,
    ) -> JsonBody:
        """Return the fields that every detail has."""
        created_at = started_at or self._run.started_at or self._run.created_at
        if state == "NOT_TRIGGERED" and not ended_at:
            ended_at = created_at
        return {
            "taskId": self._task_id(path),
            "taskName": name,
            "taskUniqueName": unique_name,
            "state": state,
            "createTime": created_at,
            "startTime": started_at,
            "endTime": ended_at,
            "pipelineTaskStatus": _state_history(created_at, started_at, ended_at, state),
        }

    def _task_id(self, path: str) -> str:
        return str(stable_number("task", self._job_id, path))

    def _container_detail(self, task: Task) -> JsonBody:
        """Return the custom jobs of a task. The custom job of the last attempt is the main job."""
        names = []
        for number in range(1, task.attempts + 1):
            job_id = custom_job_id(Attempt(self._job_id, task.path, number))
            names.append(f"{self._place.parent}/customJobs/{job_id}")
        return _without_empty({"mainJob": names[-1], "failedMainJobs": names[:-1]})

    def _execution(
        self,
        path: str,
        schema: str,
        state: str,
        inputs: JsonObject,
        outputs: JsonObject,
        name: str,
    ) -> JsonBody:
        """Return the execution in ML Metadata for a task. name: the display name."""
        number = stable_number("execution", self._job_id, path)
        metadata = {}
        for prefix, values in (("input", inputs), ("output", outputs)):
            for key, value in values.items():
                if value is not None:
                    metadata[f"{prefix}:{key}"] = struct_value(value)
        default_state = "CANCELLED" if state.startswith("CANCEL") else "NEW"
        return {
            "name": f"{self._place.metadata_store}/executions/{number}",
            "displayName": name,
            "state": _EXECUTION_STATES.get(state, default_state),
            "schemaTitle": schema,
            "schemaVersion": "0.0.1",
            "metadata": metadata,
        }

    def _artifact_lists(self, task: Task, values: JsonObject, names: set[str]) -> JsonBody:
        """Return the artifacts in the inputs or outputs of a task.

        Args:
            task: the task.
            values: the inputs or the outputs. The value of an artifact is a URI or a list of URIs.
            names: the names of the values that are artifacts.
        """
        lists = {}
        for name, value in values.items():
            uris = value if isinstance(value, list) else [value]
            if name in names and uris:
                lists[name] = {"artifacts": [self._artifact(task, name, uri) for uri in uris]}
        return lists

    def _artifact(self, task: Task, name: str, uri: str) -> JsonBody:
        """Return the artifact in ML Metadata for a URI."""
        number = stable_number("artifact", self._job_id, uri)
        default_artifact = Artifact(task.path, name, "system.Artifact", uri)
        artifact = self._artifacts_by_uri.get(uri, default_artifact)
        return {
            "name": f"{self._place.metadata_store}/artifacts/{number}",
            "displayName": artifact.name,
            "uri": uri,
            "state": "LIVE",
            "schemaTitle": artifact.type,
            "schemaVersion": "0.0.1",
            "metadata": struct_value(dict(artifact.metadata)),
        }


def _state_history(
    created_at: str | None, started_at: str | None, ended_at: str | None, state: str
) -> list[JsonBody]:
    """Return the states that a task went through, in order and without repetition."""
    states = [
        (created_at, "PENDING"),
        (started_at, "RUNNING"),
        (ended_at or started_at or created_at, state),
    ]
    history: list[JsonBody] = []
    recorded_states = set()
    for time, state_at_time in states:
        if time is not None and state_at_time not in recorded_states:
            recorded_states.add(state_at_time)
            history.append({"updateTime": time, "state": state_at_time})
    return history


def _last_name(path: str) -> str:
    """Return the name of the task at a path. The name of an iteration is LOOP-NUMBER."""
    return list(paths.names(path))[-1]


def _without_keys(values: JsonObject, names: set[str]) -> JsonBody:
    return {name: value for name, value in values.items() if name not in names}


def _without_empty(values: JsonObject) -> JsonBody:
    """Return values without the empty ones, as the JSON mapping of Protocol Buffers does."""
    return {key: value for key, value in values.items() if value not in (None, {}, [], "")}
