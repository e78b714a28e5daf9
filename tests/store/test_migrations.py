"""A new or older database gets the newest schema and keeps its runs."""

import json
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from kfgcp.backends.kubeflow.cancelling import CancellingRuns
from kfgcp.model import ErrorInfo, ErrorKind
from kfgcp.store import database
from kfgcp.store.rows import Origin
from kfgcp.store.store import Store
from patience import PROCESS


def _tables(file: Path) -> set[str]:
    connection = sqlite3.connect(file)
    try:
        return {
            row[0]
            for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
        }
    finally:
        connection.close()


TABLES = {"specs", "runs", "params", "labels", "tasks", "artifacts", "metrics", "cache"}
MIGRATIONS = Path(database.__file__).parent / "migrations"


@pytest.mark.parametrize("there_before", [False, True], ids=["no-file", "empty-file"])
def test_nothing_becomes_a_database_of_the_newest_schema(
    tmp_path: Path, there_before: bool
) -> None:
    file = tmp_path / "deep" / "kfgcp.db"
    if there_before:
        file.parent.mkdir()
        file.touch()

    connection = database.connect(file)

    assert connection.execute("PRAGMA user_version").fetchone()[0] == database.SCHEMA_VERSION
    assert connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    assert connection.execute("PRAGMA synchronous").fetchone()[0] == 2
    connection.close()
    assert _tables(file) >= TABLES


def test_there_is_one_migration_a_version() -> None:
    assert sorted(int(file.name[:4]) for file in MIGRATIONS.glob("*.sql")) == [
        number + 1 for number in range(database.SCHEMA_VERSION)
    ]


@pytest.mark.parametrize("version", range(1, database.SCHEMA_VERSION + 1))
def test_a_database_of_an_older_kfgcp_is_brought_up_and_keeps_its_runs(
    tmp_path: Path, version: int
) -> None:
    file = tmp_path / "kfgcp.db"
    old = _old_database(file, version)
    old.execute(
        "INSERT INTO runs (run_id, env, backend, pipeline, version, experiment, name, state,"
        " created_at) VALUES ('old', 'local', 'local', 'p', 'v', 'default', 'n', 'SUCCEEDED',"
        " '2020-01-01T00:00:00.000Z')"
    )
    old.close()

    with Store(tmp_path) as store:
        assert store.get("old").name == "n"

    assert _tables(file) >= TABLES


OLD_ERRORS = [
    (
        "the engine was killed or crashed before the run ended; go on with: kfgcp run --resume r",
        "INTERRUPTED",
    ),
    ("the engine could not be started: no memory", None),
    ("the run was deleted before it had ended here", "DELETED"),
    ("the task failed; its log says why", "LOG_UNREAD"),
    ("the task could not be started; the log of its driver says why", "LOG_UNREAD"),
    ("the pipeline could not be started; the log of its pod root-driver says why", "LOG_UNREAD"),
    ("the task failed; its log does not say why", "LOG_SILENT"),
    ("the task failed; its log was not kept", None),
    ("ValueError: é \ud83d", None),
]
"""Messages as kfgcp wrote them with schema 12, with the kind that each of them meant."""


@pytest.mark.parametrize(("message", "kind"), OLD_ERRORS)
def test_what_a_message_meant_is_the_kind_of_the_error_after_a_migration(
    tmp_path: Path, message: str, kind: str | None
) -> None:
    error = ErrorInfo(message, "say", ("last line",), "a hint")
    backend = "local" if "engine" in message else "kubeflow"
    old = _old_database(tmp_path / "kfgcp.db", 12)
    old.execute(
        "INSERT INTO runs (run_id, env, backend, pipeline, version, experiment, name, state,"
        " created_at, error) VALUES ('old', 'e', ?, 'p', 'v', 'default', 'n', 'FAILED',"
        " '2020-01-01T00:00:00.000Z', ?)",
        (backend, json.dumps(error.to_dict(), separators=(",", ":"))),
    )
    old.close()

    with Store(tmp_path) as store:
        recorded = store.get("old").error

    assert recorded == replace(error, kind=ErrorKind(kind) if kind else None)


