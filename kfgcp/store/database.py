"""The SQLite file: opening it, bringing it to the newest schema, and its failures in words.

WAL mode, so that readers never wait for the writer; a commit is synchronised to the disk before it
returns (0.2 ms on an SSD), so a state that was shown survives a power cut.
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
from urllib.parse import quote

from kfgcp import private
from kfgcp.errors import DiskFull, StateError

_MIGRATIONS = Path(__file__).parent / "migrations"
SCHEMA_VERSION = 13
BUSY_SECONDS = 30.0


class DiskFullNote(UserWarning):
    """The disk of the state folder is full: what was recorded is shown, and nothing is recorded."""


class Connection(sqlite3.Connection):
    """A connection to the database.

    Attributes:
        can_write: False when it was opened only to read, because the database cannot be written or
            the disk is full.
        is_full: it can only be read, because the disk has no room for writing.
    """

    can_write = True
    is_full = False


def connect(file: Path) -> Connection:
    """A connection to the database at `file`, made if it is not there, with the newest schema. One
    that cannot be written, or whose disk is full, can be read; of a full disk the warning
    `DiskFullNote` tells.

    Raises:
        StateError: it cannot be opened, is damaged, or was written by a newer kfgcp.
    """
    with failures(file):
        if file.exists() and not writable(file):
            return _connect_to_read(file)
        private.make_state_folder(file)
        try:
            connection = _connect_to_write(file)
        except sqlite3.Error as error:
            if not _is_full(error, file) or not file.exists():
                raise
            connection = _connect_to_full(file)
            note_full(file)
        if private.is_private(file.parent):
            for suffix in ("", "-wal", "-shm"):
                private.close(
                    file.with_name(file.name + suffix)
                )  # SQLite gives new ones the mode of the database
        return connection


def _connect_to_write(file: Path) -> Connection:
    connection = _open(str(file))
    try:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = FULL")
        _migrate(connection, file)
    except BaseException:
        connection.close()
        raise
    return connection


def _connect_to_full(file: Path) -> Connection:
    """Open a database that SQLite cannot open as usual, because there is no room for its file
    `-shm`.

    What a killed process recorded last is still in the file `-wal`. SQLite reads it without `-shm`
    when nobody else has the database open: it is read into memory at once, so that nobody has to
    wait. Without such a file the database can be read like one that does not change.
    """
    log = file.with_name(f"{file.name}-wal")
    if log.exists() and log.stat().st_size > 0:
        connection = _open(":memory:")
        with closing(_open(str(file))) as alone:
            alone.execute("PRAGMA locking_mode = EXCLUSIVE")
            alone.backup(connection)
        connection.execute("PRAGMA query_only = ON")
    else:
        connection = _open(f"file:{quote(str(file))}?mode=ro&immutable=1", uri=True)
    connection.can_write = False
    connection.is_full = True
    version = _version(connection)
    if version < SCHEMA_VERSION:
        connection.close()
        raise full(file)
    _refuse_newer(version, file)
    return connection


def note_full(file: Path) -> None:
    """Warn that the disk is full; from one place in the code, so that Python shows the same text
    once."""
    text = f"The disk of {file} is full: recorded runs are shown, but nothing new can be recorded."
    warnings.warn(text, DiskFullNote, stacklevel=1)


def writable(file: Path) -> bool:
    """Whether this user may write the database and the files that SQLite makes beside it."""
    return os.access(file, os.W_OK) and os.access(file.parent, os.W_OK)


def examine(file: Path) -> None:
    """Passes a database whose pages are sound and whose schema is known; nothing is written or
    brought up to date.

    Raises:
        StateError: it cannot be opened, is damaged, or was written by a newer kfgcp.
    """
    with failures(file):
        connection = _open(f"file:{quote(str(file))}?mode=ro", uri=True)
        try:
            _refuse_newer(_version(connection), file)
            found = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
        finally:
            connection.close()
    if found != "ok":
        raise damaged(file, " ".join(found.split()))


def _connect_to_read(file: Path) -> Connection:
    """A connection that refuses writes.

    Beside a database that nobody has open SQLite wants to make files even to read it. Where it
    cannot, the database is taken for one that does not change: what runs start meanwhile record is
    not seen, or seen in part.
    """
    address = f"file:{quote(str(file))}"
    connection = _open(f"{address}?mode=ro", uri=True)
    try:
        try:
            version = _version(connection)
        except sqlite3.OperationalError:
            connection.close()
            connection = _open(f"{address}?mode=ro&immutable=1", uri=True)
            version = _version(connection)
        if version < SCHEMA_VERSION:
            raise StateError(
                f"{file} was written by an older kfgcp, and cannot be brought up to date: it cannot"
                " be written.",
                hint="Make its folder writable, or point KFGCP_HOME at a copy of the folder.",
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
        isolation_level=None,
        check_same_thread=False,
        uri=uri,
        factory=Connection,
    )
    connection.row_factory = sqlite3.Row
    connection.create_function("contains", 2, _contains, deterministic=True)
    connection.create_function("text_of", 1, _text_of, deterministic=True)
    return connection


def _contains(text: str | None, part: str) -> bool:
    """Whether a folded part is in a text, whatever the case; SQLite's LIKE knows that of ASCII
    only."""
    return text is not None and part in text.casefold()


def _text_of(value: str) -> str:
    """The text that a JSON value is; of one that is none its JSON."""
    if not value.startswith('"'):
        return value
    text = value[1:-1]
    return (
        str(json.loads(value)).encode("utf-8", "backslashreplace").decode()
        if "\\" in text
        else text
    )


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All of the statements inside, or none of them."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _migrate(connection: sqlite3.Connection, file: Path) -> None:
    version = _version(connection)
    if version == SCHEMA_VERSION:
        return
    _refuse_newer(version, file)
    _switch_to_wal(connection)
    for number in range(version + 1, SCHEMA_VERSION + 1):
        script = next(_MIGRATIONS.glob(f"{number:04d}_*.sql")).read_text(encoding="utf-8")
        with transaction(connection):
            if _version(connection) >= number:
                continue
            for statement in _statements(script):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number}")
    connection.execute("UPDATE state_folder SET inode = ? WHERE inode = ''", (inode(file),))


def inode(file: Path) -> str:
    """Return what tells the database apart from a copy of it."""
    return str(file.stat().st_ino)


def _refuse_newer(version: int, file: Path) -> None:
    if version > SCHEMA_VERSION:
        # Only here: reading metadata of distributions takes time.
        from kfgcp.installation import upgrade_hint

        raise StateError(
            f"{file} was written by a newer kfgcp (schema {version}, this one knows"
            f" {SCHEMA_VERSION}).",
            hint=upgrade_hint(),
        )


def _switch_to_wal(connection: sqlite3.Connection) -> None:
    """Several processes may open a new file at once; for this statement SQLite itself does not wait
    for the others."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if not error.sqlite_errorname.startswith("SQLITE_BUSY") or time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _statements(script: str) -> Iterator[str]:
    """The statements of a script one by one: executescript would commit the open transaction."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


@contextmanager
def failures(file: Path) -> Iterator[None]:
    """Turns the failures of SQLite and of the file system into one line and a hint."""
    try:
        yield
    except sqlite3.Error as error:
        raise _explain(error, file) from error
    except PermissionError as error:
        raise read_only(file.parent) from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise full(file) from error
        if error.errno == errno.EROFS:
            raise read_only(file.parent) from error
        raise StateError(
            f"The state folder {file.parent} cannot be used: {error.strerror or error}.",
            hint="Point KFGCP_HOME at another folder, or make room.",
        ) from error


def _explain(error: sqlite3.Error, file: Path) -> StateError:
    code = getattr(error, "sqlite_errorname", "") or ""
    if _is_full(error, file):
        return full(file)
    if code.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
        return read_only(file.parent)
    if code.startswith("SQLITE_BUSY"):
        return StateError(
            f"{file} has been locked by another process for {BUSY_SECONDS:.0f} s.",
            hint="Is a backup or a database browser holding it? Close it and try again.",
        )
    if code.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")):
        return damaged(file, str(error))
    if code.startswith("SQLITE_IOERR"):
        return StateError(
            f"{file} cannot be read or written: {error} ({code}).",
            hint="Is the disk full or gone? Point KFGCP_HOME at a local folder.",
        )
    return StateError(f"{file}: {error} ({code or type(error).__name__}).")


def _is_full(error: sqlite3.Error, file: Path) -> bool:
    code = getattr(error, "sqlite_errorname", "") or ""
    if code.startswith("SQLITE_CANTOPEN"):  # also when there is no room for the name of a new file
        room = os.statvfs(file.parent)
        return writable(file) and 0 in (room.f_bavail, room.f_favail if room.f_files else 1)
    return code.startswith(
        ("SQLITE_FULL", "SQLITE_IOERR_SHMSIZE")
    )  # the second: no room for the -shm file


def full(file: Path) -> DiskFull:
    return DiskFull(
        f"The disk of {file} is full; what was recorded before is kept.",
        hint=f"Free some space, then run again. Files of runs are in {file.parent}/artifacts.",
    )


def damaged(file: Path, how: str) -> StateError:
    return StateError(
        f"{file} is damaged: {how}.",
        hint=f"Nothing was changed. Move it aside and start anew: mv '{file}' '{file}.damaged' "
        f"(artifacts and logs beside it stay), or try: sqlite3 '{file}.damaged' .recover",
    )


def read_only(folder: Path) -> StateError:
    return StateError(
        f"The state folder {folder} cannot be written.",
        hint="Make it writable, or point KFGCP_HOME at a folder that is.",
    )
