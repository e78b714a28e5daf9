"""The rules K3xx: what Kubeflow Pipelines does in another way than documented, or ignores.

Most differences were recorded on a whole Kubeflow Pipelines 2.17.0. A docstring with "Recorded:"
names the folder in tests/recorded; the others come from the server's source
(github.com/kubeflow/pipelines), at the paths and numbers in the docstrings.
"""

from __future__ import annotations

import json
import re
from collections.abc import Hashable, Iterator, Mapping
from typing import Final

from kfgcp.backends.kubeflow.limits import MAX_PARAMETER_BYTES, json_bytes
from kfgcp.backends.kubeflow.spec_parts import (
    CONCAT,
    arguments,
    begins_argument,
    collected_outputs,
    collected_producers,
    has_metrics,
    has_placeholder,
    takes_final_status,
)
from kfgcp.rules.contexts import ComponentContext, PipelineContext, TaskContext
from kfgcp.rules.facts import (
    has_cached_variables,
    inner_values,
    is_cached,
    is_google_component,
    whole_artifact,
)
from kfgcp.rules.findings import Match, Severity, at_task
from kfgcp.rules.rule import Target, component_rule, pipeline_rule, task_rule
from kfgcp.spec import wire
from kfgcp.spec.graph import Binding, Component, Constant, Container, FromInput, FromTask, TaskDef

# kfp begins the name of the group in an exit handler with this text.
_EXIT_HANDLER: Final = "exit-handler-"
_INPUT: Final = re.compile(r"\{\{\$\.inputs\.parameters\[['\"]([^'\"]+)['\"]\]")
_RUN_VALUE: Final = re.compile(r"\{\{\$\.pipeline_(?:job|task)_[a-z_]+\}\}")

# As text, values of these types contain no quotes and brackets.
_PLAIN_TYPES: Final = ("NUMBER_INTEGER", "NUMBER_DOUBLE", "BOOLEAN")

# The default of etcd's --max-request-bytes: 1.5 MiB. A workflow is one object there.
_MAX_WORKFLOW_BYTES: Final = 1_572_864


# -- dsl.Collected


@task_rule(
    "K301",
    Severity.WARNING,
    "{task} collects from nested loops: on Kubeflow, it gets one flat list, not a list of lists",
    hint="Collect in each loop, or let the task accept a flat list and a list of lists.",
)
def collects_from_nested_loops(context: TaskContext, target: Target) -> Match:
    """Recorded: cluster-2.17.0/collected-nested."""
    return any(task.iterator is not None for task, _ in collected_producers(context))


@task_rule(
    "K302",
    Severity.WARNING,
    "{task} collects from a loop that may be empty: on Kubeflow, the run fails when the loop has no"
    " items",
    hint="Make sure that the loop has items, or skip the task for an empty loop (dsl.If).",
)
def collects_from_unknown_items(context: TaskContext, target: Target) -> Match:
    """The driver of the collecting task fails. Recorded: cluster-2.17.0/loop-empty."""
    return any(_may_be_empty(loop) for loop, _ in collected_outputs(context))


def _may_be_empty(loop: TaskDef) -> bool:
    """Return whether a loop may have no items: they are not in the spec, or the list is empty."""
    raw = loop.iterator.raw if loop.iterator is not None else None
    if raw is None:
        return True
    try:
        return not json.loads(raw)
    except ValueError:
        return True


@task_rule(
    "K303",
    Severity.WARNING,
    "{task} collects from a loop with a condition inside: on Kubeflow, the run fails when the"
    " condition is false for an item",
    hint="Give each branch an output, and join them with dsl.OneOf.",
)
def collects_from_conditions(context: TaskContext, target: Target) -> Match:
    """The driver panics. Recorded: cluster-2.17.0/collected-skipped; with dsl.OneOf it works:
    cluster-2.17.0/collected-oneof."""
    for task, is_one_of_several in collected_producers(context):
        if task.condition and not is_one_of_several:
            return True
    return False


# -- values


@task_rule(
    "K304",
    Severity.WARNING,
    "{task} gets a list or dict that contains outputs or parameters: on Kubeflow, the task fails"
    " when such an output or parameter is a list, a dict, or a text with a quotation mark",
    hint="Pass the output or parameter as a separate argument.",
)
def values_in_list(context: TaskContext, target: Target) -> Match:
    """The driver fills the value into the JSON text of the constant. Numbers and booleans are safe.
    Recorded: cluster-2.17.0/list-arguments."""
    for binding in context.task.params.values():
        if not isinstance(binding.source, Constant):
            continue
        constant = binding.source.value
        if not isinstance(constant, (list, Mapping)):
            continue
        names = _INPUT.findall(str(constant))
        if any(_may_break_json(context, name) for name in names):
            return True
    return False


