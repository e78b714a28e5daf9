"""Runs of the service as runs of ours, from answers written by hand."""

import copy
import math
import sys
from typing import Any

import kfp_server_api
import pytest

from kfgcp.backends.kubeflow import mlmd
from kfgcp.backends.kubeflow import states as kubeflow_states
from kfgcp.backends.kubeflow.execution import StoredArtifact
from kfgcp.backends.kubeflow.messages import check_run
from kfgcp.backends.kubeflow.read_run import Where, read_run
from kfgcp.backends.kubeflow.read_tasks import NO_REASON
from kfgcp.errors import BackendError, BadAnswer
from kfgcp.model import ErrorInfo, ErrorKind, RunState, TaskState

WHERE = Where("https://kfp.acme.example", "gke")
RUN = "0a1b2c3d-0000-4000-8000-000000000001"
NEVER = "0001-01-01T00:00:00Z"
"""What the service has for what has not ended: Argo's zero time."""


def run_answer(**fields: Any) -> dict[str, Any]:
    plain = {
        "run_id": RUN,
        "display_name": "My run",
        "state": "SUCCEEDED",
        "created_at": "2026-01-02T03:00:00Z",
        "finished_at": "2026-01-02T04:00:01+01:00",
    }
    return {key: value for key, value in (plain | fields).items() if value is not None}


def read_run_with(executions: Any = (), experiment: str = "", **fields: Any) -> Any:
    answer = run_answer(**fields)
    before = copy.deepcopy(answer)
    run, _ = read_run(answer, WHERE, experiment=experiment, executions=executions)
    assert answer == before
    return run


@pytest.fixture
def echo(compiled: Any) -> Any:
    return compiled("tests/pipelines/echo.py").pipeline_spec


def test_the_states_of_runs_and_nodes_are_all_that_the_api_has() -> None:
    """V2beta1RuntimeState of the official client."""
    states = set(kfp_server_api.V2beta1RuntimeState.allowable_values)

    assert set(kubeflow_states.RUN_STATES) == set(kubeflow_states.NODE_STATES) == states
    assert kubeflow_states.RUN_STATES["CANCELED"] is RunState.CANCELLED
    assert kubeflow_states.RUN_STATES["CANCELING"] is RunState.CANCELLING
    assert {name for name, state in kubeflow_states.RUN_STATES.items() if state.final} == {
        "SUCCEEDED",
        "SKIPPED",
        "FAILED",
        "CANCELED",
    }


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        *kubeflow_states.RUN_STATES.items(),
        ("OF_A_NEWER_SERVICE", RunState.PENDING),
        (None, RunState.PENDING),
        (3, RunState.PENDING),
    ],
)
def test_the_state_of_a_run(state: Any, expected: RunState) -> None:
    run = read_run_with(state=state)

    assert run.state is expected
    assert (run.ended_at is not None) is expected.final


def test_a_run_made_by_others_is_a_run(compiled: Any, echo: Any) -> None:
    run = read_run_with(pipeline_spec=echo, description="What Ada wrote", experiment="Churn")

    assert (run.run_id, run.name, run.pipeline) == (RUN, "My run", "echo")
    assert (run.env, run.backend, run.backend_ref) == ("gke", "kubeflow", RUN)
    assert run.version == compiled("tests/pipelines/echo.py").version
    assert (run.experiment, run.labels) == ("Churn", {})
    assert run.params == {"text": "hello"}, "its default"
    assert run.url == f"https://kfp.acme.example/#/runs/details/{RUN}"
    assert (run.created_at, run.started_at, run.ended_at) == (
        "2026-01-02T03:00:00.000Z",
        "2026-01-02T03:00:00.000Z",
        "2026-01-02T03:00:01.000Z",
    )


def test_a_run_of_ours_has_its_labels_and_those_that_its_spec_tells(
    compiled: Any, echo: Any
) -> None:
    description = 'kfgcp: {"submission":"abc123abc123","team":"growth"}'

    labels = read_run_with(pipeline_spec=echo, description=description).labels

    version = compiled("tests/pipelines/echo.py").version
    assert labels == {
        "pipeline": "echo",
        "version": version.removeprefix("sha256:")[:12],
        "submission": "abc123abc123",
        "team": "growth",
    }
    assert read_run_with(description=description).labels == {
        "submission": "abc123abc123",
        "team": "growth",
    }
    assert read_run_with(pipeline_spec=echo, description='kfgcp: {"team":"growth"}').labels == {
        "team": "growth"
    }


def test_the_least_that_a_run_can_say() -> None:
    run, spec = read_run({"run_id": RUN}, WHERE)

    assert spec is None
    assert (run.state, run.name, run.pipeline) == (RunState.PENDING, RUN, "")
    assert (run.created_at, run.started_at, run.ended_at, run.error) == (
        None,
        None,
        None,
        None,
    )


