"""The values that enter and leave the store, and how they become rows of its tables.

Most kinds of values have two functions here: `x_row` returns the columns of a new row in their
order, and `read_x` returns the value that a row stands for.
"""

from __future__ import annotations

import enum
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from kfgcp.errors import RunNotFound
from kfgcp.event import Event, EventKind
from kfgcp.model import (
    Artifact,
    Cache,
    ErrorInfo,
    Metric,
    RunState,
    Task,
    TaskKind,
    TaskState,
)

if TYPE_CHECKING:
    # Backends import this module also when no store is opened, and start-up time counts.
    import sqlite3

SqlValue = str | int | float | None
"""A value of a column."""

# `json.dumps` with separators would create an encoder for each value.
_COMPACT_JSON: Final = json.JSONEncoder(separators=(",", ":"))

TAG: Final = "a word of at most 64 characters without blanks, commas and control characters"


class ReadLevel(enum.StrEnum):
    """How much of a run was read into the store, from the least to the most.

    The store contains the values, so they never change.
    """

    LISTED = "listed"
    """Only what a list of runs has. Tasks, artifacts and metrics are missing."""
    PARTIAL = "part"
    """The tasks, but some part of them could not be read at that moment."""
    WITHOUT_REASONS = "tasks"
    """Everything except the logs that tell why the run failed."""
    EVERYTHING = "everything"

    @property
    def has_tasks(self) -> bool:
        """Whether its tasks were read."""
        return self is not ReadLevel.LISTED

    @property
    def is_incomplete(self) -> bool:
        """Whether tasks, artifacts or metrics are missing, so that an ended run is read again."""
        return self in (ReadLevel.LISTED, ReadLevel.PARTIAL)


@dataclass(frozen=True, slots=True)
class Observed:
    """How far the runs of a remote place were read.

    Attributes:
        changed_until: the time until which all changes of the runs were read.
        created_since: the creation time from which on runs were read. Nothing is known about runs
            that were created before it.
    """

    changed_until: str
    created_since: str


@dataclass(frozen=True, slots=True)
class EndedRun:
    """The most important facts about a run that has ended.

    Attributes:
        run_id: the id of the run in the store.
        state: how it ended.
        ended_at: when it ended, "" when that is not known.
        read_level: how much of the run was read.
    """

    run_id: str
    state: RunState
    ended_at: str
    read_level: ReadLevel


@dataclass(frozen=True, slots=True)
class Cancellation:
    """The record of the cancelling of a run.

    Attributes:
        state: the state of the run.
        ended_at: when it ended, "" when that is not known.
        requested_at: when it was cancelled from here, "" when it was not.
    """

    state: RunState
    ended_at: str
    requested_at: str

    def holds_for(self, ended_at: str | None, retried_at: str | None) -> bool:
        """Return whether a run that has ended without success was cancelled.

        Args:
            ended_at: when it ended.
            retried_at: when it last continued after an earlier end. The cancelling may belong to
                that earlier end.
        """
        if self.state is RunState.CANCELLED:
            return (ended_at or "") <= self.ended_at
        return self.state is RunState.CANCELLING or self.requested_at > (retried_at or "")


