"""Where the tasks of a run stand in it.

ML Metadata tells: executions name the execution they stand in, and iterations their number. What
the spec has and no execution was made for did not run, or not yet. Where ML Metadata cannot be
asked there are the nodes of the workflow, which hold drivers and wrappers that are no tasks; those
are left out by the spec's names.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Any, Final

from kfgcp.backends.kubeflow import pod_names
from kfgcp.backends.kubeflow.metadata import Execution
from kfgcp.backends.kubeflow.pod_names import FailedDriver, WorkflowPods
from kfgcp.model import TaskKind
from kfgcp.spec.graph import Component, Dag, Graph, TaskDef, kind_of

NOT_TRIGGERED: Final = "CANCELED"
"""State of an execution whose condition was false: nothing in it was made."""


ENDED: Final = ("COMPLETE", "FAILED", "CACHED", NOT_TRIGGERED)
"""States of executions that do not change any more."""
_DRIVER: Final = re.compile(r"(.+-driver)(?:\(\d+\))?")
"""The name of a driver's node, with the number of an attempt."""
_LOOP_DRIVER: Final = "iteration-driver"
_ITERATION_DRIVER: Final = "iteration-item-driver"


@dataclass(frozen=True, slots=True)
class Placed:
    """A task at its path, and what is known of it: its execution, or its node in the workflow, or
    neither.

    Attributes:
        retries: how often it is run again at most when it fails.
        failed_driver: its driver when that failed, so that the task did not start.
    """

    path: str
    kind: TaskKind
    component: Component
    execution: Execution | None = None
    node: Mapping[str, Any] | None = None
    retries: int = 0
    failed_driver: FailedDriver | None = None

    @property
    def driver_pod(self) -> str:
        """Return the pod of the driver that failed, "" when it did not fail."""
        return self.failed_driver.pod if self.failed_driver is not None else ""


def place_executions(executions: Sequence[Execution], graph: Graph) -> list[Placed]:
    """The tasks of a run in the order they started; those that did not run at the end."""
    children: dict[int, list[Execution]] = defaultdict(list)
    known = {each.id for each in executions}
    for each in executions:
        children[each.parent if each.parent in known else 0].append(each)
    dag = graph.root.dag or Dag({}, {}, {})
    tops = [
        [each] if _keys(dag, each.task) else children.get(each.id, [])
        for each in children.get(0, [])
    ]
    inside = sorted(
        (each for top in tops for each in top), key=lambda each: (each.started_at, each.id)
    )
    placed = _dag(inside, "", graph.root, graph, children)
    return sorted(placed, key=lambda each: each.execution.started_at if each.execution else inf)


def _dag(
    executions: Sequence[Execution],
    prefix: str,
    component: Component,
    graph: Graph,
    children: Mapping[int, list[Execution]],
) -> Iterator[Placed]:
    dag = component.dag or Dag({}, {}, {})
    found = _assigned(executions, dag)
    for key, each in found.items():
        task = dag.tasks[key]
        inner = graph.component(task)
        kind = kind_of(task, inner)
        yield Placed(
            f"{prefix}{key}", kind, inner, each, retries=task.retry.count if task.retry else 0
        )
        if each.state == NOT_TRIGGERED:
            continue
        if kind is TaskKind.LOOP:
            yield from _iterations(
                children.get(each.id, []), f"{prefix}{key}", inner, graph, children
            )
        elif kind is TaskKind.DAG:
            yield from _dag(children.get(each.id, []), f"{prefix}{key}/", inner, graph, children)
    for key, task in dag.tasks.items():
        if key not in found:
            inner = graph.component(task)
            yield Placed(f"{prefix}{key}", kind_of(task, inner), inner)


def _iterations(
    executions: Sequence[Execution],
    path: str,
    component: Component,
    graph: Graph,
    children: Mapping[int, list[Execution]],
) -> Iterator[Placed]:
    ordered = sorted(executions, key=lambda one: (one.iteration or 0, one.id))
    numbered = {
        each.iteration if each.iteration is not None else position: each
        for position, each in enumerate(ordered)
    }
    for number, each in numbered.items():
        yield Placed(f"{path}[{number}]", TaskKind.DAG, component, each)
        yield from _dag(children.get(each.id, []), f"{path}[{number}]/", component, graph, children)


