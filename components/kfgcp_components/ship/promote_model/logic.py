"""Move an alias to a version of a registered model."""

from __future__ import annotations

from kfgcp_components.registries import open_registry
from kfgcp_components.registries.base import RegistryError, moved_meanwhile

# The value of `expected` for an alias that no version may have yet.
NO_VERSION = "none"


def promote(registry: str, name: str, version: str, alias: str, expected: str = "") -> str:
    """Give an alias to a version, and return the version that had it before, or an empty text.

    Args:
        registry: the URI of a folder, or `projects/PROJECT/locations/LOCATION`.
        name: the model.
        version: the id of the version.
        alias: the alias.
        expected: the version that must have the alias now, `none` for no version. Empty for any.

    Raises:
        ValueError: the alias does not have the expected version, or the registry refuses the move.
    """
    model_registry = open_registry(registry)
    current = model_registry.read_alias(name, alias)
    # An attempt before this one may have moved the alias already.
    if current == version:
        return model_registry.read_previous(name, alias) or ""
    if expected:
        expected_version = None if expected == NO_VERSION else expected
        if current != expected_version:
            raise RegistryError(moved_meanwhile(name, alias, expected_version, current))
    model_registry.move_alias(name, alias, version, current)
    return current or ""
