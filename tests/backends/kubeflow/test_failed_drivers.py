"""Tasks whose drivers failed: ML Metadata has no execution of them, and the nodes of the workflow
tell it."""

from collections.abc import Sequence
from typing import Any

import pytest

import argo_record
import recorded_runs
from kfgcp.backends.kubeflow.execution import Execution
from kfgcp.backends.kubeflow.read_run import PIPELINE_NOT_STARTED, Where, read_run
from kfgcp.backends.kubeflow.read_tasks import NOT_STARTED
from kfgcp.backends.kubeflow.tree import place_tasks
from kfgcp.model import ErrorInfo, ErrorKind, Task, TaskState

WHERE = Where("https://kfp.acme.example", "gke")
WITH_FAILED_DRIVERS = [
    "collected-skipped",
    "exit-driver",
    "loop-empty",
    "loop-nested",
    "loop-output",
    "param-none",
    "param-none-with-default-configmap",
]


@pytest.mark.recorded(
    "Kubeflow: a failed driver and its log",
    "cluster-2.17.0/param-none",
    "cluster-2.17.0/exit-driver",
    "cluster-2.17.0/loop-empty",
    "cluster-2.17.0/collected-skipped",
)
@pytest.mark.parametrize("name", recorded_runs.names())
def test_the_pod_of_a_failed_driver_is_the_one_that_argo_recorded(name: str) -> None:
    """ML Metadata tells nothing of these tasks, so it is not asked here."""
    answer, metadata = recorded_runs.read(name), recorded_runs.metadata(name)
    expected = argo_record.expected_tasks(recorded_runs.workflow(name), metadata)
    failed = {path: task.driver_pod_number for path, task in expected.items() if task.driver_failed}
    assert bool(failed) == (name in WITH_FAILED_DRIVERS)

    placed = place_tasks(answer, _executions(name))

    pods = {task.path: task.driver_pod for task in placed if task.driver_pod}
    assert {path: pod.rpartition("-")[2] for path, pod in pods.items()} == failed
    workflow = recorded_runs.workflow(name)["name"]
    for path, pod in pods.items():
        kind = "dag" if path == "exit-handler-1" else "container"
        assert pod.startswith(f"{workflow}-system-{kind}-driver-"), path


def _executions(name: str) -> Sequence[Execution]:
    """The executions of a run with no more than what places them."""
    metadata = recorded_runs.metadata(name)
    return [
        Execution(
            id=int(stored["id"]),
            type=stored["type"],
            task=_property(stored, "task_name"),
            parent=int(_property(stored, "parent_dag_id") or 0),
            iteration=_number(stored, "iteration_index"),
            iterations=_number(stored, "iteration_count"),
            state=stored["last_known_state"],
            params={},
            output_params={},
            started_at=int(stored["create_time_since_epoch"]) / 1000,
            ended_at=int(stored["last_update_time_since_epoch"]) / 1000,
        )
        for stored in metadata["executions"]
    ]


def _property(stored: Any, name: str) -> Any:
    return next(iter(stored["custom_properties"].get(name, {"": ""}).values()))


def _number(stored: Any, name: str) -> int | None:
    value = _property(stored, name)
    return None if value == "" else int(value)


def _tasks(answer: Any, executions: Sequence[Execution] = ()) -> dict[str, Task]:
    run, _ = read_run(answer, WHERE, executions=executions)
    return {task.path: task for task in run.tasks}


def test_a_task_that_could_not_be_started_says_where_the_reason_is() -> None:
    """Argo's times of the node `say-driver` in workflow.json."""
    task = _tasks(recorded_runs.read("param-none"), _executions("param-none"))["say"]

    assert (task.state, task.attempts, task.cache) == (TaskState.FAILED, 0, None)
    assert task.error == ErrorInfo(NOT_STARTED, "say", kind=ErrorKind.LOG_UNREAD)
    assert (task.started_at, task.ended_at) == (
        "2026-11-29T08:56:39.000Z",
        "2026-11-29T08:56:52.000Z",
    )


def test_the_failed_driver_is_reported_without_ml_metadata() -> None:
    assert _tasks(recorded_runs.read("param-none"))["say"].error == ErrorInfo(
        NOT_STARTED, "say", kind=ErrorKind.LOG_UNREAD
    )


def test_the_failed_driver_is_reported_while_the_run_continues() -> None:
    answer = recorded_runs.read("param-none") | {"state": "RUNNING"}

    assert _tasks(answer, _executions("param-none"))["say"].state is TaskState.FAILED


def test_a_run_whose_first_driver_failed_says_so() -> None:
    """As recorded, but the driver of the whole pipeline fails, so ML Metadata has nothing of the
    run."""
    answer = recorded_runs.read("param-none")
    names = {"root-driver": "FAILED", "param-none-4zr6j": "FAILED"}
    details = [
        detail
        for detail in answer["run_details"]["task_details"]
        if detail.get("display_name") in names
    ]
    answer["run_details"]["task_details"] = [detail | {"state": "FAILED"} for detail in details]

    run, _ = read_run(answer, WHERE)

    assert run.error == ErrorInfo(PIPELINE_NOT_STARTED, kind=ErrorKind.LOG_UNREAD)
    assert {task.state for task in run.tasks} <= {TaskState.SKIPPED}


def test_an_iteration_whose_driver_failed_is_shown_and_fails_its_loop() -> None:
    """As recorded, but the driver of the second of three iterations fails, so nothing of it is in
    ML Metadata."""
    answer, executions = recorded_runs.read("loop-output"), _executions("loop-output")
    (iteration,) = [execution for execution in executions if execution.iteration == 1]
    executions = [
        execution
        for execution in executions
        if iteration.id not in (execution.id, execution.parent)
    ]
    workflow = recorded_runs.workflow("loop-output")
    bodies = {
        node["id"]
        for node in workflow["nodes"].values()
        if node["name"].endswith("iterations(1:1)(0).iteration-item")
    }
    for detail in answer["run_details"]["task_details"]:
        children = {child["pod_name"] for child in detail.get("child_tasks") or ()}
        if detail.get("display_name") == "iteration-item-driver(0)" and children & bodies:
            detail["state"] = "FAILED"

    tasks = _tasks(answer, executions)

    assert tasks["for-loop-1[1]"].state is TaskState.FAILED
    assert tasks["for-loop-1[1]"].error == ErrorInfo(
        NOT_STARTED, "for-loop-1[1]", kind=ErrorKind.LOG_UNREAD
    )
    assert tasks["for-loop-1"].state is TaskState.FAILED
    assert {path for path in tasks if path.startswith("for-loop-1[1]/")} == set()


@pytest.mark.parametrize("count", [None, 0, 10**18])
def test_no_count_of_iterations_takes_long(count: int | None) -> None:
    """The count comes from ML Metadata, and may be anything."""
    answer = recorded_runs.read("loop-output")
    for detail in answer["run_details"]["task_details"]:
        if str(detail.get("display_name")).startswith("iteration-item-driver"):
            detail["state"] = "FAILED"
    loop = Execution(1, "", "for-loop-1", 0, None, "RUNNING", {}, {}, 0.0, 0.0, iterations=count)

    tasks = _tasks(answer, [loop])

    iterations = {path for path in tasks if path.startswith("for-loop-1[")}
    assert iterations == ({"for-loop-1[0]", "for-loop-1[1]", "for-loop-1[2]"} if count else set())
