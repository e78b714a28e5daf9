"""What a condition that was false looked at, from answers that do not say it."""

from collections.abc import Callable
from typing import Any

import pytest

from json_types import JsonDict
from kfgcp.backends.vertex.read_run import JobLocation, run_from_job
from kfgcp.spec.load import Spec

DATA = "gs://acme/data"
IN_THE_LOOP = "for-loop-1[0]/condition-2"
CHANNEL = "pipelinechannel--"


def _with(metadata: JsonDict) -> JsonDict:
    return {"metadata": metadata}


@pytest.fixture
def inputs(
    compiled: Callable[[str], Spec], detail: Callable[..., JsonDict]
) -> Callable[..., dict[str, JsonDict]]:
    """The inputs of tasks, by path, of a job of the pipeline `unmet` with the iterations 1 and 20.

    measured: what of the first task differs. changes: of the condition in the loop.
    """

    def read_inputs(measured: JsonDict | None = None, **changes: object) -> dict[str, JsonDict]:
        data = {"artifacts": [{"uri": DATA, "schemaTitle": "system.Dataset"}]}
        details = [
            detail(1, "measure", execution=_with({"output:Output": 3}), outputs={"data": data})
            | (measured or {}),
            detail(
                2,
                "for-loop-1",
                execution=_with({f"input:{CHANNEL}items": [1, 20], f"input:{CHANNEL}limit": 9}),
                inputs={f"{CHANNEL}measure-data": data},
            ),
            detail(3, "for-loop-1-0", 2, execution=_with({f"input:{CHANNEL}items-loop-item": 1})),
            detail(4, "condition-2", 3, state="NOT_TRIGGERED") | changes,
            detail(5, "condition-3", state="NOT_TRIGGERED"),
        ]
        job: Any = {
            "name": "projects/1/locations/europe-west4/pipelineJobs/unmet-1",
            "state": "PIPELINE_STATE_SUCCEEDED",
            "pipelineSpec": compiled("tests/pipelines/unmet.py").pipeline_spec,
            "jobDetail": {"taskDetails": details},
        }
        run, _ = run_from_job(job, JobLocation("acme", "europe-west4", "dev"))
        return {task.path: task.inputs for task in run.tasks}

    return read_inputs


def test_inputs_of_skipped_tasks_follow_from_the_spec(
    inputs: Callable[..., dict[str, JsonDict]],
) -> None:
    """Of the pipeline's parameter, of the output of a task, of the iteration, and an artifact."""
    inputs_by_task = inputs()

    assert inputs_by_task["condition-3"] == {
        "pipelinechannel--limit": 9,
        "pipelinechannel--measure-Output": 3,
        "pipelinechannel--measure-data": DATA,
    }
    assert inputs_by_task[IN_THE_LOOP] == {
        "pipelinechannel--items-loop-item": 1,
        "pipelinechannel--limit": 9,
        "pipelinechannel--measure-data": DATA,
    }


def test_a_condition_that_was_not_reached_looked_at_nothing(
    inputs: Callable[..., dict[str, JsonDict]],
) -> None:
    assert inputs({"state": "FAILED", "outputs": {}})["condition-3"] == {}


def test_what_cannot_be_known_is_left_out(inputs: Callable[..., dict[str, JsonDict]]) -> None:
    assert inputs({"execution": {}})["condition-3"] == {}, "the service does not return the output"


def test_what_the_service_tells_is_kept(inputs: Callable[..., dict[str, JsonDict]]) -> None:
    assert inputs(execution=_with({"input:pipelinechannel--limit": 7}))[IN_THE_LOOP] == {
        "pipelinechannel--limit": 7
    }
