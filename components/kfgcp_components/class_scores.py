"""Predict the classes of a table, and compute metrics of the predictions."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn import metrics as score

from kfgcp_components.features import class_labels
from kfgcp_components.models import TableModel
from kfgcp_components.tables import require_column

# The class of each row as a number, shape (rows,).
ClassCodes: TypeAlias = npt.NDArray[np.int64]
# The probability of each class for each row, shape (rows, classes).
Probabilities: TypeAlias = npt.NDArray[np.float64]

PREDICTION_METRICS: Final = ("accuracy", "balanced_accuracy", "precision", "recall", "f1")
PROBABILITY_METRICS: Final = ("log_loss", "roc_auc")


@dataclass(frozen=True)
class ClassPredictions:
    """The predictions of a classifier for the rows of a table.

    Attributes:
        rows: the rows that have a target.
        categories: the classes: first those of the model in its order, then the other classes of
            the table.
        class_count: the number of classes of the model.
        truth: the true class of each row.
        predicted: the predicted class of each row.
        probabilities: None for a model without probabilities.
    """

    rows: pd.DataFrame
    categories: list[str]
    class_count: int
    truth: ClassCodes
    predicted: ClassCodes
    probabilities: Probabilities | None

    def take(self, positions: npt.NDArray[np.int64]) -> ClassPredictions:
        """Return the predictions of the rows at some positions."""
        return replace(
            self,
            rows=self.rows.iloc[positions],
            truth=self.truth[positions],
            predicted=self.predicted[positions],
            probabilities=None if self.probabilities is None else self.probabilities[positions],
        )


def predict_classes(model: TableModel, table: pd.DataFrame, target: str) -> ClassPredictions:
    """Predict the rows of a table that have a target.

    Args:
        model: a classifier.
        table: rows with the columns of the model.
        target: the column with the true classes.

    Raises:
        ValueError: the model is not a classifier, the target or a column that the model needs is
            missing, or no row has a target.
    """
    if model.classes is None:
        raise ValueError("the model predicts numbers, not classes; use evaluate_regressor")
    rows = rows_with_target(table, target)
    classes = [str(label) for label in model.classes]
    actual_labels = class_labels(rows[target]).astype(str)
    categories = classes + sorted(set(actual_labels) - set(classes))
    codes = {category: code for code, category in enumerate(categories)}
    probabilities = model.predict_proba(rows)
    return ClassPredictions(
        rows=rows,
        categories=categories,
        class_count=len(classes),
        truth=np.array([codes[label] for label in actual_labels]),
        predicted=np.array([codes[str(label)] for label in model.predict(rows)]),
        probabilities=None if probabilities is None else probabilities.to_numpy(),
    )


def rows_with_target(table: pd.DataFrame, target: str) -> pd.DataFrame:
    """Return the rows of a test set that have a value in the target column.

    Raises:
        ValueError: the column is missing, or no row has a value.
    """
    require_column(table, target)
    rows = table.dropna(subset=[target])
    if rows.empty:
        raise ValueError(
            f"none of the {len(table)} rows of the test set has a value in the target column"
            f" {target!r}"
        )
    return rows


def prediction_scores(
    truth: ClassCodes, predicted: ClassCodes, *, binary: bool
) -> dict[str, float]:
    """Return the metrics that need no probabilities. A metric that is undefined is NaN.

    Args:
        truth: the class codes, shape (rows,).
        predicted: the predicted class codes, shape (rows,).
        binary: whether the model has two classes. Then code 1 is the positive class.
    """
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


def log_loss(truth: ClassCodes, probabilities: Probabilities) -> float:
    """Return the mean negative logarithm of the probability of the true class, in nats.

    It is infinite if a row is of a class that the model does not know.
    """
    class_count = probabilities.shape[1]
    # Classes that the model does not know have the highest codes. The model gives them the
    # probability 0, so the loss is infinite.
    if truth.max() >= class_count:
        return math.inf
    return float(score.log_loss(truth, probabilities, labels=range(class_count)))


def roc_auc(truth: ClassCodes, probabilities: Probabilities) -> float:
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
