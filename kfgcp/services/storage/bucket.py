"""The interface of buckets, which is the same for every service."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import RawIOBase
from typing import Protocol, runtime_checkable

Sink = Callable[[bytes], None]
"""A function that gets the next bytes of an object."""


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object in a bucket.

    Attributes:
        key: the name of the object in the bucket.
        size: the size of its download in bytes, None when the size is not known.
        version: a text that changes with the content; "" when the service has none. With it, a
            download cannot mix two versions of an object.
    """

    key: str
    size: int | None
    version: str = ""


class Bucket(Protocol):
    """A bucket. Its methods do not repeat requests, and obey the deadline of `kfgcp.deadlines`.

    The methods raise errors of the client library.
    """

    def find(self, key: str) -> StoredObject | None:
        """Return the object with a key, None when the bucket has no such object."""

    def pages(self, prefix: str, limit: int) -> Iterator[list[StoredObject]]:
        """Yield the objects whose keys begin with a prefix, one page of the service at a time.

        Args:
            prefix: the prefix, "" for all objects of the bucket.
            limit: the number of objects that the caller needs. The last page may have more objects.
        """

    def read_beginning(self, key: str, size: int) -> bytes:
        """Return at most the first `size` bytes of an object. Only these bytes are requested."""

    def read(self, stored: StoredObject, start: int, end: int | None, sink: Sink) -> None:
        """Pass a part of an object to `sink`, piece by piece.

        Args:
            stored: an object from `find` or `pages`. The method raises an error when the object has
                changed since then.
            start: the position of the first byte, from 0.
            end: the position after the last byte. None reads the whole object, with `start` 0.
            sink: the function that gets each piece.
        """

    def upload(self, key: str, body: RawIOBase, size: int) -> None:
        """Write an object of `size` bytes. The client library may send several requests."""


@runtime_checkable
class MultipartBucket(Bucket, Protocol):
    """A bucket to which kfgcp itself sends a large object in parts.

    For other buckets, the client library does so in `upload`.
    """

    @property
    def part_bytes(self) -> int:
        """The size of a part. A file of at most two parts is uploaded with one request."""

    def start_parts(self, key: str) -> Parts:
        """Start the upload of an object in parts."""


class Parts(Protocol):
    """An upload in parts, which may be sent in any order. The object appears after `finish`."""

    def upload(self, number: int, body: RawIOBase, size: int) -> None:
        """Write a part. number: the position of the part in the object, from 1."""

    def finish(self) -> None:
        """Make the object from its parts."""

    def abort(self) -> None:
        """Remove the parts, and ignore all errors."""
