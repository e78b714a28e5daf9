"""Run importers: an artifact that exists already becomes an output of the run.

An importer starts no process and copies no file. But a file on this machine must exist.
"""

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

    With `reimport: true`, each call returns a different artifact.

    Args:
        node: the node of the importer.
        submit_dir: the folder that relative paths start from.
        job: the values of the placeholders of the job and of the task.

    Raises:
        ValueProblem: the URI is empty, has an unknown scheme, or names a local file that does not
            exist; or a placeholder has no value.
    """
    importer = node.component.executor
    assert isinstance(importer, Importer)
    params = node.inputs.params
    raw_uri = importers.read_uri(importer, params, job)
    uri = resolve_uri(raw_uri, submit_dir, "the artifact to import")
    # Artifacts that have the same URI but a different `made_by` are different. So tasks that read
    # the artifact run again.
    made_by = uuid.uuid4().hex if importer.reimport else ""
    return importers.build_outputs(node.component, importer, params, job, uri=uri, made_by=made_by)


def resolve_uri(uri: str, submit_dir: str, subject: str) -> str:
    """Return a remote URI unchanged, and a local path or `file://` URI as an absolute path.

    Args:
        uri: the URI of an artifact.
        submit_dir: the folder that relative paths start from.
        subject: names the artifact in messages.

    Raises:
        ValueProblem: the scheme is unknown, or there is no such file or folder.
    """
    if not importers.is_local(uri, subject):
        return uri
    path = Path(submit_dir, file_uris.to_path(uri))
    # `exists` returns False, and raises no error, for a text that cannot be the name of a file.
    if not os.path.exists(path):
        raise ValueProblem(f"{subject} does not exist: {path}")
    return str(path)
