"""Requests that Google refuses. The stand-in answers Google's codes, and names the field."""

from collections.abc import Callable
from typing import Any

import pytest

from json_types import JsonDict
from patience import REQUEST
from stand_in_apis import VertexApi

Change = Callable[[dict[str, Any]], Any]


def _runtime(**fields: object) -> Change:
    return lambda body: body["runtimeConfig"].update(fields)


def _spec(**fields: object) -> Change:
    return lambda body: body.update(pipelineSpec=body["pipelineSpec"] | fields)


@pytest.mark.parametrize("job_id", ["Upper", "1st", "-a", "a_b", "a" * 129, "a.b", "ä"])
def test_a_job_id_of_another_form_is_refused(
    quick: VertexApi, body_of: Callable[..., JsonDict], job_id: str
) -> None:
    code, status, message = quick.refused(
        quick.post("pipelineJobs", body_of("echo"), pipelineJobId=job_id)
    )

    assert (code, status) == (400, "INVALID_ARGUMENT")
    assert job_id in message
    assert quick.env.jobs() == []


@pytest.mark.parametrize("job_id", ["a", "a-1", "a" * 128, "a-"])
def test_a_job_id_of_the_documented_form_is_taken(
    quick: VertexApi, body_of: Callable[..., JsonDict], job_id: str
) -> None:
    assert quick.post("pipelineJobs", body_of("echo"), pipelineJobId=job_id).status_code == 200
    assert quick.env.jobs() == [job_id]


def test_a_job_without_an_id_gets_one(quick: VertexApi, body_of: Callable[..., JsonDict]) -> None:
    names = [quick.post("pipelineJobs", body_of("echo")).json()["name"] for _ in range(2)]

    assert names[0] != names[1]
    assert all("/pipelineJobs/echo-" in name for name in names)


def test_a_second_job_of_that_id_already_exists(
    quick: VertexApi, body_of: Callable[..., JsonDict]
) -> None:
    quick.post("pipelineJobs", body_of("echo", labels={"number": "1"}), pipelineJobId="same")

    second_answer = quick.refused(
        quick.post("pipelineJobs", body_of("echo", labels={"number": "2"}), pipelineJobId="same")
    )

    assert second_answer[:2] == (409, "ALREADY_EXISTS")
    assert quick.get("pipelineJobs/same")["labels"]["number"] == "1"


