"""Write runs as CSV, JSON or Parquet."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final, Unpack

import click

from kfgcp.cli import options
from kfgcp.errors import UsageError
from kfgcp.tracking.table import FORMATS
from kfgcp.workspace import Workspace

if TYPE_CHECKING:
    from kfgcp.tracking.frames import Table

TABLES: Final = ("runs", "metrics", "tasks", "artifacts")


@click.command(epilog="Example: kfgcp export --pipeline train-classifier -o runs.parquet")
@click.argument("runs", nargs=-1, metavar="[RUN...]")
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    help="The output format. Default: as in the ending of the file name, or csv without -o.",
)
@click.option(
    "-o",
    "--output",
    "file",
    type=click.Path(path_type=Path),
    help="Write to the file PATH instead of standard output.",
)
@click.option(
    "--table",
    type=click.Choice(TABLES),
    default="runs",
    show_default=True,
    help="Write one row for each run, metric, task or artifact.",
)
@click.option(
    "--raw",
    is_flag=True,
    help="In CSV, write all texts unchanged. By default, a ' stands before each text that a"
    " spreadsheet would read as a formula.",
)
@options.filters
@options.workspace
def command(
    workspace: Workspace,
    /,
    runs: tuple[str, ...],
    form: str | None,
    file: Path | None,
    table: Table,
    raw: bool,
    **filters: Unpack[options.FilterOptions],
) -> None:
    """Write runs as CSV, JSON or Parquet.

    Writes the named runs. Without RUN, writes all runs that match the options, oldest first.

    A row of CSV or Parquet is a run, with columns params.* and metrics.<task>.<name>. JSON has the
    whole runs with their tasks. With --table metrics, tasks or artifacts, every format has a row
    for each metric, task or artifact of the runs.
    """
    text = workspace.export(
        runs,
        form=form or _format_of_file(file),
        file=file,
        wanted=options.run_filter(**filters),
        table=table,
        raw=raw,
    )
    if file is None:
        click.echo(text, nl=False)
    else:
        click.echo(f"written to {file}", err=True)


def _format_of_file(file: Path | None) -> str:
    """Return the format that belongs to the ending of a file; csv for standard output.

    Raises:
        UsageError: the ending belongs to no format.
    """
    if file is None:
        return "csv"
    ending = file.suffix.removeprefix(".").lower()
    if ending not in FORMATS:
        raise UsageError(
            f"{file} does not end in .csv, .json or .parquet.",
            hint="Choose the format with --format, for example --format csv",
        )
    return ending
