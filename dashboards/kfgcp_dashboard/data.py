"""Read what pages show from the store. This is the only module between the pages and the store.

Nothing here asks a service: `sync.py` reads the services in the background. So no page waits.
"""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from kfgcp import (
    Artifact,
    Comparison,
    Direction,
    Run,
    RunFilter,
    RunState,
    Store,
    UsageError,
    Workspace,
)
from kfgcp.backends.registry import rounding_backends
from kfgcp.spec import graph as graphs
from kfgcp.spec.validate import is_valid
from kfgcp.store.search_expressions import quote_name
from kfgcp.tracking import artifact_contents, table
from kfgcp.tracking.compare import compare

Row = dict[str, object]

PAGE_SIZE: Final = 50
NEWEST: Final = "created_at"

# Pipelines whose newest version can be launched again.
MAX_PIPELINES: Final = 50

# The fields of an artifact's metadata that hold curves and matrices. They are drawn, not listed.
CURVES: Final = ("confidenceMetrics", "confusionMatrix", "evaluationSlices")

# The columns of runs that can be sorted, besides parameters and metrics.
SORTABLE: Final = (
    "created_at",
    "name",
    "pipeline",
    "experiment",
    "env",
    "state",
    "seconds",
    "started_at",
    "ended_at",
)

# With a filter, the store reads the columns of only the newest runs. Without one, it reads all
# runs, which takes too long for 100,000 runs. No run is older than this time, so a filter with it
# accepts all runs.
_BEFORE_ALL_TIMES: Final = "0000"

# A text with one of these is an expression: `params.lr < 0.1`, `'baseline' in tags`.
_OPERATOR: Final = re.compile(r"[<>=~]|\b(?:in|and|or|not)\b\s*[(\w]", re.IGNORECASE)

# Characters of a version that are enough to recognize it.
_SHORT_VERSION: Final = 12

_workspace_lock: Final = threading.Lock()
_workspace = Workspace()


def set_workspace(workspace: Workspace) -> None:
    """Show the project of a workspace. Without this call, it is the project of the current
    folder."""
    global _workspace
    with _workspace_lock:
        _workspace = workspace


def workspace() -> Workspace:
    """Return the workspace of this process.

    After a change of kfgcp.toml or of the state folder, it is a new object.
    """
    global _workspace
    with _workspace_lock:
        _workspace = _workspace.renewed()
        return _workspace


@dataclass(frozen=True, slots=True)
class Query:
    """The runs that a page shows, as its address says.

    Attributes:
        find: a text in the name, the id, the note or a tag; with an operator it is an expression.
        pipeline: only its runs; all when empty, as for `experiment` and `env`.
        states: all when empty.
        sort: a column.
        page: from 1.
    """

    find: str = ""
    pipeline: str = ""
    experiment: str = ""
    env: str = ""
    states: tuple[str, ...] = ()
    sort: str = NEWEST
    descending: bool = True
    page: int = 1

    @property
    def run_filter(self) -> RunFilter:
        run_filter = RunFilter(
            pipeline=self.pipeline or None,
            experiment=self.experiment or None,
            env=self.env or None,
            states=[RunState(state) for state in self.states],
        )
        find = self.find.strip()
        if not find:
            return run_filter
        if _OPERATOR.search(find):
            return replace(run_filter, where=find)
        return replace(run_filter, text=find)

    @property
    def order(self) -> str:
        direction = "desc" if self.descending else "asc"
        return f"{quote_column(self.sort)} {direction}"


def quote_column(column: str) -> str:
    """Return the name of a column as expressions have it: `params."learning rate"`."""
    group, dot, name = column.partition(".")
    if not dot:
        return column
    # A metric has up to three parts: task, artifact and name. The name of a parameter can have
    # dots itself.
    parts = name.split(".", 2) if group == "metrics" else [name]
    return ".".join([group, *map(quote_name, parts)])


def is_empty(store: Store) -> bool:
    """Return whether there are no runs."""
    return not store.page(limit=1)


