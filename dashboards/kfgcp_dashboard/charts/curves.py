"""Draw the quality of classifiers: ROC curves and confusion matrices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from kfgcp_dashboard.charts import ChartSpec

_CHANCE_COLOR: Final = "#9a9db0"
_RATE_FORMAT: Final = ".3f"


def roc_chart(curves: Mapping[str, Sequence[tuple[float, float]]]) -> ChartSpec:
    """Return a chart of ROC curves over each other, above the line of chance.

    Args:
        curves: run name -> pairs (false positive rate, true positive rate), the first ascending.
    """
    axes = {
        "x": _rate_axis("fpr", "false positive rate"),
        "y": _rate_axis("tpr", "true positive rate"),
    }
    chance_layer = {
        "data": {"values": [{"fpr": 0, "tpr": 0}, {"fpr": 1, "tpr": 1}]},
        "mark": {"type": "line", "strokeDash": [4, 4], "color": _CHANCE_COLOR, "strokeWidth": 1},
        "encoding": axes,
    }
    curve_layer = {
        "data": {"values": _curve_rows(curves)},
        "mark": {"type": "line", "strokeWidth": 2.2, "interpolate": "linear"},
        "encoding": {
            **axes,
            # Vega-Lite sorts the points of a line by x otherwise, and a ROC curve has several
            # points with the same x.
            "order": {"field": "order", "type": "quantitative"},
            "color": {
                "field": "run",
                "type": "nominal",
                "sort": list(curves),
                "legend": {"title": None, "orient": "bottom", "labelLimit": 320, "columns": 1},
            },
            "tooltip": [
                {"field": "run", "type": "nominal"},
                _rate_tooltip("fpr", "false positive rate"),
                _rate_tooltip("tpr", "true positive rate"),
            ],
        },
    }
    return {"height": 380, "layer": [chance_layer, curve_layer]}


def confusion_chart(categories: Sequence[str], counts: Sequence[Sequence[float]]) -> ChartSpec:
    """Return a confusion matrix. The darker a cell, the larger its share of the row.

    Args:
        categories: names of the classes.
        counts: a row for each true class, a column for each predicted class.
    """
    side = {"type": "nominal", "sort": list(categories)}
    x_axis = {
        **side,
        "field": "predicted",
        "title": "predicted",
        "axis": {"labelAngle": 0, "labelLimit": 90},
    }
    y_axis = {**side, "field": "actual", "title": "actual", "axis": {"labelLimit": 110}}
    return {
        "data": {"values": _confusion_rows(categories, counts)},
        "height": {"step": 46},
        "encoding": {"x": x_axis, "y": y_axis},
        "layer": [_cell_layer(), _count_layer()],
    }


def _rate_axis(field: str, title: str) -> ChartSpec:
    return {
        "field": field,
        "type": "quantitative",
        "title": title,
        "scale": {"domain": [0, 1], "nice": False},
    }


def _rate_tooltip(field: str, title: str) -> ChartSpec:
    return {"field": field, "type": "quantitative", "format": _RATE_FORMAT, "title": title}


def _curve_rows(curves: Mapping[str, Sequence[tuple[float, float]]]) -> list[ChartSpec]:
    rows: list[ChartSpec] = []
    for name, points in curves.items():
        for index, (fpr, tpr) in enumerate(points):
            rows.append({"run": name, "fpr": fpr, "tpr": tpr, "order": index})
    return rows


def _confusion_rows(
    categories: Sequence[str], counts: Sequence[Sequence[float]]
) -> list[ChartSpec]:
    rows: list[ChartSpec] = []
    for actual, row in zip(categories, counts, strict=True):
        # A class without examples has a row of zeros, which has no shares.
        total = sum(row) or 1
        for predicted, count in zip(categories, row, strict=True):
            share = count / total
            rows.append({"actual": actual, "predicted": predicted, "count": count, "share": share})
    return rows


def _cell_layer() -> ChartSpec:
    color = {
        "field": "share",
        "type": "quantitative",
        "scale": {"domain": [0, 1]},
        "legend": None,
    }
    tooltip = [
        {"field": "actual", "type": "nominal"},
        {"field": "predicted", "type": "nominal"},
        {"field": "count", "type": "quantitative"},
        {
            "field": "share",
            "type": "quantitative",
            "format": ".1%",
            "title": "share of the actual class",
        },
    ]
    return {
        "mark": {"type": "rect", "cornerRadius": 3},
        "encoding": {"color": color, "tooltip": tooltip},
    }


def _count_layer() -> ChartSpec:
    # White text on dark cells, grey text on light ones.
    color = {
        "condition": {"test": "datum.share > 0.5", "value": "#ffffff"},
        "value": "#7d8096",
    }
    return {
        "mark": {"type": "text", "fontSize": 13, "fontWeight": 600},
        "encoding": {"text": {"field": "count", "type": "quantitative"}, "color": color},
    }
