"""The logs of a local run as it goes on: files that grow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from kfgcp.backends.base import LogFilter, LogLine
from kfgcp.engine.layout import log_file
from kfgcp.engine.logs import LogReader
from kfgcp.model import Task, TaskKind


class FileTail:
    """Reads what was written since the last look, of tasks that have ended first, in the order of their ends."""

    late = 0.0

    def __init__(self, home: Path, run_id: str, wanted: LogFilter) -> None:
        self._home = home
        self._run_id = run_id
        self._wanted = wanted
        self._readers: dict[tuple[str, int], LogReader] = {}

    def read(self, tasks: Sequence[Task]) -> Iterator[LogLine]:
        readers = self._readers
        for task in tasks:
            if task.kind is TaskKind.CONTAINER and self._wanted.task in (None, task.path):
                for attempt in range(1, task.attempts + 1):
                    if self._wanted.attempt in (None, attempt):
                        file = log_file(self._home, self._run_id, task.path, attempt)
                        readers.setdefault((task.path, attempt), LogReader(file))
        ended = {task.path: task.ended_at or "" for task in tasks if task.state.final}
        in_order = sorted(readers.items(), key=lambda item: (item[0][0] not in ended, ended.get(item[0][0], "")))
        for (path, attempt), reader in in_order:
            for line in reader.read(to_the_end=path in ended):
                yield LogLine(path, attempt, line)
            if path in ended:
                del readers[path, attempt]
