"""Buckets of Cloud Storage, by Google's client library."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from functools import lru_cache
from io import RawIOBase
from typing import Any, Final

from kfgcp.deadlines import current_deadline
from kfgcp.services.storage.bucket import Sink, StoredObject
from kfgcp.services.storage.reachability import CONNECT_SECONDS, READ_SECONDS, google_credentials

CONNECTIONS: Final = 16
"""How many connections are kept for the threads of a transfer."""

CHUNK_BYTES: Final = 4 << 20
"""A larger file is sent in requests of this size, each of which the library holds in memory."""

PAGE: Final = 1000
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

    def check(self) -> None:
        """Send one small request."""
        # The result does not matter. Other methods of the library also read the bucket, but repeat
        # the request.
        self._bucket.exists(timeout=(CONNECT_SECONDS, READ_SECONDS), retry=None)

    def find(self, key: str) -> StoredObject | None:
        blob = self._bucket.get_blob(key, retry=None)
        return None if blob is None else _stored(blob)

    def pages(self, prefix: str, most: int) -> Iterator[list[StoredObject]]:
        blobs = self._client.list_blobs(
            self._bucket, prefix=prefix, max_results=most, page_size=PAGE, fields=FIELDS, retry=None
        )
        for page in blobs.pages:
            yield [_stored(blob) for blob in page]

    def beginning(self, key: str, size: int) -> bytes:
        content: bytes = self._bucket.blob(key).download_as_bytes(start=0, end=size - 1, retry=None)
        return content[:size]

    def read(self, stored: StoredObject, start: int, end: int | None, sink: Sink) -> None:
        # The checksum of an answer is that of the whole object, so the library must not compare a
        # part with it.
        is_part = end is not None and (start > 0 or end != stored.size)
        span: dict[str, Any] = (
            {"start": start, "end": end - 1, "checksum": None} if end and is_part else {}
        )
        self._bucket.blob(stored.key).download_to_file(
            _Writer(sink),
            if_generation_match=int(stored.version) if stored.version else None,
            raw_download=stored.size is not None,
            retry=None,
            **span,
        )

    def upload(self, key: str, body: RawIOBase, size: int) -> None:
        from google.cloud.storage.retry import DEFAULT_RETRY

        # The library continues an upload of several requests where it was. Its retries must end
        # with the deadline.
        deadline = current_deadline()
        seconds = 0.0 if deadline is None else max(deadline.left, 0.0)
        self._bucket.blob(key, chunk_size=CHUNK_BYTES).upload_from_file(
            body, size=size, retry=DEFAULT_RETRY.with_timeout(seconds)
        )


class _Writer:
    """A file for the library to write to."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._position = 0

    def write(self, data: bytes) -> int:
        self._sink(data)
        self._position += len(data)
        return len(data)

    def tell(self) -> int:
        return self._position


def _stored(blob: Any) -> StoredObject:
    # Cloud Storage unpacks what was stored packed with gzip, so the size of a download is another
    # one. https://cloud.google.com/storage/docs/transcoding
    size = None if blob.content_encoding == "gzip" else blob.size
    return StoredObject(str(blob.name), size, str(blob.generation or ""))


_MAKING = threading.Lock()


def storage_client() -> Any:
    """Return a client of the library for the address that the environment names.

    Raises:
        ImportError: the library is missing.
    """
    with _MAKING:
        return _client_at(os.environ.get("STORAGE_EMULATOR_HOST"))


@lru_cache
def _client_at(emulator: str | None) -> Any:
    """Return a client; it reads the address from the environment when it is made."""
    from google.cloud.storage import Client

    from kfgcp.sockets import mount_deadlines

    # An emulator asks for no sign-in, and looking for one takes seconds where there is none.
    credentials, project = (None, None) if emulator else google_credentials()
    if credentials is None:
        storage = Client.create_anonymous_client()
    else:
        storage = Client(credentials=credentials, project=project)
    # Both the session for objects and the one for tokens, because their timeouts start again with
    # each byte.
    mount_deadlines(storage._http, connections=CONNECTIONS)
    mount_deadlines(storage._http._auth_request.session)
    return storage
