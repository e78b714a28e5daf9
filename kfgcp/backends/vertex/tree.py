"""Where the tasks of a job stand in its run: `taskDetails` is a flat list, ours have paths.

The proto says that a task has an id, the id of its parent and a name. Not documented is whether the
pipeline itself is one of them and how the iterations of a loop are shown, so nothing relies on it:
the spec tells which names a DAG has. What stands below a loop and is none of its tasks is an
iteration; where no iterations are shown, tasks of the same name below a loop belong to iterations
one after the other.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kfgcp.model import TaskKind
from kfgcp.spec.graph import Component, Graph, TaskDef, kind_of

_NUMBER = re.compile(r"(\d{1,18})\D*$")
_OF_PATHS = re.compile(r"[\[\]/]")
"""What separates the parts of a path; no name has it that KFP gives."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A task of a job at its path. component: what it runs, task: its definition; None when the
    spec does not tell."""

    path: str
    kind: TaskKind
    detail: Mapping[str, Any]
    component: Component | None = None
    task: TaskDef | None = None


def place_tasks(details: Sequence[Mapping[str, Any]], graph: Graph | None) -> list[Placed]:
    """The tasks in the order they started, each below what it stands in; without the pipeline
    itself."""
    known = {str(detail.get("taskId")) for detail in details}
    children: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for detail in details:
        parent = str(detail.get("parentTaskId") or "")
        children[parent if parent in known else ""].append(detail)
    for found in children.values():
        found.sort(key=_start)
    walk = _Walk(children, _by_id(details), graph)
    placed = list(walk.root(graph.root if graph else None))
    order = {id(each): number for number, each in enumerate(placed)}
    return sorted(placed, key=lambda each: (_start(each.detail)[0], order[id(each)]))


def _by_id(details: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Return the task of each id, the first one of those that share it; a task does not stand in
    itself."""
    tasks: dict[str, Mapping[str, Any]] = {}
    for detail in details:
        task_id = str(detail.get("taskId"))
        if task_id != str(detail.get("parentTaskId")):
            tasks.setdefault(task_id, detail)
    return tasks


class _Walk:
    def __init__(
        self,
        children: Mapping[str, list[Mapping[str, Any]]],
        by_id: Mapping[str, Mapping[str, Any]],
        graph: Graph | None,
    ) -> None:
        self._children = children
        self._by_id = by_id
        self._graph = graph

    def root(self, component: Component | None) -> Iterator[Placed]:
        top = self._children.get("", [])
        names = _names(component)
        whole = [
            detail
            for detail in top
            if _is_pipeline(detail, names, bool(self._below(detail)), len(top))
        ]
        for detail in whole:
            yield from self._dag(self._below(detail), "", component)
        yield from self._dag([detail for detail in top if detail not in whole], "", component)

    def _below(self, detail: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        task_id = str(detail.get("taskId"))
        return self._children.get(task_id, []) if self._by_id.get(task_id) is detail else []

    def _dag(
        self, details: Sequence[Mapping[str, Any]], prefix: str, component: Component | None
    ) -> Iterator[Placed]:
        taken: set[str] = set()
        for detail in details:
            key, task = _task_of(detail, component, taken)
            taken.add(key)
            yield from self._task(detail, f"{prefix}{key}", task)

    def _task(self, detail: Mapping[str, Any], path: str, task: TaskDef | None) -> Iterator[Placed]:
        component = self._graph.components.get(task.component) if self._graph and task else None
        below = self._below(detail)
        kind = _kind(component, task, detail, bool(below))
        yield Placed(path, kind, detail, component, task)
        if kind is TaskKind.LOOP:
            yield from self._iterations(below, path, component)
        else:
            yield from self._dag(below, f"{path}/", component)

    def _iterations(
        self, details: Sequence[Mapping[str, Any]], path: str, component: Component | None
    ) -> Iterator[Placed]:
        names = _names(component)
        shown = [detail for detail in details if _name(detail) not in names]
        for position, detail in enumerate(sorted(shown, key=_iteration_order)):
            number = _iteration_number(detail, position)
            yield Placed(f"{path}[{number}]", TaskKind.DAG, detail, component)
            yield from self._dag(self._below(detail), f"{path}[{number}]/", component)
        times: dict[str, int] = defaultdict(int)
        for detail in details:
            if detail in shown:
                continue
            key, task = _task_of(detail, component)
            number = times[key]
            times[key] += 1
            yield from self._task(detail, f"{path}[{number}]/{key}", task)


def _start(detail: Mapping[str, Any]) -> tuple[str, str]:
    return str(detail.get("startTime") or detail.get("createTime") or "~"), _name(detail)


def _name(detail: Mapping[str, Any]) -> str:
    """Return what a task is shown as, never empty."""
    return detail.get("taskName") or f"task-{detail.get('taskId', 0)}"


def _names(component: Component | None) -> set[str]:
    """What the tasks of a DAG may be shown as: their keys and their display names."""
    tasks = component.dag.tasks if component is not None and component.dag is not None else {}
    return {*tasks, *(task.label for task in tasks.values())}


def _is_pipeline(detail: Mapping[str, Any], names: set[str], has_tasks: bool, count: int) -> bool:
    """Whether a task without a parent is the pipeline itself."""
    name = _name(detail)
    schema = (detail.get("execution") or {}).get("schemaTitle")
    if schema == "system.Run" or (has_tasks and count == 1 and name not in names):
        return True
    return not has_tasks and count == 1 and bool(names) and name not in names


def _task_of(
    detail: Mapping[str, Any], component: Component | None, taken: Container[str] = ()
) -> tuple[str, TaskDef | None]:
    """Key and definition of a task: it is shown by its key, or by its display name, which others
    may share."""
    name = _name(detail)
    tasks = component.dag.tasks if component is not None and component.dag is not None else {}
    if name in tasks:
        return name, tasks[name]
    found = ((key, task) for key, task in tasks.items() if task.label == name and key not in taken)
    return next(found, (_OF_PATHS.sub("-", name), None))


def _kind(
    component: Component | None, task: TaskDef | None, detail: Mapping[str, Any], has_tasks: bool
) -> TaskKind:
    if task is not None and component is not None:
        return kind_of(task, component)
    schema = (detail.get("execution") or {}).get("schemaTitle")
    if has_tasks or schema in ("system.DagExecution", "system.Run"):
        return TaskKind.DAG
    return TaskKind.IMPORTER if schema == "system.ImporterExecution" else TaskKind.CONTAINER


def _iteration_number(detail: Mapping[str, Any], position: int) -> int:
    match = _NUMBER.search(detail.get("taskName") or "")
    return int(match[1]) if match else position


def _iteration_order(detail: Mapping[str, Any]) -> tuple[int, tuple[str, str]]:
    return _iteration_number(detail, 0), _start(detail)
