"""List runs of all environments, newest first."""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Final, Unpack

import click

from kfgcp.cli import options, output
from kfgcp.model import Run
from kfgcp.store.queries import NEWEST_FIRST
from kfgcp.workspace import Workspace

DAY: Final = 86400
HOUR: Final = 3600
MINUTE: Final = 60

_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")

# What follows the name of the pipeline in the name of a run that was submitted without a name:
# by kfgcp for Kubeflow Pipelines, by kfgcp on this machine, by the client of Kubeflow Pipelines.
_GENERATED_ENDING: Final = re.compile(
    r"""(?:[- ](?:
        [0-9a-f]{12}
        | [0-9]{8}-[0-9]{6}
        | [0-9]{4}-[0-9]{2}-[0-9]{2}[ ][0-9]{2}-[0-9]{2}-[0-9]{2}
    ))?""",
    re.VERBOSE,
)

# The columns that are cut off where the terminal is too narrow. Ids must be whole to be copied, and
# the other columns are short.
_SHORTENED: Final = ("NAME", "PIPELINE", "EXPERIMENT", "ENV", "METRICS", "TAGS")

# The least characters of such a column. With fewer, names look alike.
_MIN_WIDTH: Final = 8

# The columns that are left out when even that does not fit, the first one first.
_LEAVE_OUT: Final = ("METRICS", "EXPERIMENT", "ENV", "TAGS", "TOOK", "NAME")

# The columns that are left out when no run has such a thing.
_ONLY_WHEN_USED: Final = ("NAME", "TAGS")

# The blanks between two columns, see `output.table`.
_GAP: Final = 2

# More metrics do not fit into a line.
_MAX_METRICS: Final = 3

# The cells of each column by its header. A state is a text, too.
Columns = dict[str, list[str]]


@click.command(epilog="Example: kfgcp list --pipeline train-classifier --state FAILED --since 7d")
@options.filters
@click.option(
    "--order",
    default=NEWEST_FIRST,
    metavar="NAME [desc]",
    help="Sort by params.lr or another name of --where.",
)
@click.option(
    "--limit",
    default=20,
    show_default=True,
    type=click.IntRange(min=1),
    help="The largest number of runs.",
)
@click.option(
    "--refresh/--no-refresh",
    default=True,
    help="Ask remote backends for changes (the default), or not.",
)
@click.option(
    "--metrics",
    is_flag=True,
    help="Read missing metrics from the server: on Kubeflow, several requests for each run.",
)
@options.as_json
@options.workspace
def command(
    workspace: Workspace,
    /,
    order: str,
    limit: int,
    refresh: bool,
    metrics: bool,
    as_json: bool,
    **filters: Unpack[options.FilterOptions],
) -> None:
    """List runs of all environments, newest first.

    --where takes comparisons of params.NAME, metrics.TASK.NAME, labels.NAME, state, created_at,
    duration, tags, note and other columns. Join them with and, or, not: 'params.lr < 0.1 and
    metrics.evaluate.accuracy > 0.9'. Put texts of several words in quotes. ~ means "contains".

    Kubeflow needs one request for a list, and another one for a new experiment. Metrics that were
    not read yet are shown as `…`, in JSON as null. --metrics reads those of the listed runs; show
    and compare read those of single runs.

    The column NAME shows the names that were given to runs (`kfgcp run --name`). It is left out
    when no run has one.

    In a narrow terminal, ids of Kubeflow are shown by their first 8 characters, and some columns
    are left out.
    """
    runs = workspace.list(
        options.run_filter(**filters), limit=limit, refresh=refresh, metrics=metrics, order=order
    )
    unread = workspace.unread(runs)
    env = filters.get("env")
    if not runs and env:
        # The list of a mistyped environment is empty too. This raises the error for it.
        workspace.project.env(env)
    if as_json:
        _print_json(runs, unread)
    elif runs:
        _print_table(runs, unread)
        if unread and not metrics:
            output.hint("kfgcp list --metrics   (… stands for metrics that were not read yet)")
    else:
        click.echo("No runs." if any(filters.values()) else "No runs yet.", err=True)
        output.hint("kfgcp run PIPELINE")


def _print_json(runs: Sequence[Run], unread: Collection[str]) -> None:
    summaries = []
    for run in runs:
        summary = run.summary()
        if run.run_id in unread:
            summary["metrics"] = None
        summaries.append(summary)
    output.print_json(summaries)


