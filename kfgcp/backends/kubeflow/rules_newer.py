"""The rules K2xx: what only newer servers of Kubeflow Pipelines can run.

`fixed_in` is the first release that can. It comes from the server's source at the tags of releases
(github.com/kubeflow/pipelines). The numbers in docstrings are its pull requests and issues. An
error is a pipeline that an older server refuses or that fails there. A warning is a setting that an
older server leaves out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from kfgcp.backends.kubeflow.spec_parts import (
    IF_PRESENT,
    begins_argument,
    has_placeholder,
    pipeline_settings,
    source_tasks,
    takes_final_status,
)
from kfgcp.rules.contexts import ComponentContext, PipelineContext, TaskContext
from kfgcp.rules.findings import Match, Severity, match_texts
from kfgcp.rules.rule import Target, component_rule, pipeline_rule, task_rule
from kfgcp.spec import wire
from kfgcp.spec.graph import Constant, Importer

_UPGRADE: Final = "Upgrade the server, or remove the feature from the pipeline."

# Constants that the driver replaces by a value of the run.
_RUN_VALUES: Final = frozenset(
    {
        "{{$.pipeline_job_name}}",
        "{{$.pipeline_job_resource_name}}",
        "{{$.pipeline_job_uuid}}",
        "{{$.pipeline_task_name}}",
        "{{$.pipeline_task_uuid}}",
    }
)
_RUN_TIMES: Final = frozenset(
    {"{{$.pipeline_job_create_time_utc}}", "{{$.pipeline_job_schedule_time_utc}}"}
)

# The fields of ResourceSpec that are texts, so that a parameter can give their values.
_RESOURCE_TEXTS: Final = (
    "resourceCpuLimit",
    "resourceCpuRequest",
    "resourceMemoryLimit",
    "resourceMemoryRequest",
)
_ACCELERATOR_TEXTS: Final = ("resourceType", "resourceCount")

# -- errors


@task_rule(
    "K201",
    Severity.ERROR,
    "{task} collects the outputs of a loop (dsl.Collected): Kubeflow Pipelines supports this since"
    " 2.14",
    hint=_UPGRADE,
    fixed_in=(2, 14),
)
def collected(context: TaskContext, target: Target) -> Match:
    """#11725: dsl.Collected."""
    return any(source.iterator is not None for source in source_tasks(context))


@task_rule(
    "K202",
    Severity.ERROR,
    "{task} takes the final status of another task (dsl.PipelineTaskFinalStatus): Kubeflow"
    " Pipelines supports this since 2.14",
    hint=_UPGRADE,
    fixed_in=(2, 14),
)
def final_status(context: TaskContext, target: Target) -> Match:
    """#11953. Older compilers refuse it: "task final status not supported yet"
    (argocompiler/dag.go)."""
    return takes_final_status(context)


@task_rule(
    "K203",
    Severity.ERROR,
    "{task} takes an output of a nested pipeline, a branch or dsl.OneOf: Kubeflow Pipelines"
    " supports this since 2.4",
    hint=_UPGRADE,
    fixed_in=(2, 4),
)
def group_output(context: TaskContext, target: Target) -> Match:
    """#11196. On older servers a task with this input fails (#10039)."""
    for source in source_tasks(context):
        is_group = context.graph.component(source).dag is not None
        if is_group and source.iterator is None:
            return True
    return False


@component_rule(
    "K204",
    Severity.ERROR,
    "{component} takes the name of its image from a parameter: Kubeflow Pipelines supports this"
    " since 2.4",
    hint=_UPGRADE,
    fixed_in=(2, 4),
)
def image_parameter(context: ComponentContext, target: Target) -> Match:
    """#11404. Older drivers start the text of the placeholder as the image."""
    return context.container is not None and has_placeholder(context.container.image)


