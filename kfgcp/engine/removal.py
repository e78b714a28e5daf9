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
class KeptFiles:
    """How many files of a deleted run other runs still use.

    Attributes:
        files: files of artifacts.
        logs: logs of attempts.
    """

    files: int = 0
    logs: int = 0


def remove_files(home: Path, run_id: str, used: Collection[Origin]) -> Path | None:
    """Remove the files of a deleted run in the state folder.

    Files in a pipeline root outside the state folder stay. The function can be called again after
    an interruption, and several processes can call it at the same time.

    Args:
        home: the state folder.
        run_id: the run. The store has no record of it any more.
        used: the attempts of this run whose artifacts and logs other runs use.

    Returns:
        A folder that could not be removed, None when everything was removed.
    """
    used_folders = {attempt_folder(origin.path, origin.attempt) for origin in used}
    used_logs = _used_logs(used)
    used_logs |= {str(times_file(Path(name))) for name in used_logs}
    # Folder of the run -> the relative paths in it that stay.
    folders: dict[Path, set[str]] = {}
    for folder in _artifact_folders(home, run_id):
        folders[folder] = used_folders
    folders[logs_folder(home, run_id)] = used_logs
    folders[workspace_folder(home, run_id)] = set()
    for folder, used_paths in folders.items():
        _clear(str(folder), used_paths)
    # `_clear` ignores errors, because another process may have removed a file first, which is not
    # a failure. A failure is only what still exists afterwards.
    for folder, used_paths in folders.items():
        if _has_unused_files(str(folder), "", used_paths):
            return folder
    return None


def find_run_folders(home: Path) -> dict[str, list[Path]]:
    """Return the folders of all runs in the state folder, by the ids of the runs.

    The runs may have no record in the store.
    """
    folders: dict[str, list[Path]] = {}
    parents = [home / "logs", home / "workspaces"]
    parents += _entries(home / "artifacts")
    for parent in parents:
        for folder in _entries(parent):
            if _RUN_ID.fullmatch(folder.name):
                folders.setdefault(folder.name, []).append(folder)
    return folders


def last_change(folders: Collection[Path]) -> float:
    """Return the Unix time at which one of the folders last changed; 0 when no folder exists."""
    times = [0.0]
    for folder in folders:
        with suppress(OSError):
            times.append(folder.stat().st_mtime)
    return max(times)


def count_kept_files(home: Path, run_id: str, used: Collection[Origin]) -> KeptFiles:
    """Count the existing files of a deleted run that other runs use.

    Args:
        home: the state folder.
        run_id: the run.
        used: the attempts of this run whose artifacts and logs other runs use.
    """
    files = 0
    for folder in _artifact_folders(home, run_id):
        for origin in used:
            files += _count_files(folder / attempt_folder(origin.path, origin.attempt))
    folder = logs_folder(home, run_id)
    logs = sum((folder / name).exists() for name in _used_logs(used))
    return KeptFiles(files, logs)


def _artifact_folders(home: Path, run_id: str) -> Iterator[Path]:
    """Yield the folders of a run's artifacts. Its pipeline may have had more than one name."""
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
    """Return the logs of used attempts, as paths relative to the logs folder of the run.

    The logs of earlier attempts of the same task are included, because they show why the task was
    tried again.
    """
    names: set[str] = set()
    for origin in used:
        for attempt in range(1, origin.attempt + 1):
            names.add(log_name(origin.path, attempt))
    return names


def _count_files(folder: Path) -> int:
    """Return the number of files and links in an attempt's folder of artifacts."""
    total = 0
    for parent, folders, names in os.walk(folder):
        links = [name for name in folders if os.path.islink(os.path.join(parent, name))]
        total += len(names) + len(links)
    # This file belongs to the engine and is not an artifact.
    if os.path.exists(os.path.join(folder, OUTPUT_FILE)):
        total -= 1
    return total


def _clear(folder: str, used_paths: Collection[str]) -> None:
    """Remove a folder and its content, except `used_paths`, which are relative to the folder."""
    if not used_paths:
        shutil.rmtree(folder, ignore_errors=True)
        return
    _clear_around(folder, "", used_paths, _parents(used_paths))


def _clear_around(
    folder: str, prefix: str, used_paths: Collection[str], used_parents: Collection[str]
) -> None:
    """Remove the content of a folder, except used paths and the folders that contain them.

    Args:
        folder: the folder.
        prefix: the path of `folder` relative to the folder of the run, with a slash at the end; ""
            for the folder of the run itself.
        used_paths: the paths that stay, relative to the folder of the run.
        used_parents: the folders above `used_paths`.
    """
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            path = f"{prefix}{entry.name}"
            if path in used_paths:
                continue
            if path in used_parents and entry.is_dir(follow_symlinks=False):
                _clear_around(entry.path, f"{path}/", used_paths, used_parents)
            elif entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)
            else:
                with suppress(OSError):
                    os.unlink(entry.path)
    # This fails, as it should, when the folder still contains a used path.
    with suppress(OSError):
        os.rmdir(folder)


def _parents(paths: Collection[str]) -> set[str]:
    """Return all folders above relative paths."""
    parents: set[str] = set()
    for path in paths:
        parent = path
        while "/" in parent:
            parent = parent.rpartition("/")[0]
            parents.add(parent)
    return parents


def _has_unused_files(folder: str, prefix: str, used_paths: Collection[str]) -> bool:
    """Return whether a folder contains more than `used_paths`. An empty folder counts, too.

    Args:
        folder: the folder. When it does not exist, the result is False.
        prefix: as in `_clear_around`.
        used_paths: as in `_clear_around`.
    """
    try:
        with os.scandir(folder) as iterator:
            entries = list(iterator)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    for entry in entries:
        path = f"{prefix}{entry.name}"
        if path in used_paths:
            continue
        is_folder = entry.is_dir(follow_symlinks=False)
        if not is_folder or _has_unused_files(entry.path, f"{path}/", used_paths):
            return True
    return not entries
