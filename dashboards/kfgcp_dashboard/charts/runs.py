"""Several runs in one picture: any two columns, all columns at once, and metrics as bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from kfgcp_dashboard.text import finite

MOST_METRICS: Final = 12
MOST_AXES: Final = 12
MOST_CATEGORIES: Final = 40
_MISSING: Final = "—"


def scatter(points: Sequence[tuple[str, Any, Any]], x: str, y: str) -> dict[str, Any]:
    """A point a run.

    Args:
        points: name of the run and its two values; numbers or texts. A run without one of them is
            left out.
        x: title of the first value.
        y: title of the second.
    """
    known = [(name, one, two) for name, one, two in points if _drawable(one) and _drawable(two)]
    rows = [{"run": name, "x": one, "y": two} for name, one, two in known]
    return {
        "data": {"values": rows},
        "height": 360,
        "mark": {"type": "point", "filled": True, "size": 110, "opacity": 0.9},
        "encoding": {
            "x": _axis("x", x, [one for _, one, _ in known]),
            "y": _axis("y", y, [two for _, _, two in known]),
            "color": {
                "field": "run",
                "type": "nominal",
                "scale": {"domain": [name for name, _, _ in points]},
                "legend": _legend(),
            },
            "tooltip": [
                {"field": "run", "type": "nominal"},
                {"field": "x", "title": x},
                {"field": "y", "title": y},
            ],
        },
    }


def bars(metrics: Mapping[str, Sequence[tuple[str, float | None]]]) -> dict[str, Any]:
    """A small chart a metric with a bar a run, each on a scale of its own.

    Args:
        metrics: name -> the runs' names and values, in the same order. Only the first
            `MOST_METRICS` are drawn; values that are missing or not finite are left out.
    """
    chosen = list(metrics.items())[:MOST_METRICS]
    names = [name for name, _ in next(iter(metrics.values()), ())]
    rows = [
        {"metric": title, "run": name, "value": value}
        for title, values in chosen
        for name, value in values
        if value is not None and finite(value)
    ]
    run = {"field": "run", "type": "nominal", "sort": names, "title": None, "axis": None}
    value = {
        "field": "value",
        "type": "quantitative",
        "title": None,
        "axis": None,
        "scale": {"padding": 40},
    }
    colour = {"field": "run", "type": "nominal", "scale": {"domain": names}, "legend": _legend()}
    header = {
        "title": None,
        "labelAnchor": "start",
        "labelFontWeight": 550,
        "labelLimit": 250,
        "labelPadding": 4,
    }
    return {
        "data": {"values": rows},
        "facet": {
            "field": "metric",
            "type": "nominal",
            "sort": [title for title, _ in chosen],
            "header": header,
        },
        "columns": 3,
        "spacing": 22,
        "spec": {
            "width": 255,
            "height": {"step": 22},
            "layer": [
                {"mark": {"type": "bar", "cornerRadiusEnd": 3}},
                {
                    "mark": {"type": "text", "align": "left", "dx": 5, "fontSize": 11},
                    "encoding": {
                        "text": {"field": "value", "type": "quantitative", "format": ".4~g"}
                    },
                },
            ],
            "encoding": {
                "y": run,
                "x": value,
                "color": colour,
                "tooltip": [
                    {"field": "run", "type": "nominal"},
                    {"field": "value", "type": "quantitative"},
                ],
            },
        },
        "resolve": {"scale": {"x": "independent"}},
        "config": {"view": {"stroke": None}},
    }


def parallel(names: Sequence[str], columns: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    """Parallel coordinates as an ECharts option: an axis a column, a line a run.

    Args:
        names: of the runs.
        columns: title -> a value a run, None where there is none. Numbers get a scale, other values
            places on an axis; only the first `MOST_AXES` are drawn.
    """
    chosen = list(columns.items())[:MOST_AXES]
    axes, table = [], []
    for place, (title, values) in enumerate(chosen):
        base = {
            "dim": place,
            "name": title,
            "nameTextStyle": {"width": 110, "overflow": "truncate", "fontSize": 11},
        }
        if all(value is None or _number(value) for value in values) and any(
            _finite(value) for value in values
        ):
            axes.append({**base, "type": "value", "scale": True})
            table.append([value if _finite(value) else "-" for value in values])
        else:
            texts = [_MISSING if value is None else _short(value) for value in values]
            axes.append(
                {**base, "type": "category", "data": list(dict.fromkeys(texts))[:MOST_CATEGORIES]}
            )
            table.append(texts)
    series = [
        {
            "name": name,
            "type": "parallel",
            "smooth": 0.15,
            "lineStyle": {"width": 2, "opacity": 0.8},
            "emphasis": {"lineStyle": {"width": 4}},
            "data": [[column[number] for column in table]],
        }
        for number, name in enumerate(names)
    ]
    return {
        "parallelAxis": axes,
        "parallel": {"left": 60, "right": 90, "top": 50, "bottom": 60},
        "legend": {"bottom": 0, "type": "scroll", "data": list(names)},
        "animation": False,
        "series": series,
    }


def _legend() -> dict[str, Any]:
    return {"title": None, "orient": "top", "labelLimit": 300, "columns": 4}


def _axis(field: str, title: str, values: Sequence[Any]) -> dict[str, Any]:
    if values and all(_number(value) for value in values):
        return {
            "field": field,
            "type": "quantitative",
            "title": title,
            "scale": {"zero": False, "nice": True},
        }
    return {
        "field": field,
        "type": "nominal",
        "title": title,
        "axis": {"labelAngle": 0, "labelLimit": 160},
    }


def _drawable(value: Any) -> bool:
    return value is not None and (not _number(value) or finite(value))


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _finite(value: Any) -> bool:
    return _number(value) and finite(value)


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else str(value)
    return text if len(text) <= 24 else f"{text[:23]}…"
