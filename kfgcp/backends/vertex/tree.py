"""Find the paths of the tasks of a job: `taskDetails` is a flat list.

The proto says that a task has an id, the id of its parent and a name. It does not say whether the
pipeline itself is in the list, or how the iterations of a loop are shown. So nothing here relies on
that. The spec tells which names a DAG has. A task below a loop whose name is not one of these is an
iteration. When no iterations are shown, tasks of the same name below a loop belong to iterations
one after the other.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass

from kfgcp.backends.vertex.messages import TaskDetail
from kfgcp.model import TaskKind
from kfgcp.spec.graph import Component, Graph, TaskDef, task_kind

_LAST_NUMBER = re.compile(r"(\d{1,18})\D*$")

# Separate the parts of a path. No name that KFP gives has these characters, but display names may.
_PATH_CHARACTERS = re.compile(r"[\[\]/]")


@dataclass(frozen=True, slots=True)
class PlacedTask:
    """A task of a job at its path.

    Attributes:
        path: of the task.
        kind: of the task.
        detail: what the service says about it.
        component: what it runs, None when the spec does not tell.
        task: its definition, None when the spec does not tell.
    """

    path: str
    kind: TaskKind
    detail: TaskDetail
    component: Component | None = None
    task: TaskDef | None = None


def place_tasks(details: Sequence[TaskDetail], graph: Graph | None) -> list[PlacedTask]:
    """Return the tasks of a job at their paths, in the order in which they started.

    The pipeline itself is left out.

    Args:
        details: the tasks as the service lists them.
        graph: of the pipeline, None when its spec cannot be read.
    """
    task_ids = {str(detail.get("taskId")) for detail in details}
    children: dict[str, list[TaskDetail]] = defaultdict(list)
    for detail in details:
        parent_id = str(detail.get("parentTaskId") or "")
        children[parent_id if parent_id in task_ids else ""].append(detail)
    for siblings in children.values():
        siblings.sort(key=_start)
    walk = _Walk(children, _details_by_id(details), graph)
    placed = list(walk.root(graph.root if graph else None))
    # The sort is stable: among tasks that started at the same time, the outer ones come first.
    return sorted(placed, key=lambda task: _start_time(task.detail))


def _details_by_id(details: Sequence[TaskDetail]) -> dict[str, TaskDetail]:
    """Return the task of each id.

    Of tasks that share an id, the first one counts. A task that is its own parent is left out, so
    that the walk ends.
    """
    tasks: dict[str, TaskDetail] = {}
    for detail in details:
        task_id = str(detail.get("taskId"))
        if task_id != str(detail.get("parentTaskId")):
            tasks.setdefault(task_id, detail)
    return tasks


class _Walk:
    """Walks through the tasks from the pipeline downwards, and yields each at its path."""

    def __init__(
        self,
        children: Mapping[str, list[TaskDetail]],
        details_by_id: Mapping[str, TaskDetail],
        graph: Graph | None,
    ) -> None:
        self._children = children
        self._details_by_id = details_by_id
        self._graph = graph

    def root(self, component: Component | None) -> Iterator[PlacedTask]:
        top_details = self._children.get("", [])
        names = _task_names(component)
        pipelines: list[TaskDetail] = []
        tasks: list[TaskDetail] = []
        for detail in top_details:
            has_tasks = bool(self._children_of(detail))
            is_pipeline = _is_pipeline(detail, names, has_tasks, len(top_details))
            (pipelines if is_pipeline else tasks).append(detail)
        for detail in pipelines:
            yield from self._dag(self._children_of(detail), "", component)
        yield from self._dag(tasks, "", component)

    def _children_of(self, detail: TaskDetail) -> list[TaskDetail]:
        task_id = str(detail.get("taskId"))
        # Of tasks that share an id, only the first one has the children.
        if self._details_by_id.get(task_id) is not detail:
            return []
        return self._children.get(task_id, [])

    def _dag(
        self, details: Sequence[TaskDetail], prefix: str, component: Component | None
    ) -> Iterator[PlacedTask]:
        used_keys: set[str] = set()
        for detail in details:
            key, task = _key_and_definition(detail, component, used_keys)
            used_keys.add(key)
            yield from self._task(detail, f"{prefix}{key}", task)

    def _task(self, detail: TaskDetail, path: str, task: TaskDef | None) -> Iterator[PlacedTask]:
        component = None
        if self._graph is not None and task is not None:
            component = self._graph.components.get(task.component)
        children = self._children_of(detail)
        kind = _kind(component, task, detail, has_tasks=bool(children))
        yield PlacedTask(path, kind, detail, component, task)
        if kind is TaskKind.LOOP:
            yield from self._loop(children, path, component)
        else:
            yield from self._dag(children, f"{path}/", component)

    def _loop(
        self, details: Sequence[TaskDetail], path: str, component: Component | None
    ) -> Iterator[PlacedTask]:
        names = _task_names(component)
        iterations = [detail for detail in details if _name(detail) not in names]
        for position, detail in enumerate(sorted(iterations, key=_iteration_order)):
            number = _iteration_number(detail, position)
            yield PlacedTask(f"{path}[{number}]", TaskKind.DAG, detail, component)
            yield from self._dag(self._children_of(detail), f"{path}[{number}]/", component)
        counts: dict[str, int] = defaultdict(int)
        for detail in details:
            if _name(detail) in names:
                key, task = _key_and_definition(detail, component)
                yield from self._task(detail, f"{path}[{counts[key]}]/{key}", task)
                counts[key] += 1


def _start(detail: TaskDetail) -> tuple[str, str]:
    return _start_time(detail), _name(detail)


def _start_time(detail: TaskDetail) -> str:
    # "~" sorts after every time.
    return detail.get("startTime") or detail.get("createTime") or "~"


def _name(detail: TaskDetail) -> str:
    """Return the name that the service shows for a task, never empty."""
    return detail.get("taskName") or f"task-{detail.get('taskId', 0)}"


def _definitions(component: Component | None) -> Mapping[str, TaskDef]:
    """Return the tasks of a DAG by their keys."""
    if component is None or component.dag is None:
        return {}
    return component.dag.tasks


def _task_names(component: Component | None) -> set[str]:
    """Return the names that the service may show for the tasks of a DAG: keys and display names."""
    definitions = _definitions(component)
    return set(definitions) | {task.label for task in definitions.values()}


def _is_pipeline(detail: TaskDetail, names: set[str], has_tasks: bool, count: int) -> bool:
    """Return whether a task without a parent is the pipeline itself.

    Args:
        detail: the task.
        names: of the tasks of the pipeline, empty when its spec cannot be read.
        has_tasks: there are tasks below it.
        count: how many tasks have no parent.
    """
    if _schema(detail) == "system.Run":
        return True
    if count != 1 or _name(detail) in names:
        return False
    return has_tasks or bool(names)


def _schema(detail: TaskDetail) -> str | None:
    execution = detail.get("execution") or {}
    return execution.get("schemaTitle")


def _key_and_definition(
    detail: TaskDetail, component: Component | None, used_keys: Container[str] = ()
) -> tuple[str, TaskDef | None]:
    """Return the key and the definition of a task.

    The service shows a task by its key, or by its display name, which several tasks may share.
    """
    name = _name(detail)
    definitions = _definitions(component)
    if name in definitions:
        return name, definitions[name]
    for key, task in definitions.items():
        if task.label == name and key not in used_keys:
            return key, task
    return _PATH_CHARACTERS.sub("-", name), None


def _kind(
    component: Component | None, task: TaskDef | None, detail: TaskDetail, *, has_tasks: bool
) -> TaskKind:
    if task is not None and component is not None:
        return task_kind(task, component)
    schema = _schema(detail)
    if has_tasks or schema in ("system.DagExecution", "system.Run"):
        return TaskKind.DAG
    if schema == "system.ImporterExecution":
        return TaskKind.IMPORTER
    return TaskKind.CONTAINER


def _iteration_order(detail: TaskDetail) -> tuple[int, tuple[str, str]]:
    return _iteration_number(detail, 0), _start(detail)


def _iteration_number(detail: TaskDetail, default: int) -> int:
    match = _LAST_NUMBER.search(detail.get("taskName") or "")
    return int(match[1]) if match else default
