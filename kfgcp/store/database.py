"""Open the SQLite database, migrate it to the newest schema, and convert its errors into ours.

The database is in WAL mode, so readers never wait for the writer. A commit is on the disk before it
returns (0.2 ms on an SSD, measured by benchmarks/commits.py). So a state that was shown to somebody
survives a power cut.
"""

from __future__ import annotations

import errno
import json
import os
import sqlite3
import time
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import quote

from kfgcp import private
from kfgcp.errors import DiskFull, StateError

_MIGRATIONS: Final = Path(__file__).parent / "migrations"
SCHEMA_VERSION: Final = 13

# How long SQLite waits for the write lock of another process. Our own transactions take
# milliseconds, so only a backup or a database browser can hold the lock this long.
BUSY_SECONDS: Final = 30.0

# Seconds between two attempts to switch a new file to WAL mode.
_WAL_RETRY_SECONDS: Final = 0.02


class DiskFullNote(UserWarning):
    """The warning that the disk of the state folder is full.

    Runs that were recorded before are shown, and nothing new is recorded.
    """


class Connection(sqlite3.Connection):
    """A connection to the database.

    Attributes:
        can_write: False when it was opened only to read, because the database cannot be written or
            the disk is full.
        is_full: True when it can only read because the disk has no room for writing.
    """

    can_write = True
    is_full = False


def connect(file: Path) -> Connection:
    """Open the database at `file` with the newest schema, and create it when it does not exist.

    A database that this user cannot write, or whose disk is full, is opened only to read. When the
    disk is full, the warning `DiskFullNote` says so.

    Raises:
        StateError: the database cannot be opened, is damaged, or was written by a newer kfgcp.
    """
    with convert_errors(file):
        if file.exists() and not is_writable(file):
            return _connect_to_read(file)
        private.make_state_folder(file)
        try:
            connection = _connect_to_write(file)
        except sqlite3.Error as error:
            if not _is_disk_full(error, file) or not file.exists():
                raise
            connection = _connect_to_full(file)
            warn_disk_full(file)
        if private.is_private(file.parent):
            # SQLite creates the database with the mode of the umask, and later -wal and -shm files
            # with the mode of the database.
            for suffix in ("", "-wal", "-shm"):
                private.close(file.with_name(file.name + suffix))
        return connection


def _connect_to_write(file: Path) -> Connection:
    connection = _open(str(file))
    try:
        # Both settings belong to the connection, not to the file.
        # foreign_keys: the rows of all tables are deleted with their run.
        connection.execute("PRAGMA foreign_keys = ON")
        # FULL: in WAL mode, NORMAL can lose the last commits in a power cut
        # (docs/decisions/0002-synchronous-full.md).
        connection.execute("PRAGMA synchronous = FULL")
        _migrate(connection, file)
    except BaseException:
        connection.close()
        raise
    return connection


def _connect_to_full(file: Path) -> Connection:
    """Open a database only to read, when the disk has no room for its file `-shm`.

    The file `-wal` contains what a killed process recorded last. SQLite reads `-wal` without `-shm`
    only when it has the database for itself (`locking_mode = EXCLUSIVE`). So this function copies
    the database into memory at once, and other processes wait only for this copy. When `-wal` is
    empty, the database can be read like a file that never changes.
    """
    wal = file.with_name(f"{file.name}-wal")
    if wal.exists() and wal.stat().st_size > 0:
        connection = _open(":memory:")
        with closing(_open(str(file))) as exclusive:
            # This comes before the first read, because a read in the normal mode needs `-shm`.
            exclusive.execute("PRAGMA locking_mode = EXCLUSIVE")
            exclusive.backup(connection)
        connection.execute("PRAGMA query_only = ON")
    else:
        connection = _open(f"file:{quote(str(file))}?mode=ro&immutable=1", uri=True)
    connection.can_write = False
    connection.is_full = True
    version = _read_version(connection)
    if version < SCHEMA_VERSION:
        # A migration would have to write.
        connection.close()
        raise disk_full_error(file)
    _refuse_newer(version, file)
    return connection


def warn_disk_full(file: Path) -> None:
    """Warn that the disk is full.

    Python shows the same warning of the same line only once, so all callers share this function.
    """
    text = f"The disk of {file} is full: kfgcp shows recorded runs, but cannot record anything new."
    warnings.warn(text, DiskFullNote, stacklevel=1)


