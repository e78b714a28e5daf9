"""What Vertex AI ignores or does in another way, and what nobody documents: the rules V3xx."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from kfgcp.backends.vertex.rules_limits import run_labels
from kfgcp.options import local_flags
from kfgcp.rules.contexts import ComponentContext, PipelineContext, TaskContext
from kfgcp.rules.facts import inner_values, whole_artifact
from kfgcp.rules.findings import Match, Part, Severity, match_texts
from kfgcp.rules.rule import Target, component_rule, pipeline_rule, task_rule
from kfgcp.spec import platform
from kfgcp.spec.graph import Importer
from kfgcp.spec.wire import read_executors

# The beginning of a placeholder.
_PLACEHOLDER: Final = "{{$"

# The label that Vertex AI itself sets (PipelineJob.labels).
_RESERVED_LABEL: Final = "vertex-ai-pipelines-run-billing-id"

# The fields of a container's resources, and their names in messages. A newer field has the limit as
# text, and may contain a placeholder.
_LIMITS: Final = (
    ("cpu", "cpuLimit", "resourceCpuLimit", "cpuRequest", "resourceCpuRequest"),
    ("memory", "memoryLimit", "resourceMemoryLimit", "memoryRequest", "resourceMemoryRequest"),
)

_METRICS: Final = "system.Metrics"


@component_rule(
    "V301",
    Severity.WARNING,
    "{component} takes {settings}, which Vertex AI does not support: the variables are not set",
    hint="In the task, read the secret from Secret Manager with the service account of the run.",
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
    return match_texts("settings", settings, "; ")


@component_rule(
    "V302",
    Severity.WARNING,
    "{component} mounts {settings}, which Vertex AI does not support: the folder is missing",
    hint="Use a bucket, which is mounted below /gcs/, or pass the files as an artifact.",
    part=Part.TASK,
)
def cluster_mounts(context: ComponentContext, target: Target) -> Match:
    """Vertex AI does not read the platform spec: PipelineJob has a field only for the pipeline."""
    if context.container is None:
        return False
    settings = [f"{mount.source} at {mount.path}" for mount in context.container.cluster.mounts]
    return match_texts("settings", settings, "; ")


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
    return match_texts("settings", settings)


@pipeline_rule(
    "V304",
    Severity.WARNING,
    "the pipeline has settings for Kubernetes, which Vertex AI ignores: {settings}",
    hint="If the pipeline runs only on Vertex AI, remove these settings from dsl.PipelineConfig.",
)
def pipeline_settings(context: PipelineContext, target: Target) -> Match:
    """Vertex AI does not read the platform spec: PipelineJob has a field only for the pipeline."""
    settings = dict.fromkeys(platform.pipeline_settings(context.spec.platform_spec).values())
    return match_texts("settings", settings)


@component_rule(
    "V305",
    Severity.WARNING,
    "{component} requests {what} without a limit, and Vertex AI reads only limits",
    hint="Set the limit too: set_cpu_limit, set_memory_limit",
    methods=("set_cpu_request", "set_memory_request"),
    part=Part.TASK,
)
def request_without_limit(context: ComponentContext, target: Target) -> Match:
    """Vertex AI chooses the machine by the limits.

    Source: Google's page "Specify the machine configuration for a pipeline step".
    """
    if context.container is None:
        return False
    resources = context.container.resources
    requested = []
    for what, limit, limit_text, request, request_text in _LIMITS:
        has_request = resources.get(request) or resources.get(request_text)
        has_limit = resources.get(limit) or resources.get(limit_text)
        if has_request and not has_limit:
            requested.append(what)
    return match_texts("what", requested, " and ")


@component_rule(
    "V306",
    Severity.NOTE,
    "{component} has no limits, so it runs on an e2-standard-4 with 4 CPUs and 16 GB of memory",
    hint="Ask for another machine with set_cpu_limit and set_memory_limit.",
    part=Part.TASK,
)
def default_machine(context: ComponentContext, target: Target) -> Match:
    """Without limits, a task runs on an e2-standard-4.

    Source: Google's page "Specify the machine configuration for a pipeline step".
    """
    return context.container is not None and not context.container.resources


@pipeline_rule(
    "V307",
    Severity.WARNING,
    "the run has the label {name}, and Vertex AI replaces its value",
    hint="Use another name for the label.",
)
def reserved_label(context: PipelineContext, target: Target) -> Match:
    """Vertex AI Pipelines reserves one key and overrides its value (PipelineJob.labels)."""
    return {"name": _RESERVED_LABEL} if _RESERVED_LABEL in run_labels(target) else False


@component_rule(
    "V308",
    Severity.NOT_JUDGED,
    "not judged: {component} takes {what} from a parameter, and the documentation does not say"
    " whether Vertex AI supports this",
    hint="Use a constant.",
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
    return match_texts("what", fields)


@task_rule(
    "V309",
    Severity.NOT_JUDGED,
    "not judged: {task} imports an artifact in a loop, and the documentation does not say whether"
    " Vertex AI supports this",
    hint="Import the artifact outside the loop.",
)
def importer_in_loop(context: TaskContext, target: Target) -> Match:
    """Kubeflow Pipelines fails before 2.17 (#10860). Nothing was recorded on Vertex AI."""
    return context.in_loop and isinstance(context.component.executor, Importer)


@task_rule(
    "V310",
    Severity.NOT_JUDGED,
    "not judged: {task} loops over artifacts, and the documentation does not say whether Vertex"
    " AI supports this",
    hint="Loop over the URIs, and import each artifact with dsl.importer in the loop.",
)
def loop_over_artifacts(context: TaskContext, target: Target) -> Match:
    """ArtifactIteratorSpec (#10441). Nothing was recorded on Vertex AI."""
    return context.task.iterator is not None and context.task.iterator.artifacts


@task_rule(
    "V311",
    Severity.NOT_JUDGED,
    "not judged: {task} has a cache key, and the documentation does not say whether Vertex AI"
    " uses it",
    hint="Give the task an input that changes when it must run again.",
    methods=("set_caching_options",),
)
def cache_key(context: TaskContext, target: Target) -> Match:
    """CachingOptions.cache_key (#11434). The official client erases it: enable_caching."""
    return bool(context.task.cache_key)


@pipeline_rule(
    "V312",
    Severity.NOT_JUDGED,
    "not judged: a metric may be NaN or infinite, and the documentation does not say what Vertex"
    " AI does then ({components})",
    hint="Log only finite numbers: test them with math.isfinite.",
)
def infinite_metric(context: PipelineContext, target: Target) -> Match:
    """The launcher of Kubeflow refuses such a metric (recorded). Nothing was recorded on Vertex."""
    names = []
    for component in context.components:
        outputs = component.component.output_artifacts.values()
        if any(artifact.type == _METRICS for artifact in outputs):
            names.append(component.component.name.removeprefix("comp-"))
    return match_texts("components", names)


@pipeline_rule(
    "V313",
    Severity.NOT_JUDGED,
    "not judged: {what} is new in the specification, and the documentation does not say whether"
    " Vertex AI supports it",
    hint="Try it in a small pipeline on Vertex AI, or leave it out.",
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


@component_rule(
    "V315",
    Severity.NOT_JUDGED,
    "not judged: {component} passes the whole artifact '{artifact}' to its command, and it is not"
    " documented which text the command gets on Vertex AI",
    hint="Read the list in a Python component, or collect parameters with the URIs.",
)
def whole_artifact_in_command(context: ComponentContext, target: Target) -> Match:
    """KFP compiles a list of artifacts to such an argument (kubeflow/pipelines#8484). Nothing was
    recorded on Vertex AI."""
    artifact = whole_artifact(context)
    return {"artifact": artifact} if artifact else False


@task_rule(
    "V316",
    Severity.NOT_JUDGED,
    "not judged: {task} puts '{source}', which is {type}, inside the {container} '{input}', and it"
    " is not documented whether it becomes text on Vertex AI",
    hint="Pass the value as an argument of its own, or make the component work for both.",
)
def value_inside_constant(context: TaskContext, target: Target) -> Match:
    """On Kubeflow it becomes text (recorded). Nothing was recorded on Vertex AI."""
    value = next(inner_values(context), None)
    return value.to_dict() if value is not None else False


@pipeline_rule(
    "V314",
    Severity.WARNING,
    "Vertex AI ignores {flags}: only runs on this machine use {pronoun}",
    hint="Leave the options out.",
)
def local_options(context: PipelineContext, target: Target) -> Match:
    """The options whose `local_only` is true in kfgcp/options.py."""
    flags = local_flags(target.options)
    if not flags:
        return False
    return {"flags": ", ".join(flags), "pronoun": "it" if len(flags) == 1 else "them"}
