"""The nodes of the Argo workflow of a run, compared with those of tests/recorded/cluster-2.17.0.

The public source of the server's compiler (argocompiler/dag.go, container.go) gives the names of
the nodes. For a task with the key `X` they are:

- the whole run: `root-driver` and `root`;
- a container: `X-driver`, `X`, and inside `X` the node `executor`;
- a nested pipeline or a condition: `X-driver` and `X`;
- a loop: `X`, inside `X` the node `iteration-driver`, and for each iteration
  `iteration-item-driver` and `iteration-item`;
- an importer: only `X`.

The `executor` of a cached task and the `X` of a false condition are SKIPPED. A loop without items
has a skipped `iteration-iterations`. When a driver fails, `X-driver` is FAILED and `X` is Omitted
(param-none). Argo makes the ids of nodes and the names of pods from the name of the workflow and a
hash of the node's name.

The workflow defaults of 2.17 add a retry strategy to each node. Then a node exists twice: `X` is
the wrapper for the retry strategy, and the node `X(0)` inside `X` does the work (hello). Groups of
iterations and skipped nodes have no wrapper. With the defaults the node of the next task is a child
of `X(0)`, without them it is a child of the executor (sub-artifact). The hook of an exit handler is
a child of the task before it (exit-bad, exit-pipeline).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

from kfgcp.model import Run, RunState, Task, TaskKind, TaskState
from kfgcp.spec.graph import Component, Container, Dag, TaskDef
from kfgcp.testing.kubeflow_server.nodes import (
    NODE_STATES,
    OMITTED,
    Node,
    is_driver_failure,
    is_reached,
    pod_name,
)
from kfgcp.testing.kubeflow_server.records import RunRecord

# The states of the nodes for the whole run. Argo has no own state for a run that is being cancelled
# (run-get-canceling.json).
_RUN_STATES: Final[Mapping[RunState, str]] = {
    RunState.PENDING: "PENDING",
    RunState.RUNNING: "RUNNING",
    RunState.CANCELLING: "RUNNING",
    RunState.PAUSED: "RUNNING",
    RunState.SUCCEEDED: "SUCCEEDED",
    RunState.FAILED: "FAILED",
    RunState.CANCELLED: "FAILED",
}
# Templates of the compiler.
_IMPL: Final = "system-container-impl"
_DAG_DRIVER: Final = "system-dag-driver"
_CONTAINER_DRIVER: Final = "system-container-driver"
_IMPORTER: Final = "system-importer"

# Images of kfp-kubernetes. The driver itself does the work of tasks with these images.
DUMMY_IMAGES: Final = ("argostub/createpvc", "argostub/deletepvc")


def build_nodes(record: RunRecord, run: Run | None = None) -> list[Node]:
    """Return the nodes of a run's workflow, each after the node that contains it.

    Args:
        record: the run.
        run: the run as it was at some time, by default as it is now.
    """
    return _Workflow(record, run or record.current_run()).nodes


def list_pods(record: RunRecord) -> Iterator[tuple[str, Node]]:
    """Yield the pods of a run with their names: drivers, importers and executors."""
    for node in build_nodes(record):
        has_pod_template = node.template.endswith("-driver") or node.template == _IMPORTER
        # The pod belongs to the node inside the wrapper of a retry strategy.
        is_own_pod = has_pod_template and node.wrapped is None and node.state != OMITTED
        if node.attempt or is_own_pod:
            yield pod_name(record.workflow, node), node


class _Workflow:
    """The nodes of a run, each after the node that contains it.

    The methods that add the nodes of a task return the first node of the task, and the last nodes.
    The first node of the next task follows these last nodes.
    """

    def __init__(self, record: RunRecord, run: Run) -> None:
        self.nodes: list[Node] = []
        self._graph = record.graph
        self._run = run
        self._has_wrappers = record.workflow_defaults
        self._tasks_by_path = {task.path: self._with_times(task) for task in run.tasks}
        self._add_run(record.workflow)

    def _with_times(self, task: Task) -> Task:
        """Return a task with times. A skipped task may have none, so it gets a time of the run."""
        if task.state is not TaskState.SKIPPED:
            return task
        time = task.ended_at or task.started_at or self._run.ended_at or self._run.started_at
        return replace(task, started_at=time, ended_at=time)

    def _add_run(self, workflow: str) -> None:
        run = self._run
        state = _RUN_STATES[run.state]
        top = self._add(
            Node(
                name=workflow,
                display_name=workflow,
                template="entrypoint",
                state=state,
                start=run.started_at,
                end=run.ended_at,
            )
        )
        if run.started_at is None:
            return
        prefix = top.inner.name
        driver = self._add_driver(
            f"{prefix}.root-driver", "root-driver", _DAG_DRIVER, run.started_at
        )
        root = self._add(
            Node(
                name=f"{prefix}.root",
                display_name="root",
                template="root",
                state=state,
                start=run.started_at,
                end=run.ended_at,
                main=True,
            )
        )
        top.inner.children.append(driver)
        driver.inner.children.append(root)
        assert self._graph.root.dag is not None
        self._add_dag(root, self._graph.root.dag, "")

    def _add_dag(self, dag_node: Node, dag: Dag, dag_path: str) -> list[Node]:
        """Add the nodes of the tasks of a DAG, and return the last nodes."""
        last_nodes_by_key: dict[str, list[Node]] = {}
        for key, definition in dag.tasks.items():
            task = self._tasks_by_path.get(f"{dag_path}/{key}".lstrip("/"))
            if task is None:
                continue
            component = self._graph.component(definition)
            if definition.runs_always and definition.upstream:
                self._add_exit_hook(dag_node, task, definition, component)
                continue
            if is_reached(task, definition, dag_path, self._tasks_by_path):
                first, last_nodes_by_key[key] = self._add_task(
                    dag_node.inner.name, key, task, definition, component
                )
            else:
                first, last_nodes_by_key[key] = self._add_omitted(
                    dag_node, task, component, definition
                )
            previous_nodes = _find_previous_nodes(definition, last_nodes_by_key)
            for previous in previous_nodes or [dag_node.inner]:
                previous.children.append(first)
        return _find_last_nodes(dag, last_nodes_by_key) or [dag_node.inner]

    def _add_task(
        self, prefix: str, key: str, task: Task, definition: TaskDef, component: Component
    ) -> tuple[Node, list[Node]]:
        """Add the nodes of a task that was reached."""
        name = f"{prefix}.{key}"
        if task.kind is TaskKind.LOOP:
            return self._add_loop(name, key, task, component)
        if task.kind is TaskKind.IMPORTER:
            node = self._add_main(name, key, _IMPORTER, task)
            return node, [node.inner]
        if isinstance(component.executor, Container) and component.executor.image in DUMMY_IMAGES:
            node = self._add_main(name, key, _CONTAINER_DRIVER, task)
            return node, [node.inner]
        if is_driver_failure(task):
            return self._add_failed_driver(name, key, task, component)
        if component.dag is not None:
            driver_template = _DAG_DRIVER
            template = component.name
        else:
            driver_template = _CONTAINER_DRIVER
            template = "system-container-executor"
        driver = self._add_driver(
            f"{name}-driver", f"{key}-driver", driver_template, task.started_at, task.path
        )
        node = self._add_main(name, key, template, task)
        driver.inner.children.append(node)
        if task.state is TaskState.SKIPPED:
            return driver, [node]
        if component.dag is not None:
            last_nodes = self._add_dag(node, component.dag, task.path)
        else:
            last_nodes = [self._add_executor(node.inner, task, definition)]
        return driver, _visible_last_nodes(node, last_nodes)

    def _add_failed_driver(
        self, name: str, key: str, task: Task, component: Component
    ) -> tuple[Node, list[Node]]:
        driver = self._add(
            Node(
                name=f"{name}-driver",
                display_name=f"{key}-driver",
                template=_CONTAINER_DRIVER,
                state="FAILED",
                start=task.started_at,
                end=task.ended_at,
                path=task.path,
            )
        )
        node = self._add_omitted_main(name, key, task, component)
        driver.inner.children.append(node)
        return driver, [node]

    def _add_executor(self, parent: Node, task: Task, definition: TaskDef) -> Node:
        """Add the executor of a container, and return the node of its last attempt."""
        executor = Node(
            name=f"{parent.name}.executor",
            display_name="executor",
            template=_IMPL,
            state=NODE_STATES[task.state],
            start=task.started_at,
            end=task.ended_at,
            path=task.path,
        )
        parent.children.append(executor)
        if task.state is TaskState.CACHED:
            executor.state = "SKIPPED"
            executor.end = task.started_at
            return self._add(executor)
        # A running task has at least one attempt, but the engine may not have counted it yet.
        attempts = max(task.attempts, 1)
        has_retries = definition.retry is not None
        if not has_retries and not self._has_wrappers:
            executor.attempt = attempts
            return self._add(executor)
        # The node of the retry strategy has one child for each attempt.
        if has_retries:
            executor.template = f"retry-{_IMPL}"
        self._add_single(executor)
        for number in range(1, attempts + 1):
            suffix = f"({number - 1})"
            is_last = number >= task.attempts
            attempt = Node(
                name=f"{executor.name}{suffix}",
                display_name=f"executor{suffix}",
                template=executor.template,
                state=executor.state if is_last else "FAILED",
                start=task.started_at,
                end=task.ended_at,
                path=task.path,
                attempt=number,
            )
            self._add_single(attempt)
            executor.children.append(attempt)
        return executor.children[-1]

    def _add_loop(
        self, name: str, key: str, task: Task, component: Component
    ) -> tuple[Node, list[Node]]:
        loop = self._add_main(name, key, f"{component.name}-{key}-iterator", task)
        if task.state is TaskState.SKIPPED:
            return loop, [loop]
        prefix = loop.inner.name
        driver = self._add_driver(
            f"{prefix}.iteration-driver",
            "iteration-driver",
            _DAG_DRIVER,
            task.started_at,
            task.path,
        )
        is_empty = task.state.final and f"{task.path}[0]" not in self._tasks_by_path
        group = self._add_single(
            Node(
                name=f"{prefix}.iteration-iterations",
                display_name="iteration-iterations",
                template=f"{component.name}-iteration",
                state="SKIPPED" if is_empty else NODE_STATES[task.state],
                start=task.started_at,
                end=task.ended_at,
                path=task.path,
            )
        )
        loop.inner.children.append(driver)
        driver.inner.children.append(group)
        last_nodes: list[Node] = []
        for number, iteration in enumerate(self._list_iterations(task.path)):
            last_nodes += self._add_iteration(prefix, group, number, iteration, component)
        return loop, _visible_last_nodes(loop, last_nodes or [group])

    def _list_iterations(self, loop_path: str) -> list[Task]:
        iterations: list[Task] = []
        while f"{loop_path}[{len(iterations)}]" in self._tasks_by_path:
            iterations.append(self._tasks_by_path[f"{loop_path}[{len(iterations)}]"])
        return iterations

    def _add_iteration(
        self, prefix: str, group: Node, number: int, iteration: Task, component: Component
    ) -> list[Node]:
        """Add the nodes of an iteration, and return the last nodes."""
        state = NODE_STATES[iteration.state]
        display_name = f"iteration-iterations({number}:{number})"
        outer = self._add(
            Node(
                name=f"{prefix}.{display_name}",
                display_name=display_name,
                template=group.template,
                state=state,
                start=iteration.started_at,
                end=iteration.ended_at,
                path=iteration.path,
            )
        )
        group.children.append(outer)
        item_name = f"{outer.inner.name}.iteration-item"
        driver = self._add_driver(
            f"{item_name}-driver",
            "iteration-item-driver",
            _DAG_DRIVER,
            iteration.started_at,
            iteration.path,
        )
        item = self._add_main(item_name, "iteration-item", component.name, iteration)
        outer.inner.children.append(driver)
        driver.inner.children.append(item)
        if component.dag is None:
            return [item]
        return self._add_dag(item, component.dag, iteration.path)

    def _add_exit_hook(
        self, dag_node: Node, task: Task, definition: TaskDef, component: Component
    ) -> None:
        """Add the nodes of a task that always runs: it is the exit hook of the task before it."""
        guarded_key = definition.upstream[0]
        guarded_node = self._find(f"{dag_node.inner.name}.{guarded_key}")
        # Argo has no hook for a task that did not start (exit-driver).
        if task.state is TaskState.SKIPPED or guarded_node is None or guarded_node.state == OMITTED:
            return
        display_name = f"{guarded_key}.onExit"
        hook = self._add(
            Node(
                name=f"{dag_node.inner.name}.{display_name}",
                display_name=display_name,
                template=f"exit-hook-{dag_node.template}-{definition.key}",
                state=NODE_STATES[task.state],
                start=task.started_at,
                end=task.ended_at,
                path=task.path,
            )
        )
        first, _ = self._add_task(hook.inner.name, definition.key, task, definition, component)
        hook.inner.children.append(first)
        guarded_node.children.append(hook)

    def _find(self, name: str) -> Node | None:
        for node in self.nodes:
            if node.name == name:
                return node
        return None

    def _add_omitted(
        self, dag_node: Node, task: Task, component: Component, definition: TaskDef
    ) -> tuple[Node, list[Node]]:
        """Add the nodes of a task that was not reached."""
        key = definition.key
        name = f"{dag_node.inner.name}.{key}"
        node = self._add_omitted_main(name, key, task, component)
        if task.kind in (TaskKind.LOOP, TaskKind.IMPORTER):
            return node, [node]
        driver = self._add(
            Node(
                name=f"{name}-driver",
                display_name=f"{key}-driver",
                template="",
                state=OMITTED,
                start=task.ended_at,
                end=task.ended_at,
                path=task.path,
            )
        )
        driver.children.append(node)
        return driver, [node]

    def _add_omitted_main(
        self, name: str, display_name: str, task: Task, component: Component
    ) -> Node:
        return self._add(
            Node(
                name=name,
                display_name=display_name,
                template=component.name,
                state=OMITTED,
                start=task.ended_at,
                end=task.ended_at,
                path=task.path,
                main=True,
            )
        )

    def _add_driver(
        self, name: str, display_name: str, template: str, time: str | None, path: str = ""
    ) -> Node:
        """Add a driver that has succeeded, which starts and ends at the same time."""
        return self._add(
            Node(
                name=name,
                display_name=display_name,
                template=template,
                state="SUCCEEDED",
                start=time,
                end=time,
                path=path,
            )
        )

    def _add_main(self, name: str, display_name: str, template: str, task: Task) -> Node:
        """Add the node that stands for a task."""
        return self._add(
            Node(
                name=name,
                display_name=display_name,
                template=template,
                state=NODE_STATES[task.state],
                start=task.started_at,
                end=task.ended_at,
                path=task.path,
                main=True,
            )
        )

    def _add(self, node: Node) -> Node:
        """Add a node, and with the workflow defaults the node inside. Return the outer node."""
        self._add_single(node)
        if self._has_wrappers and node.state not in ("SKIPPED", OMITTED):
            node.wrapped = self._add_single(
                replace(
                    node,
                    name=f"{node.name}(0)",
                    display_name=f"{node.display_name}(0)",
                    attempt=0,
                    main=False,
                    children=[],
                )
            )
            node.children.append(node.wrapped)
        return node

    def _add_single(self, node: Node) -> Node:
        self.nodes.append(node)
        return node


def _find_previous_nodes(
    definition: TaskDef, last_nodes_by_key: Mapping[str, list[Node]]
) -> list[Node]:
    """Return the last nodes of the tasks before a task."""
    previous: list[Node] = []
    for key in definition.upstream:
        previous += last_nodes_by_key.get(key, [])
    return previous


def _find_last_nodes(dag: Dag, last_nodes_by_key: Mapping[str, list[Node]]) -> list[Node]:
    """Return the last nodes of the tasks that no other task of the DAG follows."""
    followed_keys: set[str] = set()
    for definition in dag.tasks.values():
        followed_keys.update(definition.upstream)
    nodes: list[Node] = []
    for key, task_nodes in last_nodes_by_key.items():
        if key not in followed_keys:
            nodes += task_nodes
    return nodes


def _visible_last_nodes(node: Node, last_nodes: list[Node]) -> list[Node]:
    """Return the nodes of a task that the next tasks follow.

    If the node of the task is the wrapper of a retry strategy, the next tasks follow the node
    inside the wrapper, not the last nodes.
    """
    return [node.wrapped] if node.wrapped is not None else last_nodes
