"""What a backend is: what every backend does, and what only some do.

Each capability that only some backends have is a small Protocol. `capability` asks a backend for
one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, Protocol, TypeVar, runtime_checkable

from kfgcp.model import Run, RunState, Task
from kfgcp.options import RunOptions
from kfgcp.query import RunFilter
from kfgcp.spec.load import Spec
from kfgcp.spec.source import Source
from kfgcp.store.request import StoredRequest

T = TypeVar("T")
CapabilityT = TypeVar("CapabilityT")


@dataclass(frozen=True, slots=True)
class RunRef:
    """The identity of a run: its environment's name and its id there."""

    env: str
    run_id: str


@dataclass(frozen=True, slots=True)
class SubmitRequest:
    """A run to start.

    Attributes:
        spec: the pipeline.
        params: the values of its parameters, complete and typed, from `kfgcp.spec.params.resolve`.
        options: how to run it. The environment, the experiment and the labels are those of the run.
        submit_dir: the folder that relative paths start from.
        repeats: the id of a run of this backend whose unchanged tasks are not run again.
        from_task: a task of that run. This task and all tasks that depend on it run again.
        source: where the pipeline comes from, None when that is not known.
    """

    spec: Spec
    params: Mapping[str, Any]
    options: RunOptions
    submit_dir: str = ""
    repeats: str | None = None
    from_task: str | None = None
    source: Source | None = None


def stored_request(request: SubmitRequest) -> StoredRequest:
    """Return what the store keeps of a request."""
    return StoredRequest(
        options=request.options,
        submit_dir=request.submit_dir,
        repeats=request.repeats,
        from_task=request.from_task,
        source=request.source,
        platform_spec=request.spec.platform_spec,
    )


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some of many; `next` asks for those that follow, None when there are none."""

    items: Sequence[T]
    next: str | None = None


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line of a task's log, without its newline. task: path; attempt: from 1.

    at: when it was written, "" when that was not kept. severity: as Cloud Logging calls it,
    likewise.
    """

    task: str
    attempt: int
    text: str
    at: str = ""
    severity: str = ""


@dataclass(frozen=True, slots=True)
class Deleted:
    """What is left of the files of a deleted run, because other runs use it.

    kept_files: files of artifacts. kept_logs: logs of attempts. used_by: the runs, by their names
    or ids.
    """

    kept_files: int = 0
    kept_logs: int = 0
    used_by: tuple[str, ...] = ()


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


@dataclass(frozen=True, slots=True)
class LogFilter:
    """Which lines of a run: every field that is set must match.

    task: path. attempt: from 1. since: RFC 3339 text. severity: this or a higher one of
    `SEVERITIES`. all_lines: also those that what runs the program writes, where the backend can
    tell them from those of the program.
    """

    task: str | None = None
    attempt: int | None = None
    since: str | None = None
    severity: str | None = None
    all_lines: bool = False


@dataclass(frozen=True, slots=True)
class Pace:
    """How often a run that goes on is looked at: seconds between two looks, at least and at
    most."""

    shortest: float
    longest: float

    def pause(self, age: float) -> float:
        """Seconds until the next look at a run that has not changed for `age` seconds: a tenth of
        that, so that what is short is seen soon and what is long is not disturbed."""
        return min(max(age / 10, self.shortest), self.longest)


class LogTail(Protocol):
    """The logs of a run under way. late: seconds after the end of the run that its last lines may
    come."""

    late: float

    def read(self, tasks: Sequence[Task]) -> Iterator[LogLine]:
        """What was written since the last call; must be read to its end before the next.

        Args:
            tasks: those that have changed since then.
        """


class NotRemoved(UserWarning):
    """Files of a deleted run are still there; it is tried again when runs are deleted or listed."""


@runtime_checkable
class Backend(Protocol):
    """Runs pipelines. Times are RFC 3339 in UTC. Methods raise `BackendError` and its subclasses,
    nothing foreign."""

    @property
    def pace(self) -> Pace:
        """How often a run that has not ended is read."""

    def notes(self, request: SubmitRequest) -> Sequence[str]:
        """What this backend leaves out of a request or gives in another way, a line each; asked
        before it starts."""

    def submit(self, request: SubmitRequest) -> RunRef:
        """Starts a run and returns at once; exactly one run is made or none."""

    def get(self, ref: RunRef) -> Run:
        """The run as it is now, with its tasks. UsageError when there is none."""

    def list(self, run_filter: RunFilter, page: str | None = None, size: int = 100) -> Page[Run]:
        """Runs newest first, without tasks and artifacts."""

    def cancel(self, ref: RunRef) -> RunState:
        """Asks a run to end; its state afterwards. Cancelling a run that has ended is no error."""


