"""`kfgcp compare`."""

from __future__ import annotations

from typing import Any

import click

from kfgcp import api
from kfgcp.cli import options, output
from kfgcp.tracking.compare import MISSING, Difference


@click.command(epilog="Example: kfgcp compare a1b2 c3d4")
@click.argument("runs", nargs=-1, metavar="[RUN RUN...]")
@options.as_json
def command(runs: tuple[str, ...], as_json: bool) -> None:
    """Show what differs between runs, and only that; the two newest when none are named.

    The first run is the baseline that the others are measured against.
    """
    comparison = api.compare(runs)
    if as_json:
        output.print_json(comparison.to_dict())
        return
    if not comparison.differences:
        click.echo("Nothing differs.")
        return
    headers = ["", *(run.run_id for run in comparison.runs)]
    rows: list[list[Any]] = []
    group = ""
    for difference in comparison.differences:
        if difference.group != group:
            group = difference.group
            rows += [[]] * bool(rows) + [[_heading(group)]]
        rows.append([f"  {difference.name}", *_cells(difference)])
    output.print_table(output.table(headers, rows))


def _heading(text: str) -> Any:
    from rich.text import Text

    return Text(text, style="bold")


def _cells(difference: Difference) -> list[str]:
    cells: list[str] = []
    for value, delta in zip(difference.values, difference.deltas, strict=True):
        text = _text(difference, value)
        first = not cells
        cells.append(text if first or not delta else f"{text}  ({_signed(difference, delta)})")
    return cells


def _text(difference: Difference, value: Any) -> str:
    if value is MISSING:
        return MISSING
    if difference.group == "durations":
        return output.seconds(value)
    if difference.name == "version":
        return str(value)[: len("sha256:") + 12]
    return output.value_text(value)


def _signed(difference: Difference, delta: float) -> str:
    if difference.group == "durations":
        return f"{delta:+.2f} s"
    return f"{delta:+.6g}" if isinstance(delta, float) else f"{delta:+d}"
