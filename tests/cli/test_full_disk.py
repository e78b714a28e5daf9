"""A state folder on a full disk is shown as it is, with one note; what would change it is refused
in one line."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from kfgcp.model import Run, RunState, Task, TaskKind, TaskState
from kfgcp.store.store import Store
from kfgcp_command import Command


@pytest.fixture
def state(mount: Callable[[str], Path], home: Path, make_run: Callable[..., Run]) -> Path:
    """A state folder on a small disk, with a run that has ended and one whose engine is gone."""
    folder = mount("size=1m") / ".kfgcp"
    tasks = (Task("say", TaskKind.CONTAINER, TaskState.SUCCEEDED, attempts=1),)
    with Store(folder) as store:
        store.add_run(make_run("aaaa00000001", name="hamlet", tasks=tasks))
        store.add_run(
            make_run("bbbb00000002", state=RunState.RUNNING, created_at="2026-02-02T03:04:05.678Z")
        )
    log = folder / "logs" / "aaaa00000001" / "say" / "1.log"
    log.parent.mkdir(parents=True)
    log.write_text("to be\n")
    return folder


def fill(folder: Path, *, but: int) -> None:
    """Fill a disk.

    Args:
        folder: on the disk.
        but: pages of 4096 bytes that stay free.
    """
    ballast = folder.parent / "ballast"
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    os.truncate(ballast, ballast.stat().st_size - but * 4096)


@pytest.mark.parametrize("free", [0, 1, 8, 10], ids=lambda pages: f"{pages} pages free")
def test_what_is_there_is_shown_with_one_note(free: int, state: Path, kfgcp: Command) -> None:
    """With a few pages free the database can be opened, and only writing finds no room."""
    fill(state, but=free)
    env = {"KFGCP_HOME": str(state)}

    listed = kfgcp("list", "--json", env=env)
    shown = kfgcp("show", "hamlet", "--json", env=env)
    running = kfgcp("show", "bbbb", env=env)
    logs = kfgcp("logs", "hamlet", env=env)
    exported = kfgcp("export", env=env)

    assert [result.code for result in (listed, shown, running, logs, exported)] == [0] * 5, (
        listed.err + running.err
    )
    assert [run["run_id"] for run in listed.json] == ["bbbb00000002", "aaaa00000001"]
    assert [task["path"] for task in shown.json["tasks"]] == ["say"]
    assert logs.out == "say | to be\n"
    assert len(exported.out.splitlines()) == 3
    for result in (listed, running):
        lines = result.err.splitlines()
        assert [line.partition(":")[0] for line in lines] == ["note"], (
            "the end of the second run cannot be recorded"
        )
        assert f"{state}/kfgcp.db is full: kfgcp shows recorded runs" in lines[0]


def test_a_change_is_refused_and_nothing_is_lost(state: Path, kfgcp: Command) -> None:
    fill(state, but=0)
    env = {"KFGCP_HOME": str(state)}

    for arguments in (("delete", "hamlet", "--yes"), ("tag", "hamlet", "best"), ("cancel", "bbbb")):
        command_result = kfgcp(*arguments, env=env)
        assert command_result.code == 5, command_result.err
        assert [line for line in command_result.err.splitlines() if line.startswith("error: ")] == [
            f"error: The disk of {state}/kfgcp.db is full. All runs that kfgcp recorded before are"
            " still there."
        ]

    (state.parent / "ballast").unlink()
    assert len(kfgcp("list", "--json", env=env).json) == 2
    assert kfgcp("logs", "hamlet", env=env).out == "say | to be\n"
