"""Read the parts of a pipeline that several rules of Kubeflow Pipelines look at."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from kfgcp.rules.contexts import ComponentContext, PipelineContext, TaskContext
from kfgcp.spec import wire
from kfgcp.spec.graph import Binding, Component, FinalStatus, FromTask, Graph, TaskDef
from kfgcp.spec.json_values import JsonObject

# The beginning of the text of a ConcatPlaceholder and of an IfPresentPlaceholder in an argument.
CONCAT: Final = '{"Concat":'
IF_PRESENT: Final = '{"IfPresent":'

_METRIC_TYPES: Final = ("system.Metrics",)


def bindings(context: TaskContext) -> Iterator[Binding]:
    """Yield where the inputs of a task come from."""
    yield from context.task.params.values()
    yield from context.task.artifacts.values()


def source_tasks(context: TaskContext) -> Iterator[TaskDef]:
    """Yield the tasks from which a task gets inputs."""
    for binding in bindings(context):
        if isinstance(binding.source, FromTask):
            yield context.tasks[binding.source.task]


def takes_final_status(context: TaskContext) -> bool:
    """Return whether an input of a task is the final status of another task."""
    return any(isinstance(binding.source, FinalStatus) for binding in bindings(context))


def has_placeholder(values: object) -> bool:
    """Return whether a value of the spec contains a placeholder."""
    return "{{$" in str(values)


def arguments(context: ComponentContext) -> tuple[str, ...]:
    """Return the command and the arguments of a container, empty for another executor."""
    container = context.container
    return () if container is None else container.words


def begins_argument(context: ComponentContext, text: str) -> bool:
    """Return whether an argument of a container begins with a text."""
    return any(argument.lstrip().startswith(text) for argument in arguments(context))


def has_metrics(component: Component) -> bool:
    """Return whether a component has an output artifact with metrics."""
    return any(artifact.type in _METRIC_TYPES for artifact in component.output_artifacts.values())


# -- dsl.Collected


def collected_outputs(context: TaskContext) -> Iterator[tuple[TaskDef, str]]:
    """Yield each loop from which a task collects outputs, with the name of the output."""
    for binding in bindings(context):
        if isinstance(binding.source, FromTask):
            source = context.tasks[binding.source.task]
            if source.iterator is not None:
                yield source, binding.source.output


def collected_producers(context: TaskContext) -> Iterator[tuple[TaskDef, bool]]:
    """Yield the tasks inside loops that produce the outputs that a task collects.

    With each task, yield whether several tasks are alternative sources of the output (dsl.OneOf).
    """
    for loop, output in collected_outputs(context):
        yield from _producers(context.graph, context.graph.component(loop), output)


def _producers(graph: Graph, component: Component, output: str) -> Iterator[tuple[TaskDef, bool]]:
    """Yield the tasks inside a group that produce an output of the group, outermost first."""
    if component.dag is None:
        return
    sources = component.dag.param_outputs.get(output)
    sources = sources or component.dag.artifact_outputs.get(output) or ()
    for source in sources:
        task = component.dag.tasks[source.task]
        yield task, len(sources) > 1
        yield from _producers(graph, graph.component(task), source.output)


# -- settings for the cluster


def cluster_settings(pipeline: PipelineContext) -> Iterator[tuple[TaskContext, JsonObject]]:
    """Yield the settings of each executor as JSON, with the first task that runs the executor.

    The settings are a `KubernetesExecutorConfig` of kfp-kubernetes
    (kubernetes_executor_config.proto).
    """
    settings_by_label: dict[str, JsonObject] = {}
    for platform in _platforms(pipeline):
        executors = wire.as_mapping(
            wire.as_mapping(platform.get("deploymentSpec")).get("executors")
        )
        for label, settings in executors.items():
            settings_by_label[label] = wire.as_mapping(settings)
    if not settings_by_label:
        return
    components = wire.read_components(pipeline.document)
    for context in pipeline.tasks:
        if context.component.executor is None:
            continue
        label = wire.executor_label(wire.as_mapping(components.get(context.component.name)))
        settings = settings_by_label.pop(label, None)
        if settings:
            yield context, settings


def pipeline_settings(pipeline: PipelineContext, names: Iterable[str]) -> list[str]:
    """Return those of the named settings that the pipeline as a whole has.

    Args:
        pipeline: the pipeline.
        names: fields of `PipelineConfig` (pipeline_spec.proto).
    """
    present: list[str] = []
    for platform in _platforms(pipeline):
        config = wire.as_mapping(platform.get("pipelineConfig"))
        present.extend(name for name in names if config.get(name))
    return present


def items_of(settings: Mapping[str, object], *fields: str) -> Iterator[JsonObject]:
    """Yield the items of fields that are lists of messages, such as `secretAsEnv`."""
    for field in fields:
        items = settings.get(field)
        if isinstance(items, list):
            for item in items:
                yield wire.as_mapping(item)


def _platforms(pipeline: PipelineContext) -> Iterator[JsonObject]:
    document = wire.as_mapping(pipeline.spec.platform_spec or {})
    for platform in wire.as_mapping(document.get("platforms")).values():
        yield wire.as_mapping(platform)
