"""A connection to the index that writes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

from kfgcp.store import database
from kfgcp.store.reading import Reader


class Writer(Reader):
    """A connection to the index; each write is one transaction, which is on disk when the call returns."""

    @property
    def writable(self) -> bool:
        """Whether this user may write to the index; otherwise it can only be read."""
        return database.writable(self.file)

    def check_room(self) -> None:
        """Check that the disk had room when the store was opened, or has room now.

        Raises:
            DiskFull: there is no room.
        """
        if not self._db.is_full:
            return
        with self._lock, database.failures(self.file):
            connection = database.connect(self.file)
            if connection.is_full:
                connection.close()
                raise database.full(self.file)
            self._db.close()
            self._db = connection

    def close(self) -> None:
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self.check_room()
        with self._lock, database.failures(self.file), database.transaction(self._db):
            yield
