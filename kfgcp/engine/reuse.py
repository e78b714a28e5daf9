"""Results of tasks that ended before: in this run, before it was interrupted, or in a run that this
one repeats."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kfgcp.bucket_settings import DEFAULTS, BucketSettings
from kfgcp.engine import cache
from kfgcp.engine.task_run import TaskRun
from kfgcp.model import Cache, ErrorInfo, Task, TaskKind, TaskState
from kfgcp.semantics.nodes import lineage
from kfgcp.semantics.values import Values
from kfgcp.store.rows import DeletedSuccess, Origin, Outcome
from kfgcp.store.store import Store


@dataclass(frozen=True, slots=True)
class Done:
    """How a task ended that does not run again.

    origin: the attempt that made the outputs, when it was one of another run. error: of a task that
    failed for good.
    """

    outputs: Values
    cache: Cache | None = None
    origin: Origin | None = None
    error: ErrorInfo | None = None


class EarlierResults:
    """The results of earlier runs that this run may use, by task path.

    Args:
        store: where they are.
        run_id: this run; what it finished before an interruption stays as it is.
        repeats: a run to take unchanged tasks from.
        from_task: a path of that run, of a task, DAG, loop or iteration: all in it and all that
            depends on it run again, whatever they put out.
        buckets: where buckets are.
    """

    def __init__(
        self,
        store: Store,
        run_id: str,
        repeats: str | None,
        from_task: str | None,
        buckets: BucketSettings = DEFAULTS,
    ) -> None:
        self._store = store
        self._buckets = buckets
        self._tasks: Mapping[str, Task] = {task.path: task for task in store.tasks(run_id)}
        self._outcomes = store.outcomes(run_id) if self._tasks else {}
        self._interrupted = store.interruptions(run_id) if self._tasks else {}
        self._repeats = repeats
        self._repeated: Mapping[str, Outcome] = store.outcomes(repeats) if repeats else {}
        self._origins: Mapping[str, Origin] = store.origins(repeats) if repeats else {}
        self._from_task = from_task
        self._lost: dict[str, str] = {}

    def mark(self, node: TaskRun) -> None:
        """Marks a task that was asked to run again, or depends on one that was; before it is
        recalled."""
        if self._from_task is None:
            return
        for asked in lineage(node):
            if asked.path == self._from_task:
                asked.spoil()
        if node.must_run:
            node.spoil()

    def recall(self, node: TaskRun) -> Done | None:
        """How the task ended before, None when it must run.

        The caller holds the `FileUse` lock until it has recorded that this run uses the outputs.
        """
        before = self._tasks.get(node.path)
        if before is not None and before.state in (TaskState.SUCCEEDED, TaskState.CACHED):
            _restore(node, before)
            outcome = self._outcomes[node.path]
            return Done(cache.parse_outputs(outcome.outputs), before.cache)
        if before is not None and before.state is TaskState.FAILED and before.error is not None:
            _restore(node, before)
            return Done(Values(), error=before.error)
        if (
            before is not None
        ):  # an attempt that was under way when the run was interrupted is no failure
            node.attempts = before.attempts
            node.failures = before.attempts - self._interrupted.get(node.path, 0)
        return self._unchanged(node)

    def lost(self, node: TaskRun) -> str | None:
        """Return why a task that is unchanged cannot be taken from the run that this one repeats,
        None if it can."""
        return self._lost.get(node.path)

    def _unchanged(self, node: TaskRun) -> Done | None:
        if self._repeats is None or not self._repeated or node.must_run:
            return None
        outcome = self._repeated.get(node.path)
        if outcome is None or outcome.key != cache.task_key(node):
            return None
        if not self._store.is_recorded(self._repeats):
            # A run that was deleted since this one started keeps no files any more.
            deleted = DeletedSuccess(self._repeats, cache.has_files(outcome.outputs))
            self._lost[node.path] = cache.why_deleted(deleted)
            return None
        unusable = cache.why_unusable(outcome.outputs, self._repeats, self._buckets)
        if unusable is not None:
            self._lost[node.path] = unusable.reason
            return None
        taken = Cache(True, f"taken from run {self._repeats}: same code and inputs")
        return Done(cache.parse_outputs(outcome.outputs), taken, self._origins.get(node.path))


def build_outcome(node: TaskRun) -> Outcome:
    """What the store keeps of a task that succeeded."""
    key = cache.task_key(node) if node.kind is TaskKind.CONTAINER else ""
    outputs: dict[str, Any] = cache.format_outputs(node.outputs)
    return Outcome(node.path, key, outputs)


def _restore(node: TaskRun, before: Task) -> None:
    node.attempts, node.started_at, node.ended_at = (
        before.attempts,
        before.started_at,
        before.ended_at,
    )
    node.recorded = True
