"""What differs between runs, and nothing else. Pure: runs in, differences out."""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from kfgcp.model import Cache, Direction, JsonValue, Run, json_number
from kfgcp.spec.diff import Change, diff
from kfgcp.spec.digest import normalize
from kfgcp.spec.tasks import flatten
from kfgcp.tracking.metric_direction import goal_of


class Missing(enum.Enum):
    """Stands for a value that a run does not have; it is shown as a dash."""

    MISSING = "—"

    def __str__(self) -> str:
        return self.value


MISSING: Final = Missing.MISSING
SECONDS_APART: Final = 0.1
"""Durations closer together than this are taken for the same."""

_NOISE: Final = 1e-12
"""Numbers closer together than this share of them have no distance: that is how floats are
rounded."""

ROUNDED: Final = 5e-7
"""ML Metadata keeps metrics with six decimals, so this much is lost at most (recorded:
cluster-2.17.0/digits)."""

_GOALS: Final = {Direction.MAXIMIZE: "higher", Direction.MINIMIZE: "lower", None: None}
"""The words of `goal` in JSON."""
_FACTS: Final[Mapping[str, Callable[[Run], Any]]] = {
    "state": lambda run: run.state.value,
    "pipeline": lambda run: run.pipeline,
    "version": lambda run: run.version,
    "environment": lambda run: run.env,
    "experiment": lambda run: run.experiment,
    "git commit": lambda run: _commit(run.labels),
}


