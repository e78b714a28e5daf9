"""Files in a bucket of S3, or of a server that speaks its protocol."""

from __future__ import annotations

import base64
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path

import boto3
from botocore.exceptions import ClientError

from kfgcp_components.data.copy_files.checksums import ALGORITHMS, CHUNK_SIZE
from kfgcp_components.data.copy_files.stores import NO_CONTENT, Content, Entry, stop_if

# The checksums of a file that was uploaded in parts say nothing about the whole file. So copy_files
# keeps the checksums of the whole file in the metadata of the object.
METADATA_PREFIX = "kfgcp-"

# The ETag of an object that was uploaded in one part, without encryption by a customer's key.
MD5_ETAG = re.compile(r"[0-9a-f]{32}")


class S3Store:
    """A bucket. The client library finds the credentials, and the server in AWS_ENDPOINT_URL."""

    def __init__(self, bucket: str) -> None:
        """Make a client. It connects with the first request."""
        # A session of its own, because boto3's default session keeps the first credentials.
        self._client = boto3.session.Session().client("s3")
        self._bucket = bucket

    def find(self, key: str) -> Entry | None:
        """Return an object, or None."""
        try:
            head = self._client.head_object(Bucket=self._bucket, Key=key, ChecksumMode="ENABLED")
        except ClientError as error:
            if error.response["Error"]["Code"] in ("404", "NoSuchKey", "NotFound"):
                return None
            raise
        checksums = _read_checksums(head)
        return Entry(key, head["ContentLength"], checksums, head["ETag"], _read_content(head))

    def list(self, folder: str) -> Iterator[Entry]:
        """Return the objects below a folder, without the placeholders of empty folders."""
        prefix = f"{folder}/" if folder else ""
        pages = self._client.get_paginator("list_objects_v2")
        for page in pages.paginate(Bucket=self._bucket, Prefix=prefix):
            for item in page.get("Contents", []):
                if item["Key"].endswith("/"):
                    continue
                # A list has no checksums. Its ETag can look like an md5 without being one.
                yield Entry(item["Key"], item["Size"], {}, item["ETag"])

    def download(self, entry: Entry, target: Path, cancelled: threading.Event) -> None:
        """Download the version of the object that `find` or `list` returned."""
        answer = self._client.get_object(Bucket=self._bucket, Key=entry.key, IfMatch=entry.version)
        with closing(answer["Body"]) as body, target.open("wb") as file:
            for chunk in body.iter_chunks(CHUNK_SIZE):
                stop_if(cancelled)
                file.write(chunk)

    def upload(
        self,
        source: Path,
        key: str,
        checksums: Mapping[str, str],
        cancelled: threading.Event,
        content: Content = NO_CONTENT,
    ) -> None:
        """Upload a file. boto3 removes the parts of an upload that fails."""
        metadata = {f"{METADATA_PREFIX}{name}": value for name, value in checksums.items()}
        arguments: dict[str, object] = {"Metadata": metadata}
        if content.type:
            arguments["ContentType"] = content.type
        if content.encoding:
            arguments["ContentEncoding"] = content.encoding
        self._client.upload_file(
            str(source),
            self._bucket,
            key,
            ExtraArgs=arguments,
            Callback=_stop_callback(cancelled),
        )


def _stop_callback(cancelled: threading.Event) -> Callable[[int], None]:
    """Return a function that boto3 calls after each piece of an upload."""

    def stop(_: int) -> None:
        stop_if(cancelled)

    return stop


def _read_content(head: Mapping[str, object]) -> Content:
    """Return the media type and the encoding that an answer of S3 has."""
    encodings = str(head.get("ContentEncoding") or "").split(",")
    # The encoding of an upload. S3 removes it, and some servers do not.
    own_encodings = [text.strip() for text in encodings if text.strip() != "aws-chunked"]
    return Content(str(head.get("ContentType") or ""), ",".join(own_encodings))


def _read_checksums(head: Mapping[str, object]) -> dict[str, str]:
    """Return the checksums of the whole object, in hexadecimal, that an answer of S3 has."""
    checksums = {}
    metadata = head.get("Metadata")
    if isinstance(metadata, Mapping):
        for algorithm in ALGORITHMS:
            value = metadata.get(f"{METADATA_PREFIX}{algorithm}")
            if value:
                checksums[algorithm] = str(value)
    etag = str(head.get("ETag", "")).strip('"')
    has_own_key = "SSECustomerAlgorithm" in head or "SSEKMSKeyId" in head
    if MD5_ETAG.fullmatch(etag) and not has_own_key:
        checksums["md5"] = etag
    sha256 = str(head.get("ChecksumSHA256", ""))
    # "…-3" is the checksum of the checksums of 3 parts.
    if sha256 and "-" not in sha256:
        checksums["sha256"] = base64.b64decode(sha256).hex()
    return checksums
