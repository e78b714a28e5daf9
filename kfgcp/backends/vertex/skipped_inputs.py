"""Add the inputs of skipped tasks: tasks that did not run because their condition was false.

The service records no inputs for a skipped task. kfgcp resolves them from the spec, from the
parameters of the pipeline, and from the outputs of the tasks before the skipped task.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from kfgcp.backends.vertex.tree import PlacedTask
from kfgcp.model import JsonValue, Task, TaskState
from kfgcp.semantics import expressions
from kfgcp.semantics.inputs import add_defaults, resolve
from kfgcp.semantics.values import ArtifactValue, ValueProblem, Values, as_record
from kfgcp.spec.graph import Component, Graph, TaskDef


def add_skipped_inputs(
    tasks: Sequence[Task],
    placed_tasks: Sequence[PlacedTask],
    graph: Graph,
    params: Mapping[str, JsonValue],
) -> list[Task]:
    """Return the tasks of a run, with inputs for the skipped tasks.

    A skipped task stays without inputs when a task before it did not succeed.

    Args:
        tasks: all tasks of the run, in the order of `placed_tasks`.
        placed_tasks: the definitions of the tasks.
        graph: the graph of the pipeline.
        params: the values of the pipeline's parameters.
    """
    resolver = _InputResolver(tasks, placed_tasks, graph, params)
    completed_tasks = []
    for task, placed in zip(tasks, placed_tasks, strict=True):
        if task.state is TaskState.SKIPPED and not task.inputs:
            completed_tasks.append(replace(task, inputs=resolver.resolve_inputs(placed)))
        else:
            completed_tasks.append(task)
    return completed_tasks


class _InputResolver:
    """Resolves the inputs of a task from the recorded tasks of its run."""

    def __init__(
        self,
        tasks: Sequence[Task],
        placed_tasks: Sequence[PlacedTask],
        graph: Graph,
        params: Mapping[str, JsonValue],
    ) -> None:
        self._tasks = {task.path: task for task in tasks}
        self._components = {placed.path: placed.component for placed in placed_tasks}
        self._graph = graph
        self._params = params

    def resolve_inputs(self, placed: PlacedTask) -> Mapping[str, JsonValue]:
        """Return the inputs of a skipped task, {} when they cannot be resolved."""
        definition, component = placed.task, placed.component
        if definition is None or component is None or not definition.condition:
            return {}
        group_path = placed.path.rpartition("/")[0]
        upstream_tasks = self._upstream_tasks(definition, group_path)
        if upstream_tasks is None:
            return {}

        def read_outputs(key: str) -> Values:
            task = upstream_tasks[key]
            component_of_task = self._components.get(task.path)
            artifact_names = component_of_task.output_artifacts if component_of_task else ()
            return _split_values(task.outputs, artifact_names)

        group_inputs = self._group_inputs(group_path)
        try:
            values = resolve(
                definition,
                component,
                group_inputs,
                read_outputs,
                lambda _: {},
                expressions.apply_selector,
                {},
            )
        except ValueProblem:
            return {}
        return as_record(add_defaults(values, component))

    def _upstream_tasks(self, definition: TaskDef, group_path: str) -> dict[str, Task] | None:
        """Return the tasks that a task depends on, by key. None when one of them did not succeed.

        Args:
            definition: the definition of the task.
            group_path: the path of the DAG or the iteration that contains the task, "" for the
                pipeline.
        """
        upstream_tasks = {}
        for key in definition.upstream:
            task = self._tasks.get(f"{group_path}/{key}".lstrip("/"))
            if task is None or not task.state.ok:
                return None
            upstream_tasks[key] = task
        return upstream_tasks

    def _group_inputs(self, group_path: str) -> Values:
        """Return the inputs of a DAG, of an iteration, or for the path "" of the pipeline."""
        if not group_path:
            return _split_values(self._params, self._graph.root.artifacts)
        loop_path = _loop_of_iteration(group_path)
        inputs: dict[str, JsonValue] = {}
        # An iteration has the inputs of its loop, and an item. When both have the same name, the
        # item counts.
        for path in (loop_path, group_path):
            if path in self._tasks:
                inputs.update(self._tasks[path].inputs)
        component: Component | None = self._components.get(loop_path or group_path)
        return _split_values(inputs, component.artifacts if component else ())


def _loop_of_iteration(path: str) -> str:
    """Return the path of the loop that an iteration belongs to, "" for other paths."""
    return path.rpartition("[")[0] if path.endswith("]") else ""


def _split_values(values: Mapping[str, JsonValue], artifact_names: Collection[str]) -> Values:
    """Split recorded inputs or outputs into parameters and artifacts.

    Args:
        values: the values by name. The value of an artifact is a URI or a list of URIs.
        artifact_names: the names in `values` that are artifacts.
    """
    params: dict[str, JsonValue] = {}
    artifacts: dict[str, tuple[ArtifactValue, ...]] = {}
    for name, value in values.items():
        if name in artifact_names:
            uris = value if isinstance(value, list) else [value]
            artifacts[name] = tuple(ArtifactValue(name, "", str(uri)) for uri in uris)
        else:
            params[name] = value
    return Values(params, artifacts)
