"""The files that an image is built from: list them, hash them, and pack them for Docker.

Times, owners and the exact modes of files differ between two checkouts of the same commit. So they
are neither hashed nor sent to Docker. Of the mode, only the right to execute counts, as in git.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Final

from kfgcp.deploy.images.dockerignore import Dockerignore
from kfgcp.errors import ConfigError

# The largest context, in bytes. Hashing it takes about 5 s, at every compilation.
MAX_BYTES: Final = 2_000_000_000

# The names of files and folders that are never part of a context. They change without a change of
# the code: git's own files, compiled files of Python, and the files that kfgcp writes.
_ALWAYS_IGNORED: Final = frozenset({".git", "__pycache__", ".kfgcp", "images.lock"})

_CHUNK_BYTES: Final = 1 << 20
_FILE_MODE: Final = 0o644
_PROGRAM_MODE: Final = 0o755


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or a link of a context.

    Attributes:
        file: the file on this machine, None for `data`.
        data: the content of a file that is not on this machine.
        link: the target of a link, None for a file.
        executable: whether the file may be executed.
        size: the number of bytes.
    """

    file: Path | None = None
    data: bytes = b""
    link: str | None = None
    executable: bool = False
    size: int = 0


class _HashingReader:
    """A file that computes the digest of what is read from it.

    Args:
        stream: the file.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes."""
        data = self._stream.read(size)
        self.digest.update(data)
        return data


