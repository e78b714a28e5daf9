"""Importers: an artifact that is there already becomes an output of the run. Nothing is executed or copied."""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kfgcp import file_uris
from kfgcp.semantics import placeholders
from kfgcp.semantics.nodes import Node
from kfgcp.semantics.placeholders import MOUNTS
from kfgcp.semantics.values import ArtifactValue, ValueProblem, Values, shown
from kfgcp.spec.graph import Constant, FromInput, Importer

_SCHEME = re.compile(r"([A-Za-z0-9+.-]*)://")
_PASSED_ON = frozenset({"http", "https", "bq", "oci", "huggingface"})
"""Schemes whose artifacts nobody copies for a task: it gets the URI. Kubeflow Pipelines 2.16 imports oci and
huggingface (its importer_launcher.go), Vertex AI has artifacts at https and bq; Kubeflow refuses all that it does not
know, and so is it here."""


def run(node: Node, submit_dir: str, job: Mapping[str, str]) -> Values:
    """The imported artifact as the importer's output.

    With `reimport: false` the artifact is the one of its URI, so tasks below can be cached; with `true` it is a new
    one each time. A relative path is looked up in the folder that the run was submitted from.

    Raises:
        ValueProblem: the URI is empty, of an unknown scheme, or a local file that is not there; or a placeholder has
            no value.
    """
    importer = node.component.executor
    assert isinstance(importer, Importer)
    uri = _uri(importer, node.inputs.params, job)
    metadata = placeholders.fill_constant(importer.metadata, node.inputs.params, job, "the importer's metadata")
    name = next(iter(node.component.output_artifacts), "artifact")
    artifact = ArtifactValue(
        name=name,
        type=importer.type.type,
        uri=resolve_uri(uri, submit_dir, "the artifact to import"),
        metadata=metadata,
        version=importer.type.version,
        made_by=uuid.uuid4().hex if importer.reimport else "",
    )
    return Values({}, {name: (artifact,)})


def _uri(importer: Importer, params: Mapping[str, Any], job: Mapping[str, str]) -> str:
    source = importer.uri.source
    if isinstance(source, FromInput):
        value = params.get(source.name)
    else:
        assert isinstance(source, Constant)
        value = placeholders.fill_constant(source.value, params, job, "the importer's artifact_uri")
    if not value or not isinstance(value, str):
        raise ValueProblem("the importer's artifact_uri has no value")
    return value


def resolve_uri(uri: str, submit_dir: str, what: str) -> str:
    """Return a remote URI as it is, and a local path or `file://` URI as an absolute path.

    Args:
        uri: of an artifact.
        submit_dir: the folder that relative paths lead from.
        what: names the artifact in messages.

    Raises:
        ValueProblem: the scheme is unknown, or there is no such file or folder.
    """
    scheme = _SCHEME.match(uri)
    if scheme is not None and scheme[1] != "file":
        if scheme[1] not in MOUNTS and scheme[1] not in _PASSED_ON:
            raise ValueProblem(
                f"the URI {shown(uri)} of {what} has a scheme that no backend knows: use gs://, s3://, minio://, or a"
                " path of this machine"
            )
        return uri
    path = Path(submit_dir, file_uris.to_path(uri))
    if not os.path.exists(path):  # False too for what cannot be the name of a file
        raise ValueProblem(f"{what} is not there: {path}")
    return str(path)
