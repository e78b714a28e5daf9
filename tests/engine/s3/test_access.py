"""Addresses, regions and credentials of servers that speak the protocol of S3."""

import socket
from pathlib import Path

import pytest

from kfgcp.bucket_settings import BucketSettings
from kfgcp.engine import bucket_copies
from kfgcp.errors import NotFound, Refused
from kfgcp.model import Artifact
from kfgcp.services.storage import objects, preview, s3
from kfgcp.services.storage.problems import StorageProblem
from kfgcp.tracking import artifact_contents
from s3_servers import HOST, S3Server, tree
from s3_trees import BUCKET, settings


@pytest.mark.usefixtures("signed_in", "named_hosts")
@pytest.mark.parametrize("addressing", ["", "path", "virtual"])
@pytest.mark.parametrize("scheme", ["s3", "minio"])
def test_an_artifact_goes_there_and_comes_back(
    server: S3Server, scheme: str, addressing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With virtual addressing the bucket is in the name of the host, and nowhere else."""
    hosts: list[str] = []
    look_up = socket.getaddrinfo
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda host, *rest, **more: hosts.append(host) or look_up(host, *rest),
    )
    host = HOST if addressing == "virtual" else server.path_host
    where = settings(f"http://{host}:{server.port}", s3_addressing=addressing)
    uri = f"{scheme}://{BUCKET}/{addressing or 'none'}/model.txt"
    place = bucket_copies.copy_path(uri, tmp_path / "there")
    place.parent.mkdir(parents=True)
    place.write_bytes(b"weights")

    bucket_copies.upload(uri, tmp_path / "there", where)
    bucket_copies.download(uri, tmp_path / "back", where)

    assert bucket_copies.copy_path(uri, tmp_path / "back").read_bytes() == b"weights"
    assert preview.read_beginning(uri, 4, where) == b"weig"
    assert preview.list_names(uri.removesuffix("/model.txt"), 10, where) == ["model.txt"]
    assert (
        artifact_contents.text(
            Artifact("train", "model", "system.Model", uri), buckets=where
        ).content
        == "weights"
    )
    assert objects.exists(uri, where)
    assert not objects.exists(f"{uri}.gone", where)
    objects.check_root(f"{scheme}://{BUCKET}/any/where", where)
    # Threads of other tests may look up other hosts meanwhile.
    asked, other = f"{BUCKET}.{HOST}", server.path_host
    if addressing != "virtual":
        asked, other = other, asked
    assert asked in hosts
    assert other == "127.0.0.1" or other not in hosts


@pytest.mark.usefixtures("signed_in")
def test_the_region_is_signed(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The credential scope of a signature has the region: see "Authenticating Requests" in the API
    of S3."""
    scopes: list[str] = []
    where = BucketSettings(s3_endpoint=server.url, s3_region="ap-south-1")
    client = s3.s3_client(where.endpoint, where.s3_region, where.s3_addressing)
    client.meta.events.register(
        "before-send.s3",
        lambda request, **_: scopes.append(request.headers["Authorization"].decode()),
    )

    objects.exists(f"s3://{BUCKET}/x", where)

    assert scopes
    assert all("/ap-south-1/s3/aws4_request" in scope for scope in scopes)


def test_credentials_of_a_file(
    server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "credentials"
    file.write_text(
        f"[team]\naws_access_key_id = {server.access_key}\naws_secret_access_key ="
        f" {server.secret_key}\n"
    )
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    monkeypatch.setenv("AWS_PROFILE", "team")

    objects.check_root(f"s3://{BUCKET}", settings(server.url))


def test_wrong_credentials(
    server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not server.checks_signatures:
        pytest.skip("gofakes3 does not check who asks")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")

    with pytest.raises(
        StorageProblem,
        match=r"^s3://artifacts/x cannot be read: .*\(?(SignatureDoesNotMatch|403)\)?$",
    ):
        bucket_copies.download(f"s3://{BUCKET}/x", tmp_path, settings(server.url))
    with pytest.raises(Refused) as caught:
        preview.read_beginning(f"s3://{BUCKET}/x", 1, settings(server.url))
    assert caught.value.status == 403
    assert caught.value.exit_code == 5


def test_no_credentials(server: S3Server, tmp_path: Path) -> None:
    with pytest.raises(
        StorageProblem, match=r"^s3://artifacts/x cannot be read: Unable to locate credentials$"
    ):
        bucket_copies.download(f"s3://{BUCKET}/x", tmp_path, settings(server.url))


@pytest.mark.usefixtures("signed_in")
def test_a_bucket_that_is_not_there(server: S3Server, tmp_path: Path) -> None:
    where = settings(server.url)
    place = bucket_copies.copy_path("s3://no-such-bucket/x", tmp_path)
    place.parent.mkdir(parents=True)
    place.touch()

    for attempt in (objects.check_root, objects.exists):
        if attempt is objects.check_root:
            with pytest.raises(
                StorageProblem,
                match=r"^s3://no-such-bucket/x cannot be listed: .* \(NoSuchBucket\)$",
            ):
                attempt("s3://no-such-bucket/x", where)
    with pytest.raises(
        StorageProblem, match=r"^s3://no-such-bucket/y cannot be read: .* \(NoSuchBucket\)$"
    ):
        bucket_copies.download("s3://no-such-bucket/y", tmp_path, where)
    with pytest.raises(
        StorageProblem, match=r"^s3://no-such-bucket/x cannot be written: .* \(NoSuchBucket\)$"
    ):
        bucket_copies.upload("s3://no-such-bucket/x", tmp_path, where)
    with pytest.raises(NotFound):
        preview.list_names("s3://no-such-bucket/x", 5, where)


@pytest.mark.usefixtures("signed_in")
def test_nothing_at_an_address(server: S3Server, tmp_path: Path) -> None:
    with pytest.raises(
        StorageProblem,
        match=r"^s3://artifacts/nothing cannot be read: this address has no object$",
    ):
        bucket_copies.download(f"s3://{BUCKET}/nothing", tmp_path, settings(server.url))

    assert tree(tmp_path / "s3") == {BUCKET: None}
