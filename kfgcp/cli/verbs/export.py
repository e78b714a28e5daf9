"""Write runs as CSV, JSON or Parquet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from kfgcp.cli import options
from kfgcp.errors import UsageError
from kfgcp.tracking.table import FORMATS
from kfgcp.workspace import Workspace

TABLES = ("runs", "metrics", "tasks", "artifacts")


@click.command(epilog="Example: kfgcp export --pipeline train-classifier -o runs.parquet")
@click.argument("runs", nargs=-1, metavar="[RUN...]")
@click.option("--format", "form", type=click.Choice(FORMATS), help="By the file's ending, or csv.")
@click.option("-o", "--output", "file", type=click.Path(path_type=Path), help="Write to this file.")
@click.option(
    "--table",
    type=click.Choice(TABLES),
    default="runs",
    show_default=True,
    help="A row for each of these.",
)
@click.option(
    "--raw",
    is_flag=True,
    help="In CSV, do not put ' before texts that a spreadsheet takes for formulas.",
)
@options.filters
@options.workspace
def command(
    workspace: Workspace,
    /,
    runs: tuple[str, ...],
    form: str | None,
    file: Path | None,
    table: Any,
    raw: bool,
    **chosen: Any,
) -> None:
    """Write runs as CSV, JSON or Parquet: those named, or all that the options choose; oldest
    first.

    CSV and Parquet hold a row a run with params.* and metrics.<task>.<name> columns; JSON holds
    whole runs. With --table all three hold a row a metric, task or artifact of these runs.
    """
    if form is None:
        ending = file.suffix.removeprefix(".").lower() if file else ""
        if file and ending not in FORMATS:
            raise UsageError(
                f"{file} does not end in .csv, .json or .parquet.",
                hint="Name the format: --format csv",
            )
        form = ending or "csv"
    text = workspace.export(
        runs, form=form, file=file, wanted=options.run_filter(**chosen), table=table, raw=raw
    )
    click.echo(text, nl=False) if file is None else click.echo(f"written to {file}", err=True)
