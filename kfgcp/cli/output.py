"""How values, states and tables look in a terminal, and as plain text elsewhere.

Results go to stdout; progress, logs of a run under way, errors and hints to stderr. Texts of runs
are data: they are never taken for markup, and their control characters are shown, not obeyed.
"""

from __future__ import annotations

import os
import re
import sys
import textwrap
from collections.abc import Iterable, Sequence
from typing import IO, TYPE_CHECKING, Any

import click

from kfgcp.errors import UsageError
from kfgcp.model import Run, RunState, TaskState, json_text
from kfgcp.tracking.format import number as number
from kfgcp.tracking.format import plain as plain
from kfgcp.tracking.format import seconds as seconds
from kfgcp.tracking.format import value_text as value_text

if TYPE_CHECKING:
    from rich.console import Console

STYLES = {
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
_COLOUR = re.compile(r"(\x1b\[[\d;]*m)")
_WIDE = 10_000


def console(file: IO[str] | None = None) -> Console:
    """A console on stdout, or on `file`: colours and the width of the terminal, or neither in a
    pipe or file."""
    from rich.console import Console

    file = file or sys.stdout
    width = None if file.isatty() else _WIDE
    return Console(
        file=file, width=width, markup=False, highlight=False, emoji=False, soft_wrap=True
    )


def wrapped(text: str, indent: int) -> list[str]:
    """Return a text as lines that fit into the terminal behind an indent; as one line in a pipe or
    file.

    Words are kept whole, so that a path or an address can be copied.
    """
    width = max(console().width - indent, 1)
    return textwrap.wrap(plain(text), width, break_long_words=False, break_on_hyphens=False) or [""]


def print_json(value: Any) -> None:
    """One JSON value on stdout."""
    click.echo(json_text(value, indent=2))


def print_notes(notes: Iterable[str]) -> None:
    """What a backend does not do as the pipeline says, on stderr."""
    for each in notes:
        note(each)


_drawn: list[Console] = []


def drawn_on(screen: Console | None) -> None:
    """Says that a console keeps something at the bottom of the terminal: notes go above it. None:
    not any more."""
    _drawn[:] = [] if screen is None else [screen]


def note(text: str) -> None:
    """What people should know and need not act on, on stderr."""
    if _drawn:
        from rich.text import Text

        _drawn[0].print(Text.assemble(("note: ", "yellow"), plain(text)))
    else:
        click.echo(f"{click.style('note:', fg='yellow')} {plain(text)}", err=True, color=color())


def hint(text: str) -> None:
    """What to type next, on stderr."""
    click.echo(f"{click.style('next:', fg='cyan')} {plain(text)}", err=True, color=color())


def color() -> bool | None:
    """What click asks for: no colours where they are not wanted, else those that the stream can
    show."""
    return False if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" else None


def table(
    headers: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    right: Iterable[int] = (),
    short: Iterable[int] = (),
) -> Any:
    """A table without lines; a cell is text or a rich renderable.

    right: columns aligned to the right. short: columns that are cut off where the terminal is
    narrow, the widest first; with any, the others stay whole, and are folded without.
    """
    from rich.table import Table
    from rich.text import Text

    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    aligned, cut = set(right), set(short)
    for at, header in enumerate(headers):
        made.add_column(
            Text(header, no_wrap=True, overflow="ellipsis") if at in cut else header,
            justify="right" if at in aligned else "left",
            overflow="ellipsis" if at in cut else "fold",
            no_wrap=bool(cut)
            and at not in cut,  # such a column keeps its width while others can give way
        )
    for row in rows:
        made.add_row(*(_cut(value) if at in cut else cell(value) for at, value in enumerate(row)))
    return made


def _cut(value: Any) -> Any:
    """A text of one line, cut off where its column ends."""
    shown = cell(value)
    shown.no_wrap = True
    return shown


def cell(value: Any) -> Any:
    """A value as it is shown in a table."""
    if isinstance(value, (RunState, TaskState)):
        return state(value)
    from rich.text import Text

    return Text(plain(value)) if isinstance(value, str) else value


def state(value: RunState | TaskState) -> Any:
    from rich.text import Text

    return Text(value.value, style=STYLES[value.value])


def log_text(text: str) -> str:
    """A line of a log for stdout: on a terminal only its colours are obeyed, elsewhere it is as it
    was written."""
    if not sys.stdout.isatty():
        return text
    parts = _COLOUR.split(text.rstrip("\r").rpartition("\r")[2])
    shown = "".join(part if _COLOUR.fullmatch(part) else plain(part) for part in parts)
    return f"{shown}\x1b[0m" if len(parts) > 1 else shown


def print_table(made: Any, file: IO[str] | None = None) -> None:
    """Prints a table; in a pipe without blanks at the line ends."""
    target = console(file)
    if target.is_terminal:
        target.print(made)
        return
    with target.capture() as capture:
        target.print(made)
    for line in capture.get().splitlines():
        click.echo(line.rstrip(), file=file)


def print_failure(run: Run, *, tail: bool = True) -> None:
    """Why a run failed, on stderr; with the end of the failing task's log unless that was shown
    already."""
    if run.error is None:
        return
    where = f" in task {plain(run.error.task)}" if run.error.task else ""
    for line in run.error.log_tail if tail else ():
        click.echo(click.style(f"  {plain(line)}", dim=True), err=True, color=color())
    label = click.style(f"{run.state.value.lower()}{where}:", fg="red", bold=True)
    click.echo(f"{label} {plain(run.error.message)}", err=True, color=color())
    print_hint(run.error.hint)


def confirm(question: str) -> bool:
    """Ask a question on the terminal. Only for commands that have the option `--yes`, which the
    error names.

    Returns:
        Whether the answer is yes.

    Raises:
        UsageError: standard input is not a terminal.
    """
    if not sys.stdin.isatty():
        raise UsageError(
            f"Cannot ask without a terminal: {question}",
            hint="To do it without a question, use --yes.",
        )
    return click.confirm(question)


def print_hint(text: str) -> None:
    """Print what to do about an error, each line of it, on stderr."""
    for line in text.splitlines():
        click.echo(f"{click.style('hint:', fg='cyan')} {plain(line)}", err=True, color=color())
