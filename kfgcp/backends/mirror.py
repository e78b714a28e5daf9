"""A backend whose runs are on a service. The store has a copy of them.

A run that has ended does not change any more, so the mirror reads it only once, unless the service
can continue ended runs. A refresh reads the changes since the last refresh. It costs a request for
each page of changed runs, and further requests for each run that has ended since. Where these are
many, a list of the newest runs records only the fields of an ended run that the list contains
(`ReadLevel.LISTED`). The mirror reads the other fields when somebody asks for the run.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Final

from kfgcp.backends.base import (
    CapabilityT,
    Deleted,
    Pace,
    Page,
    RunRef,
    SubmitRequest,
    stored_request,
)
from kfgcp.backends.fetch_runs import fetch_listed, fetch_unless_deleted
from kfgcp.backends.incomplete import warn_incomplete
from kfgcp.backends.mirror_parts import find_part
from kfgcp.backends.run_values import has_log_end
from kfgcp.backends.service import (
    CanJudgeExplanations,
    CanNoticeStuckRuns,
    CanReread,
    FetchedRun,
    RunService,
)
from kfgcp.errors import BadAnswer, NotFound, StateError, UsageError
from kfgcp.model import ErrorInfo, ErrorKind, Run, RunState, TaskState, timestamp
from kfgcp.query import RunFilter
from kfgcp.store.database import read_only_error
from kfgcp.store.rows import Changes, EndedRun, Observed, ReadLevel, run_not_found
from kfgcp.store.store import Store

INITIAL_HISTORY: Final = 30 * 86400.0
"""Seconds of history that the first list reads. `RunFilter.since` can ask for older runs."""

# A service may show a change late in its lists. So each refresh begins this many seconds before the
# last change that the previous refresh read.
OVERLAP: Final = 60.0

CLOCK_TOLERANCE: Final = 3600.0
"""Seconds that the clock of a service may be ahead of the clock of this machine."""
READERS: Final = 16
"""How many runs are fetched at the same time."""
DELETED: Final = ErrorInfo(
    "the run was deleted on its backend before kfgcp had recorded its end", kind=ErrorKind.DELETED
)


class Mirror:
    """A backend whose runs are on a service, with a copy in the store.

    It belongs to one thread.

    Args:
        service: sends the requests.
        store: where the runs are recorded.
        env_name: the name of the environment.
    """

    def __init__(self, service: RunService, store: Store, env_name: str) -> None:
        self._service = service
        self._store = store
        self._env_name = env_name

    @property
    def pace(self) -> Pace:
        """How often a run that has not ended is read."""
        return self._service.facts.pace

    @property
    def place(self) -> str:
        """The place of the runs, see `SupportsRefresh`."""
        return self._service.place

    def capability(self, protocol: type[CapabilityT]) -> CapabilityT | None:
        """Return the mirror or its part that implements a Protocol, None when neither does."""
        if isinstance(self, protocol):
            return self
        part = find_part(self, self._service, protocol)
        return part if isinstance(part, protocol) else None

    # -- Backend

    def notes(self, request: SubmitRequest) -> Sequence[str]:
        """Return a line for each part of a request that the service ignores or does differently."""
        return self._service.notes(request)

    def submit(self, request: SubmitRequest) -> RunRef:
        """Start a run and record it."""
        if not self._store.writable:
            raise read_only_error(self._store.file.parent)
        run = self._service.create(request)
        try:
            self._store.put(
                run,
                read_level=ReadLevel.LISTED,
                pipeline_spec=request.spec.pipeline_spec,
                request=stored_request(request),
            )
        except StateError as error:
            raise StateError(
                f"Run {run.run_id} was submitted and continues, but kfgcp could not record it:"
                f" {error.message}",
                hint=error.hint,
            ) from error
        return RunRef(self._env_name, run.run_id)

    def get(self, ref: RunRef) -> Run:
        """Return a run as it is now, with the reason of a failure.

        A run that has ended comes from the store, when the store has the whole run.
        """
        return self._read(ref, with_reasons=True)

    def get_without_logs(self, ref: RunRef) -> Run:
        """Return a run as `get` does, but do not read logs to explain a failure."""
        return self._read(ref, with_reasons=False)

    def list(self, run_filter: RunFilter, page: str | None = None, size: int = 100) -> Page[Run]:
        """Return a page of the recorded runs. Before the first page, read the changes."""
        if page is None:
            self.refresh(run_filter.since)
        offset = int(page or 0)
        filter_here = replace(run_filter, env=self._env_name)
        runs = self._store.select(filter_here, limit=size + 1, offset=offset)
        next_page = str(offset + size) if len(runs) > size else None
        return Page(runs[:size], next_page)

    def cancel(self, ref: RunRef) -> RunState:
        """Ask a run to end, and return its state afterwards."""
        run = self.get_without_logs(ref)
        if not run.state.final:
            is_accepted = self._service.cancel(run.backend_ref or self.backend_ref(ref))
            if is_accepted and self._store.writable:
                self._store.request_cancel(run.run_id, timestamp(time.time()))
        return self.get(ref).state

    # -- capabilities that every mirror has

    def is_deletable(self, run: Run) -> bool:
        """Return whether a run has ended, or will probably never end."""
        if run.state.final:
            return True
        return isinstance(self._service, CanNoticeStuckRuns) and self._service.is_stuck(run)

    def delete(self, ref: RunRef) -> Deleted:
        """Delete a run from the service and from the store."""
        run = self.get_without_logs(ref)
        if not self.is_deletable(run):
            raise UsageError(
                f"Run {ref.run_id} is {run.state}, and only a run that has ended can be deleted.",
                hint=f"Cancel the run first: kfgcp cancel {ref.run_id}",
            )
        self._service.delete(run.backend_ref or self.backend_ref(ref))
        self._store.forget(ref.run_id)
        return Deleted()

    def refresh(self, since: str | None = None, *, with_tasks: bool = True) -> None:
        """Record all runs that have changed. Other people may have started them.

        Args:
            since: also record all runs that were created at this time or later, RFC 3339 text.
            with_tasks: read the tasks and metrics of runs that have ended, including the ended runs
                that earlier lists left incomplete.
        """
        observed = self._store.observed(self.place)
        now = time.time()
        # A recorded time in the future comes from a wrong clock, here or on the service.
        if observed is None or observed.changed_until > timestamp(now + CLOCK_TOLERANCE):
            history_start = timestamp(now - INITIAL_HISTORY)
            if since is not None:
                history_start = min(since, history_start)
            all_runs = self._service.created_between(history_start)
            last_change = self._record_changes(all_runs, with_tasks=with_tasks)
            observed = Observed(last_change or history_start, history_start)
        else:
            overlap_start = _seconds_before(observed.changed_until, OVERLAP)
            changed_runs = self._service.changed_since(overlap_start)
            last_change = self._record_changes(changed_runs, with_tasks=with_tasks)
            observed = replace(observed, changed_until=max(last_change, observed.changed_until))
            if since is not None and since < observed.created_since:
                older_runs = self._service.created_between(since, observed.created_since)
                self._record_changes(older_runs, with_tasks=with_tasks)
                observed = replace(observed, created_since=since)
        self._store.set_observed(self.place, observed)
        if with_tasks:
            self._read_incomplete_runs()

    def refresh_newest(self, run_filter: RunFilter, limit: int, *, with_tasks: bool = True) -> bool:
        """Record the newest runs that match.

        This costs a request for each page of runs. Further requests read the recorded runs that
        match but are not in the list of the service.

        Args:
            run_filter: which runs.
            limit: how many runs.
            with_tasks: read the tasks and metrics of ended runs even if they cost several requests
                for each run.

        Returns:
            False when the service cannot search for these runs. Then the store is unchanged, and
            the caller uses `refresh` instead.
        """
        newest = self._service.newest(run_filter, limit)
        if newest is None:
            return False
        listed_refs: set[str] = set()
        self._record_changes(_with_refs_added(newest, listed_refs), with_tasks=with_tasks)
        self._read_unlisted_runs(run_filter, limit, listed_refs, with_tasks=with_tasks)
        return True

    # -- for the parts of a mirror

    def backend_ref(self, ref: RunRef) -> str:
        """Return the service's own name of a run."""
        env_and_ref = self._store.refs(ref.run_id)
        if env_and_ref is None:
            return f"{self.place}{ref.run_id}"
        _, backend_ref = env_and_ref
        return backend_ref

    def has_recorded_end(self, ref: RunRef) -> bool:
        """Return whether the store has a run as one that has ended."""
        return self._store.get(ref.run_id, with_tasks=False).state.final

    def reopen_record(self, ref: RunRef) -> None:
        """Record that a run continues. Tasks that failed or did not run become PENDING again."""
        unsuccessful = (TaskState.FAILED, TaskState.CANCELLED, TaskState.SKIPPED)
        tasks = [
            replace(task, state=TaskState.PENDING, started_at=None, ended_at=None, error=None)
            for task in self._store.tasks(ref.run_id)
            if task.state in unsuccessful
        ]
        self._store.reopen(ref.run_id)
        self._store.apply(ref.run_id, Changes(tasks=tasks))

    # -- reading one run

    def _read(self, ref: RunRef, *, with_reasons: bool) -> Run:
        """Return a run as it is now. Warn when it will probably never end."""
        run = self._read_and_record(ref, with_reasons=with_reasons)
        if isinstance(self._service, CanNoticeStuckRuns):
            warn_incomplete(self._service.observe(run))
        return run

    def _read_and_record(self, ref: RunRef, *, with_reasons: bool) -> Run:
        """Return a run as it is now, and record it. Read only what the store does not have."""
        is_recorded = self._store.refs(ref.run_id) is not None
        stored_level = self._store.read_level(ref.run_id) if is_recorded else ReadLevel.LISTED
        has_ended = False
        if is_recorded:
            stored_run = self._store.get(
                ref.run_id, with_tasks=stored_level is ReadLevel.EVERYTHING
            )
            has_ended = stored_run.state.final
            if has_ended and stored_level is ReadLevel.EVERYTHING:
                return stored_run
        backend_ref = self.backend_ref(ref)
        if has_ended and stored_level is ReadLevel.WITHOUT_REASONS:
            fetched = FetchedRun(self._store.get(ref.run_id), "")
        else:
            fetched = self._fetch(ref, backend_ref, is_recorded=is_recorded)
        run, read_level = self._explain(fetched.run, backend_ref, with_reasons=with_reasons)
        run_id = self._record(replace(fetched, run=run), read_level)
        warn_incomplete(fetched.missing or fetched.note)
        return self._store.get(run_id)

    def _fetch(self, ref: RunRef, backend_ref: str, *, is_recorded: bool) -> FetchedRun:
        """Return a run as the service has it now, or the record of a run that was deleted.

        Raises:
            UsageError: neither the service nor the store has the run.
            NotFound: the run was deleted before its end was recorded.
        """
        try:
            return self._service.fetch(backend_ref)
        except NotFound as error:
            if not is_recorded:
                raise run_not_found(ref.run_id) from error
            return self._deleted_run(ref, error)

    def _deleted_run(self, ref: RunRef, not_found: NotFound) -> FetchedRun:
        """Return the record of a run that was deleted on the service.

        Raises:
            NotFound: the run had not ended in the record. The record now says that the run was
                deleted.
        """
        stored_run = self._store.get(ref.run_id)
        if stored_run.state.final:
            # An error of the kind DELETED already says that the run was deleted.
            if stored_run.error is None or stored_run.error.kind is not ErrorKind.DELETED:
                warn_incomplete(
                    f"Run {ref.run_id} was deleted ({not_found.message.rstrip('.')}). kfgcp shows"
                    " its last record."
                )
            return FetchedRun(stored_run, "")
        tasks = [
            replace(task, state=TaskState.CANCELLED)
            for task in stored_run.tasks
            if not task.state.final
        ]
        now = timestamp(time.time())
        self._store.end(
            ref.run_id, Changes(tasks=tasks, state=RunState.CANCELLED, ended_at=now, error=DELETED)
        )
        raise NotFound(
            f"Run {ref.run_id} was deleted: {not_found.message}",
            hint=f"To see the last record of the run: kfgcp show {ref.run_id}",
        ) from not_found

    def _explain(self, run: Run, backend_ref: str, *, with_reasons: bool) -> tuple[Run, ReadLevel]:
        """Return a run with the reason of its failure, and how much of the run has been read."""
        if run.state is not RunState.FAILED:
            return run, ReadLevel.EVERYTHING
        if not with_reasons:
            return run, ReadLevel.WITHOUT_REASONS
        explained = self._service.explain(run, backend_ref)
        if isinstance(self._service, CanJudgeExplanations):
            is_complete = self._service.is_explained(explained)
        else:
            # When the end of the log is missing, the next reading may find it.
            is_complete = has_log_end(explained)
        return explained, ReadLevel.EVERYTHING if is_complete else ReadLevel.WITHOUT_REASONS

    # -- reading lists

    def _record_changes(self, changes: Iterable[FetchedRun], *, with_tasks: bool) -> str:
        """Record the runs of a list, and fetch the ended runs with their tasks.

        Threads fetch runs while the list is read. After an error, the runs that were already
        recorded stay recorded, and the next call does not fetch them again.

        Args:
            changes: the runs, without their tasks.
            with_tasks: fetch the tasks of ended runs. When a fetch is cheap on this service, the
                tasks are fetched in any case.

        Returns:
            The time of the last change in the list, "" when the list is empty.
        """
        from concurrent.futures import Future, ThreadPoolExecutor

        last_change = note = ""
        with_tasks = with_tasks or self._service.facts.fetch_is_cheap
        ended_runs = self._store.ended(self.place)
        being_fetched: deque[Future[FetchedRun | None]] = deque()
        pool = ThreadPoolExecutor(READERS, thread_name_prefix="kfgcp-read")
        try:
            for listed in changes:
                last_change = max(last_change, listed.changed_at)
                stored = ended_runs.get(listed.run.backend_ref or "")
                if self._is_up_to_date(stored, listed.run, with_tasks=with_tasks):
                    continue
                if with_tasks and listed.run.state.final:
                    being_fetched.append(pool.submit(fetch_listed, self._service, listed))
                else:
                    self._record(listed, ReadLevel.LISTED)
                while being_fetched and being_fetched[0].done():
                    note = self._record_ended(being_fetched.popleft().result()) or note
            while being_fetched:
                note = self._record_ended(being_fetched.popleft().result()) or note
        finally:
            pool.shutdown(cancel_futures=True)
        warn_incomplete(note)
        return last_change

    def _is_up_to_date(self, stored: EndedRun | None, listed: Run, *, with_tasks: bool) -> bool:
        """Return whether a run of a list is recorded with its end and needs no request."""
        if stored is None:
            return False
        # A list can be older than the record. So a different state in the list counts only for a
        # service on which an ended run can continue.
        has_changed = listed.state is not stored.state or (listed.ended_at or "") > stored.ended_at
        is_reopened = self._service.facts.can_reopen and has_changed
        lacks_tasks = with_tasks and stored.read_level.is_incomplete
        return not (is_reopened or lacks_tasks)

    def _read_incomplete_runs(self) -> None:
        """Complete the ended runs that earlier lists left incomplete, newest first.

        Stop when the service cannot complete any run of a batch.
        """
        from concurrent.futures import ThreadPoolExecutor

        incomplete = [
            (backend_ref, ended.run_id)
            for backend_ref, ended in self._store.ended(self.place).items()
            if ended.read_level.is_incomplete
        ]
        if not incomplete:
            return
        fetch_run = partial(fetch_unless_deleted, self._service)
        with ThreadPoolExecutor(READERS, thread_name_prefix="kfgcp-read") as pool:
            for start in range(0, len(incomplete), READERS):
                batch = incomplete[start : start + READERS]
                refs = [backend_ref for backend_ref, _ in batch]
                answers = list(pool.map(fetch_run, refs))
                fetched_runs: list[FetchedRun] = []
                for (_, run_id), fetched in zip(batch, answers, strict=True):
                    # Nothing more can be read about a run that was deleted, so its record counts as
                    # complete.
                    completed = fetched or FetchedRun(self._store.get(run_id), "")
                    self._record_ended(completed)
                    fetched_runs.append(completed)
                if all(fetched.missing for fetched in fetched_runs):
                    warn_incomplete(fetched_runs[0].missing)
                    return
                # A note says what the service does not have for any run, so one note is enough.
                notes = [fetched.note for fetched in fetched_runs if fetched.note]
                warn_incomplete(notes[0] if notes else "")

    def _read_unlisted_runs(
        self, run_filter: RunFilter, limit: int, listed_refs: set[str], *, with_tasks: bool
    ) -> None:
        """Read the unfinished runs that the store selects and the service did not list.

        Such a run has ended, has changed its state, or was deleted. When a run does not match any
        more, the store selects another run in its place. That run is read, too.
        """
        while True:
            unlisted: dict[str, Run] = {}
            for run in self._store.select(run_filter, limit=limit):
                backend_ref = run.backend_ref or ""
                is_here = backend_ref.startswith(self.place)
                if is_here and not run.state.final and backend_ref not in listed_refs:
                    unlisted[backend_ref] = run
            if not unlisted:
                return
            if isinstance(self._service, CanReread):
                reread = self._service.reread(list(unlisted))
                self._record_changes(_with_refs_added(reread, listed_refs), with_tasks=with_tasks)
            for backend_ref, run in unlisted.items():
                if backend_ref not in listed_refs:
                    listed_refs.add(backend_ref)
                    self._read_again(run)

    def _read_again(self, run: Run) -> None:
        """Read a run and record it. Warn when its answer cannot be read."""
        try:
            self.get(RunRef(run.env, run.run_id))
        except NotFound:
            # The run was deleted. `get` has recorded that.
            pass
        except BadAnswer as error:
            warn_incomplete(
                f"kfgcp shows the last known state of run {run.run_id} of {run.env}:"
                f" {error.message}"
            )

    # -- recording

    def _record_ended(self, fetched: FetchedRun | None) -> str:
        """Record a run that has ended, and return a note for the user, "" without a note.

        Args:
            fetched: the run, None when it was deleted.
        """
        if fetched is None:
            return ""
        has_failed = fetched.run.state is RunState.FAILED
        self._record(fetched, ReadLevel.WITHOUT_REASONS if has_failed else ReadLevel.EVERYTHING)
        return fetched.missing or fetched.note

    def _record(self, fetched: FetchedRun, read_level: ReadLevel) -> str:
        """Record a run, and return its id in the store.

        When the store has a run of another backend with this id, the new run gets another id.
        """
        run = fetched.run
        env_and_ref = self._store.refs(run.run_id)
        if env_and_ref is not None:
            _, stored_ref = env_and_ref
            if stored_ref != run.backend_ref:
                run = replace(run, run_id=f"{run.run_id}@{self._env_name}")
        actual_level = ReadLevel.PARTIAL if fetched.missing else read_level
        self._store.put(run, read_level=actual_level, pipeline_spec=fetched.spec)
        return run.run_id


def _with_refs_added(runs: Iterator[FetchedRun], refs: set[str]) -> Iterator[FetchedRun]:
    """Yield the runs, and add the `backend_ref` of each to a set."""
    for fetched in runs:
        refs.add(fetched.run.backend_ref or "")
        yield fetched


def _seconds_before(at: str, seconds: float) -> str:
    """Return the time `seconds` before the time `at`, at the earliest the start of 1970."""
    return timestamp(max(datetime.fromisoformat(at).timestamp() - seconds, 0.0))
