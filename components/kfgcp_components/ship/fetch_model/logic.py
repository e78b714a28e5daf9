"""Read a version of a registered model."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

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
        folder: the folder for the files. It is created even when the version is missing.
        required: whether a missing version is an error. Otherwise the result is None.

    Raises:
        ValueError: the version is required and missing, or the registry refuses the request.
    """
    model_registry = open_registry(registry)
    version = model_registry.find(name, label)
    folder.mkdir(parents=True, exist_ok=True)
    if version is None:
        if required:
            raise RegistryError(
                f"{registry} has no {name}@{label}; register and promote a model first"
            )
        return None
    # Not a new name for a whole folder: Cloud Storage FUSE cannot rename folders by default.
    with tempfile.TemporaryDirectory() as temporary:
        downloaded = Path(temporary)
        model_registry.download(version, downloaded)
        files = list_files(downloaded)
        if not files:
            raise RegistryError(f"{version.resource} has no files at {version.uri}")
        # A model folder is complete when it has its description, so that comes last.
        for path in sorted(files, key=lambda path: path.as_posix() == "model.json"):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(downloaded / path, folder / path)
    return version
