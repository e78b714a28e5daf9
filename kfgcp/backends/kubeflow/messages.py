"""The messages of Kubeflow Pipelines that kfgcp reads: the fields that it uses, and their types.

Names and types are those of the v2beta1 API (run.proto, experiment.proto and pipeline.proto below
backend/api/v2beta1) in the JSON mapping of Protocol Buffers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

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

SERVICE: Final = "Kubeflow Pipelines"

STATUS: Final = message({"message": text})
TASK: Final = message(
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
SERVER_TASK: Final = message(
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
"""A task of 3.0: PipelineTask of run.proto and Artifact of artifact.proto in that branch."""
RUN: Final = message(
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
        "pipeline_spec": mapping,
        "pipeline_version_reference": message({"pipeline_id": text, "pipeline_version_id": text}),
        "runtime_config": message({"parameters": mapping}),
        "run_details": message({"task_details": list_of(TASK)}),
        "tasks": list_of(anything),
    },
    required=("run_id", "created_at"),
)
EXPERIMENT: Final = message(
    {"experiment_id": required_text, "display_name": text}, required=("experiment_id",)
)
VERSION: Final = message({"pipeline_spec": mapping})


def read_run(answer: Any) -> dict[str, Any]:
    """Return an answer, or an item of a list, as a run.

    Raises:
        BadAnswer: it is not one; the message names the field. Or the server could not convert the
            run of its database: then it answers `{experiment_id, run_id, error}` with status 200,
            also in lists (recorded: run-get-not-converted.json, runs-list-not-converted.json).
    """
    if (
        isinstance(answer, Mapping)
        and isinstance(answer.get("error"), Mapping)
        and not answer.get("created_at")
    ):
        _refuse_unconverted(answer)
    run: dict[str, Any] = read(answer, RUN, service=SERVICE, thing="a run")
    return run


def read_task(answer: Any) -> dict[str, Any]:
    """Return an item of `tasks[]` as a task that the API server of 3.0 keeps.

    Raises:
        BadAnswer: it is not one; the message names the field.
    """
    task: dict[str, Any] = read(answer, SERVER_TASK, service=SERVICE, thing="a task")
    return task


def _refuse_unconverted(answer: Mapping[str, Any]) -> None:
    error = read(
        answer, message({"run_id": required_text, "error": STATUS}), service=SERVICE, thing="a run"
    )
    problem = error["error"].get("message")
    if problem:
        run_id = redacted_line(str(error.get("run_id")), limit=LONGEST_NAME)
        raise BadAnswer(
            f"{SERVICE} cannot read run {run_id}: {redacted_line(problem)}.",
            hint=(
                "The record of this run in the server's database is damaged. Ask the administrator"
                " of the server."
            ),
        )


def read_experiment(answer: Any) -> dict[str, Any]:
    """Return an answer, or an item of a list, as an experiment.

    Raises:
        BadAnswer: it is not one; the message names the field.
    """
    experiment: dict[str, Any] = read(answer, EXPERIMENT, service=SERVICE, thing="an experiment")
    return experiment
