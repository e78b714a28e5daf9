"""Write to the index: the transactions, and what ends them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

from kfgcp.store import database
from kfgcp.store.reader import Reader


class Writer(Reader):
    """The part of the index that all writes share.

    Each write is one transaction, which is on the disk when the call returns.
    """

    @property
    def writable(self) -> bool:
        """Whether this user may write to the index; otherwise it can only be read."""
        return database.is_writable(self.file)

    @property
    def is_current(self) -> bool:
        """Whether this is still the index of its folder, opened to read and write.

        Otherwise it must be opened again.
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
        """Close the connections of all threads. Every later use of the store is a UsageError.

        While an engine in this process uses the store, it is closed later, see `keep_open`.
        """
        self._connections.close()

    def keep_open(self) -> None:
        """Postpone `close` until `allow_close` is called.

        An engine does so, because it records its run to the end.

        Raises:
            UsageError: the store was closed.
        """
        self._connections.keep_open()

    def allow_close(self) -> None:
        """End what `keep_open` began. A store that was to be closed meanwhile is closed now."""
        self._connections.allow_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Commit all statements inside, or none of them.

        A process that is killed inside leaves the database as it was before the transaction. So a
        method that changes several tables puts all of its statements into one transaction.
        """
        # Before `current`, because it may replace the connection of this thread.
        self.check_room()
        thread = self._connections.current()
        with (
            thread.in_use,
            database.convert_errors(self.file),
            database.transaction(thread.connection),
        ):
            yield
