"""Read and write buckets of Cloud Storage with Google's client library."""

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

# The most connections that stay open: one for each thread of a transfer.
CONNECTIONS: Final = 16

# The size of one request of an upload. The library holds this many bytes in memory.
CHUNK_BYTES: Final = 4 << 20

# The most objects in one page of a list.
PAGE_SIZE: Final = 1000

# The fields of each object in a list. `StoredObject` needs no other fields, and a list may have
# thousands of objects.
FIELDS: Final = "items(name,size,generation,contentEncoding),nextPageToken"


class GcsBucket:
    """A bucket of Cloud Storage, see `Bucket`.

    Args:
        client: a client of Google's library.
        name: the name of the bucket.
    """

    def __init__(self, client: Any, name: str) -> None:
        self._client = client
        self._bucket = client.bucket(name)

    def send_first_request(self) -> None:
        """Send one small request, and ignore the result."""
        # Other methods of the library that read the bucket would repeat a failed request.
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
            # The library must not check the checksum of a part, because the answer has the checksum
            # of the whole object. The `end` of the library is the position of the last byte.
            options.update(start=start, end=end - 1, checksum=None)
        self._bucket.blob(stored.key).download_to_file(
            _SinkFile(sink), raw_download=stored.size is not None, retry=None, **options
        )

    def upload(self, key: str, body: RawIOBase, size: int) -> None:
        from google.cloud.storage.retry import DEFAULT_RETRY

        # When a request of a large upload fails, only the library can continue the upload. So its
        # retries are on here, until the deadline.
        deadline = current_deadline()
        seconds = 0.0 if deadline is None else max(deadline.seconds_left, 0.0)
        self._bucket.blob(key, chunk_size=CHUNK_BYTES).upload_from_file(
            body, size=size, retry=DEFAULT_RETRY.with_timeout(seconds)
        )


class _SinkFile:
    """A file to which the library writes, and which passes the bytes to a sink."""

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
    # Cloud Storage unpacks an object that was stored with gzip. So the download has another size
    # than the object. https://cloud.google.com/storage/docs/transcoding
    size = None if blob.content_encoding == "gzip" else blob.size
    return StoredObject(str(blob.name), size, str(blob.generation or ""))


# With `lru_cache` alone, two threads at the same time could make two clients.
_CLIENT_LOCK: Final = threading.Lock()


def storage_client() -> Any:
    """Return the client for Cloud Storage, or for the emulator in STORAGE_EMULATOR_HOST.

    Raises:
        ImportError: the client library is not installed.
    """
    with _CLIENT_LOCK:
        return _client_at(os.environ.get("STORAGE_EMULATOR_HOST"))


@lru_cache
def _client_at(emulator: str | None) -> Any:
    """Return a client. The library itself reads the address of the emulator from its variable."""
    from google.cloud.storage import Client

    from kfgcp.sockets import mount_deadlines

    credentials, project = None, None
    # An emulator needs no credentials, and the search for credentials may take seconds.
    if not emulator:
        credentials, project = google_credentials()
    if credentials is None:
        client = Client.create_anonymous_client()
    else:
        client = Client(credentials=credentials, project=project)
    # The client has one session for objects and one for tokens. Both need deadlines, because the
    # timeouts of `requests` start again with each byte. The library has no public way to change
    # its sessions.
    mount_deadlines(client._http, connections=CONNECTIONS)
    mount_deadlines(client._http._auth_request.session)
    return client
