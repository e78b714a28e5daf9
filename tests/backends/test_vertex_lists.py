"""Lists of Vertex AI, answer by answer."""

from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import responses

from kfgcp import config
from kfgcp.backends.base import SupportsRefresh, capability
from kfgcp.backends.registry import load_project, open_backend
from kfgcp.errors import Refused
from kfgcp.model import RunState
from kfgcp.query import RunFilter

TOML = """
[env.dev]
backend = "vertex"
project = "p"
location = "l"
pipeline_root = "gs://b/x"
api_endpoint = "http://127.0.0.1:9"
auth = "anonymous"
"""
URL = "http://127.0.0.1:9/v1/projects/p/locations/l/pipelineJobs"
JOB = {
    "name": "projects/7/locations/l/pipelineJobs/a",
    "state": "PIPELINE_STATE_RUNNING",
    "createTime": "2026-01-01T00:00:00Z",
}


def refused(message: str) -> dict[str, object]:
    return {"error": {"code": 400, "message": message, "status": "INVALID_ARGUMENT"}}


@pytest.fixture
def project(home: Path) -> config.Project:
    (home / "kfgcp.toml").write_text(TOML)
    return load_project()


@responses.activate
def test_a_service_that_refuses_the_mask_is_asked_for_whole_jobs(project: config.Project) -> None:
    responses.get(
        URL, json=refused("Invalid field mask: read_mask pipeline_spec.pipeline_info"), status=400
    )
    responses.get(URL, json={"pipelineJobs": [JOB]})

    backend = open_backend(project, project.env("dev"))

    assert [run.run_id for run in backend.list(RunFilter()).items] == ["a"]
    first, second = (call.request.url or "" for call in responses.calls)
    assert "readMask" in first
    assert "readMask" not in second


BAD_MASK = {
    "error": {
        "code": 400,
        "message": "Request contains an invalid argument.",
        "status": "INVALID_ARGUMENT",
        "details": [
            {
                "@type": "type.googleapis.com/google.rpc.BadRequest",
                "fieldViolations": [
                    {
                        "field": "read_mask",
                        "description": "Invalid path: pipeline_spec.pipeline_info",
                    }
                ],
            }
        ],
    }
}
"""As Google's services refuse a field: google.rpc.BadRequest in error_details.proto."""


@responses.activate
def test_a_mask_that_is_refused_in_the_details_only_is_left_out(project: config.Project) -> None:
    responses.get(URL, json=BAD_MASK, status=400)
    responses.get(URL, json={"pipelineJobs": [JOB]})

    backend = open_backend(project, project.env("dev"))

    assert [run.run_id for run in backend.list(RunFilter()).items] == ["a"]
    assert "readMask" not in (responses.calls[1].request.url or "")


@responses.activate
def test_a_mask_that_was_refused_once_is_not_sent_again(project: config.Project) -> None:
    responses.get(URL, json=BAD_MASK, status=400)
    responses.get(URL, json={"pipelineJobs": [JOB]})
    backend = open_backend(project, project.env("dev"))

    backend.list(RunFilter())
    backend.list(RunFilter())

    assert ["readMask" in (call.request.url or "") for call in responses.calls] == [
        True,
        False,
        False,
    ]


@responses.activate
def test_a_refusal_that_names_no_field_may_be_that_of_the_mask(project: config.Project) -> None:
    responses.get(URL, json=refused("Request contains an invalid argument."), status=400)
    responses.get(URL, json={"pipelineJobs": [JOB]})

    backend = open_backend(project, project.env("dev"))

    assert [run.run_id for run in backend.list(RunFilter()).items] == ["a"]


@responses.activate
def test_a_mask_is_left_out_when_many_fields_are_refused(project: config.Project) -> None:
    """The text of an error is cut after 400 characters; the field of the mask is named behind
    them."""
    [violations] = BAD_MASK["error"]["details"]  # type: ignore[index]
    names = [{"field": "order_by", "description": "x" * 500}, *violations["fieldViolations"]]
    details = [
        "no detail",
        {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "R"},
        {"fieldViolations": names},
    ]
    responses.get(URL, json={"error": {**BAD_MASK["error"], "details": details}}, status=400)
    responses.get(URL, json={"pipelineJobs": [JOB]})

    backend = open_backend(project, project.env("dev"))

    assert [run.run_id for run in backend.list(RunFilter()).items] == ["a"]


@responses.activate
def test_another_field_that_is_refused_in_the_details_is_named(project: config.Project) -> None:
    [violations] = BAD_MASK["error"]["details"]  # type: ignore[index]
    details = [
        {
            **violations,
            "fieldViolations": [{"field": "filter", "description": "Invalid expression"}],
        }
    ]
    responses.get(URL, json={"error": {**BAD_MASK["error"], "details": details}}, status=400)

    with pytest.raises(
        Refused, match=r"Request contains an invalid argument: filter: Invalid expression \(400"
    ) as caught:
        open_backend(project, project.env("dev")).list(RunFilter())
    assert caught.value.fields == ("filter",)
    assert len(responses.calls) == 1


@responses.activate
def test_another_refusal_is_an_error(project: config.Project) -> None:
    """It names no field, so the list is asked for once more, without the mask."""
    responses.get(URL, json=refused("Invalid filter"), status=400)

    with pytest.raises(Refused, match="Invalid filter"):
        open_backend(project, project.env("dev")).list(RunFilter())
    assert ["readMask" in (call.request.url or "") for call in responses.calls] == [True, False]


@responses.activate
@pytest.mark.parametrize(
    ("run_filter", "asked"),
    [
        (RunFilter(), None),
        (RunFilter(pipeline='a"b'), 'pipeline_name="a\\"b"'),
        (RunFilter(since="2026-01-02T00:00:00.000Z"), 'create_time>="2026-01-02T00:00:00.000Z"'),
        (RunFilter(labels={"team": "growth"}), 'labels.team="growth"'),
        (RunFilter(experiment="My Runs"), 'labels.experiment="my-runs"'),
        (RunFilter(states=[RunState.FAILED]), 'state="PIPELINE_STATE_FAILED"'),
        (
            RunFilter(states=[RunState.PENDING]),
            '(state="PIPELINE_STATE_QUEUED" OR state="PIPELINE_STATE_PENDING")',
        ),
        (
            RunFilter(pipeline="train", states=[RunState.FAILED], labels={"a": "b"}),
            'pipeline_name="train" AND labels.a="b" AND state="PIPELINE_STATE_FAILED"',
        ),
    ],
)
def test_the_service_chooses_the_newest_runs_in_one_request(
    project: config.Project, run_filter: RunFilter, asked: str | None
) -> None:
    responses.get(URL, json={"pipelineJobs": [JOB], "nextPageToken": "more"})
    backend = capability(open_backend(project, project.env("dev")), SupportsRefresh)
    assert backend is not None

    assert backend.refresh_newest(run_filter, 1)

    [call] = responses.calls
    assert parse_qs(urlsplit(call.request.url or "").query).get("filter") == (
        None if asked is None else [asked]
    )


@responses.activate
@pytest.mark.parametrize(
    "run_filter",
    [
        RunFilter(labels={"git": "ab12"}),
        RunFilter(experiment="default"),
        RunFilter(labels={"a b": "c"}),
        RunFilter(labels={'team="x" OR labels.team': "y"}),
    ],
)
def test_what_it_cannot_choose_is_not_asked_for(
    project: config.Project, run_filter: RunFilter
) -> None:
    backend = capability(open_backend(project, project.env("dev")), SupportsRefresh)
    assert backend is not None

    assert not backend.refresh_newest(run_filter, 20)