def test_every_field_of_the_api_is_known_here() -> None:
    """A field that the service gets must be looked at: is it something that people want to see?"""
    read = {
        *(
            "run_id",
            "display_name",
            "description",
            "experiment_id",
            "pipeline_spec",
            "pipeline_version_reference",
        ),
        *(
            "runtime_config",
            "created_at",
            "finished_at",
            "state",
            "state_history",
            "error",
            "run_details",
        ),
    }
    left = {
        *(
            "storage_state",
            "pipeline_version_id",
            "service_account",
            "scheduled_at",
            "recurring_run_id",
        ),
        *("plugins_input", "plugins_output"),
    }

    assert set(kfp_server_api.V2beta1Run.attribute_map.values()) == read | left


# -- runs that were cancelled, and runs that were continued


def history(*states: str) -> list[dict[str, str]]:
    """A state_history with one state a minute, from 03:00 on."""
    return [
        {"state": state, "update_time": f"2026-01-02T03:{at:02}:00Z"}
        for at, state in enumerate(states)
    ]


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


def test_what_ran_in_a_run_that_was_cancelled_ends_with_it(compiled: Any, execution: Any) -> None:
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
    compiled: Any, execution: Any
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
    compiled: Any, execution: Any
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
    assert tasks["add"].started_at == "2026-01-02T03:00:02.000Z", "it was not run again"


def test_a_task_that_ended_in_the_second_of_the_retry_was_not_run_again(
    compiled: Any, execution: Any
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


def test_what_failed_before_a_retry_is_to_be_done_again(compiled: Any, execution: Any) -> None:
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


# -- times


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05.000Z"),
        ("2026-01-02T03:04:05.123456789Z", "2026-01-02T03:04:05.123Z"),
        ("2026-01-02T03:04:05.1Z", "2026-01-02T03:04:05.100Z"),
        ("2026-01-02T05:04:05+02:00", "2026-01-02T03:04:05.000Z"),
        ("2026-01-02T03:04:05", "2026-01-02T03:04:05.000Z"),  # without a zone
        ("", None),
        (None, None),
    ],
)
def test_times_are_in_utc(
    monkeypatch: pytest.MonkeyPatch, text: str | None, at: str | None
) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    import time

    time.tzset()
    try:
        assert read_run_with(created_at=text).created_at == at
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    "text", [NEVER, "0001-01-01T00:00:00+00:00", "1970-01-01T00:00:00Z", "1970-01-01T00:00:00.000Z"]
)
@pytest.mark.parametrize("state", ["RUNNING", "SUCCEEDED"])
def test_a_run_that_never_ended_has_no_end(text: str, state: str) -> None:
    assert read_run_with(finished_at=text, state=state).ended_at is None


@pytest.mark.parametrize(
    "text",
    [
        "soon",
        "2026-13-01T00:00:00Z",
        "0000-00-00",
        "9999-12-31T23:59:59-23:59",
        "0001-01-01T00:00:00+12:00",
    ],
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(BackendError, match="Kubeflow Pipelines answered with a time that cannot"):
        read_run_with(created_at=text)


def test_a_run_does_not_end_before_its_last_task(compiled: Any, echo: Any, execution: Any) -> None:
    """The service has whole seconds, ML Metadata milliseconds."""
    say = execution(2, "say", 1, started_at=1767322800.25, ended_at=1767322801.75)

    run = read_run_with(
        [execution(1, ""), say], pipeline_spec=echo, finished_at="2026-01-02T03:00:01Z"
    )

    assert run.started_at == "2026-01-02T03:00:00.250Z"
    assert run.ended_at == "2026-01-02T03:00:01.750Z"


# -- what is no run


@pytest.mark.parametrize("answer", [{}, {"run_id": 3}, {"run_id": None}, {"runs": []}])
def test_what_is_no_run_is_refused(answer: dict[str, Any]) -> None:
    with pytest.raises(
        BadAnswer, match=r"Kubeflow Pipelines answered with a run (without|whose) run_id"
    ):
        check_run(answer)


@pytest.mark.parametrize(
    "document", [None, 3, "text", [], {}, {"root": 3}, {"pipeline_spec": {}}, {"pipeline_spec": 3}]
)
def test_a_spec_that_is_none_does_not_hide_the_run(document: Any) -> None:
    run = read_run_with(
        pipeline_spec=document, runtime_config={"parameters": {"text": "a", "n": 2.0}}
    )

    assert (run.pipeline, run.version, run.tasks) == ("My run", "", ())
    assert run.params == {"text": "a", "n": 2}


@pytest.mark.parametrize("changed", [{"schemaVersion": "9.9.9"}, {"components": {}}])
def test_a_spec_that_cannot_be_read_does_not_hide_the_run(
    echo: Any, execution: Any, changed: dict[str, Any]
) -> None:
    run = read_run_with(
        [execution(1, ""), execution(2, "say", 1)], pipeline_spec={**echo, **changed}
    )

    assert (run.state, run.version, run.tasks) == (RunState.SUCCEEDED, "", ())


def test_the_platform_document_beside_a_spec_is_not_taken_for_it(compiled: Any, echo: Any) -> None:
    both = {"pipeline_spec": echo, "platform_spec": {"platforms": {"kubernetes": {}}}}

    run, spec = read_run(run_answer(pipeline_spec=both), WHERE)

    assert (run.pipeline, run.version) == ("echo", compiled("tests/pipelines/echo.py").version)
    assert spec == echo


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
    echo: Any,
    execution: Any,
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


def test_values_and_artifacts_of_a_task(compiled: Any, execution: Any) -> None:
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
    }, "not those of a task that failed"
    numbers = {(metric.task, metric.artifact, metric.name): metric.value for metric in run.metrics}
    assert math.isnan(numbers.pop(("evaluate", "metrics", "bad")))
    assert numbers == {
        ("evaluate", "metrics", "accuracy"): 0.5,
        ("evaluate", "metrics", "rows"): 3,
        ("evaluate", "metrics", "most"): math.inf,
        ("evaluate", "metrics", "\u00fc"): 1.0,
    }


