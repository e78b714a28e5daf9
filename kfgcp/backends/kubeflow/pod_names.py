"""Compute the names of a run's pods from the paths of its tasks.

ML Metadata has the name of a task's pod only after the launcher of the task has started. When ML
Metadata does not answer, or when the driver of a task failed, kfgcp computes the name by the rules
of Argo and of the server's compiler:

- The name of a pod is `WORKFLOW-TEMPLATE-N`, and the id of its node is `WORKFLOW-N`. N is the
  FNV-1a hash of the node's name, with 32 bits (Argo: workflow/util/pod_name.go,
  workflow/common/util.go).
- The name of a node is the name of the node that contains it, a dot, and its own name:
  `W.root.say-driver`, `W.root.say.executor` (backend/src/v2/compiler/argocompiler/dag.go and
  container.go).
- A server whose workflow defaults have a retryStrategy, as 2.17.0 has, puts `(0)` behind each name:
  `W(0).root(0).say-driver(0)`.

In `task_details` of the run, the field `child_tasks` of a node has the ids of the nodes that follow
it. kfgcp uses a computed name only when one of these ids belongs to it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Final

from kfgcp.backends.kubeflow.messages import NodeAnswer, RunAnswer, read_pipeline, workflow_nodes
from kfgcp.model import TaskKind
from kfgcp.spec.graph import Graph, TaskDef, task_kind

FAILED: Final = "FAILED"

# The suffix of the name of a node: nothing, or the number of the first attempt.
_SUFFIXES: Final = ("", "(0)")
_SEGMENT: Final = re.compile(r"(?P<key>.+?)(?:\[(?P<iteration>\d+)\])?")

# FNV-1a with 32 bits: the offset basis and the prime.
_FNV_BASIS: Final = 0x811C9DC5
_FNV_PRIME: Final = 0x01000193


@dataclass(frozen=True, slots=True)
class FailedDriver:
    """A driver that failed. A driver prepares a task and creates its pod.

    Attributes:
        pod: the name of the driver's pod.
        node: the driver's node, or the node that stands for all attempts of the driver.
    """

    pod: str
    node: NodeAnswer


@dataclass(frozen=True, slots=True)
class _Driver:
    """The driver of a task.

    Attributes:
        node_name: the name of the driver's node, without the number of an attempt.
        template: the template of the driver's pod.
        next_node_name: the name of the node that follows the driver, without the number of an
            attempt.
    """

    node_name: str
    template: str
    next_node_name: str


@dataclass(frozen=True, slots=True)
class _Node:
    """The node of a task, of one of its iterations, or of the whole run.

    Attributes:
        name: the name of the node, without the number of an attempt.
        suffix: the suffix of the names of nodes in this workflow, see `_SUFFIXES`.
        kind: the kind of the task. Iterations and the run are DAGs.
        is_retried: whether the pipeline has a retry for the task or for a group that contains it.
    """

    name: str
    suffix: str
    kind: TaskKind
    is_retried: bool = False

    def driver(self) -> _Driver | None:
        """Return the driver of the task, None for an importer, which has no driver."""
        if self.kind is TaskKind.IMPORTER:
            return None
        if self.kind is TaskKind.LOOP:
            loop = f"{self.name}{self.suffix}"
            iterations = f"{loop}.iteration-iterations"
            return _Driver(f"{loop}.iteration-driver", "system-dag-driver", iterations)
        template = "system-dag-driver"
        if self.kind is TaskKind.CONTAINER:
            template = "system-container-driver"
        return _Driver(f"{self.name}-driver", template, self.name)

    def executor(self) -> tuple[str, str, str] | None:
        """Return the node name, the template and the suffix of the executor, None for a group."""
        if self.kind is TaskKind.IMPORTER:
            return self.name, "system-importer", self.suffix
        if self.kind is not TaskKind.CONTAINER:
            return None
        name = f"{self.name}{self.suffix}.executor"
        # A task with a retry in the pipeline has a different template, and its attempts have
        # numbers.
        if self.is_retried:
            return name, "retry-system-container-impl", "(0)"
        return name, "system-container-impl", self.suffix


class WorkflowPods:
    """Computes the names of the pods of a run.

    Args:
        nodes: the nodes of the workflow of the run.
        graph: the pipeline of the run.
    """

    def __init__(self, nodes: Sequence[NodeAnswer], graph: Graph) -> None:
        self._graph = graph
        self._nodes = nodes
        self._ids: set[str] = set()
        for node in nodes:
            self._ids.update(child.get("pod_name") or "" for child in node.get("child_tasks") or ())
        self._ids.discard("")
        # Each id is the name of the workflow and a number.
        self.workflow = min(self._ids, default="").rpartition("-")[0]

    def driver(self, path: str) -> str:
        """Return the pod of a task's driver, "" when there is none.

        Args:
            path: the path of a task or an iteration, "" for the whole run.
        """
        for driver, suffix in self._find_drivers(path):
            attempts = self._find_attempts(driver.node_name, suffix)
            if attempts:
                return self._pod(driver.template, attempts[-1])
        return ""

    def failed_driver(self, path: str) -> str:
        """Return the pod of a task's driver when the driver failed, otherwise "".

        Args:
            path: the path of a task or an iteration, "" for the whole run.
        """
        failed = self.failed_driver_node(path)
        return failed.pod if failed is not None else ""

    def failed_driver_node(self, path: str) -> FailedDriver | None:
        """Return the pod and the node of a task's driver when the driver failed, otherwise None.

        Args:
            path: the path of a task or an iteration, "" for the whole run.
        """
        for driver, suffix in self._find_drivers(path):
            next_id = self._id(driver.next_node_name)
            for attempt in reversed(self._find_attempts(driver.node_name, suffix)):
                display_name = attempt.rpartition(".")[2]
                node = self._find_failed_node(display_name, next_id)
                if node is not None:
                    return FailedDriver(self._pod(driver.template, attempt), node)
        return None

    def executors(self, path: str) -> list[str]:
        """Return the pods of a task's executor, one for each attempt, from the first to the last.

        An importer has one pod. A group has no pods.
        """
        for node in self._find_nodes(path):
            executor = node.executor()
            if executor is None:
                continue
            name, template, suffix = executor
            attempts = self._find_attempts(name, suffix)
            if attempts:
                return [self._pod(template, attempt) for attempt in attempts]
        return []

    def _find_drivers(self, path: str) -> Iterator[tuple[_Driver, str]]:
        """Yield the drivers that a task may have, each with the suffix of its node."""
        for node in self._find_nodes(path):
            driver = node.driver()
            if driver is not None:
                yield driver, node.suffix

    def _find_nodes(self, path: str) -> Iterator[_Node]:
        """Yield the nodes that a task may have, with and without the number of an attempt."""
        if not self.workflow:
            return
        segments = path.split("/") if path else []
        for suffix in _SUFFIXES:
            root = _Node(f"{self.workflow}{suffix}.root", suffix, TaskKind.DAG)
            yield from _walk(root, "root", segments, self._graph)

    def _find_attempts(self, name: str, suffix: str) -> list[str]:
        """Return the names of the nodes of all attempts, from the first to the last."""
        if not suffix:
            return [name] if self._id(name) in self._ids else []
        names: list[str] = []
        for number in count():
            attempt = f"{name}({number})"
            if self._id(attempt) not in self._ids:
                break
            names.append(attempt)
        return names

    def _find_failed_node(self, display_name: str, next_id: str) -> NodeAnswer | None:
        """Return the failed node with a name, if the node with the id `next_id` follows it.

        The drivers of several tasks may have the same display name, but different nodes follow.
        """
        for node in self._nodes:
            if node.get("display_name") != display_name or node.get("state") != FAILED:
                continue
            ids = [child.get("pod_name") for child in node.get("child_tasks") or ()]
            if next_id in ids:
                return node
        return None

    def _id(self, node_name: str) -> str:
        return f"{self.workflow}-{node_hash(node_name)}"

    def _pod(self, template: str, node_name: str) -> str:
        return f"{self.workflow}-{template}-{node_hash(node_name)}"


def read_workflow_pods(run: RunAnswer) -> WorkflowPods | None:
    """Return an object that computes the pods of a run, None when its pipeline cannot be read.

    Args:
        run: the answer of the server, with its spec.
    """
    _, graph = read_pipeline(run)
    if graph is None:
        return None
    return WorkflowPods(workflow_nodes(run), graph)


def node_hash(name: str) -> int:
    """Return Argo's hash of a node's name: FNV-1a with 32 bits.

    Example:
        >>> node_hash("param-none-4zr6j.root.say-driver")
        2245913054
    """
    value = _FNV_BASIS
    for byte in name.encode():
        value = (value ^ byte) * _FNV_PRIME & 0xFFFFFFFF
    return value


def _walk(start: _Node, component: str, segments: Sequence[str], graph: Graph) -> Iterator[_Node]:
    """Yield the nodes that the segments of a path lead to, from a start node.

    Args:
        start: the node of the group that contains the first segment.
        component: the name of the component that the group runs.
        segments: the path inside the group, such as `["for-loop-4[0]", "double"]`.
        graph: the pipeline.
    """
    if not segments:
        yield start
        return
    segment = _SEGMENT.fullmatch(segments[0])
    definition = graph.root if component == "root" else graph.components[component]
    if segment is None or definition.dag is None:
        return
    task = definition.dag.tasks.get(segment["key"])
    if task is None:
        return
    kind = task_kind(task, graph.component(task))
    is_retried = start.is_retried or task.retry is not None
    for parent in _possible_parents(start, task):
        node = _Node(f"{parent}.{task.key}", start.suffix, kind, is_retried)
        if segment["iteration"] is not None:
            node = _iteration_node(node, segment["iteration"])
        yield from _walk(node, task.component, segments[1:], graph)


def _iteration_node(loop: _Node, number: str) -> _Node:
    """Return the node of an iteration of a loop."""
    # An iteration is an item of Argo's withSequence. The name of its node contains the index and
    # the value of the item, which are equal here.
    item = f"iteration-iterations({number}:{number})"
    name = f"{loop.name}{loop.suffix}.{item}{loop.suffix}.iteration-item"
    return _Node(name, loop.suffix, TaskKind.DAG, loop.is_retried)


def _possible_parents(group: _Node, task: TaskDef) -> Iterator[str]:
    """Yield the names of the nodes that may contain the node of a task.

    A task that also runs when another task failed is an exit hook of that other task.
    """
    group_name = f"{group.name}{group.suffix}"
    if not (task.runs_always and task.upstream):
        yield group_name
        return
    for upstream in task.upstream:
        yield f"{group_name}.{upstream}.onExit{group.suffix}"
