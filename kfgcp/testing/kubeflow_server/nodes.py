"""A node of an Argo workflow: its names, its state, and which tasks were reached.

`workflows` builds the nodes of a run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from kfgcp.model import Task, TaskKind, TaskState
from kfgcp.spec.graph import TaskDef

# The API has no state for Argo's phase Omitted, so it leaves the state of such a node empty.
OMITTED: Final = ""

NODE_STATES: Final[Mapping[TaskState, str]] = {
    TaskState.PENDING: "PENDING",
    TaskState.RUNNING: "RUNNING",
    TaskState.SUCCEEDED: "SUCCEEDED",
    TaskState.CACHED: "SUCCEEDED",
    TaskState.SKIPPED: "SKIPPED",
    TaskState.FAILED: "FAILED",
    TaskState.CANCELLED: "FAILED",
}

# FNV-1a with 32 bits.
_FNV_OFFSET_BASIS: Final = 0x811C9DC5
_FNV_PRIME: Final = 0x01000193


@dataclass(eq=False, slots=True, kw_only=True)
class Node:
    """A node of a workflow.

    Attributes:
        name: Argo's name, which begins with the name of the workflow.
        display_name: the name that the API shows.
        template: the name of the template that the node executes.
        state: the state, in the server's words.
        start: RFC 3339, None before the start.
        end: RFC 3339, None before the end.
        path: the path of the task of the node.
        attempt: the number of the attempt for the pod of an executor, else 0.
        main: whether the node stands for the task itself, not for a driver or an attempt.
        children: the nodes that follow this node.
        wrapped: the node inside, if this node is the wrapper of a retry strategy, else None.
    """

    name: str
    display_name: str
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
        """The node inside the wrapper of a retry strategy, or the node itself without one."""
        return self.wrapped or self


def node_id(workflow: str, node: Node) -> str:
    """Return the id that Argo gives to a node of a workflow with this name."""
    if node.name == workflow:
        return workflow
    return f"{workflow}-{_hash_name(node.name)}"


def pod_name(workflow: str, node: Node) -> str:
    """Return the name that Argo gives to the pod of a node."""
    if node.name == workflow:
        return workflow
    return f"{workflow}-{node.template}-{_hash_name(node.name)}"


def is_driver_failure(task: Task) -> bool:
    """Return whether the driver of a task failed, so that the task made no attempt."""
    return task.state is TaskState.FAILED and task.kind is TaskKind.CONTAINER and not task.attempts


def is_reached(
    task: Task, definition: TaskDef, parent_path: str, tasks_by_path: Mapping[str, Task]
) -> bool:
    """Return whether the driver of a task has run.

    The driver of a skipped task has run only if the task was skipped because its own condition was
    false. It has not run if an earlier task failed or was skipped.

    Args:
        task: the task in the run.
        definition: the task in the pipeline.
        parent_path: the path of the DAG that contains the task, empty for the root.
        tasks_by_path: all tasks of the run.
    """
    if task.state is not TaskState.SKIPPED:
        return True
    if not definition.condition:
        return False
    for key in definition.upstream:
        upstream = tasks_by_path.get(f"{parent_path}/{key}".lstrip("/"))
        if upstream is None or not upstream.state.ok:
            return False
    return True


def _hash_name(name: str) -> int:
    """Return Argo's hash of a node's name: FNV-1a with 32 bits."""
    digest = _FNV_OFFSET_BASIS
    for byte in name.encode():
        digest = (digest ^ byte) * _FNV_PRIME & 0xFFFFFFFF
    return digest
