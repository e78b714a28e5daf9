"""The interface of services, whose runs a `Mirror` keeps in the store.

`RunService` is what every service does. Each ability that only some services have is a small
Protocol of its own: a service that has the methods has the ability. A service does not use the
store. It remembers things in its `ServiceRecords`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, runtime_checkable

from kfgcp.backends.base import LogFilter, LogLine, LogTail, Pace, SubmitRequest
from kfgcp.model import Run, RunState
from kfgcp.query import RunFilter
from kfgcp.store.rows import Cancellation

REMOTE_PACE: Final = Pace(1.0, 30.0)


@dataclass(frozen=True, slots=True)
class ServiceFacts:
    """What is always true of a service.

    Attributes:
        pace: how often a run that has not ended is read.
        fetch_is_cheap: a run is fetched with one request. Then a list of the newest runs also
            fetches those that have ended.
        can_reopen: a run that has ended may continue.
    """

    pace: Pace = REMOTE_PACE
    fetch_is_cheap: bool = True
    can_reopen: bool = False


@dataclass(frozen=True, slots=True)
class FetchedRun:
    """A run as the service answered.

    Attributes:
        run: the run.
        changed_at: when it last changed, RFC 3339 text.
        spec: its PipelineSpec, None when that cannot be read.
        answer: the answer itself, when a list says as much about a run as the run does. Else None.
        missing: a sentence that says what could not be read just now, and why. "" when nothing is
            missing. The run is read again later.
        note: a sentence that says what the service does not have. "" when there is nothing to say.
    """

    run: Run
    changed_at: str
    spec: Mapping[str, Any] | None = None
    answer: Mapping[str, Any] | None = None
    missing: str = ""
    note: str = ""


class RunService(Protocol):
    """Sends the requests to a service that has runs.

    A `backend_ref` is `place` and the service's own name of a run. Methods raise `BackendError` and
    its subclasses, and no other errors.
    """

    @property
    def facts(self) -> ServiceFacts:
        """What is always true of the service."""

    @property
    def place(self) -> str:
        """The text that the `backend_ref` of each run of this environment begins with."""

    def notes(self, request: SubmitRequest) -> Sequence[str]:
        """Return what the service leaves out of a request or does in another way, a line each."""

    def create(self, request: SubmitRequest) -> Run:
        """Create exactly one run, or none and raise."""

    def fetch(self, backend_ref: str) -> FetchedRun:
        """Return a run with its tasks. Several threads call this at the same time.

        Raises:
            NotFound: there is no such run.
        """

    def changed_since(self, since: str) -> Iterator[FetchedRun]:
        """Return the runs that have changed at this time or later, without their tasks.

        Args:
            since: RFC 3339 text.
        """

    def created_between(self, since: str, until: str | None = None) -> Iterator[FetchedRun]:
        """Return the runs that were created in a window of time, without their tasks.

        Args:
            since: RFC 3339 text. The run was created at this time or later.
            until: RFC 3339 text. The run was created before this time. None is now.
        """

    def newest(self, run_filter: RunFilter, limit: int) -> Iterator[FetchedRun] | None:
        """Return the newest runs that match, without their tasks.

        None when the service cannot choose them.

        Args:
            run_filter: which runs.
            limit: how many runs.
        """

    def explain(self, run: Run, backend_ref: str) -> Run:
        """Return a failed run with the end of the failing task's log, where the log can be read."""

    def cancel(self, backend_ref: str) -> bool:
        """Ask a run to end.

        Returns:
            Whether the service accepted it. It does not accept it when the run has ended.
        """

    def delete(self, backend_ref: str) -> None:
        """Delete a run that has ended. It is not an error when there is no such run."""


@runtime_checkable
class CanFetchListed(Protocol):
    """Can often complete a run from what a list says. Without this, the run is fetched."""

    def fetch_listed(self, listed: FetchedRun) -> FetchedRun:
        """Return a run of a list with its tasks, as `fetch` does."""


@runtime_checkable
class CanReread(Protocol):
    """Can be asked for several runs at once. Without this, runs are fetched one by one."""

    def reread(self, backend_refs: Sequence[str]) -> Iterator[FetchedRun]:
        """Return runs without their tasks. Those that were deleted are left out."""


@runtime_checkable
class CanJudgeExplanations(Protocol):
    """Knows when nothing more can be read about a failure.

    Without this, a failure counts as explained when it has the end of one log.
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
            The state that the service had for the run before.
        """


@runtime_checkable
class HasLogs(Protocol):
    """Has the logs of its runs, see `SupportsLogs`."""

    def logs(self, backend_ref: str, log_filter: LogFilter) -> Iterator[LogLine]:
        """Return the lines that there are now."""

    def tail(self, backend_ref: str, log_filter: LogFilter) -> LogTail:
        """Return a reader of the lines of a run that has not ended."""


@runtime_checkable
class HasNativeClient(Protocol):
    """Has an official client, see `SupportsNative`."""

    def native(self, backend_ref: str) -> Any:
        """Return the run as an object of that client."""


class ServiceRecords(Protocol):
    """What services remember from one command to the next.

    The argument `place` is that of the service, so that services do not mix their records. `kind`
    is a word of the service, such as "experiment".
    """

    def names(self, place: str, kind: str) -> dict[str, str]:
        """Return the remembered names of one kind, by the ids of what has these names."""

    def remember_names(
        self, place: str, kind: str, names: Mapping[str, str], *, gone: Iterable[str] = ()
    ) -> None:
        """Remember names by ids, and forget the ids that are `gone`.

        Do nothing when the store is read-only.
        """

    def spec(self, version: str) -> dict[str, Any] | None:
        """Return the PipelineSpec of a version, None when it was not recorded."""

    def cancellation(self, backend_ref: str) -> Cancellation | None:
        """Return what is recorded about cancelling a run, None when the run is not recorded."""

    def complete_since(self, place: str) -> str | None:
        """Return the time since which all runs are recorded, RFC 3339 text.

        None when runs were never listed.
        """
