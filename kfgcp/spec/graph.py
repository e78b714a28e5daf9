"""A PipelineSpec as a graph of typed nodes: what the engine runs and the checks look at.

`kfgcp.spec.wire` reads the JSON. `build` expects a spec that `kfgcp.spec.validate` accepted; it
reads every field that has a meaning at run time and keeps no reference to the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kfgcp.model import TaskKind
from kfgcp.spec import wire
from kfgcp.spec.platform import NO_CLUSTER_CONFIG, executor_configs

# The records of tasks and components are parts of the graph, so its users find them here.
from kfgcp.spec.wire import ArtifactDef as ArtifactDef
from kfgcp.spec.wire import Binding as Binding
from kfgcp.spec.wire import Constant as Constant
from kfgcp.spec.wire import Container as Container
from kfgcp.spec.wire import Executor as Executor
from kfgcp.spec.wire import FinalStatus as FinalStatus
from kfgcp.spec.wire import FromInput as FromInput
from kfgcp.spec.wire import FromTask as FromTask
from kfgcp.spec.wire import Importer as Importer
from kfgcp.spec.wire import Iterator as Iterator
from kfgcp.spec.wire import OtherExecutor as OtherExecutor
from kfgcp.spec.wire import ParamSpec as ParamSpec
from kfgcp.spec.wire import Retry as Retry
from kfgcp.spec.wire import TaskDef as TaskDef


@dataclass(frozen=True, slots=True)
class Dag:
    """Tasks by key, in an order in which each comes after its upstream; outputs: the first producer
    that has it."""

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
    name: str
    root: Component
    components: Mapping[str, Component]

    def component(self, task: TaskDef) -> Component:
        return self.components[task.component]

    @property
    def images(self) -> list[str]:
        """The images of its containers, each once."""
        executors = [component.executor for component in self.components.values()]
        return sorted({executor.image for executor in executors if isinstance(executor, Container)})


def kind_of(task: TaskDef, component: Component) -> TaskKind:
    """Return what a task of a run is, by its definition and what it runs."""
    if task.iterator is not None:
        return TaskKind.LOOP
    if component.dag is not None:
        return TaskKind.DAG
    return TaskKind.IMPORTER if isinstance(component.executor, Importer) else TaskKind.CONTAINER


def build(spec: Mapping[str, Any], platform_spec: Mapping[str, Any] | None = None) -> Graph:
    """Return the graph of a valid PipelineSpec, with what its platform spec says about its
    containers."""
    cluster = executor_configs(platform_spec)
    executors = {
        label: wire.read_executor(body, cluster.get(label, NO_CLUSTER_CONFIG))
        for label, body in wire.read_executors(spec).items()
    }
    return Graph(
        name=wire.pipeline_name(spec),
        root=_component("root", wire.read_root(spec), executors),
        components={
            name: _component(name, body, executors)
            for name, body in wire.read_components(spec).items()
        },
    )


def _component(name: str, body: Mapping[str, Any], executors: Mapping[str, Executor]) -> Component:
    inputs, outputs = wire.read_inputs(body), wire.read_outputs(body)
    label = wire.executor_label(body)
    return Component(
        name=name,
        params=inputs.params,
        artifacts=inputs.artifacts,
        output_params=outputs.params,
        output_artifacts=outputs.artifacts,
        dag=_dag(body) if wire.is_dag(body) else None,
        executor=executors[label] if label else None,
    )


def _dag(component: Mapping[str, Any]) -> Dag:
    tasks = {key: wire.read_task(key, task) for key, task in wire.read_tasks(component).items()}
    return Dag(
        tasks=_in_order(tasks),
        param_outputs=wire.read_dag_outputs(component, "parameters"),
        artifact_outputs=wire.read_dag_outputs(component, "artifacts"),
    )


def _in_order(tasks: Mapping[str, TaskDef]) -> dict[str, TaskDef]:
    """Return the tasks so that each comes after its upstream, ties by name: the same order in every
    run."""
    from graphlib import TopologicalSorter

    sorter = TopologicalSorter({key: task.upstream for key, task in sorted(tasks.items())})
    return {key: tasks[key] for key in sorter.static_order()}
