"""Copies files between a bucket and this machine: in parallel, and continued when a connection
breaks.

A folder is listed first, within the time that one look may take. Then a few threads copy its files;
a large file is copied in spans. Each thread holds one piece of a file in memory. A broken
connection costs the bytes since the last piece: the rest of the span is asked for again. A transfer
ends with an error when a piece takes too long.
"""

from __future__ import annotations

import io
import os
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final, TypeVar

from kfgcp.deadlines import (
    Deadline,
    DeadlineError,
    MovingDeadline,
    call_within,
    current_deadline,
    obey,
)
from kfgcp.machine import start_thread
from kfgcp.services.storage.bucket import Bucket, Parts, StoredObject, UploadsInParts
from kfgcp.services.storage.client_errors import is_transient

Result = TypeVar("Result")

WORKERS: Final = 16
"""Threads of one transfer. They mostly wait for the service."""

PIECE_BYTES: Final = 256 << 10
"""The progress that a transfer has to make within the time for one request."""

SPAN_BYTES: Final = 32 << 20
"""A larger file is downloaded in spans of this size, several at a time."""

MOST_OBJECTS: Final = 1_000_000
"""The objects of an artifact that is a folder. A list that never ends must not fill the memory."""

MOST_FAILURES: Final = 5
"""How often a request may fail in a row."""

FIRST_PAUSE: Final = 0.25
"""Seconds before a failed request is sent again; the pause doubles each time."""


class BadFolderError(Exception):
    """The objects below a prefix cannot be the files of a folder; one line says why."""


class NothingThereError(Exception):
    """There is no object at an address, and none below it."""


class CutError(ConnectionError):
    """An answer ended before all bytes were there."""


# -- looks


def look(seconds: float, request: Callable[[], Result]) -> Result:
    """Return the result of a request that changes nothing. It is repeated while the time lasts.

    Args:
        seconds: how long it may take with all repeats.
        request: sends the request.

    Raises:
        DeadlineError: the time is over.
        Exception: an error of the client library.
    """
    deadline = Deadline(seconds)
    # The thread is for what does not obey deadlines, such as a program that boto3 calls for
    # credentials.
    return call_within(seconds, lambda: _repeat(deadline, request))


def list_objects(bucket: Bucket, prefix: str, most: int) -> list[StoredObject]:
    """Return at most `most` objects whose keys begin with a prefix, in the order of the service.

    Obeys the deadline of the block that it is called in.
    """
    stored: list[StoredObject] = []
    deadline = current_deadline()
    for page in bucket.pages(prefix, most):
        stored.extend(page)
        if len(stored) >= most:
            break
        if (
            deadline is not None and deadline.has_passed
        ):  # each page came in time, but the list does not end
            raise DeadlineError(f"the list did not end within {deadline.seconds:g} s")
    return stored[:most]


def folder_prefix(key: str) -> str:
    """Return what the keys of the objects in a folder begin with, "" for the whole bucket."""
    return f"{key.rstrip('/')}/" if key.strip("/") else ""


def exists(bucket: Bucket, key: str) -> bool:
    """Return whether there is an object, or one below it. Obeys the deadline of the block that it
    is called in."""
    if key.strip("/") and not key.endswith("/") and bucket.find(key) is not None:
        return True
    return bool(list_objects(bucket, folder_prefix(key), 1))


# -- downloads


@dataclass(frozen=True, slots=True)
class _Span:
    """A part of an object, and the file that it belongs to. end: None for all that there is."""

    stored: StoredObject
    file: Path
    start: int
    end: int | None


def download(bucket: Bucket, key: str, target: Path, seconds: float) -> None:
    """Copy an object to a file, or all objects below a prefix to a folder.

    Args:
        bucket: where it is.
        key: of the object, or the prefix without a slash at the end.
        target: does not exist, but its parent does. After an error there may be a part of the
            content.
        seconds: how long a look, and each piece of a transfer, may take.

    Raises:
        NothingThereError: there is no such object, and none below it.
        BadFolderError: the keys below the prefix cannot be paths of files.
        DeadlineError: a look or a piece took too long.
        Exception: an error of the client library, or an OSError of this machine.
    """
    stored = None
    if key.strip("/") and not key.endswith("/"):
        stored = look(seconds, lambda: bucket.find(key))
    if stored is not None:
        files = {target: stored}
    else:
        files = _files_of_folder(bucket, folder_prefix(key), target, seconds)
    _run_all(_spans(files), lambda span: _read_span(bucket, span, seconds))
    for file, each in files.items():
        if each.size is not None and file.stat().st_size != each.size:
            raise CutError(
                f"{each.key} has {each.size} bytes, but {file.stat().st_size} bytes arrived"
            )


