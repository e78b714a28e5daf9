"""What all model registries can do."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from kfgcp_components.messages import one_line

# Google has two sources, and a label must fit both. The docstring of `labels` in the Model of
# aiplatform_v1 (google-cloud-aiplatform): at most 64 characters, only lowercase letters, digits,
# '_' and '-'. cloud.google.com/resource-manager/docs/labels-overview, "Requirements for labels": at
# most 63 characters, and a key begins with a letter. Both allow international letters. They are not
# accepted here, as in kfgcp's rule about labels of runs.
_LABEL_KEY: Final = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_LABEL_VALUE: Final = re.compile(r"[a-z0-9_-]{0,63}")
MAX_LABELS: Final = 64

# The label that finds a version by its files, and the label with the run.
DIGEST_LABEL: Final = "kfgcp-digest"
RUN_LABEL: Final = "kfgcp-run"


class RegistryError(ValueError):
    """The registry refuses what a component asks for. The message is one line."""


@dataclass(frozen=True)
class ModelFiles:
    """A model that is going to be registered.

    Attributes:
        folder: the local folder with the files.
        uri: where the same files are stored, such as `gs://bucket/run/model`.
        digest: the SHA-256 of the names and contents of all files, in hexadecimal.
    """

    folder: Path
    uri: str
    digest: str

    @classmethod
    def read(cls, folder: Path, uri: str) -> ModelFiles:
        """Read the files of a folder.

        Raises:
            RegistryError: the folder is missing or empty.
        """
        if not folder.is_dir() or not list_files(folder):
            raise RegistryError(f"the model {uri} has no files; register a model folder")
        return cls(folder, uri, digest_folder(folder))


@dataclass(frozen=True)
class Details:
    """What a registry stores about a version besides its files.

    Attributes:
        description: a text for people.
        labels: short texts by key.
        run_id: the run that made the version, empty when unknown.
        serving_image: the image that serves the model. Only Vertex AI needs it.
    """

    description: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    run_id: str = ""
    serving_image: str = ""


@dataclass(frozen=True)
class Version:
    """A version of a registered model.

    Attributes:
        name: the name of the model.
        version: the id of the version.
        resource: the full name of the version in its registry.
        uri: the folder with its files.
        digest: the first digits of the digest of its files, "" when the registry does not have it.
            See `digest_folder`.
    """

    name: str
    version: str
    resource: str
    uri: str
    digest: str = ""


class Registry(Protocol):
    """A model registry. Versions have ids that never change, and aliases that can move."""

    def register(self, name: str, model: ModelFiles, details: Details) -> Version:
        """Return the version with the files of a model. Add the version when it is missing.

        The same files are the same version. So a task that is tried again finds the version that
        its first attempt added.

        Raises:
            RegistryError: the name is invalid, or the registry refuses the model.
        """
        ...

    def find(self, name: str, label: str) -> Version | None:
        """Return the version with an id or an alias, or None."""
        ...

    def read_alias(self, name: str, alias: str) -> str | None:
        """Return the id of the version that has an alias, or None."""
        ...

    def read_previous(self, name: str, alias: str) -> str | None:
        """Return the version that had an alias before its last move. None when nobody knows."""
        ...

    def move_alias(self, name: str, alias: str, version: str, current: str | None) -> None:
        """Give an alias to a version.

        Args:
            name: the model.
            alias: the alias.
            version: the id of the version.
            current: the version that has the alias now, None for none.

        Raises:
            RegistryError: another task has moved the alias meanwhile, or the version is
                missing.
        """
        ...

    def download(self, version: Version, folder: Path) -> None:
        """Write the files of a version into a folder.

        Raises:
            RegistryError: the registry does not have the files that were registered.
        """
        ...


def list_files(folder: Path) -> list[Path]:
    """Return the paths of all files below a folder, relative to it and sorted."""
    return sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())


def digest_folder(folder: Path) -> str:
    """Return the SHA-256 of the names and contents of all files below a folder."""
    return digest_files(folder, list_files(folder))


def digest_files(folder: Path, paths: Iterable[Path]) -> str:
    """Return the SHA-256 of the names and contents of some files of a folder.

    Args:
        folder: the folder.
        paths: the paths of the files, relative to the folder and in any order.
    """
    digest = hashlib.sha256()
    for path in sorted(paths):
        content = hashlib.sha256((folder / path).read_bytes()).hexdigest()
        digest.update(f"{path.as_posix()}\0{content}\0".encode())
    return digest.hexdigest()


def check_labels(labels: Mapping[str, str]) -> None:
    """Check labels against the limits of Google Cloud, so that a pipeline can use all registries.

    Raises:
        RegistryError: there are too many labels, or a key or a value is not allowed.
    """
    own_labels = (DIGEST_LABEL, RUN_LABEL)
    if len(labels) > MAX_LABELS - len(own_labels):
        raise RegistryError(
            f"the model has {len(labels)} labels; use at most {MAX_LABELS - len(own_labels)},"
            f" because Vertex AI allows {MAX_LABELS} and kfgcp adds {len(own_labels)}"
        )
    for key, value in labels.items():
        name = one_line(key, 80)
        if key in own_labels:
            raise RegistryError(f"kfgcp sets the label {name!r} itself; choose another key")
        if not _LABEL_KEY.fullmatch(key):
            raise RegistryError(
                f"a label cannot have the key {name!r}; use at most 63 lowercase letters, digits,"
                " '_' and '-', and begin with a letter"
            )
        if not _LABEL_VALUE.fullmatch(value):
            raise RegistryError(
                f"the label {name!r} cannot have the value {one_line(value, 80)!r}; use at most 63"
                " lowercase letters, digits, '_' and '-'"
            )


def changed_files(resource: str, digest: str, registered_digest: str) -> str:
    """Return the message for a version whose files are not those that were registered.

    Args:
        resource: the full name of the version.
        digest: the digest of its files now.
        registered_digest: the digest of the files that were registered.

    Example:
        >>> changed_files("churn@2", "0123456789abcdef", "fedcba9876543210")
        'the files of churn@2 have changed: their digest is 0123456789ab and was fedcba987654'
    """
    return (
        f"the files of {resource} have changed: their digest is {digest[:12]} and was"
        f" {registered_digest[:12]}"
    )


def moved_meanwhile(name: str, alias: str, expected: str | None, current: str | None) -> str:
    """Return the message for an alias that does not have the expected version.

    Example:
        >>> moved_meanwhile("churn", "champion", None, "v-1")
        'the alias champion of churn has v-1, not no version; it was moved meanwhile'
    """
    expected_text = expected or "no version"
    return (
        f"the alias {alias} of {name} has {current or 'no version'}, not {expected_text}; it was"
        " moved meanwhile"
    )