def test_dags_end_with_what_they_hold(compiled: Any, execution: Any) -> None:
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
        "not the DAG around it"
    )


@pytest.mark.parametrize("state", ["RUNNING", "SUCCEEDED", "FAILED"])
@pytest.mark.recorded(
    "Kubeflow: a loop over nothing", "cluster-2.17.0/loop-empty", "cluster-2.17.0/loop-empty-only"
)
def test_a_loop_over_nothing_has_succeeded(compiled: Any, execution: Any, state: str) -> None:
    """The service leaves it RUNNING for ever; recorded as loop-empty and loop-empty-only."""
    spec = compiled("tests/pipelines/shapes.py").pipeline_spec
    executions = [
        execution(1, ""),
        execution(2, "for-loop-4", 1, type=mlmd.DAG, state="RUNNING", iterations=0),
    ]

    run = read_run_with(executions, pipeline_spec=spec, state=state)

    loop = next(task for task in run.tasks if task.path == "for-loop-4")
    assert (loop.state, loop.ended_at) == (TaskState.SUCCEEDED, "2026-01-02T03:01:02.000Z")


def test_outputs_of_loops_and_branches(compiled: Any, execution: Any) -> None:
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
    compiled: Any, execution: Any
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
def test_the_state_of_a_node(echo: Any, state: str | None, expected: TaskState) -> None:
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
    echo: Any, run_state: str, node_state: str | None, expected: TaskState
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


def test_rows_of_launchers_are_not_tasks(edited: Any) -> None:
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


def _call_the_task_none(spec: dict[str, Any]) -> None:
    task = spec["root"]["dag"]["tasks"]["say"]
    task["taskInfo"]["name"] = "None"


def test_the_zero_time_is_no_start_of_a_node(echo: Any) -> None:
    node = {
        "display_name": "say",
        "state": "RUNNING",
        "create_time": "2026-01-02T03:00:00Z",
        "start_time": NEVER,
    }

    run = read_run_with(pipeline_spec=echo, state="RUNNING", run_details={"task_details": [node]})

    assert run.tasks[0].started_at == run.started_at == "2026-01-02T03:00:00.000Z"


# -- errors


@pytest.mark.parametrize(
    ("error", "message"),
    [
        ({"code": 13, "message": "Quota\nexceeded"}, "Quota exceeded"),
        ({}, "Kubeflow Pipelines gives no reason"),
        (None, "Kubeflow Pipelines gives no reason"),
        ("text", "Kubeflow Pipelines gives no reason"),
    ],
)
def test_a_failed_run_without_a_failed_task_has_the_reason_of_the_service(
    error: Any, message: str
) -> None:
    assert read_run_with(state="FAILED", error=error).error == ErrorInfo(message)


def test_only_a_failed_run_has_an_error(echo: Any, execution: Any) -> None:
    failed = [execution(1, ""), execution(2, "say", 1, state="FAILED")]

    for state in ("SUCCEEDED", "CANCELED", "RUNNING", "CANCELING"):
        assert (
            read_run_with(failed, pipeline_spec=echo, state=state, error={"message": "x"}).error
            is None
        )
    assert read_run_with(failed, pipeline_spec=echo, state="FAILED").error == ErrorInfo(
        NO_REASON, "say", kind=ErrorKind.LOG_UNREAD
    )