def find_runs(store: Store, query: Query) -> tuple[list[Run], int]:
    """Return the runs of a page, without tasks and artifacts, and the number on all pages.

    Raises:
        UsageError: the expression or the order cannot be read.
    """
    offset = (query.page - 1) * PAGE_SIZE
    return store.page_and_count(query.run_filter, query.order, limit=PAGE_SIZE, offset=offset)


def column_values(store: Store, column: str) -> list[str]:
    """Return the different values of a column, to choose from."""
    return store.values(column)


def change_stamp(store: Store) -> object:
    """Return a value that differs after a run was added, or an unfinished run has changed."""
    revisions = []
    for run_ids in store.unfinished_by_backend().values():
        for run_id in run_ids:
            revision = store.rev(run_id)
            revisions.append((run_id, revision))
    return store.count(), revisions


def has_unfinished(store: Store) -> bool:
    """Return whether a run has not ended."""
    return bool(store.unfinished_by_backend())


def value_columns(store: Store, pipeline: str = "") -> list[str]:
    """Return the columns of the parameters and metrics of the newest runs.

    They are, for example, `params.lr` and `metrics.evaluate.accuracy`; metrics come first.
    """
    names = store.columns(RunFilter(pipeline=pipeline or None, since=_BEFORE_ALL_TIMES))
    columns = []
    for group in ("metrics", "params"):
        columns += [f"{group}.{name}" for name in names[group]]
    return columns


def metric_columns(runs: Sequence[Run]) -> list[str]:
    """Return the columns of the metrics of some runs, in the order in which they appear."""
    columns: dict[str, None] = {}
    for run in runs:
        for metric in run.metrics:
            columns[f"metrics.{metric.task}.{metric.name}"] = None
    return list(columns)


def table_rows(runs: Sequence[Run]) -> list[Row]:
    """Return runs as rows of a table, by the names of their columns."""
    return [_table_row(run) for run in runs]


def _table_row(run: Run) -> Row:
    row: Row = {name: getattr(run, name) for name in table.FACTS}
    for metric in run.metrics:
        # Both names are columns: the longer one where a task has the metric in two artifacts.
        row[f"metrics.{metric.task}.{metric.artifact}.{metric.name}"] = metric.value
        row[f"metrics.{metric.task}.{metric.name}"] = metric.value
    for name, value in run.params.items():
        row[f"params.{name}"] = value
    row["state"] = run.state.value
    row["version"] = short_version(run.version)
    row["error"] = None if run.error is None else run.error.message
    return row


def all_rows(store: Store, query: Query, max_runs: int) -> list[Row]:
    """Return the runs of all pages as rows, at most `max_runs`."""
    flat_runs = store.flat(query.run_filter, order=query.order, limit=max_runs)
    columns = table.columns(flat_runs)
    rows = []
    for values in zip(*columns.values(), strict=True):
        row = dict(zip(columns, values, strict=True))
        rows.append(row)
    return rows


def get_run(store: Store, text: str) -> Run:
    """Return a run with its tasks.

    Args:
        store: has the run.
        text: its id, the beginning of its id, its name, or `latest`.

    Raises:
        UsageError: there is no such run, or more than one.
    """
    return store.get(store.find(text))


def get_run_and_revision(store: Store, text: str) -> tuple[Run, int]:
    """Return a run and its revision. The arguments and errors are as in `get_run`."""
    run_id = store.find(text)
    # The revision comes first. If the run changes in between, the revision is too old, and the
    # page runs again. A revision that is too new would hide the change.
    revision = store.rev(run_id)
    return store.get(run_id), revision


def get_runs(store: Store, texts: Sequence[str]) -> tuple[list[Run], list[str]]:
    """Return runs with their tasks, in the order of the texts, and messages about missing runs."""
    runs: dict[str, Run] = {}
    problems = []
    for text in dict.fromkeys(texts):
        try:
            run = get_run(store, text)
        except UsageError as error:
            problems.append(error.message)
        else:
            runs.setdefault(run.run_id, run)
    return list(runs.values()), problems


