"""Runs that were cancelled and runs that were retried, from answers written by hand."""

from collections.abc import Callable

import pytest

from kfgcp.backends.kubeflow import mlmd
from kfgcp.backends.kubeflow import states as kubeflow_states
from kfgcp.backends.kubeflow.execution import Execution
from kfgcp.backends.kubeflow.read_run import read_run
from kfgcp.model import RunState, TaskState
from kfgcp.spec.load import Spec
from run_answers import WHERE, history, read_run_with, run_answer


@pytest.mark.parametrize(
    ("states", "cancelled", "expected"),
    [
        (["PENDING", "RUNNING", "CANCELING", "FAILED"], False, RunState.CANCELLED),
        (["PENDING", "RUNNING", "FAILED"], False, RunState.FAILED),
        (["PENDING", "RUNNING", "FAILED"], True, RunState.CANCELLED),
        ([], True, RunState.CANCELLED),
        (["RUNNING", "CANCELING", "RUNNING", "FAILED"], False, RunState.CANCELLED),
        (["RUNNING", "CANCELING", "FAILED", "RUNNING", "FAILED"], False, RunState.FAILED),
        (["RUNNING", "FAILED", "RUNNING", "CANCELING", "FAILED"], False, RunState.CANCELLED),
    ],
)
@pytest.mark.recorded(
    "Kubeflow: a run that was terminated",
    "cluster-2.17.0/sleepy-cancelled",
    "api-2.17.0/run-get-canceled",
)
def test_a_run_that_was_terminated_is_cancelled(
    states: list[str], cancelled: bool, expected: RunState
) -> None:
    """It ends FAILED; recorded as sleepy-cancelled, and without the history as run-get-canceled of
    api-2.17.0."""
    answer = run_answer(state="FAILED", state_history=history(*states), error={"message": "x"})

    run, _ = read_run(answer, WHERE, cancelled=cancelled)

    assert run.state is expected
    assert (run.error is None) is (expected is RunState.CANCELLED)


@pytest.mark.parametrize("state", ["SUCCEEDED", "RUNNING", "CANCELING"])
def test_only_a_run_that_failed_can_have_been_cancelled(state: str) -> None:
    answer = run_answer(state=state, state_history=history("RUNNING", "CANCELING", state))

    assert read_run(answer, WHERE, cancelled=True)[0].state is kubeflow_states.RUN_STATES[state]


def test_what_ran_in_a_run_that_was_cancelled_ends_with_it(
    compiled: Callable[[str], Spec], execution: Callable[..., Execution]
) -> None:
    spec = compiled("tests/pipelines/chain.py").pipeline_spec
    running = {"type": mlmd.DAG, "state": "RUNNING"}
    executions = [
        execution(1, "", **running),
        execution(2, "add", 1),
        execution(3, "inner", 1, **running),
        execution(4, "double", 3, state="RUNNING"),
    ]

    steps = history("CANCELING", "FAILED")
    run = read_run_with(
        executions,
        pipeline_spec=spec,
        state="FAILED",
        state_history=steps,
        finished_at="2026-01-02T03:05:00Z",
    )

    assert (run.state, run.ended_at) == (RunState.CANCELLED, "2026-01-02T03:05:00.000Z")
    assert {task.path: (task.state.value, task.ended_at) for task in run.tasks} == {
        "add": ("SUCCEEDED", "2026-01-02T03:01:02.000Z"),
        "inner": ("CANCELLED", run.ended_at),
        "inner/double": ("CANCELLED", run.ended_at),
        "inner/add": ("SKIPPED", None),
        "add-2": ("SKIPPED", None),
    }
    assert {task.error for task in run.tasks} == {None}


