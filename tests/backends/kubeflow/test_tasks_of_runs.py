"""The tasks of a run: from ML Metadata, and from the nodes of the workflow."""

import math
import sys
from collections.abc import Callable
from typing import Any

import pytest

from json_types import JsonDict
from kfgcp.backends.kubeflow import mlmd
from kfgcp.backends.kubeflow import states as kubeflow_states
from kfgcp.backends.kubeflow.execution import Execution, StoredArtifact
from kfgcp.backends.kubeflow.read_tasks import NO_REASON
from kfgcp.model import ErrorInfo, ErrorKind, TaskState
from kfgcp.spec.json_values import JsonObject
from kfgcp.spec.load import Spec
from run_answers import NEVER, read_run_with

# -- tasks of ML Metadata


@pytest.mark.parametrize(
    ("state", "cached", "expected", "attempts", "hit"),
    [
        ("COMPLETE", False, TaskState.SUCCEEDED, 1, False),
        ("COMPLETE", True, TaskState.CACHED, 0, True),
        ("CACHED", True, TaskState.CACHED, 0, True),
        ("FAILED", False, TaskState.FAILED, 1, False),
        ("CANCELED", False, TaskState.SKIPPED, 0, None),
        ("RUNNING", False, TaskState.FAILED, 1, False),
        ("NEW", False, TaskState.FAILED, 1, False),
        ("UNKNOWN", False, TaskState.FAILED, 1, False),
    ],
)
def test_the_state_of_a_task_of_a_run_that_has_ended(
    echo: JsonObject,
    execution: Callable[..., Execution],
    state: str,
    cached: bool,
    expected: TaskState,
    attempts: int,
    hit: bool | None,
) -> None:
    """What still ran when the run ended is what the run's end says: a pod that was killed leaves it
    RUNNING."""
    say = execution(2, "say", 1, state=state, cached=cached)

    (task,) = read_run_with([execution(1, ""), say], pipeline_spec=echo, state="FAILED").tasks

    assert (task.state, task.attempts) == (expected, attempts)
    assert (task.cache and task.cache.hit) is hit
    assert (task.ended_at is not None) is expected.final
    assert (task.error is not None) is (expected is TaskState.FAILED)


def test_values_and_artifacts_of_a_task(
    compiled: Callable[[str], Spec], execution: Callable[..., Execution]
) -> None:
    spec = compiled("tests/pipelines/two_scores.py").pipeline_spec
    metrics = {
        "accuracy": 0.5,
        "rows": 3,
        "bad": math.nan,
        "most": math.inf,
        "note": "x",
        "fine": True,
        "\u00fc": 1.0,
    }
    first = execution(
        2,
        "evaluate",
        1,
        params={"score": 1, "unknown": "v"},
        outputs={
            "metrics": [StoredArtifact("system.Metrics", "gs://b/m", metrics)],
            "predictions": [
                StoredArtifact("system.Dataset", "gs://b/p", {}),
                StoredArtifact("", "gs://b/q", {}),
            ],
        },
    )
    second = execution(
        3,
        "evaluate-2",
        1,
        state="FAILED",
        outputs={"metrics": [StoredArtifact("system.Metrics", "gs://b/n", {"accuracy": 0.1})]},
    )

    run = read_run_with([execution(1, ""), first, second], pipeline_spec=spec)

    assert run.tasks[0].inputs == {"score": 1, "unknown": "v"}
    assert run.tasks[0].outputs == {
        "predictions": ["gs://b/p", "gs://b/q"],
        "metrics": "gs://b/m",
    }
    assert {
        (artifact.task, artifact.name, artifact.type, artifact.uri) for artifact in run.artifacts
    } == {
        ("evaluate", "metrics", "system.Metrics", "gs://b/m"),
        ("evaluate", "predictions", "system.Dataset", "gs://b/p"),
        ("evaluate", "predictions", "", "gs://b/q"),
    }, "artifacts of a failed task are not listed"
    numbers = {(metric.task, metric.artifact, metric.name): metric.value for metric in run.metrics}
    assert math.isnan(numbers.pop(("evaluate", "metrics", "bad")))
    assert numbers == {
        ("evaluate", "metrics", "accuracy"): 0.5,
        ("evaluate", "metrics", "rows"): 3,
        ("evaluate", "metrics", "most"): math.inf,
        ("evaluate", "metrics", "\u00fc"): 1.0,
    }


