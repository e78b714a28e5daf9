"""Show a run in progress on stderr.

On a terminal, a table of the tasks is updated in place, and logs scroll by above it. Elsewhere each
change and each line of a log is a plain line.
"""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from kfgcp.backends.base import LogLine
from kfgcp.cli import output
from kfgcp.log_lines import readable_line
from kfgcp.model import Run, Task, TaskState, seconds_between, timestamp
from kfgcp.tracking.updates import LogWritten, RunChanged, RunEnded, RunUpdate, TaskChanged

if TYPE_CHECKING:
    from rich.console import Group
    from rich.spinner import Spinner
    from rich.table import Table
    from rich.text import Text

# The most tasks in the table. A table that is higher than the terminal cannot be updated in place.
_MAX_TASKS: Final = 20

# The most log lines that a terminal shows at each flush. Older lines are left out: nobody can read
# more, and a fast task would keep the terminal busy.
_MAX_LINES: Final = 100

# Times per second that the table is drawn: often enough for a spinner.
_REDRAWS_PER_SECOND: Final = 8

# The states of tasks that were executed. The duration of any other task says nothing.
_EXECUTED: Final = (
    TaskState.RUNNING,
    TaskState.SUCCEEDED,
    TaskState.FAILED,
    TaskState.CANCELLED,
)

_MARKS: Final = {
    TaskState.PENDING: "·",
    TaskState.RUNNING: "•",
    TaskState.SUCCEEDED: "✓",
    TaskState.CACHED: "✓",
    TaskState.SKIPPED: "-",
    TaskState.FAILED: "✗",
    TaskState.CANCELLED: "✗",
}


class Viewer:
    """Shows the updates of a run; a context manager."""

    def __init__(self, run: Run) -> None:
        self._view: PlainView | LiveView = LiveView(run) if _is_terminal() else PlainView(run)
        self._last_line_of_task: dict[str, str] = {}

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
            self._last_line_of_task[update.line.task] = update.line.text

    def flush(self) -> None:
        """Show the log lines that are not shown yet."""
        self._view.flush()

    def has_shown_log_end(self, run: Run) -> bool:
        """Return whether the log lines in the error of a run were shown already."""
        if run.error is None or run.error.task is None or not run.error.log_tail:
            return False
        last_line = self._last_line_of_task.get(run.error.task)
        # The error keeps only the end of a long line.
        return last_line is not None and last_line.endswith(run.error.log_tail[-1])


