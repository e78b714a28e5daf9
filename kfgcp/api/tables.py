"""Many runs: lists, frames, comparisons, exports; and what people write about runs."""

from __future__ import annotations

import builtins
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from kfgcp import config
from kfgcp.api.found import RunLike, show
from kfgcp.errors import DiskFull, UsageError
from kfgcp.model import Run
from kfgcp.store.database import note_full
from kfgcp.store.queries import NEWEST_FIRST
from kfgcp.store.rows import LEFT, RunFilter
from kfgcp.store.store import DATABASE_NAME, Store
from kfgcp.tracking import lookup
from kfgcp.tracking.choose import Choice, choose, several
from kfgcp.tracking.handle import RunHandle

if TYPE_CHECKING:
    import pandas

    from kfgcp.tracking.compare import Comparison
    from kfgcp.tracking.frames import Table


def list(
    where: RunFilter | str | None = None,
    *,
    limit: int | None = None,
    refresh: bool = True,
    metrics: bool = True,
    order: str = NEWEST_FIRST,
    **chosen: Unpack[Choice],
) -> builtins.list[Run]:
    """Return runs of all environments, without their tasks and artifacts, whoever started them.

    Args:
        where: an expression; or a filter, which cannot be combined with `chosen`.
        limit: the largest number of runs; None for all.
        refresh: read from remote backends what has changed. A backend that cannot be reached is an error when its
            environment was asked for. Otherwise it is the warning `NotRefreshed`, and its runs are listed as they were
            last seen.
        metrics: read the metrics of ended runs also where this takes several requests for each run, as on Kubeflow.
            `unread` tells for which runs they were not read.
        order: a name as in expressions, and `asc` or `desc`: `metrics.evaluate.accuracy desc`.
        chosen: fields of `Choice`.

    Raises:
        UsageError: the expression or the order cannot be read, or an option does not exist or has a wrong value.

    Example:
        >>> kfgcp.list("metrics.evaluate.accuracy > 0.9", experiment="churn", since="7d", limit=10)
    """
    run_filter = _filter(where, limit, chosen)
    with _store(run_filter, limit if order == NEWEST_FIRST else None, refresh=refresh, metrics=metrics) as store:
        return [] if store is None else store.page(run_filter, order, limit)


def unread(runs: Sequence[Run]) -> set[str]:
    """The ids of those runs that have ended and were only listed, or read in part: their metrics and outputs are not
    known."""
    remote = [run.run_id for run in runs if run.state.final and run.backend != "local"]
    if not remote:
        return set()
    with Store(config.load().home) as store:
        return {run_id for run_id in remote if store.read_of(run_id) in LEFT}


def runs(
    where: RunFilter | str | None = None, *, limit: int | None = None, refresh: bool = True, **chosen: Unpack[Choice]
) -> pandas.DataFrame:
    """Runs as a frame, newest first: a row a run with columns `params.*` and `metrics.<task>.<name>`.

    Args:
        where: an expression, or a filter instead of all else.
        limit: so many at most.
        refresh: as of `list`.
        chosen: fields of `Choice`: `runs(experiment="churn", state="SUCCEEDED", since="7d")`.

    Raises:
        MissingExtra: pandas is not installed.
        UsageError: the expression cannot be read.
    """
    return _frame("runs", where, limit, refresh, chosen)


def metrics(
    where: RunFilter | str | None = None, *, limit: int | None = None, refresh: bool = True, **chosen: Unpack[Choice]
) -> pandas.DataFrame:
    """The metrics of runs, a row each: run_id, task, artifact, name, value. Arguments and errors as of `runs`."""
    return _frame("metrics", where, limit, refresh, chosen)


def tasks(
    where: RunFilter | str | None = None, *, limit: int | None = None, refresh: bool = True, **chosen: Unpack[Choice]
) -> pandas.DataFrame:
    """The tasks of runs, a row each: run_id, path, kind, state, attempts, cached, cache_reason, started_at, ended_at,
    seconds, inputs and outputs as JSON text, error. Arguments and errors as of `runs`."""
    return _frame("tasks", where, limit, refresh, chosen)


def artifacts(
    where: RunFilter | str | None = None, *, limit: int | None = None, refresh: bool = True, **chosen: Unpack[Choice]
) -> pandas.DataFrame:
    """The artifacts of runs, a row each: run_id, task, name, type, uri, metadata as JSON text. Arguments and errors as
    of `runs`."""
    return _frame("artifacts", where, limit, refresh, chosen)


def compare(
    runs: Sequence[RunLike] = (), *, baseline: RunLike | None = None, goals: Mapping[str, str] | None = None
) -> Comparison:
    """What differs between runs; the two newest when none are named.

    Args:
        runs: two or more; one that is named again counts once.
        baseline: the run that the others are measured against, the first one when None.
        goals: name of a metric, or `task/artifact/name` -> `lower` or `higher`, whichever is better; before what the
            project says in `metrics`, and that before what names suggest.

    Raises:
        UsageError: there are fewer than two, or `goals` names what no run has as a metric.
    """
    from kfgcp.spec.validate import is_valid
    from kfgcp.tracking.compare import compare as compare_runs

    named: builtins.list[RunLike] = [*runs] or [*reversed(list(limit=2, metrics=False))]
    if baseline is not None:
        named.insert(0, baseline)
    if len(named) < 2:
        raise UsageError("There are not two runs to compare.", hint="kfgcp compare RUN RUN...; see them: kfgcp list")
    found = (one if isinstance(one, Run) and one.tasks else show(one).snapshot for one in named)
    first: dict[str, Run] = {}
    for run in found:
        first.setdefault(run.run_id, run)
    chosen = [*first.values()]
    _check_goals(goals or {}, chosen)
    project = config.load()
    with Store(project.home) as store:
        specs = {version: store.spec(version) for version in {run.version for run in chosen}}
    known = {version: spec for version, spec in specs.items() if spec is not None and is_valid(spec)}
    return compare_runs(chosen, specs=known, goals={**project.metrics, **(goals or {})})


