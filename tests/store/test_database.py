"""The file of the store is refused with a clear error when it cannot be trusted or written."""

import itertools
import random
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from kfgcp.errors import DiskFull, StateError
from kfgcp.installation import upgrade_hint
from kfgcp.model import Run
from kfgcp.store import database
from kfgcp.store.store import Store
from patience import PROCESS

MakeRun = Callable[..., Run]
Mount = Callable[[str], Path]


@pytest.fixture
def recorded(tmp_path: Path, make_run: MakeRun) -> Path:
    """A database with forty runs, closed."""
    with Store(tmp_path) as store:
        for number in range(40):
            store.add_run(make_run(f"run{number:09}", params={"text": "x" * 500}))
    return tmp_path / "kfgcp.db"


def test_a_database_of_a_newer_kfgcp_is_refused_and_left_alone(recorded: Path) -> None:
    connection = sqlite3.connect(recorded)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    before = recorded.read_bytes()

    with pytest.raises(
        StateError,
        match=r"the file is 99, but this kfgcp knows only \d+",
    ) as caught:
        Store(recorded.parent)

    assert caught.value.hint == upgrade_hint()
    assert recorded.read_bytes() == before


def _noise(count: int) -> bytes:
    return random.Random(7).randbytes(count)  # noqa: S311


def _random_bytes(good: bytes) -> bytes:
    return _noise(len(good))


def _truncated(good: bytes) -> bytes:
    return good[: len(good) // 2]


def _short(good: bytes) -> bytes:
    return good[:700]


def _overwritten(good: bytes) -> bytes:
    """All but the first three pages: the header and the schema are as they were."""
    return good[: 3 * 4096] + _noise(len(good) - 3 * 4096)


@pytest.mark.parametrize("damage", [_random_bytes, _truncated, _short, _overwritten])
def test_a_damaged_database_is_refused_and_left_alone(
    recorded: Path, damage: Callable[[bytes], bytes]
) -> None:
    damaged = damage(recorded.read_bytes())
    recorded.write_bytes(damaged)

    with pytest.raises(StateError) as caught, Store(recorded.parent) as store:
        [store.get(run.run_id) for run in store.select()]

    assert caught.value.message.startswith(f"{recorded} is damaged: ")
    assert f"mv '{recorded}' '{recorded}.damaged'" in caught.value.hint
    assert recorded.read_bytes() == damaged


def test_a_write_to_a_damaged_database_is_refused(recorded: Path, make_run: MakeRun) -> None:
    recorded.write_bytes(_overwritten(recorded.read_bytes()))

    with pytest.raises(StateError, match="is damaged"), Store(recorded.parent) as store:
        store.add_run(make_run("new"))


def test_a_state_folder_that_is_a_file_is_a_state_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(
        StateError, match=r"The state folder .*/file/.kfgcp cannot be used"
    ) as caught:
        Store(tmp_path / "file" / ".kfgcp")

    assert "KFGCP_HOME" in caught.value.hint


def test_a_folder_in_the_place_of_the_file_is_a_state_error(tmp_path: Path) -> None:
    (tmp_path / "kfgcp.db").mkdir()

    with pytest.raises(StateError, match="cannot be written"):
        Store(tmp_path)


def test_a_read_only_file_system_is_a_state_error(mount: Mount, make_run: MakeRun) -> None:
    folder = mount("size=4m")
    with Store(folder) as store:
        store.add_run(make_run())
    subprocess.run(["mount", "-o", "remount,ro", folder], check=True)

    for home in (folder, folder / "new"):
        with (
            pytest.raises(StateError, match=r"cannot be (written|used)") as caught,
            Store(home) as store,
        ):
            store.add_run(make_run("another"))
        assert "KFGCP_HOME" in caught.value.hint


def test_a_full_disk_is_a_state_error_and_keeps_what_was_recorded(
    mount: Mount, make_run: MakeRun
) -> None:
    folder = mount("size=700k")
    written: list[str] = []

    with Store(folder) as store:
        with pytest.raises(
            StateError,
            match=r"The disk of .* is full. All runs that kfgcp recorded before are still",
        ) as caught:
            _write_for_ever(store, make_run, written)
        assert [run.run_id for run in store.select()] == written[::-1]

    assert "Free some space" in caught.value.hint
    assert len(written) > 5
    with Store(folder) as store:
        assert [run.run_id for run in store.select()] == written[::-1]


def test_a_disk_that_is_full_when_the_store_is_opened_says_so(
    mount: Mount, make_run: MakeRun
) -> None:
    folder = mount("size=600k")
    with Store(folder) as store:
        store.add_run(make_run("before"))
    _fill(folder / "ballast")

    with pytest.warns(
        database.DiskFullNote, match=r"The disk of .* is full: kfgcp shows recorded runs"
    ):
        store = Store(folder)
    with store:
        assert store.get("before").state == "SUCCEEDED"
        with (
            pytest.warns(database.DiskFullNote),
            pytest.raises(
                DiskFull,
                match=r"The disk of .* is full. All runs that kfgcp recorded before are still",
            ),
        ):
            store.add_run(make_run("new"))
        (folder / "ballast").unlink()
        store.add_run(make_run("new"))
        assert {run.run_id for run in store.select()} == {"before", "new"}


def test_what_a_killed_process_recorded_last_is_read_from_a_full_disk(
    mount: Mount, make_run: MakeRun
) -> None:
    """It is in the file of SQLite that is merged into the database later."""
    folder = mount("size=1m")
    with Store(folder) as store:
        store.add_run(make_run("before"))
    code = (
        "import os, signal, sys; from pathlib import Path; from kfgcp.model import Run,"
        " RunState\nfrom kfgcp.store.store import Store\nrun = Run('last', 'local', 'local', 'p',"
        " 'v', RunState.SUCCEEDED, created_at='2026-01-02T03:04:05.678Z')\nstore ="
        " Store(Path(sys.argv[1])); store.add_run(run); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, folder], timeout=PROCESS, check=False)
    assert (folder / "kfgcp.db-wal").stat().st_size > 0
    (folder / "kfgcp.db-shm").unlink()
    _fill(folder / "ballast")

    with pytest.warns(database.DiskFullNote):
        store = Store(folder)
    with store:
        assert {run.run_id for run in store.select()} == {"before", "last"}
    (folder / "ballast").unlink()
    with Store(folder) as store:
        assert {run.run_id for run in store.select()} == {"before", "last"}


def test_a_full_disk_can_be_used_again_when_there_is_room(mount: Mount, make_run: MakeRun) -> None:
    folder = mount("size=600k")
    with Store(folder) as store:
        store.add_run(make_run("before"))
        _fill(folder / "ballast")
        with pytest.raises(StateError):
            _write_for_ever(store, make_run, [])
        (folder / "ballast").unlink()
        store.add_run(make_run("after"))

        run_ids = {run.run_id for run in store.select()}

    assert {"before", "after"} <= run_ids


def _write_for_ever(store: Store, make_run: MakeRun, written: list[str]) -> None:
    for number in itertools.count():
        store.add_run(make_run(f"run{number}", params={"text": "x" * 2000}))
        written.append(f"run{number}")


def _fill(file: Path) -> None:
    with file.open("wb", buffering=0) as ballast, suppress(OSError):
        while True:
            ballast.write(b"x" * 4096)


def test_a_locked_database_is_a_state_error(
    recorded: Path, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.05)
    holder = sqlite3.connect(recorded, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    try:
        with Store(recorded.parent) as store:
            assert len(store.select()) == 40
            with pytest.raises(StateError, match="Another process has locked"):
                store.add_run(make_run("new"))
    finally:
        holder.close()
