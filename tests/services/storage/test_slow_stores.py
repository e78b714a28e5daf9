"""A store that sends its answer a byte at a time, or never ends, does not keep a look or a transfer
busy for ever."""

import json
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from certificates import Certificates
from hostile_http import Connection, HostileServer, hostile_server
from kfgcp.bucket_settings import BucketSettings
from kfgcp.errors import Unreachable
from kfgcp.services.storage import connect, downloads, objects, preview, retry
from kfgcp.services.storage.problems import StorageProblem

SETTINGS = BucketSettings(request_seconds=1)
FIRST_LINE = b"HTTP/1.1 200 OK\r\n"
SIZE = 100_000
SCHEMES = ("gs", "s3", "minio")
LATE = "no answer within 1 s"
STUCK = "less than 256 KiB were transferred within 1 s"


def trickle_headers(connection: Connection) -> None:
    connection.send(FIRST_LINE)
    connection.trickle(b"X-Header: " + b"x" * SIZE)


def trickle_body(connection: Connection) -> None:
    connection.send(FIRST_LINE + b"Content-Length: %d\r\n\r\n" % SIZE)
    connection.trickle(b"x" * SIZE)


def answer(connection: Connection, body: bytes, *headers: bytes) -> None:
    # The connection is closed after the answer. A client that is not told so may send its next
    # request on it.
    lines = b"".join(header + b"\r\n" for header in (*headers, b"Connection: close"))
    connection.send(FIRST_LINE + b"Content-Length: %d\r\n%s\r\n%s" % (len(body), lines, body))


def trickle_content(connection: Connection) -> None:
    """Say at once what the object is, and send its content a byte at a time."""
    method, target, _ = connection.request.split(b" ", 2)
    if method == b"HEAD":
        connection.send(FIRST_LINE + b'Content-Length: %d\r\nETag: "1"\r\n\r\n' % SIZE)
    elif target.startswith(b"/storage/"):
        fields = {
            "kind": "storage#object",
            "name": "key",
            "bucket": "bucket",
            "size": str(SIZE),
            "generation": "1",
        }
        answer(connection, json.dumps(fields).encode(), b"Content-Type: application/json")
    else:
        trickle_body(connection)


