"""The inputs of tasks whose condition was false.

The service runs nothing of such a task and records nothing about it. Its inputs follow from the
spec and from the outputs of the tasks before it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from kfgcp.backends.vertex.tree import Placed
from kfgcp.model import Task, TaskState
from kfgcp.semantics import expressions
from kfgcp.semantics.inputs import add_defaults, resolve
from kfgcp.semantics.values import ArtifactValue, ValueProblem, Values, as_record
from kfgcp.spec.graph import Graph


def with_condition_inputs(
    tasks: Sequence[Task], placed: Sequence[Placed], graph: Graph, params: Mapping[str, Any]
) -> list[Task]:
    """Return the tasks. Those whose condition was false have their inputs, if all tasks before them
    succeeded.

    Args:
        tasks: of a run, in the order of `placed`.
        placed: where they stand.
        graph: of the pipeline.
        params: its parameters.
    """
    found = {task.path: task for task in tasks}
    components = {each.path: each.component for each in placed}

    def inputs_of(each: Placed) -> Mapping[str, Any]:
        if each.task is None or each.component is None or not each.task.condition:
            return {}
        around = each.path.rpartition("/")[0]
        before = {key: found.get(f"{around}/{key}".lstrip("/")) for key in each.task.upstream}
        if not all(task is not None and task.state.ok for task in before.values()):
            return {}
        inside = components.get(_loop(around) or around) if around else graph.root

        def outputs(key: str) -> Values:
            task = before[key]
            component = components.get(task.path) if task is not None else None
            return _values(
                task.outputs if task else {}, component.output_artifacts if component else ()
            )

        scope = _scope(around, found) if around else params
        given = _values(scope, inside.artifacts if inside else ())
        try:
            values = resolve(
                each.task,
                each.component,
                given,
                outputs,
                lambda _: {},
                expressions.apply_selector,
                {},
            )
        except ValueProblem:
            return {}
        return as_record(add_defaults(values, each.component))

    return [
        replace(task, inputs=inputs_of(each))
        if task.state is TaskState.SKIPPED and not task.inputs
        else task
        for task, each in zip(tasks, placed, strict=True)
    ]


def _loop(path: str) -> str:
    """The path of the loop that an iteration is one of, "" of what is none."""
    return path.rpartition("[")[0] if path.endswith("]") else ""


def _scope(around: str, tasks: Mapping[str, Task]) -> dict[str, Any]:
    """The inputs of a DAG; an iteration has those of its loop, too."""
    return {
        name: value
        for path in (_loop(around), around)
        if path in tasks
        for name, value in tasks[path].inputs.items()
    }


def _values(found: Mapping[str, Any], artifacts: Collection[str]) -> Values:
    params = {name: value for name, value in found.items() if name not in artifacts}
    uris = {
        name: value if isinstance(value, list) else [value]
        for name, value in found.items()
        if name in artifacts
    }
    return Values(
        params,
        {name: tuple(ArtifactValue(name, "", uri) for uri in each) for name, each in uris.items()},
    )
