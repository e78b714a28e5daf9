"""Find the PipelineSpec in the documents of a file, and refuse other formats around Kubeflow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kfgcp.spec.json_values import JsonObject, Place
from kfgcp.spec.shapes import InvalidError

_COMPILE_AGAIN = "Compile the pipeline's Python file with KFP 2: kfgcp compile pipeline.py"


@dataclass(frozen=True, slots=True)
class PipelineDocuments:
    """The documents of a pipeline, not validated yet.

    Attributes:
        pipeline_spec: the PipelineSpec.
        platform_spec: the platform spec, None without one.
        place: where the PipelineSpec is in the first document.
    """

    pipeline_spec: Any
    platform_spec: Any
    place: Place = ()


def unwrap(documents: Sequence[Any]) -> PipelineDocuments:
    """Return the PipelineSpec and the platform spec in the documents of a file.

    Three kinds of files have a PipelineSpec: compiled pipelines, PipelineJobs of Vertex AI (their
    runtimeConfig is not used), and PipelineVersion manifests of Kubeflow.

    Raises:
        InvalidError: there is no PipelineSpec. The hint says what to do with this kind of file.

    Example:
        >>> unwrap([{"pipelineSpec": {"root": {}}, "runtimeConfig": {}}])
        PipelineDocuments(pipeline_spec={'root': {}}, platform_spec=None, place=('pipelineSpec',))
    """
    if not documents:
        hint = "Compile a pipeline into it: kfgcp compile pipeline.py -o FILE"
        raise InvalidError((), "the file is empty", hint)
    first = documents[0]
    if not isinstance(first, dict):
        raise InvalidError((), "this is not a compiled pipeline, because it is not a mapping")
    if first.get("apiVersion") == "pipelines.kubeflow.org/v2beta1" and len(documents) <= 2:
        return _read_manifest(documents)
    if len(documents) > 2:
        raise InvalidError(
            (),
            f"has {len(documents)} YAML documents; a pipeline has at most two: the PipelineSpec and"
            " the platform spec",
        )
    if "platforms" in first and "root" not in first:
        hint = "Put the PipelineSpec first, and the platform spec (`platforms`) second."
        raise InvalidError((), "the first document is a platform spec", hint)
    _refuse_other_formats(first)
    platform_spec = documents[1] if len(documents) == 2 else None
    if "pipelineSpec" in first and "root" not in first:
        return PipelineDocuments(first["pipelineSpec"], platform_spec, ("pipelineSpec",))
    return PipelineDocuments(first, platform_spec)


def _read_manifest(documents: Sequence[Any]) -> PipelineDocuments:
    """Return the documents in Kubernetes manifests of a Pipeline and its PipelineVersion."""
    for index, document in enumerate(documents):
        spec = document.get("spec") if isinstance(document, dict) else None
        if isinstance(spec, dict) and "pipelineSpec" in spec:
            # Errors can name lines of the first document only, so a later document has no place.
            place: Place = ("spec", "pipelineSpec") if index == 0 else ()
            return PipelineDocuments(spec["pipelineSpec"], spec.get("platformSpec"), place)
    hint = "Only a PipelineVersion manifest holds a pipeline."
    raise InvalidError((), "this manifest has no spec.pipelineSpec", hint)


def _refuse_other_formats(document: JsonObject) -> None:
    """Raise InvalidError for files of Argo, Tekton, KFP 1 and Kubernetes."""
    version = document.get("apiVersion")
    kind = document.get("kind")
    if str(version).startswith("argoproj.io/") or kind in ("Workflow", "WorkflowTemplate"):
        problem = (
            f"this is an Argo {kind or 'Workflow'}, which KFP 1 compiled, not a KFP 2 pipeline"
        )
        raise InvalidError((), problem, _COMPILE_AGAIN)
    if str(version).startswith("tekton.dev/"):
        problem = f"this is a Tekton {kind}, which kfp-tekton compiled, not a KFP 2 pipeline"
        raise InvalidError((), problem, _COMPILE_AGAIN)
    if isinstance(document.get("implementation"), dict) and "root" not in document:
        hint = (
            "Use the component in a pipeline: train ="
            " kfp.components.load_component_from_file('component.yaml')"
        )
        raise InvalidError((), "this is a KFP 1 component, not a pipeline", hint)
    if version and kind and "root" not in document and "pipelineSpec" not in document:
        problem = f"this is a Kubernetes manifest of kind {kind}, not a compiled pipeline"
        raise InvalidError((), problem)
