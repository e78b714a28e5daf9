"""A run under way on stderr: a table that changes in place on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, Self

from kfgcp.backends.base import LogLine
from kfgcp.cli import output
from kfgcp.model import Run, Task, TaskState, seconds_between, timestamp
from kfgcp.tracking.follow import Update

_ROWS = 20
_LINES = 100
"""Of each look at most so many log lines are shown in a terminal, the last ones: more cannot be read."""

_RAN = (TaskState.RUNNING, TaskState.SUCCEEDED, TaskState.FAILED, TaskState.CANCELLED)


def _interactive() -> bool:
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


class Viewer:
    """Shows the updates of a run; a context manager."""

    def __init__(self, run: Run) -> None:
        self._view: PlainView | LiveView = LiveView(run) if _interactive() else PlainView(run)

    def __enter__(self) -> Self:
        self._view.begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._view.end()

    def show(self, update: Update) -> None:
        """Draws what is new, in the order it came: starts, log lines, ends."""
        self._view.show(update)


class PlainView:
    """A line a state change, and the lines of the logs behind the name of their task."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._shown: dict[str, TaskState] = {}
        self._file = sys.stderr

    def begin(self) -> None:
        run = self._run
        self._print(output.plain(f"run {run.run_id}  {run.pipeline}  env {run.env}  experiment {run.experiment}"))

    def show(self, update: Update) -> None:
        """Starts and ends in the order of their times, what a task wrote before its end."""
        events = deque(sorted(self._events(update.tasks), key=lambda event: event[0]))
        ends = {task.path: task.ended_at for task in update.tasks if task.state.final}
        for line in update.lines:
            until = ends.get(line.task)
            while events and (until is None or events[0][0] < (until, 1)):
                self._state(*events.popleft()[1:])
            self._print(f"{output.plain(line.task)} | {output.plain(line.text)}")
        for event in events:
            self._state(*event[1:])
        self._run = update.run

    def _events(self, tasks: Sequence[Task]) -> Iterator[tuple[tuple[str, int], Task, TaskState]]:
        for task in tasks:
            if task.path not in self._shown and task.started_at is not None and task.state in _RAN:
                yield (task.started_at, 0), task, TaskState.RUNNING
            if task.state.final and self._shown.get(task.path) is not task.state:
                yield (task.ended_at or task.started_at or "~", 1), task, task.state

    def end(self) -> None:
        run = self._run
        if run.state.final:
            self._print(f"run {run.run_id}  {run.state.value}  {output.seconds(run.seconds)}".rstrip())

    def _state(self, task: Task, state: TaskState) -> None:
        self._shown[task.path] = state
        took = output.seconds(task.seconds) if state in _RAN and state.final else ""
        self._print(f"{output.plain(task.path)}  {state.value}  {took}".rstrip())

    def _print(self, line: str) -> None:
        print(line, file=self._file, flush=True)


class LiveView:
    """A table of the tasks at the bottom of the terminal; logs scroll by above it."""

    def __init__(self, run: Run) -> None:
        from rich.live import Live

        self._run = run
        self._tasks: dict[str, Task] = {}
        self._spinners: dict[str, Any] = {}
        self._console = output.console(sys.stderr)
        self._live = Live(console=self._console, refresh_per_second=8, get_renderable=self._table)

    def begin(self) -> None:
        self._live.start()
        output.drawn_on(self._console)

    def show(self, update: Update) -> None:
        self._run = update.run
        self._tasks |= {task.path: task for task in update.tasks}
        count = 0
        last: deque[LogLine] = deque(maxlen=_LINES)
        for line in update.lines:
            count += 1
            last.append(line)
        if not last:
            return
        from rich.text import Text

        shown = [self._log_line(line) for line in last]
        if count > _LINES:
            left_out = f"… {count - _LINES:,} lines left out, see: kfgcp logs {self._run.run_id}"
            shown.insert(0, Text(left_out, style="dim"))
        self._console.print(Text("\n").join(shown))

    def end(self) -> None:
        output.drawn_on(None)
        self._live.stop()

    def _log_line(self, line: LogLine) -> Any:
        from rich.text import Text

        text = Text.from_ansi(line.text.rpartition("\r")[2])
        text.plain = output.plain(text.plain)
        return Text.assemble((f"{output.plain(line.task)} ", "dim"), ("│ ", "dim"), text)

    def _table(self) -> Any:
        from rich.console import Group
        from rich.spinner import Spinner
        from rich.table import Table
        from rich.text import Text

        tasks = sorted(self._tasks.values(), key=lambda task: task.started_at or "~")
        first = {task.path for task in sorted(tasks, key=lambda task: task.state.final)[:_ROWS]}
        shown = [task for task in tasks if task.path in first]
        grid = Table.grid(padding=(0, 2))
        for task in shown:
            style = output.STYLES[task.state.value]
            mark: Any = Text(_MARKS[task.state], style=style)
            if task.state is TaskState.RUNNING:
                mark = self._spinners.setdefault(task.path, Spinner("dots", style=style))
            grid.add_row(mark, Text(output.plain(task.path)), output.state(task.state), self._took(task))
        run = self._run
        title = Text.assemble(
            (run.state.value, output.STYLES[run.state.value]),
            f"  {output.plain(run.pipeline)}  ",
            (run.run_id, "bold"),
            f"  {run.env}",
        )
        hidden = len(self._tasks) - len(shown)
        return Group(grid, *([Text(f"… and {hidden} more tasks", style="dim")] if hidden > 0 else []), title)

    def _took(self, task: Task) -> str:
        if task.state.final:
            return output.seconds(task.seconds)
        return output.seconds(max(seconds_between(task.started_at, timestamp(time.time())) or 0.0, 0.0))


_MARKS = {
    TaskState.PENDING: "·",
    TaskState.RUNNING: "•",
    TaskState.SUCCEEDED: "✓",
    TaskState.CACHED: "✓",
    TaskState.SKIPPED: "-",
    TaskState.FAILED: "✗",
    TaskState.CANCELLED: "✗",
}
