"""The inputs of a whole pipeline in the engine: a local file that is given as an artifact must
exist."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kfgcp.engine.importer import resolve_uri
from kfgcp.semantics import inputs
from kfgcp.semantics.values import Values
from kfgcp.spec.graph import Component


def root_inputs(root: Component, values: Mapping[str, Any], submit_dir: str) -> Values:
    """Return the inputs that a run starts with.

    Args:
        root: the pipeline's root.
        values: the result of `kfgcp.spec.params.resolve`; for an artifact its URI, or a list of
            URIs.
        submit_dir: the folder that relative paths start from.

    Raises:
        ValueProblem: a local file does not exist.
    """
    return inputs.build_root_inputs(
        root, values, lambda uri, name: resolve_uri(uri, submit_dir, f"the artifact {name}")
    )
