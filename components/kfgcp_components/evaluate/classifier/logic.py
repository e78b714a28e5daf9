"""Measure a classifier on a test set.

A metric that cannot be computed is left out, and a note names the metric.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn import metrics as score

from kfgcp_components.features import class_labels
from kfgcp_components.messages import format_names
from kfgcp_components.models import TableModel
from kfgcp_components.tables import require_column

# The curve is stored as JSON in the metadata of an artifact, so it needs a limit. 200 points are
# enough for a picture.
MAX_ROC_POINTS = 200

# The class of each row as a number, shape (rows,).
ClassCodes: TypeAlias = npt.NDArray[np.int64]
# The probability of each class for each row, shape (rows, classes).
Probabilities: TypeAlias = npt.NDArray[np.float64]


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
    if model.classes is None:
        raise ValueError("the model predicts numbers, not classes; use evaluate_regressor")
    require_column(test, target)
    rows = test.dropna(subset=[target])
    if rows.empty:
        raise ValueError(
            f"none of the {len(test)} rows of the test set has a value in the target column"
            f" {target!r}"
        )
    classes = [str(label) for label in model.classes]
    actual_labels = class_labels(rows[target]).astype(str)
    unseen = sorted(set(actual_labels) - set(classes))
    categories = classes + unseen
    codes = {category: code for code, category in enumerate(categories)}
    truth = np.array([codes[label] for label in actual_labels])
    predicted = np.array([codes[str(label)] for label in model.predict(rows)])
    metrics = _metrics_of_predictions(truth, predicted, binary=len(classes) == 2)
    notes = []
    if unseen:
        notes.append(f"the model never saw these classes of the test set: {format_names(unseen)}")
    roc = []
    probability_table = model.predict_proba(rows)
    if probability_table is not None:
        probabilities = probability_table.to_numpy()
        absent = [name for name in classes if codes[name] not in truth]
        if absent:
            notes.append(f"these classes have no rows in the test set: {format_names(absent)}")
        metrics["log_loss"] = _log_loss(truth, probabilities)
        metrics["roc_auc"] = _roc_auc(truth, probabilities)
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
    confusion = score.confusion_matrix(truth, predicted, labels=range(len(categories))).tolist()
    return Evaluation(finite_metrics, categories, confusion, roc, notes)


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


def _metrics_of_predictions(
    truth: ClassCodes, predicted: ClassCodes, *, binary: bool
) -> dict[str, float]:
    if binary:
        # Precision, recall and F1 measure the positive class. They are undefined if no row is of
        # this class, or none is predicted to be.
        arguments = {
            "y_true": truth == 1,
            "y_pred": predicted == 1,
            "average": "binary",
            "zero_division": np.nan,
        }
    else:
        arguments = {"y_true": truth, "y_pred": predicted, "average": "macro", "zero_division": 0}
    return {
        "accuracy": score.accuracy_score(truth, predicted),
        # Balanced accuracy is the mean recall of the classes that have rows.
        "balanced_accuracy": score.recall_score(
            truth, predicted, labels=np.unique(truth), average="macro"
        ),
        "precision": score.precision_score(**arguments),
        "recall": score.recall_score(**arguments),
        "f1": score.f1_score(**arguments),
    }


def _log_loss(truth: ClassCodes, probabilities: Probabilities) -> float:
    class_count = probabilities.shape[1]
    # Classes that the model does not know have the highest codes. The model gives them the
    # probability 0, so the loss is infinite.
    if truth.max() >= class_count:
        return math.inf
    return float(score.log_loss(truth, probabilities, labels=range(class_count)))


def _roc_auc(truth: ClassCodes, probabilities: Probabilities) -> float:
    """Return the area under the ROC curve.

    With two classes, it is the area for the second class. With more classes, it is the mean of the
    areas for each class against the rest. It is NaN if it is undefined for every class.
    """
    class_count = probabilities.shape[1]
    codes = [1] if class_count == 2 else range(class_count)
    areas = []
    for code in codes:
        is_of_class = truth == code
        # The area is undefined if all rows are of the class, or no row is.
        if 0 < is_of_class.sum() < len(truth):
            areas.append(score.roc_auc_score(is_of_class, probabilities[:, code]))
    if not areas:
        return math.nan
    return float(np.mean(areas))
