"""Downloads from a bucket: in parallel, and continued when a connection breaks.

A folder is listed first, within the time for one request. Then a few threads copy its files. A
large file is copied in spans. A thread holds one piece of a file in memory. After a broken
connection, the rest of the span is requested again. A download ends with an error when a piece
takes too long.
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

# A larger file is downloaded in spans of this size, several at a time.
SPAN_BYTES: Final = 32 << 20

# The most objects of an artifact that is a folder. A list that never ends must not fill the memory.
MAX_OBJECTS: Final = 1_000_000


class BadFolderError(Exception):
    """The objects below a prefix cannot be the files of a folder. The message is one line."""


class NothingThereError(Exception):
    """There is no object at an address, and none below it."""


class CutError(ConnectionError):
    """An answer ended before all bytes had arrived."""


def download(bucket: Bucket, key: str, target: Path, seconds: float) -> None:
    """Copy an object to a file, or all objects below a prefix to a folder.

    Args:
        bucket: where the object is.
        key: of the object, or the prefix without a slash at the end.
        target: does not exist yet, but its parent does. After an error there may be a part of the
            content.
        seconds: how long a request without content, and each piece of a transfer, may take.

    Raises:
        NothingThereError: there is no such object, and none below it.
        BadFolderError: the keys below the prefix cannot be paths of files.
        DeadlineError: a request or a piece took too long.
        Exception: an error of the client library, or an OSError of this machine.
    """
    stored = call_with_retries(seconds, lambda: find_object(bucket, key))
    if stored is not None:
        files = {target: stored}
    else:
        files = _list_folder(bucket, folder_prefix(key), target, seconds)
    run_all(_spans(files), lambda span: _download_span(bucket, span, seconds))
    for path, source in files.items():
        size = path.stat().st_size
        if source.size is not None and size != source.size:
            raise CutError(f"{source.key} has {source.size} bytes, but {size} bytes arrived")


def _list_folder(
    bucket: Bucket, prefix: str, target: Path, seconds: float
) -> dict[Path, StoredObject]:
    """Make the folders for the objects below a prefix, and return the object for each file."""
    objects = call_with_retries(seconds, lambda: list_objects(bucket, prefix, MAX_OBJECTS + 1))
    if not objects:
        raise NothingThereError("there is nothing at this address")
    if len(objects) > MAX_OBJECTS:
        raise BadFolderError(f"there are more than {MAX_OBJECTS:,} objects below it")
    folders = {target}
    files: dict[Path, StoredObject] = {}
    for stored in objects:
        name = stored.key.removeprefix(prefix)
        path = target.joinpath(*_path_parts(stored.key, name))
        # The consoles of Google and Amazon write such an object for an empty folder.
        is_folder_marker = not name or name.endswith("/")
        if is_folder_marker:
            folders.add(path)
        elif path in files:
            raise BadFolderError(
                f"the objects {files[path].key!r} and {stored.key!r} below it would be the same"
                " file"
            )
        else:
            folders.add(path.parent)
            files[path] = stored
    _make_folders(folders, files)
    return files


def _path_parts(key: str, name: str) -> list[str]:
    """Return the parts of an object's name as those of a path below the folder."""
    parts = [part for part in name.split("/") if part]
    # "." and ".." would lead to another file, also to one outside the folder.
    if "." in parts or ".." in parts or "\0" in name:
        raise BadFolderError(f"the name of the object {key!r} below it cannot be a file path")
    return parts


def _make_folders(folders: set[Path], files: dict[Path, StoredObject]) -> None:
    for folder in sorted(folders):
        for path in (folder, *folder.parents):
            if path in files:
                raise BadFolderError(
                    f"the object {files[path].key!r} below it would be a file and a folder"
                )
        folder.mkdir(parents=True, exist_ok=True)


@dataclass(frozen=True, slots=True)
class _Span:
    """A part of an object, and the file that it belongs to.

    Attributes:
        stored: the object.
        file: the file with the whole object.
        start: the first byte.
        end: the byte after the last one; None for the whole object, when its size is not known.
    """

    stored: StoredObject
    file: Path
    start: int
    end: int | None


def _spans(files: dict[Path, StoredObject]) -> Iterator[_Span]:
    for file, stored in files.items():
        if stored.size is None:
            yield _Span(stored, file, 0, None)
            continue
        # An empty object also has a span, because the span creates the file.
        for start in range(0, max(stored.size, 1), SPAN_BYTES):
            yield _Span(stored, file, start, min(start + SPAN_BYTES, stored.size))


def _download_span(bucket: Bucket, span: _Span, seconds: float) -> None:
    """Write a span of an object to its place in the file."""
    fd = os.open(span.file, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        reader = _SpanReader(bucket, span, fd, seconds)
        repeat(reader.deadline, reader.read_rest, position=lambda: reader.position)
    finally:
        os.close(fd)


class _SpanReader:
    """Writes a span to a file, and continues where the last try ended.

    Args:
        bucket: where the object is.
        span: the span.
        fd: the file, open for writing.
        seconds: how long each piece may take.

    Attributes:
        deadline: of the next piece.
        position: the next byte of the object.
    """

    def __init__(self, bucket: Bucket, span: _Span, fd: int, seconds: float) -> None:
        self.deadline = transfer_deadline(seconds)
        self.position = span.start
        self._bucket = bucket
        self._span = span
        self._fd = fd

    def read_rest(self) -> None:
        """Read the bytes that are missing.

        Raises:
            CutError: the answer ended too early.
        """
        span = self._span
        if span.end is None:
            # Nobody knows where an object without a size ends, so it is read from its start.
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
        rest = memoryview(data)
        while rest:
            written = os.pwrite(self._fd, rest, self.position)
            self.position += written
            rest = rest[written:]
        self.deadline.count(len(data))
