"""`kfgcp list`."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any

import click

from kfgcp.cli import options, output
from kfgcp.model import Run
from kfgcp.store.queries import NEWEST_FIRST
from kfgcp.workspace import Workspace

DAY, HOUR, MINUTE = 86400, 3600, 60


@click.command(epilog="Example: kfgcp list --pipeline train-classifier --state FAILED --since 7d")
@options.filters
@click.option("--order", default=NEWEST_FIRST, metavar="NAME [desc]", help="By params.lr or another name of --where.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(min=1), help="At most so many.")
@click.option("--refresh/--no-refresh", default=True, help="Whether to ask remote backends what has changed.")
@click.option("--metrics", is_flag=True, help="Read metrics that were never read: several requests a run (kubeflow).")
@options.as_json
@options.workspace
def command(
    workspace: Workspace, /, order: str, limit: int, refresh: bool, metrics: bool, as_json: bool, **chosen: Any
) -> None:
    """List runs of all environments, newest first.

    --where takes comparisons of params.NAME, metrics.TASK.NAME, labels.NAME, state, created_at, duration, tags, note
    and other columns, joined by and, or, not: 'params.lr < 0.1 and metrics.evaluate.accuracy > 0.9'. Values that are
    texts of several words stand in quotes; ~ is contains.

    Of Kubeflow the runs are had by one request, and the names of experiments by a second one when a new one is among
    them. Metrics that were not read yet are shown as `…`, in JSON as null: --metrics reads those of the runs listed,
    show and compare those of single runs.
    """
    runs = workspace.list(options.run_filter(**chosen), limit=limit, refresh=refresh, metrics=metrics, order=order)
    unread = workspace.unread(runs)
    if not runs and chosen["env"]:
        workspace.project.env(chosen["env"])  # a mistyped name has no runs either
    if as_json:
        output.print_json([run.summary() | ({"metrics": None} if run.run_id in unread else {}) for run in runs])
        return
    if not runs:
        click.echo("No runs." if any(chosen.values()) else "No runs yet.", err=True)
        output.hint("kfgcp run PIPELINE")
        return
    now = time.time()
    tagged = any(run.tags for run in runs)
    rows = [
        (
            run.run_id,
            run.state,
            run.pipeline,
            run.experiment,
            run.env,
            ago(run.created_at, now),
            _took(run),
            "…" if run.run_id in unread else _metric(run),
            *([" ".join(run.tags)] if tagged else ()),
        )
        for run in runs
    ]
    headers = (
        "RUN",
        "STATE",
        "PIPELINE",
        "EXPERIMENT",
        "ENV",
        "CREATED",
        "TOOK",
        "METRICS",
        *(["TAGS"] if tagged else ()),
    )
    output.print_table(output.table(headers, rows, right=[6], short=[2, 3, 4, 7, 8]))
    if unread and not metrics:
        output.hint("kfgcp list --metrics   (… stands for metrics that were not read yet)")


def ago(created_at: str | None, now: float) -> str:
    """How long ago, in the largest unit: `3 min ago`."""
    if created_at is None:
        return ""
    passed = max(now - datetime.fromisoformat(created_at).timestamp(), 0)
    for unit, name in ((DAY, "d"), (HOUR, "h"), (MINUTE, "min")):
        if passed >= unit:
            return f"{int(passed // unit)} {name} ago"
    return f"{int(passed)} s ago"


def _took(run: Run) -> str:
    return output.seconds(run.seconds)


def _metric(run: Run) -> str:
    """The first metrics, as many as a glance takes in."""
    shown = [f"{metric.name}={output.number(metric.value)}" for metric in run.metrics[:3]]
    return " ".join(shown) + (" …" if len(run.metrics) > 3 else "")
