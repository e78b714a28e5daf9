"""Check the answers of Kubeflow Pipelines, and describe the fields that kfgcp reads.

Names and types follow the v2beta1 API (run.proto, experiment.proto and pipeline.proto in
backend/api/v2beta1) in the JSON mapping of Protocol Buffers. Each message has a `TypedDict` for
type checkers and a check for answers. After the check, the fields of an answer have the types of
the `TypedDict`, so the other modules do not check them again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Required, TypedDict, cast

from kfgcp.backends.run_values import read_spec
from kfgcp.backends.status import STATUS, Status
from kfgcp.errors import BadAnswer
from kfgcp.services.fields import (
    LONGEST_NAME,
    anything,
    count,
    list_of,
    mapping,
    message,
    number,
    read,
    required_text,
    text,
    time,
)
from kfgcp.services.redact import redacted_line
from kfgcp.spec.graph import Graph
from kfgcp.spec.load import Spec

SERVICE: Final = "Kubeflow Pipelines"


class ChildAnswer(TypedDict, total=False):
    """A node that follows another node. Despite its name, `pod_name` is the id of the node."""

    pod_name: str


class NodeAnswer(TypedDict, total=False):
    """A node of the workflow of a run (`PipelineTaskDetail` of run.proto)."""

    display_name: str
    state: str
    error: Status
    create_time: str
    start_time: str
    end_time: str
    pod_name: str
    child_tasks: list[ChildAnswer]


class StateAnswer(TypedDict, total=False):
    """A state that a run had, with its time (`RuntimeStatus` of run.proto)."""

    state: str
    update_time: str


class RunDetailsAnswer(TypedDict, total=False):
    """The nodes of the workflow of a run (`RunDetails` of run.proto)."""

    task_details: list[NodeAnswer]


class RuntimeConfigAnswer(TypedDict, total=False):
    """The inputs of a run (`RuntimeConfig` of runtime_config.proto)."""

    parameters: dict[str, Any]


class VersionReference(TypedDict, total=False):
    """The version of a pipeline that a run was started from."""

    pipeline_id: str
    pipeline_version_id: str


class RunAnswer(TypedDict, total=False):
    """A run (`Run` of run.proto). Only servers of 3.0 send `tasks`, which `check_task` checks."""

    run_id: Required[str]
    created_at: Required[str]
    display_name: str
    description: str
    experiment_id: str
    state: str
    state_history: list[StateAnswer]
    error: Status
    finished_at: str
    scheduled_at: str
    recurring_run_id: str
    pipeline_spec: Mapping[str, Any]
    pipeline_version_reference: VersionReference
    runtime_config: RuntimeConfigAnswer
    run_details: RunDetailsAnswer
    tasks: list[object]


class ProducerAnswer(TypedDict, total=False):
    """The task that produced a value, and the iteration of the task."""

    task_name: str
    iteration: int


class ParameterAnswer(TypedDict, total=False):
    """A parameter of a task. The value may be any JSON value."""

    parameter_key: str
    type: str
    producer: ProducerAnswer
    value: Any


class ArtifactAnswer(TypedDict, total=False):
    """An artifact (artifact.proto of the 3.0 branch)."""

    name: str
    type: str
    uri: str
    metadata: dict[str, Any]
    number_value: float


class ArtifactsAnswer(TypedDict, total=False):
    """The artifacts of one input or output."""

    artifact_key: str
    artifacts: list[ArtifactAnswer]


class ValuesAnswer(TypedDict, total=False):
    """The inputs or the outputs of a task."""

    parameters: list[ParameterAnswer]
    artifacts: list[ArtifactsAnswer]


class TypeAttributes(TypedDict, total=False):
    """The number of an iteration, or the number of iterations of a loop."""

    iteration_index: int
    iteration_count: int


class PodAnswer(TypedDict, total=False):
    """A pod of a task. `type` is DRIVER or EXECUTOR."""

    name: str
    type: str


class TaskAnswer(TypedDict, total=False):
    """A task on a server of 3.0 (`PipelineTask` of run.proto in the 3.0 branch)."""

    name: Required[str]
    task_id: Required[str]
    parent_task_id: str
    type: str
    type_attributes: TypeAttributes
    state: str
    status_metadata: Status
    create_time: str
    end_time: str
    pods: list[PodAnswer]
    inputs: ValuesAnswer
    outputs: ValuesAnswer
    scope_path: str


class ExperimentAnswer(TypedDict, total=False):
    """An experiment (experiment.proto)."""

    experiment_id: Required[str]
    display_name: str


_NODE: Final = message(
    {
        "display_name": text,
        "state": text,
        "error": STATUS,
        "create_time": time,
        "start_time": time,
        "end_time": time,
        "pod_name": text,
        "child_tasks": list_of(message({"pod_name": text})),
    }
)
_PRODUCER: Final = message({"task_name": text, "iteration": count})
_PARAMETER: Final = message({"parameter_key": text, "type": text, "producer": _PRODUCER})
_ARTIFACT: Final = message(
    {"name": text, "type": text, "uri": text, "metadata": mapping, "number_value": number}
)
_ARTIFACTS: Final = message({"artifact_key": text, "artifacts": list_of(_ARTIFACT)})
_VALUES: Final = message({"parameters": list_of(_PARAMETER), "artifacts": list_of(_ARTIFACTS)})
_TASK: Final = message(
    {
        "name": required_text,
        "task_id": required_text,
        "parent_task_id": text,
        "type": text,
        "type_attributes": message({"iteration_index": count, "iteration_count": count}),
        "state": text,
        "status_metadata": STATUS,
        "create_time": time,
        "end_time": time,
        "pods": list_of(message({"name": text, "type": text})),
        "inputs": _VALUES,
        "outputs": _VALUES,
        "scope_path": text,
    },
    required=("name", "task_id"),
)
_RUN: Final = message(
    {
        "run_id": required_text,
        "display_name": text,
        "description": text,
        "experiment_id": text,
        "state": text,
        "state_history": list_of(message({"state": text, "update_time": time})),
        "error": STATUS,
        "created_at": time,
        "finished_at": time,
        "scheduled_at": time,
        "recurring_run_id": text,
        "pipeline_spec": mapping,
        "pipeline_version_reference": message({"pipeline_id": text, "pipeline_version_id": text}),
        "runtime_config": message({"parameters": mapping}),
        "run_details": message({"task_details": list_of(_NODE)}),
        "tasks": list_of(anything),
    },
    required=("run_id", "created_at"),
)
_UNCONVERTED_RUN: Final = message({"run_id": required_text, "error": STATUS})
_EXPERIMENT: Final = message(
    {"experiment_id": required_text, "display_name": text}, required=("experiment_id",)
)
_VERSION: Final = message({"pipeline_spec": mapping})


def check_run(answer: object) -> RunAnswer:
    """Return an answer, or an item of a list, as a run.

    Raises:
        BadAnswer: the answer is not a run, and the message names the wrong field. Or the server
            could not convert the run from its database.
    """
    _refuse_unconverted(answer)
    return cast("RunAnswer", read(answer, _RUN, service=SERVICE, thing="a run"))


def check_task(answer: object) -> TaskAnswer:
    """Return an item of `tasks[]` as a task of a server of 3.0.

    Raises:
        BadAnswer: the item is not a task. The message names the wrong field.
    """
    return cast("TaskAnswer", read(answer, _TASK, service=SERVICE, thing="a task"))


def check_experiment(answer: object) -> ExperimentAnswer:
    """Return an answer, or an item of a list, as an experiment.

    Raises:
        BadAnswer: the answer is not an experiment. The message names the wrong field.
    """
    checked = read(answer, _EXPERIMENT, service=SERVICE, thing="an experiment")
    return cast("ExperimentAnswer", checked)


def check_version(answer: object) -> Mapping[str, Any]:
    """Return the field `pipeline_spec` of a pipeline version, empty when it is missing.

    Raises:
        BadAnswer: the answer is not a version. The message names the wrong field.
    """
    version = read(answer, _VERSION, service=SERVICE, thing="a pipeline version")
    pipeline_spec: Mapping[str, Any] = version.get("pipeline_spec") or {}
    return pipeline_spec


def read_pipeline(run: RunAnswer) -> tuple[Spec | None, Graph | None]:
    """Return the spec and the graph of a run's pipeline, (None, None) when it cannot be read."""
    documents = run.get("pipeline_spec")
    if not isinstance(documents, Mapping):
        return None, None
    return read_spec(without_platform_spec(documents))


