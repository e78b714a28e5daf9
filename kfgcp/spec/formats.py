"""Which of the formats around Kubeflow a document is, and the PipelineSpec inside it, if there is
one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kfgcp.spec.json_values import Place
from kfgcp.spec.shapes import InvalidError


def unwrap(documents: Sequence[Any]) -> tuple[Any, Any, Place]:
    """The PipelineSpec, the platform spec or None, and the place of the PipelineSpec in the first
    document.

    Besides compiled files these are taken: a PipelineJob of Vertex AI, whose pipelineSpec is used
    and whose runtimeConfig is not, and a PipelineVersion manifest of Kubeflow.

    Raises:
        InvalidError: there is no PipelineSpec; its hint says what the file is instead.
    """
    if not documents:
        raise InvalidError(
            (), "the file is empty", "Compile a pipeline into it: kfgcp compile pipeline.py -o FILE"
        )
    first = documents[0]
    if not isinstance(first, dict):
        raise InvalidError((), "this is not a compiled pipeline: a mapping is expected")
    if first.get("apiVersion") == "pipelines.kubeflow.org/v2beta1" and len(documents) <= 2:
        return _manifest(documents)
    if len(documents) > 2:
        problem = (
            f"has {len(documents)} YAML documents; a pipeline has one, and a second for its"
            " platforms"
        )
        raise InvalidError((), problem)
    second = documents[1] if len(documents) == 2 else None
    if "platforms" in first and "root" not in first:
        raise InvalidError(
            (),
            "the first document is a platform spec",
            "The PipelineSpec comes first, `platforms` second.",
        )
    _refuse_foreign(first)
    if "pipelineSpec" in first and "root" not in first:
        return first["pipelineSpec"], second, ("pipelineSpec",)
    return first, second, ()


def _manifest(documents: Sequence[dict[str, Any]]) -> tuple[Any, Any, Place]:
    for document in documents:
        spec = document.get("spec") if isinstance(document, dict) else None
        if isinstance(spec, dict) and "pipelineSpec" in spec:
            place: Place = ("spec", "pipelineSpec") if document is documents[0] else ()
            return spec["pipelineSpec"], spec.get("platformSpec"), place
    raise InvalidError(
        (),
        "this manifest has no spec.pipelineSpec",
        "Only a PipelineVersion manifest holds a pipeline.",
    )


def _refuse_foreign(document: dict[str, Any]) -> None:
    version, kind = document.get("apiVersion"), document.get("kind")
    if str(version).startswith("argoproj.io/") or kind in ("Workflow", "WorkflowTemplate"):
        raise InvalidError(
            (),
            f"this is an Argo {kind or 'Workflow'}, as KFP 1 compiled pipelines",
            "Compile the pipeline's Python file with KFP 2: kfgcp compile pipeline.py",
        )
    if str(version).startswith("tekton.dev/"):
        raise InvalidError(
            (),
            f"this is a Tekton {kind}, as kfp-tekton compiled pipelines",
            "Compile the pipeline's Python file with KFP 2: kfgcp compile pipeline.py",
        )
    implementation = document.get("implementation")
    if isinstance(implementation, dict) and "root" not in document:
        raise InvalidError(
            (),
            "this is a KFP 1 component, not a pipeline",
            "Use it in a pipeline: train ="
            " kfp.components.load_component_from_file('component.yaml')",
        )
    if version and kind and "root" not in document and "pipelineSpec" not in document:
        raise InvalidError(
            (), f"this is a Kubernetes manifest of kind {kind}, not a compiled pipeline"
        )
