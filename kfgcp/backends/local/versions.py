"""A registry of versions in a folder.

    FOLDER/registry.json              the format of the folder
    FOLDER/PIPELINE/texts/DIGEST.yaml the text of an entry
    FOLDER/PIPELINE/entries/DIGEST.json
    FOLDER/PIPELINE/tags/TAG          the digest that the tag points to

DIGEST is the digest of the text, 64 hexadecimal digits. Several processes may use the folder at the
same time. A file is written whole or not at all. The text is written before its entry, and the
entry before its tags. So a process that is killed leaves at most a text without an entry, which the
next push uses.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from kfgcp.atomic import create_file, write_file
from kfgcp.backends.versions import (
    RegisteredVersion,
    VersionUpload,
    digest_text,
    refused_move,
)
from kfgcp.errors import BadAnswer, ConfigError, NotFound, StateError, UsageError
from kfgcp.model import timestamp
from kfgcp.private import make_folders

FOLDER_NAME: Final = "versions"

_FORMAT_FILE: Final = "registry.json"
_FORMAT: Final = {"format": "kfgcp-versions", "version": 1}
_HEX: Final = re.compile(r"[0-9a-f]{64}")
_TAG: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,127}")

# In the names of folders, all other bytes become %XX. Some file systems ignore case, and `.` and
# `..` are not names.
_PLAIN_BYTES: Final = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789-_")

# Most file systems allow 255 bytes in a name.
_MAX_NAME: Final = 240

_TEXTS: Final = ("pipeline", "version", "text_digest", "project", "created_at")


class LocalVersions:
    """Implements `SupportsVersions` in a folder.

    Args:
        folder: the folder. It need not exist.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def registry(self) -> str:
        """The path of the folder, for messages."""
        return str(self._folder)

    def list_versions(self, pipeline: str) -> Sequence[RegisteredVersion]:
        """Return the versions of a pipeline, the newest first.

        An entry whose text is missing or was changed has no `text_digest`.
        """
        folder = self._pipeline_folder(pipeline)
        with self._explained("read"):
            self._check_format()
            tags_by_digest = _read_tags(folder / "tags")
            entries = []
            for file in _files(folder / "entries", ".json"):
                entry = self._read_entry(file, tags_by_digest)
                if entry is not None:
                    entries.append(entry)
        # The digest decides between entries of the same millisecond, so the order is stable.
        return sorted(entries, key=lambda entry: (entry.created_at, entry.ref), reverse=True)

    def list_pipelines(self) -> Sequence[str]:
        """Return the names of the pipelines that have versions, sorted."""
        with self._explained("read"):
            self._check_format()
            if not self._folder.is_dir():
                return []
            folders = [path for path in self._folder.iterdir() if _files(path / "entries", ".json")]
        return sorted(unquote(folder.name) for folder in folders)

    def read_text(self, version: RegisteredVersion) -> str:
        """Return the text of an entry, exactly as it was uploaded.

        Raises:
            NotFound: the entry does not exist any more.
        """
        file = self._text_file(version.pipeline, version.ref)
        with self._explained("read"):
            try:
                content = file.read_bytes()
            except FileNotFoundError:
                raise NotFound(f"{file} does not exist any more.") from None
        try:
            text = content.decode()
        except UnicodeDecodeError:
            text = ""
        if digest_text(text) != version.ref:
            raise BadAnswer(
                f"{file} was changed after it was pushed.",
                hint="Restore the file, or remove it and push the pipeline again.",
            )
        return text

    def read(self, version: RegisteredVersion) -> tuple[RegisteredVersion, str]:
        """Return an entry and its text, see `SupportsVersions.read`."""
        return version, self.read_text(version)

    def upload(self, upload: VersionUpload) -> RegisteredVersion:
        """Add an entry, and return it. An entry with the same text is not added again."""
        folder = self._pipeline_folder(upload.pipeline)
        ref = upload.text_digest
        entries = self.list_versions(upload.pipeline)
        same_version = [entry for entry in entries if entry.version == upload.version]
        if same_version and same_version[0].ref == ref:
            return self._with_text(same_version[0], upload)
        for entry in entries:
            if entry.ref == ref and entry.version != upload.version:
                raise BadAnswer(f"{self._folder} has this text with the version {entry.version}.")
        entry = RegisteredVersion(
            pipeline=upload.pipeline,
            ref=ref,
            version=upload.version,
            text_digest=ref,
            project=upload.project,
            tags=(),
            created_at=timestamp(time.time()),
            address=f"{upload.pipeline}@{upload.version}",
        )
        with self._explained("written"):
            self._add_format()
            for name in ("texts", "entries", "tags"):
                make_folders(folder / name)
            text_file = self._text_file(upload.pipeline, ref)
            # An older push may have been killed after its text.
            if not _has_digest(text_file, ref):
                write_file(text_file, upload.text.encode())
            values = {name: getattr(entry, name) for name in _TEXTS}
            content = json.dumps(values, indent=2) + "\n"
            write_file(folder / "entries" / f"{_hex(ref)}.json", content.encode())
            tags = _read_tags(folder / "tags").get(_hex(ref), ())
        return replace(entry, tags=tuple(sorted(tags)))

    def _with_text(self, entry: RegisteredVersion, upload: VersionUpload) -> RegisteredVersion:
        """Write the text of an entry when it is missing or was changed, and return the entry."""
        if entry.text_digest:
            return entry
        text_file = self._text_file(upload.pipeline, entry.ref)
        with self._explained("written"):
            make_folders(text_file.parent)
            write_file(text_file, upload.text.encode())
        return replace(entry, text_digest=entry.ref)

    def require_tags(
        self, tags: Sequence[str] = (), version: RegisteredVersion | None = None
    ) -> None:
        """Do nothing: the registry has tags, as many as a user sets."""

    def set_tag(self, version: RegisteredVersion, tag: str, *, fixed: bool = False) -> None:
        """Let a tag point to an entry, see `SupportsVersions.set_tag`."""
        file = self._tag_file(version.pipeline, tag)
        content = _hex(version.ref).encode()
        with self._explained("written"):
            make_folders(file.parent)
            if not fixed:
                write_file(file, content)
                return
            try:
                create_file(file, content)
            except FileExistsError:
                self._refuse_holder(version, tag, file.read_text(errors="replace"))

    def _refuse_holder(self, version: RegisteredVersion, tag: str, hex_digits: str) -> None:
        """Check that a tag points to an entry already.

        Args:
            version: the entry.
            tag: the tag.
            hex_digits: the content of its file.

        Raises:
            UsageError: it points to another entry.
        """
        if hex_digits == _hex(version.ref):
            return
        for entry in self.list_versions(version.pipeline):
            if _hex(entry.ref) == hex_digits:
                raise refused_move(tag, entry, version.version)
        raise UsageError(
            f"The tag {tag} of {version.pipeline} points to an entry that was removed.",
            hint="Tags that begin with v and a digit never move. Use a new tag.",
        )

    def remove_tag(self, version: RegisteredVersion, tag: str) -> None:
        """Remove a tag of an entry. Do nothing when the entry does not have it."""
        file = self._tag_file(version.pipeline, tag)
        with self._explained("written"), suppress(FileNotFoundError):
            if file.read_text() == _hex(version.ref):
                file.unlink()

    def _read_entry(
        self, file: Path, tags_by_digest: dict[str, list[str]]
    ) -> RegisteredVersion | None:
        """Return the entry of a file, None when the file was removed in the meantime.

        Raises:
            BadAnswer: the file is not an entry.
        """
        try:
            values = json.loads(file.read_bytes())
        except FileNotFoundError:
            return None
        except ValueError:
            values = None
        is_entry = isinstance(values, dict) and all(
            isinstance(values.get(name), str) for name in _TEXTS
        )
        if not is_entry or values["text_digest"] != f"sha256:{file.stem}":
            raise BadAnswer(
                f"{file} is not an entry of a registry.",
                hint="Remove the file, and push the pipeline again.",
            )
        ref = values["text_digest"]
        text_file = file.parent.parent / "texts" / f"{file.stem}.yaml"
        return RegisteredVersion(
            pipeline=values["pipeline"],
            ref=ref,
            version=values["version"],
            text_digest=ref if _has_digest(text_file, ref) else "",
            project=values["project"],
            tags=tuple(sorted(tags_by_digest.get(file.stem, ()))),
            created_at=values["created_at"],
            address=f"{values['pipeline']}@{values['version']}",
        )

    def _check_format(self) -> None:
        """Check that the folder is a registry, or can become one.

        Raises:
            ConfigError: it has other files, or a newer version of kfgcp made it.
        """
        file = self._folder / _FORMAT_FILE
        try:
            found_format = json.loads(file.read_bytes())
        except FileNotFoundError:
            self._refuse_other_files()
            return
        except ValueError:
            found_format = None
        if found_format != _FORMAT:
            raise ConfigError(
                f"{file} does not have the format of this version of kfgcp.",
                hint="Install a newer kfgcp, or choose another folder with the key registry.",
            )

    def _refuse_other_files(self) -> None:
        try:
            names = [name for name in os.listdir(self._folder) if not name.startswith(".")]
        except FileNotFoundError:
            return
        if not names or (self._folder / _FORMAT_FILE).is_file():
            return
        raise ConfigError(
            f"{self._folder} is not a registry: it has no {_FORMAT_FILE}.",
            hint="Choose an empty folder with the key registry.",
        )

    def _add_format(self) -> None:
        make_folders(self._folder)
        file = self._folder / _FORMAT_FILE
        if not file.is_file():
            write_file(file, json.dumps(_FORMAT).encode())

    def _pipeline_folder(self, pipeline: str) -> Path:
        """Return the folder of a pipeline. It is always inside the registry.

        Raises:
            UsageError: the name is empty or too long.
        """
        name = _folder_name(pipeline)
        if not name or len(name) > _MAX_NAME:
            raise UsageError(
                f"A folder cannot have a pipeline with the name {pipeline[:60]!r}.",
                hint="Use a name of 1 to 80 characters.",
            )
        return self._folder / name

    def _text_file(self, pipeline: str, ref: str) -> Path:
        return self._pipeline_folder(pipeline) / "texts" / f"{_hex(ref)}.yaml"

    def _tag_file(self, pipeline: str, tag: str) -> Path:
        if not _TAG.fullmatch(tag):
            raise UsageError(f"{tag[:60]!r} is not a tag.")
        return self._pipeline_folder(pipeline) / "tags" / tag

    @contextmanager
    def _explained(self, participle: str) -> Iterator[None]:
        """Raise errors of the file system as `StateError`.

        Args:
            participle: what cannot be done: `read` or `written`.
        """
        try:
            yield
        except OSError as error:
            raise StateError(
                f"The registry {self._folder} cannot be {participle}: {error.strerror or error}.",
                hint="Check the key registry of the environment, and who may use the folder.",
            ) from error


