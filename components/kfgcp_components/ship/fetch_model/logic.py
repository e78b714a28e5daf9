"""Read a version of a registered model."""

from __future__ import annotations

import shutil
from pathlib import Path

from kfgcp_components.registries import open_registry
from kfgcp_components.registries.base import RegistryError, Version


def fetch_version(
    registry: str, name: str, label: str, folder: Path, *, required: bool = True
) -> Version | None:
    """Write the files of a version into a folder, and return the version.

    Args:
        registry: the URI of a folder, or `projects/PROJECT/locations/LOCATION`.
        name: the model.
        label: the id of the version, or an alias.
        folder: the folder for the files. It is created, also when there is no such version.
        required: whether a missing version is an error. Otherwise the result is None.

    Raises:
        ValueError: the version is required and missing, or the registry refuses the request.
    """
    opened = open_registry(registry)
    version = opened.find(name, label)
    folder.mkdir(parents=True, exist_ok=True)
    if version is None:
        if required:
            raise RegistryError(
                f"{registry} has no {name}@{label}; register and promote a model first"
            )
        return None
    # Nobody sees a folder that has only some of the files.
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        opened.download(version, partial)
        if not any(partial.iterdir()):
            raise RegistryError(f"{version.resource} has no files at {version.uri}")
        folder.rmdir()
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return version
