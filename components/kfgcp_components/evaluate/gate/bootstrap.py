"""Compare two models on the same rows with a paired bootstrap.

A resample draws as many rows as the table has, with replacement, and both models are measured on
the same drawn rows. Instead of rows, the code draws how often each row occurs: its weight. So every
metric is a formula over an array of weights, and thousands of resamples are a few operations on
arrays.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from kfgcp_components.class_scores import ClassPredictions, Probabilities
from kfgcp_components.number_scores import NumberPredictions
from kfgcp_components.scoring import LOWER_IS_BETTER, Predictions

# How often each row occurs in each resample, shape (resamples, rows).
Weights: TypeAlias = npt.NDArray[np.float64]
# One number for each resample, shape (resamples,).
Scores: TypeAlias = npt.NDArray[np.float64]
Metric: TypeAlias = Callable[[Weights], Scores]

# Weights of this many rows take 2 MB, which fits into the cache of a processor. Larger tables are
# resampled in several parts.
CHUNK_CELLS: Final = 250_000

# Two equal metrics can differ by this much, because they are sums in a different order.
ROUNDING: Final = 1e-12

# scikit-learn replaces probabilities of 0 and 1 in the same way before it takes the logarithm.
SMALLEST_PROBABILITY: Final = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class Comparison:
    """How much better a challenger is than a champion.

    Attributes:
        improvement: the difference of the metric, positive where the challenger is better.
        lower_bound: the improvement is larger with the confidence 1 - alpha.
        p_value: the probability of such an improvement if the true one were not larger than the
            minimum effect.
    """

    improvement: float
    lower_bound: float
    p_value: float


def compare(
    champion: Predictions,
    challenger: Predictions,
    metric: str,
    *,
    minimum_effect: float = 0.0,
    alpha: float = 0.05,
    resamples: int = 2000,
    seed: int = 0,
) -> Comparison:
    """Compare the predictions of two models for the same rows.

    Args:
        champion: the predictions of the model in use.
        challenger: the predictions of the new model, for the same rows.
        metric: a key of COMPARABLE.
        minimum_effect: the improvement, in the unit of the metric, that has to be exceeded.
        alpha: the largest acceptable probability of a false promotion.
        resamples: the number of resamples.
        seed: the seed of the resamples.

    Returns:
        A comparison whose numbers are NaN if the metric is undefined for these rows.
    """
    sign = -1 if metric in LOWER_IS_BETTER else 1
    once = np.ones((1, len(champion.truth)))
    new_score = weighted_metric(challenger, metric)(once)[0]
    improvement = sign * float(new_score - weighted_metric(champion, metric)(once)[0])
    if not math.isfinite(improvement):
        return Comparison(math.nan, math.nan, math.nan)
    differences = sign * _resampled_differences(champion, challenger, metric, resamples, seed)
    # A resample on which the metric is undefined does not count for the challenger.
    differences = np.where(np.isnan(differences), -np.inf, differences)
    not_better = int((differences <= minimum_effect + ROUNDING).sum())
    # The table itself counts as one more resample, so the p-value is never 0.
    p_value = (not_better + 1) / (resamples + 1)
    rank = max(math.floor(alpha * (resamples + 1)) - 1, 0)
    lower_bound = float(np.sort(differences)[rank])
    return Comparison(improvement, lower_bound, p_value)


def _resampled_differences(
    champion: Predictions, challenger: Predictions, metric: str, resamples: int, seed: int
) -> Scores:
    """Return the metric of the challenger minus that of the champion for each resample."""
    generator = np.random.default_rng(seed)
    row_count = len(champion.truth)
    if isinstance(champion, ClassPredictions) and metric in _COUNT_METRICS:
        assert isinstance(challenger, ClassPredictions)
        # Rows with the same classes are interchangeable, so it is enough to draw how often each
        # combination of classes occurs.
        shape = (len(champion.categories), champion.class_count, champion.class_count)
        keys = np.ravel_multi_index(
            (champion.truth, champion.predicted, challenger.predicted), shape
        )
        patterns, counts = np.unique(keys, return_counts=True)
        weights = generator.multinomial(row_count, counts / row_count, resamples).astype(float)
        truth, old_classes, new_classes = np.unravel_index(patterns, shape)
        build = _COUNT_METRICS[metric]
        old = build(truth, old_classes, champion.class_count)(weights)
        return build(truth, new_classes, champion.class_count)(weights) - old
    old_metric, new_metric = weighted_metric(champion, metric), weighted_metric(challenger, metric)
    chunk = max(CHUNK_CELLS // row_count, 1)
    parts = []
    for start in range(0, resamples, chunk):
        weights = _draw_weights(generator, min(chunk, resamples - start), row_count)
        parts.append(new_metric(weights) - old_metric(weights))
    return np.concatenate(parts)


def _draw_weights(generator: np.random.Generator, resamples: int, row_count: int) -> Weights:
    drawn = generator.integers(0, row_count, size=(resamples, row_count))
    # One count over all resamples, where the rows of each resample have numbers of their own.
    drawn += np.arange(resamples)[:, None] * row_count
    counts = np.bincount(drawn.ravel(), minlength=resamples * row_count)
    return counts.reshape(resamples, row_count).astype(np.float64)


def _ratio(numerator: Scores, denominator: Scores) -> Scores:
    """Return a quotient, which is NaN where the denominator is 0."""
    result: Scores = np.full(numerator.shape, np.nan)
    np.divide(numerator, denominator, out=result, where=denominator > 0)
    return result


Codes: TypeAlias = npt.NDArray[np.int64]


def _accuracy(truth: Codes, predicted: Codes, class_count: int) -> Metric:
    is_right = (truth == predicted).astype(float)
    return lambda weights: weights @ is_right / weights.sum(axis=1)


def _balanced_accuracy(truth: Codes, predicted: Codes, class_count: int) -> Metric:
    def measure(weights: Weights) -> Scores:
        total = np.zeros(len(weights))
        present = np.zeros(len(weights))
        for code in np.unique(truth):
            rows = weights @ (truth == code).astype(float)
            hits = weights @ ((truth == code) & (predicted == code)).astype(float)
            # A class without rows in a resample does not count there.
            total += np.nan_to_num(_ratio(hits, rows))
            present += rows > 0
        return _ratio(total, present)

    return measure


def _class_ratio(
    numerator_of: Callable[[Scores, Scores, Scores], tuple[Scores, Scores]],
) -> Callable[[Codes, Codes, int], Metric]:
    """Return a builder of precision, recall or F1.

    Args:
        numerator_of: takes the numbers of hits, of predicted rows and of true rows of a class, and
            returns the numerator and the denominator of the metric.
    """

    def build(truth: Codes, predicted: Codes, class_count: int) -> Metric:
        def measure_class(weights: Weights, code: int) -> tuple[Scores, npt.NDArray[np.bool_]]:
            true_rows = weights @ (truth == code).astype(float)
            predicted_rows = weights @ (predicted == code).astype(float)
            hits = weights @ ((truth == code) & (predicted == code)).astype(float)
            numerator, denominator = numerator_of(hits, predicted_rows, true_rows)
            return _ratio(numerator, denominator), true_rows + predicted_rows > 0

        def measure(weights: Weights) -> Scores:
            if class_count == 2:
                return measure_class(weights, 1)[0]
            total = np.zeros(len(weights))
            occurring = np.zeros(len(weights))
            for code in np.unique(np.concatenate([truth, predicted])):
                values, occurs = measure_class(weights, int(code))
                # With more than two classes, an undefined value counts as 0.
                total += np.nan_to_num(values)
                occurring += occurs
            return _ratio(total, occurring)

        return measure

    return build


# Metrics that only depend on how often each combination of classes occurs.
_COUNT_METRICS: Final[dict[str, Callable[[Codes, Codes, int], Metric]]] = {
    "accuracy": _accuracy,
    "balanced_accuracy": _balanced_accuracy,
    "precision": _class_ratio(lambda hits, predicted, true: (hits, predicted)),
    "recall": _class_ratio(lambda hits, predicted, true: (hits, true)),
    "f1": _class_ratio(lambda hits, predicted, true: (2 * hits, predicted + true)),
}


def weighted_metric(predictions: Predictions, metric: str) -> Metric:
    """Return the formula of a metric over the weights of the rows.

    Args:
        predictions: the predictions for some rows.
        metric: a key of COMPARABLE.
    """
    if isinstance(predictions, NumberPredictions):
        return _number_metric(predictions, metric)
    if metric in _COUNT_METRICS:
        build = _COUNT_METRICS[metric]
        return build(predictions.truth, predictions.predicted, predictions.class_count)
    if predictions.probabilities is None:
        return lambda weights: np.full(len(weights), np.nan)
    if metric == "log_loss":
        return _log_loss(predictions.truth, predictions.probabilities)
    return _roc_auc(predictions.truth, predictions.probabilities)


def _log_loss(truth: Codes, probabilities: Probabilities) -> Metric:
    # The model gives no probability to a class that it does not know.
    if truth.max() >= probabilities.shape[1]:
        return lambda weights: np.full(len(weights), np.inf)
    clipped = np.clip(probabilities, SMALLEST_PROBABILITY, 1 - SMALLEST_PROBABILITY)
    clipped = clipped / clipped.sum(axis=1, keepdims=True)
    losses = -np.log(clipped[np.arange(len(truth)), truth])
    return lambda weights: weights @ losses / weights.sum(axis=1)


def _roc_auc(truth: Codes, probabilities: Probabilities) -> Metric:
    """Return the area under the ROC curve, or its mean over the classes against the rest."""
    class_count = probabilities.shape[1]
    codes = [1] if class_count == 2 else list(range(class_count))
    areas = [_area(truth == code, probabilities[:, code]) for code in codes]

    def measure(weights: Weights) -> Scores:
        values = np.stack([area(weights) for area in areas])
        is_defined = ~np.isnan(values)
        return _ratio(np.nan_to_num(values).sum(axis=0), is_defined.sum(axis=0).astype(float))

    return measure


def _area(is_positive: npt.NDArray[np.bool_], scores: npt.NDArray[np.float64]) -> Metric:
    """Return the area under the ROC curve, from the number of correctly ordered pairs of rows."""
    distinct, groups = np.unique(scores, return_inverse=True)
    order = np.argsort(groups, kind="stable")
    starts = np.searchsorted(groups[order], np.arange(len(distinct)))
    positive = is_positive[order].astype(float)

    def measure(weights: Weights) -> Scores:
        ordered = weights[:, order]
        positives = ordered * positive
        negatives = ordered - positives
        if len(distinct) < len(scores):
            # Rows with equal scores are one step of the curve.
            positives = np.add.reduceat(positives, starts, axis=1)
            negatives = np.add.reduceat(negatives, starts, axis=1)
        negatives_up_to = np.cumsum(negatives, axis=1)
        # A pair with equal scores counts as half.
        pairs = np.einsum("ij,ij->i", positives, negatives_up_to - negatives / 2)
        return _ratio(pairs, positives.sum(axis=1) * negatives_up_to[:, -1])

    return measure


def _number_metric(predictions: NumberPredictions, metric: str) -> Metric:
    truth = predictions.truth
    errors = truth - predictions.predicted
    squares = np.square(errors)

    def mean(values: npt.NDArray[np.float64]) -> Metric:
        return lambda weights: weights @ values / weights.sum(axis=1)

    if metric == "mae":
        return mean(np.abs(errors))
    if metric == "mape":
        return mean(np.abs(errors) / np.abs(truth))
    if metric == "rmse":
        mean_square = mean(squares)
        return lambda weights: np.sqrt(mean_square(weights))
    # Differences from the overall mean keep the digits that large numbers would lose.
    centered = truth - truth.mean()

    def measure(weights: Weights) -> Scores:
        rows = weights.sum(axis=1)
        residual = weights @ squares
        if metric == "explained_variance":
            residual = residual - np.square(weights @ errors) / rows
        total = weights @ np.square(centered) - np.square(weights @ centered) / rows
        return 1 - _ratio(residual, np.where(total > 0, total, 0))

    return measure


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
