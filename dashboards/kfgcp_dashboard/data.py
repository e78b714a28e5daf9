"""What pages read, all from the store: one module between them and it."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from kfgcp.backends.registry import rounding_backends
from kfgcp.errors import UsageError
from kfgcp.model import Artifact, Direction, Run, RunState
from kfgcp.query import RunFilter
from kfgcp.spec import graph as graphs
from kfgcp.spec.validate import is_valid
from kfgcp.store.search_expressions import quote_name
from kfgcp.store.store import Store
from kfgcp.tracking import artifact_contents, table
from kfgcp.tracking.compare import Comparison, compare
from kfgcp.workspace import Workspace

PAGE: Final = 50
"""Runs on a page."""
NEWEST: Final = "created_at"
PIPELINES: Final = 50
"""Pipelines whose newest version can be launched again."""
CURVES: Final = ("confidenceMetrics", "confusionMatrix", "evaluationSlices")
"""Where classification metrics keep their curves and matrices in the metadata."""
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
_EVER: Final = "0000"
"""Before all times: a filter that lets all through, whose columns are those of the newest runs."""
_OPERATOR: Final = re.compile(r"[<>=~]|\b(?:in|and|or|not)\b\s*[(\w]", re.IGNORECASE)


_guard: Final = threading.Lock()
_workspace = Workspace()


def show_project_of(workspace: Workspace) -> None:
    """Show the project of this workspace. Otherwise the pages show that of the current folder."""
    global _workspace
    with _guard:
        _workspace = workspace


def workspace() -> Workspace:
    """Return the workspace of this process: another one when kfgcp.toml or the state folder has
    changed."""
    global _workspace
    with _guard:
        _workspace = _workspace.renewed()
        return _workspace


@dataclass(frozen=True, slots=True)
class Query:
    """Which runs a page shows: what its address says.

    find: a text that stands in the name, the id, the note or a tag; or an expression, when it has
    an operator. sort: a column. page: from 1.
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
    def wanted(self) -> RunFilter:
        find = self.find.strip() or None
        expression = find is not None and _OPERATOR.search(find) is not None
        return RunFilter(
            pipeline=self.pipeline or None,
            experiment=self.experiment or None,
            env=self.env or None,
            states=[RunState(state) for state in self.states],
            where=find if expression else None,
            text=None if expression else find,
        )

    @property
    def order(self) -> str:
        return f"{in_expression(self.sort)} {'desc' if self.descending else 'asc'}"


def in_expression(column: str) -> str:
    """The name of a column as it stands in expressions: `params."learning rate"`."""
    group, dot, name = column.partition(".")
    if not dot:
        return column
    parts = [name] if group != "metrics" else name.split(".", 2)
    return ".".join([group, *map(quote_name, parts)])


def is_empty(opened: Store) -> bool:
    return not opened.page(limit=1)


def found(opened: Store, query: Query) -> tuple[list[Run], int]:
    """The runs of a page, without tasks and artifacts, and how many there are on all pages.

    Raises:
        UsageError: the expression or the order cannot be read.
    """
    return opened.page_and_count(
        query.wanted, query.order, limit=PAGE, offset=(query.page - 1) * PAGE
    )


def values(opened: Store, column: str) -> list[str]:
    """What a column holds, to choose from."""
    return opened.values(column)


def stamp(opened: Store) -> Any:
    """Something else whenever a run was added, or one that has not ended has changed."""
    unfinished_ids = [run_id for ids in opened.unfinished_by_backend().values() for run_id in ids]
    return opened.count(), [(run_id, opened.rev(run_id)) for run_id in unfinished_ids]


def unfinished(opened: Store) -> bool:
    """Whether anything runs."""
    return bool(opened.unfinished_by_backend())


def value_columns(opened: Store, pipeline: str = "") -> list[str]:
    """The columns of parameters and metrics of the newest runs: `params.lr`,
    `metrics.evaluate.accuracy`."""
    found = opened.columns(RunFilter(pipeline=pipeline or None, since=_EVER))
    return [f"{group}.{name}" for group in ("metrics", "params") for name in found[group]]


def metric_columns(runs: Sequence[Run]) -> list[str]:
    """Those of the metrics of some runs, in their order."""
    return list(dict.fromkeys(f"metrics.{m.task}.{m.name}" for run in runs for m in run.metrics))


