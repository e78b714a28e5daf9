"""Keep the connections to a database: one for each thread that uses it.

Readers of SQLite in WAL mode never wait for the writer, but only when they have a connection of
their own. Statements of the same connection wait for each other.
"""

from __future__ import annotations

import threading
from pathlib import Path
from weakref import WeakSet

from kfgcp.errors import UsageError
from kfgcp.store import database


class ThreadConnection:
    """The connection of one thread.

    Attributes:
        connection: the connection.
        lock: the thread holds this lock while it works with the connection.
    """

    def __init__(self, connection: database.Connection) -> None:
        self.connection = connection
        # A thread may take the lock twice: a transaction can also read.
        self.lock = threading.RLock()

    def __del__(self) -> None:
        """Close the connection when its thread has ended.

        A connection of sqlite3 refers to itself. Without this method, it would stay open until the
        garbage collector runs.
        """
        self.connection.close()


class ThreadConnections:
    """The connections of all threads to one database.

    A thread gets its connection at its first use. The connection is closed when the thread ends.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._inode = ""
        # Only `_local` keeps a ThreadConnection alive. `_all` refers to it weakly, so that the end
        # of a thread closes its connection.
        self._local = threading.local()
        self._all: WeakSet[ThreadConnection] = WeakSet()
        # Guards `_all` and the attributes below.
        self._guard = threading.Lock()
        self._is_closed = False
        # Calls of `keep_open` without a call of `allow_close`.
        self._user_count = 0
        self._must_close = False

    def current(self) -> ThreadConnection:
        """Return the connection of the calling thread.

        Raises:
            StateError: the database cannot be opened, is damaged, or was written by a newer kfgcp.
            UsageError: the connections were closed.
        """
        thread_connection: ThreadConnection | None = getattr(self._local, "connection", None)
        return thread_connection or self.renew()

    def renew(self) -> ThreadConnection:
        """Open and return a new connection for the calling thread, instead of its old one.

        Raises:
            StateError: the database cannot be opened, is damaged, or was written by a newer kfgcp.
            UsageError: the connections were closed.
        """
        if self._is_closed:
            raise closed_error(self._file)
        thread_connection = ThreadConnection(database.connect(self._file))
        self._inode = self._inode or database.read_inode(self._file)
        with self._guard:
            # Another thread may have closed the connections while this one connected.
            if self._is_closed:
                raise closed_error(self._file)
            self._all.add(thread_connection)
            self._local.connection = thread_connection
        return thread_connection

    @property
    def are_current(self) -> bool:
        """Whether all connections lead to the file that exists now, and were opened to write.

        When the folder was deleted and created again, another file has the path. A connection that
        was opened only to read may not see later changes.
        """
        try:
            is_same_file = database.read_inode(self._file) == self._inode
        except OSError:
            return False
        with self._guard:
            can_write = all(item.connection.can_write for item in self._all)
        return is_same_file and can_write and not self._must_close

    def close(self) -> None:
        """Close the connections of all threads.

        While somebody keeps them open (`keep_open`), only the last `allow_close` closes them. A
        thread that works with its connection finishes its statement. The connection is closed
        afterwards, because nothing refers to it any more.
        """
        with self._guard:
            self._must_close = True
            if self._user_count == 0:
                self._close_all()

    def keep_open(self) -> None:
        """Keep the connections open until `allow_close` is called as often as this method.

        Raises:
            UsageError: the connections were closed.
        """
        with self._guard:
            if self._must_close:
                raise closed_error(self._file)
            self._user_count += 1

    def allow_close(self) -> None:
        """Take back one call of `keep_open`.

        If `close` was called in the meantime, the last call closes the connections.
        """
        with self._guard:
            self._user_count -= 1
            if self._must_close and self._user_count == 0:
                self._close_all()

    def _close_all(self) -> None:
        self._is_closed = True
        self._local = threading.local()
        # A list refers to its items strongly, so no ThreadConnection vanishes during the loop.
        for thread_connection in list(self._all):
            # SQLite must not close a connection while another thread executes a statement on it.
            if thread_connection.lock.acquire(blocking=False):
                thread_connection.connection.close()
                thread_connection.lock.release()


def closed_error(file: Path) -> UsageError:
    """Return the error for the use of a store after `close`."""
    return UsageError(
        f"The store {file} was closed.",
        hint="Use the workspace before close(), or open it again: kfgcp.Workspace.open(FOLDER)",
    )
