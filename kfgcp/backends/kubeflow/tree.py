"""Places the tasks of a run at their paths in its pipeline.

Executions are the server's records of tasks. Each execution names its parent execution. The
execution of an iteration has the number of the iteration. A task without an execution did not run,
or has not run yet.

When executions cannot be read, this module uses the nodes of the workflow. It ignores the nodes of
drivers and wrappers, because no task of the pipeline has the name of such a node.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Final

from kfgcp.backends.kubeflow import pod_names
from kfgcp.backends.kubeflow.execution import ENDED_STATES, NOT_TRIGGERED, Execution
from kfgcp.backends.kubeflow.messages import NodeAnswer, RunAnswer, read_pipeline, workflow_nodes
from kfgcp.backends.kubeflow.pod_names import FailedDriver, WorkflowPods
from kfgcp.model import TaskKind
from kfgcp.spec.graph import Component, Dag, Graph, TaskDef, task_kind

# The name of a driver's node. When the workflow has a retry strategy, the number of the attempt
# follows the name.
_DRIVER_NODE: Final = re.compile(r"(?P<driver>.+-driver)(?:\(\d+\))?")
_LOOP_DRIVER: Final = "iteration-driver"
_ITERATION_DRIVER: Final = "iteration-item-driver"

# The DAG of a component that has no tasks.
_EMPTY_DAG: Final = Dag({}, {}, {})


@dataclass(frozen=True, slots=True)
class PlacedTask:
    """A task at its path, with its execution or its node in the workflow, if it has one.

    Attributes:
        path: the path of the task, such as `for-loop-4[0]/double`.
        kind: the kind of the task. An iteration is a DAG.
        component: the component that the task runs.
        execution: the execution of the task. None when the task has no execution, or when
            executions could not be read.
        node: the node of the task in the workflow. None when executions could be read.
        retries: how often the pipeline retries the task after a failure.
        failed_driver: the driver of the task, when it failed. Then the task did not start.
    """

    path: str
    kind: TaskKind
    component: Component
    execution: Execution | None = None
    node: NodeAnswer | None = None
    retries: int = 0
    failed_driver: FailedDriver | None = None

    @property
    def driver_pod(self) -> str:
        """The pod of the failed driver, "" when the driver did not fail."""
        return self.failed_driver.pod if self.failed_driver is not None else ""


def place_tasks(run: RunAnswer, executions: Sequence[Execution] = ()) -> Sequence[PlacedTask]:
    """Return the tasks of a run at their paths, in the order in which they started.

    The result is empty when the pipeline cannot be read.

    Args:
        run: the answer of the server, with its spec.
        executions: the executions of the run. When there are none, the nodes of the workflow show
            which tasks ran.
    """
    _, graph = read_pipeline(run)
    if graph is None:
        return []
    nodes = workflow_nodes(run)
    placed = place_executions(executions, graph) if executions else place_nodes(nodes, graph)
    return with_failed_drivers(placed, nodes, graph)


# -- by executions


def place_executions(executions: Sequence[Execution], graph: Graph) -> list[PlacedTask]:
    """Return the tasks of a run in the order in which they started.

    Tasks that did not run are at the end.
    """
    children = _children_by_parent(executions)
    top_executions = _top_executions(children, graph)
    placed = _place_dag(top_executions, "", graph.root, graph, children)
    return sorted(placed, key=_started_at)


def _children_by_parent(executions: Sequence[Execution]) -> dict[int, list[Execution]]:
    """Return the executions by the id of their parent.

    Executions without a parent, or with an unknown parent, have the id 0.
    """
    ids = {execution.id for execution in executions}
    children: dict[int, list[Execution]] = defaultdict(list)
    for execution in executions:
        parent = execution.parent if execution.parent in ids else 0
        children[parent].append(execution)
    return children


def _top_executions(children: Mapping[int, list[Execution]], graph: Graph) -> list[Execution]:
    """Return the executions of the tasks that are directly in the pipeline.

    Their parent is the execution of the whole run. When that execution is missing, they have no
    parent.
    """
    dag = graph.root.dag or _EMPTY_DAG
    top: list[Execution] = []
    for execution in children.get(0, []):
        if _task_keys(dag, execution.task):
            top.append(execution)
        else:
            top += children.get(execution.id, [])
    return sorted(top, key=lambda execution: (execution.started_at, execution.id))


def _started_at(task: PlacedTask) -> float:
    return task.execution.started_at if task.execution is not None else inf


def _place_dag(
    executions: Sequence[Execution],
    prefix: str,
    component: Component,
    graph: Graph,
    children: Mapping[int, list[Execution]],
) -> Iterator[PlacedTask]:
    """Yield the tasks of a DAG, and the tasks inside them.

    Args:
        executions: the executions of the tasks that are directly in the DAG.
        prefix: the text before the key of a task in its path.
        component: the component of the DAG.
        graph: the pipeline.
        children: all executions of the run, by the id of their parent.
    """
    dag = component.dag or _EMPTY_DAG
    execution_by_key = _find_executions(executions, dag)
    for key, execution in execution_by_key.items():
        definition = dag.tasks[key]
        task_component = graph.component(definition)
        kind = task_kind(definition, task_component)
        retries = definition.retry.count if definition.retry is not None else 0
        path = f"{prefix}{key}"
        yield PlacedTask(path, kind, task_component, execution, retries=retries)
        if execution.state == NOT_TRIGGERED:
            continue
        child_executions = children.get(execution.id, [])
        if kind is TaskKind.LOOP:
            yield from _place_iterations(child_executions, path, task_component, graph, children)
        elif kind is TaskKind.DAG:
            yield from _place_dag(child_executions, f"{path}/", task_component, graph, children)
    for key, definition in dag.tasks.items():
        if key not in execution_by_key:
            task_component = graph.component(definition)
            kind = task_kind(definition, task_component)
            yield PlacedTask(f"{prefix}{key}", kind, task_component)


def _place_iterations(
    executions: Sequence[Execution],
    path: str,
    component: Component,
    graph: Graph,
    children: Mapping[int, list[Execution]],
) -> Iterator[PlacedTask]:
    """Yield the iterations of a loop, and the tasks inside them.

    A retry of the run creates another execution of the same iteration. The last execution counts.

    Args:
        executions: the executions of the iterations.
        path: the path of the loop.
        component: the component that each iteration runs.
        graph: the pipeline.
        children: all executions of the run, by the id of their parent.
    """
    ordered = sorted(executions, key=lambda execution: (execution.iteration or 0, execution.id))
    execution_by_number: dict[int, Execution] = {}
    for position, execution in enumerate(ordered):
        # When executions have no number, their order is the order of the iterations.
        number = position if execution.iteration is None else execution.iteration
        execution_by_number[number] = execution
    for number, execution in execution_by_number.items():
        iteration_path = f"{path}[{number}]"
        yield PlacedTask(iteration_path, TaskKind.DAG, component, execution)
        child_executions = children.get(execution.id, [])
        yield from _place_dag(child_executions, f"{iteration_path}/", component, graph, children)


def _find_executions(executions: Sequence[Execution], dag: Dag) -> dict[str, Execution]:
    """Return the execution of each task that has one, by the key of the task.

    A retry of the run creates another execution of the same task. The last execution counts.
    """
    execution_by_key: dict[str, Execution] = {}
    for execution in executions:
        keys = _task_keys(dag, execution.task)
        if not keys:
            continue
        # Tasks that share a name get one execution each, in order. Further executions replace the
        # execution of the last task.
        free_keys = [key for key in keys if key not in execution_by_key]
        key = free_keys[0] if free_keys else keys[-1]
        execution_by_key[key] = execution
    return execution_by_key


def _task_keys(dag: Dag, name: str) -> list[str]:
    """Return the keys of the tasks that an execution of this name may belong to.

    Servers before 2.14 name executions by the label of the task, which several tasks may share.
    """
    if name in dag.tasks:
        return [name]
    return [key for key, task in dag.tasks.items() if task.label == name]


# -- by the nodes of the workflow


def place_nodes(nodes: Sequence[NodeAnswer], graph: Graph) -> list[PlacedTask]:
    """Return the tasks that have nodes in the workflow, in the order in which they started.

    A node does not say in which DAG or loop it is. So a task is returned only when it is outside of
    loops and no other task of the pipeline has the same name.
    """
    task_by_name = _unique_tasks(graph)
    placed: dict[str, PlacedTask] = {}
    # When the result of a task may be reused, its launcher adds another node, without a name.
    task_nodes = [node for node in nodes if node.get("display_name") in task_by_name]
    for node in sorted(task_nodes, key=_node_start):
        path, definition = task_by_name[node["display_name"]]
        if path not in placed:
            component = graph.component(definition)
            kind = task_kind(definition, component)
            placed[path] = PlacedTask(path, kind, component, node=node)
    return list(placed.values())


def _unique_tasks(graph: Graph) -> dict[str, tuple[str, TaskDef]]:
    """Return the paths and definitions of tasks that are outside of loops and have a unique name.

    The name of a node is the key or the label of its task.
    """
    tasks_by_name: dict[str, list[tuple[str, TaskDef]]] = defaultdict(list)
    names_in_loops: set[str] = set()
    for path, definition, is_in_loop in _walk(graph.root, "", graph, is_in_loop=False):
        for name in {definition.key, definition.label}:
            if is_in_loop:
                names_in_loops.add(name)
            else:
                tasks_by_name[name].append((path, definition))
    unique: dict[str, tuple[str, TaskDef]] = {}
    for name, tasks in tasks_by_name.items():
        if len(tasks) == 1 and name not in names_in_loops:
            unique[name] = tasks[0]
    return unique


def _walk(
    component: Component, prefix: str, graph: Graph, *, is_in_loop: bool
) -> Iterator[tuple[str, TaskDef, bool]]:
    """Yield the path and the definition of each task, and whether it is inside a loop."""
    if component.dag is None:
        return
    for key, definition in component.dag.tasks.items():
        yield f"{prefix}{key}", definition, is_in_loop
        inner_is_in_loop = is_in_loop or definition.iterator is not None
        inner = graph.component(definition)
        yield from _walk(inner, f"{prefix}{key}/", graph, is_in_loop=inner_is_in_loop)


def _node_start(node: NodeAnswer) -> str:
    # A node without a time comes last, because "~" is greater than every time.
    return node.get("start_time") or node.get("create_time") or "~"


# -- drivers that failed


def with_failed_drivers(
    placed: Sequence[PlacedTask], nodes: Sequence[NodeAnswer], graph: Graph
) -> Sequence[PlacedTask]:
    """Return the tasks, with their failed drivers.

    ML Metadata has no execution for an iteration whose driver failed. So this function adds such
    iterations.

    Args:
        placed: the tasks.
        nodes: the nodes of the workflow.
        graph: the pipeline.
    """
    drivers = _failed_driver_names(nodes)
    if not drivers:
        return placed
    pods = WorkflowPods(nodes, graph)
    with_drivers: list[PlacedTask] = []
    for task in placed:
        # The computation of node ids is slow, so the names are compared first.
        if _driver_name(task) in drivers:
            task = _with_failed_driver(task, pods)
        with_drivers.append(task)
    if _ITERATION_DRIVER in drivers:
        with_drivers += _iterations_without_execution(placed, pods, len(nodes))
    return with_drivers


def _failed_driver_names(nodes: Sequence[NodeAnswer]) -> set[str]:
    """Return the names of failed drivers, without the numbers of attempts."""
    names: set[str] = set()
    for node in nodes:
        match = _DRIVER_NODE.fullmatch(node.get("display_name") or "")
        if match is not None and node.get("state") == pod_names.FAILED:
            names.add(match["driver"])
    return names


def _driver_name(task: PlacedTask) -> str:
    """Return the name of the node of a task's driver. Many tasks may share it."""
    if task.kind is TaskKind.LOOP:
        return _LOOP_DRIVER
    if task.path.endswith("]"):
        return _ITERATION_DRIVER
    key = task.path.rpartition("/")[2]
    return f"{key}-driver"


def _with_failed_driver(task: PlacedTask, pods: WorkflowPods) -> PlacedTask:
    """Return a task with its driver, if the driver failed."""
    # An execution that has ended already shows how the task ended.
    if task.execution is not None and task.execution.state in ENDED_STATES:
        return task
    driver = pods.failed_driver_node(task.path)
    if driver is None:
        return task
    return replace(task, failed_driver=driver)


def _iterations_without_execution(
    placed: Sequence[PlacedTask], pods: WorkflowPods, node_count: int
) -> Iterator[PlacedTask]:
    """Yield the iterations without an execution whose drivers failed.

    Args:
        placed: the tasks that have an execution or a node.
        pods: finds failed drivers.
        node_count: the number of nodes. Each iteration has a node, so this limits the loop if ML
            Metadata has a wrong number of iterations.
    """
    paths = {task.path for task in placed}
    for loop in placed:
        if loop.kind is not TaskKind.LOOP or loop.execution is None:
            continue
        for number in range(min(loop.execution.iterations or 0, node_count)):
            path = f"{loop.path}[{number}]"
            if path in paths:
                continue
            driver = pods.failed_driver_node(path)
            if driver is not None:
                yield PlacedTask(path, TaskKind.DAG, loop.component, failed_driver=driver)