@pipeline_rule(
    "K205",
    Severity.ERROR,
    "the pipeline has a workspace: Kubeflow Pipelines supports this since 2.14",
    hint=_UPGRADE,
    fixed_in=(2, 14),
)
def workspace(pipeline: PipelineContext, target: Target) -> Match:
    """#11982. Older servers refuse the unknown field of PipelineConfig."""
    return bool(pipeline_settings(pipeline, ("workspace",)))


@task_rule(
    "K206",
    Severity.ERROR,
    "{task} waits for a loop: Kubeflow Pipelines supports this since 2.4.1",
    hint="Upgrade the server, or put the task into the loop.",
    fixed_in=(2, 4, 1),
)
def waits_for_loop(context: TaskContext, target: Target) -> Match:
    """#10050: older compilers call the loop X-iterations or X-loop, and Argo refuses the workflow:
    "invalid dependency for-loop-2" (iteratorTask in argocompiler/dag.go)."""
    if context.task.runs_always:
        return False
    return any(context.tasks[key].iterator is not None for key in context.task.upstream)


@task_rule(
    "K207",
    Severity.ERROR,
    "{task} has a cache key: Kubeflow Pipelines knows this field since 2.4",
    hint="Upgrade the server, or remove the cache key.",
    fixed_in=(2, 4),
    methods=("set_caching_options",),
)
def unknown_cache_key(context: TaskContext, target: Target) -> Match:
    """#11434. The server refuses a spec with a field that it does not know (protojson in
    apiserver/template/v2_template.go; go.mod names the version of pipeline_spec.proto)."""
    return bool(context.task.cache_key)


@pipeline_rule(
    "K208",
    Severity.ERROR,
    "the parameter {parameter} of {owner} has the type Literal, which Kubeflow Pipelines knows"
    " since 2.16",
    hint="Upgrade the server, or declare the parameter as str.",
    fixed_in=(2, 16),
)
def unknown_literals(pipeline: PipelineContext, target: Target) -> Iterator[Match]:
    """#12607. The server refuses a spec with a field that it does not know (protojson in
    apiserver/template/v2_template.go)."""
    for component in (pipeline.graph.root, *pipeline.graph.components.values()):
        for name, param in component.params.items():
            if param.literals:
                is_root = component is pipeline.graph.root
                owner = "the pipeline" if is_root else component.name.removeprefix("comp-")
                yield {"parameter": name, "owner": owner}


@component_rule(
    "K209",
    Severity.ERROR,
    "{component} has an input of the type dsl.TaskConfig, which Kubeflow Pipelines knows since"
    " 2.15",
    hint=_UPGRADE,
    fixed_in=(2, 15),
)
def unknown_task_config(context: ComponentContext, target: Target) -> Match:
    """#12185. The server refuses a spec with a type that it does not know (protojson in
    apiserver/template/v2_template.go)."""
    return any(param.type == "TASK_CONFIG" for param in context.component.params.values())


@pipeline_rule(
    "K210",
    Severity.ERROR,
    "an importer downloads into the workspace ({label}), which Kubeflow Pipelines knows since 2.15",
    hint=_UPGRADE,
    fixed_in=(2, 15),
)
def unknown_download(pipeline: PipelineContext, target: Target) -> Iterator[Match]:
    """#12353: downloadToWorkspace. The server refuses a spec with a field that it does not know
    (protojson in apiserver/template/v2_template.go)."""
    for label, executor in wire.read_executors(pipeline.document).items():
        importer = wire.as_mapping(wire.as_mapping(executor).get("importer"))
        if importer.get("downloadToWorkspace"):
            yield {"label": label.removeprefix("exec-")}


