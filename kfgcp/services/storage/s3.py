"""Read and write buckets of S3, and of servers with the protocol of S3, with boto3."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from http import HTTPStatus
from io import RawIOBase
from typing import Any, Final

from kfgcp.services.storage.bucket import Parts, Sink, StoredObject
from kfgcp.services.storage.client_errors import ChangedError, http_status
from kfgcp.services.storage.reachability import CONNECT_SECONDS
from kfgcp.settings import MAX_REQUEST_SECONDS

# The most connections that stay open: one for each thread of a transfer.
CONNECTIONS: Final = 16

# The most bytes of a body that are read at once.
PIECE_BYTES: Final = 256 << 10

# The size of the parts of a large file. S3 allows at most 10,000 parts of 5 MiB to 5 GiB:
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
PART_BYTES: Final = 16 << 20

# The most objects that S3 returns in one answer.
PAGE_SIZE: Final = 1000


class S3Bucket:
    """A bucket of S3 or of a server with its protocol, see `MultipartBucket`.

    Args:
        client: a client of boto3.
        name: the name of the bucket.
    """

    part_bytes = PART_BYTES

    def __init__(self, client: Any, name: str) -> None:
        self._client = client
        self._name = name

    def send_first_request(self) -> None:
        """Send one small request, and ignore the result."""
        self._client.list_objects_v2(Bucket=self._name, MaxKeys=1)

    def find(self, key: str) -> StoredObject | None:
        try:
            answer = self._client.head_object(Bucket=self._name, Key=key)
        except Exception as error:
            if http_status(error) == HTTPStatus.NOT_FOUND:
                return None
            raise
        return StoredObject(key, answer["ContentLength"], answer.get("ETag", ""))

    def pages(self, prefix: str, limit: int) -> Iterator[list[StoredObject]]:
        paginator = self._client.get_paginator("list_objects_v2")
        limits = {"MaxItems": limit, "PageSize": min(limit, PAGE_SIZE)}
        for page in paginator.paginate(Bucket=self._name, Prefix=prefix, PaginationConfig=limits):
            items = page.get("Contents") or ()
            yield [
                StoredObject(item["Key"], item.get("Size"), item.get("ETag", "")) for item in items
            ]

    def read_beginning(self, key: str, size: int) -> bytes:
        answer = self._client.get_object(Bucket=self._name, Key=key, Range=f"bytes=0-{size - 1}")
        with answer["Body"] as body:
            content: bytes = body.read(size)
        return content

    def read(self, stored: StoredObject, start: int, end: int | None, sink: Sink) -> None:
        options: dict[str, str] = {}
        if stored.version:
            options["IfMatch"] = stored.version
        is_part = end is not None and (start > 0 or end != stored.size)
        if is_part and end is not None:
            options["Range"] = f"bytes={start}-{end - 1}"
        answer = self._client.get_object(Bucket=self._name, Key=stored.key, **options)
        # Some servers ignore IfMatch, and send another version of the object.
        if stored.version and answer.get("ETag", stored.version) != stored.version:
            answer["Body"].close()
            raise ChangedError
        # A server that does not support ranges sends the whole object.
        has_ignored_range = is_part and "ContentRange" not in answer
        with answer["Body"] as body:
            if has_ignored_range:
                _skip(body, start)
            if end is None:
                _copy_all(body, sink)
            else:
                _copy(body, end - start, sink)

    def upload(self, key: str, body: RawIOBase, size: int) -> None:
        self._client.put_object(Bucket=self._name, Key=key, Body=body, ContentLength=size)

    def start_parts(self, key: str) -> Parts:
        answer = self._client.create_multipart_upload(Bucket=self._name, Key=key)
        target = {"Bucket": self._name, "Key": key, "UploadId": answer["UploadId"]}
        return _S3Parts(self._client, target)


class _S3Parts:
    """A multipart upload, see `Parts`.

    Args:
        client: a client of boto3.
        target: the arguments `Bucket`, `Key` and `UploadId`, which each request needs.
    """

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
        # S3 requires the parts in the order of their numbers. The threads upload them in any order.
        parts = [
            {"PartNumber": number, "ETag": etag} for number, etag in sorted(self._etags.items())
        ]
        self._client.complete_multipart_upload(**self._target, MultipartUpload={"Parts": parts})

    def abort(self) -> None:
        with suppress(Exception):
            self._client.abort_multipart_upload(**self._target)


def _skip(body: Any, size: int) -> None:
    """Read the next `size` bytes of a body, and drop them."""
    _copy(body, size, lambda piece: None)


def _copy(body: Any, size: int, sink: Sink) -> None:
    """Pass the next `size` bytes of a body to `sink`, or fewer bytes when the body ends."""
    bytes_left = size
    while bytes_left > 0:
        piece = body.read(min(PIECE_BYTES, bytes_left))
        if not piece:
            return
        sink(piece)
        bytes_left -= len(piece)


def _copy_all(body: Any, sink: Sink) -> None:
    while piece := body.read(PIECE_BYTES):
        sink(piece)


# With `lru_cache` alone, two threads at the same time could make two clients.
_CLIENT_LOCK: Final = threading.Lock()


def s3_client(endpoint: str | None, region: str, addressing: str) -> Any:
    """Return the client of boto3 for these settings.

    Later calls return the same client, because it takes a tenth of a second to make a client.

    Args:
        endpoint: the address of the server. None uses the address in the files of boto3, or else
            the address of Amazon.
        region: the region; "" uses the region in the files of boto3.
        addressing: the place of the bucket's name in an address: `path` or `virtual`. "" uses
            `path` for an endpoint, and `virtual` for Amazon.

    Raises:
        ImportError: boto3 is not installed.
    """
    with _CLIENT_LOCK:
        return _client(endpoint, region, addressing)


@lru_cache
def _client(endpoint: str | None, region: str, addressing: str) -> Any:
    import boto3
    from botocore.config import Config

    from kfgcp.services.storage.s3_sockets import mount_deadlines

    config = Config(
        connect_timeout=CONNECT_SECONDS,
        # Not shorter than any `request_seconds`, because the deadline must end a slow request.
        read_timeout=MAX_REQUEST_SECONDS,
        max_pool_connections=CONNECTIONS,
        # `retry` repeats failed requests instead, and continues downloads in the middle.
        retries={"total_max_attempts": 1},
        s3={"addressing_style": addressing} if addressing else None,
        # Since 1.36, boto3 sends a checksum at the end of each body unless this is set. Many
        # servers cannot read it, for example the MinIO that Kubeflow Pipelines up to 2.14 installs
        # (RELEASE.2019-08-14).
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    session = boto3.session.Session(region_name=region or None)
    client = session.client("s3", endpoint_url=endpoint, config=config)
    mount_deadlines(client)
    return client
