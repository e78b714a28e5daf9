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
        in_use: the thread holds this lock while it works with the connection.
    """

    def __init__(self, connection: database.Connection) -> None:
        self.connection = connection
        # A thread takes the lock again inside itself: a transaction may also read.
        self.in_use = threading.RLock()

    def __del__(self) -> None:
        """Close the connection when its thread has ended.

        A connection of sqlite3 refers to itself, so it would stay open until the garbage collector
        finds it.
        """
        self.connection.close()


class ThreadConnections:
    """The connections of all threads to one database.

    A thread gets its connection at its first use. The connection is closed when the thread ends.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._inode = ""
        # Only this attribute keeps a ThreadConnection alive. The set below refers to it weakly, so
        # that the end of a thread closes its connection.
        self._own = threading.local()
        self._all: WeakSet[ThreadConnection] = WeakSet()
        self._guard = threading.Lock()
        self._is_closed = False
        self._user_count = 0
        self._must_close = False

    def current(self) -> ThreadConnection:
        """Return the connection of the calling thread.

        Raises:
            StateError: the database cannot be opened, is damaged, or was written by a newer kfgcp.
            UsageError: the connections were closed.
        """
        thread: ThreadConnection | None = getattr(self._own, "thread", None)
        return thread or self.renew()

    def renew(self) -> ThreadConnection:
        """Open a connection for the calling thread. It replaces the one that the thread has.

        Raises:
            StateError: the database cannot be opened, is damaged, or was written by a newer kfgcp.
            UsageError: the connections were closed.
        """
        if self._is_closed:
            raise closed_error(self._file)
        thread = ThreadConnection(database.connect(self._file))
        self._inode = self._inode or database.read_inode(self._file)
        with self._guard:
            # Another thread may have closed the connections while this one connected.
            if self._is_closed:
                raise closed_error(self._file)
            self._all.add(thread)
            self._own.thread = thread
        return thread

    @property
    def are_current(self) -> bool:
        """Whether they lead to the file that exists now, and were opened to write.

        The file is another one after its folder was deleted and created again. A connection that
        was opened only to read may not see later changes.
        """
        try:
            is_same_file = database.read_inode(self._file) == self._inode
        except OSError:
            return False
        with self._guard:
            can_write = all(thread.connection.can_write for thread in self._all)
        return is_same_file and can_write and not self._must_close

    def close(self) -> None:
        """Close the connections of all threads, later if somebody keeps them open.

        A thread that works with its connection now finishes its statement. Its connection is closed
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
        """End what `keep_open` began."""
        with self._guard:
            self._user_count -= 1
            if self._must_close and self._user_count == 0:
                self._close_all()

    def _close_all(self) -> None:
        self._is_closed = True
        self._own = threading.local()
        # The list keeps each ThreadConnection alive during its turn.
        for thread in list(self._all):
            # SQLite must not close a connection while another thread executes a statement on it.
            if thread.in_use.acquire(blocking=False):
                thread.connection.close()
                thread.in_use.release()


def closed_error(file: Path) -> UsageError:
    """Return the error for the use of a store after `close`."""
    return UsageError(
        f"The store {file} was closed.",
        hint="Use it before close(), or open it again: kfgcp.Workspace.open(FOLDER)",
    )
