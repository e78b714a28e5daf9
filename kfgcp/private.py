"""Files and folders that only their owner can use, whatever the umask is.

The state folder is 0700, which keeps other users away from everything below it. What is below has no bits for others
either, so that a copy or a moved folder gives nothing away. File systems without modes, and what belongs to another
user, are left as they are.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_FOLDER: Final = 0o700


def make_state_folder(home: Path) -> None:
    """Make the state folder for this user alone, or take away what others may do with one that is theirs to use.

    What is in a folder that was open to others is corrected once: the mode of the folder itself tells that it was done.

    Raises:
        OSError: it cannot be made.
    """
    if not home.is_dir():
        home.parent.mkdir(parents=True, exist_ok=True)
        _make(home)
    elif close(home):
        _close_contents(home)


def is_own(path: Path) -> bool:
    """Return whether a file or folder belongs to the user of this process."""
    try:
        return path.stat().st_uid == os.geteuid()
    except OSError:
        return False


def make_folders(folder: Path) -> None:
    """Make a folder and those above it that are missing, each for this user alone.

    In the folder of another user they are ordinary ones, so that its owner can use them.

    Raises:
        OSError: one cannot be made, or is a file.
    """
    missing: list[Path] = []
    while not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for each in reversed(missing):
        if is_own(each.parent):
            _make(each)
        else:
            each.mkdir(exist_ok=True)


def close(path: Path) -> bool:
    """Take away what others may do with a file or folder of this user; a link is followed.

    Returns:
        Whether others could do something before, and cannot any more.
    """
    try:
        before = path.stat()
        if not is_own(path) or not before.st_mode & _OTHERS:
            return False
        path.chmod(stat.S_IMODE(before.st_mode) & ~_OTHERS)
        return not path.stat().st_mode & _OTHERS
    except OSError:
        return False


def close_tree(folder: Path) -> None:
    """Do the same with a folder and all that is in it; links are neither followed nor changed."""
    close(folder)
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(parent, name)
            with suppress(OSError):
                state = path.lstat()
                # A file with several names may have another one elsewhere, where others use it.
                is_shared = stat.S_ISREG(state.st_mode) and state.st_nlink > 1
                if not stat.S_ISLNK(state.st_mode) and not is_shared:
                    close(path)


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
    """Close what is in a state folder that an earlier version made.

    Files of virtual environments may be those of the cache of uv, and workspaces belong to runs that may be at work.
    """
    with suppress(OSError):
        for path in home.iterdir():
            if path.is_symlink():
                continue
            if path.name in ("artifacts", "locks", "logs"):
                close_tree(path)
            else:
                close(path)
