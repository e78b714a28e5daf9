"""What a bucket can do, whoever keeps it."""

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
        size: in bytes; None when it is not known what a download will give.
        version: changes with the content, so that no file is put together from two versions. "" is
            not known.
    """

    key: str
    size: int | None
    version: str = ""


class Bucket(Protocol):
    """A bucket. The methods send their requests once, and obey the deadline of `kfgcp.deadlines`.

    What they raise is an error of the client library.
    """

    def find(self, key: str) -> StoredObject | None:
        """Return an object, None when there is none with this key."""

    def pages(self, prefix: str, most: int) -> Iterator[list[StoredObject]]:
        """Yield the objects whose keys begin with a prefix, a page of the service at a time.

        Args:
            prefix: "" for all objects of the bucket.
            most: no more objects are asked for. The last page may have more.
        """

    def beginning(self, key: str, size: int) -> bytes:
        """Return at most the first `size` bytes of an object; no more are asked for."""

    def read(self, stored: StoredObject, start: int, end: int | None, sink: Sink) -> None:
        """Give the bytes from `start` to before `end` to `sink`.

        Args:
            stored: an object as `find` or `pages` gave it. When it has changed since, the service
                refuses.
            start: 0 for the first byte.
            end: None for all that there is, and then `start` is 0.
            sink: called with each piece.
        """

    def upload(self, key: str, body: RawIOBase, size: int) -> None:
        """Write an object in one request, or with as many as the client library chooses."""


@runtime_checkable
class UploadsInParts(Protocol):
    """A bucket whose large objects kfgcp writes in parts. Where it is not, the client library does
    that in `upload`."""

    @property
    def part_bytes(self) -> int:
        """The size of the parts. A file of up to two parts is uploaded as a whole."""

    def start_parts(self, key: str) -> Parts:
        """Begin an object that is written in parts."""


class Parts(Protocol):
    """An object that is written in parts, in any order. It appears when all are there."""

    def upload(self, number: int, body: RawIOBase, size: int) -> None:
        """Write a part. number: 1 for the first one."""

    def finish(self) -> None:
        """Put the object together."""

    def abandon(self) -> None:
        """Remove the parts. No error is raised."""
