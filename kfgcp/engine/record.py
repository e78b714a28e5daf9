"""What the store keeps of a run under way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from kfgcp import file_uris
from kfgcp.engine.task_run import TaskRun
from kfgcp.engine.uses import Uses
from kfgcp.event import task_events
from kfgcp.model import Artifact, Metric, Task, TaskKind, TaskState
from kfgcp.semantics.inputs import add_defaults
from kfgcp.semantics.values import Values, as_record, replace_non_finite
from kfgcp.store.rows import CacheEntry, Changes, Outcome, Use
from kfgcp.store.store import Store


class Recorder:
    """Writes what happened in a run since the last time, all of it in one transaction.

    Args:
        store: where to.
        run_id: the run.
        now: gives the time as a timestamp, for what no attempt has stamped.
    """

    def __init__(self, store: Store, run_id: str, now: Callable[[], str]) -> None:
        self._store = store
        self._run_id = run_id
        self._now = now
        self._outcomes: list[Outcome] = []
        self._cached: list[CacheEntry] = []
        self._uses = Uses(store, run_id)

    def keep(self, outcome: Outcome, cached: CacheEntry | None = None) -> None:
        """Goes with the next write: what a task put out, and its entry in the cache."""
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
        tasks: list[Task] = []
        artifacts: list[Artifact] = []
        metrics: list[Metric] = []
        uses: list[Use] = []
        new_tasks: list[Task] = []
        attempt_starts: dict[str, str] = {}
        for node in nodes:
            if node.parent is None:
                continue
            uses.extend(self._uses.of(node))
            self._stamp(node)
            task = task_record(node)
            tasks.append(task)
            if not node.recorded:
                new_tasks.append(task)
                if node.attempt_started_at:
                    attempt_starts[node.path] = node.attempt_started_at
            found_artifacts, found_metrics = outputs_record(node)
            artifacts += found_artifacts
            metrics += found_metrics
        if not tasks and final is None:
            return
        tasks.sort(key=lambda task: task.started_at or "")
        outcomes, self._outcomes = self._outcomes, []
        cached, self._cached = self._cached, []
        changes = replace(
            final or Changes(),
            tasks=tasks,
            artifacts=artifacts,
            metrics=metrics,
            cached=cached,
            outcomes=outcomes,
            uses=uses,
            events=task_events(self._run_id, new_tasks, metrics, attempt_starts=attempt_starts),
        )
        self._store.apply(self._run_id, changes)

    def _stamp(self, node: TaskRun) -> None:
        """Stamp what no attempt stamped: a DAG starts with the first of its tasks and ends with the
        last of them."""
        node.started_at = node.started_at or _first_start(node)
        if node.state is TaskState.RUNNING:
            node.started_at = node.started_at or self._now()
        elif node.started_at is not None:
            inner = [
                child.ended_at for child in node.children.values() if child.ended_at is not None
            ]
            node.ended_at = node.ended_at or max(inner, default=None) or self._now()


def _first_start(node: TaskRun) -> str | None:
    """Return when the first of the tasks in a DAG started, None when none did.

    That may be before the DAG is recorded. When all tasks in it are taken from the cache, or from
    before an interruption, the DAG has even ended by then.
    """
    starts = (child.started_at or _first_start(child) for child in node.children.values())
    return min(filter(None, starts), default=None)


def task_record(node: TaskRun) -> Task:
    """The task as it is now; inputs as the component receives them, defaults included."""
    return Task(
        path=node.path,
        kind=node.kind,
        state=node.state,
        attempts=node.attempts,
        cache=node.cache if node.kind is TaskKind.CONTAINER else None,
        started_at=node.started_at,
        ended_at=node.ended_at if node.state.final else None,
        inputs=_inputs(node),
        outputs=as_record(node.outputs),
        error=node.error if node.state in (TaskState.FAILED, TaskState.PENDING) else None,
    )


def outputs_record(node: TaskRun) -> tuple[list[Artifact], list[Metric]]:
    """The artifacts of a finished task, and the metrics in their metadata; none of a DAG or
    loop."""
    artifacts: list[Artifact] = []
    metrics: list[Metric] = []
    if node.kind in (TaskKind.DAG, TaskKind.LOOP) or not node.state.ok or node.recorded:
        return artifacts, metrics
    for name, items in node.outputs.artifacts.items():
        for item in items:
            artifacts.append(
                Artifact(
                    node.path,
                    name,
                    item.type,
                    file_uris.to_uri(item.uri),
                    replace_non_finite(dict(item.metadata)),
                )
            )
            if item.type == "system.Metrics":
                metrics.extend(_metrics(node.path, name, item.metadata))
    return artifacts, metrics


def _inputs(node: TaskRun) -> dict[str, Any]:
    """As the component receives them; of an iteration only its item of what the loop goes over. Of
    a task that was left out because of others none: it was given nothing."""
    if node.state in (TaskState.SKIPPED, TaskState.CANCELLED) and node.inputs == Values():
        return {}
    inputs = as_record(add_defaults(node.inputs, node.component))
    loop = node.parent
    if (
        loop is not None
        and loop.kind is TaskKind.LOOP
        and loop.task is not None
        and loop.task.iterator is not None
    ):
        inputs.pop(loop.task.iterator.input or "", None)
    return inputs


def _metrics(task: str, artifact: str, metadata: Mapping[str, Any]) -> list[Metric]:
    return [
        Metric(task, artifact, name, value)
        for name, value in metadata.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    ]
