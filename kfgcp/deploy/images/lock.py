"""Read and write images.lock, which records the digest of each image."""

from __future__ import annotations

import fcntl
import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from kfgcp import private
from kfgcp.atomic import write_file
from kfgcp.errors import ConfigError

FILE_NAME: Final = "images.lock"

_HEAD: Final = (
    "# Written by `kfgcp images`. Commit this file, so that everybody runs the same images.\n"
)
_KEYS: Final = ("content", "registry", "digest", "base", "base_digest", "replaces", "platform")
_ARGUMENTS: Final = "arguments"
_DIGESTS: Final = ("content", "digest", "base_digest")
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")

# The lock of the state folder that a command holds while it changes the file.
_LOCK: Final = "images"

_HINT: Final = "Take the file from version control, or remove it and write it: kfgcp images lock"


@dataclass(frozen=True, slots=True)
class Locked:
    """What images.lock knows of an image.

    Attributes:
        content: the digest of everything that the image is built from.
        digest: the digest that the registry gave to the image, "" before it was pushed.
        base: the image that it begins with, "" when its Dockerfile has no `ARG BASE`.
        base_digest: the digest of that image.
        registry: the image_registry that has the image, "" before it was pushed.
        replaces: the image of `ARG BASE` in the Dockerfile that `base` replaces, "" when it is
            `base` itself.
        platform: the platform that the image is for, "" for `linux/amd64`.
        arguments: the values of `ARG` lines that the image was built with, by their names.
    """

    content: str
    digest: str = ""
    base: str = ""
    base_digest: str = ""
    registry: str = ""
    replaces: str = ""
    platform: str = ""
    arguments: Mapping[str, str] = field(default_factory=dict)


def read_lock(root: Path) -> dict[str, Locked]:
    """Return what images.lock knows of each image; an empty mapping without the file.

    Args:
        root: the folder of kfgcp.toml.

    Raises:
        ConfigError: the file cannot be read or is not valid.
    """
    file = root / FILE_NAME
    try:
        data = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file} is not valid TOML: {error}.", hint=_HINT) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} cannot be read: {error}.", hint=_HINT) from None
    images = data.pop("image", {})
    if data:
        raise ConfigError(f"{file}: unknown key '{next(iter(data))}'.", hint=_HINT)
    if not isinstance(images, dict):
        raise ConfigError(f"{file}: image must be a table.", hint=_HINT)
    return {name: _read_entry(table, f"{file} [image.{name}]") for name, table in images.items()}


def write_lock(root: Path, images: Mapping[str, Locked]) -> None:
    """Write images.lock, whole or not at all.

    Raises:
        ConfigError: it cannot be written. The old file is unchanged.
    """
    lines = [_HEAD]
    for name in sorted(images):
        # A bare key of TOML may not have a dot.
        key = name if "." not in name else json.dumps(name)
        lines.append(f"\n[image.{key}]\n")
        for field_name in _KEYS:
            value = getattr(images[name], field_name)
            if value:
                lines.append(f"{field_name} = {json.dumps(value)}\n")
        arguments = images[name].arguments
        if arguments:
            lines.append(f"[image.{key}.{_ARGUMENTS}]\n")
        for argument, value in sorted(arguments.items()):
            lines.append(f"{json.dumps(argument)} = {json.dumps(value)}\n")
    file = root / FILE_NAME
    try:
        write_file(file, "".join(lines).encode())
    except OSError as error:
        raise ConfigError(f"{file} cannot be written: {error.strerror}.") from None


def update_lock(
    root: Path, home: Path, entries: Mapping[str, Locked], previous: Mapping[str, Locked]
) -> dict[str, Locked]:
    """Write entries to images.lock, and keep what other commands wrote meanwhile.

    Args:
        root: the folder of kfgcp.toml.
        home: the state folder, which has the lock that keeps other commands waiting.
        entries: image -> its new entry.
        previous: the entries that the file had when the command began.

    Returns:
        The entries of the file.

    Raises:
        ConfigError: the file is not valid, or it or the state folder cannot be written.
    """
    with _exclusive(home):
        images = read_lock(root)
        for name, entry in entries.items():
            current = images.get(name)
            # Another command has pushed the same image, and this one does not know the digest.
            was_pushed = current is not None and current != previous.get(name)
            if was_pushed and _has_more(current, entry):
                continue
            images[name] = entry
        write_lock(root, images)
    return images


@contextmanager
def _exclusive(home: Path) -> Iterator[None]:
    """Keep other commands from changing the file. Wait until no other command does."""
    folder = home / "locks"
    try:
        private.make_folders(folder)
        fd = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError(f"{folder} cannot be written: {error.strerror}.") from None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _has_more(current: Locked | None, entry: Locked) -> bool:
    """Return whether an entry has the digest of the image that another entry has without one."""
    if current is None or current.content != entry.content:
        return False
    return bool(current.digest) and not entry.digest


def _read_entry(table: object, where: str) -> Locked:
    if not isinstance(table, dict):
        raise ConfigError(f"{where} must be a table.", hint=_HINT)
    arguments = table.pop(_ARGUMENTS, {})
    is_table = isinstance(arguments, dict)
    if not is_table or not all(isinstance(value, str) for value in arguments.values()):
        raise ConfigError(f"{where}: {_ARGUMENTS} must be a table of texts.", hint=_HINT)
    for key, value in table.items():
        if key not in _KEYS:
            raise ConfigError(f"{where}: unknown key '{key}'.", hint=_HINT)
        kind = "digest" if key in _DIGESTS else "text"
        is_valid = isinstance(value, str)
        if not is_valid or (kind == "digest" and not _DIGEST.fullmatch(value)):
            raise ConfigError(f"{where}: {key} is {value!r}, which is not a {kind}.", hint=_HINT)
    if "content" not in table:
        raise ConfigError(f"{where}: content is missing.", hint=_HINT)
    return Locked(**table, arguments=arguments)