def is_writable(file: Path) -> bool:
    """Return whether this user may write the database and the files that SQLite makes beside it."""
    return os.access(file, os.W_OK) and os.access(file.parent, os.W_OK)


def examine(file: Path) -> None:
    """Check that the pages of a database are sound and that this version knows its schema.

    Nothing is written, and no migration runs.

    Raises:
        StateError: the database cannot be opened, is damaged, or was written by a newer kfgcp.
    """
    with convert_errors(file):
        connection = _open(f"file:{quote(str(file))}?mode=ro", uri=True)
        try:
            _refuse_newer(_read_version(connection), file)
            result = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
        finally:
            connection.close()
    if result != "ok":
        raise damaged_error(file, " ".join(result.split()))


def _connect_to_read(file: Path) -> Connection:
    """Open a database that this user cannot write.

    To read a database in WAL mode, SQLite must create files beside it, unless another process has
    it open. When SQLite cannot create them, the database is opened as a file that never changes
    (`immutable`). Runs that start later are then missing or incomplete.
    """
    address = f"file:{quote(str(file))}"
    connection = _open(f"{address}?mode=ro", uri=True)
    try:
        try:
            version = _read_version(connection)
        except sqlite3.OperationalError:
            connection.close()
            connection = _open(f"{address}?mode=ro&immutable=1", uri=True)
            version = _read_version(connection)
        if version < SCHEMA_VERSION:
            raise StateError(
                f"An older kfgcp wrote {file}. kfgcp must update this file, but cannot write it.",
                hint="Make its folder writable, or set KFGCP_HOME to a copy of the folder.",
            )
        _refuse_newer(version, file)
        connection.can_write = False
    except BaseException:
        connection.close()
        raise
    return connection


def _open(address: str, *, uri: bool = False) -> Connection:
    connection = sqlite3.connect(
        address,
        timeout=BUSY_SECONDS,
        # The sqlite3 module begins no transactions by itself: `transaction` does.
        isolation_level=None,
        # `ThreadConnections.close` closes the connections of other threads.
        check_same_thread=False,
        uri=uri,
        factory=Connection,
    )
    connection.row_factory = sqlite3.Row
    connection.create_function("contains", 2, _contains, deterministic=True)
    connection.create_function("unquote_json", 1, _unquote_json, deterministic=True)
    return connection


def _contains(text: str | None, part: str) -> bool:
    """Return whether a text contains another text in any case. `part` must be in folded case.

    SQLite's own LIKE ignores the case of ASCII letters only.
    """
    return text is not None and part in text.casefold()


def _unquote_json(json_value: str) -> str:
    """Return the text of a JSON string, and any other JSON value unchanged."""
    if not json_value.startswith('"'):
        return json_value
    if "\\" not in json_value:
        # Without escapes, the text is what stands between the quotes. This is faster than parsing.
        return json_value[1:-1]
    return str(json.loads(json_value)).encode("utf-8", "backslashreplace").decode()


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Commit all statements inside, or none of them.

    BEGIN IMMEDIATE takes the write lock first, and waits for it up to `BUSY_SECONDS`. A plain BEGIN
    takes the lock at the first write. If another process has written since the first read, SQLite
    then fails at once with SQLITE_BUSY_SNAPSHOT and does not wait.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # Some errors, such as a full disk, have already ended the transaction.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _migrate(connection: sqlite3.Connection, file: Path) -> None:
    version = _read_version(connection)
    if version == SCHEMA_VERSION:
        return
    _refuse_newer(version, file)
    _switch_to_wal(connection)
    for number in range(version + 1, SCHEMA_VERSION + 1):
        script = next(_MIGRATIONS.glob(f"{number:04d}_*.sql")).read_text(encoding="utf-8")
        # The statements and the new version are one transaction: a killed migration leaves nothing.
        with transaction(connection):
            # Another process may have migrated while this one waited for the lock.
            if _read_version(connection) >= number:
                continue
            for statement in _split_statements(script):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number}")
    connection.execute("UPDATE state_folder SET inode = ? WHERE inode = ''", (read_inode(file),))


def read_inode(file: Path) -> str:
    """Return the inode number of the database. A copy of the database has another one."""
    return str(file.stat().st_ino)


def _refuse_newer(version: int, file: Path) -> None:
    if version > SCHEMA_VERSION:
        # Only here: reading metadata of distributions takes time.
        from kfgcp.installation import upgrade_hint

        raise StateError(
            f"A newer kfgcp wrote {file}: the schema of the file is {version}, but this kfgcp"
            f" knows only {SCHEMA_VERSION}.",
            hint=upgrade_hint(),
        )


