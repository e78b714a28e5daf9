"""Upload files to a bucket in parallel, and repeat requests when a connection breaks.

Several threads send the files of a folder. To a `MultipartBucket`, they send a large file in parts.
A failed request is sent again from its beginning. The upload fails when a piece of 256 KiB
(`PIECE_BYTES`) is not sent within the time limit. A piece is smaller than a part.
"""

from __future__ import annotations

import io
import math
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, TypeVar

from kfgcp.deadlines import MovingDeadline
from kfgcp.services.storage.bucket import Bucket, MultipartBucket
from kfgcp.services.storage.listing import folder_prefix
from kfgcp.services.storage.parallel import run_all
from kfgcp.services.storage.retry import call_with_retries, repeat, transfer_deadline

# S3 allows at most this many parts for an object:
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
MAX_PARTS: Final = 10_000

# The key of an object, or the number of a part.
Name = TypeVar("Name")


def upload(bucket: Bucket, key: str, source: Path, seconds: float) -> None:
    """Copy a file to an object, or the files of a folder to objects below a prefix.

    An empty folder becomes an object whose key ends with a slash, as in the consoles of Google and
    Amazon.

    Args:
        bucket: the bucket.
        key: the key of the new object, or the prefix without a slash at the end.
        source: the file or the folder.
        seconds: the time limit for each piece of `PIECE_BYTES`.

    Raises:
        DeadlineError: a piece was not sent within the time limit.
        Exception: an error of the client library, or an OSError of this machine.
    """
    if source.is_file():
        _upload_file(bucket, key, source, seconds)
        return
    prefix = folder_prefix(key)

    def upload_entry(path: Path) -> None:
        name = "" if path == source else path.relative_to(source).as_posix()
        if path.is_dir():
            _mark_folder(bucket, prefix + name, path, seconds)
        else:
            _upload_file(bucket, prefix + name, path, seconds)

    run_all(_files_below(source), upload_entry)


def _files_below(folder: Path) -> Iterator[Path]:
    """Yield all files below a folder, and all empty folders."""
    for parent, folders, names in os.walk(folder, followlinks=True):
        # `os.walk` enters only the folders that stay in this list.
        folders[:] = [name for name in folders if not _is_endless(os.path.join(parent, name))]
        for name in names:
            yield Path(parent, name)
        if not folders and not names:
            yield Path(parent)


def _is_endless(path: str) -> bool:
    """Return whether a folder is a link to a folder above it. A walk into it would never end."""
    if not os.path.islink(path):
        return False
    parent = Path(os.path.realpath(os.path.dirname(path)))
    return parent.is_relative_to(os.path.realpath(path))


def _mark_folder(bucket: Bucket, key: str, folder: Path, seconds: float) -> None:
    """Write an object that marks an empty folder.

    The root of a bucket (an empty key) needs no mark.
    """
    if key:
        body = _FilePart(folder, 0, 0, transfer_deadline(seconds))
        _send(bucket.upload, folder_prefix(key), body)


def _upload_file(bucket: Bucket, key: str, file: Path, seconds: float) -> None:
    status = file.stat()
    # A read from a pipe could wait for ever.
    if not stat.S_ISREG(status.st_mode):
        raise OSError(f"{file} is not a regular file")
    size = status.st_size
    if isinstance(bucket, MultipartBucket) and size > 2 * bucket.part_bytes:
        _upload_in_parts(bucket, key, file, size, seconds)
    else:
        _send(bucket.upload, key, _FilePart(file, 0, size, transfer_deadline(seconds)))


def _upload_in_parts(
    bucket: MultipartBucket, key: str, file: Path, size: int, seconds: float
) -> None:
    old_object = call_with_retries(seconds, lambda: bucket.find(key))
    parts = call_with_retries(seconds, lambda: bucket.start_parts(key))
    min_part_bytes = math.ceil(size / MAX_PARTS)
    part_bytes = max(bucket.part_bytes, min_part_bytes)

    def upload_part(start: int) -> None:
        length = min(part_bytes, size - start)
        body = _FilePart(file, start, length, transfer_deadline(seconds))
        _send(parts.upload, start // part_bytes + 1, body)

    try:
        run_all(range(0, size, part_bytes), upload_part)
        try:
            call_with_retries(seconds, parts.finish)
        except Exception as error:
            # Perhaps the store has made the object, and only its answer was lost. Most servers then
            # refuse the repeated request, because the upload does not exist any more. So a new
            # object of the right size counts as success.
            new_object = call_with_retries(seconds, lambda: bucket.find(key))
            if new_object is None or new_object.size != size or new_object == old_object:
                raise error
    except BaseException:
        # S3 charges for the parts of an upload until it is aborted.
        parts.abort()
        raise


def _send(upload: Callable[[Name, io.RawIOBase, int], None], name: Name, body: _FilePart) -> None:
    """Send a body with `upload`, and send it again after a temporary error."""

    def send() -> None:
        body.seek(0)
        upload(name, body, len(body))

    with body:
        repeat(body.deadline, send)


class _FilePart(io.RawIOBase):
    """A part of a file that looks like a whole file. Each read from it moves the deadline.

    Args:
        file: the whole file.
        start: the position of the first byte of the part.
        length: the length of the part in bytes. With 0, the file is not opened, so that it may be a
            folder.
        deadline: the deadline of the transfer.
    """

    def __init__(self, file: Path, start: int, length: int, deadline: MovingDeadline) -> None:
        self.deadline = deadline
        self._start = start
        self._length = length
        self._position = 0
        self._file = None if length == 0 else file.open("rb")

    def __len__(self) -> int:
        return self._length

    def read(self, size: int | None = -1) -> bytes:
        bytes_left = self._length - self._position
        if size is None or size < 0:
            byte_count = bytes_left
        else:
            byte_count = min(size, bytes_left)
        if self._file is None or byte_count <= 0:
            return b""
        data = os.pread(self._file.fileno(), byte_count, self._start + self._position)
        if not data:
            raise OSError(f"{self._file.name} became shorter while it was copied")
        self._position += len(data)
        self.deadline.count(len(data))
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        bases = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._length}
        self._position = bases[whence] + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        super().close()
