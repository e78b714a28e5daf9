"""Compare runs: what differs between them, and nothing else. Pure: runs in, differences out."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from kfgcp.model import Cache, Direction, JsonValue, Run
from kfgcp.spec.diff import diff
from kfgcp.spec.digest import normalize
from kfgcp.spec.tasks import flatten
from kfgcp.tracking import report
from kfgcp.tracking.difference import (
    MISSING,
    Difference,
    Value,
    VersionChange,
    are_near,
    is_number,
)
from kfgcp.tracking.metric_direction import guess_direction

# Durations that differ by fewer seconds count as equal: two executions of the same work never take
# exactly the same time.
SECONDS_APART: Final = 0.1

# The largest relative distance of floats that count as equal, such as 0.1 + 0.2 and 0.3.
_FLOAT_NOISE: Final = 1e-12

# The largest distance between a metric and its value in ML Metadata, which keeps six decimals
# (recorded in tests/recorded/cluster-2.17.0/digits).
ROUNDING_ERROR: Final = 5e-7


@dataclass(frozen=True, slots=True)
class Comparison:
    """Runs side by side.

    Attributes:
        runs: the compared runs. The first is the baseline.
        differences: what is not the same in all runs.
        versions: what differs in the pipelines of the other runs.
    """

    runs: tuple[Run, ...]
    differences: tuple[Difference, ...]
    versions: tuple[VersionChange, ...] = ()

    def to_dict(self) -> dict[str, JsonValue]:
        """Return the comparison as JSON, in the form that `kfgcp compare --json` prints."""
        return {
            "baseline": self.runs[0].run_id,
            "runs": [run.summary() for run in self.runs],
            "differences": [difference.to_dict() for difference in self.differences],
            "versions": [version.to_dict() for version in self.versions],
        }

    def to_text(self) -> str:
        """Return the comparison as plain text with a column for each run."""
        return report.render_text(self)

    def to_markdown(self) -> str:
        """Return the comparison as Markdown for GitHub.

        Names and values from runs stay text, whatever they contain.
        """
        return report.render_markdown(self)

    def to_html(self) -> str:
        """Return the comparison as a complete HTML page without scripts."""
        return report.render_html(self)


def compare(
    runs: Sequence[Run],
    baseline: str | None = None,
    *,
    specs: Mapping[str, Mapping[str, Any]] | None = None,
    goals: Mapping[str, Direction] | None = None,
    rounding_backends: Collection[str] = (),
) -> Comparison:
    """Return what differs between runs.

    Compared are: facts of the run, parameters, metrics, states of tasks, cache hits, images,
    durations in seconds, and the pipelines.

    Args:
        runs: two or more runs, with their tasks.
        baseline: the id of the run that comes first and that the others are measured against. None
            means the first run.
        specs: version -> valid PipelineSpec, for the versions whose spec is recorded.
        goals: name or key of a metric -> which values are better. For other metrics the direction
            is guessed from the name, see `kfgcp.tracking.metric_direction`.
        rounding_backends: backends that may keep only six decimals of a metric.

    Example:
        >>> from dataclasses import replace
        >>> from kfgcp.model import RunState
        >>> one = Run("a1", "local", "local", "churn", "v1", RunState.SUCCEEDED, params={"lr": 1})
        >>> other = replace(one, run_id="b2", params={"lr": 3})
        >>> [(d.group, d.name, d.values) for d in compare([one, other]).differences]
        [('params', 'lr', (1, 3))]
    """
    specs = specs or {}
    ordered = list(runs)
    if baseline:
        # The sort is stable, so the other runs keep their order.
        ordered.sort(key=lambda run: run.run_id != baseline)
    # The most important group for a reader comes first.
    differences = _compare_facts(ordered)
    differences += _compare_tables("params", [run.params for run in ordered])
    differences += _compare_metrics(ordered, goals or {}, rounding_backends)
    differences += _compare_tables("tasks", [_read_task_states(run) for run in ordered])
    differences += _compare_cache(ordered)
    if any(run.version != ordered[0].version for run in ordered):
        images = [_read_images(specs.get(run.version)) for run in ordered]
        differences += _compare_tables("images", images)
    differences += _compare_durations(ordered)
    versions = _compare_versions(ordered, specs)
    return Comparison(tuple(ordered), tuple(differences), tuple(versions))


def _compare_facts(runs: Sequence[Run]) -> list[Difference]:
    return _compare_tables("run", [_read_facts(run) for run in runs])


def _read_facts(run: Run) -> dict[str, Value]:
    return {
        "state": run.state.value,
        "pipeline": run.pipeline,
        "version": run.version,
        "environment": run.env,
        "experiment": run.experiment,
        "git commit": _read_commit(run.labels),
    }


def _read_commit(labels: Mapping[str, str]) -> Value:
    if "git" not in labels:
        return MISSING
    if labels.get("git-dirty") == "true":
        return f"{labels['git']} with changes"
    return labels["git"]


def _read_task_states(run: Run) -> dict[str, str]:
    return {task.path: task.state.value for task in run.tasks}


def _compare_metrics(
    runs: Sequence[Run], goals: Mapping[str, Direction], rounding_backends: Collection[str]
) -> list[Difference]:
    names = {metric.key: metric.name for run in runs for metric in run.metrics}
    tables = []
    is_rounded = []
    for run in runs:
        tables.append({metric.key: metric.value for metric in run.metrics})
        is_rounded.append(run.backend in rounding_backends and _has_six_decimals(run))
    # A run is compared with the first one exactly, unless ML Metadata rounded one of the two.
    tolerances = [ROUNDING_ERROR if rounded or is_rounded[0] else 0.0 for rounded in is_rounded]
    differences = []
    for key, name in names.items():
        values = _read_values(tables, key)
        deltas = list(_compute_deltas(values))
        all_same = True
        for place, (value, tolerance) in enumerate(zip(values, tolerances, strict=True)):
            if not (_are_same(value, values[0]) or are_near(value, values[0], tolerance)):
                all_same = False
            elif deltas[place]:
                deltas[place] = 0.0
        if all_same:
            continue
        direction = goals.get(key) or goals.get(name) or guess_direction(name)
        differences.append(
            Difference("metrics", key, values, tuple(deltas), direction, max(tolerances))
        )
    return differences


def _has_six_decimals(run: Run) -> bool:
    """Return whether every metric of a run has at most six decimals.

    A metric with more decimals shows that the service does not round the metrics of this run.
    Kubeflow Pipelines 3.0 and later, which have no ML Metadata, do not round.
    """
    for metric in run.metrics:
        value = metric.value
        if not isinstance(value, float) or not math.isfinite(value):
            continue
        if round(value, 6) != value:
            return False
    return True


def _compare_cache(runs: Sequence[Run]) -> list[Difference]:
    """Return the tasks that came from the cache in some of the runs only.

    Tasks that ran for different reasons are not a difference.
    """
    tables = [_read_caches(run) for run in runs]
    differences = []
    for path in _collect_names(tables):
        caches = [table.get(path) for table in tables]
        hits = {cache.hit for cache in caches if cache is not None}
        if len(hits) > 1:
            values = tuple(_describe_cache(cache) for cache in caches)
            deltas = (None,) * len(values)
            differences.append(Difference("cache", path, values, deltas))
    return differences


def _read_caches(run: Run) -> dict[str, Cache]:
    return {task.path: task.cache for task in run.tasks if task.cache is not None}


def _describe_cache(cache: Cache | None) -> Value:
    if cache is None:
        return MISSING
    if cache.hit:
        return "hit"
    return f"ran: {cache.reason}" if cache.reason else "ran"


def _read_images(spec: Mapping[str, Any] | None) -> dict[str, str]:
    """Return the container images of a pipeline by the paths of its tasks."""
    images: dict[str, str] = {}
    if spec is None:
        return images
    for path, node in flatten(normalize(spec)).nodes.items():
        container = node.executor.get("container")
        if isinstance(container, Mapping):
            images[path] = str(container.get("image"))
    return images


def _compare_durations(runs: Sequence[Run]) -> list[Difference]:
    tables: list[dict[str, float]] = []
    for run in runs:
        table = {} if run.seconds is None else {"whole run": run.seconds}
        for task in run.tasks:
            if task.seconds is not None:
                table[task.path] = task.seconds
        tables.append(table)
    differences = []
    for name in _collect_names(tables):
        durations = [table[name] for table in tables if name in table]
        if max(durations) - min(durations) >= SECONDS_APART:
            values = _read_values(tables, name)
            differences.append(Difference("durations", name, values, _compute_deltas(values)))
    return differences


def _compare_versions(
    runs: Sequence[Run], specs: Mapping[str, Mapping[str, Any]]
) -> list[VersionChange]:
    """Compare the pipelines of other versions with the pipeline of the first run."""
    ids_by_version: dict[str, list[str]] = {}
    for run in runs:
        if run.version != runs[0].version:
            ids_by_version.setdefault(run.version, []).append(run.run_id)
    baseline_spec = specs.get(runs[0].version)
    versions = []
    for version, ids in ids_by_version.items():
        spec = specs.get(version)
        changes = None
        if baseline_spec is not None and spec is not None:
            changes = diff(baseline_spec, spec)
        versions.append(VersionChange(version, tuple(ids), changes))
    return versions


def _compare_tables(group: str, tables: Sequence[Mapping[str, Value]]) -> list[Difference]:
    """Return the names whose values are not the same in all tables.

    Args:
        group: the group of the differences.
        tables: name -> value, one table for each run.
    """
    differences = []
    for name in _collect_names(tables):
        values = _read_values(tables, name)
        if any(not _are_same(value, values[0]) for value in values):
            differences.append(Difference(group, name, values, _compute_deltas(values)))
    return differences


def _collect_names(tables: Sequence[Mapping[str, object]]) -> list[str]:
    """Return the names in tables, each once, in the order in which they occur."""
    names: dict[str, None] = {}
    for table in tables:
        names.update(dict.fromkeys(table))
    return list(names)


def _read_values(tables: Sequence[Mapping[str, Value]], name: str) -> tuple[Value, ...]:
    """Return the value that each table has for a name."""
    return tuple(table.get(name, MISSING) for table in tables)


def _are_same(one: Value, other: Value) -> bool:
    """Return whether two values are equal in JSON.

    1 and 1.0 are equal, 1 and true are not. NaN is equal to NaN.
    """
    if isinstance(one, bool) is not isinstance(other, bool):
        return False
    if (one is MISSING) is not (other is MISSING):
        return False
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_are_same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_are_same, one, other))
    both_are_nan = one != one and other != other
    return bool(one == other) or both_are_nan


def _compute_deltas(values: Sequence[Value]) -> tuple[float | None, ...]:
    return tuple(_compute_delta(value, values[0]) for value in values)


def _compute_delta(value: Value, baseline: Value) -> float | None:
    """Return a value minus the baseline, or None when one of them is not a number."""
    if not (is_number(value) and is_number(baseline)):
        return None
    try:
        delta = value - baseline
        if isinstance(delta, int):
            return delta
        if math.isclose(value, baseline, rel_tol=_FLOAT_NOISE):
            return 0.0
        # Twelve digits hide the rounding of the subtraction: 0.3 - 0.1 is 0.19999999999999998.
        return float(f"{delta:.12g}")
    except OverflowError:
        # A float minus an integer that is larger than any float.
        return None
