"""The logs of local runs: filters of lines, and files that grow while a run is running."""

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
    """The logs of a run that has not ended, see `LogTail`.

    Lines of tasks that have ended come first, in the order in which the tasks ended.
    """

    late_seconds = 0.0

    def __init__(self, home: Path, run_id: str, log_filter: LogFilter) -> None:
        self._home = home
        self._run_id = run_id
        self._log_filter = log_filter
        self._since = seconds_of(log_filter.since)
        self._readers: dict[Attempt, LogReader] = {}
        self._read_to_end: set[Attempt] = set()

    def read(self, tasks: Sequence[Task]) -> Iterator[LogLine]:
        """Yield the lines since the last call."""
        for task in tasks:
            self._add_readers(task)
        ended_at = {task.path: task.ended_at or "" for task in tasks if task.state.final}

        def order(attempt: Attempt) -> tuple[bool, str]:
            path, _ = attempt
            return path not in ended_at, ended_at.get(path, "")

        for attempt in sorted(self._readers, key=order):
            path, number = attempt
            has_ended = path in ended_at
            for line in self._readers[attempt].read(to_the_end=has_ended):
                if is_severe(line, self._log_filter.severity):
                    yield LogLine(path, number, line)
            if has_ended:
                del self._readers[attempt]
                self._read_to_end.add(attempt)

    def _add_readers(self, task: Task) -> None:
        """Open the logs of a task's new attempts, when the filter asks for them."""
        if task.kind is not TaskKind.CONTAINER or self._log_filter.task not in (None, task.path):
            return
        for number in range(1, task.attempts + 1):
            attempt = (task.path, number)
            # A task that was interrupted changes again when its run is continued.
            if attempt in self._read_to_end or self._log_filter.attempt not in (None, number):
                continue
            if attempt not in self._readers:
                file = log_file(self._home, self._run_id, task.path, number)
                self._readers[attempt] = LogReader(file, self._since)


def seconds_of(since: str | None) -> float | None:
    """Return the time of a filter in seconds since 1970, None when it has no time."""
    if since is None:
        return None
    return datetime.fromisoformat(since).timestamp()


def is_severe(line: str, least: str | None) -> bool:
    """Return whether a line has at least a given severity.

    Structured logs of Google Cloud are lines of JSON with a key `severity`. Any other line has the
    severity DEFAULT, which is below all of `SEVERITIES`.

    Args:
        line: of a log.
        least: one of `SEVERITIES`; None accepts every line.
    """
    if least is None:
        return True
    severity = _severity_of(line)
    return severity in SEVERITIES and SEVERITIES.index(severity) >= SEVERITIES.index(least)


def _severity_of(line: str) -> str:
    text = line.strip()
    # Parsing each line would be slow.
    if not text.startswith("{") or '"severity"' not in text:
        return "DEFAULT"
    try:
        severity = json.loads(text).get("severity")
    except (ValueError, RecursionError):
        return "DEFAULT"
    return severity.upper() if isinstance(severity, str) else "DEFAULT"
