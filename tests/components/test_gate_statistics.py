"""The numbers that a gate decides by: effects of rows, areas, and the bootstrap."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from gate_models import NUMBERS, ROWS, TWO, classifier, make_classes, regressor
from kfgcp_components.evaluate.gate.bootstrap import (
    bootstrap_mean,
    compare,
    count_low_rows,
)
from kfgcp_components.evaluate.gate.effects import COMPARABLE, area, group_effects
from kfgcp_components.evaluate.gate.numbers import next_to
from kfgcp_components.evaluate.gate.row_groups import RowGroup
from kfgcp_components.scoring import CLASS_METRICS, LOWER_IS_BETTER, Predictions, predict, score


def repeat_rows(predictions: Predictions, counts: Any) -> Predictions:
    return predictions.take(np.repeat(np.arange(len(counts)), counts))


def predict_pair(metric: str, class_count: int = 2, decimals: int = 9) -> list[Predictions]:
    """Return the predictions of a champion and of a better challenger."""
    if metric not in CLASS_METRICS:
        return [predict(regressor(column), NUMBERS, "y") for column in ("p", "q")]
    table = make_classes(class_count, decimals)
    return [predict(classifier(class_count, prefix), table, "label") for prefix in ("p", "q")]


@pytest.mark.parametrize("decimals", [9, 1])
@pytest.mark.parametrize("class_count", [2, 3])
@pytest.mark.parametrize("minimum_effect", [0.0, 0.25])
@pytest.mark.parametrize("metric", COMPARABLE)
def test_the_mean_effect_is_the_difference_of_the_metrics(
    metric: str, minimum_effect: float, class_count: int, decimals: int
) -> None:
    """scikit-learn, or a formula in the test of the metric, measures the models one by one."""
    old, new = predict_pair(metric, class_count, decimals)
    sign = -1 if metric in LOWER_IS_BETTER else 1
    difference = sign * (score(new, metric) - score(old, metric))
    groups = group_effects(old, new, metric, minimum_effect)
    assert groups is not None
    mean_effect = sum(group.effects.mean() for group in groups)
    assert mean_effect == pytest.approx(difference - minimum_effect, abs=1e-9)


@pytest.mark.parametrize("class_count", [2, 3])
@pytest.mark.parametrize("metric", COMPARABLE)
def test_the_effect_of_a_row_is_what_one_more_such_row_changes(
    metric: str, class_count: int
) -> None:
    """The table is repeated 100 times, so that one more row is a small change."""
    repeats = 100
    old, new = predict_pair(metric, class_count)
    sign = -1 if metric in LOWER_IS_BETTER else 1
    difference = sign * (score(new, metric) - score(old, metric))
    # With a minimum effect equal to the improvement, the effects of rmse, r2,
    # explained_variance, precision and f1 are derivatives too.
    groups = group_effects(old, new, metric, max(difference, 0))
    assert groups is not None
    effects = influences(old, groups)
    for row in range(0, ROWS, 100):
        counts = np.full(ROWS, repeats)
        counts[row] += 1
        scores = [score(repeat_rows(predictions, counts), metric) for predictions in (old, new)]
        change = (sign * (scores[1] - scores[0]) - difference) * counts.sum()
        assert effects[row] - effects.mean() == pytest.approx(change, rel=0.02, abs=1e-3)


def influences(predictions: Predictions, groups: list[RowGroup]) -> npt.NDArray[np.float64]:
    """Return the effects of all rows. A row of a smaller group changes the mean more."""
    truth = predictions.truth
    if len(groups[0].effects) == len(truth):
        return groups[0].effects
    effects = np.zeros(len(truth))
    # Without a group for class 0, its rows do not count.
    codes = np.unique(truth)[-len(groups) :]
    for code, group in zip(codes, groups, strict=True):
        scale = len(truth) / len(group.effects)
        effects[truth == code] = (group.effects - group.effects.mean()) * scale
    return effects


@pytest.mark.parametrize("decimals", [9, 1])
def test_the_area_from_placements_equals_the_count_of_all_pairs(decimals: int) -> None:
    table = make_classes(2, decimals)
    scores, is_positive = table["q1"].to_numpy(), (table["label"] == "class 1").to_numpy()
    differences = scores[is_positive][:, None] - scores[~is_positive][None, :]
    pairs = (differences > 0).mean() + (differences == 0).mean() / 2
    assert area(is_positive, scores).value == pytest.approx(pairs, abs=1e-12)


def test_the_variance_of_the_area_is_that_of_delong() -> None:
    """The formula of DeLong, DeLong and Clarke-Pearson, from the matrix of all pairs."""
    scores, is_positive = TWO["q1"].to_numpy(), (TWO["label"] == "class 1").to_numpy()
    pairs = (scores[is_positive][:, None] > scores[~is_positive][None, :]).astype(float)
    positives, negatives = pairs.shape
    variance = pairs.mean(axis=1).var() / positives + pairs.mean(axis=0).var() / negatives
    assert np.square(area(is_positive, scores).effects).mean() / ROWS == pytest.approx(
        variance, rel=1e-9
    )


@pytest.mark.parametrize("metric", ["accuracy", "roc_auc", "log_loss", "rmse"])
def test_the_lower_bound_agrees_with_a_bootstrap_of_rows(metric: str) -> None:
    """A plain loop over resamples gives about the same bound. The gate's is a little lower."""
    old, new = predict_pair(metric)
    sign = -1 if metric in LOWER_IS_BETTER else 1
    result = compare(old, new, metric, alpha=0.05, resamples=4000, seed=1)
    assert result.improvement == pytest.approx(sign * (score(new, metric) - score(old, metric)))
    rng = np.random.default_rng(5)
    differences = []
    for _ in range(500):
        rows = rng.integers(0, ROWS, ROWS)
        differences.append(
            plain_score(new.take(rows), metric) - plain_score(old.take(rows), metric)
        )
    bound, error = np.quantile(sign * np.array(differences), 0.05), np.std(differences)
    # The extra row lowers the bound by up to half a standard deviation. The error of a 5 % quantile
    # of 500 numbers is about 0.1 standard deviations.
    assert bound - 1.2 * error < result.lower_bound < bound + 0.3 * error


