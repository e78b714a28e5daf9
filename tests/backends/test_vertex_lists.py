"""Lists of Vertex AI, answer by answer."""

from pathlib import Path

import pytest
import responses

from kfgcp import config
from kfgcp.backends.registry import open_backend
from kfgcp.errors import Refused
from kfgcp.store.rows import RunFilter

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
    return config.load()


@responses.activate
def test_a_service_that_refuses_the_mask_is_asked_for_whole_jobs(project: config.Project) -> None:
    responses.get(URL, json=refused("Invalid field mask: read_mask pipeline_spec.pipeline_info"), status=400)
    responses.get(URL, json={"pipelineJobs": [JOB]})

    backend = open_backend(project, project.env("dev"))

    assert [run.run_id for run in backend.list(RunFilter()).items] == ["a"]
    first, second = (call.request.url or "" for call in responses.calls)
    assert "readMask" in first
    assert "readMask" not in second


@responses.activate
def test_another_refusal_is_an_error(project: config.Project) -> None:
    responses.get(URL, json=refused("Invalid filter"), status=400)

    with pytest.raises(Refused, match="Invalid filter"):
        open_backend(project, project.env("dev")).list(RunFilter())
    assert len(responses.calls) == 1
