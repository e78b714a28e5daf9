"""Compute the checksums that stores give for their files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Protocol

# The best algorithm first. crc32c comes last, because it finds accidents but not intended changes.
ALGORITHMS = ("sha256", "md5", "crc32c")

CHUNK_SIZE = 1 << 20


class Hash(Protocol):
    """A hash object, as hashlib has them."""

    def update(self, data: bytes, /) -> None:
        """Add bytes."""

    def hexdigest(self) -> str:
        """Return the checksum of all bytes so far, in hexadecimal."""


def compute(path: Path, algorithms: Iterable[str]) -> dict[str, str]:
    """Return checksums of a file in hexadecimal, by algorithm. The file is read once.

    Raises:
        ImportError: crc32c is asked for, and google-crc32c is not installed.
        OSError: the file cannot be read.
    """
    hashes = {algorithm: _new_hash(algorithm) for algorithm in algorithms}
    if hashes:
        with path.open("rb") as stream:
            while chunk := stream.read(CHUNK_SIZE):
                for hash_ in hashes.values():
                    hash_.update(chunk)
    return {algorithm: hash_.hexdigest() for algorithm, hash_ in hashes.items()}


def common_algorithm(left: Mapping[str, str], right: Mapping[str, str]) -> str | None:
    """Return the best algorithm that both sides have a checksum of, or None.

    Example:
        >>> common_algorithm({"md5": "…", "crc32c": "…"}, {"crc32c": "…"})
        'crc32c'
    """
    for algorithm in ALGORITHMS:
        if algorithm in left and algorithm in right:
            return algorithm
    return None


def _new_hash(algorithm: str) -> Hash:
    if algorithm == "crc32c":
        # The module has no types, so a plain import would not pass the check of types.
        checksum: Hash = import_module("google_crc32c").Checksum()
        return _Crc32c(checksum)
    return hashlib.new(algorithm, usedforsecurity=False)


class _Crc32c:
    """A checksum of google-crc32c. Some of its releases return bytes as hexdigest."""

    def __init__(self, checksum: Hash) -> None:
        self._checksum = checksum

    def update(self, data: bytes, /) -> None:
        self._checksum.update(data)

    def hexdigest(self) -> str:
        digest: str | bytes = self._checksum.hexdigest()
        return digest.decode() if isinstance(digest, bytes) else digest