def plain_score(predictions: Any, metric: str) -> float:
    """Return a metric without the functions that the gate uses."""
    truth = predictions.truth
    if metric == "rmse":
        return float(np.sqrt(np.square(truth - predictions.predicted).mean()))
    if metric == "accuracy":
        return float((truth == predictions.predicted).mean())
    positive = predictions.probabilities[:, 1]
    if metric == "log_loss":
        return float(-np.log(np.where(truth == 1, positive, 1 - positive)).mean())
    ranks = stats.rankdata(positive)[truth == 1]
    positives = len(ranks)
    pairs = positives * (len(truth) - positives)
    return float((ranks.sum() - positives * (positives + 1) / 2) / pairs)


def test_the_p_value_of_a_case_computed_by_hand() -> None:
    """Of 40 rows, the challenger alone gets five right, and the champion alone none.

    The worst row is one without a difference, so there are 41 rows. A resample shows no
    improvement if it has none of the five rows: with probability (36 / 41) ** 41.
    """
    effects = np.array([1.0] * 5 + [0.0] * 35)
    resamples = 200_000
    group = RowGroup(effects, float(effects.min()))
    _, p_value = bootstrap_mean([group], alpha=0.05, resamples=resamples, seed=3)
    expected = (36 / 41) ** 41
    assert p_value == pytest.approx(expected, abs=5 * math.sqrt(expected / resamples))


def test_the_studentized_bootstrap_decides_where_the_worst_rows_are_far_off() -> None:
    """scipy computes the studentized bootstrap for the table with one more worst row."""
    effects = 1.5 - np.random.default_rng(8).exponential(size=60)
    rows = np.append(effects, effects.min())
    rng = np.random.default_rng(9)
    drawn = rng.choice(rows, (4000, len(rows)))
    ratios = stats.ttest_1samp(drawn, rows.mean(), axis=1).statistic
    observed = stats.ttest_1samp(rows, 0).statistic
    expected = float((ratios >= observed).mean())
    group = RowGroup(effects, float(effects.min()))
    _, p_value = bootstrap_mean([group], alpha=0.05, resamples=20_000, seed=3)
    assert p_value == pytest.approx(expected, abs=5 * math.sqrt(expected / 4000) + 1e-3)
    assert p_value > stats.ttest_1samp(rows, 0, alternative="greater").pvalue


@pytest.mark.parametrize("seed", range(20))
def test_the_lower_bound_is_above_zero_exactly_for_small_p_values(seed: int) -> None:
    effects = np.random.default_rng(seed).normal(0.15, 1, 120)
    group = RowGroup(effects, float(effects.min()))
    bound, p_value = bootstrap_mean([group], alpha=0.1, resamples=199, seed=seed)
    assert (bound > 0) == (p_value <= 0.1)


def test_the_effective_number_of_rows_below_the_mean() -> None:
    # Below the mean of 0: one row. Then ten equal rows. Then one row that outweighs nine others:
    # (100 + 9) ** 2 / (100 ** 2 + 9).
    assert count_low_rows(np.array([1.0, 2.0, -3.0])) == 1
    assert count_low_rows(np.array([-1.0] * 10 + [1.0] * 10)) == pytest.approx(10)
    outweighed = np.array([-10.0] + [-1.0] * 9 + [19.0])
    assert count_low_rows(outweighed) == pytest.approx(109**2 / 10_009)
    assert count_low_rows(np.full(5, 0.1)) == math.inf
    # No row counts against the challenger.
    assert count_low_rows(np.array([0.0, 2.0, 2.0])) == math.inf


def test_predictions_for_other_rows_are_refused() -> None:
    old, new = predict_pair("rmse")
    backwards = new.take(np.arange(ROWS)[::-1])
    fewer = new.take(np.arange(ROWS - 1))
    for predictions in (backwards, fewer):
        with pytest.raises(ValueError, match="not measured on the same rows in the same order"):
            compare(old, predictions, "rmse")


def test_the_seed_decides() -> None:
    old, new = predict_pair("roc_auc")
    first = compare(old, new, "roc_auc", resamples=200, seed=1)
    assert compare(old, new, "roc_auc", resamples=200, seed=1) == first
    assert compare(old, new, "roc_auc", resamples=200, seed=2) != first


def test_many_rows_are_resampled_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = predict_pair("mae")
    whole = compare(old, new, "mae", resamples=500)
    monkeypatch.setattr("kfgcp_components.evaluate.gate.bootstrap.CHUNK_CELLS", 7 * ROWS)
    assert compare(old, new, "mae", resamples=500) == whole


@pytest.mark.parametrize(
    ("value", "limit", "text"),
    [
        (0.91234567, 0.5, "0.912346"),
        (0.89999999, 0.9, "0.89999999"),
        (0.1 + 0.2, 0.3, "0.30000000000000004"),
        (0.3, 0.3, "0.3"),
        (math.nan, 0.3, "nan"),
        (-math.inf, 0.3, "-inf"),
    ],
)
def test_a_number_has_the_digits_that_its_limit_needs(
    value: float, limit: float, text: str
) -> None:
    assert next_to(value, limit) == text
