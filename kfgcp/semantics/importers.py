"""Importers: an artifact that exists already becomes an output of the run.

The rules are in pipeline_spec.proto (ImporterSpec) and in semantics.md (Artifacts and outputs).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from kfgcp.semantics import placeholders
from kfgcp.semantics.placeholders import MOUNTS
from kfgcp.semantics.values import ArtifactValue, ValueProblem, Values, format_value
from kfgcp.spec.graph import Component, Constant, FromInput, Importer
from kfgcp.spec.json_values import JsonObject

_SCHEME: Final = re.compile(r"([A-Za-z0-9+.-]*)://")

# Artifacts with these schemes are not copied for a task. The task gets only the URI. Kubeflow
# Pipelines 2.16 imports oci and huggingface (its importer_launcher.go), and Vertex AI has artifacts
# at https and bq. Kubeflow refuses all schemes that it does not know, and so does kfgcp.
_URI_ONLY_SCHEMES: Final = frozenset({"http", "https", "bq", "oci", "huggingface"})


def read_uri(importer: Importer, params: JsonObject, job: Mapping[str, str]) -> str:
    """Return the URI that an importer imports.

    Args:
        importer: the importer.
        params: the input parameters of the importer.
        job: the values of the placeholders of the job and the task.

    Raises:
        ValueProblem: the URI is empty, or a placeholder has no value.
    """
    source = importer.uri.source
    if isinstance(source, FromInput):
        value = params.get(source.name)
    else:
        assert isinstance(source, Constant)
        value = placeholders.fill_constant(source.value, params, job, "the importer's artifact_uri")
    if not value or not isinstance(value, str):
        raise ValueProblem("the importer's artifact_uri has no value")
    return value


def build_outputs(
    component: Component,
    importer: Importer,
    params: JsonObject,
    job: Mapping[str, str],
    *,
    uri: str,
    made_by: str,
) -> Values:
    """Return the imported artifact as the output of an importer.

    Args:
        component: the component of the importer.
        importer: the importer.
        params: the input parameters of the importer.
        job: the values of the placeholders of the job and the task.
        uri: the URI of the artifact, as tasks receive it.
        made_by: a text that makes this artifact different from other artifacts with the same URI.
            With `reimport: false` it is "". Then the artifact is the same in each run, so tasks
            that read it can be cached.

    Raises:
        ValueProblem: a placeholder in the metadata has no value.
    """
    # An importer has one output, and KFP's compiler gives it the name `artifact`.
    name = next(iter(component.output_artifacts), "artifact")
    metadata = placeholders.fill_constant(importer.metadata, params, job, "the importer's metadata")
    artifact = ArtifactValue(
        name=name,
        type=importer.type.type,
        uri=uri,
        metadata=metadata,
        version=importer.type.version,
        made_by=made_by,
    )
    return Values({}, {name: (artifact,)})


def is_local(uri: str, label: str) -> bool:
    """Return whether a URI means a file on the machine that runs the pipeline.

    Args:
        uri: the URI of an artifact.
        label: the name of the artifact in messages.

    Raises:
        ValueProblem: no backend knows the scheme.

    Example:
        >>> is_local("data/rows.csv", "the artifact"), is_local("gs://bucket/rows", "the artifact")
        (True, False)
    """
    scheme = _SCHEME.match(uri)
    if scheme is None or scheme[1] == "file":
        return True
    if scheme[1] not in MOUNTS and scheme[1] not in _URI_ONLY_SCHEMES:
        raise ValueProblem(
            f"the URI {format_value(uri)} of {label} has a scheme that no backend knows: use gs://,"
            " s3://, minio://, or a path of this machine"
        )
    return False
