"""The logs of a job's tasks.

Each attempt of a task is a custom job. The entries in Cloud Logging have the id of the custom job.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from kfgcp.backends.base import LogFilter, LogLine
from kfgcp.backends.vertex.messages import PipelineJob
from kfgcp.backends.vertex.read_run import attempt_jobs, locate_tasks, read_time, task_state
from kfgcp.model import Task
from kfgcp.services.cloud_logging import CloudLogging, Entry, Tail, quoted

# Cloud Logging accepts filters of up to 20,000 characters. 50 ids of 19 digits stay far below that.
JOBS_PER_FILTER: Final = 50

POLL_SECONDS: Final = 3.0
"""How long a tail waits between two requests while no task changes."""
LINGER_SECONDS: Final = 30.0
"""How long a tail asks for lines of an attempt after its end, because lines may come late."""

Attempt = tuple[str, int]
"""The path of a task, and the number of an attempt, from 1."""


class JobLogs:
    """The logs of the attempts that a job had when it was read."""

    def __init__(self, logging: CloudLogging, job: PipelineJob) -> None:
        self._logging = logging
        self._since = read_time(job.get("createTime")) or ""
        self.attempts = _attempts(job)

    def read(self, log_filter: LogFilter) -> Iterator[LogLine]:
        """Yield the lines by task and attempt, in the order in which they were written."""
        for custom_job, (task, attempt) in self.attempts.items():
            if not _matches(log_filter, task, attempt):
                continue
            clauses = _common_clauses(log_filter, self._since)
            clauses.append(_clause_for_jobs([custom_job]))
            for entry in self._logging.entries(clauses):
                yield _line(entry, task, attempt)

    def last(self, task: str, lines: int) -> list[str]:
        """Return the last lines of the last attempt of a task.

        Args:
            task: the path of the task.
            lines: how many lines.
        """
        custom_jobs = [job for job, (path, _) in self.attempts.items() if path == task]
        if not custom_jobs:
            return []
        clauses = _common_clauses(LogFilter(), self._since)
        clauses.append(_clause_for_jobs(custom_jobs[-1:]))
        newest = []
        for entry in self._logging.entries(clauses, newest_first=True, size=lines):
            newest.append(entry.text)
            if len(newest) == lines:
                break
        return newest[::-1]


class JobTail:
    """The logs of a job that has not ended.

    Args:
        logging: Cloud Logging.
        read_job: returns the job as it is now. It is called when tasks have changed, because these
            may have new attempts.
        log_filter: which lines.
        late_seconds: how long lines may still come after the run has ended, in seconds.
    """

    def __init__(
        self,
        logging: CloudLogging,
        read_job: Callable[[], PipelineJob],
        log_filter: LogFilter,
        *,
        late_seconds: float = 0.0,
    ) -> None:
        self.late_seconds = late_seconds
        self._logging = logging
        self._read_job = read_job
        self._log_filter = log_filter
        self._tail: Tail | None = None
        self._attempts: dict[str, Attempt] = {}
        self._ended_at: dict[str, float] = {}
        self._jobs_read: set[str] = set()
        self._next_poll = 0.0

    def read(self, tasks: Sequence[Task]) -> Iterator[LogLine]:
        """Yield the lines since the last call, see `LogTail`."""
        now = time.monotonic()
        if not tasks and now < self._next_poll:
            return
        self._next_poll = now + POLL_SECONDS
        if tasks or self._tail is None:
            job = self._read_job()
            self._add_attempts(job)
            if self._tail is None:
                since = read_time(job.get("createTime")) or ""
                self._tail = Tail(self._logging, _common_clauses(self._log_filter, since))
        new_jobs: list[str] = []
        earlier_jobs: list[str] = []
        for custom_job in self._attempts:
            ended_at = self._ended_at.get(custom_job)
            if ended_at is not None and now - ended_at > LINGER_SECONDS:
                continue
            if custom_job in self._jobs_read:
                earlier_jobs.append(custom_job)
            else:
                new_jobs.append(custom_job)
        self._jobs_read.update(new_jobs)
        earlier_clauses = _clauses_for_batches(earlier_jobs)
        for entry in self._tail.read(earlier_clauses, _clauses_for_batches(new_jobs)):
            attempt = self._attempts.get(entry.resource.get("job_id", ""))
            if attempt is not None:
                yield _line(entry, *attempt)

    def _add_attempts(self, job: PipelineJob) -> None:
        ended_tasks = set()
        for placed in locate_tasks(job):
            if task_state(placed.detail).final:
                ended_tasks.add(placed.path)
        for custom_job, (task, attempt) in _attempts(job).items():
            if _matches(self._log_filter, task, attempt):
                self._attempts[custom_job] = (task, attempt)
                if task in ended_tasks:
                    self._ended_at.setdefault(custom_job, time.monotonic())


def _common_clauses(log_filter: LogFilter, since: str) -> list[str]:
    """Return the clauses of a Cloud Logging filter that are the same for all attempts of a job.

    Args:
        log_filter: which lines.
        since: the start of the job. Without it, the service searches all its history.
    """
    clauses = ['resource.type="ml_job"']
    if log_filter.since or since:
        clauses.append(f"timestamp>={quoted(max(log_filter.since or '', since))}")
    if log_filter.severity:
        clauses.append(f"severity>={log_filter.severity}")
    return clauses


def _matches(log_filter: LogFilter, task: str, attempt: int) -> bool:
    return log_filter.task in (None, task) and log_filter.attempt in (None, attempt)


def _clauses_for_batches(custom_jobs: Sequence[str]) -> list[str]:
    """Return a clause for each batch of custom jobs. One request reads the entries of a batch."""
    starts = range(0, len(custom_jobs), JOBS_PER_FILTER)
    return [_clause_for_jobs(custom_jobs[start : start + JOBS_PER_FILTER]) for start in starts]


def _clause_for_jobs(custom_jobs: Sequence[str]) -> str:
    if len(custom_jobs) == 1:
        return f"resource.labels.job_id={quoted(custom_jobs[0])}"
    return f"resource.labels.job_id=({' OR '.join(map(quoted, custom_jobs))})"


def _attempts(job: PipelineJob) -> dict[str, Attempt]:
    """Return the attempts of a job's tasks by the ids of their custom jobs, in their order."""
    attempts: dict[str, Attempt] = {}
    for placed in locate_tasks(job):
        for number, custom_job in enumerate(attempt_jobs(placed.detail), 1):
            attempts[custom_job] = (placed.path, number)
    return attempts


def _line(entry: Entry, task: str, attempt: int) -> LogLine:
    return LogLine(task, attempt, entry.text, read_time(entry.at) or "", entry.severity)
