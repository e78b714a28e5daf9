"""Threads and processes that write to one store, and processes that are killed while they do."""

import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from kfgcp.errors import StateError
from kfgcp.model import Metric, Run, RunState
from kfgcp.store.rows import Changes
from kfgcp.store.store import Store
from patience import PROCESS

MakeRun = Callable[..., Run]


def test_threads_that_write_at_once_lose_nothing(
    store: Store, home: Path, make_run: MakeRun
) -> None:
    store.add_run(make_run(state=RunState.RUNNING))
    failures: list[BaseException] = []

    def write(name: str) -> None:
        try:
            with Store(home / ".kfgcp") as own:
                for number in range(100):
                    own.apply(
                        "aaaa00000001", Changes(metrics=[Metric(name, "m", str(number), number)])
                    )
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(name,)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert not failures
    assert len(store.get("aaaa00000001").metrics) == 200
    assert store.rev("aaaa00000001") == 201


WRITER = """
import itertools, sys
from pathlib import Path
from kfgcp.model import Metric
from kfgcp.store.rows import Changes
from kfgcp.store.store import Store

home, name, count = sys.argv[1:]
with Store(Path(home)) as store:
    for number in range(int(count)) if count else itertools.count():
        store.apply("aaaa00000001", Changes(metrics=[Metric(name, "m", str(number), number)]))
        print(number, flush=True)
"""


def _writer(home: Path, name: str, count: str = "") -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(home), name, count],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_processes_that_write_at_once_lose_nothing(
    store: Store, home: Path, make_run: MakeRun
) -> None:
    store.add_run(make_run(state=RunState.RUNNING))
    writers = [_writer(home / ".kfgcp", name, "150") for name in ("one", "two")]
    for writer in writers:
        _, errors = writer.communicate(timeout=PROCESS)
        assert (writer.returncode, errors) == (0, "")

    assert {(metric.task, metric.value) for metric in store.get("aaaa00000001").metrics} == {
        (name, number) for name in ("one", "two") for number in range(150)
    }


def test_what_a_killed_process_had_written_is_there(home: Path, make_run: MakeRun) -> None:
    folder = home / ".kfgcp"
    with Store(folder) as store:
        store.add_run(make_run(state=RunState.RUNNING))
    writer = _writer(folder, "killed")
    assert writer.stdout is not None
    acknowledged = [int(writer.stdout.readline()) for _ in range(40)]
    writer.send_signal(signal.SIGKILL)
    remaining_output = writer.stdout.read()  # communicate() would leave out what was read ahead
    writer.communicate()
    acknowledged += [
        int(line) for line in remaining_output.splitlines(keepends=True) if line.endswith("\n")
    ]

    with Store(folder) as store:
        recorded_values = {metric.value for metric in store.get("aaaa00000001").metrics}
    connection = sqlite3.connect(folder / "kfgcp.db")
    intact = connection.execute("PRAGMA integrity_check").fetchone()[0]
    connection.close()

    assert writer.returncode == -signal.SIGKILL
    assert recorded_values >= set(acknowledged)
    assert len(recorded_values) <= len(acknowledged) + 1
    assert intact == "ok"


def test_a_value_that_damage_made_unreadable_is_a_state_error(
    store: Store, home: Path, make_run: MakeRun
) -> None:
    store.add_run(make_run(params={"p": [1, 2, 3]}))
    with sqlite3.connect(home / ".kfgcp/kfgcp.db") as connection:
        connection.execute("UPDATE params SET value = '[1,2'")
    connection.close()

    with pytest.raises(StateError, match=r"kfgcp\.db is damaged: a value cannot be read") as caught:
        store.get("aaaa00000001")
    assert "Move it away" in caught.value.hint
