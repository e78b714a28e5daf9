"""Build the graph of a PipelineSpec, which the engine runs and other modules inspect.

`kfgcp.spec.wire` reads the JSON. `build` expects a spec that `kfgcp.spec.validate` accepted. It
reads every field that has a meaning at run time, and ignores all others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kfgcp.model import TaskKind
from kfgcp.spec import wire
from kfgcp.spec.json_values import JsonObject
from kfgcp.spec.platform import NO_CLUSTER_CONFIG, executor_configs

# The records of tasks and components are parts of the graph, so its users find them here.
from kfgcp.spec.records import ArtifactDef as ArtifactDef
from kfgcp.spec.records import Binding as Binding
from kfgcp.spec.records import Constant as Constant
from kfgcp.spec.records import Container as Container
from kfgcp.spec.records import Executor as Executor
from kfgcp.spec.records import FinalStatus as FinalStatus
from kfgcp.spec.records import FromInput as FromInput
from kfgcp.spec.records import FromTask as FromTask
from kfgcp.spec.records import Importer as Importer
from kfgcp.spec.records import Iterator as Iterator
from kfgcp.spec.records import OtherExecutor as OtherExecutor
from kfgcp.spec.records import ParamSpec as ParamSpec
from kfgcp.spec.records import Retry as Retry
from kfgcp.spec.records import TaskDef as TaskDef


@dataclass(frozen=True, slots=True)
class Dag:
    """The tasks of a DAG, and where its outputs come from.

    Attributes:
        tasks: by key. Each task comes after the tasks that it waits for.
        param_outputs: name of an output parameter -> the outputs of tasks that it may come from.
            The output of the first task that ran counts.
        artifact_outputs: the same for output artifacts.
    """

    tasks: Mapping[str, TaskDef]
    param_outputs: Mapping[str, tuple[FromTask, ...]]
    artifact_outputs: Mapping[str, tuple[FromTask, ...]]


@dataclass(frozen=True, slots=True)
class Component:
    """A component: its interface, and either a DAG or an executor."""

    name: str
    params: Mapping[str, ParamSpec]
    artifacts: Mapping[str, ArtifactDef]
    output_params: Mapping[str, ParamSpec]
    output_artifacts: Mapping[str, ArtifactDef]
    dag: Dag | None = None
    executor: Executor | None = None


@dataclass(frozen=True, slots=True)
class Graph:
    """A pipeline: its root, and the components that its tasks run."""

    name: str
    root: Component
    components: Mapping[str, Component]

    def component(self, task: TaskDef) -> Component:
        """Return the component that a task runs."""
        return self.components[task.component]

    @property
    def images(self) -> list[str]:
        """The images of its containers, each once, in alphabetical order."""
        images = set()
        for component in self.components.values():
            if isinstance(component.executor, Container):
                images.add(component.executor.image)
        return sorted(images)


def build(spec: JsonObject, platform_spec: JsonObject | None = None) -> Graph:
    """Return the graph of a valid PipelineSpec.

    Args:
        spec: the PipelineSpec.
        platform_spec: the second document of the file, with the settings for a cluster; None
            without one.

    Example:
        >>> graph = build({
        ...     "pipelineInfo": {"name": "hello"},
        ...     "root": {"dag": {"tasks": {"say": {"componentRef": {"name": "comp-say"}}}}},
        ...     "components": {"comp-say": {"executorLabel": "exec-say"}},
        ...     "deploymentSpec": {
        ...         "executors": {"exec-say": {"container": {"image": "python:3.12"}}}
        ...     },
        ... })
        >>> graph.name, list(graph.root.dag.tasks), graph.images
        ('hello', ['say'], ['python:3.12'])
    """
    cluster_configs = executor_configs(platform_spec)
    executors = {}
    for label, body in wire.read_executors(spec).items():
        cluster = cluster_configs.get(label, NO_CLUSTER_CONFIG)
        executors[label] = wire.read_executor(body, cluster)
    components = {}
    for name, body in wire.read_components(spec).items():
        components[name] = _build_component(name, body, executors)
    root = _build_component("root", wire.read_root(spec), executors)
    return Graph(wire.pipeline_name(spec), root, components)


def task_kind(task: TaskDef, component: Component) -> TaskKind:
    """Return the kind of a task in a run, by its definition and the component that it runs."""
    if task.iterator is not None:
        return TaskKind.LOOP
    if component.dag is not None:
        return TaskKind.DAG
    if isinstance(component.executor, Importer):
        return TaskKind.IMPORTER
    return TaskKind.CONTAINER


def _build_component(name: str, body: JsonObject, executors: Mapping[str, Executor]) -> Component:
    inputs = wire.read_inputs(body)
    outputs = wire.read_outputs(body)
    label = wire.executor_label(body)
    return Component(
        name=name,
        params=inputs.params,
        artifacts=inputs.artifacts,
        output_params=outputs.params,
        output_artifacts=outputs.artifacts,
        dag=_build_dag(body) if wire.is_dag(body) else None,
        executor=executors[label] if label else None,
    )


def _build_dag(component: JsonObject) -> Dag:
    tasks = {key: wire.read_task(key, task) for key, task in wire.read_tasks(component).items()}
    return Dag(
        tasks=_sort_by_upstream(tasks),
        param_outputs=wire.read_dag_outputs(component, "parameters"),
        artifact_outputs=wire.read_dag_outputs(component, "artifacts"),
    )


def _sort_by_upstream(tasks: Mapping[str, TaskDef]) -> dict[str, TaskDef]:
    """Return the tasks in an order in which each task comes after its upstream.

    The order must be the same in every run. So tasks that may come in any order are sorted by name.
    """
    from graphlib import TopologicalSorter

    sorter = TopologicalSorter({key: task.upstream for key, task in sorted(tasks.items())})
    return {key: tasks[key] for key in sorter.static_order()}
