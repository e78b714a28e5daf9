"""Files and folders that only their owner can use, whatever the umask is.

The state folder is 0700, which keeps other users away from everything below it. What is below has no bits for others
either, so that a copy or a moved folder gives nothing away. File systems without modes, and what belongs to another
user, are left as they are.
"""

from __future__ import annotations

import os
import stat
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Final

_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_FOLDER: Final = 0o700
_SHARED: Final = stat.S_ISGID | stat.S_IWGRP
STATE_FOLDER: Final = ".kfgcp"
_WALKED: Final = ("artifacts", "locks", "logs")
_OTHERS_OF_OURS: Final = ("envs", "workspaces")
"""Files of environments may be those of uv's cache, and workspaces belong to runs that may be at work."""


class ClosedNote(UserWarning):
    """Other users could use the state folder, and cannot any more."""


def make_state_folder(database: Path) -> None:
    """Make the state folder for this user alone, or take away what others may do with one that is theirs to use.

    What is in a folder that was open to others is corrected once: the mode of the folder itself tells that it was done.
    The warning `ClosedNote` says so. A folder that is shared on purpose (see `is_private`), or that holds other things
    too, keeps its mode; of the second kind, what kfgcp made in it is closed.

    Args:
        database: the file in the state folder.

    Raises:
        OSError: it cannot be made.
    """
    home = database.parent
    if not home.is_dir():
        home.parent.mkdir(parents=True, exist_ok=True)
        _make(home)
        return
    if not is_private(home):
        return
    if is_sticky(home) or _holds_other_things(home):
        for path in home.iterdir():
            if _is_ours(path.name):
                close(path)
    elif close(home):
        _close_contents(home)
        text = f"other users could use {home}; it is for you alone now (to share it with a group: chmod 2770)"
        warnings.warn(text, ClosedNote, stacklevel=1)


def is_private(folder: Path) -> bool:
    """Return whether what is made in a folder is for this user alone.

    It is not in the folder of another user, except one that all may write to, such as /tmp. Nor is it in a folder that
    is shared on purpose: its group may write to it and owns what is made in it, as with the mode 2770.
    """
    try:
        state = folder.stat()
    except OSError:
        return False
    is_shared = state.st_mode & _SHARED == _SHARED
    return not is_shared and (state.st_uid == os.geteuid() or bool(state.st_mode & stat.S_ISVTX))


def is_sticky(folder: Path) -> bool:
    """Return whether all users may write to a folder, each their own files, as to /tmp."""
    try:
        return bool(folder.stat().st_mode & stat.S_ISVTX)
    except OSError:
        return False


def make_folders(folder: Path) -> None:
    """Make a folder and those above it that are missing, each for this user alone.

    In a folder that is shared with a group they have its mode. In the folder of another user they are ordinary ones, so
    that its owner can use them.

    Raises:
        OSError: one cannot be made, or is a file.
    """
    missing: list[Path] = []
    while not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for path in reversed(missing):
        mode = path.parent.stat().st_mode
        if is_private(path.parent):
            _make(path)
            continue
        path.mkdir(exist_ok=True)
        if mode & _SHARED == _SHARED:
            with suppress(OSError):  # another user of the group made it just now
                path.chmod(stat.S_IMODE(mode))


def close(path: Path) -> bool:
    """Take away what others may do with a file or folder of this user; a link is followed.

    Returns:
        Whether others could do something before, and cannot any more.
    """
    try:
        before = path.stat()
        if before.st_uid != os.geteuid() or not before.st_mode & _OTHERS:
            return False
        path.chmod(stat.S_IMODE(before.st_mode) & ~_OTHERS)
        return not path.stat().st_mode & _OTHERS
    except OSError:
        return False


def close_tree(folder: Path) -> None:
    """Do the same with a folder and all that is in it; links are neither followed nor changed.

    There may be tens of thousands of files: each takes one look, and a change only when others can use it.
    """
    close(folder)
    user = os.geteuid()
    folders = [os.fspath(folder)]
    while folders:
        with suppress(OSError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                with suppress(OSError):  # it is gone meanwhile, or the file system has no modes
                    state = entry.stat(follow_symlinks=False)
                    if state.st_mode & _OTHERS and state.st_uid == user and _has_one_place(state):
                        os.chmod(entry.path, stat.S_IMODE(state.st_mode) & ~_OTHERS)


def _has_one_place(state: os.stat_result) -> bool:
    """Return whether a file or folder is used only where it was found.

    A link leads elsewhere, and a file with several names may have another one elsewhere, where others use it.
    """
    return not stat.S_ISLNK(state.st_mode) and (stat.S_ISDIR(state.st_mode) or state.st_nlink == 1)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(_FOLDER)
    except FileExistsError:
        if not folder.is_dir():
            raise
    else:
        with suppress(OSError):
            folder.chmod(_FOLDER)  # the umask may have taken bits from the owner


def _close_contents(home: Path) -> None:
    """Close what is in a state folder that an earlier version made."""
    with suppress(OSError):
        for path in home.iterdir():
            if path.is_symlink() or not _is_ours(path.name):
                continue
            if path.name in _WALKED:
                close_tree(path)
            else:
                close(path)


def _holds_other_things(home: Path) -> bool:
    return home.name != STATE_FOLDER and not all(_is_ours(path.name) for path in home.iterdir())


def _is_ours(name: str) -> bool:
    return name in _WALKED or name in _OTHERS_OF_OURS or name.startswith("kfgcp.db")
