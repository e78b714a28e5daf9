"""How often the gate promotes a model that is not better, and how often one that is.

Pairs of models are simulated whose true difference is known. With the true difference equal to
`minimum_effect`, every promotion is false, and there must not be more of them than `alpha` allows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import beta

from kfgcp_components.class_scores import ClassPredictions
from kfgcp_components.evaluate.gate.bootstrap import compare
from trials import Trial

ALPHA = 0.05
RESAMPLES = 1000

# Of all rows, the share that only the champion and only the challenger gets right when both are
# equally good. Both models get 70 % of the rows right.
ONLY_ONE = 0.1
BOTH = 0.7

# The true improvement of the challenger in the simulations of the power.
EFFECT = 0.03


def lower_bound(hits: int, tries: int) -> float:
    """Return the lower 99 % bound of a rate, by Clopper and Pearson."""
    return 0.0 if hits == 0 else float(beta.ppf(0.01, hits, tries - hits + 1))


def make_predictions(truth: Any, predicted: Any, positive: Any = None) -> ClassPredictions:
    probabilities = None if positive is None else np.column_stack([1 - positive, positive])
    rows = pd.DataFrame(index=range(len(truth)))
    return ClassPredictions(rows, ["a", "b"], 2, truth, predicted, probabilities)


def simulate_classes(
    rng: np.random.Generator, rows: int, improvement: float
) -> tuple[ClassPredictions, ClassPredictions]:
    """Return the predictions of two models whose accuracies differ by the improvement."""
    truth = rng.integers(0, 2, rows)
    draw = rng.random(rows)
    only_champion = draw < ONLY_ONE
    only_challenger = (draw >= ONLY_ONE) & (draw < 2 * ONLY_ONE + improvement)
    both = draw >= 1 - BOTH
    champion = np.where(both | only_champion, truth, 1 - truth)
    challenger = np.where(both | only_challenger, truth, 1 - truth)
    return make_predictions(truth, champion), make_predictions(truth, challenger)


def simulate_scores(
    rng: np.random.Generator, rows: int
) -> tuple[ClassPredictions, ClassPredictions]:
    """Return the predictions of two models with the same true area under the ROC curve."""
    truth = rng.integers(0, 2, rows)
    signal = truth + rng.normal(size=rows)
    pair = []
    for _ in range(2):
        positive = 1 / (1 + np.exp(-signal - rng.normal(0, 0.5, rows)))
        pair.append(make_predictions(truth, (positive > 0.5).astype(int), positive))
    return pair[0], pair[1]


def size_mark(rows: int, metric: str) -> pytest.MarkDecorator:
    return pytest.mark.trial(f"equal models at the gate: {metric} on {rows:,} rows")


@pytest.mark.parametrize("minimum_effect", [0.0, 0.02])
@pytest.mark.parametrize(
    "rows", [pytest.param(rows, marks=size_mark(rows, "accuracy")) for rows in (200, 1000, 10_000)]
)
def test_false_promotions_by_accuracy_are_not_more_frequent_than_alpha(
    rows: int, minimum_effect: float, trial: Trial
) -> None:
    pairs = trial.size(sample=150, proof=10_000)
    rng = np.random.default_rng([trial.seed, rows])
    promoted = 0
    for seed in range(pairs):
        champion, challenger = simulate_classes(rng, rows, minimum_effect)
        comparison = compare(
            champion,
            challenger,
            "accuracy",
            minimum_effect=minimum_effect,
            resamples=RESAMPLES,
            seed=seed,
        )
        promoted += comparison.p_value <= ALPHA
    trial.count("pairs", pairs)
    trial.count("false promotions", promoted)
    assert lower_bound(promoted, pairs) <= ALPHA


@pytest.mark.parametrize(
    "rows", [pytest.param(rows, marks=size_mark(rows, "roc_auc")) for rows in (200, 1000, 10_000)]
)
def test_false_promotions_by_roc_auc_are_not_more_frequent_than_alpha(
    rows: int, trial: Trial
) -> None:
    # One comparison of 10,000 rows takes a second, so there are fewer of them.
    pairs = trial.size(sample=2_000 // rows + 20, proof=10_000 if rows < 10_000 else 2_000)
    rng = np.random.default_rng([trial.seed, rows])
    promoted = 0
    for seed in range(pairs):
        champion, challenger = simulate_scores(rng, rows)
        comparison = compare(champion, challenger, "roc_auc", resamples=500, seed=seed)
        promoted += comparison.p_value <= ALPHA
    trial.count("pairs", pairs)
    trial.count("false promotions", promoted)
    assert lower_bound(promoted, pairs) <= ALPHA


@pytest.mark.parametrize(
    ("rows", "fewest"),
    [
        pytest.param(200, 0.05, marks=pytest.mark.trial("a model 0.03 better: 200 rows")),
        pytest.param(1000, 0.5, marks=pytest.mark.trial("a model 0.03 better: 1,000 rows")),
        pytest.param(10_000, 0.99, marks=pytest.mark.trial("a model 0.03 better: 10,000 rows")),
    ],
)
def test_better_models_are_promoted(rows: int, fewest: float, trial: Trial) -> None:
    """The normal approximation gives a power of 0.22, 0.63 and 1.00 for these numbers of rows."""
    pairs = trial.size(sample=100, proof=2_000)
    rng = np.random.default_rng([trial.seed, rows])
    promoted = 0
    for seed in range(pairs):
        champion, challenger = simulate_classes(rng, rows, EFFECT)
        comparison = compare(champion, challenger, "accuracy", resamples=RESAMPLES, seed=seed)
        promoted += comparison.p_value <= ALPHA
    trial.count("pairs", pairs)
    trial.count("promotions", promoted)
    assert promoted >= fewest * pairs


def test_the_simulated_models_have_the_stated_difference() -> None:
    rng = np.random.default_rng(0)
    champion, challenger = simulate_classes(rng, 1_000_000, EFFECT)
    old_accuracy = (champion.truth == champion.predicted).mean()
    new_accuracy = (challenger.truth == challenger.predicted).mean()
    assert old_accuracy == pytest.approx(BOTH + ONLY_ONE, abs=0.002)
    assert new_accuracy - old_accuracy == pytest.approx(EFFECT, abs=0.003)