class PlainView:
    """A line for each change of a state and for each line of a log, with the name of the task."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._state_of_task: dict[str, TaskState] = {}
        self._file = sys.stderr

    def begin(self) -> None:
        """Show the id of the run, its pipeline, environment and experiment."""
        run = self._run
        line = f"run {run.run_id}  {run.pipeline}  env {run.env}  experiment {run.experiment}"
        self._print(output.plain(line))

    def show(self, update: RunUpdate) -> None:
        """Show one update."""
        match update:
            case LogWritten(line):
                self._print(f"{output.plain(line.task)} | {output.plain(readable_line(line.text))}")
            case TaskChanged(task):
                is_new_state = self._state_of_task.get(task.path) is not task.state
                if task.state is not TaskState.PENDING and is_new_state:
                    self._show_state(task)
            case RunChanged(run) | RunEnded(run):
                self._run = run

    def flush(self) -> None:
        """Do nothing, because `show` has shown everything at once."""

    def end(self) -> None:
        """Show the final state of the run."""
        run = self._run
        if run.state.final:
            line = f"run {run.run_id}  {run.state.value}  {output.seconds(run.seconds)}"
            self._print(line.rstrip())

    def _show_state(self, task: Task) -> None:
        self._state_of_task[task.path] = task.state
        duration = ""
        if task.state in _EXECUTED and task.state.final:
            duration = output.seconds(task.seconds)
        self._print(f"{output.plain(task.path)}  {task.state.value}  {duration}".rstrip())

    def _print(self, line: str) -> None:
        print(line, file=self._file, flush=True)


class LiveView:
    """A table of the tasks at the bottom of the terminal; logs scroll by above it."""

    def __init__(self, run: Run) -> None:
        from rich.live import Live

        self._run = run
        self._tasks: dict[str, Task] = {}
        self._spinners: dict[str, Spinner] = {}
        self._lines: deque[LogLine] = deque(maxlen=_MAX_LINES)
        self._line_count = 0
        self._console = output.console(sys.stderr)
        self._live = Live(
            console=self._console,
            refresh_per_second=_REDRAWS_PER_SECOND,
            get_renderable=self._draw,
        )

    def begin(self) -> None:
        """Start to draw the table."""
        self._live.start()
        output.set_live_console(self._console)

    def show(self, update: RunUpdate) -> None:
        """Take one update. The table shows it when it is drawn the next time."""
        match update:
            case LogWritten(line):
                self._line_count += 1
                self._lines.append(line)
            case TaskChanged(task):
                self._tasks[task.path] = task
            case RunChanged(run) | RunEnded(run):
                self._run = run

    def flush(self) -> None:
        """Show the newest log lines since the last flush."""
        if not self._lines:
            return
        from rich.text import Text

        lines = [self._format_log_line(line) for line in self._lines]
        left_out_count = self._line_count - len(lines)
        if left_out_count > 0:
            note = f"… {left_out_count:,} lines left out, see: kfgcp logs {self._run.run_id}"
            lines.insert(0, Text(note, style="dim"))
        self._lines.clear()
        self._line_count = 0
        self._console.print(Text("\n").join(lines))

    def end(self) -> None:
        """Show the remaining lines, and leave the last table on the terminal."""
        self.flush()
        output.set_live_console(None)
        self._live.stop()

    def _format_log_line(self, line: LogLine) -> Text:
        from rich.text import Text

        # A progress bar goes back to the beginning of its line. Only its last state counts.
        last_state = readable_line(line.text).rpartition("\r")[2]
        text = Text.from_ansi(last_state)
        text.plain = output.plain(text.plain)
        return Text.assemble((f"{output.plain(line.task)} ", "dim"), ("│ ", "dim"), text)

    def _draw(self) -> Group:
        """Return the table of the tasks, and below it a line about the run."""
        from rich.console import Group
        from rich.text import Text

        # A thread of rich calls this method, while another thread changes the dict of tasks.
        # `list` copies the dict in one step, so that no change comes between.
        tasks = list(self._tasks.values())
        rows: list[Table | Text] = [self._task_table(_choose_tasks(tasks))]
        hidden_count = len(tasks) - _MAX_TASKS
        if hidden_count > 0:
            rows.append(Text(f"… and {hidden_count} more tasks", style="dim"))
        rows.append(self._run_line())
        return Group(*rows)

    def _task_table(self, tasks: list[Task]) -> Table:
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 2))
        for task in tasks:
            name = Text(output.plain(task.path))
            table.add_row(self._mark(task), name, output.state(task.state), _format_duration(task))
        return table

    def _mark(self, task: Task) -> Text | Spinner:
        from rich.spinner import Spinner
        from rich.text import Text

        style = output.STYLES[task.state.value]
        if task.state is not TaskState.RUNNING:
            return Text(_MARKS[task.state], style=style)
        # A new spinner would start with its first frame each time the table is drawn.
        if task.path not in self._spinners:
            self._spinners[task.path] = Spinner("dots", style=style)
        return self._spinners[task.path]

    def _run_line(self) -> Text:
        from rich.text import Text

        run = self._run
        return Text.assemble(
            (run.state.value, output.STYLES[run.state.value]),
            f"  {output.plain(run.pipeline)}  ",
            (run.run_id, "bold"),
            f"  {run.env}",
        )


def _is_terminal() -> bool:
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def _choose_tasks(tasks: list[Task]) -> list[Task]:
    """Return at most `_MAX_TASKS` tasks, in the order of their start.

    Tasks that have ended are left out first. A task that has not started comes last.
    """
    # "~" is greater than the digits of any time.
    by_start = sorted(tasks, key=lambda task: task.started_at or "~")
    unfinished_first = sorted(by_start, key=lambda task: task.state.final)
    paths_to_show = {task.path for task in unfinished_first[:_MAX_TASKS]}
    return [task for task in by_start if task.path in paths_to_show]


def _format_duration(task: Task) -> str:
    if task.state.final:
        return output.seconds(task.seconds)
    elapsed = seconds_between(task.started_at, timestamp(time.time()))
    # The clock of a service may be ahead of the clock of this machine, so the time can be negative.
    return output.seconds(max(elapsed or 0.0, 0.0))
