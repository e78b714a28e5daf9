"""A run as it goes on: what changed since the last look, with the lines its tasks wrote meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from kfgcp.backends.base import LogLine
from kfgcp.engine.layout import log_file
from kfgcp.model import Run, Task, TaskKind
from kfgcp.store.store import Store

INTERVAL = 0.1
_READ_BYTES = 256 * 1024
_LONGEST_LINE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Update:
    """A look at a run: `run` without tasks and artifacts.

    tasks: those whose state is new, in the order they started. lines: what was written since the last look; read from
    the files while it is iterated, which must be done before the next look.
    """

    run: Run
    tasks: Sequence[Task]
    lines: Iterable[LogLine]


def follow(
    store: Store,
    home: Path,
    run_id: str,
    *,
    check: Callable[[], None] = lambda: None,
    sleep: Callable[[float], object] = time.sleep,
    logs: bool = True,
) -> Iterator[Update]:
    """An update a look until the run has ended; the last one holds its final state.

    Args:
        store: a connection of the calling thread.
        home: the state folder, where the logs are.
        run_id: which run.
        check: called before each look; may raise to stop, or bring the run up to date.
        sleep: waits between looks; gets seconds.
        logs: whether to read the tasks' logs.
    """
    seen = -1
    tails: dict[tuple[str, int], LogTail] = {}
    while True:
        check()
        rev = store.rev(run_id)
        if rev > seen:
            run = store.get(run_id, whole=False)
        tasks = store.tasks(run_id, after_rev=seen) if rev > seen else []
        seen = rev
        yield Update(run, tasks, _new_lines(home, run_id, tasks, tails) if logs else ())
        if run.state.final:
            return
        sleep(INTERVAL)


def _new_lines(
    home: Path, run_id: str, tasks: Sequence[Task], tails: dict[tuple[str, int], LogTail]
) -> Iterator[LogLine]:
    """What was written since the last look; a task that has ended is read to the end and then forgotten."""
    for task in tasks:
        if task.kind is TaskKind.CONTAINER:
            for attempt in range(1, task.attempts + 1):
                tails.setdefault((task.path, attempt), LogTail(home, run_id, task.path, attempt))
    ended = {task.path for task in tasks if task.state.final}
    for (path, attempt), tail in list(tails.items()):
        yield from tail.read(to_the_end=path in ended)
        if path in ended:
            del tails[path, attempt]


class LogTail:
    """Reads an attempt's log as it grows; only whole lines until it has ended, but endless ones in pieces."""

    def __init__(self, home: Path, run_id: str, task: str, attempt: int) -> None:
        self._file = log_file(home, run_id, task, attempt)
        self._task, self._attempt = task, attempt
        self._offset = 0
        self._rest = b""

    def read(self, *, to_the_end: bool = False) -> Iterator[LogLine]:
        """New lines; with `to_the_end` also a last one without a newline."""
        try:
            with self._file.open("rb") as log:
                log.seek(self._offset)
                while data := log.read(_READ_BYTES):
                    self._offset += len(data)
                    *lines, self._rest = (self._rest + data).split(b"\n")
                    yield from map(self._line, lines)
                    if len(self._rest) >= _LONGEST_LINE:
                        piece, self._rest = self._rest, b""
                        yield self._line(piece)
        except FileNotFoundError:
            pass
        if to_the_end and self._rest:
            piece, self._rest = self._rest, b""
            yield self._line(piece)

    def _line(self, raw: bytes) -> LogLine:
        return LogLine(self._task, self._attempt, raw.decode("utf-8", errors="replace").rstrip("\r"))
