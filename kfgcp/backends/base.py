"""The interface of backends.

`Backend` is what every backend does. Each capability that only some backends have is a small
Protocol of its own. `capability` returns the part of a backend that has a capability.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar, runtime_checkable

from kfgcp.model import Run, RunState, Task
from kfgcp.options import RunOptions
from kfgcp.query import RunFilter
from kfgcp.rules.ignored import Ignored
from kfgcp.spec.json_values import JsonObject
from kfgcp.spec.source import Source
from kfgcp.store.request import StoredRequest

if TYPE_CHECKING:
    from kfgcp.spec.load import Spec
    from kfgcp.spec.translate import Translated

T = TypeVar("T")
CapabilityT = TypeVar("CapabilityT")


@dataclass(frozen=True, slots=True)
class RunRef:
    """The identity of a run: the name of its environment, and the id of the run there."""

    env: str
    run_id: str


@dataclass(frozen=True, slots=True)
class SubmitRequest:
    """A run to start.

    Attributes:
        spec: the pipeline.
        params: the values of all its parameters, from `kfgcp.spec.params.resolve`.
        options: how to run the pipeline. The environment, the experiment and the labels in it are
            final: they include the defaults of the project and of the pipeline.
        submit_dir: the folder that relative paths start from.
        repeats: the id of an earlier run on this backend. Tasks that have not changed since
            that run do not run again. None runs all tasks.
        from_task: a task of the earlier run. This task and all tasks that depend on it run again.
        source: where the pipeline comes from, None when kfgcp cannot tell.
        ignored: the findings that the user ignores. `notes` and `submit` say nothing about them.
        translated: the documents of the pipeline in the form that the backend takes. None when the
            caller has not translated them.
    """

    spec: Spec
    params: Mapping[str, Any]
    options: RunOptions
    submit_dir: str = ""
    repeats: str | None = None
    from_task: str | None = None
    source: Source | None = None
    ignored: Ignored = field(default_factory=Ignored)
    translated: Translated | None = None

    @property
    def sent_spec(self) -> Spec:
        """The documents to send. The version of the run is that of `spec`, not of these."""
        if self.translated is None or not self.translated.changes:
            return self.spec
        return replace(
            self.spec,
            pipeline_spec=dict(self.translated.pipeline_spec),
            platform_spec=self.translated.platform_spec,
        )


def stored_request(request: SubmitRequest) -> StoredRequest:
    """Return what the store keeps of a request."""
    changes = request.translated.changes if request.translated is not None else ()
    return StoredRequest(
        options=request.options,
        submit_dir=request.submit_dir,
        repeats=request.repeats,
        from_task=request.from_task,
        source=request.source,
        platform_spec=request.spec.platform_spec,
        registered=request.spec.registered,
        translation=tuple(change.to_dict() for change in changes),
    )


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A page of a list.

    Attributes:
        items: the items of the page.
        next: the token of the next page. None when this is the last page.
    """

    items: Sequence[T]
    next: str | None = None


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line of a task's log.

    Attributes:
        task: the path of the task.
        attempt: the number of the attempt, from 1.
        text: the line without its newline.
        at: when the line was written, RFC 3339 text. "" when the time is not recorded.
        severity: one of `SEVERITIES`. "" when the severity is not recorded.
    """

    task: str
    attempt: int
    text: str
    at: str = ""
    severity: str = ""


@dataclass(frozen=True, slots=True)
class Deleted:
    """The result of deleting a run. Files that other runs use were kept.

    Attributes:
        kept_files: how many files of artifacts were kept.
        kept_logs: how many logs of attempts were kept.
        used_by: the names or ids of the runs that use the kept files and logs.
    """

    kept_files: int = 0
    kept_logs: int = 0
    used_by: tuple[str, ...] = ()


UNKNOWN_SUBMISSION: Final = "0" * 12
"""The id of a submission in a body that is only shown. It is as long as a real one."""

SEVERITIES: Final = (
    "DEBUG",
    "INFO",
    "NOTICE",
    "WARNING",
    "ERROR",
    "CRITICAL",
    "ALERT",
    "EMERGENCY",
)
"""The severities of Cloud Logging, from the lowest to the highest."""


@dataclass(frozen=True, slots=True)
class LogFilter:
    """The lines of a run to read. A line must match every field that is set.

    Attributes:
        task: the path of a task.
        attempt: the number of an attempt, from 1.
        since: the earliest time of a line, RFC 3339 text.
        severity: the lowest severity of a line, one of `SEVERITIES`.
        all_lines: include the lines that the launcher of the program writes. Only some backends can
            distinguish them from the lines of the program.
    """

    task: str | None = None
    attempt: int | None = None
    since: str | None = None
    severity: str | None = None
    all_lines: bool = False


@dataclass(frozen=True, slots=True)
class Pace:
    """How often a run that has not ended is read.

    Attributes:
        shortest: the shortest pause between two readings, in seconds.
        longest: the longest pause between two readings, in seconds.
    """

    shortest: float
    longest: float

    def pause(self, unchanged_seconds: float) -> float:
        """Return the seconds until the next reading of a run.

        The pause is a tenth of the time since the last change of the run. So the end of a short
        task is noticed soon, and a long task costs few requests.

        Args:
            unchanged_seconds: seconds since the last change of the run.

        Example:
            >>> Pace(shortest=1.0, longest=30.0).pause(unchanged_seconds=100.0)
            10.0
        """
        return min(max(unchanged_seconds / 10, self.shortest), self.longest)


class LogTail(Protocol):
    """The logs of a run that has not ended.

    Attributes:
        late_seconds: for how many seconds after the end of the run lines may still come.
    """

    late_seconds: float

    def read(self, tasks: Sequence[Task]) -> Iterator[LogLine]:
        """Yield the lines that were written since the last call.

        The caller reads the iterator to its end before the next call.

        Args:
            tasks: the tasks that have changed since the last call.
        """


class NotRemoved(UserWarning):
    """Files of a deleted run could not be removed.

    kfgcp tries again when runs are deleted or listed.
    """


@runtime_checkable
class Backend(Protocol):
    """A place that runs pipelines.

    Times are RFC 3339 text in UTC. Methods raise the errors of `kfgcp.errors` and no others.
    """

    @property
    def pace(self) -> Pace:
        """How often a run that has not ended is read."""

    def notes(self, request: SubmitRequest) -> Sequence[str]:
        """Return one line for each part of a request that the backend ignores or does differently.

        The caller shows the lines before it submits the request.
        """

    def submit(self, request: SubmitRequest) -> RunRef:
        """Start a run, and return without waiting for its end.

        It creates exactly one run. When it raises, it has created none.
        """

    def get(self, ref: RunRef) -> Run:
        """Return a run as it is now, with its tasks.

        Raises:
            UsageError: there is no such run.
        """

    def list(self, run_filter: RunFilter, page: str | None = None, size: int = 100) -> Page[Run]:
        """Return a page of the runs, newest first, without their tasks and artifacts.

        Args:
            run_filter: which runs.
            page: the field `next` of the page before, None for the first page.
            size: how many runs a page has.
        """

    def cancel(self, ref: RunRef) -> RunState:
        """Ask a run to end, and return its state afterwards.

        When the run has already ended, it stays unchanged.
        """


@runtime_checkable
class SupportsLogs(Protocol):
    """Has the logs of tasks, and can follow the logs of a run."""

    def logs(self, ref: RunRef, log_filter: LogFilter) -> Iterator[LogLine]:
        """Return the lines that were written until now.

        The lines of a task are together, and tasks are in the order in which they started. Within a
        task, lines are in the order of the attempts, and then in the order of writing.

        Raises:
            Unsupported: the backend does not record a property that the filter compares.
        """

    def tail(self, ref: RunRef, log_filter: LogFilter) -> LogTail:
        """Return a reader of the lines of a run that has not ended.

        The reader starts at the first line.
        """


@runtime_checkable
class SupportsGetWithoutLogs(Protocol):
    """Can return a run without reading logs. `get` reads logs to explain why a run failed."""

    def get_without_logs(self, ref: RunRef) -> Run:
        """Return a run as `get` does, but do not read logs to explain a failure."""


@runtime_checkable
class SupportsArtifacts(Protocol):
    """Reads artifacts from a store that this machine may be unable to reach directly."""

    def keeps(self, uri: str) -> bool:
        """Return whether the backend can read the artifact at a URI."""

    def beginning(self, uri: str, size: int) -> bytes:
        """Return at most the first `size` bytes of an object.

        Raises:
            NotFound: the object does not exist.
            BackendError: access to the object is denied, or the store cannot be reached.
        """


@runtime_checkable
class SupportsRefresh(Protocol):
    """Has its runs on a service, and copies them into the store."""

    @property
    def place(self) -> str:
        """The place of the runs. Environments that share their runs have the same place."""

    def refresh_newest(self, run_filter: RunFilter, limit: int, *, with_tasks: bool = True) -> bool:
        """Copy the newest runs that match into the store, if the service can search for them.

        Args:
            run_filter: which runs.
            limit: how many runs.
            with_tasks: the same as for `refresh`.

        Returns:
            False when the service cannot search for these runs. Then the store is unchanged, and
            the caller uses `refresh` instead.
        """

    def refresh(self, since: str | None = None, *, with_tasks: bool = True) -> None:
        """Copy the runs that have changed into the store.

        Args:
            since: also copy all runs that were created at this time or later, RFC 3339 text.
            with_tasks: also copy the tasks and metrics of runs that have ended. With False, a
                backend may leave tasks and metrics out when they cost a request for each run.
        """


@runtime_checkable
class SupportsDelete(Protocol):
    """Can remove runs that have ended."""

    def is_deletable(self, run: Run) -> bool:
        """Return whether a run has ended, or will probably never end.

        Args:
            run: the run as it was last read.
        """

    def delete(self, ref: RunRef) -> Deleted:
        """Remove a run and its record. Files that other runs use are kept.

        Raises:
            UsageError: the run has not ended.
        """


@runtime_checkable
class SupportsRetry(Protocol):
    """Can continue a run that failed or was cancelled, as the same run."""

    def retry(self, ref: RunRef) -> RunState:
        """Continue a run, and return without waiting for its end.

        The service runs the tasks that failed or did not run. Other tasks keep their results.

        Returns:
            The state of the run afterwards.

        Raises:
            UsageError: the run has not ended, or it succeeded.
        """


@runtime_checkable
class SupportsPreview(Protocol):
    """Can show what it would send for a request, without sending anything."""

    def request_body(self, request: SubmitRequest) -> JsonObject:
        """Return the body of the request that `submit` would send.

        The id of the submission, which is different for each run, is `UNKNOWN_SUBMISSION`.

        Raises:
            Unsupported: `submit` would refuse the request, for the same reason.
        """


@runtime_checkable
class SupportsNative(Protocol):
    """Has an official client."""

    def native(self, ref: RunRef) -> Any:
        """Return the run as an object of the official client.

        Raises:
            MissingExtra: the client is not installed.
        """


@runtime_checkable
class SupportsForeground(Protocol):
    """Executes runs on this machine, in the calling process or in another process."""

    def open(self, request: SubmitRequest) -> ForegroundRun:
        """Record a new run. The caller must execute the returned run."""

    def reopen(self, ref: RunRef) -> ForegroundRun:
        """Return an interrupted run. The caller must execute the returned run.

        Its execution skips the tasks that have ended.

        Raises:
            UsageError: the run has ended, or another process executes it.
        """

    def resume(self, ref: RunRef) -> RunRef:
        """Start a process that continues an interrupted run, and return at once.

        The new process survives the calling process.

        Raises:
            UsageError: the run has ended, or another process executes it.
            StateError: no process can be started.
        """


@runtime_checkable
class HasParts(Protocol):
    """A backend whose capabilities are implemented by other objects, its parts."""

    def capability(self, protocol: type[CapabilityT]) -> CapabilityT | None:
        """Return the part that implements a Protocol, None when there is no such part."""


def capability(backend: object, protocol: type[CapabilityT]) -> CapabilityT | None:
    """Return the backend or its part that implements a Protocol, None when neither does.

    Args:
        backend: a backend. A backend with parts (`HasParts`) chooses the object itself.
        protocol: one of the Protocols of this module whose names begin with `Supports`.

    Example:
        >>> capability(object(), SupportsRetry) is None
        True
    """
    if isinstance(backend, HasParts):
        return backend.capability(protocol)
    return backend if isinstance(backend, protocol) else None


class ForegroundRun(Protocol):
    """A run that the calling process executes."""

    run_id: str

    def execute(self) -> RunState:
        """Execute the run in this thread, to its end, and return its state."""

    def cancel(self, *, force: bool = False) -> None:
        """Ask the run to end. A signal handler or another thread may call this.

        Args:
            force: kill the tasks that are running.
        """
