"""A run of ours as the jobDetail of a Vertex pipeline job.

What it is based on:
- Field names and types, the task states (SKIPPED for a cache hit, NOT_TRIGGERED for a false
  condition), what taskUniqueName is made of, and the order of failedMainJobs: the comments in
  aiplatform_v1.types.pipeline_job.
- The pipeline itself and conditions are tasks too, without a custom job; mainJob is
  `projects/NUMBER/locations/LOCATION/customJobs/NUMBER`, whose last part is `job_id` of the log
  entries: public scripts that read real jobs.
- The execution of the pipeline is of schema system.Run and has its parameters as `input:NAME`;
  metrics are the metadata of artifacts of schema system.Metrics and its relatives: what
  `PipelineJob._query_experiment_row` reads.

Not confirmed: that top-level tasks have the pipeline's task as their parent, that the pipeline's
own name is no part of taskUniqueName, that a loop's iterations are tasks `LOOP-0`, `LOOP-1`, ...
between the loop and what it repeats, and the codes and texts of errors. A client should rely on
none of these.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from kfgcp.model import Artifact, Run, RunState, Task, TaskKind, TaskState, json_number
from kfgcp.spec.graph import Graph
from kfgcp.testing import paths
from kfgcp.testing.google import number_of

FAILED_PRECONDITION: Final = 9
CANCELLED: Final = 1

JOB_STATES: Final[Mapping[RunState, str]] = {state: f"PIPELINE_STATE_{state}" for state in RunState}
TASK_STATES: Final[Mapping[TaskState, str]] = {
    TaskState.PENDING: "PENDING",
    TaskState.RUNNING: "RUNNING",
    TaskState.SUCCEEDED: "SUCCEEDED",
    TaskState.CACHED: "SKIPPED",
    TaskState.SKIPPED: "NOT_TRIGGERED",
    TaskState.FAILED: "FAILED",
    TaskState.CANCELLED: "CANCELLED",
}
_EXECUTION_STATES: Final = {
    "RUNNING": "RUNNING",
    "SUCCEEDED": "COMPLETE",
    "SKIPPED": "CACHED",
    "FAILED": "FAILED",
}
_SCHEMAS: Final = {
    TaskKind.CONTAINER: "system.ContainerExecution",
    TaskKind.IMPORTER: "system.ImporterExecution",
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where resources are. project: its number."""

    project: int
    location: str

    @property
    def parent(self) -> str:
        return f"projects/{self.project}/locations/{self.location}"

    @property
    def metadata_store(self) -> str:
        return f"{self.parent}/metadataStores/default"


@dataclass(frozen=True, slots=True)
class Attempt:
    """What a custom job stands for: an attempt, from 1, of the task at `path` of a job."""

    job: str
    path: str
    number: int


def custom_job(attempt: Attempt) -> str:
    """The id of the custom job of an attempt."""
    return str(number_of("customJob", attempt.job, attempt.path, attempt.number))


def attempts_of(job: str, run: Run) -> list[Attempt]:
    """Every attempt that a run has made of its containers."""
    return [
        Attempt(job, task.path, number)
        for task in run.tasks
        if task.kind is TaskKind.CONTAINER
        for number in range(1, task.attempts + 1)
    ]


def error_of(run: Run) -> dict[str, Any] | None:
    """The error of the job, None while there is none."""
    if run.state is RunState.CANCELLED:
        return {"code": CANCELLED, "message": "The PipelineJob was cancelled."}
    if run.state is not RunState.FAILED:
        return None
    failed = [
        _last(task.path)
        for task in run.tasks
        if task.state is TaskState.FAILED and task.kind not in _GROUPS
    ]
    message = (
        f"The DAG failed because some tasks failed. The failed tasks are: [{', '.join(failed)}]."
    )
    if not failed and run.error is not None:
        message = run.error.message
    return {"code": FAILED_PRECONDITION, "message": message}


_GROUPS: Final = (TaskKind.DAG, TaskKind.LOOP)


def task_details(job: str, run: Run, graph: Graph, place: Place) -> list[dict[str, Any]]:
    """The tasks of a job, the pipeline itself first, then in the order they started."""
    details = _Details(job, run, graph, place)
    return [details.root(), *(details.task(task) for task in run.tasks)]


