"""The events of a run, as frozen values, and how they follow from the record of the run.

The engine and the code that reads remote runs record the same events, in the transaction that
changes the run. An event says that something happened. The value of a metric or the text of an
error is not in the event but in the record of the run.

The key of an event depends only on the fact. The same fact has the same key, whoever records it and
however often. A key has the form `RUN/KIND`, and more parts where a run can have several events of
the kind:

| kind | what follows | the fact |
| --- | --- | --- |
| `run.created`, `run.started` | | happens once, also in a run that was continued |
| `run.succeeded`, `run.failed`, `run.cancelled` | the time | a continued run ends again |
| `task.started` | the path | the first attempt started, or the first task of a DAG or loop |
| `task.retried` | the path, the number of the attempt | a further attempt started |
| `task.failed` | the path, the time (not for a DAG or loop) | a continued run fails again |
| `task.succeeded`, `task.cached`, `task.skipped` | the path | |
| `metric.recorded` | path, artifact, name | a later change of the value is not an event |

`at` is a time from the record of the run, such as `Task.ended_at`, and never the time at which
kfgcp read the run. It is None where the record has no time: a skipped task never ran, and services
do not report when a further attempt started.
"""

from __future__ import annotations

import enum
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from kfgcp.model import JsonValue, Metric, Run, RunState, Task, TaskKind, TaskState, enclosing_paths


class EventKind(enum.StrEnum):
    """The kind of an event."""

    RUN_CREATED = "run.created"
    RUN_STARTED = "run.started"
    RUN_SUCCEEDED = "run.succeeded"
    RUN_FAILED = "run.failed"
    RUN_CANCELLED = "run.cancelled"
    TASK_STARTED = "task.started"
    TASK_SUCCEEDED = "task.succeeded"
    TASK_FAILED = "task.failed"
    TASK_SKIPPED = "task.skipped"
    TASK_CACHED = "task.cached"
    TASK_RETRIED = "task.retried"
    METRIC_RECORDED = "metric.recorded"


_RUN_ENDS: Final = {
    RunState.SUCCEEDED: EventKind.RUN_SUCCEEDED,
    RunState.FAILED: EventKind.RUN_FAILED,
    RunState.CANCELLED: EventKind.RUN_CANCELLED,
}

# A cancelled task has no event of its own: `run.cancelled` or `run.failed` says why it ended.
_TASK_ENDS: Final = {
    TaskState.SUCCEEDED: EventKind.TASK_SUCCEEDED,
    TaskState.FAILED: EventKind.TASK_FAILED,
    TaskState.SKIPPED: EventKind.TASK_SKIPPED,
    TaskState.CACHED: EventKind.TASK_CACHED,
}