@pipeline_rule(
    "K211",
    Severity.ERROR,
    "the pipeline has {names}, which Kubeflow Pipelines knows since 2.17",
    hint="Upgrade the server, or remove the setting from PipelineConfig.",
    fixed_in=(2, 17),
)
def unknown_pipeline_settings(pipeline: PipelineContext, target: Target) -> Match:
    """#13184, #13187. The server refuses unknown fields of a platform spec (protojson in
    apiserver/template/v2_template.go)."""
    fields = (
        "resourceTtlOnCompletion",
        "resourceTtlOnSuccess",
        "resourceTtlOnFailure",
        "activeDeadlineSeconds",
    )
    return match_texts("names", pipeline_settings(pipeline, fields))


# -- warnings


@component_rule(
    "K220",
    Severity.WARNING,
    "{component} has resources (CPU, memory or accelerator) in fields that Kubeflow Pipelines"
    " knows since 2.4: an older server refuses the pipeline, or ignores these resources",
    hint="Upgrade the server, or compile the pipeline with the kfp release of the server.",
    fixed_in=(2, 4),
    methods=(
        "set_cpu_limit",
        "set_cpu_request",
        "set_memory_limit",
        "set_memory_request",
        "set_accelerator_type",
        "set_accelerator_limit",
    ),
)
def unknown_resources(context: ComponentContext, target: Target) -> Match:
    """#11075, #11501: resourceCpuLimit and others, which also take parameters. In the code, a
    server refuses unknown fields (protojson in apiserver/template/v2_template.go), but kfp writes
    the old fields too, for servers before 2.4 (#11839). Not recorded."""
    if context.container is None:
        return False
    resources = context.container.resources
    accelerator = wire.as_mapping(resources.get("accelerator"))
    has_text = any(resources.get(field) for field in _RESOURCE_TEXTS)
    return has_text or any(accelerator.get(field) for field in _ACCELERATOR_TEXTS)


@task_rule(
    "K221",
    Severity.WARNING,
    "{task} is a loop with a limit of parallel iterations: Kubeflow Pipelines supports this since"
    " 2.4, and an older server starts all iterations at once",
    hint="Upgrade the server, or loop over fewer items.",
    fixed_in=(2, 4),
)
def loop_limit(context: TaskContext, target: Target) -> Match:
    """#10798: IteratorPolicy.parallelism_limit."""
    return context.task.iterator is not None and context.task.iterator.limit > 0


@task_rule(
    "K222",
    Severity.WARNING,
    "{task} has a cache key: Kubeflow Pipelines supports this since 3.0, and an older server"
    " ignores the key",
    hint="Upgrade the server, or give the task an input that changes when it must run again.",
    since=(2, 4),
    fixed_in=(3, 0),
    methods=("set_caching_options",),
)
def ignored_cache_key(context: TaskContext, target: Target) -> Match:
    """#13762 reads the key, which #11434 only added to pipeline_spec.proto (driver/cache.go)."""
    return bool(context.task.cache_key)


@task_rule(
    "K223",
    Severity.WARNING,
    "{task} is an exit task: Kubeflow Pipelines supports this since 2.4, and on an older server"
    " the exit task may not run after a failure",
    hint="Upgrade the server.",
    fixed_in=(2, 4),
)
def exit_task(context: TaskContext, target: Target) -> Match:
    """#11470: exit tasks are hooks of the workflow."""
    return context.task.runs_always


@task_rule(
    "K224",
    Severity.WARNING,
    "{task} has a placeholder for the name or id of its run or task: Kubeflow Pipelines supports"
    " this since 2.5, and an older server does not fill in the placeholder",
    hint="Upgrade the server, or pass the value as a parameter.",
    fixed_in=(2, 5),
)
def run_value(context: TaskContext, target: Target) -> Match:
    """#11599: constants such as {{$.pipeline_job_name}} (driver/driver.go). Recorded:
    cluster-2.17.0/defaults."""
    return _has_constant(context, _RUN_VALUES)


@task_rule(
    "K225",
    Severity.WARNING,
    "{task} has set_retry: Kubeflow Pipelines supports this since 2.5, and an older server may"
    " not retry the task",
    hint="Upgrade the server.",
    fixed_in=(2, 5),
    methods=("set_retry",),
)
def retried_task(context: TaskContext, target: Target) -> Match:
    """#11673."""
    return context.task.retry is not None and context.component.dag is None