def test_a_group_that_was_cut_off_is_cancelled_also_when_nothing_in_it_ran(
    compiled: Callable[[str], Spec], execution: Callable[..., Execution]
) -> None:
    spec = compiled("tests/pipelines/chain.py").pipeline_spec
    executions = [execution(1, ""), execution(2, "inner", 1, type=mlmd.DAG, state="RUNNING")]

    run = read_run_with(
        executions, pipeline_spec=spec, state="FAILED", state_history=history("CANCELING", "FAILED")
    )

    assert next(task.state for task in run.tasks if task.path == "inner") is TaskState.CANCELLED


@pytest.mark.recorded(
    "Kubeflow: a task that ran again after a retry of the run", "cluster-2.17.0/fail-sub"
)
def test_a_task_that_was_run_again_has_the_times_and_attempts_of_that(
    compiled: Callable[[str], Spec], execution: Callable[..., Execution]
) -> None:
    """`:retry` uses the execution again, whose create time is that of the first time; recorded as
    fail-sub."""
    spec = compiled("tests/pipelines/chain.py").pipeline_spec
    retried = "2026-01-02T03:03:00.000Z"
    dag = {"type": mlmd.DAG, "state": "RUNNING"}
    executions = [
        execution(1, "", **dag),
        execution(2, "add", 1),
        execution(3, "inner", 1, **dag),
        execution(
            4, "double", 3, ended_at=1767323200.0, logs=("minio://b/executor-logs-0", "minio://b/1")
        ),
        execution(5, "add", 3, started_at=1767323210.0, ended_at=1767323220.0),
    ]
    steps = history("PENDING", "RUNNING", "FAILED", "RUNNING", "SUCCEEDED")

    run = read_run_with(
        executions, pipeline_spec=spec, state_history=steps, finished_at="2026-01-02T03:30:00Z"
    )

    tasks = {task.path: task for task in run.tasks}
    assert (tasks["inner/double"].attempts, tasks["inner/double"].started_at) == (2, retried)
    assert tasks["inner/double"].ended_at == "2026-01-02T03:06:40.000Z"
    assert (tasks["inner"].started_at, tasks["inner"].ended_at) == (
        retried,
        "2026-01-02T03:07:00.000Z",
    )
    assert tasks["inner/add"].started_at == "2026-01-02T03:06:50.000Z"
    assert tasks["add"].started_at == "2026-01-02T03:00:02.000Z", "the task did not run again"


def test_a_task_that_ended_in_the_second_of_the_retry_was_not_run_again(
    compiled: Callable[[str], Spec], execution: Callable[..., Execution]
) -> None:
    """The server says of the retry only in which second it was, and no pod starts and ends within
    one."""
    spec = compiled("tests/pipelines/chain.py").pipeline_spec
    in_that_second = 1767322980.4
    executions = [
        execution(1, "", type=mlmd.DAG, state="RUNNING"),
        execution(2, "add", 1, started_at=in_that_second - 0.8, ended_at=in_that_second),
    ]
    steps = history("PENDING", "RUNNING", "FAILED", "RUNNING", "SUCCEEDED")

    run = read_run_with(
        executions, pipeline_spec=spec, state_history=steps, finished_at="2026-01-02T03:30:00Z"
    )

    (add,) = (task for task in run.tasks if task.path == "add")
    assert (add.started_at, add.ended_at) == (
        "2026-01-02T03:02:59.600Z",
        "2026-01-02T03:03:00.400Z",
    )


def test_tasks_that_failed_before_a_retry_are_pending(
    compiled: Callable[[str], Spec], execution: Callable[..., Execution]
) -> None:
    spec = compiled("tests/pipelines/chain.py").pipeline_spec
    executions = [
        execution(1, ""),
        execution(2, "add", 1),
        execution(3, "inner", 1, type=mlmd.DAG, state="FAILED"),
        execution(4, "double", 3, state="FAILED"),
    ]
    steps = history("PENDING", "RUNNING", "FAILED", "RUNNING")

    run = read_run_with(executions, pipeline_spec=spec, state="RUNNING", state_history=steps)

    states = {task.path: task.state.value for task in run.tasks}
    assert states == {"add": "SUCCEEDED", "inner": "RUNNING", "inner/double": "PENDING"}
