"""Writing a file whole or not at all."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path

_NAME_BYTES = 200
"""The part of the file's name that its temporary file gets, in bytes. File systems usually allow
255 bytes in all."""
_CANNOT_REPLACE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EBUSY, errno.EXDEV)
"""The errors when a file may be written but not replaced: its folder belongs to another user, or
the file itself is mounted, as in containers."""


def write_file(file: Path, data: bytes) -> None:
    """Write a file so that readers see either the old or the new content, also after a crash.

    The new content goes to a temporary file in the same folder, which then replaces the old file
    and keeps its permissions. A link is followed: the file that it leads to is replaced. Pipes,
    devices and everything below /dev and /proc are written directly.

    Args:
        file: the file to write; its folder exists.
        data: its new content.

    Raises:
        OSError: it cannot be written; the old file is unchanged, and no temporary file is left.
    """
    target = _follow_links(file)
    before = _stat(target)
    if _is_special(target) or (before is not None and not stat.S_ISREG(before.st_mode)):
        _write_in_place(target, data)
        return
    if before is not None and not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(file))
    try:
        _replace(target, data, before)
    except OSError as error:
        if before is None or error.errno not in _CANNOT_REPLACE:
            raise
        _write_in_place(target, data)


def _replace(target: Path, data: bytes, before: os.stat_result | None) -> None:
    name = os.fsdecode(os.fsencode(target.name)[:_NAME_BYTES])
    beside = target.with_name(f".{name}.{secrets.token_hex(8)}.tmp")
    fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        with os.fdopen(fd, "wb") as opened:
            if before is not None:
                _take_over(opened.fileno(), before)
            opened.write(data)
            opened.flush()
            os.fsync(opened.fileno())
        os.replace(beside, target)
    except BaseException:
        with suppress(OSError):
            os.unlink(beside)
        raise
    _sync_folder(target.parent)


def _take_over(fd: int, before: os.stat_result) -> None:
    """Give the new file the owner and the permissions of the old one, as far as this user may."""
    if (before.st_uid, before.st_gid) != (os.geteuid(), os.getegid()):
        with suppress(OSError):
            os.fchown(fd, before.st_uid, before.st_gid)
    os.fchmod(fd, stat.S_IMODE(before.st_mode))


def _sync_folder(folder: Path) -> None:
    """Write the new name to the disk too; some file systems cannot do that for a folder."""
    with suppress(OSError):
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def _write_in_place(target: Path, data: bytes) -> None:
    with target.open("wb") as opened:
        opened.write(data)


def _follow_links(file: Path) -> Path:
    """Return the file that a link leads to, or the first path on the way that must not be
    replaced."""
    target = file
    for _ in range(40):  # as many as Linux follows
        if _is_special(target) or not target.is_symlink():
            return target
        target = target.parent / os.readlink(target)
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(file))


def _is_special(target: Path) -> bool:
    """Return whether the name means something that is already open, such as /dev/stdout."""
    path = os.path.abspath(target)
    return path.startswith(("/dev/", "/proc/")) and not path.startswith("/dev/shm/")  # noqa: S108


def _stat(target: Path) -> os.stat_result | None:
    try:
        return target.stat()
    except FileNotFoundError:
        return None
