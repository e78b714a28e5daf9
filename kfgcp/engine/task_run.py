"""What the engine knows about a node of a run, beyond what the scheduler knows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from kfgcp.semantics.nodes import Node, lineage
from kfgcp.store.rows import Origin


@dataclass(eq=False, slots=True)
class TaskRun(Node):
    """A node of a run that the engine executes.

    Attributes:
        losses: how many attempts ended because the process that ran them ended.
        made_from: digests of its code and inputs, see `cache_key.note_inputs`.
        unseen_reason: why changes in its inputs cannot be seen, "" when they can.
        recorded: whether its artifacts and metrics are in the store.
        origin: of a task that did not run, the attempt of another run that made its outputs.
        started_at: when it started, as a timestamp.
        ended_at: when it ended.
        attempt_started_at: when this engine started the last attempt, "" when it started none.
        rerun: whether it, or a task that it depends on, was asked to run again.
        spoiled: whether that is true of it or of a node in it.
    """

    losses: int = 0
    made_from: dict[str, Any] = field(default_factory=dict)
    unseen_reason: str = ""
    recorded: bool = False
    origin: Origin | None = None
    started_at: str | None = None
    ended_at: str | None = None
    attempt_started_at: str = ""
    rerun: bool = False
    spoiled: bool = False

    @property
    def must_run(self) -> bool:
        """Whether the results of an earlier run may not be used."""
        parent = self.parent
        if self.rerun:
            return True
        if parent is None:
            return False
        # An iteration has the task of its loop, whose upstream tasks count for the loop only.
        is_iteration = self.path.endswith("]")
        if self.task is None or is_iteration:
            return parent.must_run
        upstream = [parent.children[key] for key in self.task.upstream]
        if parent.must_run or any(node.spoiled for node in upstream):
            self.spoil()
        return self.rerun

    def spoil(self) -> None:
        """Ask it to run again, and with it the tasks that depend on it or on a DAG around it."""
        self.rerun = True
        for ancestor in lineage(self):
            ancestor.spoiled = True
