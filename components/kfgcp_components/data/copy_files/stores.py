"""Where files are: folders of this machine, Cloud Storage, S3. All stores have the same methods."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from kfgcp_components.data.copy_files.checksums import CHUNK_SIZE
from kfgcp_components.logs import log
from kfgcp_components.outputs import PART_SUFFIX


class Cancelled(Exception):
    """The copy was stopped from outside."""


@dataclass(frozen=True)
class Content:
    """How a store describes the bytes of a file. A local file has no description.

    Attributes:
        type: the media type, such as `text/csv`. Empty when unknown.
        encoding: how the bytes are stored, such as `gzip`. Empty for bytes as they are.
    """

    type: str = ""
    encoding: str = ""


NO_CONTENT = Content()


@dataclass(frozen=True)
class Entry:
    """A file in a store.

    Attributes:
        key: the name in the store: the path of a local file, or the key of an object.
        size: bytes.
        checksums: the checksums that the store gives, in hexadecimal, by algorithm.
        version: the text that changes when the object changes. May be empty.
        content: how the store describes the bytes. A list of S3 does not have it.
    """

    key: str
    size: int
    checksums: Mapping[str, str] = field(default_factory=dict)
    version: str = ""
    content: Content = NO_CONTENT


class Store(Protocol):
    """A place for files. Keys are relative to the root of the store, with `/` between the parts."""

    def find(self, key: str) -> Entry | None:
        """Return the file with exactly this key, or None."""

    def list(self, folder: str) -> Iterator[Entry]:
        """Return the files below a folder, in any depth. They may lack the checksums of `find`."""

    def download(self, entry: Entry, target: Path, cancelled: threading.Event) -> None:
        """Write the bytes of a file to a local path, as they are stored: compressed bytes too.

        Raises:
            Cancelled: the event was set. The local file is incomplete.
        """

    def upload(
        self,
        source: Path,
        key: str,
        checksums: Mapping[str, str],
        cancelled: threading.Event,
        content: Content = NO_CONTENT,
    ) -> None:
        """Make or replace a file. Readers see the old file or the whole new one.

        Args:
            source: a local file.
            key: the name in the store.
            checksums: what the source has, in hexadecimal. A store keeps or checks some of them.
            cancelled: when it is set, the upload stops and leaves nothing.
            content: how the store of the source describes the bytes. Buckets keep it.

        Raises:
            Cancelled: the event was set.
        """


class LocalStore:
    """The files of this machine. A key is an absolute path."""

    def find(self, key: str) -> Entry | None:
        """Return the file at a path. It has no checksums, because nobody computed them yet."""
        path = Path(key)
        return Entry(key, path.stat().st_size) if path.is_file() else None

    def list(self, folder: str) -> Iterator[Entry]:
        """Return the files below a folder, without unfinished ones."""
        for parent, folders, names in os.walk(folder):
            for name in sorted(folders):
                if Path(parent, name).is_symlink():
                    path = Path(parent, name)
                    log(
                        f"{path} is a link to a folder, so its files are not copied",
                        severity="WARNING",
                    )
            for name in sorted(names):
                path = Path(parent, name)
                if not name.endswith(PART_SUFFIX):
                    yield Entry(str(path), path.stat().st_size)

    def download(self, entry: Entry, target: Path, cancelled: threading.Event) -> None:
        """Copy a file."""
        with Path(entry.key).open("rb") as reader, target.open("wb") as writer:
            while chunk := reader.read(CHUNK_SIZE):
                stop_if(cancelled)
                writer.write(chunk)

    def upload(
        self,
        source: Path,
        key: str,
        checksums: Mapping[str, str],
        cancelled: threading.Event,
        content: Content = NO_CONTENT,
    ) -> None:
        """Move a complete file of the same folder to its name."""
        stop_if(cancelled)
        with source.open("rb") as stream:
            # Without it, a power cut could leave the new name with an empty file.
            os.fsync(stream.fileno())
        source.replace(key)


def stop_if(cancelled: threading.Event) -> None:
    """Raise Cancelled if the event is set."""
    if cancelled.is_set():
        raise Cancelled("the copy was cancelled")
