"""Decide who may write to the folders of a container, and who owns the files that it wrote.

A container runs as its image says, most often as root. Only root may change the owner of a file. So
a second container of the same image gives the files to the owner of the folder. It is started only
when there are files of another owner. There are none when the engine maps root to the user
(rootless Docker, Docker Desktop), nor when root itself runs kfgcp.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

_ROOT: Final = ("", "0", "root")

# The script asks for the owner inside the container. In a rootless engine the user of this machine
# is 0 there.
_HAND_OVER: Final = (
    'owner=$(stat -c %u:%g "$1") && chown -R "$owner" "$@" && chmod -R u+w,a+rX "$@"'
)

# The right to read for others, and for folders the right to enter them.
_READ: Final = 0o004
_READ_AND_ENTER: Final = 0o005


@contextmanager
def writable(folders: Iterable[str], shared: str | None, user: str) -> Iterator[None]:
    """Let the user of a container write to folders meanwhile. Root always can.

    Args:
        folders: folders of this user.
        shared: one more, which other containers use too and which stays writable.
        user: the user as an image names it: a name or number, perhaps with a group after a colon.
    """
    if _is_root(user):
        yield
        return
    modes: dict[str, int] = {}
    for folder in folders:
        if folder != shared:
            modes[folder] = stat.S_IMODE(os.stat(folder).st_mode)
    all_folders = list(modes)
    if shared:
        all_folders.append(shared)
    for folder in all_folders:
        # Volumes on Kubernetes have this mode too.
        os.chmod(folder, 0o777)  # noqa: S103
    try:
        yield
    finally:
        for folder, mode in modes.items():
            os.chmod(folder, mode)


def make_readable(paths: Iterable[str], home: Path, user: str) -> None:
    """Let the user of a container read files of the state folder. Root always can.

    The files stay readable, because several containers may read them at the same time. Other users
    still cannot reach them, because the state folder itself is closed. Files outside of the state
    folder are not changed. A path may lead to the state folder through links.

    Args:
        paths: files and folders that are mounted in a container to be read.
        home: the state folder.
        user: the user of the container, as its image names it.
    """
    if _is_root(user):
        return
    # Links are resolved in both, because the state folder may have had another name when the paths
    # were recorded.
    real_home = os.path.realpath(home)
    for path in paths:
        real_path = Path(os.path.realpath(path))
        if not real_path.is_relative_to(real_home) or _can_be_read(real_path):
            continue
        for parent, folders, files in os.walk(real_path):
            for name in folders + files:
                _open_to_readers(Path(parent, name))
        # The top comes last, because its mode shows that all below it is done.
        _open_to_readers(real_path)


def hand_over(
    client: Any, image: str, folders: Iterable[str], labels: dict[str, str]
) -> str | None:
    """Make the files in folders belong to the user of this process.

    Args:
        client: a client of the Docker engine.
        image: the image of the container that wrote them.
        folders: folders of this user.
        labels: labels of the second container.

    Returns:
        The reason when that is not possible, None when all files belong to the user.
    """
    if os.getuid() == 0:
        return None
    foreign_folders = [folder for folder in folders if _has_foreign_files(folder)]
    if not foreign_folders:
        return None
    try:
        client.containers.run(
            image,
            entrypoint=["sh", "-c", _HAND_OVER, "sh"],
            command=foreign_folders,
            user="0:0",
            network_mode="none",
            volumes={folder: {"bind": folder, "mode": "rw"} for folder in foreign_folders},
            labels=labels,
            remove=True,
        )
    except Exception as error:
        # The image may have no shell, for example.
        explanation = getattr(error, "explanation", None) or error
        return " ".join(str(explanation).split())
    return None


def _is_root(user: str) -> bool:
    return user.partition(":")[0] in _ROOT


def _can_be_read(path: Path) -> bool:
    mode = path.stat().st_mode
    rights = _READ_AND_ENTER if stat.S_ISDIR(mode) else _READ
    return mode & rights == rights


def _open_to_readers(path: Path) -> None:
    """Let others read a file or folder.

    Others may also enter the folder or run the program when its owner can.
    """
    with suppress(OSError):
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            return
        rights = 0o044
        if mode & stat.S_IXUSR:
            rights |= 0o011
        path.chmod(stat.S_IMODE(mode) | rights)


def _has_foreign_files(folder: str) -> bool:
    """Return whether a folder has files of another user, or folders that cannot be read."""
    own_id = os.getuid()
    unreadable: list[OSError] = []
    for parent, folders, files in os.walk(folder, onerror=unreadable.append):
        for name in folders + files:
            if os.lstat(os.path.join(parent, name)).st_uid != own_id:
                return True
    return bool(unreadable)