def test_errors_of_tasks_have_a_kind_after_a_migration(tmp_path: Path) -> None:
    old = _old_database(tmp_path / "kfgcp.db", 12)
    for run_id, backend in (("gke", "kubeflow"), ("here", "local")):
        old.execute(
            "INSERT INTO runs (run_id, env, backend, pipeline, version, experiment, name, state,"
            " created_at) VALUES (?, 'e', ?, 'p', 'v', 'default', 'n', 'FAILED',"
            " '2020-01-01T00:00:00.000Z')",
            (run_id, backend),
        )
        old.executemany(
            "INSERT INTO tasks VALUES (?, ?, 1, 1, 'container', 'FAILED', 1, NULL, NULL, NULL,"
            " '{}', '{}', ?)",
            [
                (
                    run_id,
                    "unread",
                    '{"task":"unread","message":"the task failed; its log says why","log_tail":[]}',
                ),
                (run_id, "read", '{"task":"read","message":"ValueError: no","log_tail":[]}'),
            ],
        )
    old.close()

    with Store(tmp_path) as store:
        kinds = {
            (run_id, task.path): task.error.kind
            for run_id in ("gke", "here")
            for task in store.tasks(run_id)
            if task.error is not None
        }

    assert kinds == {
        ("gke", "unread"): ErrorKind.LOG_UNREAD,
        ("gke", "read"): None,
        ("here", "unread"): None,
        ("here", "read"): None,
    }


@pytest.mark.parametrize(
    ("ending", "count"), [(None, 0), ("", 1), (" again", 2), (" again again", 3)]
)
def test_requests_to_cancel_are_counted_after_a_migration(
    tmp_path: Path, ending: str | None, count: int
) -> None:
    at = "2020-01-01T00:00:01.000Z"
    old = _old_database(tmp_path / "kfgcp.db", 12)
    old.execute(
        "INSERT INTO runs (run_id, env, backend, backend_ref, pipeline, version, experiment, name,"
        " state, created_at, cancel_requested_at) VALUES ('old', 'e', 'local', 'ref', 'p', 'v',"
        " 'default', 'n', 'RUNNING', '2020-01-01T00:00:00.000Z', ?)",
        (None if ending is None else at + ending,),
    )
    old.close()

    with Store(tmp_path) as store:
        cancellation = store.cancellation("ref")
        assert store.cancel_requests("old") == count

    assert cancellation is not None
    assert cancellation.requested_at == ("" if ending is None else at)


def test_runs_without_a_workflow_are_still_known_after_a_migration(tmp_path: Path) -> None:
    old = _old_database(tmp_path / "kfgcp.db", 12)
    old.executemany(
        "INSERT INTO names VALUES ('place/', 'cancelling since', ?, ?)",
        [("a", "gone"), ("b", "2020-01-01T00:00:00.000Z")],
    )
    old.close()

    with Store(tmp_path) as store:
        runs = CancellingRuns(store, "place/", lambda: 0.0)

    assert (runs.never_ends("a"), runs.never_ends("b")) == (True, False)


def _old_database(file: Path, version: int) -> sqlite3.Connection:
    """Return a connection to a new database with an earlier schema."""
    old = sqlite3.connect(file, isolation_level=None)
    for number in range(1, version + 1):
        old.executescript(next(MIGRATIONS.glob(f"{number:04d}_*.sql")).read_text())
    old.execute(f"PRAGMA user_version = {version}")
    return old


