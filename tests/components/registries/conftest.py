"""Stores, and model registries of each kind without models."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from kfgcp.testing import VertexStandIn, vertex
from kfgcp_components.ship.register_model.logic import register
from kfgcp_components.storage import Store, open_store
from registered_models import MakeModel, upload
from s3_servers import REGION, S3Server, forget_s3_settings, gofakes3, moto

STORES = ["file", "gs", "gofakes3", "moto"]
BUCKET = "models"


def serve_vertex(mode: str) -> Iterator[VertexStandIn]:
    """Serve Vertex AI and Cloud Storage. Without the package, as with kfp 2.10, the test skips."""
    pytest.importorskip("google.cloud.aiplatform_v1", reason="needs google-cloud-aiplatform")
    with vertex(mode=mode) as env:
        yield env


@pytest.fixture(scope="module")
def stand_in() -> Iterator[VertexStandIn]:
    yield from serve_vertex("engine")


def serve_bucket(program: Callable[[], AbstractContextManager[S3Server]]) -> Iterator[S3Server]:
    """Serve an empty bucket with one of the S3 servers."""
    with program() as server:
        server.client().create_bucket(
            Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION}
        )
        yield server


@pytest.fixture(scope="module")
def gofakes3_server() -> Iterator[S3Server]:
    yield from serve_bucket(gofakes3)


@pytest.fixture(scope="module")
def moto_server() -> Iterator[S3Server]:
    yield from serve_bucket(moto)


@pytest.fixture
def folder_of_store(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[[str], str]:
    """Return a function that gives the URI of an empty folder in a kind of store."""

    def folder_uri(kind: str) -> str:
        if kind == "file":
            return (tmp_path / "registry").as_uri()
        if kind == "gs":
            env: VertexStandIn = request.getfixturevalue("stand_in")
            return f"gs://{env.bucket}/{tmp_path.name}/registry"
        server: S3Server = request.getfixturevalue(f"{kind}_server")
        forget_s3_settings(monkeypatch, tmp_path)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", server.access_key)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", server.secret_key)
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
        return f"s3://{BUCKET}/{tmp_path.name}"

    return folder_uri


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, folder_of_store: Callable[[str], str]) -> Store:
    return open_store(folder_of_store(request.param))


@pytest.fixture(params=[*STORES, "vertex"])
def registry_name(request: pytest.FixtureRequest, folder_of_store: Callable[[str], str]) -> str:
    """Return the name of a registry without models, of each kind."""
    if request.param != "vertex":
        return folder_of_store(request.param)
    # A model stays in a stand-in, so each test has its own.
    env = request.getfixturevalue("own_stand_in")
    return f"projects/{env.project}/locations/{env.location}"


@pytest.fixture
def own_stand_in() -> Iterator[VertexStandIn]:
    yield from serve_vertex("instant")


@pytest.fixture
def make_model(tmp_path: Path) -> MakeModel:
    """Return a function that writes a model, and gives its folder and a URI for `upload`."""

    def make(text: str) -> tuple[Path, str]:
        folder = tmp_path / f"model-{text}"
        (folder / "trees").mkdir(parents=True)
        (folder / "model.json").write_text(json.dumps({"text": text}))
        (folder / "trees" / "one tree.bin").write_bytes(text.encode() * 1000)
        return folder, f"gs://stand-in-project-pipelines/{tmp_path.name}/{text}"

    return make


@pytest.fixture
def registered(registry_name: str, make_model: MakeModel) -> list[str]:
    """Register two versions of the model churn, and return their ids."""
    versions = []
    for text in ("one", "two"):
        folder, uri = make_model(text)
        if registry_name.startswith("projects/"):
            upload(folder, uri)
        versions.append(register(registry_name, "churn", folder, uri).version)
    return versions