def _print_table(runs: Sequence[Run], unread: Collection[str]) -> None:
    columns = _fit_columns(_make_columns(runs, unread), output.console().width)
    headers = list(columns)
    right = [headers.index("TOOK")] if "TOOK" in headers else []
    short = [number for number, header in enumerate(headers) if header in _SHORTENED]
    rows = zip(*columns.values(), strict=True)
    output.print_table(output.table(headers, rows, right=right, short=short))


def _make_columns(runs: Sequence[Run], unread: Collection[str]) -> Columns:
    """Return the cells of each column by its header."""
    now = time.time()
    columns: Columns = {}
    for run in runs:
        cells = {
            "RUN": run.run_id,
            "STATE": run.state,
            "NAME": _given_name(run),
            "PIPELINE": run.pipeline,
            "EXPERIMENT": run.experiment,
            "ENV": run.env,
            "CREATED": ago(run.created_at, now),
            "TOOK": output.seconds(run.seconds),
            "METRICS": "…" if run.run_id in unread else _format_metrics(run),
            "TAGS": " ".join(run.tags),
        }
        for header, cell in cells.items():
            columns.setdefault(header, []).append(cell)
    for header in _ONLY_WHEN_USED:
        if not any(columns[header]):
            del columns[header]
    return columns


def _given_name(run: Run) -> str:
    """Return the name that somebody gave a run.

    It is "" when the name of the run was made from its id or its pipeline.
    """
    if run.name == run.run_id:
        return ""
    ending = run.name.removeprefix(run.pipeline)
    if run.name.startswith(run.pipeline) and _GENERATED_ENDING.fullmatch(ending):
        return ""
    return run.name


def _fit_columns(columns: Columns, width: int) -> Columns:
    """Return the columns that can be read in a terminal.

    Ids of Kubeflow are shortened first, then some of the columns are left out.

    Args:
        columns: all columns.
        width: the width of the terminal in characters.
    """
    if _least_width(columns) > width:
        columns = columns | {"RUN": _shorten_ids(columns["RUN"])}
    for left_out in _LEAVE_OUT:
        if _least_width(columns) <= width:
            break
        columns = {header: cells for header, cells in columns.items() if header != left_out}
    return columns


def _least_width(columns: Columns) -> int:
    """Return how many characters a table needs when its columns are as narrow as they can be."""
    from rich.cells import cell_len

    width = _GAP * (len(columns) - 1)
    for header, cells in columns.items():
        column_width = cell_len(header)
        for cell in cells:
            column_width = max(column_width, cell_len(output.plain(cell)))
        if header in _SHORTENED:
            column_width = min(column_width, _MIN_WIDTH)
        width += column_width
    return width


def _shorten_ids(run_ids: list[str]) -> list[str]:
    """Return the first part of ids that are UUIDs, which names a run too.

    All ids stay as they are when two of them begin the same.
    """
    short_ids = []
    for run_id in run_ids:
        is_uuid = _UUID.fullmatch(run_id) is not None
        short_ids.append(run_id.partition("-")[0] if is_uuid else run_id)
    is_unique = len(set(short_ids)) == len(set(run_ids))
    return short_ids if is_unique else run_ids


def ago(created_at: str | None, now: float) -> str:
    """Return how long ago a time was, in the largest unit that fits.

    Args:
        created_at: RFC 3339 text; None gives "".
        now: Unix time in seconds.

    Example:
        >>> ago("1970-01-01T00:00:00Z", now=200.0)
        '3 min ago'
    """
    if created_at is None:
        return ""
    age = max(now - datetime.fromisoformat(created_at).timestamp(), 0)
    for unit, name in ((DAY, "d"), (HOUR, "h"), (MINUTE, "min")):
        if age >= unit:
            return f"{int(age // unit)} {name} ago"
    return f"{int(age)} s ago"


def _format_metrics(run: Run) -> str:
    """Return the first metrics of a run in one line."""
    pairs = [
        f"{metric.name}={output.number(metric.value)}" for metric in run.metrics[:_MAX_METRICS]
    ]
    if len(run.metrics) > _MAX_METRICS:
        pairs.append("…")
    return " ".join(pairs)
