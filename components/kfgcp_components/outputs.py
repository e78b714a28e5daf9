"""Write the outputs of a task. They get their names when they are complete.

An exception or SIGTERM leaves neither a part of an output nor some of several outputs. SIGKILL can
leave hidden files with the ending `.kfgcp-part`.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from kfgcp_components.signals import exit_on_sigterm

# A file or folder that is being written has this ending until it is complete.
PART_SUFFIX = ".kfgcp-part"

# A folder of a model that has this file is complete.
MODEL_DESCRIPTION = "model.json"


@contextmanager
def write_files(*paths: str | Path) -> Iterator[tuple[Path, ...]]:
    """Write files that appear together at the end of the block, or not at all.

    Args:
        paths: the files to write. An older file is replaced.

    Yields:
        For each file, the path that the block has to write. It is in the same folder.

    Example::

        with write_files(report.path) as (report_file,):
            report_file.write_text("<html>")
    """
    targets = [Path(path) for path in paths]
    parts = [part_path(target) for target in targets]
    with exit_on_sigterm():
        try:
            yield tuple(parts)
            _replace_together(parts, targets)
        finally:
            for part in parts:
                _remove_quietly(part)


@contextmanager
def write_folder(path: str | Path) -> Iterator[Path]:
    """Write a folder that appears at the end of the block, or not at all.

    Files of an older folder are replaced.

    Args:
        path: the folder to write.

    Yields:
        A new folder, in which the block has to write the files.
    """
    target = Path(path)
    part = part_path(target)
    with exit_on_sigterm():
        try:
            part.mkdir(parents=True)
            yield part
            _move_folder(part, target)
        finally:
            shutil.rmtree(part, ignore_errors=True)


def part_path(path: Path) -> Path:
    """Return a new path beside a file or folder, for what is not complete.

    Two tasks that write the same file must not share it: the second would write into what the first
    one has checked already.
    """
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}{PART_SUFFIX}")


def remove(path: Path) -> None:
    """Remove a file, if it exists."""
    with suppress(FileNotFoundError):
        path.unlink()


def _replace_together(parts: Sequence[Path], targets: Sequence[Path]) -> None:
    """Give complete files their names. After a failure, all names have their older files again."""
    # The older files have a second name until all new files have theirs.
    olders = [part_path(target) for target in targets]
    finished = []
    try:
        for target, older in zip(targets, olders, strict=True):
            _keep_older(target, older)
        for part, target in zip(parts, targets, strict=True):
            # Before the file gets its name, because a signal can come directly after that.
            finished.append(target)
            part.replace(target)
    except BaseException:
        for target, older in zip(targets, olders, strict=True):
            _restore(target, older, was_replaced=target in finished)
        raise
    for older in olders:
        _remove_quietly(older)


def _keep_older(target: Path, older: Path) -> None:
    """Give an older file a second name, if there is an older file."""
    if not target.is_symlink() and not target.is_file():
        return
    try:
        os.link(target, older, follow_symlinks=False)
    except OSError:
        # Cloud Storage FUSE and some mounted volumes have no hard links.
        target.rename(older)


def _restore(target: Path, older: Path, *, was_replaced: bool) -> None:
    """Give an older file its name again. Without one, remove the new file.

    This does not raise, because the caller raises the cause of the failure.
    """
    with suppress(OSError):
        if os.path.lexists(older):
            older.replace(target)
            # Between two names of one file, a rename does nothing (POSIX, rename).
            older.unlink(missing_ok=True)
        elif was_replaced and target.is_file():
            target.unlink()


def _remove_quietly(path: Path) -> None:
    """Remove a file. A failure would hide the error that ends the task."""
    with suppress(OSError):
        path.unlink()


def _move_folder(part: Path, target: Path) -> None:
    """Give a folder its name, or move its files if the folder cannot be renamed."""
    try:
        part.rename(target)
    except OSError:
        # The target has files already. Or it is on Cloud Storage FUSE, which does not rename
        # folders by default (--rename-dir-limit is 0), or it is a mounted volume.
        _move_files(part, target)


def _move_files(part: Path, target: Path) -> None:
    """Move all files of a folder. A failure removes the files that were moved."""
    was_missing = not target.exists()
    finished = []
    try:
        target.mkdir(parents=True, exist_ok=True)
        # While the files change, a reader must not take the folder for complete.
        remove(target / MODEL_DESCRIPTION)
        files = [file for file in part.rglob("*") if not file.is_dir()]
        files.sort(key=lambda file: (file.name == MODEL_DESCRIPTION, file))
        for file in files:
            moved_file = target / file.relative_to(part)
            moved_file.parent.mkdir(parents=True, exist_ok=True)
            finished.append(moved_file)
            file.replace(moved_file)
    except BaseException:
        for moved_file in finished:
            _remove_quietly(moved_file)
        if was_missing:
            shutil.rmtree(target, ignore_errors=True)
        raise
