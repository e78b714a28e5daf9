"""The logs of a local run: filters of their lines, and the logs of a running run, which are files
that grow."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

from kfgcp.backends.base import SEVERITIES, LogFilter, LogLine
from kfgcp.engine.layout import log_file
from kfgcp.engine.logs import LogReader
from kfgcp.model import Task, TaskKind


class FileTail:
    """Reads what was written since the last look, of tasks that have ended first, in the order of
    their ends."""

    late = 0.0

    def __init__(self, home: Path, run_id: str, wanted: LogFilter) -> None:
        self._home = home
        self._run_id = run_id
        self._wanted = wanted
        self._since = seconds_of(wanted.since)
        self._readers: dict[tuple[str, int], LogReader] = {}
        self._read_to_end: set[tuple[str, int]] = set()

    def read(self, tasks: Sequence[Task]) -> Iterator[LogLine]:
        readers = self._readers
        for task in tasks:
            if task.kind is TaskKind.CONTAINER and self._wanted.task in (None, task.path):
                for attempt in range(1, task.attempts + 1):
                    # A task that was interrupted changes again when its run is continued.
                    is_new = (task.path, attempt) not in self._read_to_end
                    if is_new and self._wanted.attempt in (None, attempt):
                        file = log_file(self._home, self._run_id, task.path, attempt)
                        readers.setdefault((task.path, attempt), LogReader(file, self._since))
        ended = {task.path: task.ended_at or "" for task in tasks if task.state.final}
        in_order = sorted(
            readers.items(), key=lambda item: (item[0][0] not in ended, ended.get(item[0][0], ""))
        )
        for (path, attempt), reader in in_order:
            for line in reader.read(to_the_end=path in ended):
                if is_severe(line, self._wanted.severity):
                    yield LogLine(path, attempt, line)
            if path in ended:
                del readers[path, attempt]
                self._read_to_end.add((path, attempt))


def seconds_of(since: str | None) -> float | None:
    """Return the time of a filter in seconds since 1970."""
    return None if since is None else datetime.fromisoformat(since).timestamp()


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
    if not text.startswith("{") or '"severity"' not in text:  # parsing each line would be slow
        return "DEFAULT"
    try:
        severity = json.loads(text).get("severity")
    except (ValueError, RecursionError):
        return "DEFAULT"
    return severity.upper() if isinstance(severity, str) else "DEFAULT"
