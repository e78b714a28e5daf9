"""Write the tasks, artifacts, metrics and events of a run to the store."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from kfgcp import file_uris
from kfgcp.engine.task_run import TaskRun
from kfgcp.engine.uses import Uses
from kfgcp.event import task_events
from kfgcp.model import Artifact, Metric, Task, TaskKind, TaskState
from kfgcp.semantics.inputs import add_defaults
from kfgcp.semantics.values import ArtifactValue, Values, as_record, replace_non_finite
from kfgcp.store.rows import CacheEntry, Changes, Outcome, Use
from kfgcp.store.store import Store


@dataclass(slots=True)
class _Rows:
    """The rows of one write to the store.

    Attributes:
        tasks: the tasks that changed.
        new_tasks: the tasks that the store may not have yet. They are also in `tasks`.
        attempt_starts: the time when this engine started the last attempt of a new task, by task
            path.
        artifacts: the output artifacts of tasks that have ended.
        metrics: the metrics of tasks that have ended.
        uses: the attempts of other runs that tasks use.
    """

    tasks: list[Task] = field(default_factory=list)
    new_tasks: list[Task] = field(default_factory=list)
    attempt_starts: dict[str, str] = field(default_factory=dict)
    artifacts: list[Artifact] = field(default_factory=list)
    metrics: list[Metric] = field(default_factory=list)
    uses: list[Use] = field(default_factory=list)


class Recorder:
    """The writer of a run's changes. Each write is one transaction.

    So after a crash, the store has complete turns of the engine's loop. It has no task without its
    outputs. When it has a task that uses files of another run, it also has the record of this use.

    Args:
        store: the store.
        run_id: the run.
        now: returns the time as a timestamp. It is used for tasks that have no time of an attempt.
    """

    def __init__(self, store: Store, run_id: str, now: Callable[[], str]) -> None:
        self._store = store
        self._run_id = run_id
        self._now = now
        self._outcomes: list[Outcome] = []
        self._cache_entries: list[CacheEntry] = []
        self._uses = Uses(store, run_id)

    def add_outcome(self, outcome: Outcome, cache_entry: CacheEntry | None = None) -> None:
        """Add the outcome of a task, and its entry in the cache, to the next write."""
        self._outcomes.append(outcome)
        if cache_entry is not None:
            self._cache_entries.append(cache_entry)

    def write(self, nodes: Iterable[TaskRun], final: Changes | None = None) -> None:
        """Write the nodes that changed, their events, and the outcomes since the last write.

        Write nothing when no task changed and `final` is None.

        Args:
            nodes: the nodes in the order of their changes. So a task comes before the tasks that
                depend on it.
            final: the changes of the run itself, None for no changes.
        """
        rows = _Rows()
        for node in nodes:
            # The pipeline itself is not a task.
            if node.parent is not None:
                self._add_rows(rows, node)
        if not rows.tasks and final is None:
            return
        rows.tasks.sort(key=lambda task: task.started_at or "")
        events = task_events(
            self._run_id, rows.new_tasks, rows.metrics, attempt_starts=rows.attempt_starts
        )
        changes = replace(
            final or Changes(),
            tasks=rows.tasks,
            artifacts=rows.artifacts,
            metrics=rows.metrics,
            cached=self._cache_entries,
            outcomes=self._outcomes,
            uses=rows.uses,
            events=events,
        )
        # The lists are not cleared, because they are part of `changes` now.
        self._outcomes = []
        self._cache_entries = []
        self._store.apply(self._run_id, changes)

    def _add_rows(self, rows: _Rows, node: TaskRun) -> None:
        rows.uses.extend(self._uses.task_uses(node))
        self._set_times(node)
        task = task_record(node)
        rows.tasks.append(task)
        if not node.recorded:
            rows.new_tasks.append(task)
            if node.attempt_started_at:
                rows.attempt_starts[node.path] = node.attempt_started_at
        artifacts, metrics = outputs_record(node)
        rows.artifacts += artifacts
        rows.metrics += metrics

    def _set_times(self, node: TaskRun) -> None:
        """Set the start and end of a node that has no attempts, such as a DAG.

        A DAG starts with its first task and ends with its last task.
        """
        node.started_at = node.started_at or _first_start(node)
        if node.state is TaskState.RUNNING:
            node.started_at = node.started_at or self._now()
        elif node.started_at is not None:
            node.ended_at = node.ended_at or _last_end(node) or self._now()


def _first_start(node: TaskRun) -> str | None:
    """Return when the first task in a DAG started, None when no task has started.

    Tasks in a DAG can start before the DAG is recorded for the first time. When all of them come
    from the cache, or had ended before an interruption, even the DAG has ended by then.
    """
    first: str | None = None
    for child in node.children.values():
        start = child.started_at or _first_start(child)
        if start and (first is None or start < first):
            first = start
    return first


def _last_end(node: TaskRun) -> str | None:
    """Return when the last child of a node ended, None when no child has ended."""
    ends = [child.ended_at for child in node.children.values() if child.ended_at is not None]
    return max(ends, default=None)


def task_record(node: TaskRun) -> Task:
    """Return the task as the store has it, with the inputs that the component receives."""
    # A task that waits for a retry shows the error of its last attempt.
    shows_error = node.state in (TaskState.FAILED, TaskState.PENDING)
    error = node.error if shows_error else None
    # While the task is not final, `node.ended_at` is the end of an earlier attempt.
    ended_at = node.ended_at if node.state.final else None
    cache = node.cache if node.kind is TaskKind.CONTAINER else None
    return Task(
        path=node.path,
        kind=node.kind,
        state=node.state,
        attempts=node.attempts,
        cache=cache,
        started_at=node.started_at,
        ended_at=ended_at,
        inputs=_inputs_record(node),
        outputs=as_record(node.outputs),
        error=error,
    )


def outputs_record(node: TaskRun) -> tuple[list[Artifact], list[Metric]]:
    """Return the artifacts of a task that succeeded, and the metrics in their metadata.

    DAGs and loops only pass on artifacts of their tasks, so nothing is returned for them.
    """
    artifacts: list[Artifact] = []
    metrics: list[Metric] = []
    if node.kind in (TaskKind.DAG, TaskKind.LOOP) or not node.state.ok or node.recorded:
        return artifacts, metrics
    for name, items in node.outputs.artifacts.items():
        for item in items:
            artifacts.append(_artifact(node.path, name, item))
            if item.type == "system.Metrics":
                metrics.extend(_metrics(node.path, name, item.metadata))
    return artifacts, metrics


def _inputs_record(node: TaskRun) -> dict[str, Any]:
    """Return the inputs of a task, with their defaults.

    A task that did not start because of other tasks has no inputs. An iteration has its item, but
    not the whole list of the loop.
    """
    did_not_start = node.state in (TaskState.SKIPPED, TaskState.CANCELLED)
    if did_not_start and node.inputs == Values():
        return {}
    inputs = as_record(add_defaults(node.inputs, node.component))
    loop = node.parent
    if loop is None or loop.kind is not TaskKind.LOOP or loop.task is None:
        return inputs
    iterator = loop.task.iterator
    if iterator is not None:
        # A record of the whole list for each item would need space that grows with the square of
        # the number of items.
        inputs.pop(iterator.input or "", None)
    return inputs


def _artifact(task: str, name: str, item: ArtifactValue) -> Artifact:
    metadata = replace_non_finite(dict(item.metadata))
    return Artifact(task, name, item.type, file_uris.to_uri(item.uri), metadata)


def _metrics(task: str, artifact: str, metadata: Mapping[str, Any]) -> list[Metric]:
    metrics: list[Metric] = []
    for name, value in metadata.items():
        # In Python a bool is an int.
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            metrics.append(Metric(task, artifact, name, value))
    return metrics
