"""Uploads in parts to a bucket whose answers get lost."""

import os
from collections.abc import Iterator
from io import RawIOBase
from pathlib import Path
from typing import Any

import pytest

from kfgcp.services.storage import retry, uploads
from kfgcp.services.storage.bucket import Sink, StoredObject
from patience import REQUEST

PART = 1000


class Refusal(Exception):
    """An answer of the service, as botocore raises it."""

    def __init__(self) -> None:
        super().__init__("there is no such upload")
        self.response = {"ResponseMetadata": {"HTTPStatusCode": 404}}


class MemoryBucket:
    """A bucket in memory.

    Args:
        lost_answers: how many requests to put parts together are carried out, or not, without an
            answer.
        carries_out: whether they are carried out.
    """

    part_bytes = PART

    def __init__(self, lost_answers: int = 0, *, carries_out: bool = True) -> None:
        self.objects: dict[str, bytes] = {}
        self.versions = 0
        self.abandoned = False
        self.parts: dict[int, bytes] = {}
        self._lost_answers = lost_answers
        self._carries_out = carries_out

    def find(self, key: str) -> StoredObject | None:
        content = self.objects.get(key)
        return None if content is None else StoredObject(key, len(content), str(self.versions))

    def pages(self, prefix: str, limit: int) -> Iterator[list[StoredObject]]:
        raise AssertionError("uploads do not ask for this")

    def read_beginning(self, key: str, size: int) -> bytes:
        raise AssertionError("uploads do not ask for this")

    def read(self, stored: StoredObject, start: int, end: int | None, sink: Sink) -> None:
        raise AssertionError("uploads do not ask for this")

    def upload(self, key: str, body: RawIOBase, size: int) -> None:
        self.objects[key] = body.read(size) or b""
        self.versions += 1

    def start_parts(self, key: str) -> Any:
        bucket = self

        class Parts:
            is_open = True

            def upload(self, number: int, body: RawIOBase, size: int) -> None:
                bucket.parts[number] = body.read(size) or b""

            def finish(self) -> None:
                if not self.is_open:
                    raise Refusal
                lost = bucket._lost_answers > 0
                if not lost or bucket._carries_out:
                    self.is_open = False
                    bucket.objects[key] = b"".join(
                        bucket.parts[number] for number in sorted(bucket.parts)
                    )
                    bucket.versions += 1
                if lost:
                    bucket._lost_answers -= 1
                    raise ConnectionError("the answer is lost")

            def abort(self) -> None:
                bucket.abandoned = True

        return Parts()


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(retry, "FIRST_PAUSE", 0.0)
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * 10)
    return path


def test_the_parts_are_in_order(file: Path) -> None:
    bucket = MemoryBucket()

    uploads.upload(bucket, "key", file, REQUEST)

    assert bucket.objects == {"key": file.read_bytes()}
    assert {number: len(part) for number, part in bucket.parts.items()} == {
        1: 1000,
        2: 1000,
        3: 560,
    }


@pytest.mark.parametrize(
    "before", [None, bytes(2560)], ids=["nothing before", "an object of the same size before"]
)
def test_an_object_whose_last_answer_was_lost_is_there(file: Path, before: bytes | None) -> None:
    """MinIO and moto answer the repeated request with an error."""
    bucket = MemoryBucket(lost_answers=1)
    if before is not None:
        bucket.objects["key"] = before

    uploads.upload(bucket, "key", file, REQUEST)

    assert bucket.objects == {"key": file.read_bytes()}
    assert not bucket.abandoned


def test_an_old_object_of_the_same_size_is_not_taken_for_the_new_one(file: Path) -> None:
    bucket = MemoryBucket(lost_answers=100, carries_out=False)
    bucket.objects["key"] = bytes(2560)

    with pytest.raises(ConnectionError, match="the answer is lost"):
        uploads.upload(bucket, "key", file, REQUEST)

    assert bucket.abandoned


def test_a_link_to_a_folder_above_has_an_end(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "inner").mkdir(parents=True)
    (folder / "inner" / "file").write_bytes(b"1")
    (folder / "inner" / "up").symlink_to(folder)
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "other").write_bytes(b"2")
    bucket = MemoryBucket()

    uploads.upload(bucket, "model", folder, REQUEST)

    assert bucket.objects == {"model/inner/file": b"1", "model/link/other": b"2"}


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(OSError, match="is not a regular file"):
        uploads.upload(MemoryBucket(), "model", tmp_path, REQUEST)
