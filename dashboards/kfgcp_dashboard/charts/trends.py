"""How a metric went over time, and what it goes along with."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from kfgcp_dashboard.text import finite

MOST: Final = 15
FEWEST: Final = 3
"""Runs that a correlation needs at least."""


@dataclass(frozen=True, slots=True)
class Importance:
    """How strongly a parameter and a metric go together. strength: 0 to 1. sign: of the slope, 0
    for texts."""

    name: str
    strength: float
    sign: int
    runs: int


def over_time(points: Sequence[tuple[str, str, float, str]], title: str) -> dict[str, Any]:
    """A metric by the time its run was made: name, timestamp, value, environment."""
    rows = [
        {"run": name, "at": at, "value": value, "env": env}
        for name, at, value, env in points
        if finite(value)
    ]
    at = {"field": "at", "type": "temporal", "title": None, "scale": {"type": "utc"}}
    value = {"field": "value", "type": "quantitative", "title": title, "scale": {"zero": False}}
    return {
        "data": {"values": rows},
        "height": 320,
        "encoding": {"x": at, "y": value},
        "layer": [
            {"mark": {"type": "line", "strokeWidth": 1, "opacity": 0.35, "color": "#9a9db0"}},
            {
                "mark": {"type": "point", "filled": True, "size": 60},
                "encoding": {
                    "color": {
                        "field": "env",
                        "type": "nominal",
                        "legend": {"title": None, "orient": "top"},
                    },
                    "tooltip": [
                        {"field": "run", "type": "nominal"},
                        {
                            "field": "at",
                            "type": "temporal",
                            "format": "%Y-%m-%d %H:%M:%S",
                            "title": "made",
                        },
                        {"field": "value", "type": "quantitative", "title": title},
                        {"field": "env", "type": "nominal", "title": "environment"},
                    ],
                },
            },
        ],
    }


def importances(
    params: Mapping[str, Sequence[Any]], metric: Sequence[float | None]
) -> list[Importance]:
    """How much of a metric each parameter goes along with, strongest first; those that never differ
    are left out.

    A number is measured by Pearson's correlation, its size. Anything else by the correlation ratio
    eta: the root of the share of the metric's variance that lies between the groups of equal
    values.

    Args:
        params: name -> a value a run, None where there is none.
        metric: a value a run; runs without a finite one do not count.
    """
    found = []
    for name, values in params.items():
        pairs = [
            (value, float(score))
            for value, score in zip(values, metric, strict=True)
            if value is not None and score is not None and finite(score)
        ]
        if len(pairs) < FEWEST or len({str(value) for value, _ in pairs}) < 2:
            continue
        if all(_number(value) for value, _ in pairs):
            measured = _pearson([float(value) for value, _ in pairs], [score for _, score in pairs])
            found.append(
                Importance(name, abs(measured), (measured > 0) - (measured < 0), len(pairs))
            )
        else:
            found.append(
                Importance(
                    name, _eta([(str(value), score) for value, score in pairs]), 0, len(pairs)
                )
            )
    return sorted(found, key=lambda each: (-each.strength, each.name))


def importance_bars(found: Sequence[Importance]) -> dict[str, Any]:
    """The strongest as bars from 0 to 1; the colour says which way."""
    signs = {1: "higher with it", -1: "lower with it", 0: "differs by value"}
    rows = [
        {
            "name": each.name,
            "strength": round(each.strength, 4),
            "sign": signs[each.sign],
            "runs": each.runs,
        }
        for each in found[:MOST]
    ]
    return {
        "data": {"values": rows},
        "height": {"step": 24},
        "mark": {"type": "bar", "cornerRadiusEnd": 3},
        "encoding": {
            "y": {
                "field": "name",
                "type": "nominal",
                "sort": [row["name"] for row in rows],
                "title": None,
                "axis": {"labelLimit": 220},
            },
            "x": {
                "field": "strength",
                "type": "quantitative",
                "title": "correlation",
                "scale": {"domain": [0, 1], "nice": False},
            },
            "color": {
                "field": "sign",
                "type": "nominal",
                "sort": list(signs.values()),
                "legend": {"title": None, "orient": "bottom", "columns": 2},
            },
            "tooltip": [
                {"field": "name", "type": "nominal", "title": "parameter"},
                {"field": "strength", "type": "quantitative", "title": "correlation"},
                {"field": "runs", "type": "quantitative"},
            ],
        },
    }


def _pearson(xs: Sequence[float], ys: Sequence[float]) -> float:
    xs, ys = _scaled(xs), _scaled(ys)
    mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
    over = sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True))
    spread = math.sqrt(sum((x - mean_x) ** 2 for x in xs)) * math.sqrt(
        sum((y - mean_y) ** 2 for y in ys)
    )
    return max(-1.0, min(1.0, over / spread)) if spread else 0.0


def _eta(pairs: Sequence[tuple[str, float]]) -> float:
    pairs = list(
        zip((value for value, _ in pairs), _scaled([score for _, score in pairs]), strict=True)
    )
    mean = sum(score for _, score in pairs) / len(pairs)
    total = sum((score - mean) ** 2 for _, score in pairs)
    groups: dict[str, list[float]] = {}
    for value, score in pairs:
        groups.setdefault(value, []).append(score)
    between = sum(
        len(scores) * (sum(scores) / len(scores) - mean) ** 2 for scores in groups.values()
    )
    return math.sqrt(min(1.0, between / total)) if total else 0.0


def _scaled(values: Sequence[float]) -> list[float]:
    """Values between -1 and 1, whose squares are no infinities."""
    largest = max(map(abs, values))
    return [value / largest for value in values] if largest else list(values)


def _number(value: Any) -> bool:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    return finite(value)
