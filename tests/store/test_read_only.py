"""A state folder that can be read but not written: everything is shown, and nothing is changed."""

import json
import os
import shutil
import sqlite3
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kfgcp.model import Run, RunState, Task, TaskKind, TaskState
from kfgcp.store import database
from kfgcp.store.store import Store
from kfgcp_command import Command, Somebody


@pytest.fixture
def recorded(somebody: Somebody, make_run: Callable[..., Run]) -> Iterator[Path]:
    """The state folder of somebody's project, with an ended run and one that seems to run; not
    theirs to write."""
    home = somebody.folder / ".kfgcp"
    with Store(home) as store:
        tasks = (Task("say", TaskKind.CONTAINER, TaskState.SUCCEEDED, attempts=1),)
        store.add_run(make_run("aaaa00000001", name="hamlet", tasks=tasks))
        store.add_run(make_run("bbbb00000002", state=RunState.RUNNING))
    (home / "logs" / "aaaa00000001" / "say").mkdir(parents=True)
    (home / "logs" / "aaaa00000001" / "say" / "1.log").write_text("to be\n")
    close(home)
    yield home
    for path in (home, *home.rglob("*")):
        path.chmod(path.stat().st_mode | stat.S_IWUSR)


def close(home: Path) -> None:
    for path in (*home.rglob("*"), home):
        path.chmod(0o555 if path.is_dir() else 0o444)


def contents(home: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in home.rglob("*") if path.is_file()}


def everything_is_shown_and_nothing_changed(somebody: Somebody, home: Path) -> None:
    before = contents(home)

    listed = somebody.kfgcp("list", "--json")
    assert listed.code == 0, listed.err
    assert [(run["run_id"], run["state"]) for run in json.loads(listed.out)] == [
        ("bbbb00000002", "RUNNING"),
        ("aaaa00000001", "SUCCEEDED"),
    ]
    shown = somebody.kfgcp("show", "hamlet", "--json")
    assert shown.code == 0, shown.err
    assert [task["path"] for task in shown.json["tasks"]] == ["say"]
    assert somebody.kfgcp("show", "bbbb", "--json").json["state"] == "RUNNING"
    logs = somebody.kfgcp("logs", "hamlet")
    assert (logs.code, "to be" in logs.out) == (0, True), logs.err
    assert somebody.kfgcp("export").code == 0

    assert contents(home) == before


def test_without_files_of_sqlite_beside_it(somebody: Somebody, recorded: Path) -> None:
    assert [path.name for path in recorded.glob("kfgcp.db*")] == ["kfgcp.db"]
    everything_is_shown_and_nothing_changed(somebody, recorded)


def test_while_another_user_writes(
    somebody: Somebody, recorded: Path, make_run: Callable[..., Run]
) -> None:
    if not somebody.become:
        pytest.skip("only root can write to what another user cannot")
    os.chown(recorded, somebody.uid, somebody.uid)  # a folder of root's would be closed to them
    with Store(recorded) as store:
        store.add_run(make_run("cccc00000003", created_at="2030-01-01T00:00:00.000Z"))
        assert (recorded / "kfgcp.db-wal").stat().st_size > 0, (
            "the change is not in the database file yet"
        )
        listed = somebody.kfgcp("list", "--json")
        assert listed.code == 0, listed.err
        assert [run["run_id"] for run in json.loads(listed.out)] == [
            "cccc00000003",
            "bbbb00000002",
            "aaaa00000001",
        ]


@pytest.mark.parametrize(
    ("arguments", "where"),
    [
        (("run", "echo.py"), "/locks"),
        (("cancel", "bbbb"), ""),
        (("delete", "hamlet", "--yes"), ""),
        (("tag", "hamlet", "best"), ""),
    ],
)
def test_a_write_is_refused_in_one_line(
    somebody: Somebody,
    recorded: Path,
    pipeline_file: Callable[[str], Path],
    arguments: tuple[str, ...],
    where: str,
) -> None:
    shutil.copy(pipeline_file("echo"), somebody.folder / "echo.py")
    before = contents(recorded)

    result = somebody.kfgcp(*arguments)

    assert result.code == 5, result.err
    assert result.err.splitlines() == [
        f"error: The state folder {recorded}{where} cannot be written.",
        "hint: Make the folder writable, or set KFGCP_HOME to a writable folder.",
    ]
    assert contents(recorded) == before


def test_an_older_schema_says_what_to_do(somebody: Somebody, recorded: Path) -> None:
    for path in (recorded, recorded / "kfgcp.db"):
        path.chmod(0o777)
    connection = sqlite3.connect(recorded / "kfgcp.db")
    connection.execute(f"PRAGMA user_version = {database.SCHEMA_VERSION - 1}")
    connection.close()
    close(recorded)

    result = somebody.kfgcp("list")

    assert result.code == 5
    assert "An older kfgcp wrote " in result.err.splitlines()[0]
    assert "a copy of the folder" in result.err.splitlines()[1]


def test_a_read_only_file_system(
    somebody: Somebody, recorded: Path, command: Command, pipeline_file: Callable[[str], Path]
) -> None:
    """A bind mount; for root too, who may write anything else."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount")
    read_only = somebody.folder / "mounted"
    read_only.mkdir()
    for options in (["--bind", recorded], ["-o", "remount,bind,ro"]):
        mounting = subprocess.run(
            ["mount", *options, read_only], capture_output=True, text=True, check=False
        )
        if mounting.returncode:
            pytest.skip(f"mount says: {mounting.stderr.strip()}")
    try:
        with Store(read_only) as store:
            assert [run.run_id for run in store.select()] == ["bbbb00000002", "aaaa00000001"]
            assert not store.writable
        listed = somebody.kfgcp("list", "--json", KFGCP_HOME=str(read_only))
        assert len(json.loads(listed.out)) == 2, listed.err
        before = contents(recorded)
        shutil.copy(pipeline_file("echo"), somebody.folder / "echo.py")
        for arguments, where in (
            (("delete", "hamlet", "--yes"), ""),
            (("run", "echo.py"), "/locks"),
        ):
            result = command(*arguments, cwd=somebody.folder, env={"KFGCP_HOME": str(read_only)})
            assert (result.code, result.out) == (5, "")
            assert result.err.splitlines() == [
                f"error: The state folder {read_only}{where} cannot be written.",
                "hint: Make the folder writable, or set KFGCP_HOME to a writable folder.",
            ]
        assert contents(recorded) == before
    finally:
        subprocess.run(["umount", "-l", read_only], check=True)
