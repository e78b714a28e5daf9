"""Draw a metric over time, and how strongly each parameter is correlated with it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeGuard

from kfgcp_dashboard.charts import ChartSpec
from kfgcp_dashboard.text import is_finite

MAX_PARAMETERS: Final = 15

# With two runs, every correlation is 1.
MIN_RUNS: Final = 3

_LINE_COLOR: Final = "#9a9db0"
_SIGN_LABELS: Final = {
    1: "metric rises with the parameter",
    -1: "metric falls with the parameter",
    0: "metric differs between values of the parameter",
}


@dataclass(frozen=True, slots=True)
class Importance:
    """The correlation of a parameter with a metric.

    Attributes:
        name: of the parameter.
        strength: 0 to 1.
        sign: 1 when the metric rises with the parameter, -1 when it falls, 0 for texts.
        runs: how many runs have both values.
    """

    name: str
    strength: float
    sign: int
    runs: int


def metric_over_time(points: Sequence[tuple[str, str, float, str]], title: str) -> ChartSpec:
    """Return a chart of a metric by the creation time of the runs.

    Args:
        points: name, timestamp, value and environment of each run.
        title: of the metric.
    """
    rows: list[ChartSpec] = []
    for name, created_at, value, env in points:
        if is_finite(value):
            rows.append({"run": name, "at": created_at, "value": value, "env": env})
    x_axis = {"field": "at", "type": "temporal", "title": None, "scale": {"type": "utc"}}
    y_axis = {"field": "value", "type": "quantitative", "title": title, "scale": {"zero": False}}
    line = {"type": "line", "strokeWidth": 1, "opacity": 0.35, "color": _LINE_COLOR}
    time_format = "%Y-%m-%d %H:%M:%S"
    tooltip = [
        {"field": "run", "type": "nominal"},
        {"field": "at", "type": "temporal", "format": time_format, "title": "created"},
        {"field": "value", "type": "quantitative", "title": title},
        {"field": "env", "type": "nominal", "title": "environment"},
    ]
    color = {"field": "env", "type": "nominal", "legend": {"title": None, "orient": "top"}}
    point_layer = {
        "mark": {"type": "point", "filled": True, "size": 60},
        "encoding": {"color": color, "tooltip": tooltip},
    }
    return {
        "data": {"values": rows},
        "height": 320,
        "encoding": {"x": x_axis, "y": y_axis},
        "layer": [{"mark": line}, point_layer],
    }


def rank_parameters(
    params: Mapping[str, Sequence[object]], metric: Sequence[float | None]
) -> list[Importance]:
    """Return the correlation of each parameter with a metric, strongest first.

    Numbers are measured by the absolute value of Pearson's correlation. Other values are measured
    by the correlation ratio eta: the root of the share of the metric's variance that lies between
    the groups of equal values. Parameters with one value only are left out.

    Args:
        params: name -> a value for each run, None where a run has none.
        metric: a value for each run. Runs without a finite value do not count.

    Example:
        >>> (importance,) = rank_parameters({"lr": [1, 2, 3]}, [0.9, 0.6, 0.3])
        >>> importance.sign
        -1
    """
    ranking = []
    for name, values in params.items():
        present_values: list[object] = []
        scores: list[float] = []
        for value, score in zip(values, metric, strict=True):
            if value is not None and score is not None and is_finite(score):
                present_values.append(value)
                scores.append(float(score))
        is_varied = len(set(map(str, present_values))) > 1
        if len(scores) >= MIN_RUNS and is_varied:
            ranking.append(_measure_importance(name, present_values, scores))
    ranking.sort(key=lambda importance: (-importance.strength, importance.name))
    return ranking


def importance_chart(ranking: Sequence[Importance]) -> ChartSpec:
    """Return the strongest parameters as bars from 0 to 1. The colour shows the direction."""
    rows: list[ChartSpec] = []
    names = []
    for importance in ranking[:MAX_PARAMETERS]:
        names.append(importance.name)
        row: ChartSpec = {
            "name": importance.name,
            "strength": round(importance.strength, 4),
            "sign": _SIGN_LABELS[importance.sign],
            "runs": importance.runs,
        }
        rows.append(row)
    y_axis = {
        "field": "name",
        "type": "nominal",
        "sort": names,
        "title": None,
        "axis": {"labelLimit": 220},
    }
    x_axis = {
        "field": "strength",
        "type": "quantitative",
        "title": "correlation",
        "scale": {"domain": [0, 1], "nice": False},
    }
    color = {
        "field": "sign",
        "type": "nominal",
        "sort": list(_SIGN_LABELS.values()),
        "legend": {"title": None, "orient": "bottom", "columns": 1, "labelLimit": 300},
    }
    tooltip = [
        {"field": "name", "type": "nominal", "title": "parameter"},
        {"field": "strength", "type": "quantitative", "title": "correlation"},
        {"field": "runs", "type": "quantitative"},
    ]
    return {
        "data": {"values": rows},
        "height": {"step": 24},
        "mark": {"type": "bar", "cornerRadiusEnd": 3},
        "encoding": {"y": y_axis, "x": x_axis, "color": color, "tooltip": tooltip},
    }


def _measure_importance(name: str, values: Sequence[object], scores: Sequence[float]) -> Importance:
    """Return the correlation of a parameter's values with the metric's values, the scores."""
    numbers = [float(value) for value in values if _is_finite_number(value)]
    if len(numbers) < len(values):
        strength = _correlation_ratio(list(map(str, values)), scores)
        return Importance(name, strength, 0, len(scores))
    correlation = _pearson(numbers, scores)
    sign = 0
    if correlation:
        sign = 1 if correlation > 0 else -1
    return Importance(name, abs(correlation), sign, len(scores))


def _pearson(xs: Sequence[float], ys: Sequence[float]) -> float:
    """Return Pearson's correlation, 0 when the xs or the ys are all equal."""
    x_deviations = _deviations(_normalize(xs))
    y_deviations = _deviations(_normalize(ys))
    covariance = _dot_product(x_deviations, y_deviations)
    x_spread = math.sqrt(_dot_product(x_deviations, x_deviations))
    y_spread = math.sqrt(_dot_product(y_deviations, y_deviations))
    spread = x_spread * y_spread
    if not spread:
        return 0.0
    # Rounding can lead a little beyond the limits.
    return max(-1.0, min(1.0, covariance / spread))


def _correlation_ratio(labels: Sequence[str], scores: Sequence[float]) -> float:
    """Return the correlation ratio eta, 0 when the scores are all equal."""
    deviations = _deviations(_normalize(scores))
    total = _dot_product(deviations, deviations)
    if not total:
        return 0.0
    groups: dict[str, list[float]] = {}
    for label, deviation in zip(labels, deviations, strict=True):
        groups.setdefault(label, []).append(deviation)
    between_groups = 0.0
    for group in groups.values():
        group_mean = sum(group) / len(group)
        between_groups += len(group) * group_mean**2
    # Rounding can lead a little beyond 1.
    return math.sqrt(min(1.0, between_groups / total))


def _deviations(values: Sequence[float]) -> list[float]:
    mean = sum(values) / len(values)
    return [value - mean for value in values]


def _dot_product(xs: Sequence[float], ys: Sequence[float]) -> float:
    return sum(x * y for x, y in zip(xs, ys, strict=True))


def _normalize(values: Sequence[float]) -> list[float]:
    """Return the values between -1 and 1. The squares of large floats would be infinite."""
    largest = max(map(abs, values))
    if not largest:
        return list(values)
    return [value / largest for value in values]


def _is_finite_number(value: object) -> TypeGuard[int | float]:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    return is_finite(value)