@dataclass(frozen=True, slots=True)
class VersionRuns:
    """A version of a pipeline and its runs.

    Attributes:
        version: the digest of the version.
        runs: the number of its runs.
        succeeded: how many of them succeeded.
        first: when the first run was created.
        last: when the last run was created.
        envs: the names of the environments, sorted.
    """

    version: str
    runs: int
    succeeded: int
    first: str
    last: str
    envs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Origin:
    """The attempt that produced an output.

    Attributes:
        run_id: its run.
        path: the path of its task.
        attempt: its number from 1.
    """

    run_id: str
    path: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Use:
    """The use of another run's outputs by a task. The files of the other attempt must be kept.

    Attributes:
        task: the path of the task that uses the outputs.
        origin: the attempt that produced the outputs.
        cached: whether the task has all its outputs and its log from this attempt.
    """

    task: str
    origin: Origin
    cached: bool = False


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """The outputs of a successful task in the cache.

    Attributes:
        pipeline: the name of the pipeline.
        key: the digest of code and inputs.
        task: the path of the task without the numbers of iterations.
        origin: the attempt that produced the outputs.
        stored_at: when the task succeeded.
        parts: the values that the key is a digest of, by name.
        outputs: the outputs, in the form of the engine.
        has_files: whether the outputs contain files.
        known_run: a recorded run that has this success: the run that produced the outputs, or a run
            whose task was cached from it. "" when all of these runs were deleted.
    """

    pipeline: str
    key: str
    task: str
    origin: Origin
    stored_at: str
    parts: Mapping[str, Any]
    outputs: Mapping[str, Any]
    has_files: bool = False
    known_run: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class DeletedSuccess:
    """A successful task of a run that was deleted.

    Attributes:
        run_id: the deleted run.
        had_files: whether the outputs contained files.
    """

    run_id: str
    had_files: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outputs of a finished task of a run.

    Attributes:
        path: the path of the task.
        key: the digest of code and inputs.
        outputs: the outputs, in the form of the engine.
    """

    path: str
    key: str
    outputs: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Changes:
    """The changes of a run since the last write. A field that is None or empty did not change.

    Attributes:
        tasks: the new form of each task that changed.
        artifacts: new artifacts.
        metrics: new metrics.
        state: the new state of the run.
        started_at: when the run started. The store keeps the first start.
        ended_at: when the run ended.
        outputs: the outputs of the run.
        error: the reason why the run failed.
        cached: new successes for the cache of tasks.
        outcomes: the outputs of tasks that finished.
        uses: new uses of outputs of other runs.
        events: the events of tasks and metrics, in their order. The store adds the events of the
            run itself.
    """

    tasks: Sequence[Task] = ()
    artifacts: Sequence[Artifact] = ()
    metrics: Sequence[Metric] = ()
    state: RunState | None = None
    started_at: str | None = None
    ended_at: str | None = None
    outputs: Mapping[str, Any] | None = None
    error: ErrorInfo | None = None
    cached: Sequence[CacheEntry] = ()
    outcomes: Sequence[Outcome] = ()
    uses: Sequence[Use] = ()
    events: Sequence[Event] = ()


def metric_names(keys: Iterable[tuple[str, str, str]]) -> dict[tuple[str, str, str], str]:
    """Return a short name for each metric. No two metrics have the same name.

    The name is `task.name`. When a task reports the metric in several artifacts, the name is
    `task.artifact.name`. When another metric has the same name, it is `task/artifact/name`.

    Args:
        keys: (task, artifact, name) of each metric.

    Example:
        >>> keys = [("train", "metrics", "loss"), ("test", "a", "f1"), ("test", "b", "f1")]
        >>> list(metric_names(keys).values())
        ['train.loss', 'test.a.f1', 'test.b.f1']
    """
    unique_keys = list(dict.fromkeys(keys))
    artifact_counts = Counter((task, name) for task, _, name in unique_keys)
    short_names = {}
    for task, artifact, name in unique_keys:
        in_several = artifact_counts[task, name] > 1
        short_names[task, artifact, name] = (
            f"{task}.{artifact}.{name}" if in_several else f"{task}.{name}"
        )
    # The task `a` with the metric `b.c` and the task `a.b` with the metric `c` have the same name.
    name_counts = Counter(short_names.values())
    names = {}
    for key, short_name in short_names.items():
        names[key] = short_name if name_counts[short_name] == 1 else "/".join(key)
    return names


def is_tag(text: str) -> bool:
    """Return whether a text can be a tag, see `TAG`.

    Lists show tags side by side, separated by blanks.

    Example:
        >>> is_tag("good"), is_tag("very good")
        (True, False)
    """
    if len(text) > 64 or re.search(r"[\s,]", text):
        return False
    # Zero-width joiners are not printable by themselves. They combine letters or emoji.
    visible = re.sub("[\u200c\u200d]", "", text)
    return visible != "" and visible.isprintable()


def task_row(run_id: str, rev: int, seq: int, task: Task) -> tuple[SqlValue, ...]:
    """Return the row of a task. `rev` and `seq` are columns of migrations/0001_runs.sql."""
    return sql_values(
        run_id,
        task.path,
        seq,
        rev,
        task.kind,
        task.state,
        task.attempts,
        None if task.cache is None else json_text(task.cache.to_dict()),
        task.started_at,
        task.ended_at,
        json_text(task.inputs),
        json_text(task.outputs),
        error_json(task.error),
    )


def read_task(row: sqlite3.Row) -> Task:
    """Return the task of a row."""
    return Task(
        path=row["path"],
        kind=TaskKind(row["kind"]),
        state=TaskState(row["state"]),
        attempts=row["attempts"],
        cache=Cache(**json.loads(row["cache"])) if row["cache"] else None,
        started_at=row["started_at"],
        ended_at=row["ended_at"],
        inputs=json.loads(row["inputs"]),
        outputs=json.loads(row["outputs"]),
        error=read_error(row["error"]),
    )


def artifact_row(run_id: str, seq: int, artifact: Artifact) -> tuple[SqlValue, ...]:
    """Return the row of an artifact."""
    return sql_values(
        run_id,
        seq,
        artifact.task,
        artifact.name,
        artifact.type,
        artifact.uri,
        json_text(artifact.metadata),
    )


def read_artifact(row: sqlite3.Row) -> Artifact:
    """Return the artifact of a row."""
    metadata = json.loads(row["metadata"])
    return Artifact(row["task"], row["name"], row["type"], row["uri"], metadata)


def metric_row(run_id: str, seq: int, metric: Metric) -> tuple[SqlValue, ...]:
    """Return the row of a metric."""
    return sql_values(
        run_id, seq, metric.task, metric.artifact, metric.name, json_text(metric.value)
    )


def read_metric(row: sqlite3.Row) -> Metric:
    """Return the metric of a row."""
    return Metric(row["task"], row["artifact"], row["name"], json.loads(row["value"]))


def cache_entry_row(entry: CacheEntry) -> tuple[SqlValue, ...]:
    """Return the row of an entry of the cache."""
    return sql_values(
        entry.pipeline,
        entry.key,
        entry.stored_at,
        entry.origin.run_id,
        entry.origin.path,
        entry.origin.attempt,
        entry.task,
        json_text(entry.parts),
        json_text(entry.outputs),
        int(entry.has_files),
    )


def read_cache_entry(row: sqlite3.Row) -> CacheEntry:
    """Return the entry of the cache that a row stands for."""
    return CacheEntry(
        pipeline=row["pipeline"],
        key=row["key"],
        task=row["task"],
        origin=Origin(row["run_id"], row["path"], row["attempt"]),
        stored_at=row["stored_at"],
        parts=json.loads(row["parts"]),
        outputs=json.loads(row["outputs"]),
        has_files=bool(row["has_files"]),
        known_run=row["known_run"],
    )


def use_row(run_id: str, use: Use) -> tuple[SqlValue, ...]:
    """Return the row of a use."""
    origin = use.origin
    return sql_values(run_id, use.task, origin.run_id, origin.path, origin.attempt, int(use.cached))


def event_row(event: Event) -> tuple[SqlValue, ...]:
    """Return the row of an event. The column `fact` is the event's key without the run id."""
    return sql_values(
        event.run_id,
        event.key.removeprefix(f"{event.run_id}/"),
        event.kind.value,
        event.at,
        event.task,
        event.attempt,
        event.artifact,
        event.metric,
    )


