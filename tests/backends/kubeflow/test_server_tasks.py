"""Runs of Kubeflow Pipelines 3.0, which keeps tasks in its API server, from recorded answers and
from its source."""

from typing import Any

import pytest

from kfgcp.backends.base import LogFilter
from kfgcp.backends.kubeflow import executions_from_server as server_tasks
from kfgcp.backends.kubeflow.executions_from_server import check_tasks, make_executions
from kfgcp.backends.kubeflow.logs import LogServices, RunLogs
from kfgcp.backends.kubeflow.messages import check_run, read_pipeline
from kfgcp.backends.kubeflow.read_run import read_run
from kfgcp.backends.kubeflow.read_tasks import NO_REASON
from kfgcp.errors import NotWhole
from kfgcp.model import ErrorInfo, ErrorKind, Metric, RunState, TaskKind, TaskState
from server_runs import (
    FULL,
    WHERE,
    named,
    pods,
    recorded,
    run_from,
    run_of_recording,
    states,
    task_at,
)

SECOND = "2026-11-29T08:39:22.000Z"


# -- recordings


def test_states_and_types_are_all_that_the_api_has() -> None:
    """PipelineTask.TaskState and PipelineTask.TaskType in backend/api/v2beta1/run.proto of the
    branch."""
    assert list(server_tasks.STATES) == [
        "RUNTIME_STATE_UNSPECIFIED",
        "RUNNING",
        "SUCCEEDED",
        "SKIPPED",
        "FAILED",
        "CACHED",
    ]
    assert list(server_tasks.TYPES) == [
        "ROOT",
        "RUNTIME",
        "CONDITION_BRANCH",
        "CONDITION",
        "LOOP",
        "EXIT_HANDLER",
        "IMPORTER",
        "DAG",
    ]


def test_branches_a_loop_a_nested_pipeline_and_an_importer() -> None:
    run = run_of_recording("shapes-full")

    ran = TaskState.SUCCEEDED
    assert states(run) == {
        "condition-branches-1": ran,
        "condition-branches-1/condition-2": TaskState.SKIPPED,
        "condition-branches-1/condition-3": ran,
        "condition-branches-1/condition-3/say-2": ran,
        "for-loop-4": ran,
        "for-loop-4[0]": ran,
        "for-loop-4[0]/double": ran,
        "for-loop-4[1]": ran,
        "for-loop-4[1]/double": ran,
        "for-loop-4[2]": ran,
        "for-loop-4[2]/double": ran,
        "importer": ran,
        "inner": ran,
        "inner/double": ran,
        "inner/double-2": ran,
        "total": ran,
        # The recording has no task of these two, and the run has ended.
        "say-3": TaskState.SKIPPED,
        "lines": TaskState.SKIPPED,
    }
    kinds = {task.path: task.kind for task in run.tasks}
    assert [path for path, kind in kinds.items() if kind is TaskKind.LOOP] == ["for-loop-4"]
    assert [path for path, kind in kinds.items() if kind is TaskKind.IMPORTER] == ["importer"]
    assert [path for path, kind in kinds.items() if kind is TaskKind.DAG] == [
        "condition-branches-1",
        "condition-branches-1/condition-2",
        "condition-branches-1/condition-3",
        "for-loop-4[0]",
        "for-loop-4[1]",
        "for-loop-4[2]",
        "inner",
    ]
    assert [task_at(run, f"for-loop-4[{number}]/double").inputs for number in range(3)] == [
        {"x": 1},
        {"x": 2},
        {"x": 3},
    ]
    assert [
        task_at(run, f"for-loop-4[{number}]/double").outputs["Output"] for number in range(3)
    ] == [2, 4, 6]
    assert task_at(run, "for-loop-4").outputs == {"pipelinechannel--double-Output": [2, 4, 6]}
    assert task_at(run, "total").inputs == {"numbers": [2, 4, 6]}
    assert task_at(run, "inner").outputs == {"Output": 8}
    assert run.outputs == {"nested": 8, "total": 12}
    assert [
        (artifact.task, artifact.name, artifact.type, artifact.uri) for artifact in run.artifacts
    ] == [("importer", "artifact", "system.Dataset", "gs://bucket/data.txt")]
    total = task_at(run, "total")
    assert (total.started_at, total.ended_at, total.attempts, total.error) == (
        SECOND,
        SECOND,
        1,
        None,
    )


