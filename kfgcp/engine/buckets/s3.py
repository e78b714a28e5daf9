"""Buckets of S3, and of servers that speak its protocol, by boto3."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from io import RawIOBase
from typing import Any, Final

from kfgcp.engine.buckets.base import ChangedError, Parts, Sink, StoredObject, status_of
from kfgcp.engine.contact import CONNECT_SECONDS
from kfgcp.settings import MAX_REQUEST_SECONDS

CONNECTIONS: Final = 16
"""How many connections are kept for the threads of a transfer."""

PIECE_BYTES: Final = 256 << 10
"""How much of a body is read at a time."""

PART_BYTES: Final = 16 << 20
"""The size of the parts that a large file is uploaded in. S3 allows 5 MiB to 5 GiB, and 10,000
parts."""

PAGE: Final = 1000


class S3Bucket:
    """A bucket of S3 or of a server that speaks its protocol.

    Args:
        client: of boto3.
        name: of the bucket.
    """

    part_bytes = PART_BYTES

    def __init__(self, client: Any, name: str) -> None:
        self._client = client
        self._name = name

    def check(self) -> None:
        """Send one small request."""
        self._client.list_objects_v2(Bucket=self._name, MaxKeys=1)

    def find(self, key: str) -> StoredObject | None:
        try:
            answer = self._client.head_object(Bucket=self._name, Key=key)
        except Exception as error:
            if status_of(error) == 404:
                return None
            raise
        return StoredObject(key, answer["ContentLength"], answer.get("ETag", ""))

    def pages(self, prefix: str, most: int) -> Iterator[list[StoredObject]]:
        paginator = self._client.get_paginator("list_objects_v2")
        limits = {"MaxItems": most, "PageSize": min(most, PAGE)}
        for page in paginator.paginate(Bucket=self._name, Prefix=prefix, PaginationConfig=limits):
            contents = page.get("Contents") or ()
            yield [
                StoredObject(item["Key"], item.get("Size"), item.get("ETag", ""))
                for item in contents
            ]

    def beginning(self, key: str, size: int) -> bytes:
        answer = self._client.get_object(Bucket=self._name, Key=key, Range=f"bytes=0-{size - 1}")
        with answer["Body"] as body:
            content: bytes = body.read(size)
        return content

    def read(self, stored: StoredObject, start: int, end: int | None, sink: Sink) -> None:
        options: dict[str, Any] = {"IfMatch": stored.version} if stored.version else {}
        is_part = end is not None and (start > 0 or end != stored.size)
        if is_part and end is not None:
            options["Range"] = f"bytes={start}-{end - 1}"
        answer = self._client.get_object(Bucket=self._name, Key=stored.key, **options)
        # Some servers ignore IfMatch.
        if stored.version and answer.get("ETag", stored.version) != stored.version:
            answer["Body"].close()
            raise ChangedError
        # A server that does not know ranges sends the whole object.
        is_whole = is_part and "ContentRange" not in answer
        with answer["Body"] as body:
            if is_whole:
                _skip(body, start)
            left = None if end is None else end - start
            while left is None or left > 0:
                piece = body.read(PIECE_BYTES if left is None else min(PIECE_BYTES, left))
                if not piece:
                    return
                sink(piece)
                left = None if left is None else left - len(piece)

    def upload(self, key: str, body: RawIOBase, size: int) -> None:
        self._client.put_object(Bucket=self._name, Key=key, Body=body, ContentLength=size)

    def start_parts(self, key: str) -> Parts:
        upload_id = self._client.create_multipart_upload(Bucket=self._name, Key=key)["UploadId"]
        return _S3Parts(self._client, {"Bucket": self._name, "Key": key, "UploadId": upload_id})


class _S3Parts:
    """A multipart upload. target: the bucket, the key, and the upload, as the requests have
    them."""

    def __init__(self, client: Any, target: dict[str, str]) -> None:
        self._client = client
        self._target = target
        self._etags: dict[int, str] = {}

    def upload(self, number: int, body: RawIOBase, size: int) -> None:
        answer = self._client.upload_part(
            **self._target, PartNumber=number, Body=body, ContentLength=size
        )
        self._etags[number] = answer["ETag"]

    def finish(self) -> None:
        parts = [
            {"PartNumber": number, "ETag": self._etags[number]} for number in sorted(self._etags)
        ]
        self._client.complete_multipart_upload(**self._target, MultipartUpload={"Parts": parts})

    def abandon(self) -> None:
        with suppress(Exception):
            self._client.abort_multipart_upload(**self._target)


def _skip(body: Any, size: int) -> None:
    while size > 0:
        piece = body.read(min(PIECE_BYTES, size))
        if not piece:
            return
        size -= len(piece)


_MAKING = threading.Lock()


def s3_client(endpoint: str | None, region: str, addressing: str) -> Any:
    """Return a client of boto3. It is made once, because that takes a tenth of a second.

    Args:
        endpoint: the address of the server; None for what boto3 finds in its own files, else
            Amazon's.
        region: "" for what boto3 finds.
        addressing: `path`, `virtual`, or "" for `path` at an endpoint and `virtual` at Amazon's
            own.

    Raises:
        ImportError: the library is missing.
    """
    with _MAKING:
        return _client(endpoint, region, addressing)


@lru_cache
def _client(endpoint: str | None, region: str, addressing: str) -> Any:
    import boto3
    from botocore.config import Config

    from kfgcp.engine.buckets.s3_sockets import mount_deadlines

    config = Config(
        connect_timeout=CONNECT_SECONDS,
        read_timeout=MAX_REQUEST_SECONDS,  # a deadline of ours ends a request
        max_pool_connections=CONNECTIONS,
        retries={
            "total_max_attempts": 1
        },  # `transfer` repeats requests, and continues downloads where they were
        s3={"addressing_style": addressing} if addressing else None,
        # Many servers know no checksums at the end of a body, among them the MinIO that Kubeflow
        # Pipelines up to 2.14 installs (RELEASE.2019-08-14). Boto3 sends them unless this is set.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    session = boto3.session.Session(region_name=region or None)
    client = session.client("s3", endpoint_url=endpoint, config=config)
    mount_deadlines(client)
    return client
