"""What remote backends have in common: their runs are read over the wire and kept in the store.

A run that has ended does not change any more, so it is read once and for good, unless a service can let it go on. Lists
are read from where the last reading ended: a refresh costs a request for each page of changed runs, and those that each
run costs that has ended since. Where these are many, a list of the newest runs leaves them out: what it tells of a run
that has ended is recorded (`ReadLevel.LISTED`), and the rest is read when somebody asks for it.
"""

from __future__ import annotations

import time
import warnings
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, TypeVar

from kfgcp.backends.base import Deleted, Pace, Page, RunRef, SubmitRequest, stored_request
from kfgcp.config import Environment, Project
from kfgcp.errors import BadAnswer, NotFound, NotWhole, StateError, UsageError
from kfgcp.model import ErrorInfo, ErrorKind, Run, RunState, TaskState, timestamp
from kfgcp.query import RunFilter
from kfgcp.store.database import read_only
from kfgcp.store.rows import Changes, EndedRun, Observed, ReadLevel, no_run
from kfgcp.store.store import Store

LOOK_BACK: Final = 30 * 86400.0
"""Seconds of history that the first reading of a list takes in; `RunFilter.since` reaches further back."""
OVERLAP: Final = 60.0
"""Seconds that a reading goes back behind the end of the last one: a list may show a change late."""
AHEAD: Final = 3600.0
"""Seconds that the clock of a service may be ahead of ours."""
READERS: Final = 16
"""Runs that are read at the same time."""
T = TypeVar("T")

GONE: Final = ErrorInfo("the run was deleted before it had ended here", kind=ErrorKind.DELETED)


@dataclass(frozen=True, slots=True)
class Fetched:
    """A run as it was read.

    changed_at: when it last changed. spec: of it, None when it cannot be read. source: all that the service says of it,
    when a list says as much as the run itself. missing: what could not be read just now, and why, as a sentence; empty
    when nothing is missing. note: what the service does not have of the run, as a sentence; it is not asked for again.
    """

    run: Run
    changed_at: str
    spec: Mapping[str, Any] | None = None
    source: Mapping[str, Any] | None = None
    missing: str = ""
    note: str = ""


