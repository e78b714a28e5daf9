"""Removing the files of deleted runs, but for those that other runs use."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from kfgcp.engine.files import OUTPUT_FILE
from kfgcp.engine.layout import attempt_folder, lock_file, log_name, logs_folder, workspace_folder
from kfgcp.store.rows import Origin


@dataclass(frozen=True, slots=True)
class Kept:
    """What is left of the files of a deleted run. files: of artifacts; logs: of attempts."""

    files: int = 0
    logs: int = 0


def remove_files(home: Path, run_id: str, used: Collection[Origin]) -> bool:
    """Remove what a run keeps in the state folder; nothing that went to a pipeline root of the user.

    It may be done again when it was interrupted, and by several processes at the same time.

    Args:
        home: the state folder.
        run_id: a run without a record.
        used: the attempts of it whose artifacts and logs other runs use.

    Returns:
        Whether everything was removed that had to be.
    """
    attempts = {attempt_folder(origin.path, origin.attempt) for origin in used}
    logs = {name for origin in used for name in _log_names(origin)}
    folders = [*_artifact_folders(home, run_id)]
    for folder in folders:
        _clear(str(folder), attempts)
    _clear(str(logs_folder(home, run_id)), logs)
    shutil.rmtree(workspace_folder(home, run_id), ignore_errors=True)
    with suppress(OSError):
        lock_file(home, run_id).unlink()
    return _is_cleared(folders, attempts) and _is_cleared([logs_folder(home, run_id)], logs)


def count_kept(home: Path, run_id: str, used: Collection[Origin]) -> Kept:
    """Count the files of a run that are there and that other runs use."""
    files = 0
    for folder in _artifact_folders(home, run_id):
        for origin in used:
            files += _count_files(folder / attempt_folder(origin.path, origin.attempt))
    names = {name for origin in used for name in _log_names(origin)}
    logs = sum((logs_folder(home, run_id) / name).exists() for name in names)
    return Kept(files, logs)


def _artifact_folders(home: Path, run_id: str) -> Iterator[Path]:
    """The folders of a run's artifacts, whatever the name of its pipeline."""
    try:
        pipelines = sorted((home / "artifacts").iterdir())
    except OSError:
        return
    for pipeline in pipelines:
        folder = pipeline / run_id
        if folder.is_dir():
            yield folder


def _log_names(origin: Origin) -> Iterator[str]:
    """The logs of a task up to an attempt, below the folder of its run: earlier attempts say why there were more."""
    for attempt in range(1, origin.attempt + 1):
        yield log_name(origin.path, attempt)


def _count_files(folder: Path) -> int:
    own = os.path.join(folder, OUTPUT_FILE)  # the engine's own, not an artifact
    total = 0
    for around, folders, names in os.walk(folder):
        links = [name for name in folders if os.path.islink(os.path.join(around, name))]
        total += len(names) + len(links)
    return total - os.path.exists(own)


def _clear(folder: str, kept: Collection[str]) -> None:
    """Remove a folder with all that is in it but for what is kept, named by its path from there."""
    if not kept:
        shutil.rmtree(folder, ignore_errors=True)
        return
    above = _parents(kept)
    _clear_around(folder, "", kept, above)


def _clear_around(folder: str, place: str, kept: Collection[str], above: Collection[str]) -> None:
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            name = f"{place}{entry.name}"
            if name in kept:
                continue
            if name in above and entry.is_dir(follow_symlinks=False):
                _clear_around(entry.path, f"{name}/", kept, above)
            elif entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)
            else:
                with suppress(OSError):
                    os.unlink(entry.path)
    with suppress(OSError):  # something in it is kept
        os.rmdir(folder)


def _parents(names: Collection[str]) -> set[str]:
    """The folders that paths lie in."""
    parents = set()
    for name in names:
        while "/" in name:
            name = name.rpartition("/")[0]
            parents.add(name)
    return parents


def _is_cleared(folders: Collection[Path], kept: Collection[str]) -> bool:
    """Whether nothing is there but what is kept."""
    return not any(_others(str(folder), "", kept) for folder in folders)


def _others(folder: str, place: str, kept: Collection[str]) -> bool:
    """Whether there is a file, or an empty folder, that is not kept."""
    try:
        with os.scandir(folder) as entries:
            names = [(entry.name, entry.is_dir(follow_symlinks=False), entry.path) for entry in entries]
    except FileNotFoundError:
        return False
    except OSError:
        return True
    for name, is_folder, path in names:
        if f"{place}{name}" in kept:
            continue
        if not is_folder or _others(path, f"{place}{name}/", kept):
            return True
    return not names