class _Details:
    def __init__(self, job: str, run: Run, graph: Graph, place: Place) -> None:
        self._job, self._run, self._graph, self._place = job, run, graph, place
        self._by_uri = {artifact.uri: artifact for artifact in run.artifacts}

    def root(self) -> dict[str, Any]:
        run = self._run
        state = (
            run.state.replace("CANCELLING", "CANCEL_PENDING")
            if run.state is not RunState.PAUSED
            else "PENDING"
        )
        found = self._detail("", self._job, self._job, str(state), run.started_at, run.ended_at)
        found["execution"] = self._execution(
            "", "system.Run", found["state"], run.params, run.outputs, self._job
        )
        if (error := error_of(run)) is not None:
            found["error"] = error
        return _without_empty(found)

    def task(self, task: Task) -> dict[str, Any]:
        state = TASK_STATES[task.state]
        found = self._detail(
            task.path, _last(task.path), _unique(task.path), state, task.started_at, task.ended_at
        )
        found["parentTaskId"] = self._id(paths.parent(task.path))
        _, component = paths.find(self._graph, task.path)
        inputs = self._artifacts(task, task.inputs, set(component.artifacts))
        outputs = self._artifacts(task, task.outputs, set(component.output_artifacts))
        found |= {"inputs": inputs, "outputs": outputs}
        if task.state is not TaskState.SKIPPED:
            given = {
                name: value
                for name, value in task.inputs.items()
                if name not in component.artifacts
            }
            made = {
                name: value
                for name, value in task.outputs.items()
                if name not in component.output_artifacts
            }
            schema = _SCHEMAS.get(task.kind, "system.DagExecution")
            found["execution"] = self._execution(
                task.path, schema, state, given, made, _last(task.path)
            )
        if task.kind is TaskKind.CONTAINER and task.attempts:
            found["executorDetail"] = {"containerDetail": self._jobs(task)}
        if task.error is not None and task.state is TaskState.FAILED:
            found["error"] = {"code": FAILED_PRECONDITION, "message": task.error.message}
        elif task.error is not None:
            error = {"code": FAILED_PRECONDITION, "message": task.error.message}
            found["pipelineTaskStatus"][-1]["error"] = error
        return _without_empty(found)

    def _detail(
        self, path: str, name: str, unique: str, state: str, start: str | None, end: str | None
    ) -> dict[str, Any]:
        created = start or self._run.started_at or self._run.created_at
        steps = [(created, "PENDING"), (start, "RUNNING"), (end or start or created, state)]
        history: list[dict[str, Any]] = []
        for at, step in steps:
            if at is not None and step not in [entry["state"] for entry in history]:
                history.append({"updateTime": at, "state": step})
        return {
            "taskId": self._id(path),
            "taskName": name,
            "taskUniqueName": unique,
            "state": state,
            "createTime": created,
            "startTime": start,
            "endTime": end or (created if state == "NOT_TRIGGERED" else None),
            "pipelineTaskStatus": history,
        }

    def _id(self, path: str) -> str:
        return str(number_of("task", self._job, path))

    def _jobs(self, task: Task) -> dict[str, Any]:
        names = [
            f"{self._place.parent}/customJobs/{custom_job(Attempt(self._job, task.path, number))}"
            for number in range(1, task.attempts + 1)
        ]
        return _without_empty({"mainJob": names[-1], "failedMainJobs": names[:-1]})

    def _execution(
        self,
        path: str,
        schema: str,
        state: str,
        inputs: Mapping[str, Any],
        outputs: Mapping[str, Any],
        name: str,
    ) -> dict[str, Any]:
        values = [("input", key, value) for key, value in inputs.items()]
        values += [("output", key, value) for key, value in outputs.items()]
        return {
            "name": (
                f"{self._place.metadata_store}/executions/{number_of('execution', self._job, path)}"
            ),
            "displayName": name,
            "state": _EXECUTION_STATES.get(
                state, "CANCELLED" if state.startswith("CANCEL") else "NEW"
            ),
            "schemaTitle": schema,
            "schemaVersion": "0.0.1",
            "metadata": {
                f"{side}:{key}": finite(value) for side, key, value in values if value is not None
            },
        }

    def _artifacts(self, task: Task, values: Mapping[str, Any], names: set[str]) -> dict[str, Any]:
        return {
            name: {"artifacts": [self._artifact(task, name, uri) for uri in uris]}
            for name, value in values.items()
            if name in names and (uris := value if isinstance(value, list) else [value])
        }

    def _artifact(self, task: Task, name: str, uri: str) -> dict[str, Any]:
        known = self._by_uri.get(uri) or Artifact(task.path, name, "system.Artifact", uri)
        return {
            "name": (
                f"{self._place.metadata_store}/artifacts/{number_of('artifact', self._job, uri)}"
            ),
            "displayName": known.name,
            "uri": uri,
            "state": "LIVE",
            "schemaTitle": known.type,
            "schemaVersion": "0.0.1",
            "metadata": finite(dict(known.metadata)),
        }


def finite(value: Any) -> Any:
    """The value as a Struct can hold it: NaN and infinities as text, whole numbers as doubles have
    them."""
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return int(float(value)) if type(value) is int and abs(value) > 2**53 else json_number(value)


def _last(path: str) -> str:
    return list(paths.names(path))[-1]


def _unique(path: str) -> str:
    return ".".join(paths.names(path))


def _without_empty(data: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in data.items() if value not in (None, {}, [], "")}
