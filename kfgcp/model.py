"""What a run is, whatever backend it ran on: frozen values, without input or output.

`Run.to_dict` and `Run.from_dict` are the run JSON of the command line, and each other's inverse.
Times are RFC 3339 text in UTC that ends in `Z`; durations are seconds.
"""

from __future__ import annotations

import enum
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Any, Self

JsonValue = None | bool | int | float | str | list["JsonValue"] | dict[str, "JsonValue"]
"""A value of a parameter or an output: what JSON can say."""


class RunState(enum.StrEnum):
    """How far a run is."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLING = "CANCELLING"
    CANCELLED = "CANCELLED"
    PAUSED = "PAUSED"

    @property
    def final(self) -> bool:
        return self in _FINAL_RUN_STATES


_FINAL_RUN_STATES = {RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED}


class TaskState(enum.StrEnum):
    """How far a task is. SKIPPED: a condition was false, or a task above it did not succeed."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    CACHED = "CACHED"
    SKIPPED = "SKIPPED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def final(self) -> bool:
        return self not in (TaskState.PENDING, TaskState.RUNNING)

    @property
    def ok(self) -> bool:
        """Tasks below may run: semantics.md, control flow, first rule."""
        return self in (TaskState.SUCCEEDED, TaskState.CACHED)


class TaskKind(enum.StrEnum):
    """What a task is: a container, an importer, a DAG of tasks, or a loop over one."""

    CONTAINER = "container"
    IMPORTER = "importer"
    DAG = "dag"
    LOOP = "loop"


class ErrorKind(enum.StrEnum):
    """What an error is, where kfgcp itself wrote its message and has to tell it from others.

    INTERRUPTED: the engine was killed or crashed before the run ended, so the run can be resumed.
    DELETED: the run was deleted at its service before kfgcp saw its end.
    LOG_UNREAD: a log says the cause, and nobody has read it yet.
    LOG_SILENT: the log was read, and does not say the cause.
    """

    INTERRUPTED = "INTERRUPTED"
    DELETED = "DELETED"
    LOG_UNREAD = "LOG_UNREAD"
    LOG_SILENT = "LOG_SILENT"


@dataclass(frozen=True, slots=True)
class ErrorInfo:
    """Why a task or a run failed.

    task: path of the failing task, None when no task is to blame. message: one line. log_tail: the
    last lines of the failing attempt's log. hint: what to do next, "" when nothing is known. kind:
    None for most errors.
    """

    message: str
    task: str | None = None
    log_tail: tuple[str, ...] = ()
    hint: str = ""
    kind: ErrorKind | None = None

    def to_dict(self) -> dict[str, JsonValue]:
        data: dict[str, Any] = {
            "task": self.task,
            "message": self.message,
            "log_tail": list(self.log_tail),
        }
        if self.hint:
            data["hint"] = self.hint
        if self.kind is not None:
            data["kind"] = self.kind.value
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, JsonValue]) -> Self:
        values: Mapping[str, Any] = data  # what `to_dict` wrote
        kind = values.get("kind")
        return cls(
            message=values["message"],
            task=values.get("task"),
            log_tail=tuple(values.get("log_tail") or ()),
            hint=values.get("hint") or "",
            kind=ErrorKind(kind) if kind else None,
        )


@dataclass(frozen=True, slots=True)
class Cache:
    """Whether a task's outputs came from the cache, and why or why not, in words."""

    hit: bool
    reason: str

    def to_dict(self) -> dict[str, JsonValue]:
        return {"hit": self.hit, "reason": self.reason}


class Direction(enum.StrEnum):
    """Which value of a metric is better: the greater one, or the smaller one."""

    MAXIMIZE = "maximize"
    MINIMIZE = "minimize"

    @classmethod
    def of(cls, word: object) -> Direction | None:
        """Return the direction that a word means, None when it means none. The old words are
        `higher` and `lower`.

        Example:
            >>> Direction.of("lower")
            <Direction.MINIMIZE: 'minimize'>
        """
        return _DIRECTIONS.get(word) if isinstance(word, str) else None


_DIRECTIONS = {
    "maximize": Direction.MAXIMIZE,
    "minimize": Direction.MINIMIZE,
    "higher": Direction.MAXIMIZE,
    "lower": Direction.MINIMIZE,
}


@dataclass(frozen=True, slots=True)
class Metric:
    """One scalar: (task, artifact, name) is its key within a run."""

    task: str
    artifact: str
    name: str
    value: float | int

    @property
    def key(self) -> str:
        return f"{self.task}/{self.artifact}/{self.name}"

    def to_dict(self) -> dict[str, JsonValue]:
        return {
            "task": self.task,
            "artifact": self.artifact,
            "name": self.name,
            "value": json_number(self.value),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, JsonValue]) -> Self:
        values: Mapping[str, Any] = data  # what `to_dict` wrote
        value = values["value"]
        number = float(value) if value in ("NaN", "Infinity", "-Infinity") else value
        return cls(values["task"], values["artifact"], values["name"], number)


@dataclass(frozen=True, slots=True)
class Artifact:
    """An output artifact of a task. type: schema title, `system.Model` for example."""

    task: str
    name: str
    type: str
    uri: str
    metadata: Mapping[str, JsonValue] = field(default_factory=dict)

    def to_dict(self) -> dict[str, JsonValue]:
        return {
            "task": self.task,
            "name": self.name,
            "type": self.type,
            "uri": self.uri,
            "metadata": dict(self.metadata),
        }


