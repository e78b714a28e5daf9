"""What the local engine refuses, ignores or does in another way than a cluster.

    L1xx  refused
    L2xx  ignored or done in another way

The rules are pure, so they say what a pipeline needs. The engine looks at this machine: whether a
Docker engine answers (`kfgcp/engine/docker_need.py`), and which variables and folders are missing
(`kfgcp/engine/cluster.py`). "semantics" in a docstring is docs/reference/semantics.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Final

from kfgcp.rules.contexts import ComponentContext, PipelineContext, TaskContext
from kfgcp.rules.facts import (
    has_cached_variables,
    inner_values,
    is_google_component,
    whole_artifact,
)
from kfgcp.rules.findings import Match, Part, Severity, match_texts
from kfgcp.rules.patterns import LazyPattern
from kfgcp.rules.rule import Rule, Target, component_rule, pipeline_rule, sorted_rules, task_rule
from kfgcp.spec.graph import Constant, Importer, OtherExecutor
from kfgcp.spec.image_names import is_component_image
from kfgcp.spec.platform import VOLUME_IMAGES, WORKSPACE, ClusterConfig
from kfgcp.spec.platform import pipeline_settings as read_pipeline_settings

# The official images of Python. They contain no packages that a function could need.
_PYTHON_IMAGE: Final = LazyPattern(r"(docker\.io/)?(library/)?python([:@].*)?")

# The schemes of URIs in buckets.
_BUCKET_URI: Final = LazyPattern(r"(gs|s3|minio)://")


@cache
def local_rules() -> tuple[Rule, ...]:
    """Return all rules of this module, sorted by their ids."""
    return sorted_rules(value for value in globals().values() if isinstance(value, Rule))


# -- refused


@component_rule(
    "L101",
    Severity.ERROR,
    "{component} is a {kind} executor, which the local engine cannot run",
    hint="Submit the pipeline to a backend that has this executor.",
)
def other_executor(context: ComponentContext, target: Target) -> Match:
    """The engine runs containers and importers only (semantics, Running a task)."""
    executor = context.component.executor
    return {"kind": executor.kind} if isinstance(executor, OtherExecutor) else False


@component_rule(
    "L102",
    Severity.ERROR,
    "{component} creates or deletes a Kubernetes volume, which the local engine cannot do",
    hint="Use dsl.WORKSPACE_PATH_PLACEHOLDER: it names a folder that all tasks of a run share,"
    " here and on Kubeflow.",
    part=Part.TASK,
)
def volume(context: ComponentContext, target: Target) -> Match:
    """CreatePVC and DeletePVC change a cluster (semantics: what cannot be honoured here fails)."""
    return context.container is not None and context.container.image in VOLUME_IMAGES


@component_rule(
    "L103",
    Severity.ERROR,
    "{component} runs a container, and --executor process does not allow containers",
    hint="Use --executor auto.",
)
def container_in_process(context: ComponentContext, target: Target) -> Match:
    """A process runs only Python functions (kfgcp/engine/executors/router.py)."""
    return target.options.executor == "process" and _is_command(context)


@component_rule(
    "L104",
    Severity.ERROR,
    "{component} passes the whole artifact '{artifact}' to its command, but KFP does not say which"
    " text the command gets",
    hint="Read the list in a Python component, or collect parameters with the URIs.",
)
def whole_artifact_in_command(context: ComponentContext, target: Target) -> Match:
    """The engine refuses it, because backends pass different texts (semantics, Placeholders)."""
    artifact = whole_artifact(context)
    return {"artifact": artifact} if artifact else False


# -- ignored, or done in another way


@component_rule(
    "L201",
    Severity.NOTE,
    "{component} runs in a container, which needs a Docker engine on this machine",
    hint="Start Docker, or write the component as a Python function: @dsl.component",
)
def needs_docker(context: ComponentContext, target: Target) -> Match:
    """Whether a Docker engine answers is tried when the run starts."""
    return _runs_in_container(context, target)


@component_rule(
    "L202",
    Severity.WARNING,
    "{component} runs in a process, so its limits of CPU and memory have no effect",
    hint="Use --executor docker: containers respect the limits.",
    methods=("set_cpu_limit", "set_memory_limit", "set_cpu_request", "set_memory_request"),
    part=Part.TASK,
)
def limits_of_process(context: ComponentContext, target: Target) -> Match:
    """Limits are enforced where the executor can: in containers (semantics, Running a task)."""
    if context.container is None or _runs_in_container(context, target):
        return False
    keys = [key.lower() for key in context.container.resources]
    return any("cpu" in key or "memory" in key for key in keys)


@component_rule(
    "L203",
    Severity.WARNING,
    "{component} runs without the accelerator {type} x {count}, because the local engine assigns"
    " none",
    hint="Make the component work without the accelerator, or use a backend that has it.",
    methods=("set_accelerator_type", "set_accelerator_limit", "add_node_selector_constraint"),
    part=Part.TASK,
)
def accelerator(context: ComponentContext, target: Target) -> Match:
    """No executor of the engine assigns accelerators (kfgcp/engine/executors)."""
    if context.container is None:
        return False
    fields = context.container.resources.get("accelerator")
    if not isinstance(fields, Mapping) or not fields:
        return False
    return {
        "type": str(fields.get("resourceType") or fields.get("type")),
        "count": str(fields.get("resourceCount") or fields.get("count")),
    }


@component_rule(
    "L204",
    Severity.WARNING,
    "{component} has settings for Kubernetes, which this machine ignores: {settings}",
    hint="These settings do not change the results of the task, so you need not do anything.",
    part=Part.TASK,
)
def cluster_placement(context: ComponentContext, target: Target) -> Match:
    """They say where and as which user a pod runs (kubernetes_executor_config.proto)."""
    if context.container is None:
        return False
    return match_texts("settings", context.container.cluster.placement)


@pipeline_rule(
    "L205",
    Severity.WARNING,
    "the pipeline has settings for Kubernetes, which this machine ignores: {settings}",
    hint="These settings do not change the results of the tasks, so you need not do anything.",
)
def pipeline_settings(context: PipelineContext, target: Target) -> Match:
    """They say how a workflow is run and kept (PipelineConfig, pipeline_spec.proto)."""
    settings = read_pipeline_settings(context.spec.platform_spec)
    # A workspace is not ignored: the tasks get a folder for it.
    names = dict.fromkeys(name for key, name in settings.items() if key != WORKSPACE)
    return match_texts("settings", names)


@component_rule(
    "L206",
    Severity.WARNING,
    "{component} takes {settings}",
    hint="Set the variables in the shell that starts the run. A task fails when one of its"
    " variables is missing.",
    part=Part.TASK,
)
def cluster_variables(context: ComponentContext, target: Target) -> Match:
    """Variables of the user's environment stand in for secrets (semantics, Running a task)."""
    if context.container is None:
        return False
    cluster = context.container.cluster
    covered = _variables_of_entries(cluster, target)
    settings = []
    for variables in cluster.variables:
        names = [name for name in variables.names if name not in covered]
        if names:
            settings.append(f"{', '.join(names)} from your shell, not from the {variables.source}")
    return match_texts("settings", settings, "; ")


