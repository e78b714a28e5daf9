"""Read the logs of local runs: follow files that grow, and filter lines by severity and time."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

from kfgcp.backends.base import SEVERITIES, LogFilter, LogLine
from kfgcp.engine.layout import log_file
from kfgcp.engine.logs import LogReader
from kfgcp.model import Task, TaskKind

Attempt = tuple[str, int]
"""The path of a task, and the number of an attempt, from 1."""


class FileTail:
    """The log lines of a run that has not ended, see `LogTail`.

    Tasks that have ended come first, in the order of their ends. The other tasks follow.
    """

    late_seconds = 0.0

    def __init__(self, home: Path, run_id: str, log_filter: LogFilter) -> None:
        self._home = home
        self._run_id = run_id
        self._log_filter = log_filter
        self._since = to_timestamp(log_filter.since)
        self._readers: dict[Attempt, LogReader] = {}
        # The attempts whose whole log has been read. They have no reader any more.
        self._finished_attempts: set[Attempt] = set()

    def read(self, tasks: Sequence[Task]) -> Iterator[LogLine]:
        """Yield the lines that are new since the last call, see `LogTail.read`."""
        for task in tasks:
            self._add_readers(task)
        end_times = {task.path: task.ended_at or "" for task in tasks if task.state.final}

        def reading_order(attempt: Attempt) -> tuple[bool, str]:
            path, _ = attempt
            is_running = path not in end_times
            return is_running, end_times.get(path, "")

        for attempt in sorted(self._readers, key=reading_order):
            path, number = attempt
            has_ended = path in end_times
            for line in self._readers[attempt].read(to_the_end=has_ended):
                if is_severe(line, self._log_filter.severity):
                    yield LogLine(path, number, line)
            if has_ended:
                del self._readers[attempt]
                self._finished_attempts.add(attempt)

    def _add_readers(self, task: Task) -> None:
        """Add a reader for each new attempt of a task, unless the filter excludes the attempt."""
        if task.kind is not TaskKind.CONTAINER or self._log_filter.task not in (None, task.path):
            return
        for number in range(1, task.attempts + 1):
            attempt = (task.path, number)
            if self._log_filter.attempt not in (None, number):
                continue
            # An interrupted task had ended, and starts again when its run is continued. The log
            # of its earlier attempt must not be returned a second time.
            if attempt not in self._finished_attempts and attempt not in self._readers:
                file = log_file(self._home, self._run_id, task.path, number)
                self._readers[attempt] = LogReader(file, self._since)


def to_timestamp(since: str | None) -> float | None:
    """Convert the time of a filter to seconds since 1970. None stays None."""
    if since is None:
        return None
    return datetime.fromisoformat(since).timestamp()


def is_severe(line: str, min_severity: str | None) -> bool:
    """Return whether a line has a severity, or a higher one.

    Structured logs of Google Cloud are lines of JSON with a key `severity`. Other lines have the
    severity DEFAULT, which is lower than all `SEVERITIES`.

    Args:
        line: a line of a log.
        min_severity: one of `SEVERITIES`; None accepts every line.
    """
    if min_severity is None:
        return True
    severity = _read_severity(line)
    if severity not in SEVERITIES:
        return False
    return SEVERITIES.index(severity) >= SEVERITIES.index(min_severity)


def _read_severity(line: str) -> str:
    """Return the severity in a line of JSON, DEFAULT for other lines."""
    text = line.strip()
    # This check is much faster than parsing every line of a log as JSON.
    if not text.startswith("{") or '"severity"' not in text:
        return "DEFAULT"
    try:
        severity = json.loads(text).get("severity")
    except (ValueError, RecursionError):
        return "DEFAULT"
    return severity.upper() if isinstance(severity, str) else "DEFAULT"
