"""How often the gate promotes a model that is not better, and how often one that is.

Pairs of models are simulated whose true difference is known. With the true difference equal to
`minimum_effect`, every promotion is false, and there must not be more of them than `alpha` allows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from scipy.special import ndtr, stdtrit
from scipy.stats import beta

from kfgcp_components.class_scores import ClassPredictions
from kfgcp_components.evaluate.gate.bootstrap import compare, is_shown_better
from kfgcp_components.number_scores import NumberPredictions
from kfgcp_components.scoring import Predictions, score
from trials import Trial

ALPHA = 0.05
ROWS = (200, 1000, 10_000)

# Of all rows, the share that only the champion and only the challenger gets right when both are
# equally good. Both models get 70 % of the rows right.
ONLY_ONE = 0.1
BOTH = 0.7

# The true improvement of the challenger in the simulations of the power: of accuracy, of roc_auc,
# and of rmse as a share of the champion's.
EFFECT = 0.03
AREA_EFFECT = 0.02
ERROR_EFFECT = 0.1

# The noise of a champion whose area under the ROC curve is 0.02 smaller than with a noise of 0.5.
WEAKER_NOISE = 0.7255

# How much of the errors both models have in common: the correlation of their normal scores.
SHARED = 0.7

Values: TypeAlias = npt.NDArray[np.float64]
Generator: TypeAlias = np.random.Generator
Simulation: TypeAlias = Callable[[Generator, int], tuple[Predictions, Predictions]]


def lower_bound(hits: int, tries: int) -> float:
    """Return the lower 99 % bound of a rate, by Clopper and Pearson."""
    return 0.0 if hits == 0 else float(beta.ppf(0.01, hits, tries - hits + 1))


def make_predictions(truth: Any, predicted: Any, positive: Any = None) -> ClassPredictions:
    probabilities = None if positive is None else np.column_stack([1 - positive, positive])
    rows = pd.DataFrame(index=range(len(truth)))
    return ClassPredictions(rows, ["a", "b"], 2, truth, predicted, probabilities)


def simulate_classes(
    rng: Generator, rows: int, improvement: float
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
    rng: Generator, rows: int, champion_noise: float = 0.5, positive_share: float = 0.5
) -> tuple[ClassPredictions, ClassPredictions]:
    """Return the predictions of two models: a common signal with noise of their own.

    The noise of the challenger has a deviation of 0.5. With the same noise, both models have the
    same true area under the ROC curve.
    """
    truth = (rng.random(rows) < positive_share).astype(int)
    signal = truth + rng.normal(size=rows)
    pair = []
    for noise in (champion_noise, 0.5):
        positive = 1 / (1 + np.exp(-signal - rng.normal(0, noise, rows)))
        pair.append(make_predictions(truth, (positive > 0.5).astype(int), positive))
    return pair[0], pair[1]


def true_area(noise: float) -> float:
    """Return the area under the ROC curve of `simulate_scores`: the probability that the score of
    a positive row is higher. The difference of two scores is normal with the mean 1.
    """
    return float(ndtr(1 / np.sqrt(2 * (1 + noise**2))))


# --- errors of regressions, scaled so that the mean square is 1


def normal_errors(rng: Generator, scores: Values) -> Values:
    return scores


def log_normal_errors(rng: Generator, scores: Values) -> Values:
    """The logarithm of the absolute error has a deviation of 1."""
    errors: Values = np.exp(scores - 1)
    return errors


def t5_errors(rng: Generator, scores: Values) -> Values:
    errors: Values = stdtrit(5, ndtr(scores)) / np.sqrt(5 / 3)
    return errors


def contaminated_errors(rng: Generator, scores: Values) -> Values:
    """One error in twenty is five times as large."""
    factors = np.where(rng.random(len(scores)) < 0.05, 5.0, 1.0)
    errors: Values = scores * factors / np.sqrt(0.95 + 0.05 * 25)
    return errors


ERRORS = {
    "normal": normal_errors,
    "log-normal": log_normal_errors,
    "t(5)": t5_errors,
    "contaminated": contaminated_errors,
}

# The errors of the champion and of the challenger.
PAIRS = [
    ("normal", "normal"),
    ("log-normal", "log-normal"),
    ("t(5)", "t(5)"),
    ("contaminated", "contaminated"),
    ("normal", "log-normal"),
    ("normal", "t(5)"),
    ("normal", "contaminated"),
]


def simulate_errors(
    rng: Generator, rows: int, champion: str, challenger: str, factor: float = 1.0
) -> tuple[NumberPredictions, NumberPredictions]:
    """Return the predictions of two models with correlated errors.

    The true rmse of the champion is 1, and that of the challenger is the factor.
    """
    table = pd.DataFrame(index=range(rows))
    truth = np.zeros(rows)
    shared = np.sqrt(SHARED) * rng.normal(size=rows)
    pair = []
    for kind, scale in ((champion, 1.0), (challenger, factor)):
        scores = shared + np.sqrt(1 - SHARED) * rng.normal(size=rows)
        pair.append(NumberPredictions(table, truth, scale * ERRORS[kind](rng, scores)))
    return pair[0], pair[1]


def count_promotions(
    simulate: Simulation,
    metric: str,
    rows: int,
    trial: Trial,
    *,
    sample: int,
    proof: int = 10_000,
    minimum_effect: float = 0.0,
) -> tuple[int, int]:
    """Return how many pairs were compared, and how many challengers were promoted."""
    pairs = trial.size(sample=sample, proof=proof)
    rng = np.random.default_rng([trial.seed, rows])
    promoted = 0
    for seed in range(pairs):
        champion, challenger = simulate(rng, rows)
        # 99 resamples keep the rate of false promotions. With more, the power grows a little.
        comparison = compare(
            champion,
            challenger,
            metric,
            minimum_effect=minimum_effect,
            alpha=ALPHA,
            resamples=99 if rows == 10_000 else 399,
            seed=seed,
        )
        promoted += is_shown_better(comparison, ALPHA)
    return pairs, promoted


def require_few_false_promotions(pairs: int, promoted: int, trial: Trial) -> None:
    trial.count("pairs", pairs)
    trial.count("false promotions", promoted)
    assert lower_bound(promoted, pairs) <= ALPHA


def trials(name: str) -> list[Any]:
    """Return each number of rows, with a row of docs/proofs.md."""
    values = []
    for rows in ROWS:
        mark = pytest.mark.trial(f"gate, {name}, {rows:,} rows")
        values.append(pytest.param(rows, marks=mark))
    return values


def pair_trials() -> list[Any]:
    values = []
    for champion, challenger in PAIRS:
        for rows in ROWS:
            name = f"gate, equal rmse, {champion} and {challenger} errors, {rows:,} rows"
            values.append(
                pytest.param(champion, challenger, rows, marks=pytest.mark.trial(name), id=name)
            )
    return values


@pytest.mark.parametrize("rows", trials("equal accuracy"))
def test_false_promotions_by_accuracy_are_not_more_frequent_than_alpha(
    rows: int, trial: Trial
) -> None:
    def simulate(rng: Generator, rows: int) -> tuple[Predictions, Predictions]:
        return simulate_classes(rng, rows, 0.0)

    counts = count_promotions(simulate, "accuracy", rows, trial, sample=150)
    require_few_false_promotions(*counts, trial)


@pytest.mark.parametrize("rows", trials("accuracy better by the minimum effect of 0.02"))
def test_an_improvement_by_the_minimum_effect_is_not_promoted_more_often_than_alpha(
    rows: int, trial: Trial
) -> None:
    def simulate(rng: Generator, rows: int) -> tuple[Predictions, Predictions]:
        return simulate_classes(rng, rows, 0.02)

    counts = count_promotions(simulate, "accuracy", rows, trial, sample=150, minimum_effect=0.02)
    require_few_false_promotions(*counts, trial)


@pytest.mark.parametrize("rows", trials("equal roc_auc"))
def test_false_promotions_by_roc_auc_are_not_more_frequent_than_alpha(
    rows: int, trial: Trial
) -> None:
    counts = count_promotions(simulate_scores, "roc_auc", rows, trial, sample=50)
    require_few_false_promotions(*counts, trial)


@pytest.mark.parametrize("rows", trials("equal roc_auc, 10 % positive rows"))
def test_false_promotions_by_roc_auc_with_few_positive_rows(rows: int, trial: Trial) -> None:
    def simulate(rng: Generator, rows: int) -> tuple[Predictions, Predictions]:
        return simulate_scores(rng, rows, positive_share=0.1)

    counts = count_promotions(simulate, "roc_auc", rows, trial, sample=50)
    require_few_false_promotions(*counts, trial)


@pytest.mark.parametrize(("champion", "challenger", "rows"), pair_trials())
def test_false_promotions_by_rmse_are_not_more_frequent_than_alpha(
    champion: str, challenger: str, rows: int, trial: Trial
) -> None:
    def simulate(rng: Generator, rows: int) -> tuple[Predictions, Predictions]:
        return simulate_errors(rng, rows, champion, challenger)

    counts = count_promotions(simulate, "rmse", rows, trial, sample=40)
    require_few_false_promotions(*counts, trial)


@pytest.mark.parametrize("errors", ERRORS)
@pytest.mark.parametrize("rows", trials("rmse better by the minimum effect of 10 %"))
def test_an_rmse_better_by_the_minimum_effect_is_not_promoted_more_often_than_alpha(
    rows: int, errors: str, trial: Trial
) -> None:
    def simulate(rng: Generator, rows: int) -> tuple[Predictions, Predictions]:
        return simulate_errors(rng, rows, errors, errors, 1 - ERROR_EFFECT)

    counts = count_promotions(simulate, "rmse", rows, trial, sample=40, minimum_effect=ERROR_EFFECT)
    require_few_false_promotions(*counts, trial)


# --- power


@pytest.mark.parametrize(
    ("rows", "fewest"),
    [
        pytest.param(200, 0.05, marks=pytest.mark.trial("gate, accuracy 0.03 better, 200 rows")),
        pytest.param(1000, 0.4, marks=pytest.mark.trial("gate, accuracy 0.03 better, 1,000 rows")),
        pytest.param(
            10_000, 0.99, marks=pytest.mark.trial("gate, accuracy 0.03 better, 10,000 rows")
        ),
    ],
)
def test_models_of_better_accuracy_are_promoted(rows: int, fewest: float, trial: Trial) -> None:
    """The normal approximation gives a power of 0.22, 0.63 and 1.00 for these numbers of rows.

    The extra row of the comparison lowers these numbers.
    """

    def simulate(rng: Generator, rows: int) -> tuple[Predictions, Predictions]:
        return simulate_classes(rng, rows, EFFECT)

    pairs, promoted = count_promotions(simulate, "accuracy", rows, trial, sample=100, proof=2000)
    trial.count("pairs", pairs)
    trial.count("promotions", promoted)
    assert promoted >= fewest * pairs


@pytest.mark.parametrize("rows", trials("roc_auc 0.02 better"))
def test_models_of_better_roc_auc_are_promoted(rows: int, trial: Trial) -> None:
    def simulate(rng: Generator, rows: int) -> tuple[Predictions, Predictions]:
        return simulate_scores(rng, rows, WEAKER_NOISE)

    pairs, promoted = count_promotions(simulate, "roc_auc", rows, trial, sample=50, proof=2000)
    trial.count("pairs", pairs)
    trial.count("promotions", promoted)
    fewest = {200: 0.01, 1000: 0.2, 10_000: 0.9}[rows]
    assert promoted >= fewest * pairs


@pytest.mark.parametrize("errors", ERRORS)
@pytest.mark.parametrize("rows", trials("rmse 10 % better"))
def test_models_of_better_rmse_are_promoted(rows: int, errors: str, trial: Trial) -> None:
    def simulate(rng: Generator, rows: int) -> tuple[Predictions, Predictions]:
        return simulate_errors(rng, rows, errors, errors, 1 - ERROR_EFFECT)

    pairs, promoted = count_promotions(simulate, "rmse", rows, trial, sample=50, proof=2000)
    trial.count(f"pairs with {errors} errors", pairs)
    trial.count(f"promotions with {errors} errors", promoted)
    if errors == "normal":
        assert promoted >= (0.3 if rows == 200 else 0.9) * pairs
    if rows == 10_000:
        assert promoted >= 0.1 * pairs


def test_the_simulated_models_have_the_stated_difference() -> None:
    rng = np.random.default_rng(0)
    champion, challenger = simulate_classes(rng, 1_000_000, EFFECT)
    old_accuracy = (champion.truth == champion.predicted).mean()
    new_accuracy = (challenger.truth == challenger.predicted).mean()
    assert old_accuracy == pytest.approx(BOTH + ONLY_ONE, abs=0.002)
    assert new_accuracy - old_accuracy == pytest.approx(EFFECT, abs=0.003)


def test_the_simulated_scores_have_the_stated_difference() -> None:
    assert true_area(0.5) - true_area(WEAKER_NOISE) == pytest.approx(AREA_EFFECT, abs=1e-4)
    rng = np.random.default_rng(0)
    champion, challenger = simulate_scores(rng, 300_000, WEAKER_NOISE)
    assert score(champion, "roc_auc") == pytest.approx(true_area(WEAKER_NOISE), abs=0.004)
    assert score(challenger, "roc_auc") == pytest.approx(true_area(0.5), abs=0.004)


@pytest.mark.parametrize("kind", ERRORS)
def test_the_simulated_errors_have_a_mean_square_of_one(kind: str) -> None:
    """The mean square of log-normal errors comes from rare errors, so its estimate varies more."""
    errors = ERRORS[kind](np.random.default_rng(0), np.random.default_rng(1).normal(size=2_000_000))
    assert np.square(errors).mean() == pytest.approx(1, abs=0.05)
