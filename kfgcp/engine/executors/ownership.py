"""Let a container write to folders of this user, and give its files to this user afterwards.

A container runs as the user in its image, most often as root. So its files belong to another user,
and only root may change the owner of a file. Therefore a second container of the same image, as
root, gives the files to the owner of the folder. This container is not needed when the Docker
engine maps root to this user (rootless Docker, Docker Desktop), or when root runs kfgcp.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

# The users in an image that mean root. Without a user, a container runs as root.
_ROOT_USERS: Final = ("", "0", "root")

# The script reads the owner of the folder inside the container, because there this user may have
# another number: in a rootless engine it is 0. The rights change before the owner, so a container
# that still writes to a shared folder can write there at any moment.
_HAND_OVER: Final = (
    'rights="$1" && shift && owner=$(stat -c %u:%g "$1")'
    ' && chmod -R "$rights" "$@" && chown -R "$owner" "$@"'
)
_OWN_RIGHTS: Final = "u+w,a+rX"
_SHARED_RIGHTS: Final = "a+rwX"

# The rights of other users: to read a file, and to read and enter a folder.
_READ: Final = 0o004
_READ_AND_ENTER: Final = 0o005

# The rights of all users: to write a file, and to write and enter a folder.
_WRITE: Final = 0o666
_WRITE_AND_ENTER: Final = 0o777


@dataclass(frozen=True, slots=True)
class WritablePaths:
    """The folders of this machine that a container may write to.

    Attributes:
        own: folders that only this container uses.
        shared: folders that other containers may use at the same time and later.
    """

    own: list[str] = field(default_factory=list)
    shared: list[str] = field(default_factory=list)


@contextmanager
def writable(paths: WritablePaths, user: str) -> Iterator[None]:
    """Let the user of a container write to folders while the context is open.

    Root can write to all folders, so nothing changes for root.

    Args:
        paths: the folders. Those of this container get their old modes back at the end. Shared
            folders and everything in them stay writable, because other containers may still use
            them.
        user: the user in the image: a name or number, perhaps with a group after a colon.
    """
    if _is_root(user):
        yield
        return
    modes: dict[str, int] = {}
    for folder in paths.own:
        modes[folder] = stat.S_IMODE(os.stat(folder).st_mode)
        # Volumes on Kubernetes have this mode too.
        os.chmod(folder, 0o777)  # noqa: S103
    for folder in paths.shared:
        _open_to_writers(folder)
    try:
        yield
    finally:
        for folder, mode in modes.items():
            os.chmod(folder, mode)


def _open_to_writers(folder: str) -> None:
    """Let other users write to a folder, and to all folders and files in it."""
    # The path of a shared folder may be a link.
    real_folder = os.path.realpath(folder)
    with suppress(OSError), _opened(real_folder) as top:
        _let_write(top)
        for descriptor in _descend(top):
            _let_write(descriptor)


def make_readable(paths: Iterable[str], home: Path, user: str) -> None:
    """Let the user of a container read files of the state folder.

    Root can read all files, so nothing changes for root.

    The files stay readable, because several containers may read them at the same time. Other users
    of the machine still cannot reach them, because they cannot enter the state folder. Files
    outside the state folder do not change.

    Args:
        paths: files and folders that a container reads. They may lead to the state folder through
            links.
        home: the state folder.
        user: the user of the container, as in `writable`.
    """
    if _is_root(user):
        return
    # Links are resolved in the paths and in `home`, because the state folder may have had another
    # name when the paths were recorded.
    real_home = os.path.realpath(home)
    for path in paths:
        real_path = Path(os.path.realpath(path))
        if not real_path.is_relative_to(real_home) or _can_be_read(real_path):
            continue
        relative_path = real_path.relative_to(real_home)
        with suppress(OSError), _opened_below(real_home, relative_path) as top:
            for descriptor in _descend(top):
                _let_read(descriptor)
            # The path itself comes last. When it can be read, other calls skip it, so all files
            # below it must be readable by then.
            _let_read(top)


def hand_over(client: Any, image: str, paths: WritablePaths, labels: dict[str, str]) -> str | None:
    """Make the files in folders belong to the user of this process.

    Args:
        client: a client of the Docker engine.
        image: the image of the container that wrote the files.
        paths: folders of this user.
        labels: the labels of the container that changes the owner.

    Returns:
        None when all files belong to the user. Otherwise the reason, in one line.
    """
    if os.getuid() == 0:
        return None
    for folders, rights in ((paths.own, _OWN_RIGHTS), (paths.shared, _SHARED_RIGHTS)):
        foreign_folders = [folder for folder in folders if _has_foreign_files(folder)]
        if not foreign_folders:
            continue
        problem = _change_owner(client, image, foreign_folders, rights, labels)
        if problem is not None:
            return problem
    return None


def _change_owner(
    client: Any, image: str, folders: list[str], rights: str, labels: dict[str, str]
) -> str | None:
    """Give the files in folders to the owner of the first folder, in a container of root.

    Returns:
        None, or why it failed, in one line.
    """
    try:
        client.containers.run(
            image,
            entrypoint=["sh", "-c", _HAND_OVER, "sh"],
            command=[rights] + folders,
            user="0:0",
            network_mode="none",
            volumes={folder: {"bind": folder, "mode": "rw"} for folder in folders},
            labels=labels,
            remove=True,
        )
    except Exception as error:
        # For example, the image has no shell.
        explanation = getattr(error, "explanation", None) or error
        return " ".join(str(explanation).split())
    return None


def _is_root(user: str) -> bool:
    return user.partition(":")[0] in _ROOT_USERS


def _can_be_read(path: Path) -> bool:
    """Return whether other users may read a file, or read and enter a folder."""
    mode = path.stat().st_mode
    rights = _READ_AND_ENTER if stat.S_ISDIR(mode) else _READ
    return mode & rights == rights


def _let_write(descriptor: int) -> None:
    """Let other users write a file, or write and enter a folder."""
    is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
    _add_rights(descriptor, _WRITE_AND_ENTER if is_folder else _WRITE)


def _let_read(descriptor: int) -> None:
    """Let other users read a file or folder.

    If the owner may enter the folder or run the file, other users may do that too.
    """
    rights = 0o044
    if os.fstat(descriptor).st_mode & stat.S_IXUSR:
        rights |= 0o011
    _add_rights(descriptor, rights)


def _add_rights(descriptor: int, rights: int) -> None:
    """Add rights to the mode of a file or folder.

    Nothing happens when this user may not change the mode.
    """
    with suppress(OSError):
        os.fchmod(descriptor, stat.S_IMODE(os.fstat(descriptor).st_mode) | rights)


# A container that still runs may replace a file or folder by a link at any moment. The link may
# lead to a file of this user that the container cannot reach. So a file or folder is opened by its
# name in a folder that is open, never through a link, and its mode is changed by the descriptor.


def _descend(folder: int) -> Iterator[int]:
    """Yield a descriptor of each file and folder below a folder, a folder before its content.

    Links, devices, pipes and sockets are left out, and so is what this user cannot read.

    Args:
        folder: the descriptor of the folder. Of a file, nothing is yielded.
    """
    if not stat.S_ISDIR(os.fstat(folder).st_mode):
        return
    for name in os.listdir(folder):
        with suppress(OSError), _opened(name, folder) as descriptor:
            yield descriptor
            yield from _descend(descriptor)


@contextmanager
def _opened_below(folder: str, path: Path) -> Iterator[int]:
    """Open a file or folder below a folder. None of the names in the path may be a link.

    Args:
        folder: the folder.
        path: the path of the file, relative to the folder.
    """
    with ExitStack() as stack:
        descriptor = stack.enter_context(_opened(folder))
        for name in path.parts:
            descriptor = stack.enter_context(_opened(name, descriptor))
        yield descriptor


@contextmanager
def _opened(name: str, folder: int | None = None) -> Iterator[int]:
    """Open a file or folder to read it.

    Args:
        name: its name in `folder`, or its path.
        folder: the descriptor of the folder that has it.

    Raises:
        OSError: it is a link, it is neither a file nor a folder, or it cannot be opened.
    """
    # Opening a device or a pipe can have an effect on it.
    mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise OSError(errno.EINVAL, "is neither a file nor a folder", name)
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(name, flags, dir_fd=folder)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _has_foreign_files(folder: str) -> bool:
    """Return whether a folder contains files of another user, or folders that cannot be read."""
    own_id = os.getuid()
    errors: list[OSError] = []
    for parent, folders, files in os.walk(folder, onerror=errors.append):
        for name in folders + files:
            if os.lstat(os.path.join(parent, name)).st_uid != own_id:
                return True
    return bool(errors)
