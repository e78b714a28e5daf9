"""What differs between runs, and nothing else. Pure: runs in, differences out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from kfgcp.model import Run, json_number

MISSING: Final = "—"
"""Stands for the value of a run that has none."""

SECONDS_APART: Final = 0.1
"""Durations closer together than this are taken for the same."""

_FACTS: Final[Mapping[str, Callable[[Run], Any]]] = {
    "state": lambda run: run.state.value,
    "pipeline": lambda run: run.pipeline,
    "version": lambda run: run.version,
    "environment": lambda run: run.env,
    "experiment": lambda run: run.experiment,
}


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not the same in all of the runs.

    group: run, params, metrics, tasks or durations. values: one a run, in their order, `MISSING` where a run has
    none. deltas: against the first run, None where there is no number on both sides. In JSON what is missing is null,
    and NaN and infinities are text.
    """

    group: str
    name: str
    values: tuple[Any, ...]
    deltas: tuple[float | None, ...]

    def to_dict(self) -> dict[str, Any]:
        values = [None if value is MISSING else json_number(value) for value in self.values]
        deltas = [json_number(delta) for delta in self.deltas]
        return {"group": self.group, "name": self.name, "values": values, "deltas": deltas}


@dataclass(frozen=True, slots=True)
class Comparison:
    """Runs side by side; the first is the baseline."""

    runs: tuple[Run, ...]
    differences: tuple[Difference, ...]

    def to_dict(self) -> dict[str, Any]:
        return {
            "runs": [run.summary() for run in self.runs],
            "differences": [difference.to_dict() for difference in self.differences],
        }


def compare(runs: Sequence[Run]) -> Comparison:
    """What differs between runs: facts, parameters, metrics, task states, and durations in seconds.

    Args:
        runs: two or more, with their tasks; the first is what the others are measured against.
    """
    found: list[Difference] = []
    for name, fact in _FACTS.items():
        found += _differing("run", name, [fact(run) for run in runs])
    found += _of_tables("params", [run.params for run in runs])
    found += _of_tables("metrics", [{metric.key: metric.value for metric in run.metrics} for run in runs])
    found += _of_tables("tasks", [{task.path: task.state.value for task in run.tasks} for run in runs])
    found += _durations(runs)
    return Comparison(tuple(runs), tuple(found))


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
    if isinstance(one, bool) is not isinstance(other, bool) or (one is MISSING) is not (other is MISSING):
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
        return round(delta, 12)
    except OverflowError:  # a whole number beyond all floats, and a float
        return None
    return delta


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
