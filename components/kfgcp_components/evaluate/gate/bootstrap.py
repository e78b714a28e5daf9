"""Compare two models on the same rows with a paired bootstrap.

`group_effects` says for each row how much it counts for the challenger. The bootstrap asks whether
the mean of these effects is larger than 0. For recall and balanced accuracy, each class is
resampled on its own. docs/decisions/0028-comparison-at-the-gate.md has the
simulations behind the following three rules:

- The challenger must be better by two bootstraps. The percentile bootstrap compares the means of
  resamples. The studentized bootstrap also compares their deviations, and so corrects for effects
  that are skewed.
- One more row takes part: a copy of the worst row for the challenger. A test set rarely has the
  worst row that can come. For metrics that are measured by class, the row is one that the champion
  gets right and the challenger wrong, also if the test set has none.
- For losses without a limit, such as rmse, enough rows must have an effect below the mean. With a
  few large errors, whether one of them is in the test set would decide. A challenger that no row
  counts against needs no such rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from kfgcp_components.evaluate.gate.effects import UNBOUNDED, group_effects
from kfgcp_components.evaluate.gate.row_groups import RowGroup, RowValues
from kfgcp_components.scoring import Predictions

# This many drawn rows take 2 MB, which fits into the cache of a processor. Larger tables are
# resampled in several parts.
CHUNK_CELLS: Final = 250_000

# Two equal effects can differ by this much of the largest one, because they are sums in a different
# order.
ROUNDING: Final = 1e-12

# With up to this many different effects, it is enough to draw how often each one occurs.
FEW_VALUES: Final = 64

# A loss without a limit needs this many rows with an effect below the mean.
MINIMUM_LOW_ROWS: Final = 10


@dataclass(frozen=True)
class Comparison:
    """How much better a challenger is than a champion.

    Attributes:
        improvement: the difference of the metric, positive where the challenger is better.
        lower_bound: the improvement is larger with the confidence 1 - alpha.
        p_value: the probability of such an improvement if the true one were not larger than the
            minimum effect.
        low_rows: the effective number of rows with an effect below the mean. A few rows far below
            the mean count like few rows. Infinite for a metric with limits, and if no row counts
            against the challenger.
    """

    improvement: float
    lower_bound: float
    p_value: float
    low_rows: float = math.inf


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
        metric: one of COMPARABLE.
        minimum_effect: the improvement, in the unit of the metric, that has to be exceeded.
        alpha: the largest acceptable probability of a false promotion.
        resamples: the number of resamples.
        seed: the seed of the resamples.

    Returns:
        A comparison whose numbers are NaN if the metric is undefined for these rows.

    Raises:
        ValueError: the predictions are for different rows.
    """
    groups = group_effects(champion, challenger, metric, minimum_effect)
    if groups is None:
        return Comparison(math.nan, math.nan, math.nan, math.nan)
    excess = sum(float(group.effects.mean()) for group in groups)
    excess_bound, p_value = bootstrap_mean(groups, alpha=alpha, resamples=resamples, seed=seed)
    return Comparison(
        improvement=excess + minimum_effect,
        lower_bound=excess_bound + minimum_effect,
        p_value=p_value,
        low_rows=count_low_rows(groups[0].effects) if metric in UNBOUNDED else math.inf,
    )


def is_shown_better(comparison: Comparison, alpha: float) -> bool:
    """Return whether a challenger is better by more than the minimum effect."""
    has_enough_rows = comparison.low_rows >= MINIMUM_LOW_ROWS
    return has_enough_rows and comparison.p_value <= alpha