def _may_break_json(context: TaskContext, name: str) -> bool:
    """Return whether the text of an input may contain quotes or brackets."""
    binding = context.task.params.get(name)
    if binding is None or not isinstance(binding.source, FromTask):
        return True
    producer = context.graph.component(context.tasks[binding.source.task])
    output = producer.output_params.get(binding.source.output)
    return output is None or output.type not in _PLAIN_TYPES


@task_rule(
    "K305",
    Severity.WARNING,
    "{task} reads a final status: on Kubeflow, the state is COMPLETE or FAILED, the error is"
    " empty, and the name of the run is the name of the Argo workflow",
    hint="Test for FAILED, which is the same on all backends.",
)
def final_status_words(context: TaskContext, target: Target) -> Match:
    """Recorded: cluster-2.17.0/exit-bad, cluster-2.17.0/exit-good."""
    return takes_final_status(context)


@component_rule(
    "K306",
    Severity.WARNING,
    "{component} has a ConcatPlaceholder: on Kubeflow, its program gets the JSON text of the"
    " placeholder, not the joined text",
    hint="Join the texts in the program, or in a Python component.",
)
def concat(context: ComponentContext, target: Target) -> Match:
    """Recorded: cluster-2.17.0/containers."""
    return begins_argument(context, CONCAT)


@component_rule(
    "K307",
    Severity.WARNING,
    "{component} has a placeholder in an environment variable: on Kubeflow, the variable contains"
    " the text of the placeholder, not the value",
    hint="Pass the value as an argument.",
)
def value_in_variable(context: ComponentContext, target: Target) -> Match:
    """The driver copies variables as they are (initPodSpecPatch in driver/driver.go; #13034)."""
    container = context.container
    return container is not None and any(map(has_placeholder, container.env.values()))


@component_rule(
    "K308",
    Severity.WARNING,
    "{component} has a placeholder for the name or id of its run or task in its arguments: on"
    " Kubeflow, its program gets the text of the placeholder, not the value",
    hint="Pass the placeholder as a parameter: work(name=dsl.PIPELINE_JOB_NAME_PLACEHOLDER)",
)
def run_value_in_argument(context: ComponentContext, target: Target) -> Match:
    """Only whole constants of a task are replaced (driver/resolve.go); the launcher replaces inputs
    and outputs (component/launcher_v2.go)."""
    container = context.container
    return container is not None and any(map(_RUN_VALUE.search, container.templates))


@task_rule(
    "K309",
    Severity.WARNING,
    "the parameter {parameter} of {task} combines a placeholder for the name or id of its run or"
    " task with other text: on Kubeflow, the placeholder is not filled in",
    hint="Pass the placeholder alone as a parameter, and join the texts in the task.",
)
def run_value_inside_text(context: TaskContext, target: Target) -> Match:
    """The driver compares the whole constant with the placeholder (driver/resolve.go)."""
    for name, binding in context.task.params.items():
        if not isinstance(binding.source, Constant):
            continue
        constant = binding.source.value
        if isinstance(constant, (str, list, Mapping)):
            text = str(constant)
            match = _RUN_VALUE.search(text)
            if match is not None and match.group() != text:
                return {"parameter": name}
    return False


@component_rule(
    "K310",
    Severity.NOTE,
    "{component} has metrics: Kubeflow Pipelines before 3.0 keeps only six decimals of a metric,"
    " so values below 1e-6 become 0",
    hint="If you need all digits, return the value as an output parameter too.",
    fixed_in=(3, 0),
)
def rounded_metrics(context: ComponentContext, target: Target) -> Match:
    """ML Metadata keeps doubles as text with six decimals. Recorded: cluster-2.17.0/digits."""
    return has_metrics(context.component)


@component_rule(
    "K311",
    Severity.NOTE,
    "{component} has metrics: on Kubeflow, a task fails when a metric is NaN or infinite",
    hint="Test values with math.isfinite before you log them.",
)
def infinite_metrics(context: ComponentContext, target: Target) -> Match:
    """The launcher cannot read such a number in the output file. Recorded:
    cluster-2.17.0/nan-metrics."""
    return has_metrics(context.component)


@pipeline_rule(
    "K312",
    Severity.WARNING,
    "the defaults of the parameters take {size} bytes; Kubeflow Pipelines takes at most {limit}",
    hint="Put large values into a file in a bucket, and pass its address.",
)
def long_defaults(pipeline: PipelineContext, target: Target) -> Match:
    """The driver of the pipeline gets all parameters as one argument, and Linux limits it
    (MAX_ARG_STRLEN). Other values may be shorter, so this is not an error."""
    defaults = {
        name: param.default for name, param in pipeline.graph.root.params.items() if param.default
    }
    size = json_bytes(defaults)
    if size <= MAX_PARAMETER_BYTES:
        return False
    return {"size": f"{size:,}", "limit": f"{MAX_PARAMETER_BYTES:,}"}