def rows(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Runs as rows of a table, by the names of their columns."""
    return [_row(run) for run in runs]


def _row(run: Run) -> dict[str, Any]:
    metrics = {f"metrics.{m.task}.{m.artifact}.{m.name}": m.value for m in run.metrics}
    metrics |= {f"metrics.{m.task}.{m.name}": m.value for m in run.metrics}
    facts = {
        name: getattr(run, name)
        for name in table.FACTS
        if name not in ("state", "error", "version")
    }
    return {
        **facts,
        **metrics,
        **{f"params.{name}": value for name, value in run.params.items()},
        "state": run.state.value,
        "version": short(run.version),
        "error": None if run.error is None else run.error.message,
    }


def all_rows(opened: Store, query: Query, most: int) -> list[dict[str, Any]]:
    """The runs of all pages as rows, up to so many."""
    columns = table.columns(opened.flat(query.wanted, order=query.order, limit=most))
    return [
        dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)
    ]


def run_of(opened: Store, text: str) -> Run:
    """The run with its tasks that an id, a beginning of one, or a name means.

    Raises:
        UsageError: there is none, or more than one.
    """
    return opened.get(opened.find(text))


def runs_of(opened: Store, ids: Sequence[str]) -> tuple[list[Run], list[str]]:
    """Runs with their tasks, in the order of their ids, and what says which were not there."""
    found: dict[str, Run] = {}
    missing = []
    for run_id in dict.fromkeys(ids):
        try:
            run = run_of(opened, run_id)
            found.setdefault(run.run_id, run)
        except UsageError as error:
            missing.append(error.message)
    return list(found.values()), missing


def graph_of(opened: Store, run: Run) -> graphs.Graph | None:
    """The graph of a run's pipeline, None when its backend did not tell."""
    spec = opened.spec(run.version)
    if spec is None:
        return None
    request = opened.request(run.run_id)
    return graphs.build(spec, request.platform_spec if request is not None else None)


def specs_of(opened: Store, versions: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Version -> its PipelineSpec, of those that are known and valid."""
    found = {version: opened.spec(version) for version in dict.fromkeys(versions)}
    return {version: spec for version, spec in found.items() if spec is not None and is_valid(spec)}


def compared(opened: Store, runs: Sequence[Run], goals: Mapping[str, Direction]) -> Comparison:
    """What differs between runs and their pipelines; the first is the baseline."""
    specs = specs_of(opened, [run.version for run in runs])
    return compare(
        runs,
        specs=specs,
        goals=goals,
        rounding_backends=rounding_backends(run.backend for run in runs),
    )


def newest_pipeline(opened: Store) -> str:
    """The pipeline of the newest run."""
    return next((run.pipeline for run in opened.page(limit=1)), "")


def latest_of_each(opened: Store) -> list[Run]:
    """The newest run of each pipeline whose spec is known."""
    runs = [
        run
        for pipeline in opened.values("pipeline")[:PIPELINES]
        for run in opened.page(RunFilter(pipeline=pipeline), limit=1)
    ]
    return [run for run in runs if run.version and opened.spec(run.version) is not None]


def history(opened: Store, pipeline: str, most: int) -> list[Run]:
    """The newest runs of a pipeline, without tasks and artifacts."""
    return opened.page(RunFilter(pipeline=pipeline), limit=most)


def versions_of(opened: Store, pipeline: str) -> list[dict[str, Any]]:
    """The versions of a pipeline, the one that ran last first: how often, how it ended, when,
    where."""
    return [
        {
            "version": version.version,
            "runs": version.runs,
            "succeeded": f"{version.succeeded:,} of {version.runs:,}",
            "first": version.first,
            "last": version.last,
            "envs": ", ".join(version.envs),
        }
        for version in opened.version_runs(pipeline)
    ]


def short(version: str) -> str:
    """A version as it is shown."""
    return version.removeprefix("sha256:")[:12]


def names(runs: Sequence[Run]) -> dict[str, str]:
    """A run's id -> what charts and tables call it: its name, with the id where two have the
    same."""
    taken = Counter(run.name for run in runs)
    return {
        run.run_id: run.name
        if run.name and taken[run.name] == 1
        else f"{run.name} {run.run_id[-6:]}".strip()
        for run in runs
    }


def metrics_of(run: Run) -> Mapping[str, Any]:
    return {metric.key: metric.value for metric in run.metrics}


def metric_titles(runs: Sequence[Run]) -> dict[str, str]:
    """The key of each metric -> its name, with the task and the artifact where others have the
    same."""
    keys = {metric.key: metric for run in runs for metric in run.metrics}
    plain = Counter(metric.name for metric in keys.values())
    return {key: metric.name if plain[metric.name] == 1 else key for key, metric in keys.items()}


def roc_of(artifact: Artifact) -> list[tuple[float, float]]:
    """The ROC curve of an artifact as (false positive rate, true positive rate) pairs; none when it
    has none."""
    return [(fpr, tpr) for fpr, tpr, _ in artifact_contents.roc(artifact)]


def confusion_of(artifact: Artifact) -> artifact_contents.ConfusionMatrix | None:
    """The confusion matrix of an artifact, None when it has none."""
    return artifact_contents.confusion_matrix(artifact)
