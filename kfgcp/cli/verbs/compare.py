"""Show what differs between runs."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import click

from kfgcp.cli import options, output
from kfgcp.errors import UsageError
from kfgcp.model import Direction
from kfgcp.tracking import report
from kfgcp.tracking.compare import Comparison
from kfgcp.workspace import Workspace

FORMATS = ("text", "json", "markdown", "html")
_SMALLEST = 24
"""Characters that a run's column has at least on a terminal; what does not fit beside others is
shown below."""


@click.command(epilog="Example: kfgcp compare a1b2 c3d4 --format markdown")
@click.argument("runs", nargs=-1, metavar="[RUN RUN...]")
@click.option(
    "--baseline", metavar="RUN", help="Measure the runs against this one; the first when not given."
)
@click.option(
    "--maximize",
    multiple=True,
    metavar="METRIC",
    help="The greater value of this metric is better.",
)
@click.option(
    "--minimize",
    multiple=True,
    metavar="METRIC",
    help="The smaller value of this metric is better.",
)
@click.option(
    "--higher", multiple=True, metavar="METRIC", hidden=True, help="The old name of --maximize."
)
@click.option(
    "--lower", multiple=True, metavar="METRIC", hidden=True, help="The old name of --minimize."
)
@click.option(
    "--format", "form", type=click.Choice(FORMATS), help="How to print it; text when not given."
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
    """Show what differs between runs, and only that; the two newest when none are named.

    The first run is the baseline that the others are measured against. Markdown is for pull
    requests.
    """
    if as_json and form not in (None, "json"):
        raise UsageError(f"--json and --format {form} exclude each other.")
    maximized = dict.fromkeys((*maximize, *higher), Direction.MAXIMIZE)
    minimized = dict.fromkeys((*minimize, *lower), Direction.MINIMIZE)
    for name in maximized.keys() & minimized.keys():
        raise UsageError(
            f"Either the greater or the smaller value of '{name}' is better, not both."
        )
    goals = {**maximized, **minimized}
    comparison = workspace.compare(runs, baseline=baseline, goals=goals)
    if as_json or form == "json":
        output.print_json(comparison.to_dict())
    elif form in ("markdown", "html"):
        click.echo(
            comparison.to_markdown() if form == "markdown" else comparison.to_html(), nl=False
        )
    elif not comparison.differences:
        click.echo(report.NOTHING)
    else:
        _print(comparison)


def _print(comparison: Comparison) -> None:
    for number, shown in enumerate(_blocks(comparison)):
        if number:
            click.echo()
        headers = ["", *(comparison.runs[at].run_id for at in shown)]
        rows: list[list[Any]] = []
        for group, differences in groupby(comparison.differences, key=lambda each: each.group):
            rows += [[]] * bool(rows) + [[_heading(group)]]
            for each in differences:
                cells = report.cells(each)
                rows.append([f"  {each.name}", *(str(cells[at]) for at in shown)])
        output.print_table(output.table(headers, rows))
    for version in comparison.versions:
        click.echo()
        click.echo(
            click.style(report.version_title(comparison, version), bold=True), color=output.color()
        )
        for line in report.version_lines(version):
            click.echo(f"  {line}")


def _blocks(comparison: Comparison) -> Iterator[Sequence[int]]:
    """Which runs stand beside each other: as many as a terminal is wide enough for, the baseline
    always."""
    others = range(1, len(comparison.runs))
    fit = len(others)
    if sys.stdout.isatty():
        names = max(len(each.name) for each in comparison.differences) + 4
        fit = max((output.console().width - names) // _SMALLEST - 1, 1)
    for start in range(0, len(others), fit):
        yield [0, *others[start : start + fit]]


def _heading(text: str) -> Any:
    from rich.text import Text

    return Text(text, style="bold")