_EXECUTED: Final = (TaskState.RUNNING, TaskState.SUCCEEDED, TaskState.FAILED, TaskState.CANCELLED)
_GROUPS: Final = (TaskKind.DAG, TaskKind.LOOP)


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a run.

    Attributes:
        key: identifies the fact. No two events have the same key.
        kind: what happened.
        at: when it happened, as RFC 3339 text in UTC; None when the record has no time.
        run_id: the run.
        task: the path of the task, None for an event of the whole run.
        attempt: the number of the attempt from 1, for `task.retried` and `task.failed`. Some
            services count from 1 again when a run is continued.
        artifact: the artifact of a metric.
        metric: the name of a metric.
    """

    key: str
    kind: EventKind
    at: str | None
    run_id: str
    task: str | None = None
    attempt: int | None = None
    artifact: str | None = None
    metric: str | None = None

    def to_dict(self) -> dict[str, JsonValue]:
        """Return the event as JSON, in the form that `kfgcp events --json` prints."""
        return {
            "key": self.key,
            "kind": self.kind.value,
            "at": self.at,
            "run_id": self.run_id,
            "task": self.task,
            "attempt": self.attempt,
            "artifact": self.artifact,
            "metric": self.metric,
        }


def run_created(run_id: str, at: str | None) -> Event:
    """Return the event that a run was created."""
    return _run_event(run_id, EventKind.RUN_CREATED, at)


def run_started(run_id: str, at: str | None) -> Event:
    """Return the event that a run started."""
    return _run_event(run_id, EventKind.RUN_STARTED, at)


def run_ended(
    run_id: str, state: RunState, at: str | None, *, whole_seconds: bool = False
) -> Event:
    """Return the event that a run ended.

    Args:
        run_id: the run.
        state: its final state.
        at: when it ended.
        whole_seconds: the key has the time without its fraction. Some services first report the
            end of a run in whole seconds, and later more exactly with the ends of its tasks.
    """
    kind = _RUN_ENDS[state]
    end_time = _whole_second(at) if whole_seconds else at or ""
    return Event(f"{run_id}/{kind}/{end_time}", kind, at, run_id)


def events_of(
    run: Run,
    *,
    known_tasks: Mapping[str, Task] | None = None,
    known_metrics: Collection[tuple[str, str, str]] = (),
    known_failures: Mapping[str, Event] | None = None,
    with_end: bool = True,
) -> list[Event]:
    """Return the events that a run of a service implies, in the order of their times.

    Args:
        run: the run as it was read.
        known_tasks: path -> the task as it was recorded before. The events of these tasks are
            recorded already.
        known_metrics: task, artifact and name of each metric that was recorded before.
        known_failures: path -> the last recorded failure of the task.
        with_end: also return the event for the end of the run.

    Example:
        >>> run = Run(
        ...     "a1b2",
        ...     "dev",
        ...     "vertex",
        ...     "churn",
        ...     "sha256:0",
        ...     RunState.SUCCEEDED,
        ...     created_at="2026-01-01T00:00:00.000Z",
        ...     started_at="2026-01-01T00:00:01.000Z",
        ...     ended_at="2026-01-01T00:01:00.000Z",
        ... )
        >>> [event.kind.value for event in events_of(run)]
        ['run.created', 'run.started', 'run.succeeded']
    """
    known_tasks = known_tasks or {}
    new_tasks = [task for task in run.tasks if known_tasks.get(task.path) != task]
    new_metrics = [
        metric
        for metric in run.metrics
        if (metric.task, metric.artifact, metric.name) not in known_metrics
    ]
    events_of_tasks = task_events(
        run.run_id,
        new_tasks,
        new_metrics,
        metric_times={task.path: task.ended_at for task in run.tasks},
        known_failures=known_failures,
    )
    events = [run_created(run.run_id, run.created_at)]
    # A service may read the state of the run first and the tasks later, so a run that is pending
    # can have a task that has started.
    has_started_task = any(event.kind is EventKind.TASK_STARTED for event in events_of_tasks)
    if has_started_task or (run.state is not RunState.PENDING and run.started_at is not None):
        events.append(run_started(run.run_id, run.started_at))
    events += _by_time(events_of_tasks)
    if with_end and run.state.final:
        events.append(run_ended(run.run_id, run.state, run.ended_at, whole_seconds=True))
    return events


def task_events(
    run_id: str,
    tasks: Sequence[Task],
    metrics: Sequence[Metric] = (),
    *,
    attempt_starts: Mapping[str, str] | None = None,
    metric_times: Mapping[str, str | None] | None = None,
    known_failures: Mapping[str, Event] | None = None,
) -> list[Event]:
    """Return the events that tasks and metrics imply.

    Args:
        run_id: their run.
        tasks: tasks that changed. A task comes after the tasks that it depends on.
        metrics: metrics that are new.
        attempt_starts: path -> start of the last attempt, for tasks with several attempts. The
            event of the first attempt was recorded when that attempt started.
        metric_times: path -> end of the task, for metrics of tasks that are not in `tasks`.
        known_failures: path -> the last recorded failure of the task.

    Returns:
        The events in the order of the tasks. A DAG or loop ends after the tasks in it.
    """
    attempt_starts = attempt_starts or {}
    metric_times = metric_times or {}
    known_failures = known_failures or {}
    metrics_of_task: dict[str, list[Metric]] = defaultdict(list)
    for metric in metrics:
        metrics_of_task[metric.task].append(metric)
    last_task_of_group = _last_task_of_groups(tasks)
    # Index of a task -> the ends of the groups that come after the events of this task.
    group_ends: dict[int, list[Event]] = defaultdict(list)
    events: list[Event] = []
    for index, task in enumerate(tasks):
        events += _start_events(run_id, task, attempt_starts.get(task.path))
        end = _end_event(run_id, task, known_failures.get(task.path))
        if end is not None:
            last_index = last_task_of_group.get(task.path, index)
            if last_index > index:
                group_ends[last_index].append(end)
            else:
                events.append(end)
        events += _metric_events(run_id, metrics_of_task.pop(task.path, ()), task.ended_at)
        # Inner groups have longer paths, and end before the groups around them.
        events += sorted(group_ends[index], key=lambda event: -len(event.task or ""))
    for path, late_metrics in metrics_of_task.items():
        events += _metric_events(run_id, late_metrics, metric_times.get(path))
    return events


def _by_time(events: Sequence[Event]) -> list[Event]:
    """Return events of tasks in the order of their times.

    The events of one task keep their order, even when one of these events has no time. Events with
    the same time also keep their order. A task without any time comes last.
    """
    latest: dict[str | None, str] = {}
    timed_events: list[tuple[str, Event]] = []
    for event in events:
        latest[event.task] = max(event.at or "", latest.get(event.task, ""))
        # "~" is greater than the digits of any time.
        timed_events.append((latest[event.task] or "~", event))
    timed_events.sort(key=lambda timed: timed[0])
    return [event for _, event in timed_events]


def _run_event(run_id: str, kind: EventKind, at: str | None) -> Event:
    return Event(f"{run_id}/{kind}", kind, at, run_id)


def _last_task_of_groups(tasks: Sequence[Task]) -> dict[str, int]:
    """Return the index of the last task in each DAG or loop that has ended, by the group's path."""
    last_index: dict[str, int] = {}
    for index, task in enumerate(tasks):
        if task.kind in _GROUPS and task.state.final:
            last_index[task.path] = index
    # The search below looks at each task, and runs may have thousands of them.
    if not last_index:
        return {}
    for index, task in enumerate(tasks):
        for path in enclosing_paths(task.path):
            if path in last_index:
                last_index[path] = max(last_index[path], index)
    return last_index


