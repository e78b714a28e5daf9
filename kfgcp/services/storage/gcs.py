"""Buckets of Cloud Storage, with Google's client library."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from functools import lru_cache
from io import RawIOBase
from typing import Any, Final

from kfgcp.deadlines import current_deadline
from kfgcp.services.storage.bucket import Sink, StoredObject
from kfgcp.services.storage.google_credentials import google_credentials
from kfgcp.services.storage.reachability import CONNECT_SECONDS, READ_SECONDS

# How many connections stay open. Each thread of a transfer needs one.
CONNECTIONS: Final = 16

# A larger file is sent in requests of this size. The library holds each of them in memory.
CHUNK_BYTES: Final = 4 << 20

PAGE_SIZE: Final = 1000

# Only what `StoredObject` needs, because a list may have many thousand objects.
FIELDS: Final = "items(name,size,generation,contentEncoding),nextPageToken"


class GcsBucket:
    """A bucket of Cloud Storage.

    Args:
        client: of the library.
        name: of the bucket.
    """

    def __init__(self, client: Any, name: str) -> None:
        self._client = client
        self._bucket = client.bucket(name)

    def send_first_request(self) -> None:
        """Send one small request."""
        # The result does not matter. Other methods of the library also read the bucket, but repeat
        # the request.
        self._bucket.exists(timeout=(CONNECT_SECONDS, READ_SECONDS), retry=None)

    def find(self, key: str) -> StoredObject | None:
        blob = self._bucket.get_blob(key, retry=None)
        return None if blob is None else _to_stored_object(blob)

    def pages(self, prefix: str, limit: int) -> Iterator[list[StoredObject]]:
        blobs = self._client.list_blobs(
            self._bucket,
            prefix=prefix,
            max_results=limit,
            page_size=PAGE_SIZE,
            fields=FIELDS,
            retry=None,
        )
        for page in blobs.pages:
            yield [_to_stored_object(blob) for blob in page]

    def read_beginning(self, key: str, size: int) -> bytes:
        content: bytes = self._bucket.blob(key).download_as_bytes(start=0, end=size - 1, retry=None)
        # A server may ignore the range and send the whole object.
        return content[:size]

    def read(self, stored: StoredObject, start: int, end: int | None, sink: Sink) -> None:
        options: dict[str, Any] = {}
        if stored.version:
            options["if_generation_match"] = int(stored.version)
        is_part = end is not None and (start > 0 or end != stored.size)
        if is_part and end:
            # The checksum of an answer is that of the whole object, so the library must not compare
            # it with a part. The library's `end` is the last byte.
            options.update(start=start, end=end - 1, checksum=None)
        self._bucket.blob(stored.key).download_to_file(
            _SinkFile(sink), raw_download=stored.size is not None, retry=None, **options
        )

    def upload(self, key: str, body: RawIOBase, size: int) -> None:
        from google.cloud.storage.retry import DEFAULT_RETRY

        # An upload of several requests continues where it failed, which only the library can do.
        # Its retries must end with the deadline.
        deadline = current_deadline()
        seconds = 0.0 if deadline is None else max(deadline.seconds_left, 0.0)
        self._bucket.blob(key, chunk_size=CHUNK_BYTES).upload_from_file(
            body, size=size, retry=DEFAULT_RETRY.with_timeout(seconds)
        )


class _SinkFile:
    """A file for the library to write to, which passes the bytes on."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._position = 0

    def write(self, data: bytes) -> int:
        self._sink(data)
        self._position += len(data)
        return len(data)

    def tell(self) -> int:
        return self._position


def _to_stored_object(blob: Any) -> StoredObject:
    # Cloud Storage unpacks objects that were stored with gzip, so a download has another size than
    # the object. https://cloud.google.com/storage/docs/transcoding
    size = None if blob.content_encoding == "gzip" else blob.size
    return StoredObject(str(blob.name), size, str(blob.generation or ""))


# `lru_cache` alone could make two clients when two threads ask at the same time.
_CLIENT_LOCK: Final = threading.Lock()


def storage_client() -> Any:
    """Return a client of the library for the address in STORAGE_EMULATOR_HOST, else for Google.

    Raises:
        ImportError: the library is missing.
    """
    with _CLIENT_LOCK:
        return _client_at(os.environ.get("STORAGE_EMULATOR_HOST"))


@lru_cache
def _client_at(emulator: str | None) -> Any:
    """Return a client. The library itself reads the address from the environment."""
    from google.cloud.storage import Client

    from kfgcp.sockets import mount_deadlines

    credentials, project = None, None
    # An emulator needs no sign-in. Where there are no credentials, the search takes seconds.
    if not emulator:
        credentials, project = google_credentials()
    if credentials is None:
        client = Client.create_anonymous_client()
    else:
        client = Client(credentials=credentials, project=project)
    # The sessions for objects and for tokens both need deadlines: the timeouts of `requests` start
    # again with each byte. The library has no public way to change its sessions.
    mount_deadlines(client._http, connections=CONNECTIONS)
    mount_deadlines(client._http._auth_request.session)
    return client