def _switch_to_wal(connection: sqlite3.Connection) -> None:
    """Switch a database to WAL mode.

    Several processes may open a new file at once. SQLite applies its timeout to other statements,
    but this statement fails with SQLITE_BUSY at once.
    """
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            is_busy = error.sqlite_errorname.startswith("SQLITE_BUSY")
            if not is_busy or time.monotonic() > deadline:
                raise
            time.sleep(_WAL_RETRY_SECONDS)


def _read_version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _split_statements(script: str) -> Iterator[str]:
    """Yield the statements of a script. `executescript` would commit the open transaction."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


@contextmanager
def convert_errors(file: Path) -> Iterator[None]:
    """Convert errors of SQLite and of the file system into our errors, which have a hint.

    Raises:
        DiskFull: the disk has no room.
        StateError: there was any other error.
    """
    try:
        yield
    except sqlite3.Error as error:
        raise _convert_sqlite_error(error, file) from error
    except PermissionError as error:
        raise read_only_error(file.parent) from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise disk_full_error(file) from error
        if error.errno == errno.EROFS:
            raise read_only_error(file.parent) from error
        raise StateError(
            f"The state folder {file.parent} cannot be used: {error.strerror or error}.",
            hint="Set KFGCP_HOME to another folder, or free some disk space.",
        ) from error


def _convert_sqlite_error(error: sqlite3.Error, file: Path) -> StateError:
    """Return our error for an error of SQLite.

    https://sqlite.org/rescode.html lists the names of the errors.
    """
    name = _read_error_name(error)
    if _is_disk_full(error, file):
        return disk_full_error(file)
    if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
        return read_only_error(file.parent)
    if name.startswith("SQLITE_BUSY"):
        return StateError(
            f"Another process has locked {file} for {BUSY_SECONDS:.0f} s.",
            hint="Close the program that uses the file, such as a backup or a database browser."
            " Then try again.",
        )
    if name.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")):
        return damaged_error(file, str(error))
    if name.startswith("SQLITE_IOERR"):
        return StateError(
            f"{file} cannot be read or written: {error} ({name}).",
            hint="Check the disk, or set KFGCP_HOME to a local folder.",
        )
    return StateError(f"{file}: {error} ({name or type(error).__name__}).")


def _is_disk_full(error: sqlite3.Error, file: Path) -> bool:
    """Return whether SQLite failed because the disk of the database has no room."""
    name = _read_error_name(error)
    if name.startswith("SQLITE_CANTOPEN"):
        # SQLite cannot open a new file either when the folder has no room for its name.
        file_system = os.statvfs(file.parent)
        has_blocks = file_system.f_bavail > 0
        # Some file systems create inodes as needed, and report a total of 0 inodes.
        has_inodes = file_system.f_files == 0 or file_system.f_favail > 0
        has_room = has_blocks and has_inodes
        return is_writable(file) and not has_room
    # SQLITE_IOERR_SHMSIZE: there is no room for the file -shm.
    return name.startswith(("SQLITE_FULL", "SQLITE_IOERR_SHMSIZE"))


def _read_error_name(error: sqlite3.Error) -> str:
    """Return the name of an error of SQLite, "" for an error of the Python module itself."""
    return getattr(error, "sqlite_errorname", "") or ""


def disk_full_error(file: Path) -> DiskFull:
    """Return the error that the disk of the database is full."""
    return DiskFull(
        f"The disk of {file} is full. All runs that kfgcp recorded before are still there.",
        hint=f"Free some space, then run again. Files of runs are in {file.parent}/artifacts.",
    )


def damaged_error(file: Path, reason: str) -> StateError:
    """Return the error that the database is damaged."""
    return StateError(
        f"{file} is damaged: {reason}.",
        hint=f"kfgcp has not changed the file. Move it away, and kfgcp makes a new one:"
        f" mv '{file}' '{file}.damaged'. Artifacts and logs beside it stay.\n"
        f"To save its content, try: sqlite3 '{file}.damaged' .recover",
    )


def read_only_error(folder: Path) -> StateError:
    """Return the error that the state folder cannot be written."""
    return StateError(
        f"The state folder {folder} cannot be written.",
        hint="Make the folder writable, or set KFGCP_HOME to a writable folder.",
    )
