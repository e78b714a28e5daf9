"""Use the results of tasks that ended before.

That is in this run, before it was interrupted, or in a run that this one repeats.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kfgcp.bucket_settings import DEFAULTS, BucketSettings
from kfgcp.engine.cache_key import task_key
from kfgcp.engine.cache_reasons import SAME_CODE_AND_INPUTS, explain_deleted
from kfgcp.engine.stored_outputs import format_outputs, has_files, parse_outputs, why_unusable
from kfgcp.engine.task_run import TaskRun
from kfgcp.model import Cache, ErrorInfo, Task, TaskKind, TaskState
from kfgcp.semantics.nodes import lineage
from kfgcp.semantics.values import Values
from kfgcp.store.rows import DeletedSuccess, Origin, Outcome
from kfgcp.store.store import Store


@dataclass(frozen=True, slots=True)
class EarlierResult:
    """The result of a task that ended before.

    Attributes:
        outputs: its outputs.
        cache: whether they come from an earlier run, and why.
        origin: the attempt that made the outputs, when another run made them.
        error: the error of a task that failed for good.
    """

    outputs: Values
    cache: Cache | None = None
    origin: Origin | None = None
    error: ErrorInfo | None = None


class EarlierResults:
    """The results of earlier runs that this run may use, by task path.

    Args:
        store: where they are.
        run_id: this run; the tasks that it finished before an interruption stay as they are.
        repeats: a run to take unchanged tasks from.
        from_task: a path of that run: a task, DAG, loop or iteration. All tasks in it and all that
            depend on it run again, whatever outputs they have.
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
        # A new run has no tasks, and then nothing else to read.
        self._outcomes = store.outcomes(run_id) if self._tasks else {}
        self._interruptions = store.interruptions(run_id) if self._tasks else {}
        self._repeats = repeats
        self._repeated: Mapping[str, Outcome] = {}
        self._origins: Mapping[str, Origin] = {}
        if repeats:
            self._repeated = store.outcomes(repeats)
            self._origins = store.origins(repeats)
        self._from_task = from_task
        self._reuse_problems: dict[str, str] = {}

    def mark(self, node: TaskRun) -> None:
        """Mark a task that was asked to run again, or that depends on one that was.

        This comes before `recall`.
        """
        if self._from_task is None:
            return
        for ancestor in lineage(node):
            if ancestor.path == self._from_task:
                ancestor.spoil()
        if node.must_run:
            node.spoil()

    def recall(self, node: TaskRun) -> EarlierResult | None:
        """Return how the task ended before, None when it must run.

        The caller holds the `FileUse` lock until it has recorded that this run uses the outputs.
        """
        before = self._tasks.get(node.path)
        if before is None:
            return self._take_unchanged(node)
        if before.state in (TaskState.SUCCEEDED, TaskState.CACHED):
            _restore(node, before)
            outputs = parse_outputs(self._outcomes[node.path].outputs)
            return EarlierResult(outputs, before.cache)
        if before.state is TaskState.FAILED and before.error is not None:
            _restore(node, before)
            return EarlierResult(Values(), error=before.error)
        # The attempts are counted on, so that the next one gets folders of its own. An attempt that
        # ran when the run was interrupted did not fail, so it takes no retry away.
        node.attempts = before.attempts
        node.failures = before.attempts - self._interruptions.get(node.path, 0)
        return self._take_unchanged(node)

    def reuse_problem(self, node: TaskRun) -> str | None:
        """Return why an unchanged task cannot be taken from the run that this one repeats.

        Returns:
            None when it can be taken.
        """
        return self._reuse_problems.get(node.path)

    def _take_unchanged(self, node: TaskRun) -> EarlierResult | None:
        """Return the result of the same task in the run that this one repeats."""
        if self._repeats is None or not self._repeated or node.must_run:
            return None
        outcome = self._repeated.get(node.path)
        if outcome is None or outcome.key != task_key(node):
            return None
        if not self._store.is_recorded(self._repeats):
            # A run that was deleted since this one started keeps no files any more.
            deleted = DeletedSuccess(self._repeats, has_files(outcome.outputs))
            self._reuse_problems[node.path] = explain_deleted(deleted)
            return None
        unusable = why_unusable(outcome.outputs, self._repeats, self._buckets)
        if unusable is not None:
            self._reuse_problems[node.path] = unusable.reason
            return None
        cached = Cache(True, f"taken from run {self._repeats}: {SAME_CODE_AND_INPUTS}")
        return EarlierResult(parse_outputs(outcome.outputs), cached, self._origins.get(node.path))


def build_outcome(node: TaskRun) -> Outcome:
    """Return what the store keeps of a task that succeeded."""
    key = task_key(node) if node.kind is TaskKind.CONTAINER else ""
    return Outcome(node.path, key, format_outputs(node.outputs))


def _restore(node: TaskRun, before: Task) -> None:
    node.attempts = before.attempts
    node.started_at = before.started_at
    node.ended_at = before.ended_at
    node.recorded = True
