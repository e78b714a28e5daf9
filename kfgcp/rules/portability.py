"""Rules about what ties a pipeline to one place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from kfgcp.rules.contexts import ComponentContext, PipelineContext
from kfgcp.rules.findings import Located, Match, Part, Severity
from kfgcp.rules.patterns import LazyPattern
from kfgcp.rules.rule import Target, component_rule, pipeline_rule
from kfgcp.rules.written_texts import written_texts
from kfgcp.spec.graph import OtherExecutor
from kfgcp.spec.platform import pipeline_settings

# A home folder, a file URI or a drive of Windows. A longer text is not a path.
_LOCAL_PATH: Final = LazyPattern(r"(?:/home/|/Users/|~/|file://|[A-Za-z]:[\\/](?!/))[^\s\"']*\Z")
_MAX_PATH: Final = 1024

_THIS_MACHINE: Final = r"(?:localhost|127\.0\.0\.1|0\.0\.0\.0|\[::1\]|host\.docker\.internal)"
_LOCAL_IMAGE: Final = LazyPattern(rf"{_THIS_MACHINE}(?::\d+)?/")
_LOCAL_ADDRESS: Final = LazyPattern(
    rf"\b[a-z][a-z0-9+]{{0,20}}://(?:[^/\s@]{{0,256}}@)?{_THIS_MACHINE}(?=[:/?\s]|\Z)"
)

# A path below /gcs: a word of a command, or a text in the source of a Python function.
_BUCKET_PATH: Final = LazyPattern(r"/gcs/[A-Za-z0-9]")
_BUCKET_PATH_IN_WORD: Final = LazyPattern(r"(?:\A|(?<=[\s='\"]))/gcs/[A-Za-z0-9]")
_BUCKET_PATH_IN_SOURCE: Final = LazyPattern(r"['\"]/gcs/[A-Za-z0-9]")

_SUCCEEDED: Final = LazyPattern(r"(['\"])SUCCEEDED\1")

# The variables of Argo Workflows that pipelines of KFP 1 use.
_ARGO_VARIABLE: Final = LazyPattern(
    r"\{\{ *(?:workflow\.(?:uid|name|namespace|parameters|creationTimestamp|status)|pod\.name)\b"
)


# -- executors, images and machines


@component_rule(
    "P101",
    Severity.NOTE,
    "{component} is a {kind} executor, which only Vertex AI runs",
    hint="To run it on other backends, use a container component.",
)
def vertex_executor(context: ComponentContext, target: Target) -> Match:
    """Only Vertex AI has customJob and resolver executors (argocompiler/dag.go refuses them)."""
    executor = context.component.executor
    return {"kind": executor.kind} if isinstance(executor, OtherExecutor) else False


@pipeline_rule(
    "P104",
    Severity.NOTE,
    "the pipeline has settings that only Kubernetes understands: {settings}",
    hint="These settings have no effect on other backends. Put settings that differ between"
    " environments into kfgcp.toml.",
)
def kubernetes_settings(pipeline: PipelineContext, target: Target) -> Match:
    """The second document of the file is a PlatformSpec for kubernetes (kfp-kubernetes;
    docs/reference/semantics.md)."""
    names: dict[str, None] = {}
    for component in pipeline.components:
        if component.container is not None:
            for word in component.container.cluster.words():
                names[word] = None
    for name in pipeline_settings(pipeline.spec.platform_spec).values():
        names[name] = None
    if not names:
        return False
    shown = list(names)[:3]
    more = [f"{len(names) - 3} more"] if len(names) > 3 else []
    return {"settings": ", ".join(shown + more)}


@component_rule(
    "P105",
    Severity.WARNING,
    "the image of {component} is in a registry that only one machine can reach: {image}",
    hint="Push the image to a registry that every environment can read.",
)
def image_of_one_machine(context: ComponentContext, target: Target) -> Match:
    """In a cluster, localhost is the node that pulls the image, not the machine that built it."""
    container = context.container
    if container is None or not _LOCAL_IMAGE.match(container.image):
        return False
    return {"image": container.image}


# -- addresses and paths


@pipeline_rule(
    "P110",
    Severity.WARNING,
    "{where} is a path that exists on one machine only",
    hint="Use an address in a bucket, such as gs://bucket/data.csv.",
)
def local_path(pipeline: PipelineContext, target: Target) -> Iterator[Match]:
    """Tasks run in containers, or on machines of a service, which have no such folder."""
    for text in written_texts(pipeline):
        if len(text.text) <= _MAX_PATH and _LOCAL_PATH.match(text.text):
            yield text.locate()


@pipeline_rule(
    "P111",
    Severity.WARNING,
    "{where} has an address of this machine: {address}",
    hint="Use an address that the tasks can reach from every environment.",
)
def local_address(pipeline: PipelineContext, target: Target) -> Iterator[Match]:
    """In a container, localhost is the container itself."""
    for text in written_texts(pipeline):
        match = _LOCAL_ADDRESS.search(text.text) if "://" in text.text else None
        if match is not None:
            yield text.locate(address=_without_user(match[0]))


@pipeline_rule(
    "P112",
    Severity.WARNING,
    "{where} has a path below /gcs, but only Vertex AI mounts buckets there",
    hint="Use an artifact, or a gs:// address with a client library for Cloud Storage: they work"
    " on every backend.",
)
def mounted_bucket(pipeline: PipelineContext, target: Target) -> Iterator[Match]:
    """Vertex AI mounts Cloud Storage at /gcs in each task (Cloud Storage FUSE). Elsewhere this
    folder has only the artifacts of the task (component/launcher_v2.go)."""
    for text in written_texts(pipeline):
        if _BUCKET_PATH.match(text.text):
            yield text.locate()
    for component in pipeline.components:
        if _has_bucket_path(component):
            name = component.component.name
            where = f"the command of component {name.removeprefix('comp-')}"
            yield Located({"where": where}, Part.COMPONENT, component.task, name)


def _has_bucket_path(context: ComponentContext) -> bool:
    container = context.container
    if container is None:
        return False
    if context.lightweight is not None:
        # KFP writes the other words of a Python function.
        source = context.lightweight.source
        return "/gcs/" in source and bool(_BUCKET_PATH_IN_SOURCE.search(source))
    return any(map(_BUCKET_PATH_IN_WORD.search, container.words))


def _without_user(address: str) -> str:
    """Return an address without its user and password."""
    scheme, _, rest = address.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"


# -- the words of one backend


@component_rule(
    "P120",
    Severity.WARNING,
    "{component} compares a final status with SUCCEEDED, but on Kubeflow Pipelines the status is"
    " COMPLETE",
    hint='Test for failure instead: status.state == "FAILED".',
)
def final_status_name(context: ComponentContext, target: Target) -> Match:
    """Recorded on Kubeflow Pipelines 2.17: the final status of an exit handler is COMPLETE or
    FAILED. Vertex AI says SUCCEEDED (docs/reference/semantics.md)."""
    params = context.component.params.values()
    if not any(param.type == "TASK_FINAL_STATUS" for param in params):
        return False
    source = context.lightweight.source if context.lightweight is not None else ""
    return bool(_SUCCEEDED.search(source)) and "COMPLETE" not in source


@pipeline_rule(
    "P121",
    Severity.WARNING,
    "{where} has the variable {variable}}}}}, which only Argo Workflows fills in",
    hint="Use a placeholder of KFP, such as dsl.PIPELINE_JOB_NAME_PLACEHOLDER.",
)
def argo_variable(pipeline: PipelineContext, target: Target) -> Iterator[Match]:
    """A PipelineSpec has placeholders of its own (kfp/dsl/__init__.py). Only Kubeflow Pipelines
    runs on Argo Workflows."""
    for text in written_texts(pipeline):
        match = _ARGO_VARIABLE.search(text.text) if "{{" in text.text else None
        if match is not None:
            yield text.locate(variable=match[0])
    for component in pipeline.components:
        container = component.container
        if container is None:
            continue
        for word in container.templates:
            match = _ARGO_VARIABLE.search(word)
            if match is not None:
                name = component.component.name
                where = f"the command of component {name.removeprefix('comp-')}"
                values = {"where": where, "variable": match[0]}
                yield Located(values, Part.COMPONENT, component.task, name)
                break
