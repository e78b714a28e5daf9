"""What a run has done, task by task, as ML Metadata keeps it: see `metadata_store` for what is
confirmed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from kfgcp.backends.kubeflow import mlmd
from kfgcp.model import Run, Task, TaskKind, TaskState
from kfgcp.spec.graph import Component, Container, TaskDef
from kfgcp.testing import paths
from kfgcp.testing.google import micros
from kfgcp.testing.kubeflow_server import nodes
from kfgcp.testing.kubeflow_server.records import Record

_KINDS: Final = {TaskKind.CONTAINER: mlmd.CONTAINER, TaskKind.IMPORTER: mlmd.IMPORTER}
_STATES: Final = {
    TaskState.SUCCEEDED: "COMPLETE",
    TaskState.CACHED: "CACHED",
    TaskState.SKIPPED: "CANCELED",
    TaskState.FAILED: "FAILED",
}


@dataclass(frozen=True, slots=True)
class Unit:
    """A task whose driver has run; the root DAG has an empty path.

    key, label: in its DAG, and what is shown. kind: the type of the execution. started, ended:
    milliseconds since 1970, ended is 0 while it goes on. task: None for the root. iteration: its
    number, of an iteration; iterations: how many, of a loop. total: how many tasks a DAG has. pod:
    of its last attempt, empty before the first.
    """

    path: str
    key: str
    label: str
    kind: str
    task: Task | None
    component: Component
    run: Run
    started: int
    ended: int
    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any] | None
    input_artifacts: tuple[tuple[str, str], ...] = ()
    output_artifacts: tuple[tuple[str, str], ...] = ()
    iteration: int | None = None
    iterations: int | None = None
    pod: str = ""
    fingerprint: str = ""

    @property
    def parent(self) -> str:
        return paths.parent(self.path)

    @property
    def cached(self) -> bool:
        return self.task is not None and self.task.state is TaskState.CACHED

    @property
    def succeeded(self) -> bool:
        return self.task is not None and self.task.state is TaskState.SUCCEEDED

    @property
    def total(self) -> int:
        return len(self.component.dag.tasks) if self.component.dag is not None else 0

    @property
    def image(self) -> str:
        return (
            self.component.executor.image if isinstance(self.component.executor, Container) else ""
        )

    @property
    def producers(self) -> dict[str, str]:
        """Which tasks of a DAG have its output parameters, as JSON."""
        if self.component.dag is None:
            return {}
        found = {}
        for name, producers in self.component.dag.param_outputs.items():
            selectors = [
                {"producerSubtask": each.task, "outputParameterKey": each.output}
                for each in producers
            ]
            one = {"valueFromParameter": selectors[0]} if len(selectors) == 1 else None
            found[name] = json.dumps(one or {"valueFromOneof": {"parameterSelectors": selectors}})
        return found

    def state(self, modern: bool) -> str:
        """`last_known_state`. modern: DAGs other than the root end."""
        if self.task is None or (
            self.kind == mlmd.DAG and not modern and self.task.state is not TaskState.SKIPPED
        ):
            return "RUNNING"
        return _STATES.get(self.task.state, "RUNNING")

    def artifact(self, name: str, uri: str) -> tuple[str, Mapping[str, Any]]:
        """The type and the metadata of an output artifact."""
        for found in self.run.artifacts:
            if found.uri == uri:
                return found.type, found.metadata
        definition = self.component.output_artifacts.get(name)
        return (definition.type if definition else "system.Artifact"), {}


def units(record: Record, *, with_failed_drivers: bool = False) -> list[Unit]:
    """Return what has been reached, the root first, then in the order of the run; kept once the run
    has ended.

    Args:
        record: the run.
        with_failed_drivers: also the tasks whose driver failed, of which ML Metadata knows nothing.
    """
    key = f"units {with_failed_drivers}"
    kept: list[Unit] | None = record.kept.get(key)
    if kept is not None:
        return kept
    run = record.run()
    if run.started_at is None:
        return []
    pods = {(node.path, node.attempt): name for name, node in nodes.pods(record)}
    tasks = {task.path: task for task in run.tasks}
    counts: dict[str, int] = {}
    for path in tasks:
        if found := paths.iteration(path):
            counts[found[0]] = counts.get(found[0], 0) + 1
    inputs = {name: value for name, value in run.params.items() if value is not None}
    made = [_root(record, run, inputs)]
    for task in run.tasks:
        definition, component = paths.find(record.graph, task.path)
        is_known = with_failed_drivers or not nodes.is_driver_failure(task)
        if is_known and _is_reached(record, task, definition, tasks):
            made.append(_unit(task, definition, component, run, counts, pods))
    for unit in made:
        record.execution_number(unit.path)
    if run.state.final:
        record.kept[key] = made
    return made


def _root(record: Record, run: Run, inputs: Mapping[str, Any]) -> Unit:
    return Unit(
        path="",
        key="",
        label="",
        kind=mlmd.DAG,
        task=None,
        component=record.graph.root,
        run=run,
        started=_millis(run.started_at),
        ended=_millis(run.ended_at),
        inputs=inputs,
        outputs=None,
    )


def _is_reached(record: Record, task: Task, definition: TaskDef, tasks: Mapping[str, Task]) -> bool:
    if paths.iteration(task.path):
        return True
    around = paths.parent(task.path)
    dag = (paths.find(record.graph, around)[1] if around else record.graph.root).dag
    assert dag is not None
    return nodes.is_reached(task, definition, dag, around, tasks)


def _unit(
    task: Task,
    definition: TaskDef,
    component: Component,
    run: Run,
    counts: Mapping[str, int],
    pods: Mapping[tuple[str, int], str],
) -> Unit:
    given = {name: value for name, value in task.inputs.items() if name not in component.artifacts}
    made = {
        name: value
        for name, value in task.outputs.items()
        if name not in component.output_artifacts
    }
    kind = _KINDS.get(task.kind, mlmd.DAG)
    iteration = paths.iteration(task.path)
    executor = isinstance(component.executor, Container)
    is_loop = task.kind is TaskKind.LOOP
    return Unit(
        path=task.path,
        key=definition.key,
        label=definition.label,
        kind=kind,
        task=task,
        component=component,
        run=run,
        started=_millis(task.started_at or task.ended_at or run.started_at),
        ended=_millis(task.ended_at),
        inputs={name: value for name, value in given.items() if value is not None},
        outputs=made if kind == mlmd.CONTAINER and task.state.ok else None,
        input_artifacts=_artifacts(task.inputs, component.artifacts),
        output_artifacts=_artifacts(task.outputs, component.output_artifacts)
        if kind != mlmd.DAG
        else (),
        iteration=iteration[1] if iteration else None,
        iterations=counts.get(task.path, 0)
        if is_loop and task.state is not TaskState.SKIPPED
        else None,
        pod=pods.get((task.path, task.attempts), "") if executor and task.attempts else "",
        fingerprint=_fingerprint(definition, component, given)
        if definition.cache and executor
        else "",
    )


def _artifacts(values: Mapping[str, Any], names: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple(
        (name, uri)
        for name, value in values.items()
        if name in names
        for uri in (value if isinstance(value, list) else [value])
        if uri
    )


def _fingerprint(definition: TaskDef, component: Component, inputs: Mapping[str, Any]) -> str:
    if definition.cache_key:
        return definition.cache_key
    assert isinstance(component.executor, Container)
    parts = [component.executor.image, component.executor.command, component.executor.args, inputs]
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def _millis(text: str | None) -> int:
    return micros(text) // 1000