def _commit(labels: Mapping[str, str]) -> str | Missing:
    changed = " with changes" if labels.get("git-dirty") == "true" else ""
    return f"{labels['git']}{changed}" if "git" in labels else MISSING


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not the same in all of the runs.

    group: run, params, metrics, tasks, cache, images or durations. values: one a run, in their
    order, `MISSING` where a run has none. deltas: against the first run, None where there is no
    number on both sides. direction: of a metric, which value is better, None when that is not
    known. tolerance: of a metric, how far apart values may be that count as the same. In JSON what
    is missing is null, and NaN and infinities are text.
    """

    group: str
    name: str
    values: tuple[JsonValue | Missing, ...]
    deltas: tuple[float | None, ...]
    direction: Direction | None = None
    tolerance: float = 0.0

    @property
    def better(self) -> tuple[bool | None, ...]:
        """Whether each run is better than the first: None where they are the same, or that is not
        known."""
        return tuple(self._is_better(delta) for delta in self.deltas)

    def _is_better(self, delta: float | None) -> bool | None:
        if self.direction is None or not delta or math.isnan(delta):
            return None
        return (delta > 0) is (self.direction is Direction.MAXIMIZE)

    @property
    def best(self) -> int | None:
        """The number of the best run of three or more, None when it is not known or there are
        several."""
        numbers: list[Any] = [value for value in self.values if _number(value) and value == value]
        if self.direction is None or len(self.values) < 3 or len(numbers) < 2:
            return None
        best = max(numbers) if self.direction is Direction.MAXIMIZE else min(numbers)
        as_good = [value for value in numbers if _near(value, best, self.tolerance)]
        return self.values.index(best) if len(as_good) == 1 else None

    def to_dict(self) -> dict[str, JsonValue]:
        data: dict[str, Any] = {
            "group": self.group,
            "name": self.name,
            "values": [None if value is MISSING else json_number(value) for value in self.values],
            "deltas": [json_number(delta) for delta in self.deltas],
        }
        if self.group == "metrics":
            # `goal` has the words of earlier versions.
            data |= {"goal": _GOALS[self.direction], "direction": self.direction}
            data |= {"better": list(self.better), "best": self.best}
        return data


@dataclass(frozen=True, slots=True)
class VersionChange:
    """What differs between the pipeline of the first run and another one that some of the runs had.

    runs: ids. changes: None when one of the pipelines is not known here.
    """

    version: str
    runs: tuple[str, ...]
    changes: tuple[Change, ...] | None

    def to_dict(self) -> dict[str, JsonValue]:
        changes: list[JsonValue] | None = None
        if self.changes is not None:
            changes = [change.to_dict() for change in self.changes]
        return {"version": self.version, "runs": list(self.runs), "changes": changes}


@dataclass(frozen=True, slots=True)
class Comparison:
    """Runs side by side; the first is the baseline. versions: what differs in the pipelines of the
    others."""

    runs: tuple[Run, ...]
    differences: tuple[Difference, ...]
    versions: tuple[VersionChange, ...] = ()

    def to_dict(self) -> dict[str, JsonValue]:
        return {
            "baseline": self.runs[0].run_id,
            "runs": [run.summary() for run in self.runs],
            "differences": [difference.to_dict() for difference in self.differences],
            "versions": [version.to_dict() for version in self.versions],
        }

    def to_text(self) -> str:
        """Plain text, a column a run."""
        from kfgcp.tracking import report

        return report.text(self)

    def to_markdown(self) -> str:
        """Markdown as GitHub has it, for pull requests; whatever runs are called, it stays text."""
        from kfgcp.tracking import report

        return report.markdown(self)

    def to_html(self) -> str:
        """A page of HTML by itself, without scripts."""
        from kfgcp.tracking import report

        return report.html(self)


def compare(
    runs: Sequence[Run],
    baseline: str | None = None,
    *,
    specs: Mapping[str, Mapping[str, Any]] | None = None,
    goals: Mapping[str, Direction] | None = None,
    rounding_backends: Collection[str] = (),
) -> Comparison:
    """What differs between runs: facts, parameters, metrics, task states, cache hits, images,
    durations in seconds, and the pipelines they ran.

    Args:
        runs: two or more, with their tasks.
        baseline: the id of the one that the others are measured against, and that comes first; the
            first when None.
        specs: version -> valid PipelineSpec, as far as they are known.
        goals: which value is better, by the name of a metric or by its key. It counts before the
            rules for names, see `kfgcp.tracking.metric_direction`.
        rounding_backends: backends that may keep metrics with six decimals only.
    """
    runs = (
        sorted(runs, key=lambda run: run.run_id != (baseline or runs[0].run_id))
        if baseline
        else [*runs]
    )
    specs = specs or {}
    found: list[Difference] = []
    for name, fact in _FACTS.items():
        found += _differing("run", name, [fact(run) for run in runs])
    found += _of_tables("params", [run.params for run in runs])
    found += _metrics(runs, goals or {}, rounding_backends)
    found += _of_tables(
        "tasks", [{task.path: task.state.value for task in run.tasks} for run in runs]
    )
    found += _cache(runs)
    found += (
        _of_tables("images", [_images(specs.get(run.version)) for run in runs])
        if _changed(runs)
        else []
    )
    found += _durations(runs)
    return Comparison(tuple(runs), tuple(found), tuple(_versions(runs, specs)))


def _changed(runs: Sequence[Run]) -> bool:
    return any(run.version != runs[0].version for run in runs)


def _metrics(
    runs: Sequence[Run], goals: Mapping[str, Direction], rounding_backends: Collection[str]
) -> list[Difference]:
    names = {metric.key: metric.name for run in runs for metric in run.metrics}
    tables = [{metric.key: metric.value for metric in run.metrics} for run in runs]
    rounded = [run.backend in rounding_backends and _has_six_decimals(run) for run in runs]
    found = []
    for key, name in names.items():
        values = tuple(table.get(key, MISSING) for table in tables)
        # What two runs share is exact, or one of them has it from ML Metadata.
        tolerances = [ROUNDED if mine or rounded[0] else 0.0 for mine in rounded]
        pairs = list(zip(values, tolerances, strict=True))
        same = [
            _same(value, values[0]) or _near(value, values[0], tolerance)
            for value, tolerance in pairs
        ]
        if all(same):
            continue
        deltas = list(_deltas(values))
        for number, is_same in enumerate(same):
            if is_same and deltas[number]:
                deltas[number] = 0.0
        direction = goals.get(key) or goals.get(name) or goal_of(name)
        found.append(Difference("metrics", key, values, tuple(deltas), direction, max(tolerances)))
    return found


def _has_six_decimals(run: Run) -> bool:
    """Return whether no metric of a run has more than six decimals.

    One metric with more digits tells that the service keeps all digits of the run: Kubeflow
    Pipelines does so from 3.0 on, without ML Metadata.
    """
    values = [metric.value for metric in run.metrics if isinstance(metric.value, float)]
    fractions = [value for value in values if math.isfinite(value)]
    return all(round(value, 6) == value for value in fractions)


def _near(one: Any, other: Any, tolerance: float) -> bool:
    """Return whether two numbers are equal, or at most so far apart, up to the rounding of
    floats."""
    if not (_number(one) and _number(other)):
        return False
    try:
        return bool(one == other or abs(one - other) <= tolerance * (1 + 1e-6))
    except OverflowError:  # a whole number beyond all floats, and a float
        return False


def _cache(runs: Sequence[Run]) -> list[Difference]:
    """Hits against tasks that ran; why they ran is told, and is no difference by itself."""
    tables = [
        {task.path: task.cache for task in run.tasks if task.cache is not None} for run in runs
    ]
    found = []
    for path in dict.fromkeys(path for table in tables for path in table):
        caches = [table.get(path) for table in tables]
        if len({cache.hit for cache in caches if cache is not None}) > 1:
            values = tuple(MISSING if cache is None else _of_cache(cache) for cache in caches)
            found.append(Difference("cache", path, values, (None,) * len(values)))
    return found


def _of_cache(cache: Cache) -> str:
    return "hit" if cache.hit else f"ran: {cache.reason}" if cache.reason else "ran"


def _images(spec: Mapping[str, Any] | None) -> dict[str, str]:
    """The images of a pipeline's containers, by task."""
    if spec is None:
        return {}
    containers = {
        path: node.executor.get("container")
        for path, node in flatten(normalize(spec)).nodes.items()
    }
    return {
        path: str(each.get("image"))
        for path, each in containers.items()
        if isinstance(each, Mapping)
    }