def count_low_rows(effects: RowValues) -> float:
    """Return the effective number of rows with an effect below the mean.

    The number is that of Kish, Survey Sampling (1965), with the squared distances from the mean as
    weights: the squared sum of the weights divided by the sum of their squares. It is infinite if
    no effect is negative, because then no row counts against the challenger.

    Example:
        >>> count_low_rows(np.array([1.0, 1.0, 1.0, -3.0]))
        1.0
    """
    rounding = ROUNDING * float(np.abs(effects).max())
    distances = np.minimum(effects - effects.mean(), 0)
    if float(effects.min()) >= -rounding or float(-distances.min()) <= rounding:
        return math.inf
    # Squares of squares of very small numbers would be 0.
    weights = np.square(distances / distances.min())
    return float(weights.sum() ** 2 / np.square(weights).sum())


def bootstrap_mean(
    groups: Sequence[RowGroup], *, alpha: float, resamples: int, seed: int
) -> tuple[float, float]:
    """Return a lower bound of the sum of the mean effects, and the p-value of a sum not above 0.

    Each group is resampled on its own. The p-value is at most alpha exactly if the lower bound is
    above 0, apart from rounding.
    """
    tables = _add_worst_row(groups)
    mean = sum(float(rows.mean()) for rows in tables)
    rounding = ROUNDING * max(float(np.abs(rows).max()) for rows in tables)
    generator = np.random.default_rng(seed)
    variance, variances, means = 0.0, np.zeros(resamples), np.zeros(resamples)
    for rows in tables:
        deviations = rows - rows.mean()
        deviations[np.abs(deviations) <= rounding] = 0
        variance += float(np.square(deviations).mean()) / len(rows)
        group_means, group_squares = _resample(deviations, resamples, generator)
        means += group_means
        variances += np.maximum(group_squares - np.square(group_means), 0) / len(rows)
    spread, spreads = math.sqrt(variance), np.sqrt(variances)
    # The table itself counts as one more resample, so the p-value is never 0.
    rank = max(math.floor(alpha * (resamples + 1) + ROUNDING) - 1, 0)
    percentile_p = (int((mean + means <= rounding).sum()) + 1) / (resamples + 1)
    percentile_bound = mean + float(np.sort(means)[rank])
    if spread == 0:
        return percentile_bound, percentile_p
    # The rows of a resample can all be equal. Then only the sign of its mean counts.
    ratios = np.zeros(resamples)
    ratios[means > 0] = math.inf
    ratios[means < 0] = -math.inf
    np.divide(means, spreads, out=ratios, where=spreads > ROUNDING * spread)
    studentized_p = (int((ratios >= mean / spread - ROUNDING).sum()) + 1) / (resamples + 1)
    studentized_bound = mean - spread * float(np.sort(ratios)[-1 - rank])
    return min(percentile_bound, studentized_bound), max(percentile_p, studentized_p)


def _add_worst_row(groups: Sequence[RowGroup]) -> list[RowValues]:
    """Return the effects of each group, with one more row in the group where it matters most."""
    tables = [group.effects for group in groups]
    # How much one more worst row lowers the mean effect of each group.
    drops = [
        (group.effects.mean() - group.worst_effect) / (len(group.effects) + 1) for group in groups
    ]
    worst = int(np.argmax(drops))
    tables[worst] = np.append(tables[worst], groups[worst].worst_effect)
    return tables


def _resample(
    values: RowValues, resamples: int, generator: np.random.Generator
) -> tuple[RowValues, RowValues]:
    """Return the mean and the mean square of each resample, shape (resamples,)."""
    row_count = len(values)
    distinct, counts = np.unique(values, return_counts=True)
    if len(distinct) <= FEW_VALUES:
        weights = generator.multinomial(row_count, counts / row_count, resamples) / row_count
        return weights @ distinct, weights @ np.square(distinct)
    means, squares = np.empty(resamples), np.empty(resamples)
    chunk = max(CHUNK_CELLS // row_count, 1)
    for start in range(0, resamples, chunk):
        size = min(chunk, resamples - start)
        drawn = values[generator.integers(0, row_count, size=(size, row_count))]
        means[start : start + size] = drawn.mean(axis=1)
        squares[start : start + size] = np.einsum("ij,ij->i", drawn, drawn) / row_count
    return means, squares
