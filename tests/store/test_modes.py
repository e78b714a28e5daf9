"""The state folder is for its owner alone, whatever the umask is."""

import contextlib
import os
import stat
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kfgcp import api, private
from kfgcp.engine import log_times
from kfgcp.model import Run, RunState
from kfgcp.store.store import Store
from kfgcp_command import Somebody
from patience import PROCESS

SOURCE = """
from kfp import dsl

@dsl.component(base_image="python:3.11")
def write(folder: dsl.Output[dsl.Artifact], file: dsl.Output[dsl.Dataset]):
    import os
    import time

    os.makedirs(folder.path + "/deep")
    for path in (folder.path + "/deep/one", file.path):
        with open(path, "w") as opened:
            opened.write("x")
    os.chmod(folder.path + "/deep/one", 0o755)
    print("written", flush=True)
    times = os.readlink("/proc/self/fd/1").removesuffix(".log") + ".times"
    for _ in range(WAITS):
        if os.path.exists(times):
            break
        time.sleep(0.05)

@dsl.pipeline(name="writes")
def writes():
    write()
"""


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def _open_to_others(home: Path) -> list[str]:
    open_paths: list[str] = []
    for path in (home, *home.rglob("*")):
        with contextlib.suppress(FileNotFoundError):  # a lock may be removed meanwhile
            if not path.is_symlink() and _mode(path) & 0o077:
                open_paths.append(str(path.relative_to(home)))
    return open_paths


