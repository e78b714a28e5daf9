"""Find modules in the user's own project: the folders to search, and the module with a name."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from kfgcp import config


@dataclass(frozen=True, slots=True)
class LocalModule:
    """A file or folder of the user that a name in an `import` may mean.

    Attributes:
        place: the file or folder.
        importable: whether `place` is in a folder of the import path while a pipeline file is
            compiled.
        has_python: whether `place` is a Python file, or a folder with one in it.
    """

    place: Path
    importable: bool
    has_python: bool


def import_folders(file: Path) -> list[Path]:
    """Return the folders that are on the import path while a pipeline file is compiled.

    These are, in this order, the folder of the file, the folder of the kfgcp.toml above it, the
    folder of the kfgcp.toml above the current folder, and the current folder.

    Args:
        file: the absolute path of the pipeline file.
    """
    candidates: list[Path | None] = [file.parent, config.project_folder(file.parent)]
    current_folder = _current_folder()
    if current_folder is not None:
        candidates += [config.project_folder(current_folder), current_folder]
    folders: list[Path] = []
    for folder in candidates:
        if folder is not None and folder not in folders:
            folders.append(folder)
    return folders


def find_local(name: str, file: Path, folders: Sequence[Path]) -> LocalModule | None:
    """Return the user's own file or folder that a top-level module name may mean.

    A stranger may have published a package of the same name, so pip must not be suggested for such
    a name.

    Args:
        name: a top-level module name.
        file: the pipeline file, which never counts as the module.
        folders: the result of `import_folders`.

    Returns:
        The file or folder, None when there is none.
    """
    for folder in folders:
        place = _find_in(folder, name, file)
        if place is not None:
            return LocalModule(place, importable=True, has_python=has_python(place))
    for folder in _nearby_folders(folders):
        place = _find_in(folder, name, file)
        if place is not None and has_python(place):
            return LocalModule(place, importable=False, has_python=True)
    return None


def has_python(place: Path) -> bool:
    """Return whether this is a Python file, or a folder with one in it at any depth."""
    if place.is_file():
        return place.suffix == ".py"
    names = (name for _, _, files in os.walk(place) for name in files)
    return any(name.endswith(".py") for name in names)


def _find_in(folder: Path, name: str, file: Path) -> Path | None:
    """Return the package or module with a name in a folder, None without one or if it is `file`."""
    package = folder / name
    module = folder / f"{name}.py"
    for place in (package, module):
        is_module = place.is_dir() or (place.suffix == ".py" and place.is_file())
        if place != file and is_module:
            return place
    return None


def _nearby_folders(folders: Sequence[Path]) -> Iterator[Path]:
    """Yield the folders above the folders of the import path, then the folders directly in them."""
    for folder in folders:
        # The last parent is the root of the file system, which does not count.
        yield from folder.parents[:-1]
    for folder in folders:
        try:
            entries = sorted(folder.iterdir())
        except OSError:
            continue
        for entry in entries:
            if entry.is_dir() and not entry.name.startswith("."):
                yield entry


def _current_folder() -> Path | None:
    try:
        return Path.cwd()
    # The current folder was deleted.
    except FileNotFoundError:
        return None
