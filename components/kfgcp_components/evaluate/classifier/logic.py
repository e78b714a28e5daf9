"""Measure a classifier on a test set.

A metric that cannot be computed is left out, and a note names the metric.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from sklearn import metrics as score

from kfgcp_components.class_scores import (
    ClassCodes,
    Probabilities,
    log_loss,
    predict_classes,
    prediction_scores,
    roc_auc,
)
from kfgcp_components.messages import format_names
from kfgcp_components.models import TableModel

# The curve is stored as JSON in the metadata of an artifact, so it needs a limit. 200 points are
# enough for a picture.
MAX_ROC_POINTS = 200


@dataclass(frozen=True)
class Evaluation:
    """The result of a measurement.

    Attributes:
        metrics: finite numbers by name.
        categories: the classes of the confusion matrix: first the classes of the model in the order
            of the model, then the other classes of the test set.
        confusion: numbers of rows, with a row for each true class and a column for each predicted
            class.
        roc: points (false positive rate, true positive rate, threshold) with ascending rates. May
            be empty.
        notes: one line for each missing metric, and for each unusual property of the test set.
    """

    metrics: dict[str, float]
    categories: list[str]
    confusion: list[list[int]]
    roc: list[tuple[float, float, float]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def evaluate(model: TableModel, test: pd.DataFrame, target: str) -> Evaluation:
    """Measure a fitted classifier on a test set.

    A class of the test set that the model does not know gets its own row in the confusion matrix.
    The rows of such a class count as wrong predictions, and as negatives in the ROC curve. Log loss
    would be infinite, so it is left out.

    Args:
        model: a classifier, as `read_model` returns it.
        test: the rows to predict. Rows without a target are left out.
        target: the column with the true classes.

    Raises:
        ValueError: the model is not a classifier, the target or a column that the model needs is
            missing, or no row has a target.
    """
    predictions = predict_classes(model, test, target)
    categories, truth = predictions.categories, predictions.truth
    classes, unseen = categories[: predictions.class_count], categories[predictions.class_count :]
    metrics = prediction_scores(truth, predictions.predicted, binary=len(classes) == 2)
    notes = []
    if unseen:
        notes.append(f"the model never saw these classes of the test set: {format_names(unseen)}")
    roc = []
    probabilities = predictions.probabilities
    if probabilities is not None:
        absent = [name for code, name in enumerate(classes) if code not in truth]
        if absent:
            notes.append(f"these classes have no rows in the test set: {format_names(absent)}")
        metrics["log_loss"] = log_loss(truth, probabilities)
        metrics["roc_auc"] = roc_auc(truth, probabilities)
        roc = roc_points(truth, probabilities)
    else:
        notes.append("the model gives no probabilities: no log_loss, no roc_auc, no ROC curve")
    finite_metrics = {}
    for name, value in metrics.items():
        # A metric of an artifact is JSON, which has neither infinity nor NaN.
        if math.isfinite(value):
            finite_metrics[name] = float(value)
        else:
            notes.append(f"{name} is undefined on this test set and left out")
    matrix = score.confusion_matrix(truth, predictions.predicted, labels=range(len(categories)))
    return Evaluation(finite_metrics, categories, matrix.tolist(), roc, notes)


def roc_points(
    truth: ClassCodes, probabilities: Probabilities, limit: int = MAX_ROC_POINTS
) -> list[tuple[float, float, float]]:
    """Return points of the ROC curve, from (0, 0) to (1, 1).

    With two classes, the curve shows the second class. With more classes, it is the micro-average:
    each pair of a row and a class is one decision, which is true if the row is of the class. At the
    first threshold, no row is predicted positive. scikit-learn returns infinity for this threshold.
    JSON has no infinity, so the function returns 1.0.

    Args:
        truth: the class codes, shape (rows,).
        probabilities: shape (rows, classes).
        limit: the largest number of points. They are spaced evenly along the curve.

    Returns:
        Points (false positive rate, true positive rate, threshold). The list is empty if no
        decision or every decision is true.

    Example:
        >>> roc_points(np.array([0, 1]), np.array([[0.9, 0.1], [0.2, 0.8]]))
        [(0.0, 0.0, 1.0), (0.0, 1.0, 0.8), (1.0, 1.0, 0.1)]
    """
    class_count = probabilities.shape[1]
    is_of_class = truth[:, None] == np.arange(class_count)
    columns = slice(1, 2) if class_count == 2 else slice(None)
    is_positive = is_of_class[:, columns].ravel()
    if is_positive.all() or not is_positive.any():
        return []
    scores = probabilities[:, columns].ravel()
    false_rates, true_rates, thresholds = score.roc_curve(is_positive, scores)
    thresholds[0] = 1.0
    last = len(false_rates) - 1
    indexes = np.arange(len(false_rates))
    if len(false_rates) > limit:
        # Both rates go from 0 to 1. So their sum goes from 0 to 2, and measures the distance along
        # the curve.
        distances = false_rates + true_rates
        chosen_indexes = np.searchsorted(distances, np.linspace(0, 2, limit))
        # Because of rounding, the last sum can be less than 2.
        indexes = np.unique(chosen_indexes.clip(max=last))
    points = []
    for index in indexes:
        point = (float(false_rates[index]), float(true_rates[index]), float(thresholds[index]))
        points.append(point)
    return points
