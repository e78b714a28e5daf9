"""What a run is on any backend, as frozen values. Pure.

`Run.to_dict` returns the run JSON of the command line, and `Run.from_dict` reads it.
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

# A value that JSON can have, as values of parameters and outputs are.
JsonValue = None | bool | int | float | str | list["JsonValue"] | dict[str, "JsonValue"]


class RunState(enum.StrEnum):
    """The state of a run."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLING = "CANCELLING"
    CANCELLED = "CANCELLED"
    PAUSED = "PAUSED"

    @property
    def final(self) -> bool:
        """Whether the run has ended."""
        return self in _FINAL_RUN_STATES


_FINAL_RUN_STATES = {RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED}


class TaskState(enum.StrEnum):
    """The state of a task.

    SKIPPED: a condition was false, or a task that it depends on did not succeed.
    """

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    CACHED = "CACHED"
    SKIPPED = "SKIPPED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def final(self) -> bool:
        """Whether the task has ended, or never starts."""
        return self not in (TaskState.PENDING, TaskState.RUNNING)

    @property
    def ok(self) -> bool:
        """Whether tasks that depend on it may run: semantics.md, control flow, first rule."""
        return self in (TaskState.SUCCEEDED, TaskState.CACHED)


class TaskKind(enum.StrEnum):
    """The kind of a task: a container, an importer, a DAG of tasks, or a loop over a DAG."""

    CONTAINER = "container"
    IMPORTER = "importer"
    DAG = "dag"
    LOOP = "loop"


class ErrorKind(enum.StrEnum):
    """The kind of an error whose message kfgcp wrote, so that no code compares messages.

    INTERRUPTED: the engine was killed, crashed or could not be started, so the run can be resumed.
    DELETED: the run was deleted on its backend before kfgcp had recorded its end.
    LOG_UNREAD: the cause is in a log that was not read yet.
    LOG_SILENT: the log was read, and does not show the cause.
    """

    INTERRUPTED = "INTERRUPTED"
    DELETED = "DELETED"
    LOG_UNREAD = "LOG_UNREAD"
    LOG_SILENT = "LOG_SILENT"


@dataclass(frozen=True, slots=True)
class ErrorInfo:
    """Why a task or a run failed.

    Attributes:
        message: what happened, in one line.
        task: the path of the failed task; None when the cause is outside of the tasks.
        log_tail: the last lines of the log of the failed attempt.
        hint: what to do next; "" when nothing is known.
        kind: None for most errors.
    """

    message: str
    task: str | None = None
    log_tail: tuple[str, ...] = ()
    hint: str = ""
    kind: ErrorKind | None = None

    def to_dict(self) -> dict[str, JsonValue]:
        """Return the error as JSON. `hint` and `kind` are left out when they are empty."""
        data: dict[str, JsonValue] = {
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
        """Return the error that `to_dict` wrote."""
        values = _trust(data)
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
    """Whether the outputs of a task came from the cache.

    Attributes:
        hit: the outputs came from the cache, so the task was not executed.
        reason: why the outputs came from the cache or did not, as a text for people.
    """

    hit: bool
    reason: str

    def to_dict(self) -> dict[str, JsonValue]:
        """Return the value as JSON."""
        return {"hit": self.hit, "reason": self.reason}


class Direction(enum.StrEnum):
    """Which values of a metric are better: the higher or the lower ones."""

    MAXIMIZE = "maximize"
    MINIMIZE = "minimize"

    @classmethod
    def of(cls, word: object) -> Direction | None:
        """Return the direction that a word means, None for any other value.

        The old words are `higher` and `lower`.

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
    """A number that a task recorded. Its key in a run is its task, artifact and name."""

    task: str
    artifact: str
    name: str
    value: float | int

    @property
    def key(self) -> str:
        """The key as text: `train/metrics/accuracy`."""
        return f"{self.task}/{self.artifact}/{self.name}"

    def to_dict(self) -> dict[str, JsonValue]:
        """Return the metric as JSON. NaN and infinities are text, see `json_number`."""
        return {
            "task": self.task,
            "artifact": self.artifact,
            "name": self.name,
            "value": json_number(self.value),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, JsonValue]) -> Self:
        """Return the metric that `to_dict` wrote."""
        values = _trust(data)
        number = values["value"]
        if number in ("NaN", "Infinity", "-Infinity"):
            number = float(number)
        return cls(values["task"], values["artifact"], values["name"], number)


@dataclass(frozen=True, slots=True)
class Artifact:
    """An output artifact of a task. Its type is a schema title such as `system.Model`."""

    task: str
    name: str
    type: str
    uri: str
    metadata: Mapping[str, JsonValue] = field(default_factory=dict)

    def to_dict(self) -> dict[str, JsonValue]:
        """Return the artifact as JSON."""
        return {
            "task": self.task,
            "name": self.name,
            "type": self.type,
            "uri": self.uri,
            "metadata": dict(self.metadata),
        }


@dataclass(frozen=True, slots=True)
class Task:
    """A task of a run.

    Attributes:
        path: its place in the run: `for-loop-1[2]/train` is the task `train` in the iteration 2.
        kind: a container, an importer, a DAG or a loop.
        state: its state.
        attempts: how often it was started; 0 when it never was.
        cache: whether its outputs came from the cache; None when the backend does not say.
        started_at: when its first attempt started.
        ended_at: when it ended.
        inputs: values of its input parameters by their names.
        outputs: values of its output parameters by their names.
        error: why it failed.
    """

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
        """How long it took, None when it has not ended."""
        return seconds_between(self.started_at, self.ended_at)

    def to_dict(self) -> dict[str, JsonValue]:
        """Return the task as JSON."""
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
        """Return the task that `to_dict` wrote."""
        values = _trust(data)
        cache = values.get("cache")
        error = values.get("error")
        return cls(
            path=values["path"],
            kind=TaskKind(values["kind"]),
            state=TaskState(values["state"]),
            attempts=values.get("attempts", 0),
            cache=Cache(**cache) if cache else None,
            started_at=values.get("started_at"),
            ended_at=values.get("ended_at"),
            inputs=values.get("inputs") or {},
            outputs=values.get("outputs") or {},
            error=ErrorInfo.from_dict(error) if error else None,
        )


@dataclass(frozen=True, slots=True)
class Run:
    """A run of a pipeline on any backend.

    Attributes:
        run_id: its id, which is unique in the store.
        env: the name of its environment.
        backend: the name of its backend.
        pipeline: the name of its pipeline.
        version: the digest of its spec, `sha256:...`.
        state: its state.
        experiment: the group of runs it belongs to.
        name: its name.
        backend_ref: how its backend names it; None for runs on this machine.
        url: the address of its page in the console of the backend.
        labels: name -> value of each label.
        created_at: when it was created.
        started_at: when it started.
        ended_at: when it ended.
        params: values of the parameters of the pipeline by their names.
        outputs: values of the outputs of the pipeline by their names.
        metrics: what its tasks recorded.
        artifacts: the artifacts of its tasks.
        tasks: its tasks.
        error: why it failed.
        tags: words that people gave it on this machine, sorted. Backends do not know them.
        note: what people wrote about it on this machine. Backends do not know it.
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
        """How long it took, None when it has not ended."""
        return seconds_between(self.started_at, self.ended_at)

    def summary(self) -> dict[str, JsonValue]:
        """Return the run as JSON without tasks and artifacts, as `kfgcp list --json` prints it."""
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
        """Return the run JSON, as `kfgcp show --json` prints it."""
        data = self.summary()
        # The error is the last key, after the tasks that it is about.
        error = data.pop("error")
        data["artifacts"] = [artifact.to_dict() for artifact in self.artifacts]
        data["tasks"] = [task.to_dict() for task in self.tasks]
        data["error"] = error
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, JsonValue]) -> Self:
        """Return the run that `to_dict` wrote. Other keys are ignored."""
        values = _trust(data)
        names = {field.name for field in fields(cls)}
        converted = {"state", "tags", "metrics", "artifacts", "tasks", "error"}
        unchanged = {key: values[key] for key in values.keys() & (names - converted)}
        metrics = [Metric.from_dict(metric) for metric in values.get("metrics") or ()]
        artifacts = [Artifact(**artifact) for artifact in values.get("artifacts") or ()]
        tasks = [Task.from_dict(task) for task in values.get("tasks") or ()]
        error = values.get("error")
        return cls(
            **unchanged,
            state=RunState(values["state"]),
            tags=tuple(values.get("tags") or ()),
            metrics=tuple(metrics),
            artifacts=tuple(artifacts),
            tasks=tuple(tasks),
            error=ErrorInfo.from_dict(error) if error else None,
        )


