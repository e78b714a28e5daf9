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

# A run that was submitted without a name gets the name of its pipeline and one of these endings:
# from kfgcp for Kubeflow Pipelines, from kfgcp on this machine, from the client of Kubeflow
# Pipelines.
_GENERATED_ENDING: Final = re.compile(
    r"""(?:[- ](?:
        [0-9a-f]{12}
        | [0-9]{8}-[0-9]{6}
        | [0-9]{4}-[0-9]{2}-[0-9]{2}[ ][0-9]{2}-[0-9]{2}-[0-9]{2}
    ))?""",
    re.VERBOSE,
)

# The columns whose texts are cut off where the terminal is too narrow. Ids must be whole to be
# copied, and the other columns are short.
_SHORTENED: Final = ("NAME", "PIPELINE", "EXPERIMENT", "ENV", "METRICS", "TAGS")

# The smallest width in characters of a shortened column. In a narrower column, names look alike.
_MIN_WIDTH: Final = 8

# The columns that are left out, in this order, when the shortened columns do not fit either.
_LEAVE_OUT: Final = ("METRICS", "EXPERIMENT", "ENV", "TAGS", "TOOK", "NAME")

# The columns that are left out when they are empty for all runs.
_ONLY_WHEN_USED: Final = ("NAME", "TAGS")

# The number of spaces between two columns, see `output.table`.
_GAP: Final = 2

# The most metrics in the cell of a run. More do not fit into a line.
_MAX_METRICS: Final = 3

# Header -> the cells of the column. A state is a text too.
Columns = dict[str, list[str]]


@click.command(epilog="Example: kfgcp list --pipeline train-classifier --state FAILED --since 7d")
@options.filters
@click.option(
    "--order",
    default=NEWEST_FIRST,
    metavar="NAME [desc]",
    help="Sort by a column, such as params.lr (see --where); desc: largest first.",
)
@click.option(
    "--limit",
    default=20,
    show_default=True,
    type=click.IntRange(min=1),
    help="List at most this many runs.",
)
@click.option(
    "--refresh/--no-refresh",
    default=True,
    help="Ask remote backends for changes, or show only recorded runs. Default: ask.",
)
@click.option(
    "--metrics",
    is_flag=True,
    help="Also read the metrics of new runs. On Kubeflow, this needs several requests for each"
    " run.",
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

    --where compares params.NAME, metrics.TASK.NAME, labels.NAME, state, created_at, duration, tags,
    note and other columns with values. Join comparisons with and, or, not: 'params.lr < 0.1 and
    metrics.evaluate.accuracy > 0.9'. Put a text of several words in quotes. ~ means "contains".

    To be fast, the list does not read the metrics of new Kubeflow runs, and shows `…` instead (null
    in JSON). To read these metrics, use --metrics, `kfgcp show` or `kfgcp compare`.

    The column NAME shows the names from `kfgcp run --name`. If no run has a name, the list has no
    such column.

    In a narrow terminal, the list shows only the first 8 characters of the ids of Kubeflow runs,
    and leaves out some columns."""
    runs = workspace.list(
        options.run_filter(**filters), limit=limit, refresh=refresh, metrics=metrics, order=order
    )
    unread = workspace.unread(runs)
    env = filters.get("env")
    if not runs and env:
        # A mistyped environment has no runs either. This line raises its error.
        workspace.project.env(env)
    if as_json:
        _print_json(runs, unread)
    elif runs:
        _print_table(runs, unread)
        if unread and not metrics:
            output.hint("kfgcp list --metrics   (… means that kfgcp has not read the metrics yet)")
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
    """Return the columns of the table, without those that are empty for all runs.

    Args:
        runs: the runs, one for each row.
        unread: the ids of runs whose metrics were not read yet.
    """
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
    """Return the name that somebody gave a run, "" when its name was generated.

    A generated name is the id of the run, or its pipeline with one of the known endings.
    """
    if run.name == run.run_id:
        return ""
    ending = run.name.removeprefix(run.pipeline)
    if run.name.startswith(run.pipeline) and _GENERATED_ENDING.fullmatch(ending):
        return ""
    return run.name


def _fit_columns(columns: Columns, width: int) -> Columns:
    """Return the columns that fit into the width of a terminal.

    Ids of Kubeflow are shortened first. Then columns are left out, see `_LEAVE_OUT`.

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
    """Return the smallest width of a table in characters, with all columns as narrow as allowed."""
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
    """Shorten ids that are UUIDs to their first part, by which kfgcp finds a run too.

    Return the ids unchanged when two of them have the same first part.
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
    shown_metrics = [
        f"{metric.name}={output.number(metric.value)}" for metric in run.metrics[:_MAX_METRICS]
    ]
    if len(run.metrics) > _MAX_METRICS:
        shown_metrics.append("…")
    return " ".join(shown_metrics)
