"""Odd names of files and keys, and empty folders, on servers that speak the protocol of S3."""

from contextlib import closing
from pathlib import Path

import pytest

from kfgcp.engine import bucket_copies
from kfgcp.services.storage import gcs, objects, preview, s3
from kfgcp.services.storage.bucket import StoredObject
from kfgcp.services.storage.problems import StorageProblem
from kfgcp.testing.storage import Storage
from s3_servers import S3Server, tree
from s3_trees import BUCKET, keys, settings, write_tree

ODD_NAMES = (
    "with space.txt",
    " first",
    "ünïcode-日本-😀.txt",
    "100%.txt",
    "a%20b",
    "a+b",
    "question?mark#hash",
    "quote'\"&<>",
    "semi;colon=equals,comma@at$dollar!",
    "back\\slash",
    "tilde~(brackets)[square]{curly}",
    "deep/er/and/deeper/file",
    ".hidden",
)


@pytest.mark.usefixtures("signed_in")
def test_odd_names_in_a_folder(server: S3Server, tmp_path: Path) -> None:
    uri = f"s3://{BUCKET}/odd names/mödel+%20"
    place = bucket_copies.copy_path(uri, tmp_path / "there")
    write_tree(place, ODD_NAMES)

    bucket_copies.upload(uri, tmp_path / "there", settings(server.url))
    bucket_copies.download(f"{uri}/", tmp_path / "back", settings(server.url))

    assert keys(server, "odd names/") == sorted(f"odd names/mödel+%20/{name}" for name in ODD_NAMES)
    assert tree(bucket_copies.copy_path(uri, tmp_path / "back")) == tree(place)


@pytest.mark.usefixtures("signed_in")
@pytest.mark.parametrize("name", ODD_NAMES)
def test_an_odd_name_of_an_object(server: S3Server, name: str, tmp_path: Path) -> None:
    server.client().put_object(Bucket=BUCKET, Key=f"objects/{name}", Body=name.encode())
    uri = f"minio://{BUCKET}/objects/{name}"

    bucket_copies.download(uri, tmp_path, settings(server.url))

    assert bucket_copies.copy_path(uri, tmp_path).read_bytes() == name.encode()
    assert preview.read_beginning(uri, 100, settings(server.url)) == name.encode()


@pytest.mark.usefixtures("signed_in")
def test_an_empty_folder(server: S3Server, tmp_path: Path) -> None:
    """It becomes an object whose key ends with a slash, as the console of S3 writes it."""
    uri = f"s3://{BUCKET}/empty/folder"
    bucket_copies.copy_path(uri, tmp_path / "there").mkdir(parents=True)

    bucket_copies.upload(uri, tmp_path / "there", settings(server.url))

    assert keys(server, "empty/") == ["empty/folder/"]
    assert objects.exists(uri, settings(server.url))
    bucket_copies.download(uri, tmp_path / "back", settings(server.url))
    assert tree(bucket_copies.copy_path(uri, tmp_path / "back")) == {}


@pytest.mark.usefixtures("signed_in")
def test_an_empty_file_and_an_empty_folder_in_a_folder(server: S3Server, tmp_path: Path) -> None:
    uri = f"s3://{BUCKET}/sparse"
    place = bucket_copies.copy_path(uri, tmp_path / "there")
    (place / "nothing in it").mkdir(parents=True)
    (place / "empty.txt").touch()

    bucket_copies.upload(uri, tmp_path / "there", settings(server.url))
    bucket_copies.download(uri, tmp_path / "back", settings(server.url))

    assert tree(bucket_copies.copy_path(uri, tmp_path / "back")) == {
        "nothing in it": None,
        "empty.txt": b"",
    }


@pytest.mark.usefixtures("signed_in")
@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (("a", "a/b"), "the object 'clash/a' is a file, but other objects need a folder"),
        (("a/b", "a//b"), "would be the same file"),
        (("../up",), "the name of the object 'clash/../up' in this folder cannot be a file path"),
    ],
)
def test_keys_that_cannot_be_files(
    server: S3Server,
    names: tuple[str, ...],
    reason: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Only the list is ours: some servers refuse such keys, but S3 does not."""
    stored = [StoredObject(f"clash/{name}", 1, "") for name in names]
    monkeypatch.setattr(s3.S3Bucket, "pages", lambda *_: iter([stored]))

    with pytest.raises(StorageProblem) as caught:
        bucket_copies.download(f"s3://{BUCKET}/clash", tmp_path, settings(server.url))

    assert str(caught.value).startswith(f"s3://{BUCKET}/clash cannot be read: ")
    assert reason in str(caught.value)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_folder_of_cloud_storage_with_odd_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same with the emulator of Cloud Storage."""
    with closing(Storage(1)) as storage:
        storage.make_bucket(BUCKET)
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", storage.endpoint)
        gcs._client_at.cache_clear()
        uri = f"gs://{BUCKET}/odd names/model"
        place = bucket_copies.copy_path(uri, tmp_path / "there")
        write_tree(place, ODD_NAMES)
        (place / "empty").mkdir()

        bucket_copies.upload(uri, tmp_path / "there")
        bucket_copies.download(uri, tmp_path / "back")

    assert tree(bucket_copies.copy_path(uri, tmp_path / "back")) == tree(place)