@dataclass(frozen=True)
class Context:
    """What Docker gets to build an image.

    Attributes:
        entries: path in the context -> file.
        dockerfile: the path of the Dockerfile in the context.
        where: the context in words, for messages.
    """

    entries: Mapping[str, Entry]
    dockerfile: str
    where: str

    @cached_property
    def digest(self) -> str:
        """The hexadecimal digest of all paths, rights to execute, and contents.

        Raises:
            ConfigError: a file cannot be read.
        """
        digests = {}
        for path, entry in self.entries.items():
            if entry.link is None:
                with self._open(path) as stream:
                    reader = _HashingReader(stream)
                    while reader.read(_CHUNK_BYTES):
                        pass
                digests[path] = reader.digest.hexdigest()
        return self._combine(digests)

    def dockerfile_text(self) -> str:
        """Return the text of the Dockerfile."""
        with self._open(self.dockerfile) as stream:
            return stream.read().decode("utf-8", "replace")

    def pack(self, output: IO[bytes]) -> None:
        """Write the context as a tar archive. The same context gives the same bytes.

        Raises:
            ConfigError: a file cannot be read, or it changed after `digest` was computed.
        """
        digests = {}
        with tarfile.open(fileobj=output, mode="w", format=tarfile.PAX_FORMAT) as archive:
            for path in sorted(self.entries):
                entry = self.entries[path]
                info = tarfile.TarInfo(path)
                info.mode = _PROGRAM_MODE if entry.executable else _FILE_MODE
                if entry.link is not None:
                    info.type, info.linkname = tarfile.SYMTYPE, entry.link
                    archive.addfile(info)
                    continue
                with self._open(path) as stream:
                    info.size = stream.seek(0, os.SEEK_END)
                    stream.seek(0)
                    reader = _HashingReader(stream)
                    try:
                        archive.addfile(info, reader)
                    except OSError:
                        # tarfile raises it for a file that became shorter.
                        raise self._changed() from None
                digests[path] = reader.digest.hexdigest()
        # Docker gets exactly these bytes, so the tag must be theirs.
        if self._combine(digests) != self.digest:
            raise self._changed()

    def _changed(self) -> ConfigError:
        return ConfigError(
            f"{self.where}: files changed while the image was prepared, so it was not built.",
            hint="Run the command again.",
        )

    def _combine(self, digests: Mapping[str, str]) -> str:
        """Return the digest of the context from the digests of the contents of its files."""
        digest = hashlib.sha256(f"dockerfile {self.dockerfile}\n".encode())
        for path in sorted(self.entries):
            entry = self.entries[path]
            # A length before each text, because a path may contain spaces and newlines.
            name = f"{len(path)} {path}"
            if entry.link is not None:
                line = f"link {name} {len(entry.link)} {entry.link}\n"
            else:
                kind = "program" if entry.executable else "file"
                line = f"{kind} {name} {digests[path]}\n"
            digest.update(line.encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    def _open(self, path: str) -> IO[bytes]:
        entry = self.entries[path]
        if entry.file is None:
            return io.BytesIO(entry.data)
        try:
            return entry.file.open("rb")
        except OSError as error:
            raise ConfigError(
                f"{self.where}: {entry.file} cannot be read: {error.strerror}."
            ) from None


def read_context(folder: Path, dockerfile: Path, where: str, home: Path | None = None) -> Context:
    """Return the context of an image of the user.

    Args:
        folder: the folder of the context.
        dockerfile: the Dockerfile, which may be outside of the folder.
        where: the table, for messages: `kfgcp.toml [image.shop]`.
        home: the state folder, which is never part of a context.

    Raises:
        ConfigError: the folder or the Dockerfile does not exist, or the files are too large.
    """
    if not folder.is_dir():
        raise ConfigError(
            f"{where}: the folder {folder} does not exist.",
            hint='Write the folder of the code, from the folder of kfgcp.toml: context = "."',
        )
    if not dockerfile.is_file():
        raise ConfigError(
            f"{where}: the Dockerfile {dockerfile} does not exist.",
            hint="Write one, as docs/guides/images.md shows.",
        )
    entries: dict[str, Entry] = {}
    size = 0
    ignore = _read_ignore_file(folder, dockerfile, where)
    for path, entry in _walk(folder, ignore, home, where):
        entries[path] = entry
        size += entry.size
        if size > MAX_BYTES:
            raise ConfigError(
                f"{where}: the context {folder} has more than {MAX_BYTES / 1e9:g} GB.",
                hint=(
                    "Name the files that the image does not need in"
                    f" {folder / '.dockerignore'}, or choose a smaller folder."
                ),
            )
    path = _path_of_dockerfile(folder, dockerfile)
    entries.setdefault(path, Entry(dockerfile, size=dockerfile.stat().st_size))
    return Context(entries, path, where)


def _path_of_dockerfile(folder: Path, dockerfile: Path) -> str:
    try:
        return dockerfile.resolve().relative_to(folder.resolve()).as_posix()
    except ValueError:
        # The name is one that no file of a context has by accident.
        return ".kfgcp-dockerfile"


def _read_ignore_file(folder: Path, dockerfile: Path, where: str) -> Dockerignore:
    """Return the patterns for a Dockerfile. A file of its own comes before the common one.

    Raises:
        ConfigError: a pattern is not valid, or the file cannot be read.
    """
    for file in (dockerfile.with_name(f"{dockerfile.name}.dockerignore"), folder / ".dockerignore"):
        if not file.is_file():
            continue
        try:
            return Dockerignore(file.read_text("utf-8-sig", "replace").split("\n"))
        except ValueError as error:
            raise ConfigError(
                f"{where}: {file} has the pattern {str(error)!r}, which is not valid.",
                hint="Write a backslash before a bracket that belongs to the name of a file.",
            ) from None
        except OSError as error:
            raise ConfigError(f"{where}: {file} cannot be read: {error.strerror}.") from None
    return Dockerignore(())


def _walk(
    folder: Path, ignore: Dockerignore, home: Path | None, where: str
) -> Iterator[tuple[str, Entry]]:
    """Yield the files and links of a folder with their paths. Empty folders are left out.

    Raises:
        ConfigError: a folder or file cannot be read.
    """

    def refuse(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            raise _unreadable(error, where)

    for parent, folders, files in os.walk(folder, onerror=refuse):
        kept_folders = []
        for name in sorted(folders):
            file = Path(parent, name)
            path = file.relative_to(folder).as_posix()
            if name in _ALWAYS_IGNORED or file == home:
                continue
            if file.is_symlink():
                files.append(name)
            elif ignore.has_exceptions or not ignore.matches(path):
                kept_folders.append(name)
        folders[:] = kept_folders
        for name in files:
            file = Path(parent, name)
            path = file.relative_to(folder).as_posix()
            if name not in _ALWAYS_IGNORED and not ignore.matches(path):
                entry = _read_entry(file, where)
                if entry is not None:
                    yield path, entry


def _unreadable(error: OSError, where: str) -> ConfigError:
    return ConfigError(
        f"{where}: {error.filename} cannot be read: {error.strerror}.",
        hint="Change its rights, or name it in .dockerignore when the image does not need it.",
    )


def _read_entry(file: Path, where: str) -> Entry | None:
    """Return the entry of a file or link, None for a socket, a device or a file that is gone.

    Raises:
        ConfigError: the folder of the file cannot be entered.
    """
    try:
        status = file.lstat()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unreadable(error, where) from None
    if stat.S_ISLNK(status.st_mode):
        return Entry(file, link=os.readlink(file))
    if not stat.S_ISREG(status.st_mode):
        return None
    return Entry(file, executable=bool(status.st_mode & stat.S_IXUSR), size=status.st_size)
