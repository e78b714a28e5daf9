"""The inputs of a whole pipeline: its parameters, and artifacts that are given as URIs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kfgcp.engine.importer import resolve_uri
from kfgcp.semantics.values import ArtifactValue, Values
from kfgcp.spec.graph import Component


def root_inputs(root: Component, values: Mapping[str, Any], submit_dir: str) -> Values:
    """Return the inputs that a run starts with; an artifact has the type that the pipeline declares.

    Args:
        root: the pipeline's root.
        values: the result of `kfgcp.spec.params.resolve`; for an artifact its URI, or a list of URIs.
        submit_dir: the folder that relative paths start from.

    Raises:
        ValueProblem: a local file does not exist.
    """
    params = {name: value for name, value in values.items() if name not in root.artifacts}
    artifacts: dict[str, tuple[ArtifactValue, ...]] = {}
    for name, definition in root.artifacts.items():
        given = values.get(name)
        if given is None:
            continue
        uris = given if isinstance(given, list) else [given]
        artifacts[name] = tuple(
            ArtifactValue(
                name=name,
                type=definition.type,
                uri=resolve_uri(uri, submit_dir, f"the artifact {name}"),
                metadata=definition.metadata,
                version=definition.version,
            )
            for uri in uris
        )
    return Values(params, artifacts)
