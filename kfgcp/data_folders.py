"""Decide whether a folder is for data only, so that containers may write to it."""

from __future__ import annotations

import os
from pathlib import Path


def is_for_data_only(folder: str | Path, root: Path, home: Path) -> bool:
    """Return whether a folder holds neither the project nor the state folder nor a part of it.

    A container that may write there could change what kfgcp runs and records. Links count as the
    folder that they lead to now. So ask again just before a container gets the folder.

    Args:
        folder: the folder, which may not exist.
        root: the folder of kfgcp.toml.
        home: the state folder.
    """
    real_folder = _resolve(folder)
    real_home = _resolve(home)
    contains_project = _resolve(root).is_relative_to(real_folder)
    contains_home = real_home.is_relative_to(real_folder)
    is_in_home = real_folder.is_relative_to(real_home)
    return not (contains_project or contains_home or is_in_home)


def _resolve(path: str | Path) -> Path:
    # Path.resolve raises an error for links that lead to each other.
    return Path(os.path.realpath(path))
