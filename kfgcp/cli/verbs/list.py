"""List runs of all environments, newest first."""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

import click

from kfgcp.cli import options, output
from kfgcp.model import Run
from kfgcp.store.queries import NEWEST_FIRST
from kfgcp.workspace import Workspace

DAY, HOUR, MINUTE = 86400, 3600, 60
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_GENERATED_ENDING = re.compile(
    r"""(?:[- ](?:
        [0-9a-f]{12}                                               # kfgcp, for Kubeflow Pipelines
        | [0-9]{8}-[0-9]{6}                                        # kfgcp, on this machine
        | [0-9]{4}-[0-9]{2}-[0-9]{2}[ ][0-9]{2}-[0-9]{2}-[0-9]{2}  # the client of Kubeflow Pipelines
    ))?""",
    re.VERBOSE,
)
"""What follows the name of the pipeline in the name of a run that was submitted without a name."""
_CUT = ("NAME", "PIPELINE", "EXPERIMENT", "ENV", "METRICS", "TAGS")
"""Columns that are cut off where the terminal is too narrow."""
_LEAST = 8
"""Characters of such a column; fewer say too little."""
_LEFT_OUT = ("METRICS", "EXPERIMENT", "ENV", "TAGS", "TOOK", "NAME")
"""Columns that are left out when even that does not fit, in this order."""
_GAP = 2

Columns = dict[str, list[Any]]


@click.command(epilog="Example: kfgcp list --pipeline train-classifier --state FAILED --since 7d")
@options.filters
@click.option(
    "--order",
    default=NEWEST_FIRST,
    metavar="NAME [desc]",
    help="By params.lr or another name of --where.",
)
@click.option(
    "--limit",
    default=20,
    show_default=True,
    type=click.IntRange(min=1),
    help="The largest number of runs.",
)
@click.option(
    "--refresh/--no-refresh", default=True, help="Whether to ask remote backends what has changed."
)
@click.option(
    "--metrics",
    is_flag=True,
    help="Read metrics that were never read: several requests a run (kubeflow).",
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
    **chosen: Any,
) -> None:
    """List runs of all environments, newest first.

    --where takes comparisons of params.NAME, metrics.TASK.NAME, labels.NAME, state, created_at,
    duration, tags, note and other columns, joined by and, or, not: 'params.lr < 0.1 and
    metrics.evaluate.accuracy > 0.9'. Values that are texts of several words stand in quotes; ~ is
    contains.

    Runs on Kubeflow take one request, and a second one when there is a new experiment among them.
    Metrics that were not read yet are shown as `…`, in JSON as null. --metrics reads those of the
    runs listed; show and compare read those of single runs.

    The column NAME shows the names that runs were given (`kfgcp run --name`). It is left out when
    no run has one.

    In a narrow terminal, ids of Kubeflow are shown by their first 8 characters, and some columns
    are left out.
    """
    runs = workspace.list(
        options.run_filter(**chosen), limit=limit, refresh=refresh, metrics=metrics, order=order
    )
    unread = workspace.unread(runs)
    if not runs and chosen["env"]:
        workspace.project.env(chosen["env"])  # a mistyped name has no runs either
    if as_json:
        output.print_json(
            [run.summary() | ({"metrics": None} if run.run_id in unread else {}) for run in runs]
        )
        return
    if not runs:
        click.echo("No runs." if any(chosen.values()) else "No runs yet.", err=True)
        output.hint("kfgcp run PIPELINE")
        return
    columns = _fitting(_columns(runs, unread), output.console().width)
    at = {header: number for number, header in enumerate(columns)}
    right = [at[header] for header in ("TOOK",) if header in at]
    short = [at[header] for header in _CUT if header in at]
    rows = zip(*columns.values(), strict=True)
    output.print_table(output.table(list(columns), rows, right=right, short=short))
    if unread and not metrics:
        output.hint("kfgcp list --metrics   (… stands for metrics that were not read yet)")


def _columns(runs: Sequence[Run], unread: Collection[str]) -> Columns:
    """Return the cells of each column by its header."""
    now = time.time()
    names = [_given_name(run) for run in runs]
    columns: Columns = {
        "RUN": [run.run_id for run in runs],
        "STATE": [run.state for run in runs],
        "NAME": names,
        "PIPELINE": [run.pipeline for run in runs],
        "EXPERIMENT": [run.experiment for run in runs],
        "ENV": [run.env for run in runs],
        "CREATED": [ago(run.created_at, now) for run in runs],
        "TOOK": [output.seconds(run.seconds) for run in runs],
        "METRICS": ["…" if run.run_id in unread else _metric(run) for run in runs],
    }
    if not any(names):
        del columns["NAME"]
    if any(run.tags for run in runs):
        columns["TAGS"] = [" ".join(run.tags) for run in runs]
    return columns


def _given_name(run: Run) -> str:
    """Return the name that somebody gave a run; "" when its name was made from its id or its
    pipeline."""
    if run.name == run.run_id:
        return ""
    if run.name.startswith(run.pipeline) and _GENERATED_ENDING.fullmatch(
        run.name.removeprefix(run.pipeline)
    ):
        return ""
    return run.name


def _fitting(columns: Columns, width: int) -> Columns:
    """Return what can be read in a terminal: ids of Kubeflow by their beginnings, then without some
    of the columns.

    Args:
        columns: all of them.
        width: of the terminal.
    """
    if _least_width(columns) > width:
        columns = columns | {"RUN": _beginnings(columns["RUN"])}
    for header in _LEFT_OUT:
        if _least_width(columns) <= width:
            break
        columns = {name: cells for name, cells in columns.items() if name != header}
    return columns


def _least_width(columns: Columns) -> int:
    from rich.cells import cell_len

    width = _GAP * (len(columns) - 1)
    for header, cells in columns.items():
        widest = max(cell_len(output.plain(str(text))) for text in (header, *cells))
        width += min(widest, _LEAST) if header in _CUT else widest
    return width


def _beginnings(run_ids: list[str]) -> list[str]:
    """Return the first part of UUIDs, which names a run as well; all ids as they are when two begin
    the same."""
    beginnings = [
        run_id.partition("-")[0] if _UUID.fullmatch(run_id) else run_id for run_id in run_ids
    ]
    return beginnings if len(set(beginnings)) == len(set(run_ids)) else run_ids


def ago(created_at: str | None, now: float) -> str:
    """How long ago, in the largest unit: `3 min ago`."""
    if created_at is None:
        return ""
    passed = max(now - datetime.fromisoformat(created_at).timestamp(), 0)
    for unit, name in ((DAY, "d"), (HOUR, "h"), (MINUTE, "min")):
        if passed >= unit:
            return f"{int(passed // unit)} {name} ago"
    return f"{int(passed)} s ago"


def _metric(run: Run) -> str:
    """The first metrics, as many as a glance takes in."""
    shown = [f"{metric.name}={output.number(metric.value)}" for metric in run.metrics[:3]]
    return " ".join(shown) + (" …" if len(run.metrics) > 3 else "")