def endless_list(connection: Connection) -> None:
    """Answer each page of a list at once, with another page after it."""
    method, target, _ = connection.request.decode().split(" ", 2)
    url = urlsplit(target)
    query = parse_qs(url.query)
    if method == "HEAD" or "/o/" in url.path:
        connection.send(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    elif url.path.startswith("/storage/"):
        number = int(query.get("pageToken", ["0"])[0])
        items = [{"name": f"key/{number}", "bucket": "bucket", "size": "1", "generation": "1"}]
        body = json.dumps(
            {"kind": "storage#objects", "items": items, "nextPageToken": str(number + 1)}
        )
        answer(connection, body.encode(), b"Content-Type: application/json")
    else:
        number = int(query.get("continuation-token", ["0"])[0])
        items = f"<Contents><Key>key/{number}</Key><Size>1</Size></Contents>"
        token = f"<NextContinuationToken>{number + 1}</NextContinuationToken>"
        more = f"<IsTruncated>true</IsTruncated>{token}"
        answer(connection, f"<ListBucketResult>{more}{items}</ListBucketResult>".encode())


def never_read(connection: Connection) -> None:
    connection.hold()


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., HostileServer]]:
    """Start a store of each kind, which has answered the first request."""
    contexts = []

    def start(answer: Callable[[Connection], None], **options: Any) -> HostileServer:
        context = hostile_server(answer, **options)
        server = context.__enter__()
        contexts.append(context)
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        return server

    monkeypatch.delenv("AWS_ENDPOINT_URL_S3", raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr(connect._REACHABILITY, "ensure_reachable", lambda *_: None)
    yield start
    for context in contexts:
        context.__exit__(None, None, None)


@pytest.fixture(params=[trickle_headers, trickle_body], ids=["headers", "body"])
def store(request: pytest.FixtureRequest, serve: Callable[..., HostileServer]) -> HostileServer:
    return serve(request.param)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_look_at_an_object(store: HostileServer, scheme: str) -> None:
    with pytest.raises(Unreachable) as caught:
        preview.read_beginning(f"{scheme}://bucket/key", 100, SETTINGS)

    assert caught.value.message == f"{scheme}://bucket/key cannot be read: {LATE}"
    assert caught.value.exit_code == 5


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_list_of_objects(store: HostileServer, scheme: str) -> None:
    with pytest.raises(Unreachable, match=f"cannot be read: {LATE}"):
        preview.list_names(f"{scheme}://bucket/key", 100, SETTINGS)


@pytest.mark.parametrize("store", [trickle_headers], indirect=True)  # S3 asks for the headers alone
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("look", [objects.exists, objects.check_root])
def test_a_look_before_a_task_starts(
    store: HostileServer, scheme: str, look: Callable[[str, BucketSettings], object]
) -> None:
    with pytest.raises(StorageProblem, match=LATE):
        look(f"{scheme}://bucket/key", SETTINGS)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_download_of_a_byte_at_a_time(
    serve: Callable[..., HostileServer], scheme: str, tmp_path: Path
) -> None:
    serve(trickle_content)

    with pytest.raises(StorageProblem) as caught:
        objects.download(f"{scheme}://bucket/key", tmp_path / "copy", SETTINGS)

    assert str(caught.value) == f"{scheme}://bucket/key cannot be read: {STUCK}"
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_folder_whose_list_never_ends(
    serve: Callable[..., HostileServer], scheme: str, tmp_path: Path
) -> None:
    serve(endless_list)

    with pytest.raises(
        StorageProblem, match=rf"^{scheme}://bucket/key cannot be read: .* within 1 s$"
    ):
        objects.download(f"{scheme}://bucket/key", tmp_path / "copy", SETTINGS)

    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_folder_with_too_many_objects(
    serve: Callable[..., HostileServer],
    scheme: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    serve(endless_list)
    monkeypatch.setattr(downloads, "MAX_OBJECTS", 3)

    with pytest.raises(StorageProblem, match="cannot be read: the folder has more than 3 objects"):
        objects.download(f"{scheme}://bucket/key", tmp_path / "copy")


@pytest.mark.parametrize("answer", [trickle_headers, never_read], ids=["headers", "silence"])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_an_upload_that_gets_no_answer(
    serve: Callable[..., HostileServer],
    scheme: str,
    answer: Callable[[Connection], None],
    tmp_path: Path,
) -> None:
    serve(answer)
    file = tmp_path / "file"
    file.write_bytes(b"x" * SIZE)

    with pytest.raises(StorageProblem) as caught:
        objects.upload(f"{scheme}://bucket/key", file, SETTINGS)

    assert str(caught.value) == f"{scheme}://bucket/key cannot be written: {STUCK}"


@pytest.mark.parametrize("scheme", SCHEMES)
def test_an_upload_that_the_store_does_not_read(
    serve: Callable[..., HostileServer], scheme: str, tmp_path: Path
) -> None:
    """More than the buffers of both sides hold, to a server that reads nothing."""
    serve(never_read, reads_requests=False)
    file = tmp_path / "file"
    with file.open("wb") as content:
        content.truncate(30_000_000)

    with pytest.raises(StorageProblem, match=f"cannot be written: {STUCK}"):
        objects.upload(f"{scheme}://bucket/key", file, SETTINGS)


@pytest.mark.parametrize("content", [trickle_headers, trickle_body], ids=["headers", "body"])
def test_a_store_with_tls(
    serve: Callable[..., HostileServer],
    content: Callable[[Connection], None],
    certificates: Certificates,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.leaf, certificates.key)
    server = serve(content, tls=context)
    monkeypatch.setenv("AWS_CA_BUNDLE", str(certificates.authority))
    # The thread that waits is not what ends this: the sockets do.
    monkeypatch.setattr(retry, "call_within", lambda _, function: function())

    with pytest.raises(Unreachable, match=f"cannot be read: {LATE}"):
        preview.read_beginning(
            "s3://bucket/key", 100, BucketSettings(s3_endpoint=server.url, request_seconds=1)
        )


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_sockets_of_each_library_end_a_look(
    store: HostileServer, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No thread is left that still reads."""
    monkeypatch.setattr(retry, "call_within", lambda _, function: function())

    with pytest.raises(Unreachable, match=f"cannot be read: {LATE}"):
        preview.read_beginning(f"{scheme}://bucket/key", 100, SETTINGS)
