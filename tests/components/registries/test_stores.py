"""Folders of this machine, of Cloud Storage and of S3, which hold registries."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from kfgcp.testing import VertexStandIn
from kfgcp_components.storage import StorageError, Store, open_store
from patience import PROCESS
from s3_servers import REGION, forget_s3_settings

BUCKETS = ["gs", "gofakes3", "moto"]
"""The kinds of stores that a client library reads and writes."""


def test_an_object_is_created_once(store: Store) -> None:
    assert store.read("a/b.json") is None
    assert store.create("a/b.json", b"first") is True
    assert store.create("a/b.json", b"second") is False
    assert store.read("a/b.json") == b"first"


def test_of_many_threads_one_creates_an_object(store: Store) -> None:
    results: list[bool] = []
    start = threading.Barrier(6)

    def create(number: int) -> None:
        start.wait(PROCESS)
        results.append(store.create("who", f"{number}".encode()))

    threads = [threading.Thread(target=create, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PROCESS)
    assert sorted(results) == [False] * 5 + [True]


def test_files_are_replaced_listed_and_downloaded(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "file"
    for text in ("old", "new"):
        file.write_text(text)
        store.replace("folder/x y", file)
    store.create("folder/sub/z", b"z")
    store.create("folder-2", b"other")

    assert store.keys("folder/") == ["folder/sub/z", "folder/x y"]
    assert store.keys("folder/x") == ["folder/x y"]
    assert store.keys("missing/") == []
    store.download("folder/x y", tmp_path / "copy")
    assert (tmp_path / "copy").read_text() == "new"


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("", "the URI of the folder is empty"),
        ("https://host/folder", "cannot use https://host/folder"),
        ("gs:///folder", "names no bucket"),
        ("s3://", "names no bucket"),
    ],
)
def test_a_uri_that_is_not_a_folder(uri: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        open_store(uri)


@pytest.mark.parametrize("store", BUCKETS, indirect=True)
def test_marks_of_folders_are_not_files(store: Store, tmp_path: Path) -> None:
    """Cloud Storage FUSE and consoles mark a folder with an empty object."""
    store.create("churn/", b"")
    store.create("churn/a", b"a")

    assert store.keys("churn/") == ["churn/a"]


def test_names_of_objects_are_taken_as_they_are(stand_in: VertexStandIn) -> None:
    assert open_store("gs://bucket/run#1/a%20b/").uri == "gs://bucket/run#1/a%20b"


class Refusal(BaseHTTPRequestHandler):
    """Refuses each request of a client of Cloud Storage and of S3, as their servers do."""

    content_type = "application/json"
    content = b'{"error": {"code": 403, "message": "no access\\nfor you"}}'

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(403)
        self.send_header("Content-Type", self.content_type)
        self.send_header("Content-Length", str(len(self.content)))
        self.end_headers()
        # An answer to HEAD has no content (RFC 9110, 9.3.2). The client does not read it, so it can
        # close the connection while the server writes.
        if self.command != "HEAD":
            self.wfile.write(self.content)

    do_HEAD = do_PUT = do_POST = do_GET  # noqa: N815 - the names of http.server

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def refusing_server() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Refusal)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(params=["gs", "s3"])
def refusing_store(
    request: pytest.FixtureRequest,
    refusing_server: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Store:
    """A store whose server answers each request with 403."""
    pytest.importorskip("google.cloud.storage" if request.param == "gs" else "boto3")
    forget_s3_settings(monkeypatch, tmp_path)
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", refusing_server)
    monkeypatch.setenv("AWS_ENDPOINT_URL", refusing_server)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    return open_store(f"{request.param}://locked/registry")


@pytest.mark.parametrize("method", ["read", "create", "replace", "keys", "download"])
def test_a_refusal_of_a_store_is_one_line_that_names_the_uri(
    refusing_store: Store, tmp_path: Path, method: str
) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"x")
    arguments: dict[str, tuple[object, ...]] = {
        "create": ("a.json", b"x"),
        "replace": ("a.json", file),
        "download": ("a.json", file),
    }

    with pytest.raises(StorageError) as error:
        getattr(refusing_store, method)(*arguments.get(method, ("a.json",)))

    assert str(error.value).startswith(f"cannot use {refusing_store.uri}")
    assert "403" in str(error.value) or "Forbidden" in str(error.value)
    assert "credentials" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("store", BUCKETS, indirect=True)
def test_a_full_disk_is_not_blamed_on_the_store(store: Store, tmp_path: Path) -> None:
    store.create("large", bytes(1 << 20))
    # Each write to this device fails as on a full disk. A client may remove the link.
    (tmp_path / "full").symlink_to("/dev/full")

    with pytest.raises(StorageError) as error:
        store.download("large", tmp_path / "full")

    message = f"cannot use {store.uri}/large: [Errno 28] No space left on device, on this machine"
    assert str(error.value) == message


@pytest.mark.parametrize("store", BUCKETS, indirect=True)
def test_a_file_that_cannot_be_written_is_not_blamed_on_the_store(
    store: Store, tmp_path: Path
) -> None:
    store.create("small", b"x")

    with pytest.raises(StorageError, match=r"missing.*, on this machine$") as error:
        store.download("small", tmp_path / "missing/file")
    assert "credentials" not in str(error.value)


def test_all_keys_of_a_store(store: Store, tmp_path: Path) -> None:
    (tmp_path / "beside").touch()
    assert store.keys("") == []
    store.create("b/2", b"")
    store.create("a", b"")
    assert store.keys("") == ["a", "b/2"]
    assert store.keys("b/") == ["b/2"]


def test_a_list_of_a_folder_reads_only_this_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(str(tmp_path / "store"))
    store.create("a/sub/1", b"")
    store.create("b/2", b"")
    folders: list[str] = []
    scandir = os.scandir

    def record(path: str) -> object:
        folders.append(os.fspath(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", record)

    assert store.keys("a/") == ["a/sub/1"]
    assert set(folders) == {str(tmp_path / "store/a"), str(tmp_path / "store/a/sub")}


def test_a_bucket_that_does_not_exist_is_not_an_empty_registry(stand_in: VertexStandIn) -> None:
    store = open_store("gs://no-such-bucket/registry")
    with pytest.raises(StorageError, match="cannot use gs://no-such-bucket/registry/a: 404"):
        store.read("a")


def test_missing_credentials_are_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("google.cloud.storage")
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "missing.json"))
    with pytest.raises(StorageError, match=r"^cannot use gs://bucket/folder: .*missing\.json"):
        open_store("gs://bucket/folder")


def test_a_server_that_is_not_there_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("boto3")
    forget_s3_settings(monkeypatch, tmp_path)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(StorageError, match=r"^cannot use s3://bucket/folder: .*connect"):
        open_store("s3://bucket/folder").keys("")
