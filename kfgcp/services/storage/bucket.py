"""The methods that every bucket has, whichever service stores it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import RawIOBase
from typing import Protocol, runtime_checkable

Sink = Callable[[bytes], None]
"""Takes the next bytes of an object."""


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object in a bucket.

    Attributes:
        key: its name.
        size: in bytes; None when the size of its download is not known.
        version: changes with the content, so that no file mixes two versions; "" when the service
            gives none.
    """

    key: str
    size: int | None
    version: str = ""


class Bucket(Protocol):
    """A bucket. Each method sends its requests once and obeys the deadline of `kfgcp.deadlines`.

    The methods raise errors of the client library.
    """

    def find(self, key: str) -> StoredObject | None:
        """Return an object, None when none has this key."""

    def pages(self, prefix: str, limit: int) -> Iterator[list[StoredObject]]:
        """Yield the objects whose keys begin with a prefix, one page of the service at a time.

        Args:
            prefix: "" for all objects of the bucket.
            limit: how many objects are requested. The last page may have more.
        """

    def read_beginning(self, key: str, size: int) -> bytes:
        """Return at most the first `size` bytes of an object, and request no more bytes."""

    def read(self, stored: StoredObject, start: int, end: int | None, sink: Sink) -> None:
        """Pass a part of an object to `sink`, piece by piece.

        Args:
            stored: from `find` or `pages`. The service refuses when it has changed since then.
            start: the first byte; 0 is the first byte of the object.
            end: the byte after the last one. None reads everything; `start` must then be 0.
            sink: called with each piece.
        """

    def upload(self, key: str, body: RawIOBase, size: int) -> None:
        """Write an object. The client library may send several requests for it."""


@runtime_checkable
class MultipartBucket(Bucket, Protocol):
    """A bucket to which kfgcp sends large objects in parts.

    With other buckets the client library does this in `upload`.
    """

    @property
    def part_bytes(self) -> int:
        """The size of a part. A file of at most two parts is uploaded as a whole."""

    def start_parts(self, key: str) -> Parts:
        """Begin an object that is written in parts."""


class Parts(Protocol):
    """An object that is written in parts, in any order. It appears with `finish`."""

    def upload(self, number: int, body: RawIOBase, size: int) -> None:
        """Write a part. number: 1 for the first one."""

    def finish(self) -> None:
        """Put the object together."""

    def abort(self) -> None:
        """Remove the parts. It never raises an error."""
