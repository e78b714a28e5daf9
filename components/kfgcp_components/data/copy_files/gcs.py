"""Files in a bucket of Cloud Storage."""

from __future__ import annotations

import base64
import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from kfgcp_components.data.copy_files.checksums import CHUNK_SIZE
from kfgcp_components.data.copy_files.stores import NO_CONTENT, Content, Entry, stop_if


class GcsStore:
    """A bucket. The client library finds the credentials."""

    def __init__(self, bucket: str) -> None:
        """Connect to Cloud Storage, or to the emulator in STORAGE_EMULATOR_HOST."""
        if os.environ.get("STORAGE_EMULATOR_HOST"):
            # An emulator needs no account. The search for one could take long.
            client = storage.Client(project="emulator", credentials=AnonymousCredentials())
        else:
            client = storage.Client()
        self._bucket = client.bucket(bucket)

    def find(self, key: str) -> Entry | None:
        """Return an object, or None."""
        blob = self._bucket.get_blob(key)
        return None if blob is None else _to_entry(blob)

    def list(self, folder: str) -> Iterator[Entry]:
        """Return the objects below a folder, without the placeholders of empty folders."""
        prefix = f"{folder}/" if folder else ""
        for blob in self._bucket.list_blobs(prefix=prefix):
            if not blob.name.endswith("/"):
                yield _to_entry(blob)

    def download(self, entry: Entry, target: Path, cancelled: threading.Event) -> None:
        """Download the version of the object that `find` or `list` returned.

        Cloud Storage decompresses an object with the encoding gzip, unless the request accepts
        gzip: the page "Transcoding of gzip-compressed files". The checksums are those of the stored
        bytes. With raw_download, the client asks for these bytes.
        """
        blob = self._bucket.blob(entry.key, generation=int(entry.version))
        with target.open("wb") as file:
            # The caller compares the checksum, which also covers the write to the disk.
            blob.download_to_file(_Writer(file, cancelled), raw_download=True, checksum=None)

    def upload(
        self,
        source: Path,
        key: str,
        checksums: Mapping[str, str],
        cancelled: threading.Event,
        content: Content = NO_CONTENT,
    ) -> None:
        """Upload a file. The service refuses it if the checksum differs on arrival."""
        blob = self._bucket.blob(key)
        # Parts of this size, so that a cancellation does not wait for the whole file.
        blob.chunk_size = 8 * CHUNK_SIZE
        blob.content_encoding = content.encoding or None
        with source.open("rb") as file:
            blob.upload_from_file(
                _Reader(file, cancelled),
                size=source.stat().st_size,
                content_type=content.type or None,
                checksum="crc32c",
            )


def _to_entry(blob: storage.Blob) -> Entry:
    checksums = {}
    for algorithm, value in (("crc32c", blob.crc32c), ("md5", blob.md5_hash)):
        # An object that was composed of others has no md5.
        if value:
            checksums[algorithm] = base64.b64decode(value).hex()
    content = Content(blob.content_type or "", blob.content_encoding or "")
    return Entry(blob.name, blob.size, checksums, str(blob.generation), content)


class _Writer:
    """A file for the client library to write to, until the copy is cancelled."""

    def __init__(self, file: BinaryIO, cancelled: threading.Event) -> None:
        self._file = file
        self._cancelled = cancelled

    def write(self, data: bytes) -> int:
        stop_if(self._cancelled)
        return self._file.write(data)

    def seek(self, position: int, whence: int = 0) -> int:
        return self._file.seek(position, whence)

    def tell(self) -> int:
        return self._file.tell()

    def flush(self) -> None:
        self._file.flush()


class _Reader:
    """A file for the client library to read, until the copy is cancelled."""

    def __init__(self, file: BinaryIO, cancelled: threading.Event) -> None:
        self._file = file
        self._cancelled = cancelled

    def read(self, size: int = -1) -> bytes:
        stop_if(self._cancelled)
        return self._file.read(size)

    def seek(self, position: int, whence: int = 0) -> int:
        return self._file.seek(position, whence)

    def tell(self) -> int:
        return self._file.tell()