def test_values_a_metric_and_a_model() -> None:
    run = run_of_recording("succeeded-full")

    (say,) = run.tasks
    assert (say.path, say.state, say.attempts, say.inputs) == (
        "say",
        TaskState.SUCCEEDED,
        1,
        {"text": "hi"},
    )
    assert say.outputs == {"Output": "hi", "model": "gs://bucket/prefix/model"}
    assert say.cache is not None
    assert not say.cache.hit
    assert run.metrics == (Metric("say", "metrics", "accuracy", 0.9),)
    artifacts = {artifact.name: artifact for artifact in run.artifacts}
    assert artifacts["metrics"].type == "system.Metrics"
    assert artifacts["model"].type == "system.Model"
    assert artifacts["model"].metadata == {"note": "text", "points": 5}


def test_a_cached_task_has_the_outputs_of_the_run_before() -> None:
    run = run_of_recording("cached-full")

    (say,) = run.tasks
    assert (say.state, say.attempts) == (TaskState.CACHED, 0)
    assert say.cache is not None
    assert say.cache.hit
    assert say.outputs == {"Output": "hi", "model": "gs://bucket/prefix/model"}
    assert pods(recorded("cached-full")) == {}, "only the driver ran"


def test_a_failed_task_and_one_behind_it_that_was_never_made() -> None:
    run = run_of_recording("failed-full")

    assert run.state is RunState.FAILED
    assert states(run) == {
        "boom": TaskState.FAILED,
        "fine": TaskState.SUCCEEDED,
        "below-2": TaskState.SUCCEEDED,
        "below": TaskState.SKIPPED,
    }
    # The message "failed to execute component: exit status 1" says less than the log of the
    # program.
    assert run.error == ErrorInfo(NO_REASON, "boom", kind=ErrorKind.LOG_UNREAD)
    assert pods(recorded("failed-full")) == {
        "boom": ["f-boom-impl"],
        "fine": ["f-fine-impl"],
        "below-2": ["f-below-2-impl"],
    }


def test_a_run_at_its_start_and_while_its_task_runs() -> None:
    fresh, running = run_of_recording("fresh-full"), run_of_recording("running-full")

    assert (fresh.state, fresh.tasks) == (RunState.PENDING, ())
    assert (running.state, states(running)) == (RunState.RUNNING, {"say": TaskState.RUNNING})
    (say,) = running.tasks
    assert (say.attempts, say.ended_at, running.ended_at) == (1, None, None)


def test_the_end_of_a_run_counts_also_when_its_root_still_runs() -> None:
    run = run_of_recording("reported-succeeded-full")

    assert run == run_of_recording("succeeded-full")


def test_a_task_that_was_killed_is_what_the_end_of_the_run_says() -> None:
    """The server leaves it RUNNING, and does not tell that the run was terminated."""
    answer = recorded("terminated-ended")
    body = check_run(answer)
    graph = read_pipeline(body)[1]
    assert graph is not None
    executions = make_executions(check_tasks(body["tasks"])[0], graph)

    failed, _ = read_run(body, WHERE, executions=executions)
    cancelled, _ = read_run(body, WHERE, executions=executions, cancelled=True)

    assert (failed.state, states(failed)) == (RunState.FAILED, {"say": TaskState.FAILED})
    assert (cancelled.state, states(cancelled)) == (
        RunState.CANCELLED,
        {"say": TaskState.CANCELLED},
    )
    (say,) = cancelled.tasks
    assert say.ended_at == cancelled.ended_at == "2026-11-29T08:59:43.000Z"


