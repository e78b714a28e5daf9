"""How good classifiers are: ROC curves over each other, and confusion matrices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def roc(curves: Mapping[str, Sequence[tuple[float, float]]]) -> dict[str, Any]:
    """ROC curves over each other.

    Args:
        curves: name -> (false positive rate, true positive rate) pairs, the first ascending.
    """
    rows = [
        {"run": name, "fpr": fpr, "tpr": tpr, "order": place}
        for name, points in curves.items()
        for place, (fpr, tpr) in enumerate(points)
    ]
    scale = {"domain": [0, 1], "nice": False}
    chance = [{"fpr": 0, "tpr": 0}, {"fpr": 1, "tpr": 1}]
    axes = {
        "x": {
            "field": "fpr",
            "type": "quantitative",
            "title": "false positive rate",
            "scale": scale,
        },
        "y": {
            "field": "tpr",
            "type": "quantitative",
            "title": "true positive rate",
            "scale": scale,
        },
    }
    return {
        "height": 380,
        "layer": [
            {
                "data": {"values": chance},
                "mark": {
                    "type": "line",
                    "strokeDash": [4, 4],
                    "color": "#9a9db0",
                    "strokeWidth": 1,
                },
                "encoding": axes,
            },
            {
                "data": {"values": rows},
                "mark": {"type": "line", "strokeWidth": 2.2, "interpolate": "linear"},
                "encoding": {
                    **axes,
                    "order": {"field": "order", "type": "quantitative"},
                    "color": {
                        "field": "run",
                        "type": "nominal",
                        "sort": list(curves),
                        "legend": {
                            "title": None,
                            "orient": "bottom",
                            "labelLimit": 320,
                            "columns": 1,
                        },
                    },
                    "tooltip": [
                        {"field": "run", "type": "nominal"},
                        {
                            "field": "fpr",
                            "type": "quantitative",
                            "format": ".3f",
                            "title": "false positive rate",
                        },
                        {
                            "field": "tpr",
                            "type": "quantitative",
                            "format": ".3f",
                            "title": "true positive rate",
                        },
                    ],
                },
            },
        ],
    }


def confusion(categories: Sequence[str], counts: Sequence[Sequence[float]]) -> dict[str, Any]:
    """A confusion matrix: a row a true class, a column a predicted one; a cell is as dark as its
    share of the row."""
    rows = []
    for actual, row in zip(categories, counts, strict=True):
        total = sum(row)
        for predicted, count in zip(categories, row, strict=True):
            share = count / total if total else 0.0
            rows.append({"actual": actual, "predicted": predicted, "count": count, "share": share})
    side = {"type": "nominal", "sort": list(categories)}
    return {
        "data": {"values": rows},
        "height": {"step": 46},
        "encoding": {
            "x": {
                **side,
                "field": "predicted",
                "title": "predicted",
                "axis": {"labelAngle": 0, "labelLimit": 90},
            },
            "y": {**side, "field": "actual", "title": "actual", "axis": {"labelLimit": 110}},
        },
        "layer": [
            {
                "mark": {"type": "rect", "cornerRadius": 3},
                "encoding": {
                    "color": {
                        "field": "share",
                        "type": "quantitative",
                        "scale": {"domain": [0, 1]},
                        "legend": None,
                    },
                    "tooltip": [
                        {"field": "actual", "type": "nominal"},
                        {"field": "predicted", "type": "nominal"},
                        {"field": "count", "type": "quantitative"},
                        {
                            "field": "share",
                            "type": "quantitative",
                            "format": ".1%",
                            "title": "of this class",
                        },
                    ],
                },
            },
            {
                "mark": {"type": "text", "fontSize": 13, "fontWeight": 600},
                "encoding": {
                    "text": {"field": "count", "type": "quantitative"},
                    "color": {
                        "condition": {"test": "datum.share > 0.5", "value": "#ffffff"},
                        "value": "#7d8096",
                    },
                },
            },
        ],
    }
