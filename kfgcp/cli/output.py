"""How values, states and tables look in a terminal, and as plain text elsewhere.

Results go to stdout. Progress, the logs of a run in progress, errors and hints go to stderr. Texts
of runs are data: they are never read as markup, and their control characters are shown, not obeyed.
"""

from __future__ import annotations

import os
import re
import sys
import textwrap
from collections.abc import Collection, Iterable, Sequence
from typing import IO, TYPE_CHECKING, Final, Literal

import click

from kfgcp.errors import UsageError
from kfgcp.log_lines import readable_line
from kfgcp.model import Run, RunState, TaskState, json_text
from kfgcp.tracking.format import number as number
from kfgcp.tracking.format import plain as plain
from kfgcp.tracking.format import seconds as seconds
from kfgcp.tracking.format import value_text as value_text

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table
    from rich.text import Text

# The styles of rich for the states of runs and tasks.
STYLES: Final = {
    "PENDING": "dim",
    "RUNNING": "cyan",
    "SUCCEEDED": "green",
    "CACHED": "green",
    "SKIPPED": "dim",
    "FAILED": "red",
    "CANCELLING": "yellow",
    "CANCELLED": "yellow",
    "PAUSED": "yellow",
}

# The escape sequences that set colors (SGR of ECMA-48).
_COLOR_CODE: Final = re.compile(r"(\x1b\[[\d;]*m)")
_RESET_COLOR: Final = "\x1b[0m"

# rich cuts or folds lines at the width of a console. In a pipe or file, lines must stay whole.
_UNLIMITED_WIDTH: Final = 10_000


def console(file: IO[str] | None = None) -> Console:
    """Return a console with the colors and the width of the terminal, or with neither.

    Args:
        file: where it writes; stdout when None. A pipe or file has no colors and no width.
    """
    from rich.console import Console

    file = file or sys.stdout
    width = None if file.isatty() else _UNLIMITED_WIDTH
    return Console(
        file=file, width=width, markup=False, highlight=False, emoji=False, soft_wrap=True
    )


