"""The parts of a comparison of runs, as frozen values. Pure.

They are not in `compare`, because `report` formats them and `compare` imports `report`.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass
from typing import Final, TypeGuard

from kfgcp.model import Direction, JsonValue, json_number
from kfgcp.spec.diff import Change


class Missing(enum.Enum):
    """Stands for a value that a run does not have. It is shown as a dash."""

    MISSING = "—"

    def __str__(self) -> str:
        return self.value


MISSING: Final = Missing.MISSING

Value = JsonValue | Missing
"""The value of one run."""

# The key `goal` of the JSON keeps the words of earlier versions.
_GOALS: Final = {Direction.MAXIMIZE: "higher", Direction.MINIMIZE: "lower", None: None}


@dataclass(frozen=True, slots=True)
class Difference:
    """A fact, a parameter, a metric or the like that is not the same in all runs.

    Attributes:
        group: run, params, metrics, tasks, cache, images or durations.
        name: what differs, within its group.
        values: one value for each run, in the order of the runs.
        deltas: for each run, its value minus the value of the first run. None where one of the two
            values is not a number.
        direction: of a metric, which values are better; None when that is not known.
        tolerance: of a metric, the largest distance between values that count as the same.
    """

    group: str
    name: str
    values: tuple[JsonValue | Missing, ...]
    deltas: tuple[float | None, ...]
    direction: Direction | None = None
    tolerance: float = 0.0

    @property
    def better(self) -> tuple[bool | None, ...]:
        """Whether each run is better than the first.

        None where both are the same, or where the direction is not known.
        """
        return tuple(self._is_better(delta) for delta in self.deltas)

    def _is_better(self, delta: float | None) -> bool | None:
        if self.direction is None or not delta or math.isnan(delta):
            return None
        return (delta > 0) is (self.direction is Direction.MAXIMIZE)

    @property
    def best(self) -> int | None:
        """The place of the best of three or more runs.

        None when the best runs are equally good, or when the direction is not known.
        """
        if self.direction is None or len(self.values) < 3:
            return None
        # `value == value` excludes NaN. math.isnan would fail for integers larger than any float.
        numbers = [value for value in self.values if is_number(value) and value == value]
        if len(numbers) < 2:
            return None
        choose = max if self.direction is Direction.MAXIMIZE else min
        best = choose(numbers)
        equally_good = [value for value in numbers if are_near(value, best, self.tolerance)]
        return self.values.index(best) if len(equally_good) == 1 else None

    def to_dict(self) -> dict[str, JsonValue]:
        """Return the difference as JSON: null for `MISSING`, text for NaN and infinities."""
        data: dict[str, JsonValue] = {
            "group": self.group,
            "name": self.name,
            "values": list(map(_to_json, self.values)),
            "deltas": list(map(json_number, self.deltas)),
        }
        if self.group == "metrics":
            data["goal"] = _GOALS[self.direction]
            data["direction"] = self.direction
            data["better"] = list(self.better)
            data["best"] = self.best
        return data


@dataclass(frozen=True, slots=True)
class VersionChange:
    """A version of the pipeline that is not the version of the first run.

    Attributes:
        version: the digest of this version.
        runs: the ids of the runs that have it.
        changes: what differs from the pipeline of the first run. None when the store does not have
            both pipelines.
    """

    version: str
    runs: tuple[str, ...]
    changes: tuple[Change, ...] | None

    def to_dict(self) -> dict[str, JsonValue]:
        """Return the change as JSON."""
        changes: list[JsonValue] | None = None
        if self.changes is not None:
            changes = [change.to_dict() for change in self.changes]
        return {"version": self.version, "runs": list(self.runs), "changes": changes}


def _to_json(value: Value) -> JsonValue:
    if value is MISSING:
        return None
    number_or_text: JsonValue = json_number(value)
    return number_or_text


def is_number(value: object) -> TypeGuard[float]:
    """Return whether a value is a number. Booleans are not numbers here, as in JSON."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def are_near(one: object, other: object, tolerance: float) -> bool:
    """Return whether two values are numbers that are equal or at most `tolerance` apart."""
    if not (is_number(one) and is_number(other)):
        return False
    if one == other:
        return True
    try:
        # The factor makes up for the rounding error of the subtraction.
        return abs(one - other) <= tolerance * (1 + 1e-6)
    except OverflowError:
        # A float minus an integer that is larger than any float.
        return False