@dataclass(frozen=True, slots=True)
class Task:
    """One executed unit of a run; `path` places it: `for-loop-1[2]/train`."""

    path: str
    kind: TaskKind
    state: TaskState
    attempts: int = 0
    cache: Cache | None = None
    started_at: str | None = None
    ended_at: str | None = None
    inputs: Mapping[str, JsonValue] = field(default_factory=dict)
    outputs: Mapping[str, JsonValue] = field(default_factory=dict)
    error: ErrorInfo | None = None

    @property
    def seconds(self) -> float | None:
        return seconds_between(self.started_at, self.ended_at)

    def to_dict(self) -> dict[str, JsonValue]:
        return {
            "path": self.path,
            "kind": self.kind.value,
            "state": self.state.value,
            "attempts": self.attempts,
            "cache": self.cache.to_dict() if self.cache else None,
            "started_at": self.started_at,
            "ended_at": self.ended_at,
            "inputs": dict(self.inputs),
            "outputs": dict(self.outputs),
            "error": self.error.to_dict() if self.error else None,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, JsonValue]) -> Self:
        values: Mapping[str, Any] = data  # what `to_dict` wrote
        return cls(
            path=values["path"],
            kind=TaskKind(values["kind"]),
            state=TaskState(values["state"]),
            attempts=values.get("attempts", 0),
            cache=Cache(**values["cache"]) if values.get("cache") else None,
            started_at=values.get("started_at"),
            ended_at=values.get("ended_at"),
            inputs=values.get("inputs") or {},
            outputs=values.get("outputs") or {},
            error=ErrorInfo.from_dict(values["error"]) if values.get("error") else None,
        )


@dataclass(frozen=True, slots=True)
class Run:
    """A run of a pipeline on any backend. `version` is the digest of its spec, `env` the
    environment's name.

    tags and note are what people wrote about it here, sorted and as text; no backend knows them.
    """

    run_id: str
    env: str
    backend: str
    pipeline: str
    version: str
    state: RunState
    experiment: str = "default"
    name: str = ""
    backend_ref: str | None = None
    url: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    created_at: str | None = None
    started_at: str | None = None
    ended_at: str | None = None
    params: Mapping[str, JsonValue] = field(default_factory=dict)
    outputs: Mapping[str, JsonValue] = field(default_factory=dict)
    metrics: tuple[Metric, ...] = ()
    artifacts: tuple[Artifact, ...] = ()
    tasks: tuple[Task, ...] = ()
    error: ErrorInfo | None = None
    tags: tuple[str, ...] = ()
    note: str = ""

    @property
    def seconds(self) -> float | None:
        return seconds_between(self.started_at, self.ended_at)

    def summary(self) -> dict[str, JsonValue]:
        """The run as a row of `list`: without tasks and artifacts."""
        return {
            "run_id": self.run_id,
            "env": self.env,
            "backend": self.backend,
            "backend_ref": self.backend_ref,
            "url": self.url,
            "pipeline": self.pipeline,
            "version": self.version,
            "experiment": self.experiment,
            "name": self.name,
            "labels": dict(self.labels),
            "tags": list(self.tags),
            "note": self.note,
            "state": self.state.value,
            "created_at": self.created_at,
            "started_at": self.started_at,
            "ended_at": self.ended_at,
            "params": dict(self.params),
            "outputs": dict(self.outputs),
            "metrics": [metric.to_dict() for metric in self.metrics],
            "error": self.error.to_dict() if self.error else None,
        }

    def to_dict(self) -> dict[str, JsonValue]:
        """The run JSON."""
        data = self.summary()
        error = data.pop("error")
        data["artifacts"] = [artifact.to_dict() for artifact in self.artifacts]
        data["tasks"] = [task.to_dict() for task in self.tasks]
        data["error"] = error
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, JsonValue]) -> Self:
        values: Mapping[str, Any] = data  # what `to_dict` wrote
        plain = {f.name for f in fields(cls)} - {
            "state",
            "tags",
            "metrics",
            "artifacts",
            "tasks",
            "error",
        }
        return cls(
            **{key: value for key, value in values.items() if key in plain},
            state=RunState(values["state"]),
            tags=tuple(values.get("tags") or ()),
            metrics=tuple(Metric.from_dict(metric) for metric in values.get("metrics") or ()),
            artifacts=tuple(Artifact(**artifact) for artifact in values.get("artifacts") or ()),
            tasks=tuple(Task.from_dict(task) for task in values.get("tasks") or ()),
            error=ErrorInfo.from_dict(values["error"]) if values.get("error") else None,
        )


def enclosing_paths(path: str) -> Iterator[str]:
    """Yield the paths of the DAGs, loops and iterations around a task, the nearest first.

    Example:
        >>> list(enclosing_paths("a[2]/b"))
        ['a[2]', 'a']
    """
    while (end := path.rindex("[") if path.endswith("]") else path.rfind("/")) > 0:
        path = path[:end]
        yield path


def json_number(value: Any) -> Any:
    """NaN and infinities as text, as proto JSON has them: JSON knows no such numbers. Other values
    as they are."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def json_text(value: Any, *, indent: int | None = None) -> str:
    """A value as JSON that every reader takes: NaN and infinities inside it are text, see
    `json_number`."""
    try:
        return json.dumps(value, indent=indent, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(value), indent=indent, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return json_number(value)


def timestamp(seconds: float) -> str:
    """RFC 3339 text in UTC with milliseconds for a Unix time in seconds."""
    return (
        datetime.fromtimestamp(seconds, UTC)
        .isoformat(timespec="milliseconds")
        .removesuffix("+00:00")
        + "Z"
    )


def seconds_between(start: str | None, end: str | None) -> float | None:
    """Seconds from one timestamp to another, None when either is missing."""
    if start is None or end is None:
        return None
    return round((datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds(), 3)