def without_platform_spec(documents: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the PipelineSpec in a field `pipeline_spec`.

    A field that also contains a platform spec has the PipelineSpec one level deeper.
    """
    pipeline_spec: Mapping[str, Any] = documents.get("pipeline_spec") or documents
    return pipeline_spec


def workflow_nodes(run: RunAnswer) -> Sequence[NodeAnswer]:
    """Return the nodes of the workflow of a run, empty when the answer has no nodes."""
    details = run.get("run_details") or RunDetailsAnswer()
    return details.get("task_details") or ()


def _refuse_unconverted(answer: object) -> None:
    """Raise BadAnswer for a run that the server could not convert from its database.

    For such a run, the server answers with `{experiment_id, run_id, error}` and status 200, also in
    lists (recorded: run-get-not-converted.json, runs-list-not-converted.json).
    """
    if not isinstance(answer, Mapping) or answer.get("created_at"):
        return
    if not isinstance(answer.get("error"), Mapping):
        return
    run = read(answer, _UNCONVERTED_RUN, service=SERVICE, thing="a run")
    problem = run["error"].get("message")
    if problem:
        run_id = redacted_line(str(run.get("run_id")), limit=LONGEST_NAME)
        raise BadAnswer(
            f"{SERVICE} cannot read run {run_id}: {redacted_line(problem)}.",
            hint=(
                "The record of this run in the server's database is damaged. Ask the administrator"
                " of the server."
            ),
        )
