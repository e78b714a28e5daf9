"""Collects many runs: lists, frames, comparisons and exports."""

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
    """Return the filter that the options of `list` and of the frames mean.

    Raises:
        UsageError: an option does not exist or has a wrong value.
    """
    is_number = isinstance(limit, int) and not isinstance(limit, bool)
    if limit is not None and (not is_number or limit < 1):
        raise UsageError(f"The option limit must be a whole number from 1, not {limit!r}.")
    if not isinstance(where, RunFilter):
        return choose(where, **choice)
    if choice:
        raise UsageError(f"The option {next(iter(choice))} cannot be given together with a filter.")
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
    remote = [run.run_id for run in runs if run.state.final and not runs_here(run.backend)]
    return {run_id for run_id in remote if workspace.store.read_level(run_id).is_incomplete}


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

    named = list(runs)
    if not named:
        named.extend(reversed(list_runs(workspace, RunFilter(), limit=2, metrics=False)))
    if baseline is not None:
        named.insert(0, baseline)
    if len(named) < 2:
        raise UsageError(
            "There are not two runs to compare.",
            hint="kfgcp compare RUN RUN...; see them: kfgcp list",
        )
    by_id: dict[str, Run] = {}
    specs = {}
    for run in named:
        whole = whole_run(workspace, run)
        by_id.setdefault(whole.run_id, whole)
        spec = lookup.workspace_of(workspace, run).store.spec(whole.version)
        if spec is not None and is_valid(spec):
            specs[whole.version] = spec
    compared = list(by_id.values())
    all_goals = {**workspace.project.metrics, **_directions(goals, compared)}
    rounding = rounding_backends(run.backend for run in compared)
    return compare(compared, specs=specs, goals=all_goals, rounding_backends=rounding)


def _directions(goals: Mapping[str, str], runs: Sequence[Run]) -> dict[str, Direction]:
    """Return the directions that a caller gave for metrics of the runs."""
    metrics = [metric for run in runs for metric in run.metrics]
    known = {metric.name for metric in metrics} | {metric.key for metric in metrics}
    directions = {}
    for name, word in goals.items():
        if name not in known:
            names = ", ".join(sorted({metric.name for metric in metrics}))
            raise UsageError(
                f"None of the runs has a metric '{name}'.", hint=f"They have: {names or 'none'}."
            )
        direction = Direction.of(word)
        if direction is None:
            raise UsageError(
                f"The goal of '{name}' cannot be '{word}'.", hint="Write maximize or minimize."
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

    named = [run if isinstance(run, Run) else lookup.show(workspace, run).snapshot for run in runs]
    if form == "json" and table == "runs":
        chosen = named or list_runs(workspace, run_filter or RunFilter())[::-1]
        return export([whole_run(workspace, run) for run in chosen], form, file)
    if named and table == "runs":
        return export(named, form, file, raw=raw)
    if named:
        run_filter = RunFilter(ids=[run.run_id for run in named])
        workspace = lookup.workspace_of(workspace, runs[0])
    run_filter = run_filter or RunFilter()
    store = lookup.refreshed_store(workspace, run_filter, refresh=not named)
    return export_table(
        frames.table(store, table, run_filter, order="created_at"), form, file, raw=raw
    )


def whole_run(workspace: OpenProject, run: RunLike) -> Run:
    """Return a run with its tasks. The backend is asked only when the tasks are not there."""
    if isinstance(run, Run) and run.tasks:
        return run
    return lookup.show(workspace, run).snapshot
