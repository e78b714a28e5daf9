"""Build the inputs that a run starts with, and check that local artifacts exist."""

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
        root: the root component of the pipeline.
        values: the result of `kfgcp.spec.params.resolve`. The value of an artifact is a URI or a
            list of URIs.
        submit_dir: the folder that relative paths start from.

    Raises:
        ValueProblem: the local file of an artifact does not exist, or the scheme of a URI is
            unknown.
    """

    def locate(uri: str, name: str) -> str:
        return resolve_uri(uri, submit_dir, f"the artifact {name}")

    return inputs.build_root_inputs(root, values, locate)