@runtime_checkable
class SupportsLogs(Protocol):
    """Keeps what tasks write."""

    def logs(self, ref: RunRef, log_filter: LogFilter) -> Iterator[LogLine]:
        """The lines there are now: by task in the order they started, by attempt, as they were
        written.

        Raises:
            Unsupported: lines are kept without what the filter asks for.
        """

    def tail(self, ref: RunRef, log_filter: LogFilter) -> LogTail:
        """The lines of a run as it goes on, those that are there already first."""


@runtime_checkable
class SupportsLook(Protocol):
    """Reads logs to tell why a run failed, and can leave that out."""

    def look(self, ref: RunRef) -> Run:
        """Return the run as `get` does, but ask for no log to tell why it failed."""


@runtime_checkable
class SupportsArtifacts(Protocol):
    """Reads artifacts in a store that this machine may not reach."""

    def keeps(self, uri: str) -> bool:
        """Return whether it reads what is at such a URI."""

    def beginning(self, uri: str, size: int) -> bytes:
        """Return at most the first `size` bytes of an object.

        Raises:
            NotFound: there is no such object.
            BackendError: it may not be read, or the store cannot be reached.
        """


@runtime_checkable
class SupportsRefresh(Protocol):
    """Has runs elsewhere, which are read into the store."""

    @property
    def place(self) -> str:
        """Where its runs are. Environments that share their runs have the same place."""

    def recent(self, run_filter: RunFilter, limit: int, *, with_tasks: bool = True) -> bool:
        """Read the newest runs that match into the store.

        Args:
            run_filter: which runs.
            limit: how many runs.
            with_tasks: as in `refresh`.

        Returns:
            Whether the service can choose these runs. If not, nothing was read: call `refresh`.
        """

    def refresh(self, since: str | None = None, *, with_tasks: bool = True) -> None:
        """Read what has changed into the store.

        Args:
            since: all runs created at this time or later are read too, RFC 3339 text.
            with_tasks: read the tasks and metrics of runs that have ended. False may leave out what
                costs a request for each run.
        """


@runtime_checkable
class SupportsDelete(Protocol):
    """Can remove runs that have ended."""

    def is_deletable(self, run: Run) -> bool:
        """Return whether a run can be removed in the state in which it was last read: it has ended,
        or never will."""

    def delete(self, ref: RunRef) -> Deleted:
        """Removes a run, its record here included; files that other runs use are kept.

        Raises:
            UsageError: it has not ended.
        """


@runtime_checkable
class SupportsRetry(Protocol):
    """Can continue a run that failed or was cancelled, as the same run."""

    def retry(self, ref: RunRef) -> RunState:
        """Run again what failed or did not run, keep what succeeded, and return at once.

        Returns:
            The state of the run afterwards.

        Raises:
            UsageError: the run has not ended, or it succeeded.
        """


@runtime_checkable
class SupportsNative(Protocol):
    """Has an official client."""

    def native(self, ref: RunRef) -> Any:
        """Return the run as an object of that client.

        Raises:
            MissingExtra: the client is not installed.
        """


@runtime_checkable
class SupportsForeground(Protocol):
    """Has runs that a process of this machine executes: this one, or one that outlives it."""

    def open(self, request: SubmitRequest) -> ForegroundRun:
        """Record a run that the caller must execute."""

    def reopen(self, ref: RunRef) -> ForegroundRun:
        """Return an interrupted run that the caller must execute. Tasks that have ended are not
        executed again.

        Raises:
            UsageError: it has ended, or is still running elsewhere.
        """

    def resume(self, ref: RunRef) -> RunRef:
        """Let a process that outlives this one continue an interrupted run, and return at once.

        Raises:
            UsageError: the run has ended, or is still running elsewhere.
            StateError: no process can be started.
        """


@runtime_checkable
class HasParts(Protocol):
    """Is composed of parts, so that its capabilities depend on its parts and not on its class."""

    def capability(self, protocol: type[CapabilityT]) -> CapabilityT | None:
        """Return what does what a Protocol says, None when no part can do it."""


def capability(backend: object, protocol: type[CapabilityT]) -> CapabilityT | None:
    """Return what does for a backend what a Protocol says, None when the backend cannot do it.

    Args:
        backend: a backend.
        protocol: one of the Protocols of this module whose names begin with `Supports`.

    Example:
        >>> retryable = capability(backend, SupportsRetry)
        >>> if retryable is not None:
        ...     retryable.retry(ref)
    """
    if isinstance(backend, HasParts):
        return backend.capability(protocol)
    return backend if isinstance(backend, protocol) else None


class ForegroundRun(Protocol):
    """A run whose engine is the calling process."""

    run_id: str

    def execute(self) -> RunState:
        """Execute the run in this thread, to its end."""

    def cancel(self, *, force: bool = False) -> None:
        """Ask the run to end; from a signal handler or another thread."""
