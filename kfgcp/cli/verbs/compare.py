"""Show only what differs between runs."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Final

import click

from kfgcp.cli import options, output
from kfgcp.errors import UsageError
from kfgcp.model import Direction
from kfgcp.tracking import report
from kfgcp.tracking.compare import Comparison
from kfgcp.workspace import Workspace

if TYPE_CHECKING:
    from rich.text import Text

FORMATS: Final = ("text", "json", "markdown", "html")

# The smallest width in characters of the column of a run on a terminal. In a narrower column, a
# digest or a path wraps over many lines. Runs that do not fit beside the others are shown below.
_MIN_COLUMN_WIDTH: Final = 24

# Two spaces before each name, and two spaces between the names and the next column.
_NAME_PADDING: Final = 4


@click.command(epilog="Example: kfgcp compare a1b2 c3d4 --format markdown")
@click.argument("runs", nargs=-1, metavar="[RUN RUN...]")
@click.option(
    "--baseline",
    metavar="RUN",
    help="The run to compare the other runs with. Default: the first RUN.",
)
@click.option(
    "--maximize", multiple=True, metavar="METRIC", help="Higher values of METRIC are better."
)
@click.option(
    "--minimize", multiple=True, metavar="METRIC", help="Lower values of METRIC are better."
)
@click.option(
    "--higher", multiple=True, metavar="METRIC", hidden=True, help="The old name of --maximize."
)
@click.option(
    "--lower", multiple=True, metavar="METRIC", hidden=True, help="The old name of --minimize."
)
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    help="Output format. Default: text.",
)
@options.as_json
@options.workspace
def command(
    workspace: Workspace,
    runs: tuple[str, ...],
    baseline: str | None,
    maximize: tuple[str, ...],
    minimize: tuple[str, ...],
    higher: tuple[str, ...],
    lower: tuple[str, ...],
    form: str | None,
    as_json: bool,
) -> None:
    """Show only what differs between runs.

    RUN is an id, the beginning of an id, or a name. Without RUN, kfgcp compares the two newest
    runs.

    The first run is the baseline: kfgcp compares every other run with it. For a comment in a pull
    request, use --format markdown.
    """
    if as_json and form not in (None, "json"):
        raise UsageError(f"--json and --format {form} exclude each other. Use one of them.")
    goals = _read_goals(maximize + higher, minimize + lower)
    comparison = workspace.compare(runs, baseline=baseline, goals=goals)
    if as_json or form == "json":
        output.print_json(comparison.to_dict())
    elif form == "markdown":
        click.echo(comparison.to_markdown(), nl=False)
    elif form == "html":
        click.echo(comparison.to_html(), nl=False)
    elif not comparison.differences:
        click.echo(report.NOTHING)
    else:
        _print_comparison(comparison)


def _read_goals(maximize: tuple[str, ...], minimize: tuple[str, ...]) -> dict[str, Direction]:
    """Return the better direction of each metric that an option names.

    Raises:
        UsageError: a metric stands in both options.
    """
    for metric in maximize:
        if metric in minimize:
            raise UsageError(
                f"The metric '{metric}' cannot be both maximized and minimized.",
                hint="Give each metric to --maximize or to --minimize, not to both.",
            )
    goals = dict.fromkeys(maximize, Direction.MAXIMIZE)
    goals.update(dict.fromkeys(minimize, Direction.MINIMIZE))
    return goals


def _print_comparison(comparison: Comparison) -> None:
    for number, columns in enumerate(_column_blocks(comparison)):
        if number > 0:
            click.echo()
        _print_block(comparison, columns)
    for change in comparison.versions:
        click.echo()
        title = report.version_title(comparison, change)
        click.echo(click.style(title, bold=True), color=output.color())
        for line in report.version_lines(change):
            click.echo(f"  {line}")


def _column_blocks(comparison: Comparison) -> Iterator[Sequence[int]]:
    """Yield blocks: the indexes of the runs that are shown beside each other.

    Each block begins with the baseline, and has as many runs as fit into the width of the terminal.
    A pipe or file gets one block with all runs.
    """
    baseline = [0]
    others = list(range(1, len(comparison.runs)))
    block_size = len(others)
    if sys.stdout.isatty():
        name_width = max(len(difference.name) for difference in comparison.differences)
        free_width = output.console().width - name_width - _NAME_PADDING
        # The baseline takes one of the columns.
        block_size = max(free_width // _MIN_COLUMN_WIDTH - 1, 1)
    for start in range(0, len(others), block_size):
        yield baseline + others[start : start + block_size]


def _print_block(comparison: Comparison, columns: Sequence[int]) -> None:
    """Print the differences between some of the runs as a table with a heading for each group."""
    headers = [""]
    headers.extend(comparison.runs[column].run_id for column in columns)
    rows: list[list[str | Text]] = []
    groups = groupby(comparison.differences, key=lambda difference: difference.group)
    for group, differences in groups:
        if rows:
            rows.append([])
        rows.append([_heading(group)])
        for difference in differences:
            cells = report.cells(difference)
            row: list[str | Text] = [f"  {difference.name}"]
            row.extend(str(cells[column]) for column in columns)
            rows.append(row)
    output.print_table(output.table(headers, rows))


def _heading(text: str) -> Text:
    from rich.text import Text

    return Text(text, style="bold")