def color() -> bool | None:
    """Return what `click.echo` takes as `color`: False for no colors, None to ask the stream."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return None


def wrapped(text: str, indent: int) -> list[str]:
    """Split a text into lines that fit into the terminal after an indent of some characters.

    A pipe or file gets one line. Words stay whole, so that a path or an address can be copied.
    """
    width = max(console().width - indent, 1)
    lines = textwrap.wrap(plain(text), width, break_long_words=False, break_on_hyphens=False)
    return lines or [""]


def print_json(value: object) -> None:
    """Print one JSON value on stdout."""
    click.echo(json_text(value, indent=2))


# -- messages on stderr

_live_console: Console | None = None


def set_live_console(live_console: Console | None) -> None:
    """Set the console that draws a table at the bottom of the terminal. Notes go above the table.

    Args:
        live_console: the console, None when it has stopped drawing.
    """
    global _live_console
    _live_console = live_console


def note(text: str) -> None:
    """Print a fact that people should know and that needs no action."""
    if _live_console is None:
        _print_labelled("note:", "yellow", text)
        return
    from rich.text import Text

    _live_console.print(Text.assemble(("note: ", "yellow"), plain(text)))


def print_notes(notes: Iterable[str]) -> None:
    """Print each part of a pipeline that a backend leaves out or does in another way."""
    for text in notes:
        note(text)


def hint(text: str) -> None:
    """Print what to type next."""
    _print_labelled("next:", "cyan", text)


def print_hint(text: str) -> None:
    """Print what to do about an error: a line with the label `hint:` for each line of the text."""
    for line in text.splitlines():
        _print_labelled("hint:", "cyan", line)


def print_failure(run: Run, *, tail: bool = True) -> None:
    """Print why a run failed.

    Args:
        run: the run; nothing is printed when it has no error.
        tail: also print the end of the log of the failed task. Pass False when that was shown.
    """
    error = run.error
    if error is None:
        return
    if tail:
        for line in error.log_tail:
            click.echo(click.style(f"  {plain(line)}", dim=True), err=True, color=color())
    where = f" in task {plain(error.task)}" if error.task else ""
    label = click.style(f"{run.state.value.lower()}{where}:", fg="red", bold=True)
    click.echo(f"{label} {plain(error.message)}", err=True, color=color())
    print_hint(error.hint)


def confirm(question: str) -> bool:
    """Ask a question on the terminal, and return whether the answer is yes.

    The command must have the option `--yes`, because the error names it.

    Raises:
        UsageError: standard input is not a terminal.
    """
    if not sys.stdin.isatty():
        raise UsageError(
            f"kfgcp cannot ask this question without a terminal: {question}",
            hint="To answer yes in advance, use --yes.",
        )
    return click.confirm(question)


def _print_labelled(label: str, label_color: str, text: str) -> None:
    styled_label = click.style(label, fg=label_color)
    click.echo(f"{styled_label} {plain(text)}", err=True, color=color())


# -- tables


def table(
    headers: Sequence[str],
    rows: Iterable[Sequence[RenderableType]],
    *,
    right: Collection[int] = (),
    short: Collection[int] = (),
) -> Table:
    """Return a table without lines.

    In a narrow terminal, the columns in `short` are cut off, the widest column first, and the other
    columns stay whole. Without `short`, long cells are folded.

    Args:
        headers: the headers of the columns.
        rows: the cells of each row: texts, states, or other objects that rich can render.
        right: the indexes of columns that are aligned to the right.
        short: the indexes of columns that may be cut off.
    """
    from rich.table import Table
    from rich.text import Text

    new_table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for index, header in enumerate(headers):
        justify: Literal["left", "right"] = "right" if index in right else "left"
        if index in short:
            title = Text(header, no_wrap=True, overflow="ellipsis")
            new_table.add_column(title, justify=justify, overflow="ellipsis")
        else:
            # With `no_wrap`, rich makes only the columns in `short` narrower.
            no_wrap = len(short) > 0
            new_table.add_column(header, justify=justify, overflow="fold", no_wrap=no_wrap)
    for row in rows:
        cells = []
        for index, value in enumerate(row):
            cell = _format_cell(value)
            if index in short and isinstance(cell, Text):
                cell.no_wrap = True
            cells.append(cell)
        new_table.add_row(*cells)
    return new_table


def print_table(shown: Table, file: IO[str] | None = None) -> None:
    """Print a table. In a pipe or file, lines have no blanks at their ends."""
    target = console(file)
    if target.is_terminal:
        target.print(shown)
        return
    with target.capture() as capture:
        target.print(shown)
    for line in capture.get().splitlines():
        click.echo(line.rstrip(), file=file)


def print_section(
    headers: Sequence[str], rows: Sequence[Sequence[RenderableType]], *, right: Collection[int] = ()
) -> None:
    """Print an empty line and a table, or nothing when the table has no rows."""
    if rows:
        click.echo()
        print_table(table(headers, rows, right=right))


def state(value: RunState | TaskState) -> Text:
    """Return a state in its color."""
    from rich.text import Text

    return Text(value.value, style=STYLES[value.value])


def log_text(text: str) -> str:
    """Return a line of a log for stdout.

    On a terminal, a line of JSON for Cloud Logging becomes its message, the colors of the line are
    shown, other control characters become visible, and only the last state of a progress bar is
    kept. Elsewhere the line is unchanged.
    """
    if not sys.stdout.isatty():
        return text
    last_state = readable_line(text).rstrip("\r").rpartition("\r")[2]
    # Every second part is a color code, because the pattern has a group.
    parts = _COLOR_CODE.split(last_state)
    for index in range(0, len(parts), 2):
        parts[index] = plain(parts[index])
    has_colors = len(parts) > 1
    return "".join(parts) + (_RESET_COLOR if has_colors else "")


def _format_cell(value: RenderableType) -> RenderableType:
    """Return a value as rich shows it in a table."""
    if isinstance(value, (RunState, TaskState)):
        return state(value)
    if isinstance(value, str):
        from rich.text import Text

        return Text(plain(value))
    return value
