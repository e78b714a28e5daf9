"""What Vertex AI Pipelines refuses, limits, ignores or does differently.

    V1xx  refused
    V2xx  limits of the service
    V3xx  ignored, done differently, or not documented

Sources that the rules name:

- "machine types": Google's page "Specify the machine configuration for a pipeline step"
- AcceleratorType, EnvVar, PipelineJob: the types of the API (google.cloud.aiplatform_v1.types)
- numbers with `#`: issues of Kubeflow Pipelines (kubeflow/pipelines) unless another repository is
  named
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any, Final

from kfgcp.backends.exact_integers import first_inexact
from kfgcp.labels import EXPERIMENT, SUBMISSION, label_value
from kfgcp.options import local_flags
from kfgcp.rules.contexts import ComponentContext, PipelineContext, TaskContext
from kfgcp.rules.rule import (
    Match,
    NotJudged,
    Part,
    Rule,
    Severity,
    Target,
    component_rule,
    pipeline_rule,
    sorted_rules,
    task_rule,
)
from kfgcp.spec import platform
from kfgcp.spec.graph import (
    Constant,
    Container,
    FromTask,
    Graph,
    Importer,
    TaskDef,
)
from kfgcp.spec.graph import Iterator as Loop
from kfgcp.spec.json_values import format_place
from kfgcp.spec.platform import VOLUME_IMAGES
from kfgcp.spec.wire import read_executors

# The names of google.cloud.aiplatform_v1.AcceleratorType (accelerator_type.proto, as of
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

# Limits of the service: characters, labels, processors, gigabytes, artifacts. The limits for names
# and labels are in the documentation of the fields of PipelineJob.
MAX_NAME_LENGTH: Final = 128
MAX_LABELS: Final = 64
MAX_CPU: Final = 96
MAX_MEMORY: Final = 624
MAX_COLLECTED: Final = 100

# The names and the values that Google Cloud accepts for labels.
_LABEL_KEY: Final = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_LABEL_VALUE: Final = re.compile(r"[a-z0-9_-]{0,63}")

_C_IDENTIFIER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

# The label that Vertex AI itself sets (PipelineJob.labels).
_RESERVED_LABEL: Final = "vertex-ai-pipelines-run-billing-id"

# The beginning of a placeholder, and of the text that KFP leaves for an output at a place where it
# cannot compile outputs.
_PLACEHOLDER: Final = "{{$"
_TASK_OUTPUT: Final = "{{channel:"
_INPUT_PLACEHOLDER: Final = "{{$.inputs."
_WORKSPACE_PATH: Final = "{{$.workspace_path}}"

# The fields of a container's resources, and their names in messages. A newer field has the limit as
# text, and may contain a placeholder.
_LIMITS: Final = (
    ("cpu", "cpuLimit", "resourceCpuLimit", "cpuRequest", "resourceCpuRequest"),
    ("memory", "memoryLimit", "resourceMemoryLimit", "memoryRequest", "resourceMemoryRequest"),
)

_METRICS: Final = "system.Metrics"


@cache
def vertex_rules() -> tuple[Rule, ...]:
    """Return all rules of this module, sorted by their ids."""
    return sorted_rules(value for value in globals().values() if isinstance(value, Rule))


# -- refused


@pipeline_rule(
    "V101",
    Severity.ERROR,
    "the pipeline takes the list of artifacts {name}, and Vertex AI accepts one artifact for an"
    " input",
    hint="Import the artifacts in the pipeline: dsl.importer(artifact_uri=...).",
)
def list_of_artifacts(context: PipelineContext, target: Target) -> Iterator[Match]:
    """RuntimeConfig.InputArtifact has one artifact id for each input (PipelineJob)."""
    for name, artifact in context.graph.root.artifacts.items():
        if artifact.is_list and artifact.optional:
            yield NotJudged(
                "whether a run gives the optional list of artifacts"
                f" {_escape_braces(name)}, which Vertex AI does not accept"
            )
        elif artifact.is_list:
            yield {"name": name}


@component_rule(
    "V102",
    Severity.ERROR,
    "{component} creates or deletes a volume of Kubernetes, which Vertex AI does not have",
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
    hint="Use one of its names, such as NVIDIA_L4 or NVIDIA_TESLA_T4.",
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
    "{component} has a value of the run in the environment variable {names}, which Vertex AI leaves"
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
            "whether Vertex AI fills in the environment variable"
            f" {_escape_braces(', '.join(other_names))} of {{component}}"
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
    names = [name for name, value in _variables(context) if not value]
    return {"names": ", ".join(names)} if names else False


@task_rule(
    "V106",
    Severity.ERROR,
    "{task} uses the workspace of the run, which Vertex AI does not have",
    hint="Share files between tasks as artifacts, or in a bucket below /gcs/.",
)
def workspace_path(context: TaskContext, target: Target) -> Match:
    """The workspace is a volume that the platform spec asks for (PipelineConfig.workspace)."""
    if context.container is not None:
        words = context.container.command + context.container.args
        if any(_WORKSPACE_PATH in word for word in words):
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
    return {"names": ", ".join(names)} if names else False


# -- limits


@component_rule(
    "V201",
    Severity.ERROR,
    "{component} asks for {cpu} CPUs, and Vertex AI has at most 96",
    hint="Lower the limit: set_cpu_limit('96')",
    methods=("set_cpu_limit",),
    part=Part.TASK,
)
def too_many_cpus(context: ComponentContext, target: Target) -> Match:
    """A task has at most 96 CPUs (machine types)."""
    cpu = _read_limit(context.container, "cpuLimit")
    return {"cpu": f"{cpu:g}"} if cpu > MAX_CPU else False


@component_rule(
    "V202",
    Severity.ERROR,
    "{component} asks for {memory} GB of memory, and Vertex AI has at most 624 GB",
    hint="Lower the limit: set_memory_limit('624G')",
    methods=("set_memory_limit",),
    part=Part.TASK,
)
def too_much_memory(context: ComponentContext, target: Target) -> Match:
    """A task has at most 624 GB of memory (machine types). The field of the spec is in GB."""
    memory = _read_limit(context.container, "memoryLimit")
    return {"memory": f"{memory:g}"} if memory > MAX_MEMORY else False


@task_rule(
    "V203",
    Severity.ERROR,
    "{task} takes {count} artifacts of a loop as one input, and Vertex AI accepts at most 100",
    hint="Collect parameters with the URIs, or write a list of them to one artifact.",
)
def too_many_collected(context: TaskContext, target: Target) -> Match:
    """Vertex AI answers "Maximum number of artifacts exceeded. Maximum allowed: 100".

    Source: kubeflow/kubeflow#7513.
    """
    largest = 0
    for binding in context.task.artifacts.values():
        if not isinstance(binding.source, FromTask):
            continue
        counts = _collected_counts(context.graph, context.tasks, binding.source)
        if None in counts:
            return NotJudged(
                "{task} takes the artifacts of a loop as one input; Vertex AI accepts at most"
                f" {MAX_COLLECTED}, and the number of items is known only in a run"
            )
        largest = max(largest, *(count for count in counts if count is not None))
    return {"count": str(largest)} if largest > MAX_COLLECTED else False


@pipeline_rule(
    "V204",
    Severity.ERROR,
    "the pipeline contains {number}, which would arrive as a different number: {place}",
    hint="Vertex AI keeps numbers as doubles, which are exact up to 2**53. Pass the number as text"
    " (STRING) instead.",
)
def inexact_integer(context: PipelineContext, target: Target) -> Match:
    """PipelineJob.pipeline_spec is a google.protobuf.Struct, whose numbers are doubles."""
    inexact = first_inexact(context.document)
    if inexact is None:
        return False
    place, number = inexact
    return {"number": str(number), "place": format_place(place)}


@pipeline_rule(
    "V205",
    Severity.ERROR,
    "the name of the run has {length} characters, and Vertex AI accepts at most 128",
    hint="Use a shorter name (--name), and keep the other information in labels (--label).",
)
def long_name(context: PipelineContext, target: Target) -> Match:
    """The display name has at most 128 characters (PipelineJob.display_name)."""
    length = len(target.options.name)
    return {"length": str(length)} if length > MAX_NAME_LENGTH else False


@pipeline_rule(
    "V206",
    Severity.ERROR,
    "the run has {count} labels, and Vertex AI accepts at most 64",
    hint="Use fewer labels: check --label and the labels in kfgcp.toml.",
)
def too_many_labels(context: PipelineContext, target: Target) -> Match:
    """A resource of Vertex AI has at most 64 labels of the user (PipelineJob.labels)."""
    # The request adds these two labels.
    names = {*_labels(target), EXPERIMENT, SUBMISSION}
    return {"count": str(len(names))} if len(names) > MAX_LABELS else False


@pipeline_rule(
    "V207",
    Severity.ERROR,
    "Google refuses the label {name}={value}",
    hint="Use at most 63 lowercase letters, digits, _ and - for the name and for the value. The"
    " name must start with a letter.{example}",
)
def wrong_label(context: PipelineContext, target: Target) -> Iterator[Match]:
    """The names and values of labels have at most 63 characters (PipelineJob.labels)."""
    for name, value in _labels(target).items():
        if _LABEL_KEY.fullmatch(name) and _LABEL_VALUE.fullmatch(value):
            continue
        example = ""
        if label_value(name)[:1].isalpha():
            example = f" For example: {label_value(name)}={label_value(value)}"
        yield {"name": name, "value": value, "example": example}


# -- ignored, different or not documented


@component_rule(
    "V301",
    Severity.WARNING,
    "{component} takes {settings}, which Vertex AI does not have: the variables are not set",
    hint="Read the secret in the task: Secret Manager, with the service account of the run.",
    part=Part.TASK,
)
def cluster_variables(context: ComponentContext, target: Target) -> Match:
    """Vertex AI does not read the platform spec: PipelineJob has a field only for the pipeline."""
    if context.container is None:
        return False
    settings = [
        f"{variables.source} as {', '.join(variables.names)}"
        for variables in context.container.cluster.variables
    ]
    return {"settings": "; ".join(settings)} if settings else False


@component_rule(
    "V302",
    Severity.WARNING,
    "{component} mounts {settings}, which Vertex AI does not have: the folder is missing",
    hint="Use a bucket, which is mounted below /gcs/, or pass the files as an artifact.",
    part=Part.TASK,
)
def cluster_mounts(context: ComponentContext, target: Target) -> Match:
    """Vertex AI does not read the platform spec: PipelineJob has a field only for the pipeline."""
    if context.container is None:
        return False
    settings = [f"{mount.source} at {mount.path}" for mount in context.container.cluster.mounts]
    return {"settings": "; ".join(settings)} if settings else False


@component_rule(
    "V303",
    Severity.WARNING,
    "{component} has settings for Kubernetes, which Vertex AI ignores: {settings}",
    hint="Ask for a machine with set_cpu_limit, set_memory_limit and set_accelerator_type.",
    part=Part.TASK,
)
def cluster_placement(context: ComponentContext, target: Target) -> Match:
    """Vertex AI does not read the platform spec: PipelineJob has a field only for the pipeline."""
    if context.container is None:
        return False
    config = context.container.cluster
    settings = list(config.placement)
    if config.timeout is not None:
        settings.insert(0, f"timeout of {config.timeout:g} s")
    return {"settings": ", ".join(settings)} if settings else False


@pipeline_rule(
    "V304",
    Severity.WARNING,
    "the pipeline has settings for Kubernetes, which Vertex AI ignores: {settings}",
    hint="Remove them from dsl.PipelineConfig if the pipeline runs only on Vertex AI.",
)
def pipeline_settings(context: PipelineContext, target: Target) -> Match:
    """Vertex AI does not read the platform spec: PipelineJob has a field only for the pipeline."""
    settings = dict.fromkeys(platform.pipeline_settings(context.spec.platform_spec).values())
    return {"settings": ", ".join(settings)} if settings else False


@component_rule(
    "V305",
    Severity.WARNING,
    "{component} requests {what} without a limit, and Vertex AI reads only limits",
    hint="Set the limit too: set_cpu_limit, set_memory_limit",
    methods=("set_cpu_request", "set_memory_request"),
    part=Part.TASK,
)
def request_without_limit(context: ComponentContext, target: Target) -> Match:
    """Vertex AI chooses the machine by the limits (machine types)."""
    if context.container is None:
        return False
    resources = context.container.resources
    requested = []
    for what, limit, limit_text, request, request_text in _LIMITS:
        has_request = resources.get(request) or resources.get(request_text)
        has_limit = resources.get(limit) or resources.get(limit_text)
        if has_request and not has_limit:
            requested.append(what)
    return {"what": " and ".join(requested)} if requested else False


@component_rule(
    "V306",
    Severity.NOTE,
    "{component} has no limits, so it runs on an e2-standard-4 with 4 CPUs and 16 GB of memory",
    hint="Ask for another machine with set_cpu_limit and set_memory_limit.",
    part=Part.TASK,
)
def default_machine(context: ComponentContext, target: Target) -> Match:
    """Without limits, a task runs on an e2-standard-4 (machine types)."""
    return context.container is not None and not context.container.resources


@pipeline_rule(
    "V307",
    Severity.WARNING,
    "the run has the label {name}, and Vertex AI replaces its value",
    hint="Use another name for the label.",
)
def reserved_label(context: PipelineContext, target: Target) -> Match:
    """Vertex AI Pipelines reserves one key and overrides its value (PipelineJob.labels)."""
    return {"name": _RESERVED_LABEL} if _RESERVED_LABEL in _labels(target) else False


@component_rule(
    "V308",
    Severity.NOT_JUDGED,
    "not judged: {component} takes {what} from a parameter, and it is not documented whether Vertex"
    " AI reads such values",
    hint="Set a constant.",
    methods=("set_cpu_limit", "set_memory_limit", "set_accelerator_type", "set_accelerator_limit"),
    part=Part.TASK,
)
def resources_from_parameters(context: ComponentContext, target: Target) -> Match:
    """Newer fields of ResourceSpec hold placeholders (#11404); no page of Google names them."""
    if context.container is None:
        return False
    fields = []
    resources = context.container.resources
    for what, _, limit_text, _, request_text in _LIMITS:
        if _PLACEHOLDER in f"{resources.get(limit_text)}{resources.get(request_text)}":
            fields.append(what)
    if _PLACEHOLDER in str(resources.get("accelerator")):
        fields.append("the accelerator")
    return {"what": ", ".join(fields)} if fields else False


@task_rule(
    "V309",
    Severity.NOT_JUDGED,
    "not judged: {task} imports an artifact in a loop, and it is not documented whether Vertex AI"
    " can do this",
    hint="Import the artifact outside of the loop.",
)
def importer_in_loop(context: TaskContext, target: Target) -> Match:
    """Kubeflow Pipelines fails before 2.17 (#10860). Nothing was recorded on Vertex AI."""
    return context.in_loop and isinstance(context.component.executor, Importer)


@task_rule(
    "V310",
    Severity.NOT_JUDGED,
    "not judged: {task} loops over artifacts, and it is not documented whether Vertex AI can do"
    " this",
    hint="Loop over their URIs, and import each with dsl.importer in the loop.",
)
def loop_over_artifacts(context: TaskContext, target: Target) -> Match:
    """ArtifactIteratorSpec (#10441). Nothing was recorded on Vertex AI."""
    return context.task.iterator is not None and context.task.iterator.artifacts


@task_rule(
    "V311",
    Severity.NOT_JUDGED,
    "not judged: {task} has a cache key of its own, and it is not documented whether Vertex AI"
    " compares it",
    hint="Give the task an input that changes when it must run again.",
    methods=("set_caching_options",),
)
def cache_key(context: TaskContext, target: Target) -> Match:
    """CachingOptions.cache_key (#11434). The official client erases it: enable_caching."""
    return bool(context.task.cache_key)


@pipeline_rule(
    "V312",
    Severity.NOT_JUDGED,
    "not judged: whether a metric is NaN or infinite, and what Vertex AI does then ({components})",
    hint="Log only finite numbers: math.isfinite",
)
def infinite_metric(context: PipelineContext, target: Target) -> Match:
    """The launcher of Kubeflow refuses such a metric (recorded). Nothing was recorded on Vertex."""
    names = []
    for component in context.components:
        outputs = component.component.output_artifacts.values()
        if any(artifact.type == _METRICS for artifact in outputs):
            names.append(component.component.name.removeprefix("comp-"))
    return {"components": ", ".join(names)} if names else False


@pipeline_rule(
    "V313",
    Severity.NOT_JUDGED,
    "not judged: {what} is new in the specification, and it is not documented whether Vertex AI"
    " accepts it",
    hint="Try it with a small pipeline, or leave it out.",
)
def new_fields(context: PipelineContext, target: Target) -> Iterator[Match]:
    """TASK_CONFIG, literals and downloadToWorkspace came with kfp 2.15 to 2.17.

    Source: pipeline_spec.proto. Nothing was recorded on Vertex AI.
    """
    params = dict(context.graph.root.params)
    for component in context.graph.components.values():
        params.update(component.params)
    with_literals = [name for name, param in params.items() if param.literals]
    if with_literals:
        yield {"what": f"a parameter with literals ({', '.join(with_literals)})"}
    with_config = [name for name, param in params.items() if param.type == "TASK_CONFIG"]
    if with_config:
        yield {"what": f"dsl.TaskConfig ({', '.join(with_config)})"}
    for label, executor in read_executors(context.document).items():
        if (executor.get("importer") or {}).get("downloadToWorkspace"):
            name = label.removeprefix("exec-")
            yield {"what": f"download_to_workspace of dsl.importer ({name})"}


@pipeline_rule(
    "V314",
    Severity.WARNING,
    "{flags} {verb} for runs on this machine; Vertex AI runs each task in its own image",
    hint="Leave the options out.",
)
def local_options(context: PipelineContext, target: Target) -> Match:
    """The options whose `local_only` is true in kfgcp/options.py."""
    flags = local_flags(target.options)
    if not flags:
        return False
    return {"flags": ", ".join(flags), "verb": "is" if len(flags) == 1 else "are"}


# -- helpers


def _escape_braces(text: str) -> str:
    """Return a text of a pipeline for use in the reason of `NotJudged`, which is formatted."""
    return text.replace("{", "{{").replace("}", "}}")


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


def _read_limit(container: Container | None, field: str) -> float:
    """Return a limit of a container, in CPUs or GB. 0 when there is none, or it is a parameter."""
    if container is None:
        return 0
    limit = container.resources.get(field)
    return limit if isinstance(limit, int | float) else 0


def _labels(target: Target) -> dict[str, str]:
    """Return the labels that a run gets, as far as the environment and the options say."""
    own_labels = target.settings.labels if target.settings is not None else {}
    return {**own_labels, **target.options.labels}


def _collected_counts(
    graph: Graph, tasks: Mapping[str, TaskDef], source: FromTask
) -> set[int | None]:
    """Return how many artifacts an output of a task may have because of loops.

    Args:
        graph: the whole pipeline.
        tasks: the tasks of the DAG with the task.
        source: the output.

    Returns:
        A number for each task that may produce the output; None when the number is known only in a
        run. A task that is not in a loop counts as 1.
    """
    task = tasks[source.task]
    dag = graph.component(task).dag
    counts: set[int | None] = {1}
    if dag is not None:
        counts = set()
        for producer in dag.artifact_outputs.get(source.output, ()):
            counts |= _collected_counts(graph, dag.tasks, producer)
    if task.iterator is None:
        return counts or {1}
    iterations = _count_items(task, task.iterator)
    products: set[int | None] = set()
    for count in counts:
        if count is None or iterations is None:
            products.add(None)
        else:
            products.add(count * iterations)
    return products or {1}


def _count_items(task: TaskDef, loop: Loop) -> int | None:
    """Return how many items a loop has, None when this is known only in a run."""
    items: Any = loop.raw
    if loop.input is not None and loop.input in task.params:
        source = task.params[loop.input].source
        items = source.value if isinstance(source, Constant) else None
    if isinstance(items, str):
        try:
            items = json.loads(items)
        except ValueError:
            return None
    return len(items) if isinstance(items, list) else None
