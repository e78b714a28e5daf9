"""Measure a regressor on a test set.

A metric that cannot be computed is left out, and a note names the metric.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import pandas as pd

from kfgcp_components.models import TableModel
from kfgcp_components.number_scores import METRICS, UNDEFINED_WHEN, predict_numbers


@dataclass(frozen=True)
class Evaluation:
    """The result of a measurement.

    Attributes:
        metrics: finite numbers by name.
        rows: the number of rows that were measured.
        notes: one line for each metric that is left out.
    """

    metrics: dict[str, float]
    rows: int
    notes: list[str] = field(default_factory=list)


def evaluate(model: TableModel, test: pd.DataFrame, target: str) -> Evaluation:
    """Measure a regressor on a test set.

    Args:
        model: a regressor, as `read_model` returns it.
        test: the rows to predict. Rows without a target are left out.
        target: the column with the true numbers.

    Raises:
        ValueError: the model is not a regressor, the target or a column that the model needs is
            missing, the target has other values than numbers, or no row has a target.
    """
    predictions = predict_numbers(model, test, target)
    metrics = {}
    notes = []
    for name, measure in METRICS.items():
        value = measure(predictions.truth, predictions.predicted)
        # A metric of an artifact is JSON, which has neither infinity nor NaN.
        if math.isfinite(value):
            metrics[name] = value
        else:
            notes.append(f"{name} is left out: it is undefined {UNDEFINED_WHEN[name]}")
    return Evaluation(metrics, len(predictions.truth), notes)
