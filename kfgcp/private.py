"""Create files and folders that only their owner can use, with any umask.

The state folder has the mode 0700, which keeps other users away from everything in it. The files
and folders in it have no rights for others either, so that they stay private when they are copied
or moved. Nothing is changed on file systems without modes, nor in what belongs to another user.
"""

from __future__ import annotations

import os
import stat
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Final

_RIGHTS_OF_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_FOLDER_MODE: Final = 0o700

# A folder with both bits, as in the mode 2770, is shared with a group on purpose.
_SHARED_BITS: Final = stat.S_ISGID | stat.S_IWGRP

STATE_FOLDER: Final = ".kfgcp"

# The folders in the state folder that are closed together with their contents.
_CLOSED_TREES: Final = ("artifacts", "locks", "logs", "schedules", "versions")

# The folders that are closed without their contents: environments may share files with uv's cache,
# and runs may be using the workspaces.
_CLOSED_FOLDERS: Final = ("envs", "workspaces")


class ClosedNote(UserWarning):
    """The warning that other users could use the state folder until now."""


def make_state_folder(database: Path) -> None:
    """Create the state folder for this user alone, or close an existing one to other users.

    When the folder was open to others, its contents are closed once, with the warning `ClosedNote`.
    After that, the mode of the folder shows that the contents are closed. Two kinds of folders keep
    their mode: a folder that is shared on purpose (see `is_private`), and a folder that also
    contains files of the user. In a folder of the second kind, only the files of kfgcp are closed.

    Args:
        database: the file in the state folder.

    Raises:
        OSError: the folder cannot be created.
    """
    home = database.parent
    if not home.is_dir():
        home.parent.mkdir(parents=True, exist_ok=True)
        _make(home)
        return
    if not is_private(home):
        return
    if is_sticky(home) or _contains_other_things(home):
        for path in home.iterdir():
            if _is_ours(path.name):
                close(path)
    elif close(home):
        _close_contents(home)
        text = (
            f"other users could use {home}; now only you can (to share it with a group: chmod 2770)"
        )
        warnings.warn(text, ClosedNote, stacklevel=1)


def is_private(folder: Path) -> bool:
    """Return whether new files in a folder are for this user alone.

    New files are for others too in two cases. The folder belongs to another user, and is not a
    folder such as /tmp, to which all users may write. Or the folder is shared on purpose: its group
    may write to it and owns new files in it, as with the mode 2770.
    """
    try:
        folder_stat = folder.stat()
    except OSError:
        return False
    is_shared = folder_stat.st_mode & _SHARED_BITS == _SHARED_BITS
    is_own = folder_stat.st_uid == os.geteuid()
    is_for_all = bool(folder_stat.st_mode & stat.S_ISVTX)
    return not is_shared and (is_own or is_for_all)


def is_sticky(folder: Path) -> bool:
    """Return whether a folder is like /tmp, where users may change only their own files."""
    try:
        return bool(folder.stat().st_mode & stat.S_ISVTX)
    except OSError:
        return False


def make_folders(folder: Path) -> None:
    """Create a folder and the missing folders above it, each for this user alone.

    In a folder that is shared with a group, new folders get the mode of that folder. In the folder
    of another user they get the usual mode, so that its owner can use them.

    Raises:
        OSError: a folder cannot be created, or a file is in its place.
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
        if mode & _SHARED_BITS == _SHARED_BITS:
            # Another user of the group may have created it at the same time.
            with suppress(OSError):
                path.chmod(stat.S_IMODE(mode))


def close(path: Path) -> bool:
    """Remove the rights of others from a file or folder of this user. A link is followed.

    Returns:
        Whether others had rights before and have none now.
    """
    try:
        old_stat = path.stat()
        if old_stat.st_uid != os.geteuid() or not old_stat.st_mode & _RIGHTS_OF_OTHERS:
            return False
        path.chmod(stat.S_IMODE(old_stat.st_mode) & ~_RIGHTS_OF_OTHERS)
        return not path.stat().st_mode & _RIGHTS_OF_OTHERS
    except OSError:
        return False


def close_tree(folder: Path) -> None:
    """Remove the rights of others from a folder and everything in it.

    Links are neither followed nor changed. A folder may contain tens of thousands of files, so the
    mode of each file is read once, and changed only when others have rights.
    """
    close(folder)
    user = os.geteuid()
    folders = [os.fspath(folder)]
    while folders:
        with suppress(OSError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                # The file may be removed at any time, and the file system may have no modes.
                with suppress(OSError):
                    _close_entry(entry, user)


def _close_entry(entry: os.DirEntry[str], user: int) -> None:
    state = entry.stat(follow_symlinks=False)
    has_others = state.st_mode & _RIGHTS_OF_OTHERS != 0
    if has_others and state.st_uid == user and _has_one_name(state):
        os.chmod(entry.path, stat.S_IMODE(state.st_mode) & ~_RIGHTS_OF_OTHERS)


def _has_one_name(state: os.stat_result) -> bool:
    """Return whether a file or folder has only this one name.

    A link leads to another place. A file with several hard links may have a name in a folder where
    others use it. The link count of a folder counts its subfolders.
    """
    if stat.S_ISLNK(state.st_mode):
        return False
    return stat.S_ISDIR(state.st_mode) or state.st_nlink == 1


def _make(folder: Path) -> None:
    try:
        folder.mkdir(_FOLDER_MODE)
    except FileExistsError:
        if not folder.is_dir():
            raise
    else:
        with suppress(OSError):
            # The umask may have removed rights of the owner.
            folder.chmod(_FOLDER_MODE)


def _close_contents(home: Path) -> None:
    """Close the contents of a state folder that an earlier version of kfgcp made."""
    with suppress(OSError):
        for path in home.iterdir():
            if path.is_symlink() or not _is_ours(path.name):
                continue
            if path.name in _CLOSED_TREES:
                close_tree(path)
            else:
                close(path)


def _contains_other_things(home: Path) -> bool:
    """Return whether the state folder, which KFGCP_HOME names, also contains files of the user."""
    if home.name == STATE_FOLDER:
        return False
    return not all(_is_ours(path.name) for path in home.iterdir())


def _is_ours(name: str) -> bool:
    return name in _CLOSED_TREES or name in _CLOSED_FOLDERS or name.startswith("kfgcp.db")
