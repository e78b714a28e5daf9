"""The nodes of the Argo workflow that a run becomes, compared with those of
tests/recorded/cluster-2.17.0.

Which there are and what they are called is in the public source of the server's compiler
(argocompiler/dag.go, container.go): `root-driver` and `root`; for a container `X-driver`, `X` and
in it `executor`; for a nested pipeline or a condition `X-driver` and `X`; for a loop `X`, in it
`iteration-driver` and, for each iteration, `iteration-item-driver` and `iteration-item`; for an
importer `X` alone. A cached task's `executor` is SKIPPED, as is the `X` of a condition that is
false. A loop without items has a skipped `iteration-iterations`. When a driver fails, `X-driver` is
FAILED and `X` Omitted (param-none). Names and ids of nodes and pods have the form that Argo gives
them: the workflow's name and a hash of the node's.

With the workflow defaults of 2.17 (`wrapped`) each node but groups of iterations and skipped ones
is there twice: `X` for the retry strategy, and in it `X(0)`, which is what `X` is without them
(hello). What comes after a task is a child of its `X(0)` then, and of its executor otherwise
(sub-artifact). The hook of an exit handler is a child of the task before it (exit-bad,
exit-pipeline).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from kfgcp.model import Run, RunState, Task, TaskKind, TaskState
from kfgcp.spec.graph import Component, Container, Dag, TaskDef
from kfgcp.testing.kubeflow_server.records import Record

OMITTED: Final = ""
_STATES: Final[Mapping[TaskState, str]] = {
    TaskState.PENDING: "PENDING",
    TaskState.RUNNING: "RUNNING",
    TaskState.SUCCEEDED: "SUCCEEDED",
    TaskState.CACHED: "SUCCEEDED",
    TaskState.SKIPPED: "SKIPPED",
    TaskState.FAILED: "FAILED",
    TaskState.CANCELLED: "FAILED",
}
_RUN_STATES: Final[Mapping[RunState, str]] = {
    RunState.PENDING: "PENDING",
    RunState.RUNNING: "RUNNING",
    RunState.CANCELLING: "RUNNING",
    RunState.PAUSED: "RUNNING",
    RunState.SUCCEEDED: "SUCCEEDED",
    RunState.FAILED: "FAILED",
    RunState.CANCELLED: "FAILED",
}
"""Of the nodes that stand for the whole run. Argo knows nothing of cancelling
(run-get-canceling.json)."""
_IMPL: Final = "system-container-impl"
DUMMY_IMAGES: Final = ("argostub/createpvc", "argostub/deletepvc")
"""Of kfp-kubernetes: tasks that only their driver carries out."""


@dataclass(eq=False, slots=True)
class Node:
    """A node of a workflow.

    name: Argo's, from the workflow down. display: what is shown. template: what it is made from.
    path: of the task that it belongs to. attempt: of an executor's pod, else 0. main: whether it
    stands for the task itself. inner: what is in the wrapper of a retry strategy; the node itself
    when it has none.
    """

    name: str
    display: str
    template: str
    state: str
    start: str | None
    end: str | None
    path: str = ""
    attempt: int = 0
    main: bool = False
    children: list[Node] = field(default_factory=list)
    wrapped: Node | None = None

    @property
    def inner(self) -> Node:
        return self.wrapped or self


def node_id(workflow: str, node: Node) -> str:
    return workflow if node.name == workflow else f"{workflow}-{_fnv(node.name)}"


def pod_name(workflow: str, node: Node) -> str:
    return workflow if node.name == workflow else f"{workflow}-{node.template}-{_fnv(node.name)}"


def nodes(record: Record, run: Run | None = None) -> list[Node]:
    """Return the nodes of a run's workflow. run: as it is now by default."""
    return _Workflow(record, run or record.run()).made


def is_driver_failure(task: Task) -> bool:
    """Return whether a task failed before anything was started: its driver did."""
    return task.state is TaskState.FAILED and task.kind is TaskKind.CONTAINER and not task.attempts


def is_reached(
    task: Task, definition: TaskDef, dag: Dag, around: str, tasks: Mapping[str, Task]
) -> bool:
    """Whether the driver of a task has run: of one that was skipped only when its own condition was
    false."""
    if task.state is not TaskState.SKIPPED:
        return True
    above = (tasks.get(f"{around}/{key}".lstrip("/")) for key in definition.upstream)
    return bool(definition.condition) and all(
        found is not None and found.state.ok for found in above
    )


def _fnv(text: str) -> int:
    """FNV-1a with 32 bits, Argo's hash of a node's name."""
    found = 0x811C9DC5
    for byte in text.encode():
        found = (found ^ byte) * 0x01000193 & 0xFFFFFFFF
    return found