@task_rule(
    "K226",
    Severity.WARNING,
    "{task} is a nested pipeline with set_retry: Kubeflow Pipelines supports this since 2.14, and"
    " an older server does not retry the nested pipeline",
    hint="Upgrade the server, or call set_retry on the tasks inside.",
    fixed_in=(2, 14),
    methods=("set_retry",),
)
def retried_pipeline(context: TaskContext, target: Target) -> Match:
    """#11908."""
    return context.task.retry is not None and context.component.dag is not None


@task_rule(
    "K227",
    Severity.WARNING,
    "{task} is a nested pipeline without a value for {parameter}: Kubeflow Pipelines supports"
    " this since 2.14, and on an older server each task that uses the parameter fails",
    hint="Pass a value for the parameter.",
    fixed_in=(2, 14),
)
def left_out_parameter(context: TaskContext, target: Target) -> Match:
    """#11980. Recorded: cluster-2.17.0/sub-optional."""
    if context.component.dag is None:
        return False
    for name, param in context.component.params.items():
        if param.optional and not param.has_default and name not in context.task.params:
            return {"parameter": name}
    return False


@task_rule(
    "K228",
    Severity.WARNING,
    "{task} is an importer in a loop: it fails on Kubeflow Pipelines before 2.17",
    hint="Upgrade the server, or import the artifact before the loop.",
    fixed_in=(2, 17),
)
def importer_in_loop(context: TaskContext, target: Target) -> Match:
    """#10860. It works in 2.17.0; the release that fixed it is not known. Recorded:
    cluster-2.17.0/importer-loop."""
    return isinstance(context.component.executor, Importer) and context.in_loop


@task_rule(
    "K229",
    Severity.WARNING,
    "{task} is a loop inside an exit handler: it fails on Kubeflow Pipelines before 2.17",
    hint="Upgrade the server, or move the loop into a nested pipeline outside the exit handler.",
    fixed_in=(2, 17),
)
def loop_in_exit_handler(context: TaskContext, target: Target) -> Match:
    """#12390, seen with 2.14.3. It works in 2.17.0; the release that fixed it is not known.
    Recorded: cluster-2.17.0/exit-loop."""
    return context.in_exit_handler and context.task.iterator is not None


@task_rule(
    "K230",
    Severity.WARNING,
    "{task} has a placeholder for the time at which its run was created or scheduled: Kubeflow"
    " Pipelines supports this since 2.17, and an older server does not fill in the placeholder",
    hint="Upgrade the server, or read the clock in the task.",
    fixed_in=(2, 17),
)
def run_time(context: TaskContext, target: Target) -> Match:
    """#13474: the compiler passes --pipeline_job_create_time_utc to the driver. The driver of 2.16
    fills in an empty text, and that of 2.14 leaves the placeholder (driver/resolve.go)."""
    return _has_constant(context, _RUN_TIMES)


@component_rule(
    "K231",
    Severity.WARNING,
    "{component} has an IfPresentPlaceholder: Kubeflow Pipelines supports this since 2.17, and an"
    " older server passes the JSON text of the placeholder",
    hint="Upgrade the server, or always pass the argument and test it in the program.",
    fixed_in=(2, 17),
)
def if_present(context: ComponentContext, target: Target) -> Match:
    """The driver of 2.17 is the first that reads it (resolveContainerArgs in driver/util.go).
    Recorded: cluster-2.17.0/containers."""
    return begins_argument(context, IF_PRESENT)


def _has_constant(context: TaskContext, texts: frozenset[str]) -> bool:
    for binding in context.task.params.values():
        if isinstance(binding.source, Constant):
            constant = binding.source.value
            if isinstance(constant, str) and constant in texts:
                return True
    return False
