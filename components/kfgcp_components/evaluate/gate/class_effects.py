"""Compute how much each row counts for the challenger, for metrics that are measured by class.

Recall is a mean over the rows of one class, so each class is a group of its own: the number of its
rows must not vary in a resample. Precision and F1 divide by a number that depends on the model.
Their effects are those of models that differ by exactly the minimum effect. So a row that both
models treat in the same way counts little, and a row that neither model counts does not count.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from kfgcp_components.class_scores import ClassCodes, ClassPredictions
from kfgcp_components.evaluate.gate.row_groups import RowGroup, RowValues

# How much a row counts for one model, by true class and predicted class, shape (classes, classes).
Contributions: TypeAlias = npt.NDArray[np.float64]


def recall_groups(
    champion: ClassPredictions, challenger: ClassPredictions, metric: str, minimum_effect: float
) -> list[RowGroup] | None:
    """Return one group for each class, for recall and balanced_accuracy. None where undefined.

    The worst row is one that the champion gets right and the challenger wrong.
    """
    truth = champion.truth
    codes = np.unique(truth)
    if metric == "balanced_accuracy":
        old_share = new_share = 1 / len(codes)
    elif champion.class_count == 2:
        codes = codes[codes == 1]
        old_share = new_share = 1.0
    else:
        # The mean of scikit-learn includes classes that are only predicted. Their recall is 0.
        old_share = 1 / len(_codes_of(champion))
        new_share = 1 / len(_codes_of(challenger))
    if len(codes) == 0:
        return None
    part_of_minimum = minimum_effect / len(codes)
    groups = []
    for code in codes:
        is_of_class = truth == code
        old_hits = champion.predicted[is_of_class] == code
        new_hits = challenger.predicted[is_of_class] == code
        effects = new_share * new_hits - old_share * old_hits - part_of_minimum
        groups.append(RowGroup(effects, -old_share - part_of_minimum))
    return groups


def ratio_groups(
    champion: ClassPredictions, challenger: ClassPredictions, metric: str, minimum_effect: float
) -> list[RowGroup] | None:
    """Return one group of all rows, for precision and f1. None where the metric is undefined.

    The worst row is the one that counts most against the challenger among those that the champion
    gets right and the challenger wrong.
    """
    old, new = _count_classes(champion, metric), _count_classes(challenger, metric)
    old_share, new_share = float(old.shares.sum()), float(new.shares.sum())
    if old_share == 0 or new_share == 0:
        return None
    excess = float(new.values @ new.shares - old.values @ old.shares) - minimum_effect
    # With this shift of both metrics, the challenger is better by exactly the minimum effect.
    shift = excess / (old_share + new_share)
    old_contributions = _contributions(old, shift, metric)
    new_contributions = _contributions(new, -shift, metric)
    old_effects = old_contributions[champion.truth, champion.predicted]
    new_effects = new_contributions[challenger.truth, challenger.predicted]
    losses = new_contributions - np.diag(old_contributions)[:, None]
    np.fill_diagonal(losses, np.inf)
    return [RowGroup(new_effects - old_effects, float(losses.min()))]


@dataclass(frozen=True)
class _ClassCounts:
    """Precision or F1 of each class. All arrays have the shape (classes,).

    Attributes:
        values: the metric of the class. 0 where it is undefined.
        shares: how much the class counts for the metric of all classes. 0 where it is undefined.
        scales: the share divided by the mean of the denominator over all rows.
    """

    values: RowValues
    shares: RowValues
    scales: RowValues


def _count_classes(predictions: ClassPredictions, metric: str) -> _ClassCounts:
    truth, predicted = predictions.truth, predictions.predicted
    size = len(predictions.categories)
    hits = np.bincount(truth[truth == predicted], minlength=size) / len(truth)
    denominators = np.bincount(predicted, minlength=size) / len(truth)
    if metric == "f1":
        hits = 2 * hits
        denominators = denominators + np.bincount(truth, minlength=size) / len(truth)
    counted_codes = [1] if predictions.class_count == 2 else _codes_of(predictions)
    is_counted = np.isin(np.arange(size), counted_codes)
    is_defined = is_counted & (denominators > 0)
    values, shares, scales = np.zeros(size), np.zeros(size), np.zeros(size)
    values[is_defined] = hits[is_defined] / denominators[is_defined]
    shares[is_defined] = 1 / is_counted.sum()
    scales[is_defined] = shares[is_defined] / denominators[is_defined]
    return _ClassCounts(values, shares, scales)


def _contributions(counts: _ClassCounts, shift: float, metric: str) -> Contributions:
    """Return how much a row counts for a model whose metrics are larger by a shift.

    A row counts with its numerator minus the metric times its denominator.
    """
    scales = counts.scales
    misses = scales * (counts.values + shift)
    if metric == "precision":
        return np.diag(scales) - misses[None, :]
    return 2 * np.diag(scales) - misses[:, None] - misses[None, :]


def _codes_of(predictions: ClassPredictions) -> ClassCodes:
    """Return the classes that occur or are predicted."""
    codes: ClassCodes = np.union1d(predictions.truth, predictions.predicted)
    return codes
