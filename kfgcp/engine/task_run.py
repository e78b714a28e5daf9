"""The node of a run, with what the engine knows beyond the scheduler."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from kfgcp.semantics.nodes import Node, lineage
from kfgcp.spec.graph import Container
from kfgcp.store.rows import Origin


@dataclass(eq=False, slots=True)
class TaskRun(Node):
    """A node of a run that the engine executes.

    Attributes:
        lost_attempts: how many attempts ended because the process that ran them ended.
        digests: digests of its code and inputs, see `cache_key.digest_code_and_inputs`.
        unseen_changes_reason: why changes in its inputs cannot be seen, "" when they can.
        recorded: whether its artifacts and metrics are in the store.
        origin: the attempt of another run that made its outputs, None when it ran in this run.
        started_at: when it started, as a timestamp.
        ended_at: when it ended, as a timestamp.
        attempt_started_at: when this engine started the last attempt, "" when it started none.
        rerun_requested: the user asked to run this node again, or a task that it depends on.
        contains_rerun: `rerun_requested` is true for this node or for a node inside it.
    """

    lost_attempts: int = 0
    digests: dict[str, Any] = field(default_factory=dict)
    unseen_changes_reason: str = ""
    recorded: bool = False
    origin: Origin | None = None
    started_at: str | None = None
    ended_at: str | None = None
    attempt_started_at: str = ""
    rerun_requested: bool = False
    contains_rerun: bool = False

    @property
    def timeout(self) -> float | None:
        """The seconds that an attempt may take, None for no limit."""
        container = self.component.executor
        return container.cluster.timeout if isinstance(container, Container) else None

    @property
    def must_run(self) -> bool:
        """Whether the node must run again instead of using the result of an earlier run."""
        parent = self.parent
        if self.rerun_requested:
            return True
        if parent is None:
            return False
        # An iteration has the same task as its loop. But the upstream tasks of that task are
        # siblings of the loop, not of the iteration.
        is_iteration = self.path.endswith("]")
        if self.task is None or is_iteration:
            return parent.must_run
        upstream = [parent.children[key] for key in self.task.upstream]
        if parent.must_run or any(node.contains_rerun for node in upstream):
            self.request_rerun()
        return self.rerun_requested

    def request_rerun(self) -> None:
        """Request that this node runs again.

        Tasks that depend on it, or on a DAG or loop around it, then run again too.
        """
        self.rerun_requested = True
        for ancestor in lineage(self):
            ancestor.contains_rerun = True
