"""Find the path of each task of a job, from the flat list `taskDetails`.

In the proto, a task has an id, the id of its parent and a name. The proto does not say whether the
list contains the pipeline itself, or how it shows the iterations of a loop. So this module accepts
each form:

- A task without a parent may be the pipeline, see `_is_pipeline`.
- A child of a loop is an iteration when the spec has no task with its name in the loop.
- When the list shows no iterations, the tasks of a loop are its children. The first task with a
  name belongs to iteration 0, the second task with the same name to iteration 1, and so on.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass

from kfgcp.backends.vertex.messages import TaskDetail
from kfgcp.model import TaskKind
from kfgcp.spec.graph import Component, Graph, TaskDef, task_kind

# The last number in the name of an iteration. 18 digits fit into 64 bits.
_LAST_NUMBER = re.compile(r"(\d{1,18})\D*$")

# The characters with a meaning in paths. The keys of KFP never have them, but a display name may.
_PATH_CHARACTERS = re.compile(r"[\[\]/]")


@dataclass(frozen=True, slots=True)
class PlacedTask:
    """A task of a job, its path, and its definition in the spec.

    Attributes:
        path: the path of the task, such as `train` or `loop[0]/train`.
        kind: a container, an importer, a DAG or a loop.
        detail: the task in the answer of the service.
        component: the component that the task runs, None when the spec does not have the task.
        task: the definition of the task, None when the spec does not have the task.
    """

    path: str
    kind: TaskKind
    detail: TaskDetail
    component: Component | None = None
    task: TaskDef | None = None


def place_tasks(details: Sequence[TaskDetail], graph: Graph | None) -> list[PlacedTask]:
    """Return the tasks of a job at their paths, in the order in which they started.

    The result does not contain the pipeline itself.

    Args:
        details: `taskDetails` of the job.
        graph: the graph of the pipeline, None when the spec cannot be read.
    """
    task_ids = {str(detail.get("taskId")) for detail in details}
    children: dict[str, list[TaskDetail]] = defaultdict(list)
    for detail in details:
        parent_id = str(detail.get("parentTaskId") or "")
        # A task whose parent is not in the list counts as a task without a parent.
        if parent_id not in task_ids:
            parent_id = ""
        children[parent_id].append(detail)
    for siblings in children.values():
        siblings.sort(key=_start_order)
    walk = _Walk(children, _details_by_id(details), graph)
    placed_tasks = list(walk.place_root(graph.root if graph else None))
    # The sort is stable, and the walk yields a group before the tasks inside the group. So among
    # tasks that started at the same time, a group comes before its tasks.
    return sorted(placed_tasks, key=lambda placed: _start_time(placed.detail))


def _details_by_id(details: Sequence[TaskDetail]) -> dict[str, TaskDetail]:
    """Return the tasks by id.

    When several tasks have the same id, the first of them counts. A task that is its own parent is
    left out, because the walk would never end.
    """
    details_by_id: dict[str, TaskDetail] = {}
    for detail in details:
        task_id = str(detail.get("taskId"))
        if task_id != str(detail.get("parentTaskId")):
            details_by_id.setdefault(task_id, detail)
    return details_by_id


class _Walk:
    """A walk from the pipeline down to its tasks, which yields each task at its path.

    Args:
        children: the tasks by the id of their parent; "" for tasks without a parent.
        details_by_id: the tasks by their own id.
        graph: the graph of the pipeline, None when the spec cannot be read.
    """

    def __init__(
        self,
        children: Mapping[str, list[TaskDetail]],
        details_by_id: Mapping[str, TaskDetail],
        graph: Graph | None,
    ) -> None:
        self._children = children
        self._details_by_id = details_by_id
        self._graph = graph

    def place_root(self, component: Component | None) -> Iterator[PlacedTask]:
        """Yield all tasks of the job.

        Args:
            component: the root component of the pipeline, None when the spec cannot be read.
        """
        top_details = self._children.get("", [])
        task_names = _task_names(component)
        pipelines: list[TaskDetail] = []
        tasks: list[TaskDetail] = []
        for detail in top_details:
            has_tasks = bool(self._children_of(detail))
            if _is_pipeline(detail, task_names, has_tasks, len(top_details)):
                pipelines.append(detail)
            else:
                tasks.append(detail)
        for detail in pipelines:
            yield from self._place_dag(self._children_of(detail), "", component)
        yield from self._place_dag(tasks, "", component)

    def _children_of(self, detail: TaskDetail) -> list[TaskDetail]:
        task_id = str(detail.get("taskId"))
        # When several tasks have the same id, only the first of them gets the children.
        if self._details_by_id.get(task_id) is not detail:
            return []
        return self._children.get(task_id, [])

    def _place_dag(
        self, details: Sequence[TaskDetail], prefix: str, component: Component | None
    ) -> Iterator[PlacedTask]:
        """Yield the tasks of a DAG and everything inside them.

        Args:
            details: the tasks directly in the DAG.
            prefix: the beginning of their paths: "", or the path of the DAG and a slash.
            component: the component of the DAG, None when the spec does not have it.
        """
        used_keys: set[str] = set()
        for detail in details:
            key, task = _key_and_definition(detail, component, used_keys)
            used_keys.add(key)
            yield from self._place_task(detail, f"{prefix}{key}", task)

    def _place_task(
        self, detail: TaskDetail, path: str, task: TaskDef | None
    ) -> Iterator[PlacedTask]:
        """Yield a task and everything inside it."""
        component = None
        if self._graph is not None and task is not None:
            component = self._graph.components.get(task.component)
        children = self._children_of(detail)
        kind = _kind(component, task, detail, has_tasks=bool(children))
        yield PlacedTask(path, kind, detail, component, task)
        if kind is TaskKind.LOOP:
            yield from self._place_loop(children, path, component)
        else:
            yield from self._place_dag(children, f"{path}/", component)

    def _place_loop(
        self, details: Sequence[TaskDetail], path: str, component: Component | None
    ) -> Iterator[PlacedTask]:
        """Yield the iterations of a loop and everything inside them.

        Args:
            details: the children of the loop: its iterations, or directly the tasks in them.
            path: the path of the loop.
            component: the component of the loop, None when the spec does not have it.
        """
        task_names = _task_names(component)
        iterations = [detail for detail in details if _name(detail) not in task_names]
        for position, detail in enumerate(sorted(iterations, key=_iteration_order)):
            number = _iteration_number(detail, position)
            iteration_path = f"{path}[{number}]"
            yield PlacedTask(iteration_path, TaskKind.DAG, detail, component)
            yield from self._place_dag(self._children_of(detail), f"{iteration_path}/", component)
        tasks_so_far: dict[str, int] = defaultdict(int)
        for detail in details:
            if _name(detail) in task_names:
                key, task = _key_and_definition(detail, component)
                yield from self._place_task(detail, f"{path}[{tasks_so_far[key]}]/{key}", task)
                tasks_so_far[key] += 1


def _start_order(detail: TaskDetail) -> tuple[str, str]:
    return _start_time(detail), _name(detail)


def _start_time(detail: TaskDetail) -> str:
    """Return when a task started, or a text that sorts after every time."""
    return detail.get("startTime") or detail.get("createTime") or "~"


def _name(detail: TaskDetail) -> str:
    """Return the name that the service shows for a task, or a name with its id."""
    return detail.get("taskName") or f"task-{detail.get('taskId', 0)}"


def _definitions(component: Component | None) -> Mapping[str, TaskDef]:
    """Return the tasks of a DAG by their keys."""
    if component is None or component.dag is None:
        return {}
    return component.dag.tasks


def _task_names(component: Component | None) -> set[str]:
    """Return the names that the service may show for the tasks of a DAG: keys and display names."""
    definitions = _definitions(component)
    names = set(definitions)
    names.update(task.label for task in definitions.values())
    return names


def _is_pipeline(detail: TaskDetail, task_names: set[str], has_tasks: bool, top_count: int) -> bool:
    """Return whether a task without a parent is the pipeline itself.

    Args:
        detail: the task.
        task_names: the names of the pipeline's tasks, empty when the spec cannot be read.
        has_tasks: the task has children.
        top_count: the number of tasks in the job without a parent.
    """
    if _schema(detail) == "system.Run":
        return True
    # The pipeline is the only task without a parent, and none of its tasks has the same name.
    if top_count != 1 or _name(detail) in task_names:
        return False
    return has_tasks or bool(task_names)


def _schema(detail: TaskDetail) -> str | None:
    """Return the type of a task's execution in ML Metadata, such as `system.Run`."""
    execution = detail.get("execution") or {}
    return execution.get("schemaTitle")


def _key_and_definition(
    detail: TaskDetail, component: Component | None, used_keys: Container[str] = ()
) -> tuple[str, TaskDef | None]:
    """Return the key and the definition of a task in its DAG.

    The service shows the key of a task or its display name. Several tasks may have the same display
    name, so each of them gets the first such key that is not in `used_keys`. A task that the spec
    does not have gets its name as the key, and no definition.
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
    """Return the kind of a task in the spec, else the kind that its execution suggests."""
    if task is not None and component is not None:
        return task_kind(task, component)
    schema = _schema(detail)
    if has_tasks or schema in ("system.DagExecution", "system.Run"):
        return TaskKind.DAG
    if schema == "system.ImporterExecution":
        return TaskKind.IMPORTER
    return TaskKind.CONTAINER


def _iteration_order(detail: TaskDetail) -> tuple[int, tuple[str, str]]:
    return _iteration_number(detail, 0), _start_order(detail)


def _iteration_number(detail: TaskDetail, default: int) -> int:
    """Return the last number in the name of an iteration, or `default` without a number."""
    match = _LAST_NUMBER.search(detail.get("taskName") or "")
    return int(match[1]) if match else default
