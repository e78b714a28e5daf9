"""The modes of files that a container may write to or read."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from kfgcp.engine.executors.ownership import WritablePaths, make_readable, writable

USER = "54322:54322"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a file, and a folder with a file."""
    folder = tmp_path / "home" / "models"
    (folder / "eu").mkdir(parents=True)
    for file in (folder / "notes", folder / "eu" / "deep"):
        file.write_text("a")
        file.chmod(0o600)
    (folder / "eu").chmod(0o700)
    return folder


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """Return a folder of this user that no container may change, with files of the same names."""
    outside = tmp_path / "outside"
    outside.mkdir(0o700)
    for name in ("notes", "deep"):
        (outside / name).write_text("private")
        (outside / name).chmod(0o600)
    return outside


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def open_to_writers(folder: Path) -> None:
    with writable(WritablePaths(shared=[str(folder)]), USER):
        pass


def open_to_readers(folder: Path) -> None:
    make_readable([str(folder)], folder.parent, USER)


OPENERS: list[Callable[[Path], None]] = [open_to_writers, open_to_readers]


def test_a_shared_folder_and_all_in_it_become_writable(folder: Path) -> None:
    open_to_writers(folder)

    assert [mode(path) for path in (folder, folder / "eu")] == [0o777, 0o777]
    assert [mode(path) for path in (folder / "notes", folder / "eu" / "deep")] == [0o666, 0o666]


def test_an_input_and_all_in_it_become_readable(folder: Path) -> None:
    folder.chmod(0o700)

    open_to_readers(folder)

    assert [mode(path) for path in (folder, folder / "eu")] == [0o755, 0o755]
    assert [mode(path) for path in (folder / "notes", folder / "eu" / "deep")] == [0o644, 0o644]


def test_an_input_that_is_a_file_becomes_readable(folder: Path) -> None:
    make_readable([str(folder / "notes")], folder.parent, USER)

    assert mode(folder / "notes") == 0o644


def test_a_shared_folder_may_be_a_link(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder)

    open_to_writers(tmp_path / "link")

    assert mode(folder / "notes") == 0o666


@pytest.mark.parametrize("change_modes", OPENERS)
def test_links_and_pipes_do_not_change(
    folder: Path, outside: Path, change_modes: Callable[[Path], None]
) -> None:
    folder.chmod(0o700)
    (folder / "link").symlink_to(outside / "notes")
    (folder / "folder-link").symlink_to(outside)
    (folder / "loop").symlink_to("loop")
    os.mkfifo(folder / "pipe", 0o600)

    change_modes(folder)

    assert [mode(path) for path in (outside, outside / "notes")] == [0o700, 0o600]
    assert mode(folder / "pipe") == 0o600
    assert mode(folder / "notes") & 0o044 == 0o044


@pytest.mark.parametrize("change_modes", OPENERS)
@pytest.mark.parametrize(("name", "target"), [("notes", "notes"), ("eu", "")])
def test_a_link_that_appears_after_the_look_at_a_file_is_not_followed(
    folder: Path,
    outside: Path,
    name: str,
    target: str,
    change_modes: Callable[[Path], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder.chmod(0o700)
    stat_of_system = os.stat

    def stat_and_replace(
        path: str | Path | int, *, dir_fd: int | None = None, follow_symlinks: bool = True
    ) -> os.stat_result:
        status = stat_of_system(path, dir_fd=dir_fd, follow_symlinks=follow_symlinks)
        if not isinstance(path, int) and os.path.basename(path) == name:
            # This is what a container that still runs can do at this moment.
            monkeypatch.setattr(os, "stat", stat_of_system)
            (folder / name).rename(folder / "old")
            (folder / name).symlink_to(outside / target)
        return status

    monkeypatch.setattr(os, "stat", stat_and_replace)

    change_modes(folder)

    assert (folder / name).is_symlink()
    assert [mode(path) for path in (outside, outside / "notes")] == [0o700, 0o600]
    assert mode(outside / "deep") == 0o600