def _check_goals(goals: Mapping[str, str], runs: Sequence[Run]) -> None:
    known = {name for run in runs for metric in run.metrics for name in (metric.name, metric.key)}
    for name, goal in goals.items():
        if name not in known:
            names = ", ".join(sorted({metric.name for run in runs for metric in run.metrics}))
            raise UsageError(f"None of the runs has a metric '{name}'.", hint=f"They have: {names or 'none'}.")
        if goal not in ("lower", "higher"):
            raise UsageError(f"The goal of '{name}' cannot be '{goal}'.", hint="Write lower or higher.")


def export(
    runs: Sequence[RunLike] = (),
    *,
    form: str = "csv",
    file: str | Path | None = None,
    wanted: RunFilter | None = None,
    table: Table = "runs",
    raw: bool = False,
) -> str:
    """Write runs as CSV, JSON or Parquet, oldest first.

    Args:
        runs: the runs to export; empty for all runs that match `wanted`.
        form: csv, json or parquet.
        file: the file to write; None returns the text. Parquet needs a file.
        wanted: the filter when `runs` is empty.
        table: what a row is: a run, or a metric, task or artifact of the runs. JSON of runs contains whole runs.
        raw: write all texts in CSV as they are. Otherwise texts that a spreadsheet takes for formulas get `'` in front.

    Returns:
        The text; empty when a file was written.
    """
    from kfgcp.tracking import frames
    from kfgcp.tracking.table import export as export_runs
    from kfgcp.tracking.table import export_table

    path = None if file is None else Path(file)
    named = [one if isinstance(one, Run) else show(one).snapshot for one in runs]
    if form == "json" and table == "runs":
        return export_runs([_whole(one) for one in named or list(wanted)[::-1]], form, path)
    if named and table == "runs":
        return export_runs(named, form, path, raw=raw)
    if named:
        wanted = RunFilter(ids=[run.run_id for run in named])
    with _store(wanted or RunFilter(), None, refresh=not named) as store:
        return export_table(frames.table(store, table, wanted, order="created_at"), form, path, raw=raw)


def tag(run: RunLike = "latest", *tags: str, remove: str | Sequence[str] = ()) -> tuple[str, ...]:
    """All tags of a run, sorted, after some were put on and others taken off.

    Args:
        run: which run.
        tags: words to put on it: of at most 64 characters without blanks and commas.
        remove: those to take off; no error when it has them not.

    Raises:
        UsageError: a tag is no such word, or there is no such run.
    """
    run_id = _id_of(run)
    with Store(config.load().home) as store:
        return store.tag(run_id, tags, remove=several(remove))


def note(run: RunLike = "latest", text: str | None = None) -> str:
    """The note of a run, after `text` was written in its place.

    Args:
        run: which run.
        text: the new note, which may have several lines; "" removes it, None leaves it.

    Raises:
        UsageError: there is no such run.
    """
    run_id = _id_of(run)
    with Store(config.load().home) as store:
        if text is not None:
            store.note(run_id, text.strip())
        return store.get(run_id, whole=False).note


def _id_of(run: RunLike) -> str:
    """The id under which a run is recorded here; nothing is read of its backend when it is known."""
    if isinstance(run, (RunHandle, Run)):
        return run.run_id
    return lookup.find(config.load(), run).run_id


def _frame(
    table: Table, where: RunFilter | str | None, limit: int | None, refresh: bool, chosen: Choice
) -> pandas.DataFrame:
    from kfgcp.tracking import frames

    run_filter = _filter(where, limit, chosen)
    with _store(run_filter, limit, refresh=refresh) as store:
        return frames.frame(frames.table(store, table, run_filter, limit=limit))


def _filter(where: RunFilter | str | None, limit: int | None, chosen: Choice) -> RunFilter:
    if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 1):
        raise UsageError(f"The option limit must be a whole number from 1, not {limit!r}.")
    if not isinstance(where, RunFilter):
        return choose(where, **chosen)
    if chosen:
        raise UsageError(f"The option {next(iter(chosen))} cannot be given together with a filter.")
    return where


@contextmanager
def _store(
    wanted: RunFilter, limit: int | None, *, refresh: bool = True, metrics: bool = True
) -> Iterator[Store | None]:
    """The store after what has changed was read into it; None when nothing was ever recorded."""
    project = config.load()
    if refresh:
        with _shown_when_full(project):
            lookup.refresh(project, wanted, limit, whole=metrics or bool(wanted.where))
    if not (project.home / DATABASE_NAME).exists():
        yield None
        return
    with Store(project.home) as store:
        if store.unfinished("local") or store.removals():
            with _shown_when_full(project):
                _refresh_local(project)
        yield store


@contextmanager
def _shown_when_full(project: config.Project) -> Iterator[None]:
    """On a full disk, tell so instead of recording what has changed: what was recorded can be shown."""
    try:
        yield
    except DiskFull:
        note_full(project.home / DATABASE_NAME)


def _refresh_local(project: config.Project) -> None:
    """End the records of local runs whose engine is gone, and finish deletions that were killed."""
    from kfgcp.backends.local import LocalBackend

    LocalBackend(project, project.env("local")).refresh()


def _whole(run: Run) -> Run:
    return run if run.tasks else show(run).snapshot