def read_event(row: sqlite3.Row) -> Event:
    """Return the event of a row."""
    return Event(
        key=f"{row['run_id']}/{row['fact']}",
        kind=EventKind(row["kind"]),
        at=row["at"],
        run_id=row["run_id"],
        task=row["task"],
        attempt=row["attempt"],
        artifact=row["artifact"],
        metric=row["metric"],
    )


def fetch_value(cursor: sqlite3.Cursor, run_id: str) -> Any:
    """Return the first column of the only row of a query for one run.

    Raises:
        RunNotFound: there is no row.
    """
    row = cursor.fetchone()
    if row is None:
        raise run_not_found(run_id)
    return row[0]


def run_not_found(run: str) -> RunNotFound:
    """Return the error that no run has this id or name."""
    if run == "latest":
        return RunNotFound("There are no runs yet.", hint="Start one: kfgcp run PIPELINE")
    return RunNotFound(f"There is no run '{run}'.", hint="To see all runs: kfgcp list")


def sql_values(*values: SqlValue) -> tuple[SqlValue, ...]:
    """Return values in the form that SQLite accepts.

    SQLite stores only valid Unicode. Python texts can also contain halves of surrogate pairs, for
    example from file names. They become escapes.
    """
    return tuple(map(_replace_surrogates, values))


def _replace_surrogates(value: SqlValue) -> SqlValue:
    if not isinstance(value, str) or value.isascii():
        return value
    return value.encode("utf-8", "backslashreplace").decode()


def error_json(error: ErrorInfo | None) -> str | None:
    """Return an error as JSON text."""
    return None if error is None else json_text(error.to_dict())


def read_error(text: str | None) -> ErrorInfo | None:
    """Return the error that `error_json` wrote."""
    return ErrorInfo.from_dict(json.loads(text)) if text else None


def json_text(value: object) -> str:
    """Return a value as JSON text without blanks."""
    return _COMPACT_JSON.encode(value)
