"""Compute one metric of a model by its name."""

from __future__ import annotations

import math
from typing import Final, TypeAlias

import pandas as pd

from kfgcp_components.class_scores import (
    PREDICTION_METRICS,
    PROBABILITY_METRICS,
    ClassPredictions,
    log_loss,
    predict_classes,
    prediction_scores,
    roc_auc,
)
from kfgcp_components.messages import did_you_mean
from kfgcp_components.models import TableModel
from kfgcp_components.number_scores import METRICS, NumberPredictions, predict_numbers

Predictions: TypeAlias = ClassPredictions | NumberPredictions

CLASS_METRICS: Final = PREDICTION_METRICS + PROBABILITY_METRICS
NUMBER_METRICS: Final = tuple(METRICS)

LOWER_IS_BETTER: Final = frozenset(
    {"log_loss", "rmse", "mae", "median_absolute_error", "max_error", "mape"}
)


def predict(model: TableModel, table: pd.DataFrame, target: str) -> Predictions:
    """Predict the rows of a table that have a target.

    Raises:
        ValueError: the target or a column that the model needs is missing, or no row has a target.
    """
    if model.classes is None:
        return predict_numbers(model, table, target)
    return predict_classes(model, table, target)


def choose_metric(model: TableModel, metric: str) -> str:
    """Return the metric, or the usual one for the task of the model if the name is empty.

    Raises:
        ValueError: models of this task do not have this metric.
    """
    is_classifier = model.classes is not None
    if not metric:
        return "accuracy" if is_classifier else "rmse"
    metrics = CLASS_METRICS if is_classifier else NUMBER_METRICS
    if metric not in metrics:
        raise ValueError(
            f"no metric {metric!r} for {model.task}.{did_you_mean(metric, metrics)} There are:"
            f" {', '.join(metrics)}"
        )
    return metric


def score(predictions: Predictions, metric: str) -> float:
    """Return a metric of predictions. It is NaN or infinite where the metric is undefined."""
    if isinstance(predictions, NumberPredictions):
        return METRICS[metric](predictions.truth, predictions.predicted)
    truth = predictions.truth
    if metric in PREDICTION_METRICS:
        is_binary = predictions.class_count == 2
        return float(prediction_scores(truth, predictions.predicted, binary=is_binary)[metric])
    if predictions.probabilities is None:
        return math.nan
    measure = log_loss if metric == "log_loss" else roc_auc
    return measure(truth, predictions.probabilities)
