"""Pipeline jobs as runs, from answers written by hand."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from google.cloud.aiplatform_v1 import types
from google.protobuf import json_format

from json_types import JsonDict
from kfgcp.backends.vertex import read_run
from kfgcp.backends.vertex.messages import read_job
from kfgcp.backends.vertex.read_run import JobLocation, run_from_job
from kfgcp.errors import BackendError
from kfgcp.model import ErrorInfo, Metric, Run, RunState, TaskKind, TaskState
from kfgcp.spec.load import Spec

WHERE = JobLocation("acme", "europe-west4", "dev")
NAME = "projects/123/locations/europe-west4/pipelineJobs/train-1"
JOBS = "projects/123/locations/europe-west4/customJobs"


def job_answer(**fields: object) -> JsonDict:
    plain = {
        "name": NAME,
        "displayName": "My run",
        "state": "PIPELINE_STATE_SUCCEEDED",
        "createTime": "2026-01-02T03:00:00.123456789Z",
        "startTime": "2026-01-02T03:00:01Z",
        "endTime": "2026-01-02T04:00:01+01:00",
        "updateTime": "2026-01-02T03:00:02Z",
    }
    return {key: value for key, value in (plain | fields).items() if value is not None}


def read_job_with(details: Sequence[JsonDict] = (), **fields: object) -> Run:
    if details:
        fields["jobDetail"] = {"taskDetails": list(details)}
    answer = job_answer(**fields)
    before = copy.deepcopy(answer)
    run, _ = run_from_job(read_job(answer), WHERE)
    assert answer == before
    return run


def test_the_states_of_runs_and_tasks_are_all_that_google_has() -> None:
    states = {state.name for state in types.PipelineState} - {"PIPELINE_STATE_UNSPECIFIED"}
    assert set(read_run.RUN_STATES) == states
    tasks = {state.name for state in types.PipelineTaskDetail.State} - {"STATE_UNSPECIFIED"}
    assert set(read_run.TASK_STATES) == tasks
    assert read_run.TASK_STATES["SKIPPED"] is TaskState.CACHED
    assert read_run.TASK_STATES["NOT_TRIGGERED"] is TaskState.SKIPPED


def test_a_job_made_by_others_is_a_run(compiled: Callable[[str], Spec]) -> None:
    run = read_job_with(
        pipelineSpec=compiled("tests/pipelines/echo.py").pipeline_spec, labels={"team": "growth"}
    )

    assert (run.run_id, run.name, run.pipeline) == ("train-1", "My run", "echo")
    assert (run.env, run.backend, run.backend_ref) == ("dev", "vertex", NAME)
    assert run.version == compiled("tests/pipelines/echo.py").version
    assert (run.experiment, run.labels) == ("default", {"team": "growth"})
    assert run.params == {"text": "hello"}, "the parameter has its default"
    assert (run.created_at, run.started_at, run.ended_at) == (
        "2026-01-02T03:00:00.123Z",
        "2026-01-02T03:00:01.000Z",
        "2026-01-02T03:00:01.000Z",
    )
    assert run.url == (
        "https://console.cloud.google.com/vertex-ai/locations/europe-west4/pipelines/runs/train-1?project=acme"
    )


def test_a_job_of_a_list_has_no_tasks_and_the_name_of_its_pipeline() -> None:
    run = read_job_with(
        pipelineSpec={"pipelineInfo": {"name": "train"}}, labels={"experiment": "churn"}
    )

    assert (run.pipeline, run.version, run.experiment) == ("train", "", "churn")
    assert (run.tasks, run.artifacts, run.params, run.outputs) == ((), (), {}, {})


def test_the_least_that_a_job_can_say() -> None:
    run, spec = run_from_job({"name": NAME}, WHERE)

    assert spec is None
    assert (run.state, run.name, run.pipeline) == (RunState.PENDING, "train-1", "")
    assert (run.created_at, run.started_at, run.ended_at, run.error) == (
        None,
        None,
        None,
        None,
    )


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"name": 3},
        {"name": NAME, "state": 3},
        {"name": None},
        job_answer(createTime="soon"),
        job_answer(endTime="the 2nd"),
    ],
)
def test_an_answer_that_is_not_a_job_is_refused(answer: JsonDict) -> None:
    with pytest.raises(BackendError, match="Vertex AI answered with"):
        read_job(answer)


@pytest.mark.parametrize("state", [*read_run.RUN_STATES])
def test_the_state_of_a_run(state: str) -> None:
    assert read_job_with(state=state).state is read_run.RUN_STATES[state]


@pytest.mark.parametrize("changed", [{"schemaVersion": "9.9.9"}, {"components": {}}])
def test_a_spec_that_cannot_be_read_does_not_hide_the_run(
    compiled: Callable[[str], Spec], detail: Callable[..., JsonDict], changed: JsonDict
) -> None:
    document = {**compiled("tests/pipelines/echo.py").pipeline_spec, **changed}

    run = read_job_with(
        [detail(1, "say", execution={"metadata": {"input:text": "a"}})],
        pipelineSpec=document,
        runtimeConfig={"parameterValues": {"text": "a", "n": 2.0}},
    )

    assert (run.pipeline, run.version) == ("echo", "")
    assert run.params == {"text": "a", "n": 2}
    assert [(task.path, task.kind, task.inputs) for task in run.tasks] == [
        ("say", TaskKind.CONTAINER, {"text": "a"})
    ]


def test_components_of_google_run_as_custom_jobs(
    edited: Callable[..., Spec], detail: Callable[..., JsonDict]
) -> None:
    def google(spec: JsonDict) -> None:
        spec["deploymentSpec"]["executors"]["exec-say"] = {
            "customJob": {"customJob": {"workerPoolSpecs": []}}
        }

    spec = edited("tests/pipelines/echo.py", google)
    custom = {"job": f"{JOBS}/30", "failedJobs": [f"{JOBS}/10", f"{JOBS}/20"]}

    run = read_job_with(
        [detail(1, "say", executorDetail={"customJobDetail": custom})],
        pipelineSpec=spec.pipeline_spec,
    )

    (task,) = run.tasks
    assert (task.path, task.kind, task.attempts) == ("say", TaskKind.CONTAINER, 3)
    assert read_run.attempt_jobs({"executorDetail": {"customJobDetail": custom}}) == [
        "10",
        "20",
        "30",
    ]


@pytest.mark.parametrize(
    ("container", "attempts"),
    [
        ({"mainJob": f"{JOBS}/1"}, ["1"]),
        ({"mainJob": f"{JOBS}/3", "failedMainJobs": [f"{JOBS}/1", f"{JOBS}/2"]}, ["1", "2", "3"]),
        ({"mainJob": f"{JOBS}/2", "failedMainJobs": [f"{JOBS}/1", f"{JOBS}/2"]}, ["1", "2"]),
        ({"failedMainJobs": [f"{JOBS}/1"]}, ["1"]),
        ({"mainJob": "7", "failedMainJobs": None}, ["7"]),
        ({"mainJob": "", "preCachingCheckJob": f"{JOBS}/9"}, []),
        (None, []),
    ],
)
def test_attempts_are_the_custom_jobs_of_a_task(container: Any, attempts: list[str]) -> None:
    assert read_run.attempt_jobs({"executorDetail": {"containerDetail": container}}) == attempts


@pytest.mark.parametrize(
    ("state", "expected", "attempts", "cache"),
    [
        ("SUCCEEDED", TaskState.SUCCEEDED, 1, False),
        ("SKIPPED", TaskState.CACHED, 0, True),
        ("NOT_TRIGGERED", TaskState.SKIPPED, 0, None),
        ("PENDING", TaskState.PENDING, 0, None),
        ("RUNNING", TaskState.RUNNING, 1, None),
        ("CANCEL_PENDING", TaskState.RUNNING, 1, None),
        ("CANCELLING", TaskState.RUNNING, 1, None),
        ("CANCELLED", TaskState.CANCELLED, 1, None),
        ("FAILED", TaskState.FAILED, 1, False),
        ("OF_A_NEWER_SERVICE", TaskState.PENDING, 0, None),
        ("STATE_UNSPECIFIED", TaskState.PENDING, 0, None),
        (None, TaskState.PENDING, 0, None),
    ],
)
def test_the_state_of_a_task(
    compiled: Callable[[str], Spec],
    detail: Callable[..., JsonDict],
    state: str | None,
    expected: TaskState,
    attempts: int,
    cache: bool | None,
) -> None:
    spec = compiled("tests/pipelines/echo.py").pipeline_spec

    (task,) = read_job_with([detail(1, "say", state=state)], pipelineSpec=spec).tasks

    assert (task.state, task.attempts) == (expected, attempts)
    assert (task.cache and task.cache.hit) is cache
    assert (task.ended_at is not None) is expected.final
    assert (task.error is not None) is (expected is TaskState.FAILED)


def test_values_and_artifacts_of_a_task(
    compiled: Callable[[str], Spec], detail: Callable[..., JsonDict]
) -> None:
    spec = compiled("tests/pipelines/two_scores.py").pipeline_spec

    def artifact(uri: str, schema: str | None, **metadata: object) -> JsonDict:
        return {
            "artifacts": [{"name": uri, "uri": uri, "schemaTitle": schema, "metadata": metadata}]
        }

    run = read_job_with(
        [
            detail(
                1,
                "evaluate",
                execution={
                    "schemaTitle": "system.ContainerExecution",
                    "metadata": {"input:score": 1.0, "other": 1},
                },
                outputs={
                    "predictions": artifact("gs://b/p", "system.Dataset"),
                    "metrics": artifact(
                        "gs://b/m", "system.Metrics", accuracy=0.5, rows=3.0, note="x", fine=True
                    ),
                    "odd": {},
                },
            ),
            detail(
                2,
                "evaluate-2",
                state="FAILED",
                outputs={"metrics": artifact("gs://b/n", "system.Metrics", accuracy=0.1)},
            ),
        ],
        pipelineSpec=spec,
    )

    first = run.tasks[0]
    assert first.inputs == {"score": 1}
    assert first.outputs == {"predictions": "gs://b/p", "metrics": "gs://b/m", "odd": []}
    assert [(output.task, output.name, output.type, output.uri) for output in run.artifacts] == [
        ("evaluate", "predictions", "system.Dataset", "gs://b/p"),
        ("evaluate", "metrics", "system.Metrics", "gs://b/m"),
    ], "artifacts of a failed task are not listed"
    assert run.metrics == (
        Metric("evaluate", "metrics", "accuracy", 0.5),
        Metric("evaluate", "metrics", "rows", 3),
    )


def test_artifacts_of_a_dag_are_listed_by_the_task_that_made_them(
    compiled: Callable[[str], Spec], detail: Callable[..., JsonDict]
) -> None:
    spec = compiled("tests/pipelines/chain.py").pipeline_spec
    made_once = {"model": {"artifacts": [{"uri": "gs://b/m"}, {"uri": "gs://b/n"}]}}

    run = read_job_with(
        [detail(1, "inner", outputs=made_once), detail(2, "add", 1, outputs=made_once)],
        pipelineSpec=spec,
    )

    assert [(artifact.task, artifact.type, artifact.uri) for artifact in run.artifacts] == [
        ("inner/add", "system.Artifact", "gs://b/m"),
        ("inner/add", "system.Artifact", "gs://b/n"),
    ]
    assert run.tasks[1].outputs == {"model": ["gs://b/m", "gs://b/n"]}


def test_the_outputs_of_a_run_are_those_of_the_branch_that_ran(
    compiled: Callable[[str], Spec], detail: Callable[..., JsonDict]
) -> None:
    spec = compiled("tests/pipelines/echo.py").pipeline_spec
    done = detail(1, "say", execution={"metadata": {"output:Output": "hi"}})

    assert read_job_with([done], pipelineSpec=spec).outputs == {"Output": "hi"}
    assert read_job_with([done | {"state": "SKIPPED"}], pipelineSpec=spec).outputs == {
        "Output": "hi"
    }
    assert read_job_with([done | {"state": "FAILED"}], pipelineSpec=spec).outputs == {}
    assert read_job_with([done | {"state": "RUNNING"}], pipelineSpec=spec).outputs == {}
    assert read_job_with(pipelineSpec=spec).outputs == {}


def test_parameters_of_schema_2_0_0(edited: Callable[..., Spec]) -> None:
    spec = edited("features-2.14.6.yaml", lambda document: document.update(schemaVersion="2.0.0"))
    values = {
        "n": {"intValue": "7"},
        "ratio": {"doubleValue": 3.0},
        "text": {"stringValue": "[1]"},
        "items": {"stringValue": "[1, 2]"},
        "flag": {"stringValue": "false"},
        "config": {"stringValue": "no JSON"},
    }

    run = read_job_with(pipelineSpec=spec.pipeline_spec, runtimeConfig={"parameters": values})

    assert run.params == {
        "config": "no JSON",
        "flag": False,
        "items": [1, 2],
        "n": 7,
        "ratio": 3,
        "text": "[1]",
    }


def test_numbers_have_the_type_of_their_parameter(compiled: Callable[[str], Spec]) -> None:
    spec = compiled("tests/pipelines/typed.py").pipeline_spec
    values = {
        "n": float(2**60),
        "ratio": 10**300,
        "items": [1.0, 1.5],
        "config": {"a": 2.0},
        "more": 1.0,
    }

    params = read_job_with(pipelineSpec=spec, runtimeConfig={"parameterValues": values}).params

    assert (params["n"], type(params["n"])) == (2**60, int)
    assert (params["ratio"], type(params["ratio"])) == (1e300, float)
    assert (params["items"], type(params["items"][0])) == ([1, 1.5], int)
    assert (params["config"], params["more"]) == ({"a": 2}, 1)
    assert params["text"] is None
    assert list(params) == [*compiled("tests/pipelines/typed.py").params, "more"]


def test_a_failed_run_blames_the_first_task_that_did_work(
    compiled: Callable[[str], Spec], detail: Callable[..., JsonDict]
) -> None:
    spec = compiled("tests/pipelines/chain.py").pipeline_spec
    late = detail(5, "add", state="FAILED", error={"code": 9, "message": "late"})
    details = [
        late,
        detail(
            1,
            "inner",
            state="FAILED",
            error={"message": "The DAG failed because some tasks failed"},
        ),
        detail(
            2, "double", 1, state="FAILED", error={"code": 9, "message": "ValueError:\n  no luck"}
        ),
    ]

    run = read_job_with(
        details, pipelineSpec=spec, state="PIPELINE_STATE_FAILED", error={"message": "tasks failed"}
    )

    assert run.error == ErrorInfo("ValueError: no luck", "inner/double")
    assert {task.path: task.error and task.error.message for task in run.tasks} == {
        "inner": "ValueError: no luck",
        "inner/double": "ValueError: no luck",
        "add": "late",
    }


@pytest.mark.parametrize(
    ("error", "message"),
    [
        ({"code": 7, "message": "Quota\nexceeded"}, "Quota exceeded"),
        ({}, "Vertex AI gives no reason"),
        (None, "Vertex AI gives no reason"),
    ],
)
def test_a_failed_run_without_a_failed_task_has_the_reason_of_the_service(
    error: Any, message: str
) -> None:
    assert read_job_with(state="PIPELINE_STATE_FAILED", error=error).error == ErrorInfo(message)


def test_only_a_failed_run_has_an_error(detail: Callable[..., JsonDict]) -> None:
    for state in ("SUCCEEDED", "CANCELLED", "RUNNING", "CANCELLING"):
        assert (
            read_job_with(
                [detail(1, "a", state="FAILED")], state=f"PIPELINE_STATE_{state}", error={"code": 1}
            ).error
            is None
        )


def test_the_details_written_here_are_of_googles_form(detail: Callable[..., JsonDict]) -> None:
    answer = job_answer(
        jobDetail={"taskDetails": [detail(1, "a"), detail(2, "b", 1, state="NOT_TRIGGERED")]}
    )

    json_format.ParseDict(answer, types.PipelineJob.pb()())
