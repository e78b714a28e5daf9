"""Remove the files of deleted runs, except those that other runs use."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kfgcp.engine.files import OUTPUT_FILE
from kfgcp.engine.layout import attempt_folder, log_name, logs_folder, workspace_folder
from kfgcp.engine.log_times import times_file
from kfgcp.store.rows import Origin

_RUN_ID: Final = re.compile(r"[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class Kept:
    """How many files of a deleted run other runs still use.

    Attributes:
        files: files of artifacts.
        logs: logs of attempts.
    """

    files: int = 0
    logs: int = 0


def remove_files(home: Path, run_id: str, used: Collection[Origin]) -> Path | None:
    """Remove the files of a run in the state folder, but nothing in a pipeline root of the user.

    It can be repeated after an interruption, and several processes can do it at the same time.

    Args:
        home: the state folder.
        run_id: a run without a record.
        used: the attempts of this run whose artifacts and logs other runs use.

    Returns:
        A folder that could not be removed, None when everything was removed.
    """
    attempts = {attempt_folder(origin.path, origin.attempt) for origin in used}
    logs = _used_logs(used)
    logs |= {str(times_file(Path(name))) for name in logs}
    # Folder of the run -> the paths in it that stay.
    folders: dict[Path, set[str]] = {}
    for folder in _artifact_folders(home, run_id):
        folders[folder] = attempts
    folders[logs_folder(home, run_id)] = logs
    folders[workspace_folder(home, run_id)] = set()
    for folder, used_paths in folders.items():
        _clear(str(folder), used_paths)
    # Errors are found here and not on the way, because another process may have removed a file
    # first. That is not a failure.
    for folder, used_paths in folders.items():
        if _has_others(str(folder), "", used_paths):
            return folder
    return None


def find_run_folders(home: Path) -> dict[str, list[Path]]:
    """Return the folders of runs in the state folder, by the ids of the runs."""
    folders: dict[str, list[Path]] = {}
    parents = [home / "logs", home / "workspaces"]
    parents += _entries(home / "artifacts")
    for parent in parents:
        for folder in _entries(parent):
            if _RUN_ID.fullmatch(folder.name):
                folders.setdefault(folder.name, []).append(folder)
    return folders


def last_change(folders: Collection[Path]) -> float:
    """Return the Unix time of the last change of some folders; 0 when none of them exists."""
    times = [0.0]
    for folder in folders:
        with suppress(OSError):
            times.append(folder.stat().st_mtime)
    return max(times)


def count_kept(home: Path, run_id: str, used: Collection[Origin]) -> Kept:
    """Count the existing files of a run that other runs use."""
    files = 0
    for folder in _artifact_folders(home, run_id):
        for origin in used:
            files += _count_files(folder / attempt_folder(origin.path, origin.attempt))
    folder = logs_folder(home, run_id)
    logs = sum((folder / name).exists() for name in _used_logs(used))
    return Kept(files, logs)


def _artifact_folders(home: Path, run_id: str) -> Iterator[Path]:
    """Yield the folders of a run's artifacts, below any pipeline name."""
    for pipeline in _entries(home / "artifacts"):
        folder = pipeline / run_id
        if folder.is_dir():
            yield folder


def _entries(folder: Path) -> list[Path]:
    """Return the entries of a folder; none when it does not exist."""
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _used_logs(used: Collection[Origin]) -> set[str]:
    """Return the logs of tasks up to the attempts that are used, relative to the run's folder.

    The logs of earlier attempts say why the task was tried again.
    """
    names: set[str] = set()
    for origin in used:
        for attempt in range(1, origin.attempt + 1):
            names.add(log_name(origin.path, attempt))
    return names


def _count_files(folder: Path) -> int:
    total = 0
    for parent, folders, names in os.walk(folder):
        links = [name for name in folders if os.path.islink(os.path.join(parent, name))]
        total += len(names) + len(links)
    # This file belongs to the engine and is not an artifact.
    if os.path.exists(os.path.join(folder, OUTPUT_FILE)):
        total -= 1
    return total


def _clear(folder: str, used_paths: Collection[str]) -> None:
    """Remove a folder and its content, except `used_paths`, which are relative to it."""
    if not used_paths:
        shutil.rmtree(folder, ignore_errors=True)
        return
    _clear_around(folder, "", used_paths, _parents(used_paths))


def _clear_around(
    folder: str, place: str, used_paths: Collection[str], parents: Collection[str]
) -> None:
    """Remove what is in a folder, except used paths and the folders above them.

    Args:
        folder: the folder.
        place: its path relative to the top, with a slash at the end; "" for the top itself.
        used_paths: paths relative to the top.
        parents: the folders above them.
    """
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            name = f"{place}{entry.name}"
            if name in used_paths:
                continue
            if name in parents and entry.is_dir(follow_symlinks=False):
                _clear_around(entry.path, f"{name}/", used_paths, parents)
            elif entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)
            else:
                with suppress(OSError):
                    os.unlink(entry.path)
    # This fails when something in the folder is used.
    with suppress(OSError):
        os.rmdir(folder)


def _parents(names: Collection[str]) -> set[str]:
    """Return all folders above some relative paths."""
    parents: set[str] = set()
    for name in names:
        while "/" in name:
            name = name.rpartition("/")[0]
            parents.add(name)
    return parents


def _has_others(folder: str, place: str, used_paths: Collection[str]) -> bool:
    """Return whether there is a file, or an empty folder, that is not among `used_paths`."""
    try:
        with os.scandir(folder) as entries:
            found_entries = list(entries)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    for entry in found_entries:
        name = f"{place}{entry.name}"
        if name in used_paths:
            continue
        is_folder = entry.is_dir(follow_symlinks=False)
        if not is_folder or _has_others(entry.path, f"{name}/", used_paths):
            return True
    return not found_entries
