"""Answers with a field of another type than Vertex AI documents: what each verb makes of them."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import kfgcp
from kfgcp.errors import BackendError, BadAnswer
from kfgcp.testing import VertexStandIn
from kfgcp.testing.server import Request, Response

Change = Callable[[dict[str, Any]], object]


@pytest.fixture
def change_jobs(
    service: VertexStandIn, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str, Change], None]:
    """Changes the jobs in answers to requests of a method, but not those in lists."""
    answer = service.handle

    def change(method: str, edit: Change) -> None:
        def handle(request: Request) -> Response:
            response = answer(request)
            body = json.loads(response.encoded() or b"{}")
            if request.method == method and isinstance(body, dict) and "pipelineSpec" in body:
                edit(body)
                return replace(response, body=body)
            return response

        monkeypatch.setattr(service, "handle", handle)

    return change


def test_a_run_that_is_there_and_cannot_be_read_is_not_called_missing(
    service: VertexStandIn, change_jobs: Callable[[str, Change], None]
) -> None:
    (job_id,) = service.seed(1, age=90 * 86400.0)
    change_jobs("GET", lambda job: job.update(labels=[]))

    with pytest.raises(
        BadAnswer, match=f"pipeline job .*/{job_id} whose labels is a list, not an object"
    ):
        kfgcp.show(job_id)


def test_logs_name_the_field_of_the_job_too(
    service: VertexStandIn, change_jobs: Callable[[str, Change], None]
) -> None:
    (job_id,) = service.seed(1)
    handle = kfgcp.show(job_id)
    change_jobs("GET", lambda job: job["jobDetail"].update(taskDetails=[{"taskId": []}]))

    with pytest.raises(
        BadAnswer, match=r"whose jobDetail.taskDetails\[0\].taskId is a list, not a whole number"
    ):
        list(handle.logs())


def test_a_run_that_was_made_is_named_when_the_answer_cannot_be_read(
    service: VertexStandIn,
    change_jobs: Callable[[str, Change], None],
    pipeline: Callable[[str], Path],
) -> None:
    change_jobs("POST", lambda job: job.update(state=3))

    with pytest.raises(BadAnswer) as caught:
        kfgcp.submit(pipeline("echo"), env="dev")

    (job_id,) = service.jobs()
    assert caught.value.unknown
    assert "whose state is 3, not text." in caught.value.message
    assert f"kfgcp does not know whether the run {job_id} was created." in caught.value.message
    assert caught.value.hint.endswith(f"kfgcp show {job_id}")


def test_the_official_client_that_cannot_read_an_answer_ends_in_one_of_our_errors(
    service: VertexStandIn, change_jobs: Callable[[str, Change], None]
) -> None:
    (job_id,) = service.seed(1)
    handle = kfgcp.show(job_id)
    change_jobs("GET", lambda job: job.update(updateTime="soon"))

    with pytest.raises(
        BackendError, match="The official client of Vertex AI failed: Failed to parse updateTime"
    ):
        handle.native()


def test_a_whole_number_beyond_64_bits_is_kept_exactly(
    service: VertexStandIn, change_jobs: Callable[[str, Change], None]
) -> None:
    """The store keeps values as JSON text. SQLite's own integers have 64 bits."""
    (job_id,) = service.seed(1, params={"n": 1})
    change_jobs("GET", lambda job: job["runtimeConfig"]["parameterValues"].update(n=2**70))

    assert kfgcp.show(job_id).params == {"n": 2**70}
    exported = kfgcp.export([job_id], form="json")
    assert json.loads(exported)[0]["params"] == {"n": 2**70}


def test_a_parameter_that_was_given_as_null_is_null(
    service: VertexStandIn, change_jobs: Callable[[str, Change], None]
) -> None:
    (job_id,) = service.seed(1, params={"n": 1})
    change_jobs("GET", lambda job: job["runtimeConfig"]["parameterValues"].update(n=None))

    assert kfgcp.show(job_id).params == {"n": None}


def test_an_input_artifact_of_another_form_is_named(
    service: VertexStandIn, change_jobs: Callable[[str, Change], None]
) -> None:
    (job_id,) = service.seed(1, age=90 * 86400.0)
    change_jobs("GET", lambda job: job["runtimeConfig"].update(inputArtifacts={"data": "x"}))

    with pytest.raises(BadAnswer, match=r"runtimeConfig\.inputArtifacts\.data is 'x', not an"):
        kfgcp.show(job_id)
