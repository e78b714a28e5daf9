"""The logs of a job's tasks: each attempt is a custom job, whose id its entries in Cloud Logging
carry."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from kfgcp.backends.base import LogFilter, LogLine
from kfgcp.backends.vertex.read_run import at, jobs_of_attempts, placed_tasks, state_of
from kfgcp.model import Task
from kfgcp.services.cloud_logging import CloudLogging, Entry, Tail, quoted

AT_ONCE: Final = 50
"""Custom jobs that one filter names: Cloud Logging takes filters of 20,000 characters."""
PAUSE: Final = 3.0
"""Seconds between two requests of a tail while no task changes."""
LINGER: Final = 30.0
"""Seconds that a tail goes on asking for lines of an attempt that has ended: they may come late."""


class JobLogs:
    """The logs of a job as it was read."""

    def __init__(self, logging: CloudLogging, job: Mapping[str, Any]) -> None:
        self._logging = logging
        self._since = at(job.get("createTime")) or ""
        self.attempts = _attempts(job)

    def read(self, wanted: LogFilter) -> Iterator[LogLine]:
        """By task, by attempt, in the order that the lines were written."""
        for custom_job, (task, attempt) in self.attempts.items():
            if wanted.task in (None, task) and wanted.attempt in (None, attempt):
                for entry in self._logging.entries(
                    [*clauses(wanted, self._since), _of([custom_job])]
                ):
                    yield _line(entry, task, attempt)

    def last(self, task: str, lines: int) -> list[str]:
        """The last lines of the last attempt of a task."""
        found = [custom_job for custom_job, (path, _) in self.attempts.items() if path == task]
        if not found:
            return []
        asked = [*clauses(LogFilter(), self._since), _of(found[-1:])]
        newest = []
        for entry in self._logging.entries(asked, newest_first=True, size=lines):
            newest.append(entry.text)
            if len(newest) == lines:
                break
        return newest[::-1]


class JobTail:
    """The logs of a job that goes on. Reads the job again when its tasks have changed: they may
    have new attempts."""

    def __init__(
        self,
        logging: CloudLogging,
        job: Callable[[], Mapping[str, Any]],
        wanted: LogFilter,
        *,
        late: float = 0.0,
    ) -> None:
        self.late = late
        self._logging = logging
        self._job = job
        self._wanted = wanted
        self._tail: Tail | None = None
        self._places: dict[str, tuple[str, int]] = {}
        self._ended: dict[str, float] = {}
        self._read: set[str] = set()
        self._next = 0.0

    def read(self, tasks: Sequence[Task]) -> Iterator[LogLine]:
        now = time.monotonic()
        if not tasks and now < self._next:
            return
        self._next = now + PAUSE
        if tasks or self._tail is None:
            self._look(self._job())
        assert self._tail is not None
        live = [job for job in self._places if now - self._ended.get(job, now) <= LINGER]
        fresh = [job for job in live if job not in self._read]
        known = [job for job in live if job in self._read]
        self._read.update(fresh)
        for entry in self._tail.read(_groups(known), _groups(fresh)):
            place = self._places.get(entry.resource.get("job_id", ""))
            if place is not None:
                yield _line(entry, *place)

    def _look(self, job: Mapping[str, Any]) -> None:
        if self._tail is None:
            self._tail = Tail(self._logging, clauses(self._wanted, at(job.get("createTime")) or ""))
        final = {each.path for each in placed_tasks(job) if state_of(each.detail).final}
        for custom_job, (task, attempt) in _attempts(job).items():
            if self._wanted.task in (None, task) and self._wanted.attempt in (None, attempt):
                self._places[custom_job] = (task, attempt)
                if task in final:
                    self._ended.setdefault(custom_job, time.monotonic())


def clauses(wanted: LogFilter, since: str) -> list[str]:
    """What all entries that are wanted have in common; `since` spares the service the search of all
    its history."""
    found = ['resource.type="ml_job"']
    if wanted.since or since:
        found.append(f"timestamp>={quoted(max(wanted.since or '', since))}")
    if wanted.severity:
        found.append(f"severity>={wanted.severity}")
    return found


def _groups(custom_jobs: Sequence[str]) -> list[str]:
    return [
        _of(custom_jobs[first : first + AT_ONCE]) for first in range(0, len(custom_jobs), AT_ONCE)
    ]


def _of(custom_jobs: Sequence[str]) -> str:
    if len(custom_jobs) == 1:
        return f"resource.labels.job_id={quoted(custom_jobs[0])}"
    return f"resource.labels.job_id=({' OR '.join(map(quoted, custom_jobs))})"


def _attempts(job: Mapping[str, Any]) -> dict[str, tuple[str, int]]:
    """The custom jobs of a job, each with the path of its task and the number of the attempt, in
    their order."""
    return {
        custom_job: (each.path, number)
        for each in placed_tasks(job)
        for number, custom_job in enumerate(jobs_of_attempts(each.detail), 1)
    }


def _line(entry: Entry, task: str, attempt: int) -> LogLine:
    return LogLine(task, attempt, entry.text, at(entry.at) or "", entry.severity)
