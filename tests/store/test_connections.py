"""A store that several threads share: each has a connection, and nobody waits for the writer."""

import os
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kfgcp.errors import UsageError
from kfgcp.model import Metric, Run, RunState
from kfgcp.store.rows import Changes
from kfgcp.store.store import Store
from patience import REQUEST

MakeRun = Callable[..., Run]


def test_a_reader_sees_the_last_commit_while_another_thread_writes(
    store: Store, make_run: MakeRun
) -> None:
    """With one connection for both, the reader would wait, or see what is not committed yet."""
    store.add_run(make_run(state=RunState.RUNNING))
    writing, read = threading.Event(), threading.Event()

    def write() -> None:
        with store._transaction():
            store._db.execute("UPDATE runs SET state = 'FAILED'")
            writing.set()
            assert read.wait(REQUEST)

    with ThreadPoolExecutor(1) as pool:
        written = pool.submit(write)
        assert writing.wait(REQUEST)
        before = store.get("aaaa00000001").state
        read.set()
        written.result(REQUEST)

    assert before is RunState.RUNNING
    assert store.get("aaaa00000001").state is RunState.FAILED


def test_threads_that_write_through_one_store_lose_nothing(store: Store, make_run: MakeRun) -> None:
    store.add_run(make_run(state=RunState.RUNNING))

    def write(name: str) -> None:
        for number in range(50):
            store.apply("aaaa00000001", Changes(metrics=[Metric(name, "m", str(number), number)]))

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(write, ("one", "two")))

    assert len(store.get("aaaa00000001").metrics) == 100


def test_the_connection_of_a_thread_is_closed_when_the_thread_ends(store: Store) -> None:
    """SQLite keeps one open file for the next connection while others use the database."""

    def read() -> sqlite3.Connection:
        store.select()
        return store._db

    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        with ThreadPoolExecutor(1) as pool:
            connection = pool.submit(read).result(REQUEST)
        with pytest.raises(sqlite3.ProgrammingError, match="closed"):
            connection.execute("SELECT 1")

    assert len(os.listdir("/proc/self/fd")) < before + 5


def test_a_closed_store_is_one_clear_error_in_every_thread(store: Store, home: Path) -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(store.select).result(REQUEST)
        store.close()

        for use in (store.select, store.removals, lambda: store.add_removals(["x"])):
            for call in (use, lambda use=use: pool.submit(use).result(REQUEST)):
                with pytest.raises(
                    UsageError, match=r"The store .*kfgcp\.db was closed\."
                ) as caught:
                    call()
                assert "kfgcp.Workspace.open" in caught.value.hint
    store.close()
    with sqlite3.connect(home / ".kfgcp" / "kfgcp.db") as exclusive:
        exclusive.execute("PRAGMA locking_mode = EXCLUSIVE")
        exclusive.execute("UPDATE state_folder SET inode = inode")
    exclusive.close()


def test_a_store_that_is_kept_open_is_closed_later(store: Store) -> None:
    """Two engines of this process use it."""
    store.keep_open()
    store.keep_open()
    store.close()

    store.allow_close()
    assert store.select() == []
    with pytest.raises(UsageError, match="was closed"):
        store.keep_open()
    store.allow_close()

    with pytest.raises(UsageError, match="was closed"):
        store.select()


def test_close_lets_a_thread_finish_what_it_does(
    store: Store, make_run: MakeRun, home: Path
) -> None:
    store.add_run(make_run(state=RunState.RUNNING))
    writing, closed = threading.Event(), threading.Event()

    def write() -> None:
        with store._transaction():
            db = store._db
            writing.set()
            assert closed.wait(REQUEST)
            db.execute("UPDATE runs SET state = 'FAILED'")

    with ThreadPoolExecutor(1) as pool:
        written = pool.submit(write)
        assert writing.wait(REQUEST)
        store.close()
        closed.set()
        written.result(REQUEST)

    with Store(home / ".kfgcp") as again:
        assert again.get("aaaa00000001").state is RunState.FAILED