def _files_of_folder(
    bucket: Bucket, prefix: str, target: Path, seconds: float
) -> dict[Path, StoredObject]:
    """Make the folders for the objects below a prefix, and return the files that they are for."""
    objects = look(seconds, lambda: list_objects(bucket, prefix, MOST_OBJECTS + 1))
    if not objects:
        raise NothingThereError("there is nothing at this address")
    if len(objects) > MOST_OBJECTS:
        raise BadFolderError(f"there are more than {MOST_OBJECTS:,} objects below it")
    folders = {target}
    files: dict[Path, StoredObject] = {}
    for stored in objects:
        name = stored.key.removeprefix(prefix)
        parts = [part for part in name.split("/") if part]
        if "." in parts or ".." in parts or "\0" in name:
            raise BadFolderError(
                f"the name of the object {stored.key!r} below it cannot be a file path"
            )
        path = target.joinpath(*parts)
        is_marker = not name or name.endswith("/")
        if is_marker:
            folders.add(path)
        elif path in files:
            raise BadFolderError(
                f"the objects {files[path].key!r} and {stored.key!r} below it would be the same"
                " file"
            )
        else:
            folders.add(path.parent)
            files[path] = stored
    for folder in sorted(folders):
        clash = next((path for path in (folder, *folder.parents) if path in files), None)
        if clash is not None:
            raise BadFolderError(
                f"the object {files[clash].key!r} below it would be a file and a folder"
            )
        folder.mkdir(parents=True, exist_ok=True)
    return files


def _spans(files: dict[Path, StoredObject]) -> Iterator[_Span]:
    for file, stored in files.items():
        if stored.size is None:
            yield _Span(stored, file, 0, None)
            continue
        for start in range(0, max(stored.size, 1), SPAN_BYTES):
            yield _Span(stored, file, start, min(start + SPAN_BYTES, stored.size))