def build_graph(store: Store, run: Run) -> graphs.Graph | None:
    """Return the graph of a run's pipeline, None when its backend did not give the pipeline."""
    spec = store.spec(run.version)
    if spec is None:
        return None
    request = store.request(run.run_id)
    return graphs.build(spec, None if request is None else request.platform_spec)


def read_specs(store: Store, versions: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return the PipelineSpecs of versions, without those that are missing or not valid."""
    specs = {}
    for version in dict.fromkeys(versions):
        spec = store.spec(version)
        if spec is not None and is_valid(spec):
            specs[version] = spec
    return specs


def compare_runs(
    store: Store, runs: Sequence[Run], directions: Mapping[str, Direction]
) -> Comparison:
    """Return the differences of runs and of their pipelines. The first run is the baseline.

    Args:
        store: has the pipelines.
        runs: with their tasks.
        directions: names of metrics -> which values are better.
    """
    versions = [run.version for run in runs]
    backends = [run.backend for run in runs]
    return compare(
        runs,
        specs=read_specs(store, versions),
        goals=directions,
        rounding_backends=rounding_backends(backends),
    )


def newest_pipeline(store: Store) -> str:
    """Return the pipeline of the newest run, "" when there are no runs."""
    for run in store.page(limit=1):
        return run.pipeline
    return ""


def latest_runs(store: Store) -> list[Run]:
    """Return the newest run of each pipeline that can be launched again."""
    runs = []
    for pipeline in store.values("pipeline")[:MAX_PIPELINES]:
        for run in recent_runs(store, pipeline, 1):
            has_spec = run.version and store.spec(run.version) is not None
            if has_spec:
                runs.append(run)
    return runs


def recent_runs(store: Store, pipeline: str, max_runs: int) -> list[Run]:
    """Return the newest runs of a pipeline, without tasks and artifacts."""
    return store.page(RunFilter(pipeline=pipeline), limit=max_runs)


def list_versions(store: Store, pipeline: str) -> list[Row]:
    """Return the versions of a pipeline as rows of a table, the most recently used first."""
    rows: list[Row] = []
    for version in store.version_runs(pipeline):
        row: Row = {
            "version": version.version,
            "runs": version.runs,
            "succeeded": f"{version.succeeded:,} of {version.runs:,}",
            "first": version.first,
            "last": version.last,
            "envs": ", ".join(version.envs),
        }
        rows.append(row)
    return rows


def short_version(version: str) -> str:
    """Return the beginning of a version, which is enough to recognize it."""
    return version.removeprefix("sha256:")[:_SHORT_VERSION]


def display_names(runs: Sequence[Run]) -> dict[str, str]:
    """Return the names of runs in charts and tables, by their ids.

    Runs with the same name, or without one, have the end of their id too.
    """
    counts = Counter(run.name for run in runs)
    names = {}
    for run in runs:
        if run.name and counts[run.name] == 1:
            names[run.run_id] = run.name
        else:
            names[run.run_id] = f"{run.name} {run.run_id[-6:]}".strip()
    return names


def metrics_by_key(run: Run) -> dict[str, float | int]:
    """Return the values of a run's metrics by their keys, `task/artifact/name`."""
    return {metric.key: metric.value for metric in run.metrics}


def metric_titles(runs: Sequence[Run]) -> dict[str, str]:
    """Return the names of metrics by their keys. A name that is not unique is the whole key."""
    names: dict[str, str] = {}
    for run in runs:
        for metric in run.metrics:
            names[metric.key] = metric.name
    counts = Counter(names.values())
    titles = {}
    for key, name in names.items():
        is_unique = counts[name] == 1
        titles[key] = name if is_unique else key
    return titles


def read_roc(artifact: Artifact) -> list[tuple[float, float]]:
    """Return the ROC curve of an artifact; empty when it has none.

    Its points are pairs (false positive rate, true positive rate).
    """
    return [(fpr, tpr) for fpr, tpr, _ in artifact_contents.roc(artifact)]


def read_confusion(artifact: Artifact) -> artifact_contents.ConfusionMatrix | None:
    """Return the confusion matrix of an artifact, None when it has none."""
    return artifact_contents.confusion_matrix(artifact)
