"""Input artifacts on Vertex AI: each is an artifact of ML Metadata before the job is made."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import kfgcp
from kfgcp.errors import NotFound, ParamError
from kfgcp.model import RunState
from kfgcp.testing import VertexStandIn
from patience import PROCESS

STORE = "metadataStores/default/artifacts"


def sent(cloud: VertexStandIn, ending: str) -> list[Any]:
    return [
        request
        for request in cloud.requests
        if request.method == "POST" and request.path.endswith(ending)
    ]


def test_the_artifact_is_made_once_and_named_in_the_job(
    service: VertexStandIn, pipeline: Callable[[str], Path]
) -> None:
    file = str(pipeline("given_data"))
    uri = f"gs://{service.bucket}/data.csv"

    first = kfgcp.run(file, params={"data": uri}, env="dev", timeout=PROCESS)
    again = kfgcp.run(file, params={"data": uri}, env="dev", timeout=PROCESS)

    artifact_bodies = [request.body for request in sent(service, STORE)]
    jobs = [request.body["runtimeConfig"] for request in sent(service, "/pipelineJobs")]
    assert artifact_bodies[0] == artifact_bodies[1]
    assert artifact_bodies[0] == {
        "displayName": "data",
        "uri": uri,
        "schemaTitle": "system.Dataset",
        "schemaVersion": "0.0.1",
        "state": "LIVE",
    }
    artifact_ids = {runtime["inputArtifacts"]["data"]["artifactId"] for runtime in jobs}
    assert len(artifact_ids) == 1
    assert all("data" not in runtime["parameterValues"] for runtime in jobs)
    assert first.state is again.state is RunState.SUCCEEDED
    assert first.params["data"] == again.params["data"] == uri


def test_a_file_of_this_machine_is_refused_before_anything_is_made(
    service: VertexStandIn, pipeline: Callable[[str], Path]
) -> None:
    with pytest.raises(
        ParamError,
        match=r"data is a path on this machine, which Vertex AI cannot read: \./data\.csv",
    ):
        kfgcp.submit(str(pipeline("given_data")), params={"data": "./data.csv"}, env="dev")

    assert len(service.requests) == 0


def test_a_run_that_somebody_else_made_shows_the_uri(
    service: VertexStandIn,
    pipeline: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    uri = f"gs://{service.bucket}/data.csv"
    run_id = kfgcp.submit(str(pipeline("given_data")), params={"data": uri}, env="dev").run_id
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "kfgcp.toml").write_text(service.toml("dev"))
    monkeypatch.chdir(elsewhere)

    assert kfgcp.show(run_id).params == {"text": "x", "data": uri, "more": None}


def test_a_submission_without_a_metadata_store_says_what_to_do(
    service: VertexStandIn, pipeline: Callable[[str], Path]
) -> None:
    service.fail_next("404", path=f"*/{STORE}")

    with pytest.raises(NotFound) as caught:
        kfgcp.submit(str(pipeline("given_data")), params={"data": "gs://b/data"}, env="dev")

    assert (
        "The project has no metadata store yet. Run any pipeline without input artifacts once"
        in caught.value.hint
    )
    assert service.jobs() == []
