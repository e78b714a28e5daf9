"""Model registries: a folder on any storage, or the Model Registry of Vertex AI."""

from __future__ import annotations

import re

from kfgcp_components.registries.base import Registry, RegistryError
from kfgcp_components.registries.folder import FolderRegistry
from kfgcp_components.storage import open_store

__all__ = ["Registry", "RegistryError", "open_registry"]

_VERTEX_LOCATION = re.compile(r"projects/([^/]+)/locations/([^/]+)")


def open_registry(registry: str) -> Registry:
    """Return the registry with a name.

    Args:
        registry: `projects/PROJECT/locations/LOCATION` for the Model Registry of Vertex AI, else
            the URI of a folder.

    Raises:
        ValueError: the name is not a registry.
        ImportError: the client of this kind of registry is not installed.
    """
    match = _VERTEX_LOCATION.fullmatch(registry.strip("/"))
    if match:
        from kfgcp_components.registries.vertex import VertexRegistry

        return VertexRegistry(*match.groups())
    if registry.startswith("projects/"):
        raise ValueError(
            f"{registry!r} is not a location of Vertex AI; write"
            " projects/PROJECT/locations/LOCATION"
        )
    return FolderRegistry(open_store(registry))
