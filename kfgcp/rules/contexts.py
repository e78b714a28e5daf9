"""The parts of a pipeline that rules look at: its tasks, its components, and the whole."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from kfgcp.model import JsonValue
from kfgcp.spec.graph import Component, Container, Graph, build
from kfgcp.spec.json_values import JsonObject
from kfgcp.spec.lightweight import Lightweight, recognise
from kfgcp.spec.load import Spec

# Rules about tasks import it from here, beside the other parts.
from kfgcp.spec.task_contexts import TaskContext as TaskContext
from kfgcp.spec.task_contexts import walk_tasks


@dataclass(frozen=True, eq=False)
class ComponentContext:
    """A component that runs a program or imports an artifact, and the tasks that run it.

    Attributes:
        component: the component.
        task: the path of the first task that runs it, in the order of `walk_tasks`.
        graph: the whole pipeline.
    """

    component: Component
    task: str
    graph: Graph

    @cached_property
    def container(self) -> Container | None:
        """The container of the component, None when it does something else."""
        executor = self.component.executor
        return executor if isinstance(executor, Container) else None

    @cached_property
    def lightweight(self) -> Lightweight | None:
        """The Python function that the container runs, None when it runs something else."""
        return recognise(self.container) if self.container is not None else None


@dataclass(frozen=True, eq=False)
class PipelineContext:
    """A whole pipeline.

    Attributes:
        spec: the pipeline as it was loaded.
        params: the values of its parameters, as far as they are known before a run: the given ones
            and the defaults.
        memo: what was already computed from the pipeline, such as the findings of general rules,
            by a key.
    """

    spec: Spec
    params: Mapping[str, JsonValue] = field(default_factory=dict)
    memo: dict[Hashable, tuple[Any, ...]] = field(default_factory=dict, repr=False)

    @property
    def document(self) -> JsonObject:
        """The PipelineSpec as JSON, for what the graph does not have."""
        return self.spec.pipeline_spec

    @cached_property
    def graph(self) -> Graph:
        """The pipeline as a graph."""
        return build(self.spec.pipeline_spec, self.spec.platform_spec)

    @cached_property
    def tasks(self) -> tuple[TaskContext, ...]:
        """All tasks, also those of nested pipelines, branches and loops."""
        return tuple(walk_tasks(self.graph))

    @cached_property
    def components(self) -> tuple[ComponentContext, ...]:
        """All components with an executor that a task runs, each once."""
        contexts: dict[str, ComponentContext] = {}
        for context in self.tasks:
            component = context.component
            if component.executor is not None and component.name not in contexts:
                contexts[component.name] = ComponentContext(component, context.path, self.graph)
        return tuple(contexts.values())
