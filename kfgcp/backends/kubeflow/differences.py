"""The features for which Kubeflow Pipelines differs from its documentation and from local runs.

Most differences were recorded on a whole Kubeflow Pipelines 2.17.0 (tests/recorded/cluster-2.17.0).
A difference without a recording was found in the source. kfgcp refuses none of these features. A
run with one of them may fail, or succeed with other values. So before the run, a note names the
task.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Final

from kfgcp.backends.kubeflow.task_contexts import Feature, TaskContext
from kfgcp.spec.graph import (
    Component,
    Constant,
    FinalStatus,
    FromTask,
    Graph,
    TaskDef,
)

# kfp begins the name of the group in an exit handler with this text.
_EXIT_HANDLER: Final = "exit-handler-"
_CONCAT: Final = '{"Concat":'
_PLACEHOLDER: Final = re.compile(r"\{\{\$\.inputs\.parameters\[['\"]([^'\"]+)['\"]\]")

# As text, values of these types contain no quotes and brackets.
_PLAIN_TYPES: Final = ("NUMBER_INTEGER", "NUMBER_DOUBLE", "BOOLEAN")
_METRIC_TYPES: Final = ("system.Metrics",)


def has_metrics(graph: Graph) -> bool:
    """Return whether a pipeline has an artifact with metrics."""
    for component in graph.components.values():
        for artifact in component.output_artifacts.values():
            if artifact.type in _METRIC_TYPES:
                return True
    return False


# -- dsl.Collected


def _collected_outputs(context: TaskContext) -> Iterator[tuple[TaskDef, str]]:
    """Yield each loop from which a task collects outputs, with the name of the output."""
    bindings = list(context.task.params.values()) + list(context.task.artifacts.values())
    for binding in bindings:
        if isinstance(binding.source, FromTask):
            source = context.tasks[binding.source.task]
            if source.iterator is not None:
                yield source, binding.source.output


def _collected_producers(context: TaskContext) -> Iterator[tuple[TaskDef, bool]]:
    """Yield the tasks inside loops that produce the collected outputs, see `_producers`."""
    for loop, output in _collected_outputs(context):
        yield from _producers(context.graph, context.graph.component(loop), output)


def _producers(graph: Graph, component: Component, output: str) -> Iterator[tuple[TaskDef, bool]]:
    """Yield the tasks inside a group that produce an output of the group, outermost first.

    With each task, yield whether several tasks are alternative sources of the output (dsl.OneOf).
    """
    if component.dag is None:
        return
    sources = component.dag.param_outputs.get(output)
    sources = sources or component.dag.artifact_outputs.get(output) or ()
    for source in sources:
        task = component.dag.tasks[source.task]
        yield task, len(sources) > 1
        yield from _producers(graph, graph.component(task), source.output)


def _collects_from_nested_loops(context: TaskContext) -> bool:
    return any(task.iterator is not None for task, _ in _collected_producers(context))


def _collects_from_conditions(context: TaskContext) -> bool:
    for task, is_one_of_several in _collected_producers(context):
        if task.condition and not is_one_of_several:
            return True
    return False


def _collects_from_unknown_items(context: TaskContext) -> bool:
    return any(_may_be_empty(loop) for loop, _ in _collected_outputs(context))


def _may_be_empty(loop: TaskDef) -> bool:
    """Return whether a loop may have no items.

    The items may come from a task, or the list in the pipeline may be empty.
    """
    raw = loop.iterator.raw if loop.iterator is not None else None
    if raw is None:
        return True
    try:
        return not json.loads(raw)
    except ValueError:
        return True


# -- values


def _puts_values_into_a_list(context: TaskContext) -> bool:
    """Return whether a list or dict of the pipeline contains a value that may break its JSON."""
    for binding in context.task.params.values():
        if not isinstance(binding.source, Constant):
            continue
        constant = binding.source.value
        if not isinstance(constant, (list, Mapping)):
            continue
        names = _PLACEHOLDER.findall(str(constant))
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


def _reads_final_status(context: TaskContext) -> bool:
    return any(isinstance(binding.source, FinalStatus) for binding in context.task.params.values())


def _concatenates(context: TaskContext) -> bool:
    container = context.container
    if container is None:
        return False
    arguments = [*container.command, *container.args]
    return any(argument.lstrip().startswith(_CONCAT) for argument in arguments)


# -- failures and retries


def _ignores_failures(context: TaskContext) -> bool:
    """Return whether a task runs after failures although it is not an exit task."""
    if not context.task.runs_always:
        return False
    upstream = context.task.upstream
    is_exit_task = bool(upstream) and all(name.startswith(_EXIT_HANDLER) for name in upstream)
    return not is_exit_task


def _has_retries(context: TaskContext) -> bool:
    return context.task.retry is not None


# -- the cache


def _equals_another(context: TaskContext) -> bool:
    """Return whether an earlier task of the same group has the same code and inputs.

    Tasks are compared in the order of their names, so the first of several equal tasks is not
    reported.
    """
    if not _is_cached(context):
        return False
    for key, task in context.tasks.items():
        if key < context.task.key and _is_equal(context, task):
            return True
    return False


def _is_equal(context: TaskContext, other: TaskDef) -> bool:
    """Return whether another task may use the cache, and has the same code and inputs."""
    if not other.cache:
        return False
    component, other_component = context.component, context.graph.component(other)
    has_same_code = (
        component.executor == other_component.executor
        and component.output_params == other_component.output_params
        and component.output_artifacts == other_component.output_artifacts
    )
    task = context.task
    has_same_inputs = (
        task.params == other.params
        and task.artifacts == other.artifacts
        and task.cache_key == other.cache_key
    )
    return has_same_code and has_same_inputs


def _is_cached(context: TaskContext) -> bool:
    return context.container is not None and context.task.cache


def _is_cached_with_variables(context: TaskContext) -> bool:
    return _is_cached(context) and context.container is not None and bool(context.container.env)


# -- accelerators


def _has_vertex_accelerator(context: TaskContext) -> bool:
    accelerator = None
    if context.container is not None:
        accelerator = context.container.resources.get("accelerator")
    if not isinstance(accelerator, Mapping):
        return False
    name = str(accelerator.get("resourceType") or accelerator.get("type") or "")
    # The name of an accelerator in Kubernetes contains a slash: `nvidia.com/gpu`.
    return bool(name) and "/" not in name and "{{$" not in name


# The difference that concerns the pipeline as a whole.
METRICS: Final = Feature(
    "has metrics",
    lambda context: False,
    note="metrics keep only six decimals before 3.0: values below 1e-6 become 0",
    differs=True,
    recorded="digits",
    hidden_before_runs=True,
)

# The differences that concern single tasks.
DIFFERENCES: Final = (
    Feature(
        "collects from nested loops",
        _collects_from_nested_loops,
        note="it gets one flat list, not a list of lists",
        differs=True,
        recorded="collected-nested",
    ),
    Feature(
        "collects from a loop that may be empty",
        _collects_from_unknown_items,
        note="the run fails when the loop has no items",
        differs=True,
        recorded="loop-empty",
    ),
    Feature(
        "collects from a loop with a condition inside",
        _collects_from_conditions,
        note="the run fails when an iteration is skipped",
        differs=True,
        recorded="collected-skipped",
    ),
    Feature(
        "is given a list or dict that contains values of the run",
        _puts_values_into_a_list,
        note="it fails when such a value is a list or a dict, or contains a quote",
        differs=True,
        recorded="list-arguments",
    ),
    Feature(
        "reads a final status",
        _reads_final_status,
        note=(
            "the state is COMPLETE or FAILED, the error is empty, and the name of the run is that"
            " of its Workflow"
        ),
        differs=True,
        recorded="exit-bad",
    ),
    Feature(
        "has a ConcatPlaceholder",
        _concatenates,
        note="it gets the JSON text of the placeholder, not the value",
        differs=True,
        recorded="containers",
    ),
    Feature(
        "ignores failures of tasks before it",
        _ignores_failures,
        note="the run may be SUCCEEDED although one of them failed",
        differs=True,
        recorded="fail-dep-ignore",
    ),
    Feature(
        "has a number of retries (set_retry)",
        _has_retries,
        note=(
            "by default, 2.17.0 retries a task when its pod is lost, but not when its program fails"
        ),
        first_affected=(2, 17),
        differs=True,
        recorded="retry-good-with-default-configmap",
    ),
    Feature(
        "does the same as another task",
        _equals_another,
        note="it may take the outputs of that task from the cache",
        differs=True,
        recorded="caching",
    ),
    Feature(
        "has environment variables and is cached",
        _is_cached_with_variables,
        note="when only variables changed, it gets its old outputs from the cache",
        differs=True,
        hidden_before_runs=True,
    ),
    Feature(
        "has an accelerator with a name of Vertex AI",
        _has_vertex_accelerator,
        note="accelerators are Kubernetes resources, such as nvidia.com/gpu",
        differs=True,
    ),
)
