"""What Vertex AI refuses: the rules V1xx."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from kfgcp.rules.contexts import ComponentContext, PipelineContext, TaskContext
from kfgcp.rules.findings import Match, NotJudged, Part, Severity, match_texts
from kfgcp.rules.rule import Target, component_rule, pipeline_rule, task_rule
from kfgcp.spec.graph import Constant, Container
from kfgcp.spec.platform import VOLUME_IMAGES

# The names of google.cloud.aiplatform_v1.AcceleratorType (accelerator_type.proto, in
# google-cloud-aiplatform 2.7). A test compares them with the installed library. The name
# ACCELERATOR_TYPE_UNSPECIFIED is left out, because it means no accelerator.
ACCELERATOR_TYPES: Final = frozenset(
    {
        "NVIDIA_TESLA_K80",
        "NVIDIA_TESLA_P100",
        "NVIDIA_TESLA_V100",
        "NVIDIA_TESLA_P4",
        "NVIDIA_TESLA_T4",
        "NVIDIA_TESLA_A100",
        "NVIDIA_A100_80GB",
        "NVIDIA_L4",
        "NVIDIA_H100_80GB",
        "NVIDIA_H100_MEGA_80GB",
        "NVIDIA_H200_141GB",
        "NVIDIA_B200",
        "NVIDIA_GB200",
        "NVIDIA_RTX_PRO_6000",
        "TPU_V2",
        "TPU_V3",
        "TPU_V4_POD",
        "TPU_V5_LITEPOD",
    }
)

_C_IDENTIFIER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

# The beginning of a placeholder, and of the text that KFP leaves for an output at a place where it
# cannot compile outputs.
_PLACEHOLDER: Final = "{{$"
_TASK_OUTPUT: Final = "{{channel:"
_INPUT_PLACEHOLDER: Final = "{{$.inputs."
_WORKSPACE_PATH: Final = "{{$.workspace_path}}"


@pipeline_rule(
    "V101",
    Severity.ERROR,
    "the input {name} of the pipeline is a list of artifacts, but Vertex AI accepts only one"
    " artifact for an input",
    hint="Import the artifacts in the pipeline: dsl.importer(artifact_uri=...).",
)
def list_of_artifacts(context: PipelineContext, target: Target) -> Iterator[Match]:
    """RuntimeConfig.InputArtifact has one artifact id for each input (PipelineJob)."""
    for name, artifact in context.graph.root.artifacts.items():
        if artifact.is_list and artifact.optional:
            yield NotJudged(
                "the optional input {name} is a list of artifacts; a run that sets it fails,"
                " because Vertex AI does not accept such a list",
                {"name": name},
            )
        elif artifact.is_list:
            yield {"name": name}


@component_rule(
    "V102",
    Severity.ERROR,
    "{component} creates or deletes a Kubernetes volume, which Vertex AI does not have",
    hint="Share files between tasks as artifacts, or in a bucket below /gcs/.",
    part=Part.TASK,
)
def volume(context: ComponentContext, target: Target) -> Match:
    """The images of CreatePVC and DeletePVC are names for the driver of Kubeflow, and do not exist.

    Source: kfp-kubernetes, volume.py; backend/src/v2/driver of Kubeflow Pipelines.
    """
    return context.container is not None and context.container.image in VOLUME_IMAGES


@component_rule(
    "V103",
    Severity.ERROR,
    "{component} asks for the accelerator {type}, which Vertex AI does not have",
    hint="Use a name of an accelerator of Vertex AI, such as NVIDIA_L4 or NVIDIA_TESLA_T4.",
    methods=("set_accelerator_type", "add_node_selector_constraint"),
    part=Part.TASK,
)
def accelerator_name(context: ComponentContext, target: Target) -> Match:
    """The type of an accelerator is a name of the enum google.cloud.aiplatform_v1.AcceleratorType.

    Vertex AI runs a task as a CustomJob, whose MachineSpec.accelerator_type has this enum.
    """
    accelerator = _accelerator_type(context.container)
    if not accelerator or _PLACEHOLDER in accelerator or accelerator in ACCELERATOR_TYPES:
        return False
    return {"type": accelerator}


@component_rule(
    "V104",
    Severity.ERROR,
    "{component} has a placeholder in the environment variable {names}, which Vertex AI leaves"
    " empty, so the task fails",
    hint="Pass the value as a parameter of the component.",
    methods=("set_env_variable",),
    part=Part.TASK,
)
def run_value_in_variable(context: ComponentContext, target: Target) -> Match:
    """Vertex AI does not fill in variables, and CustomJob refuses empty ones (comment in #10111).

    The answer was: container_spec.env[0].value: Required field is not set.
    """
    names = []
    other_names = []
    for name, value in _variables(context):
        if _TASK_OUTPUT in value or _INPUT_PLACEHOLDER in value:
            names.append(name)
        elif _PLACEHOLDER in value:
            other_names.append(name)
    if names:
        return {"names": ", ".join(names)}
    if other_names:
        return NotJudged(
            "{component} has a placeholder in the environment variable {names}, and the"
            " documentation does not say whether Vertex AI fills it in",
            {"names": ", ".join(other_names)},
        )
    return False


@component_rule(
    "V105",
    Severity.ERROR,
    "{component} has the empty environment variable {names}, which Vertex AI refuses when the task"
    " starts",
    hint="Leave the variable out, or give it a value.",
    methods=("set_env_variable",),
    part=Part.TASK,
)
def empty_variable(context: ComponentContext, target: Target) -> Match:
    """A CustomJob needs a value for each variable: EnvVar.value is required (comment in #10111)."""
    return match_texts("names", [name for name, value in _variables(context) if not value])


@task_rule(
    "V106",
    Severity.ERROR,
    "{task} uses the workspace of the run, which Vertex AI does not have",
    hint="Share files between tasks as artifacts, or in a bucket below /gcs/.",
)
def workspace_path(context: TaskContext, target: Target) -> Match:
    """The workspace is a volume that the platform spec asks for (PipelineConfig.workspace)."""
    container = context.container
    if container is not None and any(_WORKSPACE_PATH in word for word in container.templates):
        return True
    for binding in context.task.params.values():
        if isinstance(binding.source, Constant) and _WORKSPACE_PATH in str(binding.source.value):
            return True
    return False


@component_rule(
    "V107",
    Severity.ERROR,
    "{component} has the environment variable {names}, a name that Vertex AI refuses",
    hint="Use letters, digits and _ in the name. It must not start with a digit.",
    methods=("set_env_variable",),
    part=Part.TASK,
)
def wrong_variable_name(context: ComponentContext, target: Target) -> Match:
    """The name of a variable must be a valid C identifier (EnvVar.name)."""
    names = [name for name, _ in _variables(context) if not _C_IDENTIFIER.fullmatch(name)]
    return match_texts("names", names)


# -- helpers


def _variables(context: ComponentContext) -> Sequence[tuple[str, str]]:
    return tuple(context.container.env.items()) if context.container is not None else ()


def _accelerator_type(container: Container | None) -> str:
    """Return the type of the accelerator that a container asks for, "" for none."""
    if container is None:
        return ""
    accelerator = container.resources.get("accelerator")
    if not isinstance(accelerator, Mapping):
        return ""
    count = accelerator.get("resourceCount") or accelerator.get("count")
    if count is not None and str(count) == "0":
        return ""
    return str(accelerator.get("resourceType") or accelerator.get("type") or "")
