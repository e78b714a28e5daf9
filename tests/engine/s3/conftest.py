"""Servers of other people that speak the protocol of S3, and how tests sign in to them."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kfgcp.services.storage import gcs
from patience import PROCESS
from s3_servers import HOST, REGION, SERVERS, S3Server, forget_s3_settings
from s3_trees import BUCKET


@pytest.fixture(scope="package", params=sorted(SERVERS))
def server(request: pytest.FixtureRequest) -> Iterator[S3Server]:
    """Return a server with an empty bucket. Each test uses a folder of its own."""
    pytest.importorskip("boto3", reason="the extra s3 is not installed")
    with SERVERS[request.param]() as server:
        server.client().create_bucket(
            Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION}
        )
        yield server


@pytest.fixture(autouse=True)
def own_clients(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting of the machine counts, and no client or result of another test."""
    forget_s3_settings(monkeypatch, tmp_path)
    monkeypatch.setattr(gcs, "READ_SECONDS", PROCESS)


@pytest.fixture
def signed_in(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", server.secret_key)


@pytest.fixture
def named_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the name of the servers, and all below it, lead to this machine."""
    look_up = socket.getaddrinfo

    def resolve_to_this_machine(
        host: object, *arguments: Any, **options: Any
    ) -> list[tuple[Any, ...]]:
        is_server = isinstance(host, str) and (host == HOST or host.endswith(f".{HOST}"))
        return look_up("127.0.0.1" if is_server else host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolve_to_this_machine)
