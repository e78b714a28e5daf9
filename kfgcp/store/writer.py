"""Write to the index in transactions, and close it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

from kfgcp.store import database
from kfgcp.store.reader import Reader


class Writer(Reader):
    """The base class of all parts of the index that write.

    Each write is one transaction, which is on the disk when the call returns.
    """

    @property
    def writable(self) -> bool:
        """Whether this user may write to the index, or can only read it."""
        return database.is_writable(self.file)

    @property
    def is_current(self) -> bool:
        """Whether this is still the index of its folder, and was opened to read and write.

        If not, the caller must open the index again.
        """
        return self._connections.are_current

    def check_room(self) -> None:
        """Check that the disk had room when the store was opened, or has room now.

        Raises:
            DiskFull: there is no room.
        """
        if not self._db.is_full:
            return
        self._connections.renew()
        if self._db.is_full:
            raise database.disk_full_error(self.file)

    def close(self) -> None:
        """Close the connections of all threads. Every later use of the store raises UsageError.

        While an engine in this process uses the store, closing is postponed, see `keep_open`.
        """
        self._connections.close()

    def keep_open(self) -> None:
        """Postpone every `close` until `allow_close` is called.

        An engine needs this, because it records its run until the run has ended.

        Raises:
            UsageError: the store was closed.
        """
        self._connections.keep_open()

    def allow_close(self) -> None:
        """Take back `keep_open`. If `close` was called in the meantime, close the store now."""
        self._connections.allow_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Commit all statements inside, or none of them.

        When the process is killed inside, the database stays as it was before the transaction. So
        a method that changes several tables puts all of its statements into one transaction.
        """
        # `check_room` comes before `current`, because it may replace the connection of the thread.
        self.check_room()
        current = self._connections.current()
        with (
            current.lock,
            database.convert_errors(self.file),
            database.transaction(current.connection),
        ):
            yield