def test_dags_end_with_what_they_hold(
    compiled: Callable[[str], Spec], execution: Callable[..., Execution]
) -> None:
    """The service leaves many of them RUNNING."""
    spec = compiled("tests/pipelines/chain.py").pipeline_spec
    running = {"type": mlmd.DAG, "state": "RUNNING"}
    whole = [
        execution(1, "", 0, **running),
        execution(2, "add", 1),
        execution(3, "inner", 1, **running),
        execution(4, "double", 3, ended_at=1767322900.0),
        execution(5, "add", 3),
        execution(6, "add-2", 1),
    ]

    run = read_run_with(whole, pipeline_spec=spec)
    inner = next(task for task in run.tasks if task.path == "inner")
    assert (inner.state, inner.ended_at) == (TaskState.SUCCEEDED, "2026-01-02T03:01:40.000Z")

    failed = [
        execution(4, "double", 3, state="FAILED") if node.id == 4 else node for node in whole[:4]
    ]
    run = read_run_with(failed, pipeline_spec=spec, state="FAILED")
    states = {task.path: task.state for task in run.tasks}
    assert states == {
        "add": TaskState.SUCCEEDED,
        "inner": TaskState.FAILED,
        "inner/double": TaskState.FAILED,
        "inner/add": TaskState.SKIPPED,
        "add-2": TaskState.SKIPPED,
    }
    assert run.error == ErrorInfo(NO_REASON, "inner/double", kind=ErrorKind.LOG_UNREAD), (
        "the error names the task, not the DAG around it"
    )


@pytest.mark.parametrize("state", ["RUNNING", "SUCCEEDED", "FAILED"])
@pytest.mark.recorded(
    "Kubeflow: a loop over nothing", "cluster-2.17.0/loop-empty", "cluster-2.17.0/loop-empty-only"
)
def test_a_loop_over_nothing_has_succeeded(
    compiled: Callable[[str], Spec], execution: Callable[..., Execution], state: str
) -> None:
    """The service leaves it RUNNING for ever; recorded as loop-empty and loop-empty-only."""
    spec = compiled("tests/pipelines/shapes.py").pipeline_spec
    executions = [
        execution(1, ""),
        execution(2, "for-loop-4", 1, type=mlmd.DAG, state="RUNNING", iterations=0),
    ]

    run = read_run_with(executions, pipeline_spec=spec, state=state)

    loop = next(task for task in run.tasks if task.path == "for-loop-4")
    assert (loop.state, loop.ended_at) == (TaskState.SUCCEEDED, "2026-01-02T03:01:02.000Z")


def test_outputs_of_loops_and_branches(
    compiled: Callable[[str], Spec], execution: Callable[..., Execution]
) -> None:
    """OneOf is the branch that ran; the loop's outputs are in the order of the iterations, not of
    their starts."""
    spec = compiled("tests/pipelines/shapes.py").pipeline_spec
    dag = {"type": mlmd.DAG, "state": "COMPLETE"}
    executions = [
        execution(1, ""),
        execution(2, "condition-branches-1", 1, **dag),
        execution(3, "condition-2", 2, type=mlmd.DAG, state="CANCELED"),
        execution(4, "condition-3", 2, **dag),
        execution(5, "say-2", 4, output_params={"Output": "small"}),
        execution(6, "for-loop-4", 1, **dag),
        execution(7, "for-loop-4", 6, iteration=1, **dag),
        execution(8, "double", 7, output_params={"Output": 4}),
        execution(9, "for-loop-4", 6, iteration=0, **dag),
        execution(10, "double", 9, output_params={"Output": 2}),
        execution(11, "say-3", 1, output_params={"Output": "small"}),
        execution(12, "total", 1, output_params={"Output": 6}),
        execution(13, "inner", 1, **dag),
        execution(14, "double-2", 13, output_params={"Output": 8}),
    ]

    run = read_run_with(executions, pipeline_spec=spec)

    tasks = {task.path: task for task in run.tasks}
    assert run.outputs == {"chosen": "small", "total": 6, "nested": 8}
    assert [*tasks["for-loop-4"].outputs.values()] == [[2, 4]]
    assert [*tasks["condition-branches-1"].outputs.values()] == ["small"]
    assert tasks["condition-branches-1/condition-2"].state is TaskState.SKIPPED
    assert read_run_with(executions, pipeline_spec=spec, state="FAILED").outputs == {}


