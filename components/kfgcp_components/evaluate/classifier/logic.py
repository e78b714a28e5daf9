"""Measuring a classifier on a test set; what cannot be computed is left out and named in a note."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn import metrics as score

from kfgcp_components.features import class_labels, prepare
from kfgcp_components.messages import listing
from kfgcp_components.tables import require_column

MAX_ROC_POINTS = 200

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Evaluation:
    """What was measured.

    Attributes:
        metrics: Finite numbers by name.
        categories: The classes of the confusion matrix: the model's in their order, then those it
            never saw.
        confusion: Counts; a row per true class, a column per predicted class.
        roc: Points (false positive rate, true positive rate, threshold), rates ascending; may be
            empty.
        notes: One line for each thing that is missing or out of the ordinary.
    """

    metrics: dict[str, float]
    categories: list[str]
    confusion: list[list[int]]
    roc: list[tuple[float, float, float]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def evaluate(model: Any, test: pd.DataFrame, target: str) -> Evaluation:
    """The metrics of a fitted classifier on a test set.

    A class that the model has never seen gets its own row in the confusion matrix. Its rows count
    as mispredicted, and as negatives in ROC; log loss, which would be infinite, is left out.

    Args:
        model: Fitted scikit-learn pipeline, as train_classifier makes it.
        test: Rows to predict; those without a target are left out.
        target: Column with the true classes.

    Raises:
        ValueError: If the target or a column the model needs is not there, or no row has a target.
    """
    require_column(test, target)
    rows = test.dropna(subset=[target])
    if rows.empty:
        raise ValueError(
            f"none of the {len(test)} rows of the test set has a value in the target column"
            f" {target!r}"
        )
    classes = [str(label) for label in model.classes_]
    actual = class_labels(rows[target]).astype(str)
    unseen = sorted(set(actual) - set(classes))
    categories = classes + unseen
    codes = {category: code for code, category in enumerate(categories)}
    inputs = _inputs(model, rows)
    truth = np.array([codes[label] for label in actual])
    predicted = np.array([codes[str(label)] for label in model.predict(inputs)])
    measured = _from_predictions(truth, predicted, binary=len(classes) == 2)
    notes = (
        [f"the model never saw these classes of the test set: {listing(unseen)}"] if unseen else []
    )
    roc = []
    if hasattr(model, "predict_proba"):
        probabilities = model.predict_proba(inputs)
        absent = [name for code, name in enumerate(classes) if code not in truth]
        if absent:
            notes.append(f"these classes have no rows in the test set: {listing(absent)}")
        measured["log_loss"] = _log_loss(truth, probabilities)
        measured["roc_auc"] = _roc_auc(truth, probabilities)
        roc = roc_points(truth, probabilities)
    else:
        notes.append("the model gives no probabilities: no log_loss, no roc_auc, no ROC curve")
    finite = {name: float(value) for name, value in measured.items() if math.isfinite(value)}
    notes += [
        f"{name} is undefined on this test set and left out"
        for name in measured
        if name not in finite
    ]
    confusion = score.confusion_matrix(truth, predicted, labels=range(len(categories))).tolist()
    return Evaluation(finite, categories, confusion, roc, notes)


def roc_points(
    truth: Array, probabilities: Array, limit: int = MAX_ROC_POINTS
) -> list[tuple[float, float, float]]:
    """The ROC curve as at most `limit` points, from (0, 0) to (1, 1); empty if a side has no rows.

    With two classes the curve is that of the second one. With more it is the micro-average: each
    pair of a row and a class is one decision, true when the row is of the class. The first
    threshold, where nothing is predicted positive, is written as 1.0; scikit-learn says infinity,
    which JSON cannot hold.

    Args:
        truth: Class codes, shape (rows,).
        probabilities: Shape (rows, classes).
        limit: Most points to return; the kept ones are spread evenly along the length of the curve.
    """
    count = probabilities.shape[1]
    one_vs_rest = truth[:, None] == np.arange(count)
    chosen = slice(1, 2) if count == 2 else slice(None)
    positive = one_vs_rest[:, chosen].ravel()
    if positive.all() or not positive.any():
        return []
    fpr, tpr, thresholds = score.roc_curve(positive, probabilities[:, chosen].ravel())
    thresholds[0] = 1.0
    kept = np.arange(len(fpr))
    if len(fpr) > limit:
        kept = np.unique(
            np.searchsorted(fpr + tpr, np.linspace(0, 2, limit)).clip(max=len(fpr) - 1)
        )
    return [(float(fpr[i]), float(tpr[i]), float(thresholds[i])) for i in kept]


def _inputs(model: Any, rows: pd.DataFrame) -> pd.DataFrame:
    names = list(model.feature_names_in_)
    missing = [name for name in names if name not in rows.columns]
    if missing:
        raise ValueError(
            f"the test set lacks columns that the model was trained with: {listing(missing)}"
        )
    prepared = {name: columns for name, _, columns in model.named_steps["columns"].transformers_}
    return prepare(rows, prepared.get("numeric", []), prepared.get("text", []))[names]


def _from_predictions(truth: Array, predicted: Array, *, binary: bool) -> dict[str, float]:
    if binary:  # of the positive class; undefined without a prediction, or a row, of it
        sides = {
            "y_true": truth == 1,
            "y_pred": predicted == 1,
            "average": "binary",
            "zero_division": np.nan,
        }
    else:
        sides = {"y_true": truth, "y_pred": predicted, "average": "macro", "zero_division": 0}
    return {
        "accuracy": score.accuracy_score(truth, predicted),
        "balanced_accuracy": score.recall_score(
            truth, predicted, labels=np.unique(truth), average="macro"
        ),
        "precision": score.precision_score(**sides),
        "recall": score.recall_score(**sides),
        "f1": score.f1_score(**sides),
    }


def _log_loss(truth: Array, probabilities: Array) -> float:
    count = probabilities.shape[1]
    if truth.max() >= count:
        return math.inf
    return float(score.log_loss(truth, probabilities, labels=range(count)))


def _roc_auc(truth: Array, probabilities: Array) -> float:
    """Of the second of two classes, or the mean of each class against the rest; NaN when there is
    none."""
    count = probabilities.shape[1]
    areas = [
        score.roc_auc_score(truth == code, probabilities[:, code])
        for code in ([1] if count == 2 else range(count))
        if 0 < (truth == code).sum() < len(truth)
    ]
    return float(np.mean(areas)) if areas else math.nan