def _variables_of_entries(cluster: ClusterConfig, target: Target) -> set[str]:
    """Return the variables of secrets that the table `secrets` of the environment has."""
    if target.settings is None:
        return set()
    tables = target.settings.tables
    return {
        asked.variable
        for asked in cluster.secrets
        if tables.find_kubernetes_secret(asked.secret, asked.key) is not None
    }


@component_rule(
    "L207",
    Severity.WARNING,
    "{component} uses {settings}",
    hint="Create the folder on this machine. Without this folder, the task fails.",
    part=Part.TASK,
)
def cluster_mounts(context: ComponentContext, target: Target) -> Match:
    """A folder at the place of a volume stands in for it (semantics, Running a task)."""
    if context.container is None:
        return False
    mounts = context.container.cluster.mounts
    if _runs_in_container(context, target):
        # A container gets an empty folder of its own.
        mounts = tuple(mount for mount in mounts if not mount.scratch)
    settings = [f"{mount.path} of this machine instead of the {mount.source}" for mount in mounts]
    return match_texts("settings", settings, "; ")


@component_rule(
    "L208",
    Severity.NOT_JUDGED,
    "not judged: {component} runs its function without the image {image}, and kfgcp does not know"
    " whether the function needs software from this image",
    hint="List the packages that the function needs in packages_to_install, or use --executor"
    " docker.",
)
def function_without_image(context: ComponentContext, target: Target) -> Match:
    """Functions run in virtual environments (kfgcp/engine/executors/router.py), not in images."""
    container = context.container
    if container is None or _runs_in_container(context, target):
        return False
    # The extra `components` installs what the components of kfgcp need.
    if _PYTHON_IMAGE.fullmatch(container.image) or is_component_image(container.image):
        return False
    return {"image": container.image}


@component_rule(
    "L209",
    Severity.NOTE,
    "{component} imports {uri}, which this machine reads with your own credentials",
    hint="Before the run, sign in to the service that has the bucket, such as Google Cloud.",
)
def imported_from_bucket(context: ComponentContext, target: Target) -> Match:
    """A task without credentials for a bucket fails (semantics, Running a task)."""
    executor = context.component.executor
    if not isinstance(executor, Importer) or not isinstance(executor.uri.source, Constant):
        return False
    uri = str(executor.uri.source.value)
    return {"uri": uri} if _BUCKET_URI.match(uri) else False


@task_rule(
    "L210",
    Severity.WARNING,
    "{task} puts '{source}', which is {type}, inside the {container} '{input}', where it becomes"
    " text, as on Kubeflow",
    hint="Pass the value as an argument of its own, or convert the text in the component.",
)
def value_becomes_text(context: TaskContext, target: Target) -> Match:
    """[n.output, 4] with n = 3 arrives as ["3", 4] (semantics, Values)."""
    value = next(inner_values(context), None)
    return value.to_dict() if value is not None else False


@task_rule(
    "L211",
    Severity.NOTE,
    "{task} has environment variables and is cached: when only variables changed, it gets its old"
    " outputs from the cache",
    hint="Pass the value as an argument, or turn the cache off: set_caching_options(False)",
    methods=("set_env_variable", "set_caching_options"),
)
def variables_outside_cache_key(context: TaskContext, target: Target) -> Match:
    """The key of the cache has no variables (semantics, Caching)."""
    return has_cached_variables(context, target)


@component_rule(
    "L212",
    Severity.NOTE,
    "{component} is from google-cloud-pipeline-components: it calls services of Google Cloud",
    hint="Let the container use your credentials: container_credentials = true",
)
def google_component(context: ComponentContext, target: Target) -> Match:
    """Its launcher starts a job in Google Cloud, with the credentials that the container finds
    (kfgcp/engine/executors/container_credentials.py)."""
    return is_google_component(context)


# -- helpers


def _is_command(context: ComponentContext) -> bool:
    """Return whether a component runs a command, not a Python function that KFP compiled."""
    return context.container is not None and context.lightweight is None


def _runs_in_container(context: ComponentContext, target: Target) -> bool:
    if context.container is None:
        return False
    return target.options.executor == "docker" or _is_command(context)
