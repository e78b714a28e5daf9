"""Compute for each row how much it counts for the challenger.

The effects of all rows have the mean "improvement minus minimum effect". So the question whether
one model is better becomes a question about the mean of one number for each row, and each model is
measured only once. Recall and balanced accuracy are sums of such means, one for each class.

For a metric that is a mean over rows, such as accuracy or mae, the effect is the difference of the
row. For other metrics it is the first-order effect, the influence function: Hampel, The influence
curve and its role in robust estimation (1974). For roc_auc these are the placement values of
DeLong, DeLong and Clarke-Pearson, Comparing the areas under two or more correlated ROC curves
(1988).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from kfgcp_components.class_scores import ClassPredictions, Probabilities
from kfgcp_components.evaluate.gate.class_effects import ratio_groups, recall_groups
from kfgcp_components.evaluate.gate.row_groups import RowGroup, RowValues
from kfgcp_components.number_scores import NumberPredictions
from kfgcp_components.scoring import Predictions

Flags: TypeAlias = npt.NDArray[np.bool_]

# Losses without an upper limit: one row can outweigh all others.
UNBOUNDED: Final = frozenset({"log_loss", "r2", "explained_variance", "rmse", "mae", "mape"})

# The median and the maximum are left out: the bootstrap is not valid for a maximum, and needs far
# more rows for a median.
COMPARABLE: Final = (
    "accuracy",
    "balanced_accuracy",
    "precision",
    "recall",
    "f1",
    "log_loss",
    "roc_auc",
    "r2",
    "explained_variance",
    "rmse",
    "mae",
    "mape",
)

# scikit-learn replaces probabilities of 0 and 1 in the same way before it takes the logarithm.
SMALLEST_PROBABILITY: Final = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class _Measured:
    """A metric and the first-order effect of each row on it, whose mean is 0.

    The metric is NaN where it is undefined.
    """

    value: float
    effects: RowValues


def group_effects(
    champion: Predictions, challenger: Predictions, metric: str, minimum_effect: float = 0.0
) -> list[RowGroup] | None:
    """Return how much each row counts for the challenger. None where the metric is undefined.

    For most metrics, all rows are one group.

    Args:
        champion: the predictions of the model in use.
        challenger: the predictions of the new model, for the same rows in the same order.
        metric: one of COMPARABLE.
        minimum_effect: the improvement, in the unit of the metric, that has to be exceeded.

    Raises:
        ValueError: the predictions are for different rows.
    """
    if not np.array_equal(champion.truth, challenger.truth):
        raise ValueError(
            "the challenger and the champion were not measured on the same rows in the same order;"
            " predict one test set with both"
        )
    if isinstance(champion, NumberPredictions):
        assert isinstance(challenger, NumberPredictions)
        effects = _number_effects(champion, challenger, metric, minimum_effect)
    else:
        assert isinstance(challenger, ClassPredictions)
        if metric in ("recall", "balanced_accuracy"):
            return recall_groups(champion, challenger, metric, minimum_effect)
        if metric in ("precision", "f1"):
            return ratio_groups(champion, challenger, metric, minimum_effect)
        effects = _class_effects(champion, challenger, metric) - minimum_effect
    return [RowGroup(effects, float(effects.min()))] if np.isfinite(effects).all() else None


def _number_effects(
    champion: NumberPredictions, challenger: NumberPredictions, metric: str, minimum_effect: float
) -> RowValues:
    """Return the difference of the losses minus the minimum effect, for each row."""
    truth = champion.truth
    old_errors, new_errors = truth - champion.predicted, truth - challenger.predicted
    if metric == "mae":
        return np.abs(old_errors) - np.abs(new_errors) - minimum_effect
    if metric == "mape":
        if (truth == 0).any():
            return np.full(len(truth), np.nan)
        difference = np.abs(old_errors) - np.abs(new_errors)
        return difference / np.abs(truth) - minimum_effect
    if metric == "rmse":
        return _root_effects(np.square(old_errors), np.square(new_errors), minimum_effect)
    if (truth == truth[0]).all():
        return np.full(len(truth), np.nan)
    if metric == "explained_variance":
        old_errors = old_errors - old_errors.mean()
        new_errors = new_errors - new_errors.mean()
    squares = np.square(truth - truth.mean())
    difference = np.square(old_errors) - np.square(new_errors)
    effects: RowValues = (difference - minimum_effect * squares) / squares.mean()
    return effects


def _root_effects(
    old_squares: RowValues, new_squares: RowValues, minimum_effect: float
) -> RowValues:
    """Return the effects on the root of the mean.

    The difference of two roots is the difference of the means divided by the sum of the roots. So
    without a minimum effect, the test is exactly one of the mean squares.
    """
    old_root, new_root = math.sqrt(old_squares.mean()), math.sqrt(new_squares.mean())
    roots = old_root + new_root
    if roots == 0 or not math.isfinite(roots):
        return np.full(len(old_squares), 0.0 if roots == 0 else math.nan) - minimum_effect
    effects = (old_squares - new_squares) / roots
    if minimum_effect == 0:
        return effects
    # The sum of the roots varies with the rows too. A model with a root of 0 adds nothing.
    varying_roots = np.full(len(old_squares), roots / 2)
    for squares, root in ((old_squares, old_root), (new_squares, new_root)):
        if root > 0:
            varying_roots += squares / (2 * root)
    return effects - minimum_effect * varying_roots / roots


def _class_effects(
    champion: ClassPredictions, challenger: ClassPredictions, metric: str
) -> RowValues:
    old, new = _measure(champion, metric), _measure(challenger, metric)
    sign = -1 if metric == "log_loss" else 1
    return sign * (new.effects - old.effects + (new.value - old.value))


def _measure(predictions: ClassPredictions, metric: str) -> _Measured:
    """Return a metric of a classifier with the effects of the rows."""
    truth, predicted = predictions.truth, predictions.predicted
    if metric == "accuracy":
        return _measure_mean((truth == predicted).astype(float))
    if predictions.probabilities is None:
        return _undefined(len(truth))
    if metric == "log_loss":
        return _log_loss(predictions, predictions.probabilities)
    return _roc_auc(predictions, predictions.probabilities)


def _measure_mean(values: RowValues) -> _Measured:
    mean = float(values.mean())
    return _Measured(mean, values - mean)


def _mean_of(parts: list[_Measured]) -> _Measured:
    value = sum(part.value for part in parts) / len(parts)
    effects = np.sum([part.effects for part in parts], axis=0) / len(parts)
    return _Measured(value, effects)


def _undefined(row_count: int) -> _Measured:
    return _Measured(math.nan, np.full(row_count, math.nan))


def _log_loss(predictions: ClassPredictions, probabilities: Probabilities) -> _Measured:
    truth = predictions.truth
    # The model gives no probability to a class that it does not know.
    if truth.max() >= probabilities.shape[1]:
        return _undefined(len(truth))
    clipped = np.clip(probabilities, SMALLEST_PROBABILITY, 1 - SMALLEST_PROBABILITY)
    clipped = clipped / clipped.sum(axis=1, keepdims=True)
    return _measure_mean(-np.log(clipped[np.arange(len(truth)), truth]))


def _roc_auc(predictions: ClassPredictions, probabilities: Probabilities) -> _Measured:
    """Measure the area under the ROC curve, or its mean over the classes against the rest."""
    class_count = probabilities.shape[1]
    codes = [1] if class_count == 2 else list(range(class_count))
    parts = []
    for code in codes:
        is_of_class = predictions.truth == code
        # The area is undefined if all rows are of the class, or no row is.
        if 0 < is_of_class.sum() < len(is_of_class):
            parts.append(area(is_of_class, probabilities[:, code]))
    return _mean_of(parts) if parts else _undefined(len(predictions.truth))


def area(is_positive: Flags, scores: RowValues) -> _Measured:
    """Measure the area under the ROC curve, from the placement of each row.

    The placement of a positive row is the share of negative rows with a lower score. The placement
    of a negative row is the share of positive rows with a higher score. Equal scores count as half.
    """
    positives, negatives = scores[is_positive], scores[~is_positive]
    positive_placements = _share_below(positives, negatives)
    negative_placements = 1 - _share_below(negatives, positives)
    value = float(positive_placements.mean())
    effects = np.empty(len(scores))
    effects[is_positive] = (positive_placements - value) * (len(scores) / len(positives))
    effects[~is_positive] = (negative_placements - value) * (len(scores) / len(negatives))
    return _Measured(value, effects)


def _share_below(values: RowValues, others: RowValues) -> RowValues:
    """Return the share of the others that are smaller than each value. Equal ones are halves."""
    ordered = np.sort(others)
    smaller = np.searchsorted(ordered, values, side="left")
    smaller_or_equal = np.searchsorted(ordered, values, side="right")
    shares: RowValues = (smaller + smaller_or_equal) / (2 * len(others))
    return shares
