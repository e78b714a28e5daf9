"""Write to the store what happened in a run."""

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
    """What changed, as the store has it.

    Attributes:
        attempt_starts: when the first attempts of new tasks started, by task path.
    """

    tasks: list[Task] = field(default_factory=list)
    new_tasks: list[Task] = field(default_factory=list)
    attempt_starts: dict[str, str] = field(default_factory=dict)
    artifacts: list[Artifact] = field(default_factory=list)
    metrics: list[Metric] = field(default_factory=list)
    uses: list[Use] = field(default_factory=list)


class Recorder:
    """Writes what happened in a run since the last time, all of it in one transaction.

    After a crash the store has whole turns of the loop: never a task without its outputs, nor a
    task that uses files of another run without the note that they are used.

    Args:
        store: where to write.
        run_id: the run.
        now: gives the time as a timestamp, for tasks that no attempt has stamped.
    """

    def __init__(self, store: Store, run_id: str, now: Callable[[], str]) -> None:
        self._store = store
        self._run_id = run_id
        self._now = now
        self._outcomes: list[Outcome] = []
        self._cached: list[CacheEntry] = []
        self._uses = Uses(store, run_id)

    def keep(self, outcome: Outcome, cached: CacheEntry | None = None) -> None:
        """Add the outputs of a task, and its entry in the cache, to the next write."""
        self._outcomes.append(outcome)
        if cached is not None:
            self._cached.append(cached)

    def write(self, nodes: Iterable[TaskRun], final: Changes | None = None) -> None:
        """Write nodes that changed, with their events, and what was kept for this write.

        Without such nodes and without `final`, nothing is written.

        Args:
            nodes: in the order of their changes, so that what depends on a task comes after it.
            final: what changed in the run itself.
        """
        rows = _Rows()
        for node in nodes:
            # The pipeline itself is not a task.
            if node.parent is not None:
                self._add(rows, node)
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
            cached=self._cached,
            outcomes=self._outcomes,
            uses=rows.uses,
            events=events,
        )
        # New lists, because `changes` has the old ones.
        self._outcomes = []
        self._cached = []
        self._store.apply(self._run_id, changes)

    def _add(self, rows: _Rows, node: TaskRun) -> None:
        rows.uses.extend(self._uses.task_uses(node))
        self._stamp(node)
        task = task_record(node)
        rows.tasks.append(task)
        if not node.recorded:
            rows.new_tasks.append(task)
            if node.attempt_started_at:
                rows.attempt_starts[node.path] = node.attempt_started_at
        artifacts, metrics = outputs_record(node)
        rows.artifacts += artifacts
        rows.metrics += metrics

    def _stamp(self, node: TaskRun) -> None:
        """Stamp a node that no attempt has stamped.

        A DAG starts with the first of its tasks and ends with the last of them.
        """
        node.started_at = node.started_at or _first_start(node)
        if node.state is TaskState.RUNNING:
            node.started_at = node.started_at or self._now()
        elif node.started_at is not None:
            node.ended_at = node.ended_at or _last_end(node) or self._now()


def _first_start(node: TaskRun) -> str | None:
    """Return when the first of the tasks in a DAG started, None when none did.

    That may be before the DAG is recorded. When all tasks in it are taken from the cache, or from
    before an interruption, the DAG has even ended by then.
    """
    first: str | None = None
    for child in node.children.values():
        start = child.started_at or _first_start(child)
        if start and (first is None or start < first):
            first = start
    return first


def _last_end(node: TaskRun) -> str | None:
    ends = [child.ended_at for child in node.children.values() if child.ended_at is not None]
    return max(ends, default=None)


def task_record(node: TaskRun) -> Task:
    """Return the task as it is now, with its inputs as the component receives them."""
    # A task that waits for its retry shows why its last attempt failed.
    shows_error = node.state in (TaskState.FAILED, TaskState.PENDING)
    error = node.error if shows_error else None
    # Before the last attempt has ended, the time is that of an earlier one.
    ended_at = node.ended_at if node.state.final else None
    cached = node.cache if node.kind is TaskKind.CONTAINER else None
    return Task(
        path=node.path,
        kind=node.kind,
        state=node.state,
        attempts=node.attempts,
        cache=cached,
        started_at=node.started_at,
        ended_at=ended_at,
        inputs=_inputs_record(node),
        outputs=as_record(node.outputs),
        error=error,
    )


def outputs_record(node: TaskRun) -> tuple[list[Artifact], list[Metric]]:
    """Return the artifacts of a finished task, and the metrics in their metadata.

    DAGs and loops have none of their own.
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
    """Return the inputs of a task, defaults included.

    A task that did not start because of other tasks has none. An iteration has only its item of the
    list that the loop goes over.
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
        # Recording the whole list for each item would take space that grows with its square.
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