class _Workflow:
    """Makes the nodes of a run, those around others first."""

    def __init__(self, record: Record, run: Run) -> None:
        self._record = record
        self._run = run
        self._wrapped = record.workflow_defaults
        self._tasks = {task.path: self._timed(task) for task in self._run.tasks}
        self.made: list[Node] = []
        name = record.workflow
        state = _RUN_STATES[run.state]
        top = self._add(name, name, "entrypoint", state, run.started_at, run.ended_at)
        if run.started_at is None:
            return
        inside = top.inner.name
        driver = self._driver(
            f"{inside}.root-driver", "root-driver", "system-dag-driver", run.started_at
        )
        root = self._add(
            f"{inside}.root", "root", "root", state, run.started_at, run.ended_at, main=True
        )
        top.inner.children.append(driver)
        driver.inner.children.append(root)
        assert record.graph.root.dag is not None
        self._dag(root, record.graph.root.dag, "")

    def _timed(self, task: Task) -> Task:
        """The task with times, if it has none because it was skipped: those of the run's end, or of
        its start."""
        if task.state is not TaskState.SKIPPED:
            return task
        at = task.ended_at or task.started_at or self._run.ended_at or self._run.started_at
        return replace(task, started_at=at, ended_at=at)

    def _dag(self, node: Node, dag: Dag, around: str) -> list[Node]:
        """Make the nodes of a DAG below its own; those that come last."""
        ends: dict[str, list[Node]] = {}
        for key, definition in dag.tasks.items():
            path = f"{around}/{key}".lstrip("/")
            task = self._tasks.get(path)
            if task is None:
                continue
            component = self._record.graph.component(definition)
            if definition.runs_always and definition.upstream:
                self._exit(node, task, definition, component)
                continue
            if not is_reached(task, definition, dag, around, self._tasks):
                first, ends[key] = self._omitted(node, task, component, definition)
            else:
                first, ends[key] = self._unit(node.inner.name, key, task, definition, component)
            before = [
                end for upstream in definition.upstream for end in ends.get(upstream, ())
            ] or [node.inner]
            for end in before:
                end.children.append(first)
        followed = {
            upstream for definition in dag.tasks.values() for upstream in definition.upstream
        }
        return [end for key, last in ends.items() if key not in followed for end in last] or [
            node.inner
        ]

    def _ends(self, node: Node, inside: list[Node]) -> list[Node]:
        """Return what the next tasks follow: the wrapper of a retry strategy hides what is in
        it."""
        return [node.wrapped] if node.wrapped is not None else inside

    def _unit(
        self, prefix: str, key: str, task: Task, definition: TaskDef, component: Component
    ) -> tuple[Node, list[Node]]:
        """Make the nodes of a task that was reached: its first one, and its last ones."""
        name = f"{prefix}.{key}"
        if task.kind is TaskKind.LOOP:
            return self._loop(name, key, task, component)
        if task.kind is TaskKind.IMPORTER:
            node = self._main(name, key, "system-importer", task)
            return node, [node.inner]
        if isinstance(component.executor, Container) and component.executor.image in DUMMY_IMAGES:
            node = self._main(name, key, "system-container-driver", task)
            return node, [node.inner]
        is_dag = component.dag is not None
        template = "system-dag-driver" if is_dag else "system-container-driver"
        if is_driver_failure(task):
            at = task.ended_at
            driver = self._add(
                f"{name}-driver",
                f"{key}-driver",
                template,
                "FAILED",
                task.started_at,
                at,
                task.path,
            )
            node = self._add(name, key, component.name, OMITTED, at, at, task.path, main=True)
            driver.inner.children.append(node)
            return driver, [node]
        driver = self._driver(
            f"{name}-driver", f"{key}-driver", template, task.started_at, task.path
        )
        node = self._main(
            name, key, component.name if is_dag else "system-container-executor", task
        )
        driver.inner.children.append(node)
        if task.state is TaskState.SKIPPED:
            return driver, [node]
        if component.dag is not None:
            return driver, self._ends(node, self._dag(node, component.dag, task.path))
        return driver, self._ends(node, self._executor(node.inner, task, definition))

    def _executor(self, around: Node, task: Task, definition: TaskDef) -> list[Node]:
        name, times = f"{around.name}.executor", (task.started_at, task.ended_at)
        state = _STATES[task.state]
        if task.state is TaskState.CACHED:
            node = self._add(
                name, "executor", _IMPL, "SKIPPED", task.started_at, task.started_at, task.path
            )
            around.children.append(node)
            return [node]
        retries = definition.retry is not None
        if not retries and not self._wrapped:
            node = self._add(
                name, "executor", _IMPL, state, *times, task.path, max(task.attempts, 1)
            )
            around.children.append(node)
            return [node]
        template = f"retry-{_IMPL}" if retries else _IMPL
        retry = self._plain(name, "executor", template, state, *times, task.path)
        around.children.append(retry)
        for number in range(1, max(task.attempts, 1) + 1):
            state = _STATES[task.state] if number >= task.attempts else "FAILED"
            display = f"executor({number - 1})"
            node = self._plain(
                f"{name}({number - 1})", display, template, state, *times, task.path, number
            )
            retry.children.append(node)
        return retry.children[-1:]

    def _loop(
        self, name: str, key: str, task: Task, component: Component
    ) -> tuple[Node, list[Node]]:
        loop = self._main(name, key, f"{component.name}-{key}-iterator", task)
        if task.state is TaskState.SKIPPED:
            return loop, [loop]
        inside = loop.inner.name
        driver = self._driver(
            f"{inside}.iteration-driver",
            "iteration-driver",
            "system-dag-driver",
            task.started_at,
            task.path,
        )
        template = f"{component.name}-iteration"
        is_empty = task.state.final and f"{task.path}[0]" not in self._tasks
        group = self._plain(
            f"{inside}.iteration-iterations",
            "iteration-iterations",
            template,
            "SKIPPED" if is_empty else _STATES[task.state],
            task.started_at,
            task.ended_at,
            task.path,
        )
        loop.inner.children.append(driver)
        driver.inner.children.append(group)
        lasts: list[Node] = []
        number = 0
        while (item := self._tasks.get(f"{task.path}[{number}]")) is not None:
            display = f"iteration-iterations({number}:{number})"
            times = (item.started_at, item.ended_at)
            around = self._add(
                f"{inside}.{display}", display, template, _STATES[item.state], *times, item.path
            )
            group.children.append(around)
            prefix = f"{around.inner.name}.iteration-item"
            inner = self._driver(
                f"{prefix}-driver",
                "iteration-item-driver",
                "system-dag-driver",
                item.started_at,
                item.path,
            )
            body = self._add(
                prefix,
                "iteration-item",
                component.name,
                _STATES[item.state],
                *times,
                item.path,
                main=True,
            )
            around.inner.children.append(inner)
            inner.inner.children.append(body)
            lasts += (
                self._dag(body, component.dag, item.path) if component.dag is not None else [body]
            )
            number += 1
        return loop, self._ends(loop, lasts or [group])

    def _exit(self, around: Node, task: Task, definition: TaskDef, component: Component) -> None:
        """Make the nodes of a task that runs always: it is the hook of the one before it."""
        before = f"{around.inner.name}.{definition.upstream[0]}"
        guarded = next((node for node in self.made if node.name == before), None)
        if guarded is None or guarded.state == OMITTED or task.state is TaskState.SKIPPED:
            return  # Argo has no hook of what did not start (exit-driver)
        display = f"{definition.upstream[0]}.onExit"
        template = f"exit-hook-{around.template}-{definition.key}"
        state, times = _STATES[task.state], (task.started_at, task.ended_at)
        hook = self._add(
            f"{around.inner.name}.{display}", display, template, state, *times, task.path
        )
        first, _ = self._unit(hook.inner.name, definition.key, task, definition, component)
        hook.inner.children.append(first)
        guarded.children.append(hook)

    def _omitted(
        self, around: Node, task: Task, component: Component, definition: TaskDef
    ) -> tuple[Node, list[Node]]:
        name, key = f"{around.inner.name}.{definition.key}", definition.key
        at = task.ended_at
        node = self._add(name, key, component.name, OMITTED, at, at, task.path, main=True)
        if task.kind in (TaskKind.LOOP, TaskKind.IMPORTER):
            return node, [node]
        driver = self._add(f"{name}-driver", f"{key}-driver", "", OMITTED, at, at, task.path)
        driver.children.append(node)
        return driver, [node]

    def _driver(
        self, name: str, display: str, template: str, at: str | None, path: str = ""
    ) -> Node:
        return self._add(name, display, template, "SUCCEEDED", at, at, path)

    def _main(self, name: str, display: str, template: str, task: Task) -> Node:
        state = _STATES[task.state]
        return self._add(
            name, display, template, state, task.started_at, task.ended_at, task.path, main=True
        )

    def _add(
        self,
        name: str,
        display: str,
        template: str,
        state: str,
        start: str | None,
        end: str | None,
        path: str = "",
        attempt: int = 0,
        *,
        main: bool = False,
    ) -> Node:
        """Make a node, and with the workflow defaults the one that is in it."""
        node = self._plain(name, display, template, state, start, end, path, attempt, main=main)
        if self._wrapped and state not in ("SKIPPED", OMITTED):
            node.wrapped = self._plain(
                f"{name}(0)", f"{display}(0)", template, state, start, end, path
            )
            node.children.append(node.wrapped)
        return node

    def _plain(
        self,
        name: str,
        display: str,
        template: str,
        state: str,
        start: str | None,
        end: str | None,
        path: str = "",
        attempt: int = 0,
        *,
        main: bool = False,
    ) -> Node:
        node = Node(name, display, template, state, start, end, path, attempt, main)
        self.made.append(node)
        return node


def pods(record: Record) -> Iterator[tuple[str, Node]]:
    """Return the pods of a run by their names: drivers, importers and executors."""
    for node in nodes(record):
        is_pod = node.template.endswith("-driver") or node.template == "system-importer"
        if node.attempt or (is_pod and node.wrapped is None and node.state != OMITTED):
            yield pod_name(record.workflow, node), node