@pytest.mark.parametrize("name", FULL)
def test_the_order_of_tasks_does_not_count(name: str) -> None:
    answer = recorded(name)
    expected = run_from(answer)

    for tasks in (
        sorted(answer.get("tasks", ()), key=lambda task: str(task["name"])),
        answer.get("tasks", ())[::-1],
    ):
        assert run_from({**answer, "tasks": list(tasks)}) == expected


# -- what no recording has, from the source of the drivers and the launcher


def test_a_retry_of_the_run_leaves_the_start_of_a_task_that_had_succeeded() -> None:
    """Also when the task ended in the second of the retry: the server itself sets the start of what
    is run again."""
    answer = recorded("succeeded-full")
    say = named(answer, "say")
    say |= {"create_time": "2026-11-29T08:39:20Z", "end_time": "2026-11-29T08:39:25Z"}
    states_of_run = ("PENDING", "RUNNING", "FAILED", "RUNNING", "SUCCEEDED")
    seconds = (20, 21, 25, 25, 30)
    answer["state_history"] = [
        {"update_time": f"2026-11-29T08:39:{second}Z", "state": state}
        for second, state in zip(seconds, states_of_run, strict=True)
    ]

    run, _ = run_from(answer)

    (task,) = run.tasks
    assert (task.started_at, task.ended_at) == (
        "2026-11-29T08:39:20.000Z",
        "2026-11-29T08:39:25.000Z",
    )


def test_every_attempt_has_its_pod() -> None:
    """The launcher adds its pod to those that are there (Execute in launcher_v2.go)."""
    answer = recorded("failed-full")
    boom = named(answer, "boom")
    boom["pods"].append({"name": "f-boom-impl-2", "uid": "u", "type": "EXECUTOR"})

    run, _ = run_from(answer)

    assert task_at(run, "boom").attempts == 2
    assert pods(answer)["boom"] == ["f-boom-impl", "f-boom-impl-2"]


def test_a_failed_driver_says_why_and_its_pod_has_the_log() -> None:
    """Container in driver/container.go makes the task FAILED with the error of the driver."""
    answer = recorded("failed-full")
    boom = named(answer, "boom")
    message = 'driver.Container(runID=x)\n failed: got null for input parameter "x"'
    boom |= {"pods": boom["pods"][:1], "status_metadata": {"message": message}}

    run, _ = run_from(answer)

    assert run.error is not None
    assert run.error.task == "boom"
    assert run.error.message == 'driver.Container(runID=x) failed: got null for input parameter "x"'
    assert pods(answer)["boom"] == ["f-boom-driver"]


@pytest.mark.parametrize("group", ["inner", "for-loop-4"])
def test_a_failed_driver_of_a_group_says_why_and_its_pod_has_the_log(group: str) -> None:
    """DAG in driver/dag.go makes the group FAILED with the error of the driver; nothing in it was
    made."""
    answer = recorded("shapes-full")
    answer["state"] = "FAILED"
    failed = named(answer, group)
    failed |= {
        "state": "FAILED",
        "status_metadata": {"message": "failed to create the artifacts of the inputs"},
    }
    answer["tasks"] = [
        task for task in answer["tasks"] if task.get("parent_task_id") != failed["task_id"]
    ]

    run, _ = run_from(answer)

    reason = ErrorInfo("failed to create the artifacts of the inputs", group)
    assert (task_at(run, group).state, task_at(run, group).error) == (TaskState.FAILED, reason)
    assert run.error == reason
    assert {task.state for task in run.tasks if task.path.startswith(f"{group}/")} <= {
        TaskState.SKIPPED
    }
    assert pods(answer)[group] == [pod["name"] for pod in failed["pods"]]