def test_what_runs_of_an_earlier_version_use_is_found_in_their_records(tmp_path: Path) -> None:
    """Version 8 did not say where the outputs of a cached task came from: they are the same as
    those of the task that ran. The run `use` was cached from `mak`, the run `imp` imported a file
    of it, and `oth` is another pipeline."""
    old = sqlite3.connect(tmp_path / "kfgcp.db", isolation_level=None)
    for number in range(1, 9):
        old.executescript(next(MIGRATIONS.glob(f"{number:04d}_*.sql")).read_text())
    uri = "file:///p/.kfgcp/artifacts/p/mak/loop[1]/train/2/model"
    model = (
        '{"params":{},"artifacts":'
        '{"model":[{"uri":"/p/.kfgcp/artifacts/p/mak/loop[1]/train/2/model"}]}}'
    )
    number = '{"params":{"Output":3},"artifacts":{}}'
    for seq, (run, pipeline) in enumerate((("mak", "p"), ("use", "p"), ("imp", "i"), ("oth", "o"))):
        old.execute(
            "INSERT INTO runs (run_id, env, backend, pipeline, version, experiment, name, state,"
            " created_at) VALUES (?, 'local', 'local', ?, 'v', 'default', 'n', 'SUCCEEDED', ?)",
            (run, pipeline, f"2020-01-0{seq + 1}"),
        )
    for run, task, kind, state, attempts, key, outputs, ended in (
        ("mak", "loop[1]/train", "container", "SUCCEEDED", 2, "k1", model, "2020-01-01"),
        ("mak", "add", "container", "SUCCEEDED", 1, "k2", number, "2020-01-01"),
        ("use", "loop[1]/train", "container", "CACHED", 0, "k1", model, "2020-01-02"),
        ("use", "add", "container", "CACHED", 0, "k2", number, "2020-01-02"),
        ("imp", "importer", "importer", "SUCCEEDED", 1, "", model, "2020-01-03"),
        ("oth", "add", "container", "SUCCEEDED", 1, "k2", number, "2020-01-01"),
    ):
        old.execute(
            "INSERT INTO tasks VALUES (?, ?, 0, 0, ?, ?, ?, NULL, ?, ?, '{}', '{}', NULL)",
            (run, task, kind, state, attempts, ended, ended),
        )
        old.execute("INSERT INTO outcomes VALUES (?, ?, ?, ?)", (run, task, key, outputs))
        if outputs == model:
            old.execute(
                "INSERT INTO artifacts VALUES (?, 0, ?, 'model', 'system.Model', ?, '{}')",
                (run, task, uri),
            )
    for key, task, outputs in (
        ("k1", "loop/train", model),
        ("k2", "add", number),
        ("k3", "lost", '{"params":{}}'),
    ):
        old.execute(
            "INSERT INTO cache VALUES ('p', ?, ?, 'mak', '2020-01-01', '{}', ?)",
            (key, task, outputs),
        )
    old.execute("PRAGMA user_version = 8")
    old.close()

    trained, added = Origin("mak", "loop[1]/train", 2), Origin("mak", "add", 1)
    with Store(tmp_path) as store:
        assert store.users("mak") == {trained: ["use", "imp"], added: ["use"]}
        assert store.origins("use") == {"loop[1]/train": trained, "add": added}
        assert store.users("oth") == {}
        entries = [store.find_cached("p", key) for key in ("k1", "k2", "k3")]
        assert [entry and entry.origin for entry in entries] == [trained, added, None]


def test_processes_that_open_a_new_store_at_once_all_get_one(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from kfgcp.store.store import Store;"
        " Store(Path(sys.argv[1])).select()"
    )
    starting = [
        subprocess.Popen(
            [sys.executable, "-c", code, tmp_path / "new"], stderr=subprocess.PIPE, text=True
        )
        for _ in range(5)
    ]

    assert [process.communicate(timeout=PROCESS)[1] for process in starting] == [""] * 5
    assert _tables(tmp_path / "new" / "kfgcp.db") >= TABLES


def test_a_migration_that_was_killed_half_way_is_done_again(tmp_path: Path) -> None:
    file = tmp_path / "kfgcp.db"
    connection = sqlite3.connect(file, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("CREATE TABLE runs (half TEXT)")
    connection.close()  # as if the process had died: nothing was committed

    database.connect(file).close()

    assert _tables(file) >= TABLES


def test_an_engine_of_the_version_before_continues_after_the_migration(tmp_path: Path) -> None:
    """It keeps its connection open, and writes the statements of schema 10 for the cache."""
    add = (
        "INSERT OR REPLACE INTO cache (pipeline, key, task, run_id, path, attempt, stored_at,"
        " parts, outputs)"
        " VALUES ('p', ?, 'train', ?, 'train', 1, ?, '{}',"
        """ '{"params":{"Output":1},"artifacts":{}}')"""
    )
    delete = (
        "UPDATE cache SET outputs = 'null' WHERE run_id = ? AND NOT EXISTS (SELECT 1 FROM uses"
        " WHERE made_by = cache.run_id AND made_task = cache.path AND uses.attempt = cache.attempt)"
    )
    old = sqlite3.connect(tmp_path / "kfgcp.db", isolation_level=None)
    old.execute("PRAGMA journal_mode = WAL")
    for number in range(1, 11):
        old.executescript(next(MIGRATIONS.glob(f"{number:04d}_*.sql")).read_text())
    old.execute("PRAGMA user_version = 10")
    old.execute(add, ("before", "aaa", "2026-01-01"))
    old.execute(add, ("deleted", "bbb", "2026-01-01"))
    old.execute(delete, ("bbb",))

    with Store(tmp_path) as store:
        old.execute(add, ("after", "ccc", "2026-01-02"))
        cached = {key: store.find_cached("p", key) for key in ("before", "deleted", "after")}
        deleted = store.find_deleted("p", "deleted")
        old.execute(delete, ("ccc",))
        deleted_later = store.find_deleted("p", "after")

    assert [key for key, entry in cached.items() if entry is not None] == ["before", "after"]
    assert cached["after"] is not None
    assert cached["after"].outputs == {"params": {"Output": 1}, "artifacts": {}}
    assert deleted is not None
    assert deleted.run_id == "bbb"
    assert deleted_later is not None
    assert deleted_later.run_id == "ccc"
    old.close()
