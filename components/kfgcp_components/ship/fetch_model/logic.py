"""Read a version of a registered model."""

from __future__ import annotations

from pathlib import Path

from kfgcp_components.outputs import write_folder
from kfgcp_components.registries import open_registry
from kfgcp_components.registries.base import RegistryError, Version, list_files


def fetch_version(
    registry: str, name: str, label: str, folder: Path, *, required: bool = True
) -> Version | None:
    """Write the files of a version into a folder, and return the version.

    Args:
        registry: the URI of a folder, or `projects/PROJECT/locations/LOCATION`.
        name: the model.
        label: the id of the version, or an alias.
        folder: the folder for the files. Without a version that is not
            required, it is empty.
        required: whether a missing version is an error. Otherwise the result is None.

    Raises:
        ValueError: the version is required and missing, or the registry refuses the request.
    """
    model_registry = open_registry(registry)
    version = model_registry.find(name, label)
    if version is None:
        if required:
            raise RegistryError(
                f"{registry} has no {name}@{label}; register and promote a model first"
            )
        folder.mkdir(parents=True, exist_ok=True)
        return None
    with write_folder(folder) as new_folder:
        model_registry.download(version, new_folder)
        if not list_files(new_folder):
            raise RegistryError(f"{version.resource} has no files at {version.uri}")
    return version
