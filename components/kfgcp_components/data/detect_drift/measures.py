"""Measure how much two distributions differ. The arguments are counts, or sorted values."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import gammaincc, kolmogorov

Floats = npt.NDArray[np.float64]

# A share of 0 counts as this share in the stability index, which would otherwise be infinite.
SMALLEST_SHARE = 1e-4


class TestResult(NamedTuple):
    """The statistic of a test, and the probability of at least this value without any drift."""

    statistic: float
    p_value: float


def population_stability_index(reference: Floats, current: Floats) -> float:
    """Return the population stability index (PSI) of two lists of counts.

    It is the sum of (p - q) * ln(p / q), where p and q are the shares of a bin. A share below
    0.0001 counts as 0.0001.

    Example:
        >>> round(population_stability_index(np.array([50.0, 50.0]), np.array([25.0, 75.0])), 6)
        0.274653
    """
    expected = np.maximum(reference / reference.sum(), SMALLEST_SHARE)
    actual = np.maximum(current / current.sum(), SMALLEST_SHARE)
    return float(np.sum((actual - expected) * np.log(actual / expected)))


def jensen_shannon_distance(reference: Floats, current: Floats) -> float:
    """Return the Jensen-Shannon distance of two lists of counts, from 0 (equal) to 1 (disjoint).

    It is the square root of the divergence with logarithms to the base 2.
    """
    expected = reference / reference.sum()
    actual = current / current.sum()
    middle = (expected + actual) / 2
    divergence = (_relative_entropy(expected, middle) + _relative_entropy(actual, middle)) / 2
    # Rounding can make the divergence of equal distributions a little smaller than 0.
    return math.sqrt(max(divergence, 0.0))


def chi_squared(reference: Floats, current: Floats) -> TestResult:
    """Test whether two lists of counts come from the same distribution (Pearson's chi-squared).

    Bins without any count in both lists are left out. With one bin left, the p-value is 1.
    """
    is_used = reference + current > 0
    observed = np.stack([reference[is_used], current[is_used]])
    if observed.shape[1] < 2:
        return TestResult(0.0, 1.0)
    row_totals = observed.sum(axis=1, keepdims=True)
    column_totals = observed.sum(axis=0, keepdims=True)
    expected = row_totals * column_totals / observed.sum()
    statistic = float(np.sum((observed - expected) ** 2 / expected))
    degrees_of_freedom = observed.shape[1] - 1
    return TestResult(statistic, float(gammaincc(degrees_of_freedom / 2, statistic / 2)))


def kolmogorov_smirnov(reference: Floats, current: Floats) -> TestResult:
    """Test whether two lists of sorted values come from the same distribution.

    The statistic is the largest difference of the two cumulative distributions.
    """
    # The difference is largest at a value of `current`, or directly below one.
    reference_up_to = np.searchsorted(reference, current, side="right") / reference.size
    reference_below = np.searchsorted(reference, current, side="left") / reference.size
    # Of equal values, the last one has the share up to the value, and the first one the share
    # below. The values between them cannot make the maximum larger.
    ranks = np.arange(current.size + 1) / current.size
    above = float(np.max(ranks[1:] - reference_up_to))
    below = float(np.max(reference_below - ranks[:-1]))
    return _with_p_value(max(above, below), reference.size, current.size)


def kolmogorov_smirnov_of_points(
    points: Floats, counts_up_to: Floats, current: Floats, *, complete: bool
) -> TestResult:
    """Test sorted values against a distribution that is known only at some points.

    Args:
        points: ascending values. The first one is the smallest value of the reference.
        counts_up_to: for each point, the number of values of the reference that are not larger. The
            last number counts all.
        current: the sorted values.
        complete: whether the reference has no other values. Otherwise the statistic is the largest
            difference at the points. The exact one can be larger, by at most the largest share
            between two points.
    """
    size = int(counts_up_to[-1])
    shares_up_to = counts_up_to / size
    current_shares = np.searchsorted(current, points, side="right") / current.size
    statistic = float(np.max(np.abs(shares_up_to - current_shares)))
    # Directly below a point, the share of the reference is that of the point before.
    current_below = np.searchsorted(current, points, side="left") / current.size
    if complete:
        shares_below = np.concatenate(([0.0], shares_up_to[:-1]))
        statistic = max(statistic, float(np.max(current_below - shares_below)))
    else:
        statistic = max(statistic, float(current_below[0]))
    return _with_p_value(statistic, size, current.size)


def _with_p_value(statistic: float, size: int, other_size: int) -> TestResult:
    # Kolmogorov's limit distribution. The error is small for more than about 50 values.
    effective_size = size * other_size / (size + other_size)
    return TestResult(statistic, float(kolmogorov(math.sqrt(effective_size) * statistic)))


def _relative_entropy(shares: Floats, other: Floats) -> float:
    is_positive = shares > 0
    ratios = shares[is_positive] / other[is_positive]
    return float(np.sum(shares[is_positive] * np.log2(ratios)))
