"""A model registry in a folder, on any storage.

    NAME/versions/VERSION/model/…       the files of the model
    NAME/versions/VERSION/version.json  written last, so a version with this file is complete
    NAME/aliases/ALIAS/00000001.json    each move of the alias; the last one counts

An alias moves by creating the next file of its folder. Of two tasks that move it at once, only one
can create the file. The older files are the history of the alias.
"""

from __future__ import annotations

import filecmp
import json
import re
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from kfgcp_components.messages import format_names, one_line
from kfgcp_components.registries.base import (
    Details,
    ModelFiles,
    RegistryError,
    Version,
    changed_files,
    check_labels,
    digest_files,
    list_files,
    moved_meanwhile,
)
from kfgcp_components.storage import Store

FORMAT = "kfgcp-registry/1"

# Names are parts of paths. These characters are safe in every store.
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,62}")
# The same as on Vertex AI, so that a pipeline can use both registries.
_ALIAS = re.compile(r"[a-z][a-zA-Z0-9-]{0,126}[a-z0-9]")
_VERSION = re.compile(r"v-[0-9a-f]{12}")

_REPAIR_HINT = "register the same model again with register_model to repair the version"


class FolderRegistry:
    """The registry in a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def register(self, name: str, model: ModelFiles, details: Details) -> Version:
        """Return the version with the files of a model. Add the version when it is missing.

        Files of the version that are missing or have changed are written again.
        """
        check_name(name)
        check_labels(details.labels)
        version_id = f"v-{model.digest[:12]}"
        version = self._version(name, version_id)
        is_new = self._read_record(name, version_id) is None
        if is_new:
            self._add(version, model, details)
        digest, paths = self._read_contents(version)
        if digest != model.digest or paths != list_files(model.folder):
            raise RegistryError(f"{version.resource} holds other files, or a wrong version.json")
        if not is_new:
            self._repair(version, model)
        return version

    def find(self, name: str, label: str) -> Version | None:
        """Return the version with an id or an alias, or None."""
        check_name(name)
        version_id = label if _VERSION.fullmatch(label) else self.read_alias(name, label)
        if version_id is None or self._read_record(name, version_id) is None:
            return None
        return self._version(name, version_id)

    def read_previous(self, name: str, alias: str) -> str | None:
        """Return the version that had an alias before its last move, or None."""
        keys = self._store.keys(f"{name}/aliases/{alias}/")
        previous = (self._read(keys[-1]) or {}).get("previous") if keys else None
        return previous if isinstance(previous, str) else None

    def read_alias(self, name: str, alias: str) -> str | None:
        """Return the id of the version that has an alias, or None."""
        check_name(name)
        check_alias(alias)
        return self._last_move(name, alias)[1]

    def move_alias(self, name: str, alias: str, version: str, current: str | None) -> None:
        """Give an alias to a version."""
        check_name(name)
        check_alias(alias)
        # A version is a part of a path, so no other text may be one.
        if not _VERSION.fullmatch(version) or self._read_record(name, version) is None:
            raise RegistryError(f"{name} has no version {version} in {self._store.uri}")
        number, stored = self._last_move(name, alias)
        if stored != current:
            raise RegistryError(moved_meanwhile(name, alias, current, stored))
        move = {"version": version, "previous": stored, "moved_at": _now()}
        key = f"{name}/aliases/{alias}/{number + 1:08d}.json"
        if not self._store.create(key, _to_json(move)):
            _, stored = self._last_move(name, alias)
            raise RegistryError(moved_meanwhile(name, alias, current, stored))

    def download(self, version: Version, folder: Path) -> None:
        """Write the files of a version into a folder. Other files of its folder are not written.

        Raises:
            RegistryError: files are missing, or they are not those that were registered.
        """
        digest, paths = self._read_contents(version)
        for path in paths:
            # A record can contain any text. Only files below the folder are written.
            if not (folder / path).resolve().is_relative_to(folder.resolve()):
                raise RegistryError(
                    f"{version.resource} has a file outside its folder: {one_line(path)}"
                )
        prefix = _model_prefix(version)
        stored_keys = set(self._store.keys(prefix))
        missing = [path.as_posix() for path in paths if prefix + path.as_posix() not in stored_keys]
        if missing:
            raise RegistryError(
                f"{version.resource} has lost {format_names(missing, 3)}; {_REPAIR_HINT}"
            )
        for path in paths:
            file = folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            self._store.download(prefix + path.as_posix(), file)
        stored_digest = digest_files(folder, paths)
        if stored_digest != digest:
            problem = changed_files(version.resource, stored_digest, digest)
            raise RegistryError(f"{problem}; {_REPAIR_HINT}")

    def _add(self, version: Version, model: ModelFiles, details: Details) -> None:
        """Write the files of a version, and then its record.

        An attempt that ends early leaves files without a record. The next attempt writes the same
        files at the same places.
        """
        files = list_files(model.folder)
        for path in files:
            self._store.replace(_model_prefix(version) + path.as_posix(), model.folder / path)
        record = {
            "format": FORMAT,
            "name": version.name,
            "version": version.version,
            "digest": model.digest,
            "files": [path.as_posix() for path in files],
            "created_at": _now(),
            "source": model.uri,
            "description": details.description,
            "labels": dict(details.labels),
            "run_id": details.run_id,
        }
        # When another task was first, its record stands for the same files.
        self._store.create(_record_key(version.name, version.version), _to_json(record))

    def _repair(self, version: Version, model: ModelFiles) -> None:
        """Write the files of a version that are missing or have changed.

        The other files stay as they are, because another task may read them.
        """
        prefix = _model_prefix(version)
        stored_keys = set(self._store.keys(prefix))
        with tempfile.TemporaryDirectory(prefix="kfgcp-registry-") as folder:
            stored_file = Path(folder, "file")
            for path in list_files(model.folder):
                key = prefix + path.as_posix()
                file = model.folder / path
                if key in stored_keys:
                    self._store.download(key, stored_file)
                    if filecmp.cmp(stored_file, file, shallow=False):
                        continue
                self._store.replace(key, file)

    def _version(self, name: str, version_id: str) -> Version:
        resource = f"{self._store.uri}/{name}/versions/{version_id}"
        return Version(name, version_id, resource, f"{resource}/model")

    def _read_record(self, name: str, version_id: str) -> dict[str, object] | None:
        return self._read(_record_key(name, version_id))

    def _read_contents(self, version: Version) -> tuple[str, list[Path]]:
        """Return the digest of the files of a version, and their sorted paths.

        Raises:
            RegistryError: the record is missing, or is not the record of this version.
        """
        record = self._read_record(version.name, version.version) or {}
        digest, files = record.get("digest"), record.get("files")
        # The id of a version is the beginning of the digest.
        is_digest = isinstance(digest, str) and f"v-{digest[:12]}" == version.version
        items: list[object] = files if isinstance(files, list) else [None]
        names = [item for item in items if isinstance(item, str)]
        if not is_digest or len(names) != len(items):
            raise RegistryError(
                f"{version.resource} has a wrong version.json, without its digest or its files"
            )
        return str(digest), sorted(Path(name) for name in names)

    def _last_move(self, name: str, alias: str) -> tuple[int, str | None]:
        """Return the number of the last move of an alias, and its version. 0 and None before."""
        keys = self._store.keys(f"{name}/aliases/{alias}/")
        if not keys:
            return 0, None
        move = self._read(keys[-1]) or {}
        number = Path(keys[-1]).stem
        version = move.get("version")
        is_version = isinstance(version, str) and _VERSION.fullmatch(version) is not None
        if not number.isdecimal() or not is_version:
            raise RegistryError(f"{self._store.uri}/{keys[-1]} is not a move of an alias")
        return int(number), str(version)

    def _read(self, key: str) -> dict[str, object] | None:
        """Return a JSON object of the registry, or None without it."""
        content = self._store.read(key)
        if content is None:
            return None
        try:
            record = json.loads(content)
        except ValueError:
            record = None
        if not isinstance(record, dict):
            raise RegistryError(f"{self._store.uri}/{key} is not a JSON object")
        return record


def _model_prefix(version: Version) -> str:
    """Return what the keys of all files of a version begin with."""
    return f"{version.name}/versions/{version.version}/model/"


def _record_key(name: str, version_id: str) -> str:
    return f"{name}/versions/{version_id}/version.json"


def check_name(name: str) -> None:
    """Raise an error for a name that a model cannot have."""
    if not _NAME.fullmatch(name):
        raise RegistryError(
            f"a model cannot be named {name!r}; use at most 63 lowercase letters, digits, '_', '-'"
            " and '.', and begin with a letter or a digit"
        )


def check_alias(alias: str) -> None:
    """Raise an error for a text that cannot be an alias."""
    # A text such as v-0123456789ab would be read as a version.
    if not _ALIAS.fullmatch(alias) or _VERSION.fullmatch(alias):
        raise RegistryError(
            f"{alias!r} cannot be an alias; use 2 to 128 letters, digits and '-', begin with a"
            " lowercase letter, and end with a lowercase letter or a digit"
        )


def _to_json(record: object) -> bytes:
    return (json.dumps(record, indent=2, sort_keys=True) + "\n").encode()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
