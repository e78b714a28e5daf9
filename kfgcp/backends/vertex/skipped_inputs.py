"""Add the inputs of tasks whose condition was false.

The service runs nothing of such a task and records nothing about it. Its inputs follow from the
spec and from the outputs of the tasks before it.
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
    """Return the tasks of a run, with the inputs of those whose condition was false.

    They stay without inputs when a task before them did not succeed.

    Args:
        tasks: of a run, in the order of `placed_tasks`.
        placed_tasks: their definitions.
        graph: of the pipeline.
        params: the values of its parameters.
    """
    reader = _InputReader(tasks, placed_tasks, graph, params)
    result = []
    for task, placed in zip(tasks, placed_tasks, strict=True):
        if task.state is TaskState.SKIPPED and not task.inputs:
            result.append(replace(task, inputs=reader.inputs(placed)))
        else:
            result.append(task)
    return result


class _InputReader:
    """Resolves the inputs of a task from the tasks of its run."""

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

    def inputs(self, placed: PlacedTask) -> Mapping[str, JsonValue]:
        """Return the inputs of a task, {} when they cannot be known."""
        definition, component = placed.task, placed.component
        if definition is None or component is None or not definition.condition:
            return {}
        group_path = placed.path.rpartition("/")[0]
        upstream = self._upstream_tasks(definition, group_path)
        if upstream is None:
            return {}

        def outputs(key: str) -> Values:
            task = upstream[key]
            component_of_task = self._components.get(task.path)
            artifacts = component_of_task.output_artifacts if component_of_task else ()
            return _split_values(task.outputs, artifacts)

        scope = self._scope(group_path)
        try:
            values = resolve(
                definition, component, scope, outputs, lambda _: {}, expressions.apply_selector, {}
            )
        except ValueProblem:
            return {}
        return as_record(add_defaults(values, component))

    def _upstream_tasks(self, definition: TaskDef, group_path: str) -> dict[str, Task] | None:
        """Return the tasks before a task by their keys, None unless all of them succeeded."""
        upstream = {}
        for key in definition.upstream:
            task = self._tasks.get(f"{group_path}/{key}".lstrip("/"))
            if task is None or not task.state.ok:
                return None
            upstream[key] = task
        return upstream

    def _scope(self, group_path: str) -> Values:
        """Return the inputs of the group that a task is in: a DAG, an iteration or the pipeline."""
        if not group_path:
            return _split_values(self._params, self._graph.root.artifacts)
        loop_path = _loop_of_iteration(group_path)
        inputs: dict[str, JsonValue] = {}
        # An iteration has the inputs of its loop, and its own item, which wins.
        for path in (loop_path, group_path):
            if path in self._tasks:
                inputs.update(self._tasks[path].inputs)
        component: Component | None = self._components.get(loop_path or group_path)
        return _split_values(inputs, component.artifacts if component else ())


def _loop_of_iteration(path: str) -> str:
    """Return the path of the loop of an iteration, "" for any other path."""
    return path.rpartition("[")[0] if path.endswith("]") else ""


def _split_values(values: Mapping[str, JsonValue], artifact_names: Collection[str]) -> Values:
    """Return recorded values as parameters and artifacts.

    Args:
        values: by name. An artifact is its URI, or a list of URIs.
        artifact_names: the names of those that are artifacts.
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
