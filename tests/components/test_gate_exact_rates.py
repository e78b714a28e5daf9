"""The exact probability that the gate promotes a model that is equally good, for small test sets.

Where two models differ, each of them is right with the same probability. So the numbers of rows
that only one model gets right are multinomial, and the probability of a promotion is a sum over
all these numbers. This needs no simulated models.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from scipy.stats import multinomial

from kfgcp_components.class_scores import ClassPredictions
from kfgcp_components.evaluate.gate.bootstrap import compare, is_shown_better
from kfgcp_components.evaluate.gate.rows import describe_missing_rows

ALPHA = 0.05
ROWS = 200
RESAMPLES = 999
SEEDS = (0, 1)

# How many rows the challenger alone gets right, and how many the champion alone.
Counts: TypeAlias = tuple[int, int]

# The share of the rows of a class for which only one model is right.
DISCORDANCE_RATES = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0)

# Of the positive rows where the models agree, this share is right. Of the negative rows where they
# agree, this many are wrong.
SHARE_RIGHT = 0.8
FALSE_POSITIVES = 10

# Tables that are less frequent than this count as promotions. All of them together have a
# probability below 0.01.
RARE = 2e-5


def predict_pair(
    positives: int, positive_counts: Counts, negative_counts: Counts
) -> tuple[ClassPredictions, ClassPredictions]:
    """Return the predictions of a champion and a challenger for one table of counts."""
    truth = np.repeat([1, 0], [positives, ROWS - positives])
    agreed = positives - sum(positive_counts)
    right = round(SHARE_RIGHT * agreed)
    agreed_negatives = ROWS - positives - sum(negative_counts)
    wrong = min(FALSE_POSITIVES, agreed_negatives)
    # The two predictions, and how many rows have them.
    groups = [
        ((0, 1), positive_counts[0]),
        ((1, 0), positive_counts[1]),
        ((1, 1), right),
        ((0, 0), agreed - right),
        ((1, 0), negative_counts[0]),
        ((0, 1), negative_counts[1]),
        ((1, 1), wrong),
        ((0, 0), agreed_negatives - wrong),
    ]
    pairs = np.repeat([pair for pair, _ in groups], [count for _, count in groups], axis=0)
    rows = pd.DataFrame(index=range(ROWS))
    champion, challenger = (
        ClassPredictions(rows, ["a", "b"], 2, truth, pairs[:, model], None) for model in (0, 1)
    )
    return champion, challenger


@cache
def is_promoted(
    metric: str, positives: int, positive_counts: Counts, negative_counts: Counts, seed: int
) -> bool:
    """Return the decision of the gate for one table of counts."""
    champion, challenger = predict_pair(positives, positive_counts, negative_counts)
    if describe_missing_rows(champion, challenger, metric):
        return False
    comparison = compare(champion, challenger, metric, alpha=ALPHA, resamples=RESAMPLES, seed=seed)
    return is_shown_better(comparison, ALPHA)


def all_counts(rows: int) -> list[Counts]:
    return [(wins, losses) for wins in range(rows + 1) for losses in range(rows + 1 - wins)]


def probabilities(counts: list[Counts], rows: int, rate: float) -> npt.NDArray[np.float64]:
    """Return the probability of each table of two equally good models."""
    tables = [(wins, losses, rows - wins - losses) for wins, losses in counts]
    values: npt.NDArray[np.float64] = multinomial.pmf(tables, rows, [rate / 2, rate / 2, 1 - rate])
    return values


def frequent_tables(
    positives: int, positive_rate: float, negative_rate: float
) -> Iterator[tuple[Counts, Counts, float]]:
    """Yield the tables that are not rare, with their probabilities."""
    positive_tables = all_counts(positives)
    negative_tables = [(0, 0)]
    if negative_rate > 0:
        # With more than this many rows of each kind, the probability is below 1e-6.
        negative_tables = [(wins, losses) for wins in range(15) for losses in range(15)]
    positive_chances = probabilities(positive_tables, positives, positive_rate)
    negative_chances = probabilities(negative_tables, ROWS - positives, negative_rate)
    for positive_counts, chance in zip(positive_tables, positive_chances, strict=True):
        for negative_counts, other in zip(negative_tables, negative_chances, strict=True):
            if chance * other >= RARE:
                yield positive_counts, negative_counts, float(chance * other)


def false_promotion_rate(
    metric: str, positives: int, positive_rate: float, negative_rate: float, seed: int
) -> float:
    """Return the probability of a promotion. Rare tables count as promotions."""
    covered, promoted = 0.0, 0.0
    tables = frequent_tables(positives, positive_rate, negative_rate)
    for positive_counts, negative_counts, chance in tables:
        covered += chance
        if is_promoted(metric, positives, positive_counts, negative_counts, seed):
            promoted += chance
    assert covered > 0.99
    return promoted + (1 - covered)


@pytest.mark.parametrize("rate", DISCORDANCE_RATES)
@pytest.mark.parametrize("positives", [10, 15, 20, 50])
@pytest.mark.parametrize("metric", ["recall", "balanced_accuracy"])
def test_false_promotions_with_few_positive_rows_are_not_more_frequent_than_alpha(
    metric: str, positives: int, rate: float
) -> None:
    # The tables of 50 rows are many, so one seed has to be enough for them.
    for seed in SEEDS if positives < 50 else SEEDS[:1]:
        assert false_promotion_rate(metric, positives, rate, 0.0, seed) <= ALPHA


@pytest.mark.parametrize("rate", DISCORDANCE_RATES)
@pytest.mark.parametrize("positives", [10, 15, 20])
@pytest.mark.parametrize("metric", ["precision", "f1"])
def test_false_promotions_by_precision_and_f1_with_few_positive_rows(
    metric: str, positives: int, rate: float
) -> None:
    for seed in SEEDS:
        assert false_promotion_rate(metric, positives, rate, 0.0, seed) <= ALPHA


@pytest.mark.parametrize(
    ("positive_rate", "negative_rate"), [(0.0, 0.005), (0.0, 0.02), (0.3, 0.002)]
)
@pytest.mark.parametrize("metric", ["balanced_accuracy", "precision", "f1"])
def test_false_promotions_where_the_models_differ_on_negative_rows_too(
    metric: str, positive_rate: float, negative_rate: float
) -> None:
    assert false_promotion_rate(metric, 10, positive_rate, negative_rate, 0) <= ALPHA


@pytest.mark.parametrize("metric", ["recall", "balanced_accuracy"])
def test_two_rows_without_a_loss_are_no_evidence(metric: str) -> None:
    """A sign test gives two wins without a loss a p-value of 1 / 4."""
    champion, challenger = predict_pair(10, (2, 0), (0, 0))
    for seed in range(5):
        assert compare(champion, challenger, metric, seed=seed).p_value > 0.2


@pytest.mark.parametrize("metric", ["recall", "balanced_accuracy", "precision", "f1"])
def test_a_much_better_challenger_is_promoted(metric: str) -> None:
    assert is_promoted(metric, 50, (25, 2), (10, 0), 0)