def _trust(data: Mapping[str, JsonValue]) -> Mapping[str, Any]:
    """Return JSON that `to_dict` wrote, whose types need no check."""
    return data


def enclosing_paths(path: str) -> Iterator[str]:
    """Yield the paths of the DAGs, loops and iterations around a task, the nearest first.

    Example:
        >>> list(enclosing_paths("a[2]/b"))
        ['a[2]', 'a']
    """
    while True:
        # The loop around an iteration ends before the bracket, and any other group before the last
        # slash.
        end = path.rindex("[") if path.endswith("]") else path.rfind("/")
        if end <= 0:
            return
        path = path[:end]
        yield path


def json_number(value: Any) -> Any:
    """Return NaN and infinities as text, and other values unchanged.

    JSON does not have these numbers. The texts are those of the JSON format of Protocol Buffers.

    Example:
        >>> json_number(float("-inf")), json_number(0.5)
        ('-Infinity', 0.5)
    """
    if not isinstance(value, float) or math.isfinite(value):
        return value
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def json_text(value: object, *, indent: int | None = None) -> str:
    """Return a value as JSON that every reader accepts.

    NaN and infinities in the value become text, see `json_number`.
    """
    try:
        return json.dumps(value, indent=indent, allow_nan=False)
    except ValueError:
        # Few values contain such a number, so the slow search begins only after the error.
        return json.dumps(_finite(value), indent=indent, allow_nan=False)


def _finite(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return json_number(value)


def timestamp(seconds: float) -> str:
    """Return a Unix time in seconds as RFC 3339 text in UTC with milliseconds.

    Example:
        >>> timestamp(0.25)
        '1970-01-01T00:00:00.250Z'
    """
    text = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    return text.removesuffix("+00:00") + "Z"


def seconds_between(start: str | None, end: str | None) -> float | None:
    """Return the seconds from one timestamp to another, None when one of them is missing.

    Example:
        >>> seconds_between("2026-01-01T10:00:00Z", "2026-01-01T10:01:30.5Z")
        90.5
    """
    if start is None or end is None:
        return None
    duration = datetime.fromisoformat(end) - datetime.fromisoformat(start)
    return round(duration.total_seconds(), 3)