@pipeline_rule(
    "K313",
    Severity.WARNING,
    "the pipeline takes at least {size} bytes; etcd, which keeps the workflow, takes at most"
    " 1,572,864",
    hint="Move tasks into separate pipelines, or move code into packages or images.",
)
def large_workflow(pipeline: PipelineContext, target: Target) -> Match:
    """The workflow has each task, and each different executor once (argocompiler/argo.go). etcd's
    --max-request-bytes is 1.5 MiB by default. Not recorded for workflows."""
    # Equal executors share one text in the workflow.
    programs = {arguments(context) for context in pipeline.components}
    size = sum(len(argument) for program in programs for argument in program)
    document = pipeline.document
    for component in (wire.read_root(document), *wire.read_components(document).values()):
        tasks = wire.read_tasks(component)
        if tasks:
            size += len(json.dumps(tasks))
    return {"size": f"{size:,}"} if size > _MAX_WORKFLOW_BYTES else False


@task_rule(
    "K314",
    Severity.WARNING,
    "{task} puts '{source}', which is {type}, inside the {container} '{input}': on Kubeflow, it"
    " becomes text",
    hint="Pass the value as an argument of its own, or convert the text in the component.",
)
def number_becomes_text(context: TaskContext, target: Target) -> Match:
    """[n.output, 4] with n = 3 arrives as ["3", 4]. Recorded: cluster-2.17.0/list-arguments. K304
    is about lists and dicts."""
    for value in inner_values(context):
        if value.type in _PLAIN_TYPES:
            return value.to_dict()
    return False


@component_rule(
    "K315",
    Severity.WARNING,
    "{component} passes the whole artifact '{artifact}' to its command: on Kubeflow, the command"
    " gets the text of the placeholder",
    hint="Read the list in a Python component, or collect parameters with the URIs.",
)
def whole_artifact_in_command(context: ComponentContext, target: Target) -> Match:
    """The launcher fills in the uri and the path of an artifact only (getPlaceholders in
    component/launcher_v2.go). Not recorded."""
    artifact = whole_artifact(context)
    return {"artifact": artifact} if artifact else False


# -- failures, retries and exit handlers


@task_rule(
    "K321",
    Severity.WARNING,
    "{task} ignores failures of the tasks before it: on Kubeflow, the run may end as SUCCEEDED"
    " although one of these tasks failed",
    hint="Look at the states of the tasks: kfgcp show RUN",
    methods=("ignore_upstream_failure",),
)
def ignored_failures(context: TaskContext, target: Target) -> Match:
    """Recorded: cluster-2.17.0/fail-dep-ignore."""
    return context.task.runs_always and not _is_exit_task(context)


def _is_exit_task(context: TaskContext) -> bool:
    """Return whether a task runs at the exit of an exit handler."""
    upstream = context.task.upstream
    if not context.task.runs_always or not upstream:
        return False
    return all(name.startswith(_EXIT_HANDLER) for name in upstream)


@task_rule(
    "K322",
    Severity.WARNING,
    "{task} has set_retry: by default, Kubeflow Pipelines 2.17.0 retries a task only when its pod"
    " is lost, not when its program fails",
    hint="Set retryPolicy to Always in the workflow defaults of Argo, or retry inside the program.",
    since=(2, 17),
    methods=("set_retry",),
)
def ineffective_retries(context: TaskContext, target: Target) -> Match:
    """retryPolicy: OnError of the workflow defaults wins. Recorded:
    cluster-2.17.0/retry-good-with-default-configmap; without them: cluster-2.17.0/retry-good."""
    return context.task.retry is not None


@task_rule(
    "K323",
    Severity.WARNING,
    "{task} is an exit handler that gets {parameter}: if this parameter is null, Kubeflow runs"
    " neither the tasks nor the exit task",
    hint="Give the parameter a default.",
)
def exit_handler_may_not_start(context: TaskContext, target: Target) -> Match:
    """The driver of the group refuses null, and Argo runs an exit hook only after the group
    started. Recorded: cluster-2.17.0/exit-driver."""
    if not context.task.key.startswith(_EXIT_HANDLER):
        return False
    for name, binding in context.task.params.items():
        if not isinstance(binding.source, FromInput):
            continue
        param = context.parent.params.get(binding.source.name)
        if param is not None and param.optional and not param.has_default:
            return {"parameter": name.removeprefix("pipelinechannel--")}
    return False


