"""A store that sends its answer a byte at a time does not keep a look at it, or a transfer, busy for ever."""

from collections.abc import Callable, Iterator

import pytest
import requests

from hostile_http import Connection, HostileServer, hostile_server
from kfgcp.engine import objects, remote
from kfgcp.engine.values import ValueProblem
from kfgcp.errors import Unreachable

FIRST_LINE = b"HTTP/1.1 200 OK\r\n"
LONG = b"x" * 100_000
SCHEMES = ("gs", "s3", "minio")


def trickle_headers(connection: Connection) -> None:
    connection.send(FIRST_LINE)
    connection.trickle(b"X-Header: " + LONG)


def trickle_body(connection: Connection) -> None:
    connection.send(FIRST_LINE + b"Content-Length: 100000\r\n\r\n")
    connection.trickle(LONG)


@pytest.fixture(params=[trickle_headers, trickle_body], ids=["headers", "body"])
def store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[HostileServer]:
    """A store of each kind, which has answered the first request."""
    with hostile_server(request.param) as server:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        monkeypatch.delenv("AWS_ENDPOINT_URL_S3", raising=False)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        monkeypatch.setattr(remote._CONTACTS, "ensure", lambda *_: None)
        monkeypatch.setattr(remote, "LOOK_SECONDS", 1.0)
        monkeypatch.setattr(objects, "LOOK_SECONDS", 1.0)
        yield server


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_look_at_an_object(store: HostileServer, scheme: str) -> None:
    with pytest.raises(Unreachable) as caught:
        objects.beginning(f"{scheme}://bucket/key", 100)

    assert caught.value.message == f"{scheme}://bucket/key cannot be read: no answer within 1 s"


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_list_of_objects(store: HostileServer, scheme: str) -> None:
    with pytest.raises(Unreachable, match="cannot be read: no answer within 1 s"):
        objects.below(f"{scheme}://bucket/key", 100)


@pytest.mark.parametrize("store", [trickle_headers], indirect=True)  # S3 asks for the headers alone
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("look", [remote.exists, remote.check])
def test_a_look_before_a_task_starts(store: HostileServer, scheme: str, look: Callable[[str], object]) -> None:
    with pytest.raises(ValueProblem, match="no answer within 1 s"):
        look(f"{scheme}://bucket/key")


def test_a_download_from_cloud_storage_gets_its_headers_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The body of a download may take any time while bytes come; its headers may not."""
    monkeypatch.setattr("kfgcp.sockets.REQUEST_SECONDS", 1.0)
    with hostile_server(trickle_headers) as server:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
        blob = remote.client("gs://bucket/key").client.bucket("bucket").blob("key")

        with pytest.raises(requests.RequestException):
            blob.download_as_bytes(retry=None)
