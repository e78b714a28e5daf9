"""Read the logs of a job's tasks from Cloud Logging.

Vertex AI runs each attempt of a task as a custom job. Each log entry has the id of its custom job.
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

# While no task changes, `JobTail` waits this long between two requests.
POLL_SECONDS: Final = 3.0

# Cloud Logging may show a line some time after it was written. So `JobTail` still asks for lines of
# an attempt this long after the attempt has ended.
LINGER_SECONDS: Final = 30.0

Attempt = tuple[str, int]
"""The path of a task, and the number of an attempt, from 1."""


class JobLogs:
    """The logs of all attempts that a job's tasks have had so far."""

    def __init__(self, logging: CloudLogging, job: PipelineJob) -> None:
        self._logging = logging
        self._job_start = read_time(job.get("createTime")) or ""
        self._attempts = _attempts_by_custom_job(job)

    def read(self, log_filter: LogFilter) -> Iterator[LogLine]:
        """Yield the lines of one attempt after the other, each attempt in the order of time."""
        for custom_job, (task, attempt) in self._attempts.items():
            if not _matches(log_filter, task, attempt):
                continue
            clauses = _common_clauses(log_filter, self._job_start)
            clauses.append(_clause_for_jobs([custom_job]))
            for entry in self._logging.entries(clauses):
                yield _to_log_line(entry, task, attempt)

    def read_end(self, task: str, line_count: int) -> list[str]:
        """Return the last lines of the last attempt of a task, [] when it has no attempt.

        Args:
            task: the path of the task.
            line_count: the most lines to return.
        """
        custom_jobs = [job for job, (path, _) in self._attempts.items() if path == task]
        if not custom_jobs:
            return []
        clauses = _common_clauses(LogFilter(), self._job_start)
        clauses.append(_clause_for_jobs(custom_jobs[-1:]))
        newest_first = []
        for entry in self._logging.entries(clauses, newest_first=True, size=line_count):
            newest_first.append(entry.text)
            if len(newest_first) == line_count:
                break
        return newest_first[::-1]


class JobTail:
    """The log lines of a job that has not ended, as Cloud Logging gets them.

    Args:
        logging: the log entries of the project.
        read_job: returns the job as it is now. It is called when tasks have changed, because they
            may have new attempts.
        log_filter: which lines to return.
        late_seconds: how long after the end of the run new lines may still come, in seconds.
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
        # None until the first call of `read`, which reads the start of the job.
        self._tail: Tail | None = None
        # The attempts that match the filter, and for each ended attempt the time when this object
        # noticed the end. The keys are the ids of custom jobs.
        self._attempts: dict[str, Attempt] = {}
        self._ended_at: dict[str, float] = {}
        # The custom jobs that an earlier call of `read` has asked for.
        self._jobs_read: set[str] = set()
        self._next_poll = 0.0

    def read(self, tasks: Sequence[Task]) -> Iterator[LogLine]:
        """Yield the lines that are new since the last call, see `LogTail.read`."""
        now = time.monotonic()
        if not tasks and now < self._next_poll:
            return
        self._next_poll = now + POLL_SECONDS
        if tasks or self._tail is None:
            job = self._read_job()
            self._add_attempts(job)
            if self._tail is None:
                job_start = read_time(job.get("createTime")) or ""
                self._tail = Tail(self._logging, _common_clauses(self._log_filter, job_start))
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
            custom_job = entry.resource.get("job_id", "")
            if custom_job in self._attempts:
                task, attempt = self._attempts[custom_job]
                yield _to_log_line(entry, task, attempt)

    def _add_attempts(self, job: PipelineJob) -> None:
        """Add the new attempts of a job that match the filter, and note which have ended."""
        ended_tasks = set()
        for placed in locate_tasks(job):
            if task_state(placed.detail).final:
                ended_tasks.add(placed.path)
        for custom_job, (task, attempt) in _attempts_by_custom_job(job).items():
            if _matches(self._log_filter, task, attempt):
                self._attempts[custom_job] = (task, attempt)
                if task in ended_tasks:
                    self._ended_at.setdefault(custom_job, time.monotonic())


def _common_clauses(log_filter: LogFilter, job_start: str) -> list[str]:
    """Return the clauses of a Cloud Logging filter that are the same for all attempts of a job.

    Args:
        log_filter: which lines to return.
        job_start: RFC 3339 text, or "". Without a start, the service searches its whole history.
    """
    clauses = ['resource.type="ml_job"']
    since = max(log_filter.since or "", job_start)
    if since:
        clauses.append(f"timestamp>={quoted(since)}")
    if log_filter.severity:
        clauses.append(f"severity>={log_filter.severity}")
    return clauses


def _matches(log_filter: LogFilter, task: str, attempt: int) -> bool:
    return log_filter.task in (None, task) and log_filter.attempt in (None, attempt)


def _clauses_for_batches(custom_jobs: Sequence[str]) -> list[str]:
    """Return one clause for each batch of JOBS_PER_FILTER custom jobs.

    One request can read the entries of a whole batch.
    """
    starts = range(0, len(custom_jobs), JOBS_PER_FILTER)
    return [_clause_for_jobs(custom_jobs[start : start + JOBS_PER_FILTER]) for start in starts]


def _clause_for_jobs(custom_jobs: Sequence[str]) -> str:
    if len(custom_jobs) == 1:
        return f"resource.labels.job_id={quoted(custom_jobs[0])}"
    return f"resource.labels.job_id=({' OR '.join(map(quoted, custom_jobs))})"


def _attempts_by_custom_job(job: PipelineJob) -> dict[str, Attempt]:
    """Return all attempts of a job's tasks, by the ids of their custom jobs.

    The tasks are in the order in which they started, the attempts of a task in the order of their
    numbers.
    """
    attempts: dict[str, Attempt] = {}
    for placed in locate_tasks(job):
        for number, custom_job in enumerate(attempt_jobs(placed.detail), 1):
            attempts[custom_job] = (placed.path, number)
    return attempts


def _to_log_line(entry: Entry, task: str, attempt: int) -> LogLine:
    return LogLine(task, attempt, entry.text, read_time(entry.at) or "", entry.severity)