def _versions(
    runs: Sequence[Run], specs: Mapping[str, Mapping[str, Any]]
) -> Iterator[VersionChange]:
    base = specs.get(runs[0].version)
    for version in dict.fromkeys(run.version for run in runs if run.version != runs[0].version):
        spec = specs.get(version)
        ids = tuple(run.run_id for run in runs if run.version == version)
        yield VersionChange(
            version, ids, diff(base, spec) if base is not None and spec is not None else None
        )


def _of_tables(group: str, tables: Sequence[Mapping[str, Any]]) -> list[Difference]:
    names = dict.fromkeys(name for table in tables for name in table)
    return [
        difference
        for name in names
        for difference in _differing(group, name, [table.get(name, MISSING) for table in tables])
    ]


def _differing(group: str, name: str, values: Sequence[Any]) -> list[Difference]:
    if all(_same(value, values[0]) for value in values[1:]):
        return []
    return [Difference(group, name, tuple(values), _deltas(values))]


def _same(one: Any, other: Any) -> bool:
    """Equal as JSON values: 1 and 1.0 are, 1 and true are not, NaN is the same as NaN."""
    if isinstance(one, bool) is not isinstance(other, bool) or (one is MISSING) is not (
        other is MISSING
    ):
        return False
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other) or (one != one and other != other)


def _durations(runs: Sequence[Run]) -> list[Difference]:
    tables: list[dict[str, float]] = []
    for run in runs:
        table = {} if run.seconds is None else {"whole run": run.seconds}
        table |= {task.path: task.seconds for task in run.tasks if task.seconds is not None}
        tables.append(table)
    names = dict.fromkeys(name for table in tables for name in table)
    found = []
    for name in names:
        values = [table.get(name) for table in tables]
        known = [value for value in values if value is not None]
        if max(known) - min(known) >= SECONDS_APART:
            shown = tuple(MISSING if value is None else value for value in values)
            found.append(Difference("durations", name, shown, _deltas(shown)))
    return found


def _deltas(values: Sequence[Any]) -> tuple[float | None, ...]:
    return tuple(_delta(value, values[0]) for value in values)


def _delta(value: Any, base: Any) -> float | None:
    if not (_number(value) and _number(base)):
        return None
    try:
        delta: float = value - base
        if isinstance(delta, int):
            return delta
        return 0.0 if math.isclose(value, base, rel_tol=_NOISE) else float(f"{delta:.12g}")
    except OverflowError:  # a whole number beyond all floats, and a float
        return None


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
