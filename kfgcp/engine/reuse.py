"""Reuse the results of tasks that ended before this engine started.

Such a task ended in this run before an interruption, or in another run that this run repeats.
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
        outputs: the outputs of the task.
        cache: whether the outputs come from another run, and the reason; None when it is unknown.
        origin: the attempt of another run that made the outputs, None when this run made them.
        error: the error of a task that failed in its last attempt, None for any other task.
    """

    outputs: Values
    cache: Cache | None = None
    origin: Origin | None = None
    error: ErrorInfo | None = None


class EarlierResults:
    """The earlier results that the tasks of one run may use.

    Args:
        store: the store that has the results.
        run_id: this run. Tasks that finished before an interruption of the run do not run again.
        repeats: the id of another run. Unchanged tasks take their results from it. None when this
            run repeats no other run.
        from_task: the path of a task, DAG, loop or iteration. All tasks in it, and all tasks that
            depend on it, run again even when they are unchanged.
        buckets: the addresses of object stores, and their time limits.
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
        self._earlier_tasks: Mapping[str, Task] = {task.path: task for task in store.tasks(run_id)}
        # A new run has no tasks in the store, so these reads are not needed.
        self._outcomes = store.outcomes(run_id) if self._earlier_tasks else {}
        self._interruptions = store.interruptions(run_id) if self._earlier_tasks else {}
        self._repeats = repeats
        self._repeated_outcomes: Mapping[str, Outcome] = {}
        self._repeated_origins: Mapping[str, Origin] = {}
        if repeats:
            self._repeated_outcomes = store.outcomes(repeats)
            self._repeated_origins = store.origins(repeats)
        self._from_task = from_task
        self._reuse_problems: dict[str, str] = {}

    def mark_reruns(self, node: TaskRun) -> None:
        """Request a rerun of a node if it is in `from_task` or depends on it.

        Call this before `find_result`.
        """
        if self._from_task is None:
            return
        for ancestor in lineage(node):
            if ancestor.path == self._from_task:
                ancestor.request_rerun()
        if node.must_run:
            node.request_rerun()

    def find_result(self, node: TaskRun) -> EarlierResult | None:
        """Return the result that the task had before, None when there is no result to use.

        For a task that ended, or that has attempts from before an interruption, the times and
        numbers of attempts in `node` are set too.

        The caller holds the `FileUse` lock until it has recorded that this run uses the outputs.
        """
        earlier_task = self._earlier_tasks.get(node.path)
        if earlier_task is None:
            return self._take_unchanged(node)
        if earlier_task.state in (TaskState.SUCCEEDED, TaskState.CACHED):
            _restore(node, earlier_task)
            outputs = parse_outputs(self._outcomes[node.path].outputs)
            return EarlierResult(outputs, earlier_task.cache)
        if earlier_task.state is TaskState.FAILED and earlier_task.error is not None:
            _restore(node, earlier_task)
            return EarlierResult(Values(), error=earlier_task.error)
        # The next attempt gets the next number, so it has folders of its own. An attempt that ran
        # when the run was interrupted did not fail, so it does not use up a retry.
        node.attempts = earlier_task.attempts
        node.failures = earlier_task.attempts - self._interruptions.get(node.path, 0)
        return self._take_unchanged(node)

    def reuse_problem(self, node: TaskRun) -> str | None:
        """Return why an unchanged task cannot use its result in the run that this run repeats.

        Returns:
            One line for the user. None when there is no problem.
        """
        return self._reuse_problems.get(node.path)

    def _take_unchanged(self, node: TaskRun) -> EarlierResult | None:
        """Return the result of the same task in the run that this run repeats.

        Returns:
            None when the task has changed, when it must run again, or when its result cannot be
            used.
        """
        if self._repeats is None or not self._repeated_outcomes or node.must_run:
            return None
        outcome = self._repeated_outcomes.get(node.path)
        if outcome is None or outcome.key != task_key(node):
            return None
        if not self._store.is_recorded(self._repeats):
            # Somebody has deleted the other run after this run started, so its files are gone.
            deleted = DeletedSuccess(self._repeats, has_files(outcome.outputs))
            self._reuse_problems[node.path] = explain_deleted(deleted)
            return None
        unusable = why_unusable(outcome.outputs, self._repeats, self._buckets)
        if unusable is not None:
            self._reuse_problems[node.path] = unusable.reason
            return None
        cache = Cache(True, f"taken from run {self._repeats}: {SAME_CODE_AND_INPUTS}")
        origin = self._repeated_origins.get(node.path)
        return EarlierResult(parse_outputs(outcome.outputs), cache, origin)


def build_outcome(node: TaskRun) -> Outcome:
    """Return the record from which a later run can reuse the result of a task that succeeded."""
    key = task_key(node) if node.kind is TaskKind.CONTAINER else ""
    return Outcome(node.path, key, format_outputs(node.outputs))


def _restore(node: TaskRun, earlier_task: Task) -> None:
    """Set the attempts and times of a node that ended before an interruption of this run."""
    node.attempts = earlier_task.attempts
    node.started_at = earlier_task.started_at
    node.ended_at = earlier_task.ended_at
    node.recorded = True
