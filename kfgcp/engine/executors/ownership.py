"""Who may write to the folders that a container is given, and whom what it wrote belongs to.

A container runs as its image says, root most often. What it wrote is handed to the owner of the
folder afterwards, by a second container of the same image: nobody else but root may. That one is
started only when there is something of another owner, so not where the engine maps root to the user
(rootless Docker, Docker Desktop), nor for root.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

_ROOT = ("", "0", "root")
# the folder's owner as the container sees it: 0 in a rootless engine
_HAND_OVER = 'owner=$(stat -c %u:%g "$1") && chown -R "$owner" "$@" && chmod -R u+w,a+rX "$@"'


@contextmanager
def writable(folders: Iterable[str], shared: str | None, user: str) -> Iterator[None]:
    """Folders that the user of a container can write to meanwhile; root always can.

    Args:
        folders: folders of this user.
        shared: one more, which other containers use too and which stays writable.
        user: as an image names it: a name or number, perhaps with a group after a colon.
    """
    if user.partition(":")[0] in _ROOT:
        yield
        return
    before = {folder: os.stat(folder).st_mode & 0o7777 for folder in folders if folder != shared}
    for folder in (*before, *([shared] if shared else [])):
        os.chmod(folder, 0o777)  # noqa: S103  # as volumes are on Kubernetes
    try:
        yield
    finally:
        for folder, mode in before.items():
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
    if user.partition(":")[0] in _ROOT:
        return
    # Links are resolved in both, because the state folder may have had another name when the paths
    # were recorded.
    real_home = os.path.realpath(home)
    for path in map(Path, map(os.path.realpath, paths)):
        if not path.is_relative_to(real_home) or _can_be_read(path):
            continue
        for parent, folders, files in os.walk(path):
            for name in (*folders, *files):
                _open_to_readers(Path(parent, name))
        _open_to_readers(path)  # last, because its mode shows that the rest is done


def _can_be_read(path: Path) -> bool:
    mode = path.stat().st_mode
    read_bits = 0o005 if stat.S_ISDIR(mode) else 0o004
    return mode & read_bits == read_bits


def _open_to_readers(path: Path) -> None:
    """Let others read a file or folder; also enter the folder or run the program when its owner
    can."""
    with suppress(OSError):
        mode = path.lstat().st_mode
        if not stat.S_ISLNK(mode):
            search = 0o011 if mode & stat.S_IXUSR else 0
            path.chmod(stat.S_IMODE(mode) | 0o044 | search)


def hand_over(
    client: Any, image: str, folders: Iterable[str], labels: dict[str, str]
) -> str | None:
    """Makes what lies in the folders belong to the user of this process; why that cannot be, None
    when it is so."""
    if os.getuid() == 0 or not (foreign := [folder for folder in folders if _has_foreign(folder)]):
        return None
    try:
        client.containers.run(
            image,
            entrypoint=["sh", "-c", _HAND_OVER, "sh"],
            command=foreign,
            user="0:0",
            network_mode="none",
            volumes={folder: {"bind": folder, "mode": "rw"} for folder in foreign},
            labels=labels,
            remove=True,
        )
    except Exception as error:  # no shell in the image, for example
        return " ".join(str(getattr(error, "explanation", None) or error).split())
    return None


def _has_foreign(folder: str) -> bool:
    mine = os.getuid()
    unreadable: list[OSError] = []
    for parent, folders, files in os.walk(folder, onerror=unreadable.append):
        if any(os.lstat(os.path.join(parent, name)).st_uid != mine for name in (*folders, *files)):
            return True
    return bool(unreadable)
