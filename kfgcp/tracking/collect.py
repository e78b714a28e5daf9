"""Collect the runs for lists, frames, comparisons and exports.

pandas and the modules for frames and comparisons are imported inside functions, so that `kfgcp
list`, which needs none of them, starts quickly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kfgcp.backends.registry import runs_here
from kfgcp.errors import UsageError
from kfgcp.model import Direction, Run
from kfgcp.query import RunFilter
from kfgcp.store.queries import NEWEST_FIRST
from kfgcp.tracking import lookup
from kfgcp.tracking.choose import Choice, choose
from kfgcp.tracking.lookup import RunLike
from kfgcp.tracking.open_project import OpenProject

if TYPE_CHECKING:
    import pandas

    from kfgcp.tracking.compare import Comparison
    from kfgcp.tracking.frames import Table


def build_filter(where: RunFilter | str | None, limit: int | None, choice: Choice) -> RunFilter:
    """Return the filter for the options of `list`, `runs`, `metrics`, `tasks` and `artifacts`.

    Raises:
        UsageError: an option does not exist or has a wrong value.
    """
    is_number = isinstance(limit, int) and not isinstance(limit, bool)
    if limit is not None and (not is_number or limit < 1):
        raise UsageError(f"The option `limit` must be a whole number of 1 or more, not {limit!r}.")
    if not isinstance(where, RunFilter):
        return choose(where, **choice)
    if choice:
        raise UsageError(
            f"The option `{next(iter(choice))}` cannot be given together with a filter."
        )
    return where


def list_runs(
    workspace: OpenProject,
    run_filter: RunFilter,
    limit: int | None = None,
    *,
    refresh: bool = True,
    metrics: bool = True,
    order: str = NEWEST_FIRST,
) -> list[Run]:
    """Return the runs that match, see `kfgcp.Workspace.list`."""
    newest = limit if order == NEWEST_FIRST else None
    store = lookup.refreshed_store(workspace, run_filter, newest, refresh=refresh, metrics=metrics)
    return [] if store is None else store.page(run_filter, order, limit)


def unread_runs(workspace: OpenProject, runs: Sequence[Run]) -> set[str]:
    """Return the ids of the ended runs whose metrics and outputs were not read yet."""
    unread = set()
    for run in runs:
        # Local runs are recorded completely by their engines.
        if not run.state.final or runs_here(run.backend):
            continue
        if workspace.store.read_level(run.run_id).is_incomplete:
            unread.add(run.run_id)
    return unread


def frame(
    workspace: OpenProject, table: Table, run_filter: RunFilter, limit: int | None, *, refresh: bool
) -> pandas.DataFrame:
    """Return a table of the runs that match as a frame."""
    from kfgcp.tracking import frames

    store = lookup.refreshed_store(workspace, run_filter, limit, refresh=refresh)
    return frames.frame(frames.table(store, table, run_filter, limit=limit))


def compare_runs(
    workspace: OpenProject,
    runs: Sequence[RunLike],
    baseline: RunLike | None,
    goals: Mapping[str, str],
) -> Comparison:
    """Return what differs between runs, see `kfgcp.Workspace.compare`."""
    from kfgcp.backends.registry import rounding_backends
    from kfgcp.spec.validate import is_valid
    from kfgcp.tracking.compare import compare

    run_likes = list(runs)
    if not run_likes:
        # The older of the two newest runs is the baseline.
        run_likes.extend(reversed(list_runs(workspace, RunFilter(), limit=2, metrics=False)))
    if baseline is not None:
        run_likes.insert(0, baseline)
    if len(run_likes) < 2:
        raise UsageError(
            "A comparison needs two runs.",
            hint="Choose two runs: kfgcp compare RUN RUN. To see all runs: kfgcp list",
        )
    # A run that is named twice, also as the baseline, is compared once, at its first place.
    runs_by_id: dict[str, Run] = {}
    specs = {}
    for run_like in run_likes:
        run = read_whole_run(workspace, run_like)
        runs_by_id.setdefault(run.run_id, run)
        spec = lookup.workspace_of(workspace, run_like).store.spec(run.version)
        if spec is not None and is_valid(spec):
            specs[run.version] = spec
    whole_runs = list(runs_by_id.values())
    # The goals of the caller have priority over those of kfgcp.toml.
    all_goals = {**workspace.project.metrics, **_parse_goals(goals, whole_runs)}
    rounding = rounding_backends(run.backend for run in whole_runs)
    return compare(whole_runs, specs=specs, goals=all_goals, rounding_backends=rounding)


def _parse_goals(goals: Mapping[str, str], runs: Sequence[Run]) -> dict[str, Direction]:
    """Return the better direction of each metric that a caller named.

    Raises:
        UsageError: none of the runs has the metric, or the word is not a direction.
    """
    names = {metric.name for run in runs for metric in run.metrics}
    keys = {metric.key for run in runs for metric in run.metrics}
    directions = {}
    for name, word in goals.items():
        if name not in names and name not in keys:
            raise UsageError(
                f"None of the runs has a metric '{name}'.",
                hint=f"The metrics of the runs: {', '.join(sorted(names)) or 'none'}.",
            )
        direction = Direction.of(word)
        if direction is None:
            raise UsageError(
                f'The goal of \'{name}\' must be "maximize" or "minimize", not "{word}".'
            )
        directions[name] = direction
    return directions


def export_runs(
    workspace: OpenProject,
    runs: Sequence[RunLike],
    run_filter: RunFilter | None,
    *,
    form: str,
    file: Path | None,
    table: Table,
    raw: bool,
) -> str:
    """Write runs as text or to a file, see `kfgcp.Workspace.export`."""
    from kfgcp.tracking import frames
    from kfgcp.tracking.table import export, export_table

    named_runs = [_read_run(workspace, run) for run in runs]
    if form == "json" and table == "runs":
        # The JSON of a run has its tasks. Files have the oldest run first.
        chosen = named_runs or reversed(list_runs(workspace, run_filter or RunFilter()))
        return export([read_whole_run(workspace, run) for run in chosen], form, file)
    if named_runs and table == "runs":
        return export(named_runs, form, file, raw=raw)
    if named_runs:
        run_filter = RunFilter(ids=[run.run_id for run in named_runs])
        workspace = lookup.workspace_of(workspace, runs[0])
    run_filter = run_filter or RunFilter()
    store = lookup.refreshed_store(workspace, run_filter, refresh=not named_runs)
    columns = frames.table(store, table, run_filter, order="created_at")
    return export_table(columns, form, file, raw=raw)


def read_whole_run(workspace: OpenProject, run: RunLike) -> Run:
    """Return a run with its tasks. A `Run` that has tasks is returned without a request."""
    if isinstance(run, Run) and run.tasks:
        return run
    return lookup.show(workspace, run).snapshot


def _read_run(workspace: OpenProject, run: RunLike) -> Run:
    """Return a run, perhaps without its tasks. A `Run` is returned without a request."""
    return run if isinstance(run, Run) else lookup.show(workspace, run).snapshot
