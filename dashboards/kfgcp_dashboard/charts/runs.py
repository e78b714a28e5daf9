"""Draw several runs in one chart: two columns, all columns, or metrics as bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, TypeGuard

from kfgcp_dashboard.charts import ChartSpec
from kfgcp_dashboard.text import is_finite, shorten

# More than these do not fit into a page.
MAX_METRICS: Final = 12
MAX_AXES: Final = 12
MAX_CATEGORIES: Final = 40
MAX_LABEL_WIDTH: Final = 24

_MISSING_LABEL: Final = "—"

# ECharts leaves a gap in a line for this value.
_GAP: Final = "-"


def scatter_chart(points: Sequence[tuple[str, object, object]], x: str, y: str) -> ChartSpec:
    """Return a chart with a point for each run.

    Args:
        points: name of the run and its two values, numbers or texts. Runs without one of them are
            left out.
        x: title of the first value.
        y: title of the second value.
    """
    rows: list[ChartSpec] = []
    # The names include runs without a point, so a run has the same colour in all charts of a page.
    names = []
    for name, x_value, y_value in points:
        names.append(name)
        if _is_drawable(x_value) and _is_drawable(y_value):
            rows.append({"run": name, "x": x_value, "y": y_value})
    tooltip = [
        {"field": "run", "type": "nominal"},
        {"field": "x", "title": x},
        {"field": "y", "title": y},
    ]
    return {
        "data": {"values": rows},
        "height": 360,
        "mark": {"type": "point", "filled": True, "size": 110, "opacity": 0.9},
        "encoding": {
            "x": _axis("x", x, rows),
            "y": _axis("y", y, rows),
            "color": _run_color(names),
            "tooltip": tooltip,
        },
    }


def metric_bars(metrics: Mapping[str, Sequence[tuple[str, float | None]]]) -> ChartSpec:
    """Return a small chart for each metric, with a bar for each run and a scale of its own.

    Args:
        metrics: name of the metric -> the names of the runs and their values, always in the same
            order. Only the first `MAX_METRICS` are drawn. Values that are missing or not finite
            are left out.
    """
    titles = list(metrics)[:MAX_METRICS]
    rows: list[ChartSpec] = []
    for title in titles:
        for name, value in metrics[title]:
            if value is not None and is_finite(value):
                rows.append({"metric": title, "run": name, "value": value})
    header = {
        "title": None,
        "labelAnchor": "start",
        "labelFontWeight": 550,
        "labelLimit": 250,
        "labelPadding": 4,
    }
    return {
        "data": {"values": rows},
        "facet": {"field": "metric", "type": "nominal", "sort": titles, "header": header},
        "columns": 3,
        "spacing": 22,
        "spec": _bar_spec(_run_names(metrics)),
        "resolve": {"scale": {"x": "independent"}},
        "config": {"view": {"stroke": None}},
    }


def parallel_chart(names: Sequence[str], columns: Mapping[str, Sequence[object]]) -> ChartSpec:
    """Return parallel coordinates as an option of ECharts: an axis for each column, a line for
    each run.

    Args:
        names: of the runs.
        columns: title -> a value for each run, None where a run has none. Numbers have a scale,
            other values have places on the axis. Only the first `MAX_AXES` are drawn.
    """
    axes: list[ChartSpec] = []
    axis_values: list[list[object]] = []
    for title in list(columns)[:MAX_AXES]:
        axis, values = _parallel_axis(columns[title])
        name_style = {"width": 110, "overflow": "truncate", "fontSize": 11}
        axes.append({"dim": len(axes), "name": title, "nameTextStyle": name_style, **axis})
        axis_values.append(values)
    series: list[ChartSpec] = []
    for index, name in enumerate(names):
        line = [values[index] for values in axis_values]
        series.append(_parallel_line(name, line))
    return {
        "parallelAxis": axes,
        "parallel": {"left": 60, "right": 90, "top": 50, "bottom": 60},
        "legend": {"bottom": 0, "type": "scroll", "data": list(names)},
        "animation": False,
        "series": series,
    }


def _run_names(metrics: Mapping[str, Sequence[tuple[str, float | None]]]) -> list[str]:
    """Return the names of the runs. All metrics have the same runs, so the first one is enough."""
    for run_values in metrics.values():
        return [name for name, _ in run_values]
    return []


def _bar_spec(names: Sequence[str]) -> ChartSpec:
    bar_layer = {"mark": {"type": "bar", "cornerRadiusEnd": 3}}
    number_layer = {
        "mark": {"type": "text", "align": "left", "dx": 5, "fontSize": 11},
        "encoding": {"text": {"field": "value", "type": "quantitative", "format": ".4~g"}},
    }
    x_axis = {
        "field": "value",
        "type": "quantitative",
        "title": None,
        "axis": None,
        # Room for the number at the end of the longest bar.
        "scale": {"padding": 40},
    }
    y_axis = {"field": "run", "type": "nominal", "sort": names, "title": None, "axis": None}
    tooltip = [{"field": "run", "type": "nominal"}, {"field": "value", "type": "quantitative"}]
    encoding = {"y": y_axis, "x": x_axis, "color": _run_color(names), "tooltip": tooltip}
    return {
        "width": 255,
        "height": {"step": 22},
        "layer": [bar_layer, number_layer],
        "encoding": encoding,
    }


def _parallel_line(name: str, values: Sequence[object]) -> ChartSpec:
    return {
        "name": name,
        "type": "parallel",
        "smooth": 0.15,
        "lineStyle": {"width": 2, "opacity": 0.8},
        "emphasis": {"lineStyle": {"width": 4}},
        "data": [list(values)],
    }


def _parallel_axis(values: Sequence[object]) -> tuple[ChartSpec, list[object]]:
    """Return an axis for the values, and the values as the axis shows them."""
    present_values = [value for value in values if value is not None]
    only_numbers = all(map(_is_number, present_values))
    if only_numbers and any(map(_is_finite_number, present_values)):
        return {"type": "value", "scale": True}, list(map(_number_or_gap, values))
    labels = list(map(_category_label, values))
    categories = list(dict.fromkeys(labels))[:MAX_CATEGORIES]
    return {"type": "category", "data": categories}, list(labels)


def _number_or_gap(value: object) -> object:
    if _is_finite_number(value):
        return value
    return _GAP


def _category_label(value: object) -> str:
    if value is None:
        return _MISSING_LABEL
    return shorten(str(value), MAX_LABEL_WIDTH)


def _run_color(names: Sequence[str]) -> ChartSpec:
    legend = {"title": None, "orient": "top", "labelLimit": 300, "columns": 4}
    return {"field": "run", "type": "nominal", "scale": {"domain": names}, "legend": legend}


def _axis(field: str, title: str, rows: Sequence[ChartSpec]) -> ChartSpec:
    """Return an axis for a field: a scale when all its values are numbers, else places."""
    if rows and all(_is_number(row[field]) for row in rows):
        scale = {"zero": False, "nice": True}
        return {"field": field, "type": "quantitative", "title": title, "scale": scale}
    axis = {"labelAngle": 0, "labelLimit": 160}
    return {"field": field, "type": "nominal", "title": title, "axis": axis}


def _is_drawable(value: object) -> bool:
    if _is_number(value):
        return is_finite(value)
    return value is not None


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_finite_number(value: object) -> bool:
    return _is_number(value) and is_finite(value)