def _start_events(run_id: str, task: Task, last_start: str | None) -> list[Event]:
    """Return the events that a task and its further attempts started.

    Args:
        run_id: the run.
        task: the task.
        last_start: when its last attempt started, None when that is not known.
    """
    if task.state not in _EXECUTED:
        return []
    # A task can also fail or be cancelled before it starts.
    if task.started_at is None and task.state in (TaskState.FAILED, TaskState.CANCELLED):
        return []
    events = []
    if task.attempts < 2 or last_start is None:
        key = f"{run_id}/{EventKind.TASK_STARTED}/{task.path}"
        events.append(Event(key, EventKind.TASK_STARTED, task.started_at, run_id, task.path))
    for attempt in range(2, task.attempts + 1):
        key = f"{run_id}/{EventKind.TASK_RETRIED}/{task.path}/{attempt}"
        at = last_start if attempt == task.attempts else None
        events.append(Event(key, EventKind.TASK_RETRIED, at, run_id, task.path, attempt))
    return events


def _end_event(run_id: str, task: Task, known_failure: Event | None) -> Event | None:
    """Return the event that a task ended, None when it has not ended or was cancelled."""
    kind = _TASK_ENDS.get(task.state)
    if kind is None:
        return None
    key = f"{run_id}/{kind}/{task.path}"
    if kind is not EventKind.TASK_FAILED or task.kind in _GROUPS:
        # Services correct the end of a group when the run has ended, so its time is not in the key.
        return Event(key, kind, task.ended_at, run_id, task.path)
    if known_failure is not None and _is_same_failure(task, known_failure):
        return replace(known_failure, at=task.ended_at, attempt=task.attempts or None)
    end_time = _whole_second(task.ended_at)
    return Event(f"{key}/{end_time}", kind, task.ended_at, run_id, task.path, task.attempts or None)


def _is_same_failure(task: Task, known_failure: Event) -> bool:
    """Return whether a task did not start again after a failure that is recorded.

    A service may later report another time for the same failure: Kubeflow Pipelines reports the end
    of the pod, and ML Metadata, which may be unreachable for a while, the end of the program.
    """
    if task.started_at is None or known_failure.at is None:
        return False
    # Without the "Z", a time in whole seconds sorts before the later times of that second.
    return task.started_at.removesuffix("Z") < known_failure.at.removesuffix("Z")


def _whole_second(at: str | None) -> str:
    return (at or "")[:19]


def _metric_events(run_id: str, metrics: Iterable[Metric], at: str | None) -> list[Event]:
    """Return the events of metrics of one task.

    Names may contain `/`, so they are escaped in the key.
    """
    kind = EventKind.METRIC_RECORDED
    events = []
    for metric in metrics:
        key = f"{run_id}/{kind}/{metric.task}/{_escape(metric.artifact)}/{_escape(metric.name)}"
        events.append(
            Event(key, kind, at, run_id, metric.task, artifact=metric.artifact, metric=metric.name)
        )
    return events


def _escape(name: str) -> str:
    return name.replace("%", "%25").replace("/", "%2F")
