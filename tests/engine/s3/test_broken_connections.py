"""Copies continue where a connection was cut, and leave nothing when they fail."""

import random
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from kfgcp.engine import bucket_copies
from kfgcp.services.storage import retry
from kfgcp.services.storage.problems import StorageProblem
from kfgcp.testing.storage import Storage
from s3_servers import CuttingProxy, S3Server, free_port, tree
from s3_trees import BUCKET, MIB, digest_of, random_file, settings


@pytest.fixture
def proxy(server: S3Server) -> Iterator[Callable[..., CuttingProxy]]:
    proxies = []

    def start(**options: Any) -> CuttingProxy:
        proxies.append(CuttingProxy(server.port, **options))
        return proxies[-1]

    yield start
    for proxy in proxies:
        proxy.close()


@pytest.mark.usefixtures("signed_in")
def test_a_download_continues_where_it_was_cut(
    server: S3Server,
    proxy: Callable[..., CuttingProxy],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(retry, "FIRST_PAUSE", 0.0)
    size = 10 * MIB
    digest = random_file(tmp_path / "file", size, random.Random(1))  # noqa: S311
    server.client().upload_file(str(tmp_path / "file"), BUCKET, "cut.bin")
    between = proxy(cut_after=MIB, cuts=8)

    bucket_copies.download(f"s3://{BUCKET}/cut.bin", tmp_path, settings(between.url))

    assert digest_of(bucket_copies.copy_path(f"s3://{BUCKET}/cut.bin", tmp_path)) == digest
    assert between.cuts == 8
    # Each cut costs what was read since the last whole piece, and no more. Starting again would
    # cost megabytes.
    assert between.passed < size + 9 * retry.PIECE_BYTES


def test_a_download_from_cloud_storage_continues_where_it_was_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "FIRST_PAUSE", 0.0)
    size = 10 * MIB
    digest = random_file(
        bucket_copies.copy_path(f"gs://{BUCKET}/cut.bin", tmp_path / "there"),
        size,
        random.Random(3),  # noqa: S311
    )
    port = free_port()
    between = CuttingProxy(port, cut_after=MIB, cuts=8)
    with (
        closing(between),
        closing(Storage(1, port, [between.url.removeprefix("http://")])) as storage,
    ):
        storage.make_bucket(BUCKET)
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", storage.endpoint)
        bucket_copies.upload(f"gs://{BUCKET}/cut.bin", tmp_path / "there")
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", between.url)

        bucket_copies.download(f"gs://{BUCKET}/cut.bin", tmp_path / "back")

    assert digest_of(bucket_copies.copy_path(f"gs://{BUCKET}/cut.bin", tmp_path / "back")) == digest
    assert between.cuts == 8
    assert between.passed < size + 9 * retry.PIECE_BYTES


@pytest.mark.usefixtures("signed_in")
def test_a_download_that_is_cut_again_and_again_leaves_nothing(
    server: S3Server,
    proxy: Callable[..., CuttingProxy],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(retry, "FIRST_PAUSE", 0.0)
    random_file(tmp_path / "file", 3 * MIB, random.Random(2))  # noqa: S311
    server.client().upload_file(str(tmp_path / "file"), BUCKET, "stuck.bin")
    between = proxy(cut_after=100_000, cuts=1_000_000)

    with pytest.raises(StorageProblem, match=r"^s3://artifacts/stuck.bin cannot be read: "):
        bucket_copies.download(f"s3://{BUCKET}/stuck.bin", tmp_path / "back", settings(between.url))

    assert tree(tmp_path / "back") == {"s3": None, f"s3/{BUCKET}": None}
    assert between.cuts == retry.MAX_FAILURES


@pytest.mark.usefixtures("signed_in")
def test_an_object_that_changes_while_it_is_copied(
    server: S3Server,
    proxy: Callable[..., CuttingProxy],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No file is put together from two versions."""
    monkeypatch.setattr(retry, "FIRST_PAUSE", 0.0)
    client = server.client()
    client.put_object(Bucket=BUCKET, Key="changing.bin", Body=b"1" * 5 * MIB)
    between = proxy(
        cut_after=MIB,
        cuts=1,
        on_cut=lambda: client.put_object(Bucket=BUCKET, Key="changing.bin", Body=b"2" * 5 * MIB),
    )

    with pytest.raises(
        StorageProblem, match=r"cannot be read: something else changed the file at the same time$"
    ):
        bucket_copies.download(
            f"s3://{BUCKET}/changing.bin", tmp_path / "back", settings(between.url)
        )

    assert [path for path in (tmp_path / "back").rglob("*") if path.is_file()] == []


@pytest.mark.usefixtures("signed_in")
def test_a_folder_is_whole_after_cuts(
    server: S3Server,
    proxy: Callable[..., CuttingProxy],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(retry, "FIRST_PAUSE", 0.0)
    uri = f"s3://{BUCKET}/cut folder"
    place = bucket_copies.copy_path(uri, tmp_path / "there")
    for number in range(40):
        random_file(place / f"{number % 7}" / f"{number}", 50_000, random.Random(number))  # noqa: S311

    bucket_copies.upload(uri, tmp_path / "there", settings(proxy(cut_after=200, cuts=5).url))
    between = proxy(cut_after=40_000, cuts=5)
    bucket_copies.download(uri, tmp_path / "back", settings(between.url))

    assert between.cuts == 5
    assert tree(bucket_copies.copy_path(uri, tmp_path / "back")) == tree(place)
