"""Remove the files of deleted runs, except those that other runs use."""

from __future__ import annotations

import itertools
import os
import re
import shutil
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from kfgcp.engine.files import OUTPUT_FILE
from kfgcp.engine.layout import attempt_folder, log_name, logs_folder, workspace_folder
from kfgcp.engine.log_times import times_file
from kfgcp.store.rows import Origin

_RUN_ID = re.compile(r"[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class Kept:
    """How many files of a deleted run are kept. files: of artifacts; logs: of attempts."""

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
    logs = {name for origin in used for name in _log_names(origin)}
    logs |= {str(times_file(Path(name))) for name in logs}
    kept_in_folders = [(folder, attempts) for folder in _artifact_folders(home, run_id)]
    kept_in_folders += [(logs_folder(home, run_id), logs), (workspace_folder(home, run_id), set())]
    for folder, kept in kept_in_folders:
        _clear(str(folder), kept)
    left = [folder for folder, kept in kept_in_folders if _has_others(str(folder), "", kept)]
    return left[0] if left else None


def find_run_folders(home: Path) -> dict[str, list[Path]]:
    """Return the folders of runs in the state folder, by the ids of the runs."""
    folders: dict[str, list[Path]] = {}
    parents = [home / "logs", home / "workspaces", *_entries(home / "artifacts")]
    for folder in itertools.chain(*map(_entries, parents)):
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
    names = {name for origin in used for name in _log_names(origin)}
    logs = sum((logs_folder(home, run_id) / name).exists() for name in names)
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
        return [*folder.iterdir()]
    except OSError:
        return []


def _log_names(origin: Origin) -> Iterator[str]:
    """Yield the logs of a task up to an attempt, relative to the folder of its run.

    The logs of earlier attempts say why the task was tried again.
    """
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
    """Remove a folder and its content, except the paths in `kept`, which are relative to it."""
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
    """Return all folders above some relative paths."""
    parents = set()
    for name in names:
        while "/" in name:
            name = name.rpartition("/")[0]
            parents.add(name)
    return parents


def _has_others(folder: str, place: str, kept: Collection[str]) -> bool:
    """Return whether there is a file, or an empty folder, that is not in `kept`."""
    try:
        with os.scandir(folder) as entries:
            names = [
                (entry.name, entry.is_dir(follow_symlinks=False), entry.path) for entry in entries
            ]
    except FileNotFoundError:
        return False
    except OSError:
        return True
    for name, is_folder, path in names:
        if f"{place}{name}" in kept:
            continue
        if not is_folder or _has_others(path, f"{place}{name}/", kept):
            return True
    return not names