def test_iterations_that_are_twice_as_many_take_twice_the_steps(
    compiled: Callable[[str], Spec], execution: Callable[..., Execution]
) -> None:
    """A loop over thousands of items is looked at as often as any run."""
    spec = compiled("tests/pipelines/shapes.py").pipeline_spec

    def steps(iterations: int) -> int:
        executions = [
            execution(1, ""),
            execution(2, "for-loop-4", 1, type=mlmd.DAG, state="RUNNING"),
        ]
        for number in range(iterations):
            executions.append(
                execution(2 * number + 3, "for-loop-4", 2, iteration=number, type=mlmd.DAG)
            )
            executions.append(execution(2 * number + 4, "double", 2 * number + 3, state="FAILED"))
        count = 0

        def profile(frame: Any, event: str, argument: Any) -> None:
            nonlocal count
            count += 1

        sys.setprofile(profile)
        try:
            run = read_run_with(executions, pipeline_spec=spec, state="FAILED")
        finally:
            sys.setprofile(None)
        (loop,) = [task for task in run.tasks if task.path == "for-loop-4"]
        assert (loop.state, loop.error.task) == (TaskState.FAILED, "for-loop-4[0]/double")
        return count

    steps(1)  # reads the spec
    assert steps(400) < 2.2 * steps(200)


# -- tasks of the workflow


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        *kubeflow_states.NODE_STATES.items(),
        ("OF_A_NEWER_SERVICE", TaskState.PENDING),
        (None, TaskState.PENDING),
        ("", TaskState.PENDING),
    ],
)
def test_the_state_of_a_node(echo: JsonObject, state: str | None, expected: TaskState) -> None:
    node = {
        "display_name": "say",
        "state": state,
        "create_time": "2026-01-02T03:00:00Z",
        "start_time": "2026-01-02T03:00:01Z",
        "end_time": "2026-01-02T03:00:02Z" if expected.final else NEVER,
        "error": {"code": 2, "message": "exit\n code 1"},
    }

    (task,) = read_run_with(
        pipeline_spec=echo, state="RUNNING", run_details={"task_details": [node]}
    ).tasks

    assert task.state is expected
    ran = expected not in (TaskState.PENDING, TaskState.SKIPPED)
    assert (task.started_at is not None) is ran
    assert (task.ended_at is not None) is expected.final
    assert task.error == (ErrorInfo("exit code 1", "say") if expected is TaskState.FAILED else None)


@pytest.mark.parametrize(
    ("run_state", "node_state", "expected"),
    [
        ("FAILED", None, TaskState.SKIPPED),
        ("FAILED", "RUNNING", TaskState.FAILED),
        ("SUCCEEDED", "RUNNING", TaskState.SUCCEEDED),
        ("SUCCEEDED", "PENDING", TaskState.SUCCEEDED),
        ("CANCELED", "RUNNING", TaskState.CANCELLED),
    ],
)
def test_no_node_goes_on_in_a_run_that_has_ended(
    echo: JsonObject, run_state: str, node_state: str | None, expected: TaskState
) -> None:
    """Nodes that Argo omitted have no state; the final state of the run is written before those of
    the nodes."""
    node = {
        "display_name": "say",
        "state": node_state,
        "create_time": "2026-01-02T03:00:00Z",
        "end_time": NEVER,
    }

    run = read_run_with(pipeline_spec=echo, state=run_state, run_details={"task_details": [node]})

    (task,) = run.tasks
    assert task.state is expected
    assert task.ended_at == (None if expected is TaskState.SKIPPED else run.ended_at)


def test_rows_of_launchers_are_not_tasks(edited: Callable[..., Spec]) -> None:
    """A launcher writes a row without a name and a state; a task may be called like the word for
    nothing."""
    spec = edited("tests/pipelines/echo.py", _call_the_task_none).pipeline_spec
    row = {
        "execution_id": "2",
        "create_time": "2026-01-02T03:00:00Z",
        "start_time": "2026-01-02T03:00:00Z",
    }

    assert (
        read_run_with(
            pipeline_spec=spec, state="RUNNING", run_details={"task_details": [row]}
        ).tasks
        == ()
    )


def _call_the_task_none(spec: JsonDict) -> None:
    task = spec["root"]["dag"]["tasks"]["say"]
    task["taskInfo"]["name"] = "None"


def test_the_zero_time_is_no_start_of_a_node(echo: JsonObject) -> None:
    node = {
        "display_name": "say",
        "state": "RUNNING",
        "create_time": "2026-01-02T03:00:00Z",
        "start_time": NEVER,
    }

    run = read_run_with(pipeline_spec=echo, state="RUNNING", run_details={"task_details": [node]})

    assert run.tasks[0].started_at == run.started_at == "2026-01-02T03:00:00.000Z"
