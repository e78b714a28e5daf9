"""Artifacts in a server's own store, read through its UI server."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import kfgcp as public
import recorded_runs
from hostile_http import Connection, hostile_server
from kfgcp.backends.base import Backend, RunRef, SupportsArtifacts, capability
from kfgcp.backends.kubeflow.addresses import Addresses
from kfgcp.backends.kubeflow.server_store import ServerStore
from kfgcp.backends.registry import load_project, open_backend
from kfgcp.errors import AuthError, NotFound, Refused, Unreachable
from kfgcp.model import Artifact
from kfgcp.services.auth.tokens import Anonymous
from kfgcp.services.client import ServiceClient
from kfgcp.tracking import artifact_contents
from recorded_runs import RecordedServer
from service_fixtures import Reply, Server

RUN = RunRef("recorded", recorded_runs.read("artifacts")["run_id"])
FOLDER = f"v2/artifacts/artifacts/{RUN.run_id}/train/195d3193-3a7f-4f34-8c0d-0a54f298721c"
"""Of the artifacts of `train`, as in mlmd.json."""
NOTE = f"minio://mlpipeline/{FOLDER}/note"
TEXT = {"Content-Type": "text/plain"}


@pytest.fixture(autouse=True)
def no_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def recorded() -> Iterator[RecordedServer]:
    with recorded_runs.serve(["artifacts"]) as started:
        yield started


def artifact_store(backend: Backend) -> SupportsArtifacts:
    part = capability(backend, SupportsArtifacts)
    assert part is not None
    return part


@pytest.fixture
def backend(home: Path, recorded: RecordedServer) -> Callable[..., Backend]:
    def make(**settings: str) -> Backend:
        plain = {"backend": "kubeflow", "host": recorded.url, "auth": "anonymous"}
        lines = [f'{key} = "{value}"' for key, value in (plain | settings).items()]
        (home / "kfgcp.toml").write_text("\n".join(["[env.recorded]", *lines]))
        project = load_project()
        return open_backend(project, project.env("recorded"))

    return make


@pytest.mark.recorded("Kubeflow: artifacts in the store of the server", "cluster-2.17.0/artifacts")
def test_an_artifact_of_a_recorded_run_is_read(
    backend: Callable[..., Backend], recorded: RecordedServer
) -> None:
    recorded.objects["minio", "mlpipeline", f"{FOLDER}/note"] = b"# all is well\n"
    backend().get(RUN)
    run = public.show(RUN.run_id)
    (note,) = [artifact for artifact in run.artifacts if artifact.name == "note"]

    contents = artifact_contents.text(note, local=False, store=run.artifact_store)

    assert (note.uri, contents) == (NOTE, artifact_contents.Text("# all is well\n"))
    assert recorded.queries[-1] == {
        "source": "minio",
        "bucket": "mlpipeline",
        "key": f"{FOLDER}/note",
        "peek": "1000001",
    }


def test_no_more_than_the_limit_is_asked_for(
    backend: Callable[..., Backend], recorded: RecordedServer
) -> None:
    recorded.objects["minio", "mlpipeline", f"{FOLDER}/note"] = b"0123456789" * 1000

    contents = artifact_contents.text(
        Artifact("train", "note", "system.Artifact", NOTE), 15, store=artifact_store(backend())
    )

    assert contents == artifact_contents.Text("012345678901234", truncated=True)
    assert recorded.queries[-1]["peek"] == "16"


def test_the_namespace_is_sent_when_it_is_set(
    backend: Callable[..., Backend], recorded: RecordedServer
) -> None:
    recorded.objects["minio", "mlpipeline", "a"] = b"x"

    assert artifact_store(backend(namespace="team-a")).beginning("minio://mlpipeline/a", 5) == b"x"
    assert recorded.queries[-1]["namespace"] == "team-a"


def test_an_artifact_that_is_gone_does_not_exist(backend: Callable[..., Backend]) -> None:
    with pytest.raises(NotFound, match=f"{NOTE} does not exist") as caught:
        artifact_contents.text(
            Artifact("train", "note", "system.Artifact", NOTE), store=artifact_store(backend())
        )
    assert "deleted" in caught.value.hint


@pytest.mark.parametrize(
    ("uri", "settings", "variables"),
    [
        ("gs://mlpipeline/a", {}, {}),
        ("s3://mlpipeline/a", {}, {}),
        ("/tmp/a", {}, {}),
        (NOTE, {"s3_endpoint": "http://127.0.0.1:9000"}, {}),
        (NOTE, {}, {"AWS_ENDPOINT_URL": "http://127.0.0.1:9000"}),
    ],
)
def test_other_stores_are_read_from_here(
    backend: Callable[..., Backend],
    monkeypatch: pytest.MonkeyPatch,
    uri: str,
    settings: dict[str, str],
    variables: dict[str, str],
) -> None:
    """Also that of the server when this machine is told where it is."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    assert not artifact_store(backend(**settings)).keeps(uri)


