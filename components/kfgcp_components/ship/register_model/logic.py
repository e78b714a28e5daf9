"""Register a model folder as a version of a named model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from kfgcp_components.registries import open_registry
from kfgcp_components.registries.base import Details, ModelFiles, Version


def register(
    registry: str,
    name: str,
    folder: Path,
    uri: str,
    *,
    description: str = "",
    labels: Mapping[str, object] | None = None,
    run_id: str = "",
    serving_image: str = "",
) -> Version:
    """Return the version of a model with the files of a folder. Add it when it is missing.

    Args:
        registry: the URI of a folder, or `projects/PROJECT/locations/LOCATION`.
        name: the model.
        folder: the local folder with the files.
        uri: where the same files are stored.
        description: a text for people.
        labels: texts by key. Other values become texts.
        run_id: the run that made the model.
        serving_image: the image that serves the model on Vertex AI.

    Raises:
        ValueError: the registry or the name is invalid, or the registry refuses the model.
    """
    texts = {key: str(value) for key, value in (labels or {}).items()}
    details = Details(description, texts, run_id, serving_image)
    return open_registry(registry).register(name, ModelFiles.read(folder, uri), details)
