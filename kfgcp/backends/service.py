"""The interface of services. A `Mirror` copies the runs of a service into the store.

Every service implements `RunService`. Each ability that only some services have is a small Protocol
of its own. A service with the methods of the Protocol has the ability. A service does not use the
store. It keeps its data from one command to the next in its `ServiceRecords`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, runtime_checkable

from kfgcp.backends.base import LogFilter, LogLine, LogTail, Pace, SubmitRequest
from kfgcp.backends.locks import SupportsLock
from kfgcp.backends.schedules import SupportsSchedules
from kfgcp.backends.versions import SupportsVersions
from kfgcp.model import Run, RunState
from kfgcp.query import RunFilter
from kfgcp.store.rows import Cancellation

REMOTE_PACE: Final = Pace(1.0, 30.0)


@dataclass(frozen=True, slots=True)
class ServiceFacts:
    """Constant properties of a service.

    Attributes:
        pace: how often a run that has not ended is read.
        fetch_is_cheap: whether one request fetches a whole run. Then a list of the newest runs also
            fetches the ended runs.
        can_reopen: whether a run that has ended may continue.
    """

    pace: Pace = REMOTE_PACE
    fetch_is_cheap: bool = True
    can_reopen: bool = False


@dataclass(frozen=True, slots=True)
class FetchedRun:
    """A run that was read from a service.

    Attributes:
        run: the run.
        changed_at: when the run last changed, RFC 3339 text.
        spec: the PipelineSpec of the run, None when it cannot be read.
        answer: the item of a list that the run was read from, when the item has all fields of the
            run. Otherwise None.
        missing: a sentence that says what could not be read now, and why. The run is read again
            later. "" when nothing is missing.
        note: a sentence that says what the service does not have for this run. "" when the service
            has everything.
    """

    run: Run
    changed_at: str
    spec: Mapping[str, Any] | None = None
    answer: Mapping[str, Any] | None = None
    missing: str = ""
    note: str = ""


class RunService(Protocol):
    """Creates, reads and ends the runs of a service.

    The `backend_ref` of a run is `place`, followed by the service's own name of the run. Methods
    raise only `BackendError` and its subclasses.
    """

    @property
    def facts(self) -> ServiceFacts:
        """The constant properties of the service."""

    @property
    def place(self) -> str:
        """The beginning of the `backend_ref` of each run in this environment."""

    def notes(self, request: SubmitRequest) -> Sequence[str]:
        """Return a line for each part of a request that the service ignores or does differently."""

    def create(self, request: SubmitRequest) -> Run:
        """Create exactly one run. When this raises, no run was created."""

    def fetch(self, backend_ref: str) -> FetchedRun:
        """Return a run with its tasks. Several threads call this at the same time.

        Raises:
            NotFound: the run does not exist.
        """

    def changed_since(self, since: str) -> Iterator[FetchedRun]:
        """Return the runs that have changed at the time `since` or later, without their tasks.

        Args:
            since: RFC 3339 text.
        """

    def created_between(self, since: str, until: str | None = None) -> Iterator[FetchedRun]:
        """Return the runs that were created in a window of time, without their tasks.

        Args:
            since: the earliest time of creation, RFC 3339 text.
            until: the time before which a run was created, RFC 3339 text. None for no limit.
        """

    def newest(self, run_filter: RunFilter, limit: int) -> Iterator[FetchedRun] | None:
        """Return the newest runs that match, without their tasks.

        Return None when the service cannot search for these runs.

        Args:
            run_filter: which runs.
            limit: how many runs.
        """

    def explain(self, run: Run, backend_ref: str) -> Run:
        """Return a failed run with the end of the failing task's log, if the log can be read."""

    def cancel(self, backend_ref: str) -> bool:
        """Ask a run to end.

        Returns:
            True when the service accepted the request, False when the run has already ended.
        """

    def delete(self, backend_ref: str) -> None:
        """Delete a run that has ended. Do nothing when the run does not exist."""


@runtime_checkable
class CanFetchListed(Protocol):
    """Can often read a whole run from an item of a list, without a request for the run.

    Runs of other services are fetched.
    """

    def fetch_listed(self, listed: FetchedRun) -> FetchedRun:
        """Return a run of a list with its tasks, as `fetch` does."""


@runtime_checkable
class CanReread(Protocol):
    """Can read several runs with one request. Runs of other services are fetched one by one."""

    def reread(self, backend_refs: Sequence[str]) -> Iterator[FetchedRun]:
        """Return runs without their tasks. Runs that were deleted are left out."""


@runtime_checkable
class CanJudgeExplanations(Protocol):
    """Knows when nothing more can be read about a failure.

    On other services, a failure counts as explained when the run has the end of one log.
    """

    def is_explained(self, run: Run) -> bool:
        """Return whether `explain` would read nothing more about a failed run."""


@runtime_checkable
class CanNoticeStuckRuns(Protocol):
    """Recognizes runs that will probably never end."""

    def observe(self, run: Run) -> str:
        """Remember the state in which a run was read.

        Returns:
            A sentence when the run will probably never end, else "".
        """

    def is_stuck(self, run: Run) -> bool:
        """Return whether a run that has not ended will probably never end."""


@runtime_checkable
class CanRetry(Protocol):
    """Can continue a run that failed or was cancelled."""

    def retry(self, backend_ref: str) -> RunState:
        """Continue a run that failed or was cancelled. Leave a run in another state as it is.

        Returns:
            The state of the run before this call.
        """


@runtime_checkable
class HasLogs(Protocol):
    """Has the logs of its runs, see `SupportsLogs`."""

    def logs(self, backend_ref: str, log_filter: LogFilter) -> Iterator[LogLine]:
        """Return the lines that were written until now."""

    def tail(self, backend_ref: str, log_filter: LogFilter) -> LogTail:
        """Return a reader of the lines of a run that has not ended."""


@runtime_checkable
class HasNativeClient(Protocol):
    """Has an official client, see `SupportsNative`."""

    def native(self, backend_ref: str) -> Any:
        """Return the run as an object of the official client."""


@runtime_checkable
class HasRegistry(Protocol):
    """Has a registry for versions of pipelines."""

    def versions(self) -> SupportsVersions:
        """Return the registry. An environment may have none; then its methods raise ConfigError."""


@runtime_checkable
class HasSchedules(Protocol):
    """Keeps schedules, see `SupportsSchedules`."""

    def schedules(self) -> SupportsSchedules:
        """Return the schedules of the environment."""


@runtime_checkable
class HasLocks(Protocol):
    """Keeps locks, see `SupportsLock`."""

    def locks(self) -> SupportsLock:
        """Return the locks of the environment."""


class ServiceRecords(Protocol):
    """The data that a service keeps from one command to the next.

    The argument `place` is the place of the service, and separates the records of services. The
    argument `kind` is a word that the service chooses, such as "experiment".
    """

    def names(self, place: str, kind: str) -> dict[str, str]:
        """Return the remembered names of one kind, by id."""

    def remember_names(
        self, place: str, kind: str, names: Mapping[str, str], *, gone: Iterable[str] = ()
    ) -> None:
        """Remember names by id, and forget the ids in `gone`.

        Do nothing when the store is read-only.
        """

    def spec(self, version: str) -> dict[str, Any] | None:
        """Return the PipelineSpec of a version, None when the spec is not recorded."""

    def cancellation(self, backend_ref: str) -> Cancellation | None:
        """Return the record of the cancellation of a run, None when the run is not recorded."""

    def complete_since(self, place: str) -> str | None:
        """Return the time since which all runs of a place are recorded, RFC 3339 text.

        None when the runs were never listed.
        """
