"""What goes into the store and comes out of it, and its form as rows."""

from __future__ import annotations

import enum
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from kfgcp.errors import RunNotFound
from kfgcp.event import Event, EventKind
from kfgcp.model import Artifact, Cache, ErrorInfo, Metric, RunState, Task, TaskKind, TaskState


class ReadLevel(enum.StrEnum):
    """How much of a run was read into the store, from the least to the most. The store has the
    values."""

    LISTED = "listed"
    """What a list of runs says: no tasks, artifacts and metrics."""
    PARTIAL = "part"
    """Its tasks, without what could not be read just then."""
    WITHOUT_REASONS = "tasks"
    """Everything but the logs that tell why it failed."""
    EVERYTHING = "everything"

    @property
    def has_tasks(self) -> bool:
        """Whether its tasks were read."""
        return self is not ReadLevel.LISTED

    @property
    def is_incomplete(self) -> bool:
        """Whether tasks, artifacts or metrics are missing, so that it must be read again when it
        has ended."""
        return self in (ReadLevel.LISTED, ReadLevel.PARTIAL)


_COMPACT: Final = json.JSONEncoder(separators=(",", ":"))
"""Made once, because `json.dumps` makes an encoder for each value."""

TAG: Final = "a word of at most 64 characters without blanks, commas and control characters"


@dataclass(frozen=True, slots=True)
class Observed:
    """How far the runs of a remote place were read.

    changed_until: all changes until then are known. created_since: of all runs created since then.
    """

    changed_until: str
    created_since: str


@dataclass(frozen=True, slots=True)
class EndedRun:
    """What the store has of a run that has ended.

    Attributes:
        run_id: its id here.
        state: how it ended.
        ended_at: when it ended, "" when that is not known.
        read_level: how much of it was read.
    """

    run_id: str
    state: RunState
    ended_at: str
    read_level: ReadLevel


@dataclass(frozen=True, slots=True)
class Cancellation:
    """What is recorded of the cancelling of a run.

    Attributes:
        state: of the run.
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
            retried_at: when it last continued after an earlier end, which may have been another
                end.
        """
        if self.state is RunState.CANCELLED:
            return (ended_at or "") <= self.ended_at
        return self.state is RunState.CANCELLING or self.requested_at > (retried_at or "")


@dataclass(frozen=True, slots=True)
class VersionRuns:
    """A version of a pipeline and the runs of it: how many, when the first and the last were made,
    where."""

    version: str
    runs: int
    succeeded: int
    first: str
    last: str
    envs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Origin:
    """The attempt that made something: its run, the path of its task, and its number from 1."""

    run_id: str
    path: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Use:
    """A task uses what an attempt of another run made, so its files must be kept.

    task: path. cached: all outputs of the task come from there, and its log is the log of that
    attempt.
    """

    task: str
    origin: Origin
    cached: bool = False


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """Outputs of a successful task, by the key of what they were made from.

    task: path without the numbers of iterations. parts: what the key was made of. outputs: as the
    engine wrote them. has_files: the outputs contain files. known_run: a recorded run that has this
    success: the run that made the outputs, or a run whose task was cached from it; "" when all of
    these runs were deleted.
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
    """A success of a run that was deleted. had_files: its outputs had files."""

    run_id: str
    had_files: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a task of a run put out. key: of what it was made from. outputs: as the engine wrote
    them."""

    path: str
    key: str
    outputs: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Changes:
    """What happened in a run since the last write; what is None or empty did not change.

    events: of tasks and metrics, in their order. The store adds those of the run itself.
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
    """Names for metrics by (task, artifact, name), no two the same: `task.name`, and
    `task.artifact.name` for those that a task reports in several artifacts; with
    `task/artifact/name` where that is the name of another one too."""
    keys = [*dict.fromkeys(keys)]
    artifacts = Counter((task, name) for task, _, name in keys)
    names = {
        (task, artifact, name): f"{task}.{artifact}.{name}"
        if artifacts[task, name] > 1
        else f"{task}.{name}"
        for task, artifact, name in keys
    }
    counts = Counter(names.values())  # of the task `a` with the metric `b.c` and `a.b` with `c`
    return {key: name if counts[name] == 1 else "/".join(key) for key, name in names.items()}


def is_tag(text: str) -> bool:
    """Whether it can be a tag: `TAG`. Tags stand side by side, separated by blanks."""
    shown = re.sub("[\u200c\u200d]", "", text)  # which letters and signs are joined by
    return (
        0 < len(text) <= 64
        and shown != ""
        and shown.isprintable()
        and not re.search(r"[\s,]", text)
    )


def task_row(run_id: str, rev: int, seq: int, task: Task) -> tuple[Any, ...]:
    cache = None if task.cache is None else json_text(task.cache.to_dict())
    return bound(
        *(run_id, task.path, seq, rev, task.kind, task.state, task.attempts, cache),
        *(
            task.started_at,
            task.ended_at,
            json_text(task.inputs),
            json_text(task.outputs),
            error_text(task.error),
        ),
    )


def cache_row(entry: CacheEntry) -> tuple[Any, ...]:
    origin = entry.origin
    place = (
        entry.pipeline,
        entry.key,
        entry.stored_at,
        origin.run_id,
        origin.path,
        origin.attempt,
        entry.task,
    )
    return bound(*place, json_text(entry.parts), json_text(entry.outputs), int(entry.has_files))


def cache_entry(row: Any) -> CacheEntry:
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


def use_row(run_id: str, use: Use) -> tuple[Any, ...]:
    origin = use.origin
    return bound(run_id, use.task, origin.run_id, origin.path, origin.attempt, int(use.cached))


def task(row: Any) -> Task:
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
        error=ErrorInfo.from_dict(json.loads(row["error"])) if row["error"] else None,
    )


def event_row(event: Event) -> tuple[Any, ...]:
    fact = event.key[len(event.run_id) + 1 :]
    return bound(
        event.run_id,
        fact,
        event.kind.value,
        event.at,
        event.task,
        event.attempt,
        event.artifact,
        event.metric,
    )


def event(row: Any) -> Event:
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


def only(cursor: Any, run_id: str) -> Any:
    """The value that a query of one run asks for."""
    row = cursor.fetchone()
    if row is None:
        raise no_run(run_id)
    return row[0]


def no_run(run: str) -> RunNotFound:
    """Return the error that a text means no run."""
    if run == "latest":
        return RunNotFound("There are no runs yet.", hint="Start one: kfgcp run PIPELINE")
    return RunNotFound(f"There is no run '{run}'.", hint="See them all: kfgcp list")


def bound(*values: Any) -> tuple[Any, ...]:
    """Values as SQLite takes them: it keeps Unicode text only, so halves of surrogate pairs become
    escapes."""
    return tuple(
        value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
        for value in values
    )


def error_text(error: ErrorInfo | None) -> str | None:
    return None if error is None else json_text(error.to_dict())


def json_text(value: Any) -> str:
    return _COMPACT.encode(value)
