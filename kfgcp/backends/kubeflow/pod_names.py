"""The names of a run's pods, computed from the paths of its tasks.

ML Metadata names the pod of a task only once the task's launcher has started. When it cannot be
asked, or when the driver of a task failed, the name follows from the rules of Argo and of the
server's compiler:

- A pod is `WORKFLOW-TEMPLATE-N`, and its node has the id `WORKFLOW-N`. N is the FNV-1a hash of the
  node's name, 32 bits (Argo: workflow/util/pod_name.go, workflow/common/util.go).
- A node's name is that of the node around it, a dot, and its own name: `W.root.say-driver`,
  `W.root.say.executor` (backend/src/v2/compiler/argocompiler/dag.go and container.go).
- A server whose workflow defaults have a retryStrategy, as 2.17.0 has, puts `(0)` behind each name:
  `W(0).root(0).say-driver(0)`.

The ids are seen in `child_tasks` of the run's `task_details`: there, each node names those that
come next.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Final

from kfgcp.backends.run_values import read_spec
from kfgcp.model import TaskKind
from kfgcp.spec.graph import Graph, TaskDef, kind_of

FAILED: Final = "FAILED"
_SUFFIXES: Final = ("", "(0)")
"""What follows the name of a node: nothing, or the number of its first attempt."""
_SEGMENT: Final = re.compile(r"(?P<key>.+?)(?:\[(?P<iteration>\d+)\])?")


@dataclass(frozen=True, slots=True)
class _Driver:
    """The driver of a task.

    Attributes:
        node: the name of its node, without the number of an attempt.
        template: the template that its pod is made from.
        next: the node that follows it, without the number of an attempt.
    """

    node: str
    template: str
    next: str

    @property
    def display_name(self) -> str:
        return self.node.rpartition(".")[2]


@dataclass(frozen=True, slots=True)
class FailedDriver:
    """The driver of a task, which failed.

    Attributes:
        pod: its pod.
        detail: its node among the `task_details`, or the node that stands for all its attempts.
    """

    pod: str
    detail: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Node:
    """The node of a task, of one of its iterations, or of the whole run.

    Attributes:
        name: without the number of an attempt.
        suffix: what follows the names of nodes in this workflow.
        kind: of the task; an iteration and the run are DAGs.
        is_retried: whether the pipeline says so, of the task or of a group that it stands in.
    """

    name: str
    suffix: str
    kind: TaskKind
    is_retried: bool = False

    def driver(self) -> _Driver | None:
        """Return its driver; None for an importer, which has none."""
        if self.kind is TaskKind.IMPORTER:
            return None
        if self.kind is TaskKind.LOOP:
            inside = f"{self.name}{self.suffix}"
            iterations = f"{inside}.iteration-iterations"
            return _Driver(f"{inside}.iteration-driver", "system-dag-driver", iterations)
        template = (
            "system-container-driver" if self.kind is TaskKind.CONTAINER else "system-dag-driver"
        )
        return _Driver(f"{self.name}-driver", template, self.name)


class WorkflowPods:
    """The pods of a run.

    Args:
        details: the `task_details` of the run.
        graph: its pipeline.
    """

    def __init__(self, details: Sequence[Mapping[str, Any]], graph: Graph) -> None:
        self._graph = graph
        self._details = details
        children = (child for detail in details for child in detail.get("child_tasks") or ())
        self._ids = {str(child.get("pod_name") or "") for child in children}
        self._ids.discard("")
        a_child = min(self._ids, default="")
        self.workflow = a_child.rpartition("-")[0]

    def driver(self, path: str) -> str:
        """Return the pod of a task's driver, "" when there is none.

        Args:
            path: of a task or an iteration; "" for the whole run.
        """
        for driver, suffix in self._drivers(path):
            attempts = self._attempts(driver.node, suffix)
            if attempts:
                return self._pod(driver.template, attempts[-1])
        return ""

    def failed_driver(self, path: str) -> str:
        """Return the pod of a task's driver when that driver failed, else "".

        Arguments are those of `driver`.
        """
        failed = self.failed_driver_node(path)
        return failed.pod if failed is not None else ""

    def failed_driver_node(self, path: str) -> FailedDriver | None:
        """Return the driver of a task when it failed, else None.

        Arguments are those of `driver`.
        """
        for driver, suffix in self._drivers(path):
            following = self._id(driver.next)
            for attempt in reversed(self._attempts(driver.node, suffix)):
                detail = self._failed(attempt.rpartition(".")[2], following)
                if detail is not None:
                    return FailedDriver(self._pod(driver.template, attempt), detail)
        return None

    def executors(self, path: str) -> list[str]:
        """Return the pods that carry out a task, one for each attempt, first to last; an importer
        has one."""
        for node in self._nodes(path):
            name, suffix = f"{node.name}{node.suffix}.executor", node.suffix
            if node.kind is TaskKind.IMPORTER:
                name, template = node.name, "system-importer"
            elif node.kind is not TaskKind.CONTAINER:
                continue
            elif node.is_retried:
                template, suffix = "retry-system-container-impl", "(0)"
            else:
                template = "system-container-impl"
            attempts = self._attempts(name, suffix)
            if attempts:
                return [self._pod(template, attempt) for attempt in attempts]
        return []

    def _drivers(self, path: str) -> Iterator[tuple[_Driver, str]]:
        for node in self._nodes(path):
            driver = node.driver()
            if driver is not None:
                yield driver, node.suffix

    def _nodes(self, path: str) -> Iterator[_Node]:
        """Yield the nodes that a task may have: with and without the number of an attempt."""
        for suffix in _SUFFIXES if self.workflow else ():
            root = _Node(f"{self.workflow}{suffix}.root", suffix, TaskKind.DAG)
            segments = path.split("/") if path else []
            yield from _below(root, "root", segments, self._graph)

    def _attempts(self, name: str, suffix: str) -> list[str]:
        """Return the names of the nodes that there are of one that may be repeated."""
        if not suffix:
            return [name] if self._id(name) in self._ids else []
        names: list[str] = []
        for number in count():
            attempt = f"{name}({number})"
            if self._id(attempt) not in self._ids:
                return names
            names.append(attempt)
        return names

    def _failed(self, display_name: str, following: str) -> Mapping[str, Any] | None:
        """Return the node of this name that failed and that the node with the id `following` comes
        after."""
        for detail in self._details:
            if detail.get("display_name") == display_name and detail.get("state") == FAILED:
                children = detail.get("child_tasks") or ()
                if any(child.get("pod_name") == following for child in children):
                    return detail
        return None

    def _id(self, name: str) -> str:
        return f"{self.workflow}-{node_hash(name)}"

    def _pod(self, template: str, name: str) -> str:
        return f"{self.workflow}-{template}-{node_hash(name)}"


def driver_pod(details: Sequence[Mapping[str, Any]], graph: Graph, path: str) -> str:
    """Return the pod of the driver of a task when that driver failed, else "".

    Args:
        details: the `task_details` of the run.
        graph: its pipeline.
        path: of a task or an iteration; "" for the whole run.
    """
    return WorkflowPods(details, graph).failed_driver(path)


def pods_of_run(run: Mapping[str, Any]) -> WorkflowPods | None:
    """Return the pods of a run, None when its pipeline cannot be read.

    Args:
        run: as the server answers; with the spec of its pipeline.
    """
    document = run.get("pipeline_spec")
    inner = document.get("pipeline_spec") if isinstance(document, Mapping) else None
    _, graph = read_spec(inner or document)
    if graph is None:
        return None
    return WorkflowPods((run.get("run_details") or {}).get("task_details") or (), graph)


def node_hash(name: str) -> int:
    """Return Argo's hash of a node's name: FNV-1a with 32 bits.

    Example:
        >>> node_hash("param-none-4zr6j.root.say-driver")
        2245913054
    """
    value = 0x811C9DC5
    for byte in name.encode():
        value = (value ^ byte) * 0x01000193 & 0xFFFFFFFF
    return value


def _below(around: _Node, component: str, segments: Sequence[str], graph: Graph) -> Iterator[_Node]:
    """Yield the nodes that the segments of a path lead to, from the node around them."""
    if not segments:
        yield around
        return
    parts = _SEGMENT.fullmatch(segments[0])
    definition = graph.root if component == "root" else graph.components[component]
    task = definition.dag.tasks.get(parts["key"]) if parts and definition.dag else None
    if parts is None or task is None:
        return
    kind = kind_of(task, graph.component(task))
    is_retried = around.is_retried or task.retry is not None
    for parent in _parents(around, task):
        node = _Node(f"{parent}.{task.key}", around.suffix, kind, is_retried)
        if parts["iteration"] is not None:
            item = f"iteration-iterations({parts['iteration']}:{parts['iteration']})"
            name = f"{node.name}{node.suffix}.{item}{node.suffix}.iteration-item"
            node = _Node(name, node.suffix, TaskKind.DAG, is_retried)
        yield from _below(node, task.component, segments[1:], graph)


def _parents(around: _Node, task: TaskDef) -> Iterator[str]:
    """Yield the names of the nodes that a task may stand in.

    A task that runs whatever became of another one is the exit hook of that one.
    """
    inside = f"{around.name}{around.suffix}"
    if not (task.runs_always and task.upstream):
        yield inside
        return
    for upstream in task.upstream:
        yield f"{inside}.{upstream}.onExit{around.suffix}"