def test_only_kubeflow_has_such_a_store(backend: Callable[..., Backend], home: Path) -> None:
    assert capability(backend(), SupportsArtifacts) is not None

    settings = 'project = "acme"\nlocation = "europe-west4"\npipeline_root = "gs://acme/runs"\n'
    (home / "kfgcp.toml").write_text(f'[env.vertex]\nbackend = "vertex"\n{settings}')
    project = load_project()
    for env_name in ("local", "vertex"):
        other = open_backend(project, project.env(env_name))
        assert capability(other, SupportsArtifacts) is None


# -- odd names and answers


@pytest.fixture
def store(server: Server, client: Callable[..., ServiceClient]) -> ServerStore:
    return ServerStore(Addresses(client(service="Kubeflow Pipelines")), "", 60)


@pytest.mark.parametrize("key", ["a b/c", "a?b=c&d#e", "ü/☃", "%2e", "a//b"])
def test_any_key_is_asked_for_as_it_is(
    store: ServerStore, server: Server, reply: type[Reply], key: str
) -> None:
    server.answers(reply(b"x", headers=TEXT))

    assert store.beginning(f"minio://bucket/{key}", 5) == b"x"
    assert (server.asked[0].query["bucket"], server.asked[0].query["key"]) == ("bucket", key)


@pytest.mark.parametrize("uri", ["minio://", "minio://bucket", "minio://bucket/", "minio:///key"])
def test_what_names_no_object_is_not_asked_for(store: ServerStore, uri: str) -> None:
    with pytest.raises(NotFound, match="is not the address of an object"):
        store.beginning(uri, 5)


def test_a_server_that_does_not_know_peek_is_not_read_to_the_end(
    store: ServerStore, server: Server, reply: type[Reply]
) -> None:
    server.answers(reply(b"0123456789" * 1_000_000, headers=TEXT))

    assert store.beginning("minio://bucket/key", 15) == b"012345678901234"


@pytest.mark.parametrize(
    "body",
    [
        b"Failed to get object in bucket: NoSuchKey: The specified key does not exist.",
        b"Failed to get object in bucket: S3Error: The specified key does not exist.",
    ],
)
def test_older_servers_quote_the_store(
    store: ServerStore, server: Server, reply: type[Reply], body: bytes
) -> None:
    server.answers(reply(body, status=500, headers=TEXT))

    with pytest.raises(NotFound, match="minio://bucket/key does not exist"):
        store.beginning("minio://bucket/key", 5)


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, Refused), (403, Refused), (401, AuthError), (500, Unreachable), (503, Unreachable)],
)
def test_other_refusals_are_reported(
    store: ServerStore, server: Server, reply: type[Reply], status: int, kind: Any
) -> None:
    server.always(
        lambda asked: reply(
            b"Artifact does not belong to the namespace", status=status, headers=TEXT
        )
    )

    with pytest.raises(kind, match="Artifact does not belong to the namespace"):
        store.beginning("minio://bucket/key", 5)


def test_a_sign_in_page_is_not_taken_for_an_artifact(
    store: ServerStore, server: Server, reply: type[Reply]
) -> None:
    page = b"<!doctype html><title>Sign in</title><input type=password>"
    server.answers(reply(page, headers={"Content-Type": "text/html"}))

    with pytest.raises(AuthError, match="web page"):
        store.beginning("minio://bucket/key", 5)


def test_an_artifact_may_be_a_page(store: ServerStore, server: Server, reply: type[Reply]) -> None:
    """The UI server does not tell the type of an artifact."""
    server.answers(reply(b"<html>report</html>", headers={"Content-Type": ""}))

    assert store.beginning("minio://bucket/key", 100) == b"<html>report</html>"


def test_an_answer_that_breaks_off_is_an_error(
    store: ServerStore, server: Server, reply: type[Reply]
) -> None:
    server.answers(reply(b"half", headers=TEXT, missing=10))

    with pytest.raises(Unreachable, match="ended the connection"):
        store.beginning("minio://bucket/key", 100)


def trickle(connection: Connection) -> None:
    connection.send(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 100000\r\n\r\n"
    )
    connection.trickle(b"x" * 100_000)


def test_a_slow_answer_ends_at_the_deadline() -> None:
    with hostile_server(trickle) as slow:
        http = ServiceClient(slow.url, Anonymous(), service="Kubeflow Pipelines", seconds=1.0)
        with pytest.raises(Unreachable, match="within 1 s"):
            ServerStore(Addresses(http), "", 1.0).beginning("minio://bucket/key", 100_000)