class RemoteBackend(ABC):
    """A backend whose runs are elsewhere; subclasses say how to speak to it. Threads may not share one.

    reads_listed: a list of the newest runs reads those that have ended, as that is one request each.
    reopens: a run that has ended may go on.
    """

    pace = Pace(1.0, 30.0)
    reads_listed = True
    reopens = False

    def __init__(self, project: Project, env: Environment, store: Store) -> None:
        self._project = project
        self._env = env
        self._store = store

    # -- what subclasses say

    @property
    @abstractmethod
    def place(self) -> str:
        """What the backend's own names of all runs of this environment begin with."""

    @abstractmethod
    def _create(self, request: SubmitRequest) -> Run:
        """Makes exactly one run, or none and raises."""

    @abstractmethod
    def _fetch(self, backend_ref: str) -> Fetched:
        """A run with its tasks; must be safe to call from several threads. NotFound when there is none."""

    @abstractmethod
    def _changes(self, observed: Observed | None, window: tuple[str, str | None]) -> Iterator[Fetched]:
        """Runs without their tasks: those that have changed since `observed`, or those created in a window of time."""

    @abstractmethod
    def _newest(self, wanted: RunFilter, limit: int) -> Iterator[Fetched] | None:
        """Runs without their tasks, newest first, until `limit` match; None when they cannot be asked for so."""

    @abstractmethod
    def _complete(self, run: Run, backend_ref: str) -> Run:
        """A failed run with the end of the failing task's log, when that can be had."""

    def _is_explained(self, run: Run) -> bool:
        """Return whether `_complete` has nothing more to read of a failed run.

        Else a log may be there at the next look.
        """
        error = run.error
        return error is None or error.task is None or bool(error.log_tail)

    @abstractmethod
    def _stop(self, backend_ref: str) -> bool:
        """Ask a run to end, and return whether the service accepted it; it does not when the run has ended."""

    @abstractmethod
    def _remove(self, backend_ref: str) -> None:
        """Removes a run that has ended; no error when it is gone."""

    def _fetch_listed(self, listed: Fetched) -> Fetched:
        """A run of a list with its tasks; as of `_fetch`."""
        return self._fetch(listed.run.backend_ref or "")

    def _again(self, backend_refs: Sequence[str]) -> Iterator[Fetched]:
        """Runs without their tasks, where the service can be asked for several at once; those that are gone are
        missing."""
        return iter(())

    def _ref_of(self, run_id: str) -> str:
        """The backend's own name of a run that was never read."""
        return f"{self.place}{run_id}"

    def _read_items(self, items: Iterable[Any], read: Callable[[Any], Fetched], *, identity: str) -> Iterator[Fetched]:
        """Yield the runs of a list. One that cannot be read is left out with a note, so that the others are shown.

        Args:
            items: of the list.
            read: reads one.
            identity: the field that tells that an item is a run, whatever else is wrong with it.

        Raises:
            BadAnswer: none of the items is a run.
        """
        some = False
        left_out: list[str] = []
        other: BadAnswer | None = None
        for item in items:
            try:
                fetched = read(item)
            except BadAnswer as error:
                if isinstance(item, Mapping) and isinstance(item.get(identity), str):
                    some = True
                    left_out.append(error.message)
                    if len(left_out) == 1:  # at once: who reads the list may stop before its end
                        tell(f"A run of {self._env.name} is left out: {error.message}")
                else:
                    other = other or error
                continue
            some = True
            yield fetched
        if other is not None and not some:
            raise other
        if other is not None:
            tell(f"An item in a list of runs of {self._env.name} is left out: {other.message}")
        if len(left_out) > 1:
            tell(f"{len(left_out)} runs of {self._env.name} are left out, the last one: {left_out[-1]}")

    # -- Backend

    def submit(self, request: SubmitRequest) -> RunRef:
        if not self._store.writable:
            raise read_only(self._store.file.parent)
        run = self._create(request)
        try:
            self._store.put(
                run,
                read_level=ReadLevel.LISTED,
                pipeline_spec=request.spec.pipeline_spec,
                request=stored_request(request),
            )
        except StateError as error:
            raise StateError(
                f"Run {run.run_id} was submitted and goes on, but not recorded here: {error.message}", hint=error.hint
            ) from error
        return RunRef(self._env.name, run.run_id)

    def get(self, ref: RunRef) -> Run:
        """As it is now; what has ended comes from the store."""
        return self._read(ref, with_reasons=True)

    def look(self, ref: RunRef) -> Run:
        """Return the run as `get` does, but ask for no log to tell why it failed."""
        return self._read(ref, with_reasons=False)

    def _read(self, ref: RunRef, *, with_reasons: bool) -> Run:
        known = self._store.refs(ref.run_id)
        backend_ref = known[1] if known else self._ref_of(ref.run_id)
        read = self._store.read_level(ref.run_id) if known else ReadLevel.LISTED
        stored = self._store.get(ref.run_id, whole=read is ReadLevel.EVERYTHING) if known else None
        if stored is not None and stored.state.final and read is ReadLevel.EVERYTHING:
            return stored
        if stored is not None and stored.state.final and read is ReadLevel.WITHOUT_REASONS:
            found = Fetched(self._store.get(ref.run_id), "")
        else:
            found = self._fetch_known(ref, backend_ref, known is not None)
        is_explained = True
        if found.run.state is RunState.FAILED:
            if with_reasons:
                found = replace(found, run=self._complete(found.run, backend_ref))
            is_explained = with_reasons and self._is_explained(found.run)
        run_id = self._keep(found, ReadLevel.EVERYTHING if is_explained else ReadLevel.WITHOUT_REASONS)
        tell(found.missing or found.note)
        return self._store.get(run_id)

    def list(self, wanted: RunFilter, page: str | None = None, size: int = 100) -> Page[Run]:
        if page is None:
            self.refresh(wanted.since)
        offset = int(page or 0)
        found = self._store.select(replace(wanted, env=self._env.name), limit=size + 1, offset=offset)
        return Page(found[:size], str(offset + size) if len(found) > size else None)

    def cancel(self, ref: RunRef) -> RunState:
        run = self.look(ref)
        if not run.state.final:
            assert run.backend_ref is not None
            accepted = self._stop(run.backend_ref)
            if accepted and self._store.writable:
                self._store.request_cancel(run.run_id, timestamp(time.time()))
        return self.get(ref).state

    # -- capabilities

    def is_deletable(self, run: Run) -> bool:
        return run.state.final

    def delete(self, ref: RunRef) -> Deleted:
        run = self.look(ref)
        if not self.is_deletable(run):
            raise UsageError(f"Run {ref.run_id} is {run.state}.", hint=f"Cancel it first: kfgcp cancel {ref.run_id}")
        self._remove(run.backend_ref or self._ref_of(ref.run_id))
        self._store.forget(ref.run_id)
        return Deleted()

    def refresh(self, since: str | None = None, *, with_tasks: bool = True) -> None:
        """Reads into the store what has changed: all runs, whoever made them.

        Args:
            since: runs created since then must be there too, RFC 3339 text.
            with_tasks: those that have ended with their tasks and metrics, those too that lists have left out.
        """
        observed = self._store.observed(self.place)
        now = time.time()
        back = min(since or "9", timestamp(now - LOOK_BACK))
        if observed is None or observed.changed_until > timestamp(now + AHEAD):  # our clock was wrong, or the server's
            until = self._take(self._changes(None, (back, None)), whole=with_tasks)
            observed = Observed(until or back, back)
        else:
            behind = _earlier(observed.changed_until, OVERLAP)
            until = self._take(self._changes(replace(observed, changed_until=behind), (back, None)), whole=with_tasks)
            observed = replace(observed, changed_until=max(until, observed.changed_until))
            if since is not None and since < observed.created_since:
                self._take(self._changes(None, (since, observed.created_since)), whole=with_tasks)
                observed = replace(observed, created_since=since)
        self._store.set_observed(self.place, observed)
        if with_tasks:
            self._read_rest()

    def recent(self, run_filter: RunFilter, limit: int, *, with_tasks: bool = True) -> bool:
        """Reads into the store the newest runs that match; a request for each page of them, and further ones for those
        that match as they were last seen and do not any more.

        Args:
            run_filter: which runs.
            limit: so many of them.
            with_tasks: those that have ended with their tasks and metrics, where that costs more than a request each.

        Returns:
            Whether the service could be asked so; if not, nothing was read and `refresh` is the way.
        """
        newest = self._newest(run_filter, limit)
        if newest is None:
            return False
        listed: set[str] = set()
        self._take(_noted(newest, listed), whole=with_tasks)
        self._look_at_others(run_filter, limit, listed, whole=with_tasks)
        return True

    # -- helpers

    def _read_rest(self) -> None:
        """Reads the runs that have ended and were only listed or read in part, the newest first, until no more is to be
        had."""
        from concurrent.futures import ThreadPoolExecutor

        left = [
            (ref, ended.run_id)
            for ref, ended in self._store.ended(self.place).items()
            if ended.read_level.is_incomplete
        ]
        if not left:
            return
        with ThreadPoolExecutor(READERS, thread_name_prefix="kfgcp-read") as pool:
            for start in range(0, len(left), READERS):
                some = left[start : start + READERS]
                answers = [*pool.map(lambda each: _or_none(self._fetch, each[0]), some)]
                runs = [
                    fetched or Fetched(self._store.get(run_id), "")  # deleted: no more is to be had
                    for (_, run_id), fetched in zip(some, answers, strict=True)
                ]
                notes = [self._keep_ended(fetched) for fetched in runs]
                if all(fetched.missing for fetched in runs):
                    tell(notes[0])
                    return
                tell(next((fetched.note for fetched in runs if fetched.note), ""))

    def _look_at_others(self, wanted: RunFilter, limit: int, listed: set[str], *, whole: bool) -> None:
        """Reads the runs that would be shown as going on though the service did not list them: they have ended, go on
        in another state, or were deleted. When they do not match any more, others take their places."""
        while True:
            shown = [run for run in self._store.select(wanted, limit=limit) if not run.state.final]
            others = {ref: run for run in shown if (ref := run.backend_ref or "").startswith(self.place)}
            others = {ref: run for ref, run in others.items() if ref not in listed}
            if not others:
                return
            self._take(_noted(self._again([*others]), listed), whole=whole)
            for ref, run in others.items():
                if ref not in listed:
                    listed.add(ref)
                    try:
                        self.get(RunRef(run.env, run.run_id))
                    except NotFound:  # it was deleted, which is recorded
                        pass
                    except BadAnswer as error:
                        tell(f"Run {run.run_id} of {run.env} is shown as it was last read: {error.message}")

    def _take(self, changes: Iterable[Fetched], *, whole: bool) -> str:
        """Records changed runs, those that have ended with their tasks unless that is left out; when the last of them
        changed, "" for none.

        They are read while the list goes on. What was recorded before an error is not read again.
        """
        from concurrent.futures import Future, ThreadPoolExecutor

        until = note = ""
        whole = whole or self.reads_listed
        ended = self._store.ended(self.place)
        reading: deque[Future[Fetched | None]] = deque()
        pool = ThreadPoolExecutor(READERS, thread_name_prefix="kfgcp-read")
        try:
            for change in changes:
                until = max(until, change.changed_at)
                known = ended.get(change.run.backend_ref or "")
                if known is not None and self._settled(known, change.run, whole):
                    continue
                if whole and change.run.state.final:
                    reading.append(pool.submit(_or_none, self._fetch_listed, change))
                else:
                    self._keep(change, ReadLevel.LISTED)
                while reading and reading[0].done():
                    note = self._keep_ended(reading.popleft().result()) or note
            while reading:
                note = self._keep_ended(reading.popleft().result()) or note
        finally:
            pool.shutdown(cancel_futures=True)
        tell(note)
        return until

    def _settled(self, stored: EndedRun, listed: Run, whole: bool) -> bool:
        """Whether nothing is to be learned of a run that had ended: it did not go on since, and was read as far as that
        is wanted. A list may be late, so only where runs can go on at all its word counts."""
        went_on = listed.state is not stored.state or (listed.ended_at or "") > stored.ended_at
        return not (self.reopens and went_on) and not (whole and stored.read_level.is_incomplete)

    def _keep_ended(self, found: Fetched | None) -> str:
        """Record a run that has ended, and return what is to be told of it; None stands for one that was deleted."""
        if found is None:
            return ""
        self._keep(found, ReadLevel.WITHOUT_REASONS if found.run.state is RunState.FAILED else ReadLevel.EVERYTHING)
        return found.missing or found.note

    def _fetch_known(self, ref: RunRef, backend_ref: str, known: bool) -> Fetched:
        try:
            return self._fetch(backend_ref)
        except NotFound as error:
            if not known:
                raise no_run(ref.run_id) from error
            stored = self._store.get(ref.run_id)
            if stored.state.final:  # what is left is the record
                # An error of this kind says it.
                if stored.error is None or stored.error.kind is not ErrorKind.DELETED:
                    tell(f"Run {ref.run_id} was deleted, what was recorded of it is shown: {error.message}")
                return Fetched(stored, "")
            now = timestamp(time.time())
            tasks = [replace(task, state=TaskState.CANCELLED) for task in stored.tasks if not task.state.final]
            self._store.end(ref.run_id, Changes(tasks=tasks, state=RunState.CANCELLED, ended_at=now, error=GONE))
            raise NotFound(
                f"Run {ref.run_id} was deleted, it is not there any more: {error.message}",
                hint=f"See what was recorded of it: kfgcp show {ref.run_id}",
            ) from error

    def _reopen(self, run_id: str) -> None:
        """The record of a run goes on: what failed or did not run is to be done again."""
        again = (TaskState.FAILED, TaskState.CANCELLED, TaskState.SKIPPED)
        tasks = [
            replace(task, state=TaskState.PENDING, started_at=None, ended_at=None, error=None)
            for task in self._store.tasks(run_id)
            if task.state in again
        ]
        self._store.reopen(run_id)
        self._store.apply(run_id, Changes(tasks=tasks))

    def _keep(self, found: Fetched, read_level: ReadLevel) -> str:
        """Records a run; the id that it has here, which is another one when that of the backend was taken."""
        run = found.run
        known = self._store.refs(run.run_id)
        if known is not None and known[1] != run.backend_ref:
            run = replace(run, run_id=f"{run.run_id}@{self._env.name}")
            known = self._store.refs(run.run_id)
        self._store.put(run, read_level=ReadLevel.PARTIAL if found.missing else read_level, pipeline_spec=found.spec)
        return run.run_id


def _or_none(read: Callable[[T], Fetched], what: T) -> Fetched | None:
    """What is read, None when it was deleted since it was listed."""
    try:
        return read(what)
    except NotFound:
        return None


def tell(note: str) -> None:
    """Warn of what is missing, or wrong with a run, unless it is nothing.

    It is one place in the code, so that Python shows the same text once.
    """
    if note:
        warnings.warn(note, NotWhole, stacklevel=1)


def _noted(changes: Iterator[Fetched], listed: set[str]) -> Iterator[Fetched]:
    """The same, each put down by the backend's own name."""
    for change in changes:
        listed.add(change.run.backend_ref or "")
        yield change


def _earlier(at: str, seconds: float) -> str:
    """Return the time that is `seconds` before another one, but not before 1970."""
    return timestamp(max(datetime.fromisoformat(at).timestamp() - seconds, 0.0))
