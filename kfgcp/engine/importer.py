"""Importers in the engine. Nothing is executed or copied, but a local file must exist."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from pathlib import Path

from kfgcp import file_uris
from kfgcp.semantics import importers
from kfgcp.semantics.nodes import Node
from kfgcp.semantics.values import ValueProblem, Values
from kfgcp.spec.graph import Importer


def run(node: Node, submit_dir: str, job: Mapping[str, str]) -> Values:
    """Return the imported artifact as the importer's output.

    With `reimport: true` it is a new artifact each time. A relative path starts from the folder
    that the run was submitted from.

    Raises:
        ValueProblem: the URI is empty, of an unknown scheme, or a local file that does not exist;
            or a placeholder has no value.
    """
    importer = node.component.executor
    assert isinstance(importer, Importer)
    params = node.inputs.params
    uri = resolve_uri(
        importers.read_uri(importer, params, job), submit_dir, "the artifact to import"
    )
    made_by = uuid.uuid4().hex if importer.reimport else ""
    return importers.build_outputs(node.component, importer, params, job, uri=uri, made_by=made_by)


def resolve_uri(uri: str, submit_dir: str, what: str) -> str:
    """Return a remote URI as it is, and a local path or `file://` URI as an absolute path.

    Args:
        uri: of an artifact.
        submit_dir: the folder that relative paths start from.
        what: names the artifact in messages.

    Raises:
        ValueProblem: the scheme is unknown, or there is no such file or folder.
    """
    if not importers.is_local(uri, what):
        return uri
    path = Path(submit_dir, file_uris.to_path(uri))
    # This is False, too, for a text that cannot be the name of a file.
    if not os.path.exists(path):
        raise ValueProblem(f"{what} is not there: {path}")
    return str(path)
