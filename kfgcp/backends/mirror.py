"""A backend whose runs are on a service. The store has a copy of them.

A run that has ended does not change any more, so it is read only once, unless the service can
continue it. A refresh reads the changes since the last refresh. It costs a request for each page of
changed runs, and further requests for each run that has ended since. These further requests can be
many. Then a list of the newest runs records only what the list says about an ended run
(`ReadLevel.LISTED`). The rest is read when somebody asks for it.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
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
from kfgcp.backends.incomplete import warn_incomplete
from kfgcp.backends.mirror_parts import part_of
from kfgcp.backends.run_values import has_log_end
from kfgcp.backends.service import (
    CanFetchListed,
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
"""Seconds of history that the first list reads. `RunFilter.since` reaches further back."""

# A service may show a change late in its lists, so each list begins these seconds before the end of
# the last one.
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
        """Where the runs are, see `SupportsRefresh`."""
        return self._service.place

    def capability(self, protocol: type[CapabilityT]) -> CapabilityT | None:
        """Return the mirror or a part of it that implements a Protocol, None when there is none."""
        if isinstance(self, protocol):
            return self
        part = part_of(self, self._service, protocol)
        return part if isinstance(part, protocol) else None

    # -- Backend

    def notes(self, request: SubmitRequest) -> Sequence[str]:
        """Return what the service leaves out of a request or does in another way."""
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
                f"Run {run.run_id} was submitted and continues, but is not recorded here:"
                f" {error.message}",
                hint=error.hint,
            ) from error
        return RunRef(self._env_name, run.run_id)

    def get(self, ref: RunRef) -> Run:
        """Return a run as it is now. A run that has ended comes from the store."""
        return self._read(ref, with_reasons=True)

    def get_without_logs(self, ref: RunRef) -> Run:
        """Return a run as `get` does, but do not read logs to explain a failure."""
        return self._read(ref, with_reasons=False)

    def list(self, run_filter: RunFilter, page: str | None = None, size: int = 100) -> Page[Run]:
        """Return a page of the runs. The first page reads the changes before."""
        if page is None:
            self.refresh(run_filter.since)
        offset = int(page or 0)
        runs = self._store.select(
            replace(run_filter, env=self._env_name), limit=size + 1, offset=offset
        )
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
        """Return whether a run has ended, or is not expected to end."""
        if run.state.final:
            return True
        return isinstance(self._service, CanNoticeStuckRuns) and self._service.is_stuck(run)

    def delete(self, ref: RunRef) -> Deleted:
        """Delete a run from the service and from the store."""
        run = self.get_without_logs(ref)
        if not self.is_deletable(run):
            raise UsageError(
                f"Run {ref.run_id} is {run.state}.",
                hint=f"Cancel it first: kfgcp cancel {ref.run_id}",
            )
        self._service.delete(run.backend_ref or self.backend_ref(ref))
        self._store.forget(ref.run_id)
        return Deleted()

    def refresh(self, since: str | None = None, *, with_tasks: bool = True) -> None:
        """Read all runs that have changed into the store, also those that others started.

        Args:
            since: read also all runs that were created at this time or later, RFC 3339 text.
            with_tasks: read the tasks and metrics of runs that have ended, also of those that
                earlier lists left incomplete.
        """
        observed = self._store.observed(self.place)
        now = time.time()
        first = timestamp(now - INITIAL_HISTORY)
        if since is not None:
            first = min(since, first)
        # A time in the future comes from a wrong clock, ours or that of the service.
        if observed is None or observed.changed_until > timestamp(now + CLOCK_TOLERANCE):
            changed_until = self._record_changes(
                self._service.created_between(first), with_tasks=with_tasks
            )
            observed = Observed(changed_until or first, first)
        else:
            changed = self._service.changed_since(_seconds_before(observed.changed_until, OVERLAP))
            changed_until = self._record_changes(changed, with_tasks=with_tasks)
            observed = replace(observed, changed_until=max(changed_until, observed.changed_until))
            if since is not None and since < observed.created_since:
                older = self._service.created_between(since, observed.created_since)
                self._record_changes(older, with_tasks=with_tasks)
                observed = replace(observed, created_since=since)
        self._store.set_observed(self.place, observed)
        if with_tasks:
            self._read_incomplete_runs()

    def refresh_newest(self, run_filter: RunFilter, limit: int, *, with_tasks: bool = True) -> bool:
        """Read the newest runs that match into the store.

        This costs a request for each page of them. Further requests read the runs that matched when
        they were last read and do not match any more.

        Args:
            run_filter: which runs.
            limit: how many runs.
            with_tasks: read the tasks and metrics of ended runs, also where that costs several
                requests for each run.

        Returns:
            False when the service cannot search for these runs. Then nothing was read: call
            `refresh` instead.
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
        refs = self._store.refs(ref.run_id)
        return f"{self.place}{ref.run_id}" if refs is None else refs[1]

    def has_recorded_end(self, ref: RunRef) -> bool:
        """Return whether the store has a run as one that has ended."""
        return self._store.get(ref.run_id, with_tasks=False).state.final

    def reopen_record(self, ref: RunRef) -> None:
        """Record that a run continues: the tasks that failed or did not run are PENDING again."""
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
        run = self._read_and_record(ref, with_reasons=with_reasons)
        if isinstance(self._service, CanNoticeStuckRuns):
            warn_incomplete(self._service.observe(run))
        return run

    def _read_and_record(self, ref: RunRef, *, with_reasons: bool) -> Run:
        is_recorded = self._store.refs(ref.run_id) is not None
        read_level = self._store.read_level(ref.run_id) if is_recorded else ReadLevel.LISTED
        has_ended = False
        if is_recorded:
            stored_run = self._store.get(ref.run_id, with_tasks=read_level is ReadLevel.EVERYTHING)
            has_ended = stored_run.state.final
            if has_ended and read_level is ReadLevel.EVERYTHING:
                return stored_run
        backend_ref = self.backend_ref(ref)
        if has_ended and read_level is ReadLevel.WITHOUT_REASONS:
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
            return self._recorded_run(ref, error)

    def _recorded_run(self, ref: RunRef, not_found: NotFound) -> FetchedRun:
        """Return the record of a run that was deleted on the service.

        When the record has no end, add one and raise.
        """
        stored_run = self._store.get(ref.run_id)
        if stored_run.state.final:
            # The error of the kind DELETED already says what this note would say.
            if stored_run.error is None or stored_run.error.kind is not ErrorKind.DELETED:
                warn_incomplete(
                    f"Run {ref.run_id} was deleted; this is what was recorded before:"
                    f" {not_found.message}"
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
            f"Run {ref.run_id} was deleted and does not exist any more: {not_found.message}",
            hint=f"See what was recorded before: kfgcp show {ref.run_id}",
        ) from not_found

    def _explain(self, run: Run, backend_ref: str, *, with_reasons: bool) -> tuple[Run, ReadLevel]:
        """Return a run with the reason why it failed, and how much of the run has been read."""
        if run.state is not RunState.FAILED:
            return run, ReadLevel.EVERYTHING
        if not with_reasons:
            return run, ReadLevel.WITHOUT_REASONS
        explained = self._service.explain(run, backend_ref)
        if isinstance(self._service, CanJudgeExplanations):
            is_complete = self._service.is_explained(explained)
        else:
            # Without the end of the log, it may be there next time.
            is_complete = has_log_end(explained)
        return explained, ReadLevel.EVERYTHING if is_complete else ReadLevel.WITHOUT_REASONS

    # -- reading lists

    def _record_changes(self, changes: Iterable[FetchedRun], *, with_tasks: bool) -> str:
        """Record the runs of a list, and fetch those that have ended.

        Runs are fetched while the list is read. Runs that were recorded before an error are not
        read again.

        Args:
            changes: the runs, without their tasks.
            with_tasks: fetch the tasks of ended runs. They are fetched in any case where that is
                cheap.

        Returns:
            When the run that changed last has changed, "" when the list is empty.
        """
        from concurrent.futures import Future, ThreadPoolExecutor

        changed_until = note = ""
        with_tasks = with_tasks or self._service.facts.fetch_is_cheap
        ended_runs = self._store.ended(self.place)
        being_fetched: deque[Future[FetchedRun | None]] = deque()
        pool = ThreadPoolExecutor(READERS, thread_name_prefix="kfgcp-read")
        try:
            for listed in changes:
                changed_until = max(changed_until, listed.changed_at)
                stored = ended_runs.get(listed.run.backend_ref or "")
                if stored is not None and self._is_up_to_date(
                    stored, listed.run, with_tasks=with_tasks
                ):
                    continue
                if with_tasks and listed.run.state.final:
                    being_fetched.append(pool.submit(self._fetch_listed, listed))
                else:
                    self._record(listed, ReadLevel.LISTED)
                while being_fetched and being_fetched[0].done():
                    note = self._record_ended(being_fetched.popleft().result()) or note
            while being_fetched:
                note = self._record_ended(being_fetched.popleft().result()) or note
        finally:
            pool.shutdown(cancel_futures=True)
        warn_incomplete(note)
        return changed_until

    def _is_up_to_date(self, stored: EndedRun, listed: Run, *, with_tasks: bool) -> bool:
        """Return whether a recorded run that has ended needs no further request."""
        # A list can lag behind the service, so another state counts only for a service on which an
        # ended run can continue.
        has_changed = listed.state is not stored.state or (listed.ended_at or "") > stored.ended_at
        is_reopened = self._service.facts.can_reopen and has_changed
        lacks_tasks = with_tasks and stored.read_level.is_incomplete
        return not (is_reopened or lacks_tasks)

    def _fetch_listed(self, listed: FetchedRun) -> FetchedRun | None:
        """Return a run of a list with its tasks, None when it was deleted since it was listed."""
        if not isinstance(self._service, CanFetchListed):
            return self._fetch_unless_deleted(listed.run.backend_ref or "")
        try:
            return self._service.fetch_listed(listed)
        except NotFound:
            return None

    def _fetch_unless_deleted(self, backend_ref: str) -> FetchedRun | None:
        try:
            return self._service.fetch(backend_ref)
        except NotFound:
            return None

    def _read_incomplete_runs(self) -> None:
        """Read the ended runs that earlier lists left incomplete, newest first.

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
        with ThreadPoolExecutor(READERS, thread_name_prefix="kfgcp-read") as pool:
            for start in range(0, len(incomplete), READERS):
                batch = incomplete[start : start + READERS]
                refs = [backend_ref for backend_ref, _ in batch]
                answers = list(pool.map(self._fetch_unless_deleted, refs))
                runs = []
                for (_, run_id), answer in zip(batch, answers, strict=True):
                    # Nothing more can be read about a run that was deleted, so its record counts as
                    # complete.
                    fetched = answer or FetchedRun(self._store.get(run_id), "")
                    self._record_ended(fetched)
                    runs.append(fetched)
                if all(fetched.missing for fetched in runs):
                    warn_incomplete(runs[0].missing)
                    return
                # What the service does not have is the same for all runs, so one note is enough.
                first_note = next((fetched.note for fetched in runs if fetched.note), "")
                warn_incomplete(first_note)

    def _read_unlisted_runs(
        self, run_filter: RunFilter, limit: int, listed_refs: set[str], *, with_tasks: bool
    ) -> None:
        """Read the runs that the store shows as not ended and the service did not list.

        They have ended, are in another state, or were deleted. When they do not match any more,
        others take their places, which are read too.
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
        try:
            self.get(RunRef(run.env, run.run_id))
        except NotFound:
            # It was deleted, which is recorded now.
            pass
        except BadAnswer as error:
            warn_incomplete(
                f"Run {run.run_id} of {run.env} is shown as it was last read: {error.message}"
            )

    # -- recording

    def _record_ended(self, fetched: FetchedRun | None) -> str:
        """Record a run that has ended. None stands for a run that was deleted.

        Returns:
            What to say about it, "" for nothing.
        """
        if fetched is None:
            return ""
        has_failed = fetched.run.state is RunState.FAILED
        self._record(fetched, ReadLevel.WITHOUT_REASONS if has_failed else ReadLevel.EVERYTHING)
        return fetched.missing or fetched.note

    def _record(self, fetched: FetchedRun, read_level: ReadLevel) -> str:
        """Record a run, and return its id here: another id when a run of another backend has it."""
        run = fetched.run
        refs = self._store.refs(run.run_id)
        if refs is not None and refs[1] != run.backend_ref:
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
    """Return the time that is `seconds` before another one, but not before 1970."""
    return timestamp(max(datetime.fromisoformat(at).timestamp() - seconds, 0.0))
