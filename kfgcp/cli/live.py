"""Shows a running run on stderr: a table that is updated on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from types import TracebackType
from typing import Any, Self

from kfgcp.backends.base import LogLine
from kfgcp.cli import output
from kfgcp.model import Run, Task, TaskState, seconds_between, timestamp
from kfgcp.tracking.updates import LogWritten, RunChanged, RunEnded, RunUpdate, TaskChanged

_ROWS = 20
_LINES = 100
"""The most lines of logs that a terminal shows of one look, the last ones. Nobody can read more."""

_RAN = (TaskState.RUNNING, TaskState.SUCCEEDED, TaskState.FAILED, TaskState.CANCELLED)


def _interactive() -> bool:
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


class Viewer:
    """Shows the updates of a run; a context manager."""

    def __init__(self, run: Run) -> None:
        self._view: PlainView | LiveView = LiveView(run) if _interactive() else PlainView(run)
        self._last_lines: dict[str, str] = {}

    def __enter__(self) -> Self:
        self._view.begin()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._view.end()

    def show(self, update: RunUpdate) -> None:
        """Show one update. A terminal shows lines of logs at the next `flush`."""
        self._view.show(update)
        if isinstance(update, LogWritten):
            self._last_lines[update.line.task] = update.line.text

    def flush(self) -> None:
        """Show what is not shown yet."""
        self._view.flush()

    def has_shown_log_end(self, run: Run) -> bool:
        """Return whether the end of the log in the error of a run was shown, as the run was
        followed."""
        if run.error is None or run.error.task is None or not run.error.log_tail:
            return False
        last_line = self._last_lines.get(run.error.task)
        # The lines in the error are cut off at their beginning.
        return last_line is not None and last_line.endswith(run.error.log_tail[-1])


class PlainView:
    """A line for each change of a state, and the lines of the logs behind the name of their
    task."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._shown: dict[str, TaskState] = {}
        self._file = sys.stderr

    def begin(self) -> None:
        run = self._run
        self._print(
            output.plain(
                f"run {run.run_id}  {run.pipeline}  env {run.env}  experiment {run.experiment}"
            )
        )

    def show(self, update: RunUpdate) -> None:
        match update:
            case LogWritten(line):
                self._print(f"{output.plain(line.task)} | {output.plain(line.text)}")
            case TaskChanged(task):
                if (
                    task.state is not TaskState.PENDING
                    and self._shown.get(task.path) is not task.state
                ):
                    self._show_state(task)
            case RunChanged(run) | RunEnded(run):
                self._run = run

    def flush(self) -> None:
        """Everything is shown at once."""

    def end(self) -> None:
        run = self._run
        if run.state.final:
            self._print(
                f"run {run.run_id}  {run.state.value}  {output.seconds(run.seconds)}".rstrip()
            )

    def _show_state(self, task: Task) -> None:
        self._shown[task.path] = task.state
        took = output.seconds(task.seconds) if task.state in _RAN and task.state.final else ""
        self._print(f"{output.plain(task.path)}  {task.state.value}  {took}".rstrip())

    def _print(self, line: str) -> None:
        print(line, file=self._file, flush=True)


class LiveView:
    """A table of the tasks at the bottom of the terminal; logs scroll by above it."""

    def __init__(self, run: Run) -> None:
        from rich.live import Live

        self._run = run
        self._tasks: dict[str, Task] = {}
        self._spinners: dict[str, Any] = {}
        self._lines: deque[LogLine] = deque(maxlen=_LINES)
        self._line_count = 0
        self._console = output.console(sys.stderr)
        self._live = Live(console=self._console, refresh_per_second=8, get_renderable=self._table)

    def begin(self) -> None:
        self._live.start()
        output.drawn_on(self._console)

    def show(self, update: RunUpdate) -> None:
        match update:
            case LogWritten(line):
                self._line_count += 1
                self._lines.append(line)
            case TaskChanged(task):
                self._tasks[task.path] = task
            case RunChanged(run) | RunEnded(run):
                self._run = run

    def flush(self) -> None:
        """Show the last lines since the last look."""
        if not self._lines:
            return
        from rich.text import Text

        shown = [self._log_line(line) for line in self._lines]
        if self._line_count > len(shown):
            left_out = (
                f"… {self._line_count - len(shown):,} lines left out, see: kfgcp logs"
                f" {self._run.run_id}"
            )
            shown.insert(0, Text(left_out, style="dim"))
        self._lines.clear()
        self._line_count = 0
        self._console.print(Text("\n").join(shown))

    def end(self) -> None:
        self.flush()
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

        # Another thread draws the table, so the tasks can change meanwhile; a list of them is made
        # at once.
        tasks = list(self._tasks.values())
        tasks.sort(key=lambda task: task.started_at or "~")
        first = {task.path for task in sorted(tasks, key=lambda task: task.state.final)[:_ROWS]}
        shown = [task for task in tasks if task.path in first]
        grid = Table.grid(padding=(0, 2))
        for task in shown:
            style = output.STYLES[task.state.value]
            mark: Any = Text(_MARKS[task.state], style=style)
            if task.state is TaskState.RUNNING:
                mark = self._spinners.setdefault(task.path, Spinner("dots", style=style))
            grid.add_row(
                mark, Text(output.plain(task.path)), output.state(task.state), self._took(task)
            )
        run = self._run
        title = Text.assemble(
            (run.state.value, output.STYLES[run.state.value]),
            f"  {output.plain(run.pipeline)}  ",
            (run.run_id, "bold"),
            f"  {run.env}",
        )
        hidden = len(tasks) - len(shown)
        return Group(
            grid, *([Text(f"… and {hidden} more tasks", style="dim")] if hidden > 0 else []), title
        )

    def _took(self, task: Task) -> str:
        if task.state.final:
            return output.seconds(task.seconds)
        return output.seconds(
            max(seconds_between(task.started_at, timestamp(time.time())) or 0.0, 0.0)
        )


_MARKS = {
    TaskState.PENDING: "·",
    TaskState.RUNNING: "•",
    TaskState.SUCCEEDED: "✓",
    TaskState.CACHED: "✓",
    TaskState.SKIPPED: "-",
    TaskState.FAILED: "✗",
    TaskState.CANCELLED: "✗",
}