def test_a_group_with_a_failed_task_has_the_reason_of_the_task_and_no_log() -> None:
    """evaluateAndUpdateParentStatus in kfpapi/api.go sets the state of the group, without a
    reason."""
    answer = recorded("shapes-full")
    answer["state"] = "FAILED"
    named(answer, "inner")["state"] = "FAILED"
    named(answer, "double-2").update(
        {"state": "FAILED", "status_metadata": {"message": "no memory"}}
    )

    run, _ = run_from(answer)

    assert task_at(run, "inner").error == ErrorInfo("no memory", "inner/double-2")
    assert "inner" not in pods(answer)


def test_metrics_of_one_output_are_one_artifact_and_other_types_have_their_titles() -> None:
    """uploadOutputArtifacts in launcher_v2.go: an artifact for each scalar; unknown titles go to
    the metadata."""
    answer = recorded("succeeded-full")
    say = named(answer, "say")
    titled = {"_kfp_schema_title": "google.VertexModel"}
    say["outputs"]["artifacts"] = [
        {
            "artifact_key": "metrics",
            "artifacts": [
                {
                    "name": "accuracy",
                    "type": "Metric",
                    "number_value": 0.9,
                    "metadata": {"accuracy": 0.9},
                },
                {"name": "count", "type": "Metric", "number_value": 3},
                {"name": "loss", "type": "Metric", "metadata": {"loss": 0.25}},
            ],
        },
        {
            "artifact_key": "roc",
            "artifacts": [{"type": "ClassificationMetric", "metadata": {"points": [1, 2]}}],
        },
        {"artifact_key": "sliced", "artifacts": [{"type": "SlicedClassificationMetric"}]},
        {
            "artifact_key": "model",
            "artifacts": [{"type": "Artifact", "uri": "gs://b/m", "metadata": titled}],
        },
        {
            "artifact_key": "executor-logs",
            "artifacts": [{"type": "Artifact", "uri": "gs://b/executor-logs-0"}],
        },
        {"artifact_key": "page", "artifacts": [{"type": "HTML", "uri": "gs://b/page"}]},
    ]

    run, _ = run_from(answer)

    assert [(metric.name, metric.value) for metric in run.metrics] == [
        ("accuracy", 0.9),
        ("count", 3),
        ("loss", 0.25),
    ]
    assert {artifact.name: artifact.type for artifact in run.artifacts} == {
        "metrics": "system.Metrics",
        "roc": "system.ClassificationMetrics",
        "sliced": "system.SlicedClassificationMetrics",
        "model": "google.VertexModel",
        "page": "system.HTML",
    }
    model = next(artifact for artifact in run.artifacts if artifact.name == "model")
    assert model.metadata == {}


def test_a_task_that_cannot_be_read_is_left_out_and_reported() -> None:
    answer = recorded("succeeded-full")
    named(answer, "say")["state"] = 3

    run, problem = run_from(answer)

    assert problem == "Kubeflow Pipelines answered with a task say whose state is 3, not text."
    assert states(run) == {"say": TaskState.SKIPPED}


# -- logs


@pytest.mark.parametrize(
    ("name", "note"),
    [
        (
            "running-full",
            (
                "say has no log yet: Kubeflow Pipelines 3.0 reports the pod of a task only when"
                " its program has ended"
            ),
        ),
        (
            "terminated-ended",
            "say has no log: Kubeflow Pipelines 3.0 did not report its pod",
        ),
    ],
)
@pytest.mark.recorded(
    "Kubeflow 3.0: a task whose pod is not named",
    "api-3.0-branch/run-get-running-full",
    "api-3.0-branch/run-get-terminated-ended",
)
def test_the_log_of_an_unnamed_pod_is_reported_as_missing(name: str, note: str) -> None:
    """No pod is asked for its log, so the place of logs is never used."""
    body = check_run(recorded(name))
    graph = read_pipeline(body)[1]
    assert graph is not None
    executions = make_executions(check_tasks(body["tasks"])[0], graph)
    nowhere: Any = None
    logs = RunLogs(LogServices(nowhere, None, "", "gke"), body, executions)

    with pytest.warns(NotWhole) as warned:
        assert list(logs.read(LogFilter())) == []

    assert [str(warning.message) for warning in warned] == [note]