@pytest.fixture(params=[0o000, 0o022, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_a_run_leaves_nothing_that_others_can_use(
    umask: int, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_times, "NOTE_SECONDS", 0.0)
    (home / "writes.py").write_text(SOURCE.replace("WAITS", str(int(PROCESS / 0.05))))

    run = api.run("writes.py").snapshot

    state = home / ".kfgcp"
    assert run.state is RunState.SUCCEEDED
    assert _open_to_others(state) == []
    assert _mode(state) == 0o700
    assert _mode(state / "kfgcp.db") == 0o600
    [log] = (state / "logs").glob("*/write/1.log")
    [times] = (state / "logs").glob("*/write/1.times")
    [program] = (state / "artifacts").rglob("one")
    [file] = (state / "artifacts").rglob("file")
    assert (_mode(log), _mode(times), _mode(file), _mode(program)) == (0o600, 0o600, 0o600, 0o700)
    assert _mode(file.parent) == 0o700


def test_the_files_beside_the_database_are_private(
    umask: int, home: Path, make_run: Callable[..., Run]
) -> None:
    with Store(home / ".kfgcp") as store:
        store.add_run(make_run())
        modes = {path.name: _mode(path) for path in (home / ".kfgcp").glob("kfgcp.db*")}

    assert modes == {"kfgcp.db": 0o600, "kfgcp.db-wal": 0o600, "kfgcp.db-shm": 0o600}


@pytest.fixture
def old(home: Path, make_run: Callable[..., Run]) -> Path:
    """A state folder as earlier versions made it."""
    state = home / ".kfgcp"
    with Store(state) as store:
        store.add_run(make_run())
    for folder in (
        "logs/run/task",
        "artifacts/pipe/run/task/1/model",
        "envs/key/bin",
        "locks",
        "workspaces/run",
    ):
        (state / folder).mkdir(parents=True)
    for file in (
        "logs/run/task/1.log",
        "artifacts/pipe/run/task/1/model/weights",
        "envs/key/bin/python",
        "locks/run",
    ):
        (state / file).write_text("x")
    (state / "artifacts" / "link").symlink_to(home / "outside")
    (home / "outside").write_text("x")
    os.link(home / "outside", state / "artifacts" / "second name")
    for path in (*state.rglob("*"), state, home / "outside"):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() else 0o644)
    return state


def test_an_old_state_folder_is_closed_once(
    old: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    walks: list[Path] = []
    real_walk = private.close_tree
    monkeypatch.setattr(
        private, "close_tree", lambda folder: (walks.append(folder), real_walk(folder))
    )

    for _ in range(2):
        Store(old).close()

    assert (_mode(old), _mode(old / "kfgcp.db")) == (0o700, 0o600)
    # Files of environments may be the files of uv's own cache.
    open_paths = [
        "artifacts/second name",
        "envs/key",
        "envs/key/bin",
        "envs/key/bin/python",
        "workspaces/run",
    ]
    assert sorted(_open_to_others(old)) == open_paths
    assert _mode(home / "outside") == 0o644
    assert sorted(path.name for path in walks) == ["artifacts", "locks", "logs"]


def test_the_folder_and_the_database_are_closed_each_time(old: Path) -> None:
    Store(old).close()
    (old / "kfgcp.db").chmod(0o644)
    Store(old).close()
    assert _mode(old / "kfgcp.db") == 0o600

    old.chmod(0o755)
    Store(old).close()
    assert _mode(old) == 0o700


def test_a_mode_that_cannot_be_changed_is_not_an_error(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file system without modes refuses to set them, or does nothing."""

    def refuse(path: Path, mode: int, **_: Any) -> None:
        raise PermissionError(1, "Operation not permitted", str(path))

    walks: list[Path] = []
    monkeypatch.setattr(private, "close_tree", walks.append)
    for chmod in (refuse, lambda path, mode, **_: None):
        monkeypatch.setattr(Path, "chmod", chmod)
        with Store(old) as store:
            assert store.count() == 1

    assert _mode(old) == 0o755
    assert walks == []


def test_closing_an_old_state_folder_is_reported_once(old: Path) -> None:
    with pytest.warns(private.ClosedNote, match=f"other users could use {old}; now only you can"):
        Store(old).close()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Store(old).close()


def test_a_folder_that_is_shared_with_a_group_stays_shared(old: Path, home: Path) -> None:
    """Its group may write, and the setgid bit gives new files to the group: that is nobody's
    default."""
    for path in (old, *old.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o2770 if path.is_dir() else 0o660)
    (home / "writes.py").write_text(SOURCE.replace("WAITS", "0"))
    before = os.umask(0o007)
    try:
        run = api.run("writes.py").snapshot
    finally:
        os.umask(before)

    [log] = (old / "logs").glob(f"{run.run_id}/write/1.log")
    [file] = (old / "artifacts").rglob("file")
    assert (_mode(old), _mode(old / "kfgcp.db"), _mode(old / "artifacts")) == (
        0o2770,
        0o660,
        0o2770,
    )
    assert (_mode(log), _mode(log.parent), _mode(file)) == (0o660, 0o2770, 0o660)


def test_a_folder_with_other_things_keeps_its_mode(
    home: Path, make_run: Callable[..., Run]
) -> None:
    (home / "page.html").write_text("x")
    (home / "page.html").chmod(0o644)
    home.chmod(0o755)
    for _ in range(2):
        with Store(home) as store:
            store.count()

    assert (_mode(home), _mode(home / "page.html"), _mode(home / "kfgcp.db")) == (
        0o755,
        0o644,
        0o600,
    )


def test_what_kfgcp_did_not_make_is_left_as_it_is(old: Path) -> None:
    (old / "public").mkdir()
    (old / "public").chmod(0o755)

    Store(old).close()

    assert (_mode(old), _mode(old / "public")) == (0o700, 0o755)


def test_a_folder_of_all_users_keeps_its_mode(tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    for _ in range(2):
        Store(tmp_path).close()
    private.make_folders(tmp_path / "logs" / "run")

    assert (_mode(tmp_path), _mode(tmp_path / "kfgcp.db"), _mode(tmp_path / "logs")) == (
        0o1777,
        0o600,
        0o700,
    )


def test_the_folder_of_another_user_is_left_as_it_is(
    somebody: Somebody, make_run: Callable[..., Run]
) -> None:
    if not somebody.become:
        pytest.skip("only root can use what belongs to another user")
    state = somebody.folder / ".kfgcp"
    state.mkdir(mode=0o755)
    state.chmod(0o755)
    os.chown(state, somebody.uid, somebody.uid)

    before = os.umask(0o022)
    try:
        with Store(state) as store:
            store.add_run(make_run())
        private.make_folders(state / "logs" / "run")
    finally:
        os.umask(before)

    assert (_mode(state), _mode(state / "kfgcp.db"), _mode(state / "logs")) == (0o755, 0o644, 0o755)
    assert somebody.kfgcp("list").code == 0


def test_a_pipeline_root_of_the_user_is_not_changed(home: Path) -> None:
    (home / "writes.py").write_text(SOURCE.replace("WAITS", "0"))
    (home / "kfgcp.toml").write_text(
        f'[env.local]\nbackend = "local"\npipeline_root = "{home}/own"\n'
    )
    before = os.umask(0o022)
    try:
        api.run("writes.py")
    finally:
        os.umask(before)

    [file] = (home / "own").rglob("file")
    assert (_mode(file), _mode(file.parent), _mode(home / "own" / "writes")) == (
        0o644,
        0o755,
        0o755,
    )


def test_folders_above_the_state_folder_are_ordinary_ones(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        Store(tmp_path / "a" / "b").close()
    finally:
        os.umask(before)

    assert (_mode(tmp_path / "a"), _mode(tmp_path / "a" / "b")) == (0o755, 0o700)


def test_a_file_in_the_place_of_a_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")

    with pytest.raises(OSError):
        private.make_folders(tmp_path / "file" / "folder")
    with pytest.raises(OSError):
        private.make_folders(tmp_path / "file")