REFUSED: dict[str, tuple[Change, str]] = {
    "an unknown field": (
        lambda body: body.update(colour="red"),
        "Unknown name \"colour\" at 'pipeline_job'",
    ),
    "an unknown field below": (
        _runtime(colour="red"),
        "Unknown name \"colour\" at 'pipeline_job.runtimeConfig'",
    ),
    "a field of the wrong type": (lambda body: body.update(displayName=3), "displayName"),
    "a long display name": (lambda body: body.update(displayName="x" * 129), "129 characters"),
    "65 labels": (lambda body: body.update(labels={f"k{i}": "" for i in range(65)}), "65 labels"),
    "a label key with capitals": (lambda body: body.update(labels={"Team": "x"}), '"Team"'),
    "a label key that starts with a digit": (lambda body: body.update(labels={"1a": "x"}), '"1a"'),
    "a long label key": (lambda body: body.update(labels={"k" * 64: "x"}), "63"),
    "a label value with a space": (lambda body: body.update(labels={"team": "a b"}), '"a b"'),
    "a long label value": (lambda body: body.update(labels={"team": "v" * 64}), "63"),
    "no spec": (lambda body: body.pop("pipelineSpec"), "pipeline_spec is required"),
    "a spec without a root": (_spec(root={}), "root.dag"),
    "a spec that is no object": (lambda body: body.update(pipelineSpec="x"), "pipelineSpec"),
    "no output directory": (_runtime(gcsOutputDirectory=""), "gcs_output_directory"),
    "an output directory elsewhere": (
        _runtime(gcsOutputDirectory="s3://bucket/x"),
        "s3://bucket/x",
    ),
    "an output directory in no bucket": (
        _runtime(gcsOutputDirectory="gs://nobody/x"),
        "gs://nobody",
    ),
    "an unknown parameter": (_runtime(parameterValues={"txet": "x"}), "txet is unknown"),
    "a text that is a number": (_runtime(parameterValues={"text": 3}), "text"),
    "parameters of the old schema": (_runtime(parameters={"text": {"stringValue": "x"}}), "2.1.0"),
    "an unknown failure policy": (_runtime(failurePolicy="MAYBE"), "MAYBE"),
    "a network of another form": (lambda body: body.update(network="default"), '"default"'),
    "a key of another form": (
        lambda body: body.update(encryptionSpec={"kmsKeyName": "key"}),
        '"key"',
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_body_is_refused_for(
    quick: VertexApi, body_of: Callable[..., JsonDict], case: str
) -> None:
    change, expected_text = REFUSED[case]
    body = body_of("echo", labels={})
    change(body)

    answer = quick.post("pipelineJobs", body)
    code, status, message = quick.refused(answer)

    assert (code, status) == (400, "INVALID_ARGUMENT")
    assert expected_text in message
    (detail,) = answer.json()["error"]["details"]
    assert detail["@type"] == "type.googleapis.com/google.rpc.BadRequest"
    assert detail["fieldViolations"][0]["field"].startswith("pipeline_job")
    assert quick.env.jobs() == []


@pytest.mark.parametrize(
    ("params", "expected_text"),
    [
        ({"seconds": "ten"}, "seconds must be float"),
        ({"stubborn": 1}, "stubborn must be bool"),
        ({"pids": ["a"]}, "pids"),
    ],
)
def test_a_parameter_of_another_type_is_refused(
    quick: VertexApi, body_of: Callable[..., JsonDict], params: object, expected_text: str
) -> None:
    code, status, message = quick.refused(quick.post("pipelineJobs", body_of("sleeps", params)))

    assert (code, status) == (400, "INVALID_ARGUMENT")
    assert expected_text in message


def test_a_missing_parameter_is_refused(quick: VertexApi, body_of: Callable[..., JsonDict]) -> None:
    body = body_of("echo")
    definition = {"parameters": {"text": {"parameterType": "STRING"}}}
    body["pipelineSpec"] = body["pipelineSpec"] | {
        "root": body["pipelineSpec"]["root"] | {"inputDefinitions": definition}
    }

    assert "text is required" in quick.refused(quick.post("pipelineJobs", body))[2]


def test_labels_and_names_at_their_limits_are_taken(
    quick: VertexApi, body_of: Callable[..., JsonDict]
) -> None:
    labels = {f"k{number}": "" for number in range(62)} | {"k" * 63: "v" * 63, "a_b-c": "1-_"}

    answer = quick.post(
        "pipelineJobs",
        body_of("echo", labels=labels) | {"displayName": "é" * 128},
        pipelineJobId="a",
    )

    assert answer.status_code == 200
    assert len(quick.get("pipelineJobs/a")["labels"]) == 65


def test_only_the_service_may_set_its_own_fields(
    quick: VertexApi, body_of: Callable[..., JsonDict]
) -> None:
    body = body_of("echo") | {
        "name": "mine",
        "state": "PIPELINE_STATE_FAILED",
        "createTime": "2020-01-01T00:00:00Z",
    }

    quick.post("pipelineJobs", body, pipelineJobId="a")

    job = quick.get("pipelineJobs/a")
    assert job["name"].endswith("/pipelineJobs/a")
    assert job["state"] == "PIPELINE_STATE_SUCCEEDED"
    assert job["createTime"] > "2021"


def test_a_request_that_is_too_long_is_refused(
    quick: VertexApi, body_of: Callable[..., JsonDict]
) -> None:
    quick.env.max_request_bytes = 20_000
    body = body_of("echo")

    assert quick.post("pipelineJobs", body).status_code == 200
    body["runtimeConfig"]["parameterValues"] = {"text": "x" * 20_000}
    assert "20000 bytes" in quick.refused(quick.post("pipelineJobs", body))[2]


def test_a_job_runs_only_as_an_account_that_the_caller_may_use(
    quick: VertexApi, body_of: Callable[..., JsonDict]
) -> None:
    quick.env.service_accounts = {"good@example.com"}

    good = quick.post("pipelineJobs", body_of("echo", serviceAccount="good@example.com"))
    bad = quick.refused(
        quick.post("pipelineJobs", body_of("echo", serviceAccount="bad@example.com"))
    )

    assert good.status_code == 200
    assert bad[:2] == (403, "PERMISSION_DENIED")
    assert "bad@example.com" in bad[2]


def test_other_projects_and_locations_are_not_there(quick: VertexApi) -> None:
    env = quick.env

    def get(project: Any, location: str) -> Any:
        return quick.session.get(
            f"{env.api_endpoint}/v1/projects/{project}/locations/{location}/pipelineJobs",
            timeout=REQUEST,
        )

    assert get(env.project, env.location).status_code == 200
    assert get(env.project_number, env.location).status_code == 200
    assert quick.refused(get("another", env.location))[:2] == (403, "PERMISSION_DENIED")
    assert quick.refused(get(env.project, "mars-1"))[:2] == (404, "NOT_FOUND")


def test_paths_parameters_and_bodies_that_are_not_understood_are_refused(quick: VertexApi) -> None:
    assert quick.refused(quick.call("GET", "trainingPipelines"))[0] == 404
    assert quick.refused(quick.call("PATCH", "pipelineJobs"))[0] == 404
    assert (
        'Unknown name "colour"'
        in quick.refused(quick.call("GET", "pipelineJobs", params={"colour": 1}))[2]
    )
    json = {"Content-Type": "application/json"}
    assert (
        "not JSON" in quick.refused(quick.call("POST", "pipelineJobs", data="{", headers=json))[2]
    )
    assert (
        "message" in quick.refused(quick.call("POST", "pipelineJobs", data="[]", headers=json))[2]
    )
