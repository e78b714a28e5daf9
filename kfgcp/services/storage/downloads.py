"""Download objects from a bucket in parallel, and continue when a connection breaks.

For a folder, the first step lists its objects, within the time for one request. Then several
threads copy the objects. A large object is copied in spans, each by one thread. A thread holds only
one piece of a span in memory. After a broken connection, the thread requests the rest of its span
again. The download fails when a piece takes too long.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kfgcp.services.storage.bucket import Bucket, StoredObject
from kfgcp.services.storage.listing import find_object, folder_prefix, list_objects
from kfgcp.services.storage.parallel import run_all
from kfgcp.services.storage.retry import call_with_retries, repeat, transfer_deadline

# The size of a span. A larger object is downloaded in several spans at the same time.
SPAN_BYTES: Final = 32 << 20

# The most objects of a folder. Without a limit, a list that never ends would fill the memory.
MAX_OBJECTS: Final = 1_000_000


class BadFolderError(Exception):
    """The error for objects that cannot be the files of a folder. The message is one line."""


class NothingThereError(Exception):
    """The error for an address without an object, and without objects below it."""


class CutError(ConnectionError):
    """The error for an answer that ended before all its bytes had arrived."""


def download(bucket: Bucket, key: str, target: Path, seconds: float) -> None:
    """Copy an object to a file, or all objects below a prefix to a folder.

    Args:
        bucket: the bucket of the object.
        key: the key of the object, or the prefix without a slash at the end.
        target: the new file or folder. Its parent must exist. After an error, `target` may have a
            part of the content.
        seconds: the time limit for each request without content, and for each piece of an object.

    Raises:
        NothingThereError: the bucket has no object with the key, and no object below the prefix.
        BadFolderError: the keys below the prefix cannot be paths of files.
        DeadlineError: a request or a piece took too long.
        Exception: an error of the client library, or an OSError of this machine.
    """
    stored = call_with_retries(seconds, lambda: find_object(bucket, key))
    if stored is not None:
        files = {target: stored}
    else:
        files = _list_folder(bucket, folder_prefix(key), target, seconds)
    run_all(_split_into_spans(files), lambda span: _download_span(bucket, span, seconds))
    for path, stored in files.items():
        size = path.stat().st_size
        if stored.size is not None and size != stored.size:
            raise CutError(f"{stored.key} has {stored.size} bytes, but {size} bytes arrived")


def _list_folder(
    bucket: Bucket, prefix: str, target: Path, seconds: float
) -> dict[Path, StoredObject]:
    """List the objects below a prefix, make the folders for them, and return the object per file.

    Raises:
        NothingThereError: the bucket has no object below the prefix.
        BadFolderError: the keys below the prefix cannot be paths of files.
    """
    objects = call_with_retries(seconds, lambda: list_objects(bucket, prefix, MAX_OBJECTS + 1))
    if not objects:
        raise NothingThereError("this address has no object")
    if len(objects) > MAX_OBJECTS:
        raise BadFolderError(f"the folder has more than {MAX_OBJECTS:,} objects")
    folders = {target}
    files: dict[Path, StoredObject] = {}
    for stored in objects:
        name = stored.key.removeprefix(prefix)
        path = target.joinpath(*_split_name(stored.key, name))
        # For an empty folder, the consoles of Google and Amazon write an object with such a name.
        is_folder_marker = not name or name.endswith("/")
        if is_folder_marker:
            folders.add(path)
        elif path in files:
            raise BadFolderError(
                f"the objects {files[path].key!r} and {stored.key!r} in this folder would be the"
                " same file"
            )
        else:
            folders.add(path.parent)
            files[path] = stored
    _make_folders(folders, files)
    return files


def _split_name(key: str, name: str) -> list[str]:
    """Split the name of an object below the folder into the parts of a path.

    Raises:
        BadFolderError: the name cannot be a path.
    """
    parts = [part for part in name.split("/") if part]
    # "." and ".." would lead to another file, even to a file outside the folder.
    if "." in parts or ".." in parts or "\0" in name:
        raise BadFolderError(f"the name of the object {key!r} in this folder cannot be a file path")
    return parts


def _make_folders(folders: set[Path], files: dict[Path, StoredObject]) -> None:
    """Make the folders for files.

    Raises:
        BadFolderError: a folder, or a folder above it, is also a file.
    """
    for folder in sorted(folders):
        for path in (folder, *folder.parents):
            if path in files:
                raise BadFolderError(
                    f"the object {files[path].key!r} is a file, but other objects need a folder"
                    " with this name"
                )
        folder.mkdir(parents=True, exist_ok=True)


@dataclass(frozen=True, slots=True)
class _Span:
    """A part of an object, and the file for the object.

    Attributes:
        stored: the object.
        file: the file for the whole object.
        start: the position of the first byte in the object.
        end: the position after the last byte. None for the whole object, when its size is not
            known.
    """

    stored: StoredObject
    file: Path
    start: int
    end: int | None


def _split_into_spans(files: dict[Path, StoredObject]) -> Iterator[_Span]:
    for file, stored in files.items():
        if stored.size is None:
            yield _Span(stored, file, 0, None)
            continue
        # An empty object also needs a span, because the download of a span creates the file.
        for start in range(0, max(stored.size, 1), SPAN_BYTES):
            yield _Span(stored, file, start, min(start + SPAN_BYTES, stored.size))


def _download_span(bucket: Bucket, span: _Span, seconds: float) -> None:
    """Download a span of an object into its place in the file."""
    fd = os.open(span.file, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        reader = _SpanReader(bucket, span, fd, seconds)
        repeat(reader.deadline, reader.read_rest, position=lambda: reader.position)
    finally:
        os.close(fd)


class _SpanReader:
    """A reader that copies a span to a file, and continues where the last try ended.

    Args:
        bucket: the bucket of the object.
        span: the span.
        fd: the descriptor of the file, open for writing.
        seconds: the time limit for each piece.

    Attributes:
        deadline: the deadline of the next piece.
        position: the position of the next byte in the object.
    """

    def __init__(self, bucket: Bucket, span: _Span, fd: int, seconds: float) -> None:
        self.deadline = transfer_deadline(seconds)
        self.position = span.start
        self._bucket = bucket
        self._span = span
        self._fd = fd

    def read_rest(self) -> None:
        """Copy the bytes of the span that are still missing.

        Raises:
            CutError: the answer ended too early.
        """
        span = self._span
        if span.end is None:
            # Without a size, a part of the object cannot be requested. So each try reads the whole
            # object.
            self.position = 0
            os.ftruncate(self._fd, 0)
            self._bucket.read(span.stored, self.position, span.end, self._write)
            return
        if self.position >= span.end:
            return
        self._bucket.read(span.stored, self.position, span.end, self._write)
        if self.position != span.end:
            raise CutError(f"the answer ended after {self.position} of {span.stored.size} bytes")

    def _write(self, data: bytes) -> None:
        unwritten = memoryview(data)
        while unwritten:
            written_bytes = os.pwrite(self._fd, unwritten, self.position)
            self.position += written_bytes
            unwritten = unwritten[written_bytes:]
        self.deadline.count(len(data))