@task_rule(
    "K324",
    Severity.NOTE,
    "{task} is an exit task: on Kubeflow, a cancelled run ends as FAILED, but kfgcp shows it as"
    " CANCELLED",
    hint="Write the exit task for both cases: it cannot know whether the run failed or was"
    " cancelled.",
)
def cancelled_is_failed(context: TaskContext, target: Target) -> Match:
    """The server never reports CANCELED. Recorded: cluster-2.17.0/sleepy-cancelled."""
    return _is_exit_task(context)


@pipeline_rule(
    "K325",
    Severity.WARNING,
    "Kubeflow Pipelines ignores --fail-fast: after a failure, other branches continue",
    hint="Cancel the run after the first failure: kfgcp cancel RUN",
)
def failure_policy(pipeline: PipelineContext, target: Target) -> Match:
    """RuntimeConfig of the API v2beta1 has no failure policy (v2beta1/runtime_config.proto)."""
    return target.options.fail_fast


# -- the cache


@pipeline_rule(
    "K331",
    Severity.WARNING,
    "{task} has the same code and inputs as {other}: on Kubeflow, it may take the outputs of"
    " {other} from the cache",
    hint="Turn off its caching with set_caching_options(False), or give the task a different"
    " input.",
    methods=("set_caching_options",),
)
def equal_tasks(pipeline: PipelineContext, target: Target) -> Iterator[Match]:
    """The key of the cache has inputs, outputs, image, command and claims of volumes, but not the
    name of the task (GenerateCacheKey in cacheutils/cache.go)."""
    first_tasks: dict[Hashable, str] = {}
    for contexts in _tasks_of_same_code(pipeline, target):
        first_tasks.clear()
        for context in contexts:
            first = first_tasks.setdefault(_input_key(context.task), context.task.key)
            if first != context.task.key:
                yield at_task(context, {"other": first})


def _tasks_of_same_code(pipeline: PipelineContext, target: Target) -> Iterator[list[TaskContext]]:
    """Yield the cached tasks of each group that run the same code, sorted by their paths."""
    codes: dict[Hashable, int] = {}
    code_of_component: dict[str, int] = {}
    contexts_by_code: dict[tuple[str, int], list[TaskContext]] = {}
    for context in pipeline.tasks:
        if not is_cached(context, target):
            continue
        name = context.component.name
        if name not in code_of_component:
            code = _code_key(context.component)
            code_of_component[name] = codes.setdefault(code, len(codes))
        group = context.path.rpartition("/")[0]
        contexts_by_code.setdefault((group, code_of_component[name]), []).append(context)
    for contexts in contexts_by_code.values():
        # In most pipelines each task runs other code, and the keys of its inputs are not needed.
        if len(contexts) > 1:
            yield sorted(contexts, key=lambda context: context.path)


def _code_key(component: Component) -> Hashable:
    """Return what of a component is in the key of the cache."""
    container = component.executor
    if not isinstance(container, Container):
        return component.name
    claims = tuple(sorted(mount.source for mount in container.cluster.mounts))
    outputs = (tuple(sorted(component.output_params)), tuple(sorted(component.output_artifacts)))
    return (container.image, container.command, container.args, claims, outputs)


def _input_key(task: TaskDef) -> Hashable:
    """Return what of a task is in the key of the cache."""
    inputs = []
    for bindings in (task.params, task.artifacts):
        names = sorted(bindings)
        inputs.append(tuple((name, _source_key(bindings[name])) for name in names))
    return (*inputs, task.cache_key)


def _source_key(binding: Binding) -> Hashable:
    """Return where an input comes from, as a value that can be a key. Constants may be lists."""
    if isinstance(binding.source, Constant):
        return (repr(binding.source.value), binding.selector)
    return binding


@task_rule(
    "K332",
    Severity.NOTE,
    "{task} has environment variables and uses the cache: on Kubeflow, when only a variable"
    " changes, the task gets old outputs from the cache",
    hint="Pass the value as an argument, or turn off caching: set_caching_options(False)",
    methods=("set_env_variable", "set_caching_options"),
)
def variables_outside_cache_key(context: TaskContext, target: Target) -> Match:
    """The key of the cache has no variables (GenerateCacheKey in cacheutils/cache.go)."""
    return has_cached_variables(context, target)


# -- the cluster


@component_rule(
    "K342",
    Severity.WARNING,
    "{component} is from google-cloud-pipeline-components: also on Kubeflow, it calls Vertex AI,"
    " and needs permissions for Vertex AI",
    hint="Run the pipeline on Vertex AI: --env NAME",
)
def google_component(context: ComponentContext, target: Target) -> Match:
    """Its launcher starts a job of Vertex AI and writes its name into an output that only Vertex AI
    reads. Not recorded."""
    return is_google_component(context)