def _assigned(executions: Sequence[Execution], dag: Dag) -> dict[str, Execution]:
    """The execution of each task that has one: the last, as a retry of the run makes others."""
    found: dict[str, Execution] = {}
    for each in executions:
        if keys := _keys(dag, each.task):
            found[next((key for key in keys if key not in found), keys[-1])] = each
    return found


def _keys(dag: Dag, name: str) -> list[str]:
    """The tasks that an execution may be of: the one of that key; of a label, which servers before
    2.14 give."""
    return (
        [name]
        if name in dag.tasks
        else [key for key, task in dag.tasks.items() if task.label == name]
    )


def place_nodes(details: Sequence[Mapping[str, Any]], graph: Graph) -> list[Placed]:
    """The tasks of a run by the nodes of its workflow, in the order they started.

    A node has a name and does not say what it stands in, so only those tasks are told whose name
    the pipeline has once, outside of loops; drivers and wrappers have names of their own.
    """
    tasks = _single(graph)
    placed: list[Placed] = []
    for detail in sorted(details, key=_began):
        # The launcher of a task that may be reused adds a row of its own, without a name.
        path, task = tasks.get(detail.get("display_name") or "", ("", None))
        if task is not None and path not in {each.path for each in placed}:
            component = graph.component(task)
            placed.append(Placed(path, kind_of(task, component), component, node=detail))
    return placed


def with_failed_drivers(
    placed: Sequence[Placed], details: Sequence[Mapping[str, Any]], graph: Graph
) -> Sequence[Placed]:
    """Return the tasks, with the drivers that failed, and with the iterations that have nothing but
    such a driver.

    ML Metadata has no execution of a task whose driver failed.

    Args:
        placed: the tasks.
        details: the `task_details` of the run.
        graph: its pipeline.
    """
    failed = [
        str(detail.get("display_name"))
        for detail in details
        if detail.get("state") == pod_names.FAILED
    ]
    drivers = {name[1] for name in map(_DRIVER.fullmatch, failed) if name}
    if not drivers:
        return placed
    pods = WorkflowPods(details, graph)
    with_drivers = [
        _with_failed_driver(task, pods) if _driver_name(task) in drivers else task
        for task in placed
    ]
    if _ITERATION_DRIVER in drivers:
        with_drivers += _iterations_without_execution(placed, pods, len(details))
    return with_drivers


def _driver_name(task: Placed) -> str:
    """Return the name of the node of a task's driver. Many tasks may share it, and it is looked at
    before all else."""
    if task.kind is TaskKind.LOOP:
        return _LOOP_DRIVER
    return (
        _ITERATION_DRIVER if task.path.endswith("]") else f"{task.path.rpartition('/')[2]}-driver"
    )


def _with_failed_driver(task: Placed, pods: WorkflowPods) -> Placed:
    if task.execution is not None and task.execution.state in ENDED:
        return task
    driver = pods.failed_driver_node(task.path)
    return task if driver is None else replace(task, failed_driver=driver)


def _iterations_without_execution(
    placed: Sequence[Placed], pods: WorkflowPods, most: int
) -> Iterator[Placed]:
    """Yield the iterations whose drivers failed; `most`: how many nodes there are, and so
    iterations at most."""
    paths = {task.path for task in placed}
    for loop in placed:
        if loop.kind is not TaskKind.LOOP or loop.execution is None:
            continue
        for number in range(min(loop.execution.iterations or 0, most)):
            path = f"{loop.path}[{number}]"
            driver = pods.failed_driver_node(path) if path not in paths else None
            if driver is not None:
                yield Placed(path, TaskKind.DAG, loop.component, failed_driver=driver)


def _single(graph: Graph) -> dict[str, tuple[str, TaskDef]]:
    """The tasks outside of loops by their shown names, which no other task has."""
    found: dict[str, list[tuple[str, TaskDef]]] = defaultdict(list)

    def walk(component: Component, prefix: str, looped: bool) -> None:
        for key, task in component.dag.tasks.items() if component.dag is not None else ():
            inner = graph.component(task)
            for name in {key, task.label}:
                found[name].append(("" if looped else f"{prefix}{key}", task))
            walk(inner, f"{prefix}{key}/", looped or task.iterator is not None)

    walk(graph.root, "", False)
    return {name: tasks[0] for name, tasks in found.items() if len(tasks) == 1 and tasks[0][0]}


def _began(detail: Mapping[str, Any]) -> str:
    return str(detail.get("start_time") or detail.get("create_time") or "~")
