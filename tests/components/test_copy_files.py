"""Copies between this machine, the stand-in of Cloud Storage, and two servers of S3."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kfp import dsl

from kfgcp.testing.storage import Storage
from kfgcp_components import copy_files
from kfgcp_components.data.copy_files import logic
from kfgcp_components.data.copy_files.checksums import compute
from kfgcp_components.data.copy_files.locations import locate
from kfgcp_components.data.copy_files.logic import Copy
from kfgcp_components.data.copy_files.stores import Cancelled, Entry, LocalStore
from kfgcp_components.outputs import part_path
from patience import PROCESS, wait_for
from s3_servers import REGION, SERVERS, S3Server, tree

pytest.importorskip("boto3", reason="the extra s3 is not installed")

FILES = {
    "a.txt": b"first",
    "empty": b"",
    "sub/b.bin": bytes(range(256)) * 9000,
    "sub/ü #?.txt": b"x",
}


def write_files(folder: Path, files: dict[str, bytes] = FILES) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def read_files(folder: Path) -> dict[str, bytes | None]:
    return {name: content for name, content in tree(folder).items() if content is not None}


def copied(source: object, target: object) -> dict[str, bool]:
    return {file.path: file.copied for file in Copy(str(source), str(target)).run()}


@pytest.fixture(scope="module")
def gcs_server() -> Iterator[Storage]:
    # make versions tests kfp 2.10 without it.
    pytest.importorskip("gcp_storage_emulator", reason="needs gcp-storage-emulator")
    storage = Storage(1)
    yield storage
    storage.close()


@pytest.fixture(scope="module", params=sorted(SERVERS))
def s3_server(request: pytest.FixtureRequest) -> Iterator[S3Server]:
    with SERVERS[request.param]() as server:
        yield server


@pytest.fixture
def gcs(gcs_server: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A bucket of Cloud Storage, as a URL."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs_server.endpoint)
    name = f"bucket-{hashlib.sha256(str(tmp_path).encode()).hexdigest()[:12]}"
    gcs_server.make_bucket(name)
    return f"gs://{name}"


@pytest.fixture
def s3(s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A bucket of S3, as a URL."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_server.secret_key)
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    name = f"bucket-{hashlib.sha256(str(tmp_path).encode()).hexdigest()[:12]}"
    s3_server.client().create_bucket(
        Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION}
    )
    return f"s3://{name}"


def check_round_trip(tmp_path: Path, bucket: str) -> None:
    """Copy a folder into a bucket and back. Copy again after a change."""
    source = write_files(tmp_path / "source")
    everything = dict.fromkeys(sorted(FILES), True)
    nothing = dict.fromkeys(sorted(FILES), False)
    assert copied(source, f"{bucket}/folder") == everything
    assert copied(f"{bucket}/folder", tmp_path / "back") == everything
    assert read_files(tmp_path / "back") == FILES
    assert copied(source, f"{bucket}/folder") == nothing
    assert copied(f"{bucket}/folder/", tmp_path / "back") == nothing
    assert copied(f"{bucket}/folder", f"{bucket}/other") == everything
    assert copied(f"{bucket}/folder", f"{bucket}/other") == nothing
    # The same size, but other content.
    (source / "a.txt").write_bytes(b"FIRST")
    assert copied(source, f"{bucket}/folder") == {**nothing, "a.txt": True}
    assert copied(f"{bucket}/folder/a.txt", f"{tmp_path}/single/") == {"a.txt": True}
    assert (tmp_path / "single" / "a.txt").read_bytes() == b"FIRST"
    assert copied(f"{bucket}/folder/a.txt", tmp_path / "renamed") == {"a.txt": True}
    assert (tmp_path / "renamed").read_bytes() == b"FIRST"
    with pytest.raises(FileNotFoundError, match=r"no file and no files below .*/nothing; check"):
        Copy(f"{bucket}/nothing", str(tmp_path / "x")).run()


def test_a_folder_goes_to_cloud_storage_and_back(tmp_path: Path, gcs: str) -> None:
    check_round_trip(tmp_path, gcs)
    (file,) = Copy(f"{gcs}/folder/sub/b.bin", str(tmp_path / "b")).run()
    # The checksum is the one of the service, in hexadecimal.
    algorithm, _, value = file.checksum.partition(":")
    expected = compute(tmp_path / "source" / "sub" / "b.bin", ["md5"])["md5"]
    assert (algorithm, value) == ("md5", expected)


def test_a_folder_goes_to_s3_and_back(tmp_path: Path, s3: str) -> None:
    check_round_trip(tmp_path, s3)


def test_a_folder_goes_from_cloud_storage_to_s3_and_back(tmp_path: Path, gcs: str, s3: str) -> None:
    source = write_files(tmp_path / "source")
    copied(source, gcs)
    assert set(copied(gcs, s3).values()) == {True}
    assert set(copied(gcs, s3).values()) == {False}
    assert set(copied(s3, f"{gcs}/again").values()) == {True}
    copied(f"{gcs}/again", tmp_path / "back")
    assert read_files(tmp_path / "back") == FILES


def test_a_file_in_parts_is_known_again_by_its_metadata(
    tmp_path: Path, s3: str, s3_server: S3Server
) -> None:
    large = tmp_path / "large"
    # boto3 uploads more than 8 MiB in parts, so the ETag is not the md5 of the file.
    large.write_bytes(os.urandom(9 << 20))
    assert copied(large, f"{s3}/large") == {"large": True}
    etag = s3_server.client().head_object(Bucket=s3.rpartition("/")[2], Key="large")["ETag"]
    if s3_server.checks_signatures:
        # moto does as S3 does. gofakes3 computes the md5 of the whole file.
        assert "-" in etag
    assert copied(large, f"{s3}/large") == {"large": False}
    assert copied(f"{s3}/large", tmp_path / "back") == {"large": True}
    assert (tmp_path / "back").read_bytes() == large.read_bytes()


def test_local_folders_are_copied_without_unfinished_files(tmp_path: Path) -> None:
    source = write_files(tmp_path / "source")
    part_path(source / "a.txt").write_bytes(b"unfinished")
    target = tmp_path / "target"
    assert copied(source, target) == dict.fromkeys(sorted(FILES), True)
    assert read_files(target) == FILES
    (target / "extra").write_bytes(b"stays")
    (target / "a.txt").write_bytes(b"fir")
    assert copied(source, target) == {**dict.fromkeys(sorted(FILES), False), "a.txt": True}
    assert read_files(target) == {**FILES, "extra": b"stays"}
    assert copied(f"file://{source}/a.txt", target / "sub") == {"a.txt": True}


def test_two_copies_to_one_file_do_not_share_an_unfinished_file(tmp_path: Path) -> None:
    target = tmp_path / "file"
    first, second = part_path(target), part_path(target)
    first.write_bytes(b"first")
    second.write_bytes(b"second")

    assert first.read_bytes() == b"first"
    assert first.parent == second.parent == target.parent


def test_checksums_are_those_of_the_standards(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"123456789")
    # The check value of CRC-32C (RFC 3720 and the catalogue of CRC parameters) is e3069283.
    assert compute(tmp_path / "file", ["sha256", "md5", "crc32c"]) == {
        "sha256": hashlib.sha256(b"123456789").hexdigest(),
        "md5": "25f9e794323b453885f5181f1b624d0b",
        "crc32c": "e3069283",
    }


class DamagedStore(LocalStore):
    """Loses a byte of each download."""

    def find(self, key: str) -> Entry | None:
        entry = super().find(key)
        if entry:
            checksums = compute(Path(key), ["md5"])
            return Entry(entry.key, entry.size, checksums)
        return None

    def download(self, entry: Entry, target: Path, cancelled: threading.Event) -> None:
        super().download(entry, target, cancelled)
        content = target.read_bytes()
        target.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def test_a_damaged_file_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "target").write_bytes(b"older")
    copy = Copy(str(tmp_path / "file"), str(tmp_path / "target"))
    source = copy._source
    copy._source = type(source)(source.text, DamagedStore(), source.key, is_folder=False)
    with pytest.raises(ValueError, match="has another md5 after the copy"):
        copy.run()
    assert sorted(os.listdir(tmp_path)) == ["file", "target"]
    assert (tmp_path / "target").read_bytes() == b"older"


@pytest.mark.parametrize("name", ["../escape", "a//b", "/etc/passwd", "x/../../y"])
def test_a_key_that_leads_out_of_the_target_is_refused(
    name: str, tmp_path: Path, s3: str, s3_server: S3Server
) -> None:
    s3_server.client().put_object(Bucket=s3.rpartition("/")[2], Key=f"in/{name}", Body=b"x")
    stored = s3_server.client().list_objects_v2(Bucket=s3.rpartition("/")[2]).get("Contents", [])
    if [item["Key"] for item in stored] != [f"in/{name}"]:
        pytest.skip("the server does not keep this key")
    with pytest.raises(ValueError, match="cannot be a path below"):
        Copy(f"{s3}/in", str(tmp_path / "out")).run()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ("", "x", "the source is empty; give a path"),
        ("x", " ", "the target is empty"),
        ("ftp://host/x", "y", "the source ftp://host/x is not a path and not a file, gs or s3 URL"),
        ("gs://", "y", "the source gs:// names no bucket; write gs://BUCKET/FOLDER"),
        ("file://host/x", "y", "the source file://host/x names a host"),
        ("x", "x/y", "the target x/y is the source or is inside it"),
        ("x", "./x", "the target ./x is the source or is inside it"),
    ],
)
def test_places_that_make_no_sense_are_refused(source: str, target: str, message: str) -> None:
    with pytest.raises(ValueError) as error:
        Copy(source, target)
    assert str(error.value).startswith(message)


def test_a_bucket_that_does_not_exist_is_named(tmp_path: Path, gcs: str) -> None:
    with pytest.raises(ConnectionError) as error:
        Copy(f"{gcs}-other/x", str(tmp_path / "y")).run()
    assert f"cannot copy at {gcs}-other/x: " in str(error.value)
    assert "\n" not in str(error.value)


def test_a_folder_in_the_way_of_a_file_is_named(tmp_path: Path) -> None:
    write_files(tmp_path / "source", {"a": b"1"})
    write_files(tmp_path / "target", {"a/b": b"2"})
    with pytest.raises(OSError, match=r"cannot copy at .*target: "):
        Copy(str(tmp_path / "source"), str(tmp_path / "target")).run()
    assert read_files(tmp_path / "target") == {"a/b": b"2"}


def test_a_cancelled_copy_leaves_no_partial_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_files(tmp_path / "source", {str(i): bytes(3 << 20) for i in range(12)})
    copy = Copy(str(source), str(tmp_path / "target"))
    started = threading.Event()

    def stop_in_the_middle(self: LocalStore, entry: Entry, target: Path, cancelled: Any) -> None:
        target.write_bytes(b"part")
        started.set()
        cancelled.wait(PROCESS)
        raise Cancelled

    monkeypatch.setattr(LocalStore, "download", stop_in_the_middle)
    threading.Thread(target=lambda: started.wait(PROCESS) and copy.cancel()).start()
    with pytest.raises(Cancelled):
        copy.run()
    assert read_files(tmp_path / "target") == {}


class CancelledLater(threading.Event):
    """An event that is set when it was looked at a few times."""

    def __init__(self, looks: int) -> None:
        super().__init__()
        self._looks = looks

    def is_set(self) -> bool:
        self._looks -= 1
        return self._looks < 0


def test_a_cancelled_upload_leaves_no_object_and_no_parts(
    tmp_path: Path, gcs: str, s3: str, s3_server: S3Server
) -> None:
    (tmp_path / "large").write_bytes(bytes(20 << 20))
    for bucket in (gcs, s3):
        store = locate(f"{bucket}/large", "target").store
        with pytest.raises(Cancelled):
            store.upload(tmp_path / "large", "large", {}, CancelledLater(1))
        assert store.find("large") is None
    uploads = s3_server.client().list_multipart_uploads(Bucket=s3.rpartition("/")[2])
    assert uploads.get("Uploads", []) == []


def test_sigterm_stops_a_real_copy_and_the_next_one_continues(tmp_path: Path, gcs: str) -> None:
    source = write_files(tmp_path / "source", {f"{i:03}": os.urandom(1 << 20) for i in range(60)})
    copied(source, gcs)
    target = tmp_path / "target"
    code = (
        "import sys\n"
        "from kfgcp_components.data.copy_files.logic import Copy\n"
        "copy = Copy(sys.argv[1], sys.argv[2])\n"
        "with copy.cancelled_by_signals():\n"
        "    print('started', flush=True)\n"
        "    copy.run()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, gcs, str(target)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    wait_for(lambda: (target / "002").exists(), PROCESS)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=PROCESS)
    complete = read_files(target)
    assert process.returncode != 0
    assert b"Cancelled" in errors
    assert 0 < len(complete) < 60
    for name, content in complete.items():
        assert content == (source / name).read_bytes()
    again = copied(gcs, target)
    assert {name for name, is_new in again.items() if not is_new} == set(complete)
    assert read_files(target) == read_files(source)


def test_the_component_writes_a_manifest(tmp_path: Path) -> None:
    source = write_files(tmp_path / "source", {"a": b"1", "b": b"22"})
    manifest = dsl.Artifact(name="manifest", uri=str(tmp_path / "manifest"))
    arguments = {"source": str(source), "target": str(tmp_path / "target"), "manifest": manifest}
    assert copy_files.python_func(**arguments) == (2, 0)
    assert copy_files.python_func(**arguments) == (0, 2)
    content = json.loads(Path(manifest.path).read_text())
    assert content["files"][1] == {
        "path": "b",
        "size": 2,
        "checksum": f"sha256:{hashlib.sha256(b'22').hexdigest()}",
        "copied": False,
    }
    assert manifest.metadata["bytes"] == 3


def test_a_missing_client_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    monkeypatch.delitem(sys.modules, "kfgcp_components.data.copy_files.s3", raising=False)
    with pytest.raises(ImportError, match=r"needs more packages: pip install 'kfgcp\[s3\]'"):
        Copy("s3://bucket/x", "y")


def test_cloud_storage_gives_crc32c_in_base64(tmp_path: Path, gcs: str) -> None:
    (tmp_path / "file").write_bytes(b"123456789")
    copied(tmp_path / "file", f"{gcs}/file")
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import storage

    client = storage.Client(project="p", credentials=AnonymousCredentials())
    blob = client.bucket(gcs.rpartition("/")[2]).get_blob("file")
    assert base64.b64decode(blob.crc32c).hex() == "e3069283"
    assert logic._available() == ["sha256", "md5", "crc32c"]


def gcs_bucket(url: str) -> Any:
    """Return a bucket of the stand-in with the client of Google."""
    storage = pytest.importorskip("google.cloud.storage")
    return storage.Client.create_anonymous_client().bucket(url.rpartition("/")[2])


@pytest.fixture
def compressed_object(gcs: str) -> bytes:
    """Put a CSV file into the bucket as gzip, and return the stored bytes."""
    content = gzip.compress(b"a,b\n1,2\n" * 100, mtime=0)
    blob = gcs_bucket(gcs).blob("in/table.csv")
    blob.content_encoding = "gzip"
    blob.upload_from_string(content, content_type="text/csv")
    return content


def test_a_compressed_object_is_copied_as_stored_with_its_type(
    tmp_path: Path, gcs: str, compressed_object: bytes
) -> None:
    (to_bucket,) = Copy(f"{gcs}/in", f"{gcs}/out").run()
    (to_file,) = Copy(f"{gcs}/in", str(tmp_path / "out")).run()

    expected = f"md5:{hashlib.md5(compressed_object, usedforsecurity=False).hexdigest()}"
    assert (to_bucket.checksum, to_file.checksum) == (expected, expected)
    assert (tmp_path / "out/table.csv").read_bytes() == compressed_object
    blob = gcs_bucket(gcs).get_blob("out/table.csv")
    assert (blob.content_type, blob.content_encoding) == ("text/csv", "gzip")
    assert blob.download_as_bytes(raw_download=True) == compressed_object


def test_a_compressed_object_keeps_its_type_in_s3_and_back(
    tmp_path: Path, gcs: str, s3: str, s3_server: S3Server, compressed_object: bytes
) -> None:
    copied(f"{gcs}/in", f"{s3}/in")
    copied(f"{s3}/in", f"{gcs}/back")

    head = s3_server.client().get_object(Bucket=s3.rpartition("/")[2], Key="in/table.csv")
    assert head["Body"].read() == compressed_object
    assert head["ContentType"] == "text/csv"
    assert head["ContentEncoding"].split(",")[0] == "gzip"
    blob = gcs_bucket(gcs).get_blob("back/table.csv")
    assert (blob.content_type, blob.content_encoding) == ("text/csv", "gzip")


def test_a_linked_folder_is_named_and_not_copied(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_files(tmp_path / "source", {"a": b"1"})
    (source / "linked").symlink_to(write_files(tmp_path / "other", {"b": b"2"}))
    assert copied(source, tmp_path / "target") == {"a": True}
    line = json.loads(capsys.readouterr().out)
    assert line["severity"] == "WARNING"
    assert line["message"].startswith(f"{source / 'linked'} is a link to a folder")


def test_a_folder_is_not_copied_into_itself_or_over_itself(tmp_path: Path, gcs: str) -> None:
    source = write_files(tmp_path / "a" / "b", {"b/x": b"1", "x": b"2"})
    (tmp_path / "link").symlink_to(source)
    copied(source, f"{gcs}/a/b")
    for place, target in [
        (source, source),
        (source, f"{source}/"),
        (source, source / "c"),
        (source, tmp_path / "a"),
        (source, tmp_path / "link"),
        (tmp_path / "link", source),
        (f"{gcs}/a/b", f"{gcs}/a/b/"),
        (f"{gcs}/a/b", f"{gcs}/a/b/c"),
        (f"{gcs}/a/b", f"{gcs}/a"),
        (f"{gcs}/a/b", gcs),
    ]:
        with pytest.raises(ValueError, match=r"choose another target") as error:
            Copy(str(place), str(target)).run()
        assert "\n" not in str(error.value)
    assert read_files(source) == {"b/x": b"1", "x": b"2"}