def _folder_name(pipeline: str) -> str:
    """Return the name of the folder of a pipeline.

    Example:
        >>> _folder_name("churn"), _folder_name("../x")
        ('churn', '%2E%2E%2Fx')
    """
    return "".join(map(_escape, pipeline.encode("utf-8", "surrogatepass")))


def _escape(byte: int) -> str:
    return chr(byte) if byte in _PLAIN_BYTES else f"%{byte:02X}"


def _hex(ref: str) -> str:
    """Return the 64 digits of a digest.

    Raises:
        NotFound: the text is not a digest, so no file has its name.
    """
    hex_digits = ref.removeprefix("sha256:")
    if not _HEX.fullmatch(hex_digits):
        raise NotFound(f"{ref[:80]!r} is not the digest of a text.")
    return hex_digits


def _has_digest(file: Path, digest: str) -> bool:
    """Return whether a file has the text with a digest."""
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        return False
    return f"sha256:{hashlib.sha256(content).hexdigest()}" == digest


def _files(folder: Path, ending: str) -> list[Path]:
    """Return the files of a folder whose name is a digest and an ending."""
    try:
        names = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    stems = [name.removesuffix(ending) for name in names if name.endswith(ending)]
    return [folder / f"{stem}{ending}" for stem in stems if _HEX.fullmatch(stem)]


def _read_tags(folder: Path) -> dict[str, list[str]]:
    """Return the tags by the digits of the digest that they point to."""
    tags_by_digest: dict[str, list[str]] = {}
    with suppress(FileNotFoundError):
        for name in os.listdir(folder):
            if not _TAG.fullmatch(name):
                continue
            # Another process may remove the tag.
            with suppress(FileNotFoundError):
                digest = (folder / name).read_text(errors="replace")
                tags_by_digest.setdefault(digest, []).append(name)
    return tags_by_digest