def _read_span(bucket: Bucket, span: _Span, seconds: float) -> None:
    """Write a span of an object to its place in the file."""
    fd = os.open(span.file, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        reader = _SpanReader(bucket, span, fd, MovingDeadline(seconds, PIECE_BYTES))
        _repeat(reader.deadline, reader.read_rest, done=lambda: reader.position)
    finally:
        os.close(fd)


class _SpanReader:
    """Reads a span, and remembers how far it came."""

    def __init__(self, bucket: Bucket, span: _Span, fd: int, deadline: MovingDeadline) -> None:
        self.deadline = deadline
        self.position = span.start
        self._bucket = bucket
        self._span = span
        self._fd = fd

    def read_rest(self) -> None:
        """Read what is missing.

        Raises:
            CutError: the answer ended too early.
        """
        span = self._span
        if span.end is None:  # without a size there are no spans, so it starts again
            self.position = 0
            os.ftruncate(self._fd, 0)
        if span.end is not None and self.position >= span.end:
            return
        self._bucket.read(span.stored, self.position, span.end, self._write)
        if span.end is not None and self.position != span.end:
            raise CutError(f"the answer ended after {self.position} of {span.stored.size} bytes")

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            written = os.pwrite(self._fd, view, self.position)
            self.position += written
            view = view[written:]
        self.deadline.count(len(data))


# -- uploads


def upload(bucket: Bucket, key: str, source: Path, seconds: float) -> None:
    """Copy a file to an object, or the files of a folder to objects below a prefix.

    A folder without files becomes an object whose key ends with a slash, as the consoles of Google
    and Amazon write it.

    Args:
        bucket: where it goes to.
        key: of the object, or the prefix without a slash at the end.
        source: a file or folder.
        seconds: how long each piece may take.

    Raises:
        DeadlineError: a piece took too long.
        Exception: an error of the client library, or an OSError of this machine.
    """
    if source.is_file():
        _upload_file(bucket, key, source, seconds)
        return
    prefix = folder_prefix(key)
    _run_all(
        _files_below(source), lambda path: _upload_entry(bucket, source, prefix, path, seconds)
    )


def _files_below(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder, and the folders without any."""
    for around, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not _leads_up(os.path.join(around, name))]
        for name in names:
            yield Path(around, name)
        if not folders and not names:
            yield Path(around)


def _leads_up(path: str) -> bool:
    """Return whether a folder is a link to one above it, which would have no end."""
    real = os.path.realpath(path)
    return os.path.islink(path) and Path(os.path.realpath(os.path.dirname(path))).is_relative_to(
        real
    )


def _upload_entry(bucket: Bucket, source: Path, prefix: str, path: Path, seconds: float) -> None:
    name = "" if path == source else path.relative_to(source).as_posix()
    if not path.is_dir():
        _upload_file(bucket, prefix + name, path, seconds)
    elif prefix + name:  # the bucket itself needs no object
        key = f"{prefix}{name}/" if name else prefix
        _send(bucket.upload, key, _Slice(path, 0, 0, MovingDeadline(seconds, PIECE_BYTES)))


def _upload_file(bucket: Bucket, key: str, file: Path, seconds: float) -> None:
    status = file.stat()
    if not stat.S_ISREG(status.st_mode):  # a pipe would never end
        raise OSError(f"{file} is not a regular file")
    size = status.st_size
    if not isinstance(bucket, UploadsInParts) or size <= 2 * bucket.part_bytes:
        _send(bucket.upload, key, _Slice(file, 0, size, MovingDeadline(seconds, PIECE_BYTES)))
        return
    before = look(seconds, lambda: bucket.find(key))
    parts = look(seconds, lambda: bucket.start_parts(key))
    try:
        _upload_parts(parts, file, size, max(bucket.part_bytes, -(-size // 10_000)), seconds)
        try:
            look(seconds, parts.finish)
        except Exception as error:
            # When the answer was lost, the object is there, and most servers do not know the upload
            # any more.
            after = look(seconds, lambda: bucket.find(key))
            if after is None or after.size != size or after == before:
                raise error
    except BaseException:
        parts.abandon()
        raise


def _upload_parts(parts: Parts, file: Path, size: int, part_bytes: int, seconds: float) -> None:
    def upload_part(start: int) -> None:
        length = min(part_bytes, size - start)
        body = _Slice(file, start, length, MovingDeadline(seconds, PIECE_BYTES))
        _send(parts.upload, start // part_bytes + 1, body)

    _run_all(range(0, size, part_bytes), upload_part)


Name = TypeVar("Name")


def _send(upload: Callable[[Name, io.RawIOBase, int], None], name: Name, body: _Slice) -> None:
    """Send a body, again from its beginning when that fails."""

    def send() -> None:
        body.seek(0)
        upload(name, body, len(body))

    with body:
        _repeat(body.deadline, send)


class _Slice(io.RawIOBase):
    """A part of a file as a file of its own. What is read from it counts as progress."""

    def __init__(self, file: Path, start: int, length: int, deadline: MovingDeadline) -> None:
        self.deadline = deadline
        self._start = start
        self._length = length
        self._position = 0
        self._file = None if length == 0 else file.open("rb")

    def __len__(self) -> int:
        return self._length

    def read(self, size: int | None = -1) -> bytes:
        left = self._length - self._position
        wanted = left if size is None or size < 0 else min(size, left)
        if self._file is None or wanted <= 0:
            return b""
        data = os.pread(self._file.fileno(), wanted, self._start + self._position)
        if not data:
            raise OSError(f"{self._file.name} became shorter while it was copied")
        self._position += len(data)
        self.deadline.count(len(data))
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._length}[whence]
        self._position = base + offset
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


# -- both


def _repeat(
    deadline: Deadline, step: Callable[[], Result], done: Callable[[], int] = lambda: 0
) -> Result:
    """Return the result of a step, which is repeated after errors that may pass.

    Args:
        deadline: for the step and its repeats. A moving one moves only as long as there is
            progress.
        step: does what is left to do.
        done: how far it came. After progress the count of failures begins again.
    """
    failures = 0
    while True:
        before = done()
        try:
            with obey(deadline):
                return step()
        except DeadlineError:
            raise
        except Exception as error:
            if deadline.has_passed:
                raise DeadlineError(_too_slow(deadline)) from None
            failures = 1 if done() - before >= PIECE_BYTES else failures + 1
            if failures >= MOST_FAILURES or not is_transient(error):
                raise
        time.sleep(max(0.0, min(FIRST_PAUSE * 2 ** (failures - 1), deadline.left)))


def _too_slow(deadline: Deadline) -> str:
    if isinstance(deadline, MovingDeadline):
        return f"less than {PIECE_BYTES >> 10} KiB were transferred within {deadline.seconds:g} s"
    return f"no answer within {deadline.seconds:g} s"


Item = TypeVar("Item")


def _run_all(items: Iterable[Item], work: Callable[[Item], None]) -> None:
    """Do a piece of work for each item, in a few threads. After the first error nothing new is
    begun.

    Raises:
        BaseException: the first error, when all threads have ended.
    """
    queue = _Queue(iter(items))

    def run() -> None:
        try:
            for item in queue:
                work(item)
        except BaseException as error:
            queue.stop(error)

    threads: list[threading.Thread] = []
    with suppress(OSError):  # this thread, and those that could be started, do all of it
        while len(threads) < WORKERS - 1 and queue.has_more():
            threads.append(start_thread(run, "kfgcp-transfer-part"))
    run()
    for thread in threads:
        thread.join()
    if queue.error is not None:
        raise queue.error


class _Queue(Iterator[Item]):
    """Hands out the items of an iterator to several threads, until one of them reports an error."""

    def __init__(self, items: Iterator[Item]) -> None:
        self.error: BaseException | None = None
        self._items = items
        self._next: list[Item] = []
        self._lock = threading.Lock()

    def has_more(self) -> bool:
        """Return whether there is another item."""
        with self._lock:
            self._look_ahead()
            return bool(self._next)

    def stop(self, error: BaseException) -> None:
        """Hand out nothing more. The first error is kept."""
        with self._lock:
            self.error = self.error or error

    def __next__(self) -> Item:
        with self._lock:
            self._look_ahead()
            if self.error is not None or not self._next:
                raise StopIteration
            return self._next.pop()

    def _look_ahead(self) -> None:
        if self.error is None and not self._next:
            self._next.extend(islice(self._items, 1))
