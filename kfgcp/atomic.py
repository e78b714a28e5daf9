"""Write a file whole or not at all."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

# The name of a temporary file contains at most this many bytes of the name of the file to write.
# File systems usually allow 255 bytes in a name.
_NAME_BYTES: Final = 200

# After these errors, a file that cannot be replaced can perhaps still be written: its folder
# belongs to another user, or the file itself is a mount point, as in containers.
_CANNOT_REPLACE: Final = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EBUSY, errno.EXDEV)

# Linux follows at most this many links in a path (path_resolution(7)).
_MAX_LINKS: Final = 40


def write_file(file: Path, data: bytes) -> None:
    """Write a file so that readers see either the old or the new content, also after a crash.

    The new content goes to a temporary file in the same folder, which then replaces the old file
    and keeps its permissions. A link is followed: the file that it leads to is replaced. Pipes,
    devices and everything below /dev and /proc, except /dev/shm, are written directly.

    Args:
        file: the file to write; its folder exists.
        data: its new content.

    Raises:
        OSError: it cannot be written; the old file is unchanged, and no temporary file is left.
    """
    target = _follow_links(file)
    old_stat = _stat(target)
    if _is_special(target) or (old_stat is not None and not stat.S_ISREG(old_stat.st_mode)):
        _write_in_place(target, data)
        return
    if old_stat is not None and not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(file))
    try:
        _replace(target, data, old_stat)
    except OSError as error:
        if old_stat is None or error.errno not in _CANNOT_REPLACE:
            raise
        _write_in_place(target, data)


def create_file(file: Path, data: bytes) -> None:
    """Write a file that does not exist yet, whole or not at all.

    When several processes create the same file at the same time, one of them succeeds.

    Args:
        file: the file to write; its folder exists.
        data: its content.

    Raises:
        FileExistsError: the file exists.
        OSError: it cannot be written, or its file system has no hard links.
    """
    temporary_file = _temporary_name(file)
    try:
        with os.fdopen(_open_new(temporary_file), "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        # link(2) never replaces a file.
        os.link(temporary_file, file)
    finally:
        with suppress(OSError):
            os.unlink(temporary_file)
    _sync_folder(file.parent)


def _temporary_name(target: Path) -> Path:
    name = os.fsdecode(os.fsencode(target.name)[:_NAME_BYTES])
    return target.with_name(f".{name}.{secrets.token_hex(8)}.tmp")


def _open_new(file: Path) -> int:
    return os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)


def _replace(target: Path, data: bytes, old_stat: os.stat_result | None) -> None:
    temporary_file = _temporary_name(target)
    fd = _open_new(temporary_file)
    try:
        with os.fdopen(fd, "wb") as stream:
            if old_stat is not None:
                _copy_owner(stream.fileno(), old_stat)
            stream.write(data)
            stream.flush()
            # Before the rename: after a crash, the new name must not lead to an empty file.
            os.fsync(stream.fileno())
        os.replace(temporary_file, target)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary_file)
        raise
    _sync_folder(target.parent)


def _copy_owner(fd: int, old_stat: os.stat_result) -> None:
    """Give the new file the permissions of the old file, and its owner when that is allowed."""
    if (old_stat.st_uid, old_stat.st_gid) != (os.geteuid(), os.getegid()):
        with suppress(OSError):
            os.fchown(fd, old_stat.st_uid, old_stat.st_gid)
    # After fchown, which removes the set-user-ID and set-group-ID bits.
    os.fchmod(fd, stat.S_IMODE(old_stat.st_mode))


def _sync_folder(folder: Path) -> None:
    """Flush a folder to the disk, so that the rename in it survives a crash."""
    # Some file systems cannot flush a folder.
    with suppress(OSError):
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def _write_in_place(target: Path, data: bytes) -> None:
    with target.open("wb") as stream:
        stream.write(data)


def _follow_links(file: Path) -> Path:
    """Return the file that a link leads to, or the first special file on the way to it."""
    target = file
    for _ in range(_MAX_LINKS):
        if _is_special(target) or not target.is_symlink():
            return target
        target = target.parent / os.readlink(target)
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(file))


def _is_special(target: Path) -> bool:
    """Return whether a path is a device or an open file of a process, such as /dev/stdout.

    /dev/shm contains ordinary files, which are in memory.
    """
    path = os.path.abspath(target)
    return path.startswith(("/dev/", "/proc/")) and not path.startswith("/dev/shm/")  # noqa: S108


def _stat(target: Path) -> os.stat_result | None:
    try:
        return target.stat()
    except FileNotFoundError:
        return None
