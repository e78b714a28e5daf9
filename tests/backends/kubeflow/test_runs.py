"""Runs of the service as runs of ours, from answers written by hand."""

from collections.abc import Callable
from typing import Any

import kfp_server_api
import pytest

from json_types import JsonDict
from kfgcp.backends.kubeflow import states as kubeflow_states
from kfgcp.backends.kubeflow.execution import Execution
from kfgcp.backends.kubeflow.messages import check_run
from kfgcp.backends.kubeflow.read_run import read_run
from kfgcp.backends.kubeflow.read_tasks import NO_REASON
from kfgcp.errors import BackendError, BadAnswer
from kfgcp.model import ErrorInfo, ErrorKind, RunState
from kfgcp.spec.json_values import JsonObject
from kfgcp.spec.load import Spec
from run_answers import NEVER, RUN, WHERE, read_run_with, run_answer


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


def test_a_run_made_by_others_is_a_run(compiled: Callable[[str], Spec], echo: JsonObject) -> None:
    run = read_run_with(pipeline_spec=echo, description="What Ada wrote", experiment="Churn")

    assert (run.run_id, run.name, run.pipeline) == (RUN, "My run", "echo")
    assert (run.env, run.backend, run.backend_ref) == ("gke", "kubeflow", RUN)
    assert run.version == compiled("tests/pipelines/echo.py").version
    assert (run.experiment, run.labels) == ("Churn", {})
    assert run.params == {"text": "hello"}, "the parameter has its default"
    assert run.url == f"https://kfp.acme.example/#/runs/details/{RUN}"
    assert (run.created_at, run.started_at, run.ended_at) == (
        "2026-01-02T03:00:00.000Z",
        "2026-01-02T03:00:00.000Z",
        "2026-01-02T03:00:01.000Z",
    )


def test_a_run_of_ours_has_its_labels_and_those_that_its_spec_tells(
    compiled: Callable[[str], Spec], echo: JsonObject
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


def test_every_field_of_the_api_is_used_or_left_out_on_purpose() -> None:
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
def test_an_invalid_time_is_refused(text: str) -> None:
    with pytest.raises(BackendError, match="Kubeflow Pipelines answered with a time that cannot"):
        read_run_with(created_at=text)


def test_a_run_does_not_end_before_its_last_task(
    compiled: Callable[[str], Spec], echo: JsonObject, execution: Callable[..., Execution]
) -> None:
    """The service has whole seconds, ML Metadata milliseconds."""
    say = execution(2, "say", 1, started_at=1767322800.25, ended_at=1767322801.75)

    run = read_run_with(
        [execution(1, ""), say], pipeline_spec=echo, finished_at="2026-01-02T03:00:01Z"
    )

    assert run.started_at == "2026-01-02T03:00:00.250Z"
    assert run.ended_at == "2026-01-02T03:00:01.750Z"


# -- what is no run


@pytest.mark.parametrize("answer", [{}, {"run_id": 3}, {"run_id": None}, {"runs": []}])
def test_an_answer_that_is_not_a_run_is_refused(answer: JsonDict) -> None:
    with pytest.raises(
        BadAnswer, match=r"Kubeflow Pipelines answered with a run (without|whose) run_id"
    ):
        check_run(answer)


@pytest.mark.parametrize(
    "document", [None, 3, "text", [], {}, {"root": 3}, {"pipeline_spec": {}}, {"pipeline_spec": 3}]
)
def test_an_invalid_spec_does_not_hide_the_run(document: Any) -> None:
    run = read_run_with(
        pipeline_spec=document, runtime_config={"parameters": {"text": "a", "n": 2.0}}
    )

    assert (run.pipeline, run.version, run.tasks) == ("My run", "", ())
    assert run.params == {"text": "a", "n": 2}


@pytest.mark.parametrize("changed", [{"schemaVersion": "9.9.9"}, {"components": {}}])
def test_a_spec_that_cannot_be_read_does_not_hide_the_run(
    echo: JsonObject, execution: Callable[..., Execution], changed: JsonDict
) -> None:
    run = read_run_with(
        [execution(1, ""), execution(2, "say", 1)], pipeline_spec={**echo, **changed}
    )

    assert (run.state, run.version, run.tasks) == (RunState.SUCCEEDED, "", ())


def test_the_platform_document_beside_a_spec_is_not_taken_for_it(
    compiled: Callable[[str], Spec], echo: JsonObject
) -> None:
    both = {"pipeline_spec": echo, "platform_spec": {"platforms": {"kubernetes": {}}}}

    run, spec = read_run(run_answer(pipeline_spec=both), WHERE)

    assert (run.pipeline, run.version) == ("echo", compiled("tests/pipelines/echo.py").version)
    assert spec == echo


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


def test_only_a_failed_run_has_an_error(
    echo: JsonObject, execution: Callable[..., Execution]
) -> None:
    failed = [execution(1, ""), execution(2, "say", 1, state="FAILED")]

    for state in ("SUCCEEDED", "CANCELED", "RUNNING", "CANCELING"):
        assert (
            read_run_with(failed, pipeline_spec=echo, state=state, error={"message": "x"}).error
            is None
        )
    assert read_run_with(failed, pipeline_spec=echo, state="FAILED").error == ErrorInfo(
        NO_REASON, "say", kind=ErrorKind.LOG_UNREAD
    )
