from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import sklearn
from kfp import dsl
from scipy import stats
from sklearn import metrics as sklearn_metrics

from column_models import ColumnClassifier, ColumnRegressor, WithoutProbabilities
from kfgcp_components import gate_model
from kfgcp_components.evaluate.gate.bootstrap import (
    bootstrap_mean,
    compare,
    count_low_rows,
)
from kfgcp_components.evaluate.gate.effects import COMPARABLE, area, group_effects
from kfgcp_components.evaluate.gate.logic import ComparisonRule, Decision, decide, read_champion
from kfgcp_components.evaluate.gate.numbers import next_to
from kfgcp_components.evaluate.gate.row_groups import RowGroup
from kfgcp_components.evaluate.gate.thresholds import parse_threshold
from kfgcp_components.scoring import CLASS_METRICS, LOWER_IS_BETTER, Predictions, predict, score
from kfgcp_components.tables import write_parquet
from model_files import TABLE, change_description, copy_model

ROWS = 300


def make_classes(class_count: int, decimals: int = 9) -> pd.DataFrame:
    """Return probabilities of two models: those in q0, q1, … are better than those in p0, p1, …."""
    rng = np.random.default_rng(class_count)
    truth = rng.integers(0, class_count, ROWS)
    columns: dict[str, Any] = {"label": [f"class {code}" for code in truth]}
    for prefix, strength in (("p", 0.6), ("q", 1.5)):
        logits = rng.normal(size=(ROWS, class_count)) + strength * np.eye(class_count)[truth]
        probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        for code in range(class_count - 1):
            columns[f"{prefix}{code}"] = probabilities[:, code].round(decimals)
        others = sum(columns[f"{prefix}{code}"] for code in range(class_count - 1))
        columns[f"{prefix}{class_count - 1}"] = 1 - others
    return pd.DataFrame(columns)


def classifier(class_count: int, prefix: str = "p") -> Any:
    """Return a model with a fingerprint, as the gate takes it."""
    model: Any = ColumnClassifier(*[f"class {i}" for i in range(class_count)], prefix=prefix)
    model.fingerprint = prefix
    return model


def regressor(column: str) -> Any:
    model: Any = ColumnRegressor(column=column)
    model.fingerprint = column
    return model


TWO = make_classes(2)
NUMBERS = pd.DataFrame({"y": np.random.default_rng(1).normal(50, 10, ROWS)})
NUMBERS["p"] = NUMBERS["y"] + np.random.default_rng(2).normal(1, 5, ROWS)
NUMBERS["q"] = NUMBERS["y"] + np.random.default_rng(3).normal(0, 3, ROWS)


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


# --- decisions


def decide_two(**changes: Any) -> Decision:
    arguments: dict[str, Any] = {
        "challenger": classifier(2, "q"),
        "champion": classifier(2),
        "test": TWO,
        "target": "label",
    }
    return decide(**{**arguments, **changes})


def test_a_better_challenger_passes_and_a_worse_one_does_not() -> None:
    decision = decide_two()
    assert decision.passed
    assert decision.reason.startswith("accuracy is better than that of the champion (improvement")
    assert decision.metrics.keys() == {
        "challenger_accuracy",
        "champion_accuracy",
        "improvement",
        "improvement_lower_bound",
        "p_value",
    }
    worse = decide_two(challenger=classifier(2), champion=classifier(2, "q"))
    assert not worse.passed
    assert "it is not shown that accuracy is better than that of the champion" in worse.reason


def test_a_metric_where_lower_is_better_is_turned_around() -> None:
    rule = ComparisonRule(metric="mae")
    better = decide(regressor("q"), NUMBERS, "y", champion=regressor("p"), rule=rule)
    worse = decide(regressor("p"), NUMBERS, "y", champion=regressor("q"), rule=rule)
    assert (better.passed, worse.passed) == (True, False)
    assert better.metrics["improvement"] == pytest.approx(
        sklearn_metrics.mean_absolute_error(NUMBERS["y"], NUMBERS["p"])
        - sklearn_metrics.mean_absolute_error(NUMBERS["y"], NUMBERS["q"])
    )


def test_an_improvement_below_the_minimum_effect_does_not_pass() -> None:
    decision = decide_two(rule=ComparisonRule(minimum_effect=0.4))
    assert not decision.passed
    assert "better than that of the champion by more than 0.4" in decision.reason


def test_equal_predictions_are_no_improvement() -> None:
    table = TWO.assign(q0=TWO["p0"], q1=TWO["p1"])
    for metric in ("accuracy", "roc_auc", "log_loss"):
        decision = decide_two(test=table, rule=ComparisonRule(metric=metric))
        assert not decision.passed
        assert decision.metrics["p_value"] == 1


@pytest.mark.parametrize(
    ("thresholds", "passed", "reason"),
    [
        (["accuracy >= 0.5"], True, "all thresholds hold: accuracy >= 0.5; no champion was given"),
        (["accuracy>=0.5", " log_loss < 1 "], True, "accuracy >= 0.5, log_loss < 1"),
        (["accuracy >= 0.99"], False, "and must be >= 0.99"),
        (["accuracy >= 0.5", "f1 > 1"], False, "f1 is 0."),
        (["log_loss <= 1e-3"], False, "and must be <= 0.001"),
    ],
)
def test_thresholds_without_a_champion(thresholds: list[str], passed: bool, reason: str) -> None:
    decision = decide_two(champion=None, thresholds=thresholds)
    assert decision.passed is passed
    assert reason in decision.reason
    assert "\n" not in decision.reason


def test_a_better_challenger_below_a_threshold_does_not_pass() -> None:
    decision = decide_two(thresholds=["accuracy >= 0.99"])
    assert not decision.passed
    assert "accuracy is better than that of the champion" in decision.reason
    assert "must be >= 0.99" in decision.reason


def test_an_undefined_metric_fails_and_says_so() -> None:
    one_class = TWO[TWO["label"] == "class 0"]
    decision = decide_two(
        test=one_class, thresholds=["roc_auc >= 0"], rule=ComparisonRule(metric="roc_auc")
    )
    assert not decision.passed
    assert "roc_auc is undefined on the test set, so roc_auc >= 0 cannot hold" in decision.reason
    assert "roc_auc is undefined on the test set, so the models cannot be compared" in (
        decision.reason
    )
    json.dumps(decision.metrics, allow_nan=False)


def test_a_model_without_probabilities_fails_where_they_are_needed() -> None:
    model: Any = WithoutProbabilities("class 0", "class 1")
    decision = decide_two(challenger=model, champion=None, thresholds=["log_loss < 9"])
    assert not decision.passed
    assert "log_loss is undefined" in decision.reason


def test_too_few_rows_of_a_class_are_no_evidence() -> None:
    table = TWO.assign(label=["class 1"] * 9 + ["class 0"] * (ROWS - 9))
    for metric in ("balanced_accuracy", "precision", "recall", "f1", "roc_auc"):
        decision = decide_two(test=table, rule=ComparisonRule(metric=metric))
        assert not decision.passed
        assert decision.reason == (
            f"a comparison by {metric} needs at least 10 rows of each class, and the test set has 9"
            " of 'class 1', so the models were not compared"
        )
        assert "p_value" not in decision.metrics
    assert "p_value" in decide_two(test=table, rule=ComparisonRule(metric="log_loss")).metrics


def test_too_few_rows_are_no_evidence() -> None:
    better = TWO.assign(q0=TWO["label"] == "class 0", q1=TWO["label"] == "class 1")
    decision = decide_two(test=better.iloc[:29], thresholds=["accuracy >= 0.5"])
    assert not decision.passed
    assert decision.reason == (
        "all thresholds hold: accuracy >= 0.5; a comparison needs at least 30 rows, and the test"
        " set has 29, so the models were not compared"
    )
    assert decision.metrics["challenger_accuracy"] == 1
    assert decide_two(test=better.iloc[:30], champion=None, thresholds=["accuracy > 0"]).passed
    assert decide_two(test=better.iloc[:60]).passed


def test_a_model_that_hardly_predicts_a_class_cannot_be_compared_by_precision() -> None:
    table = TWO.assign(p0=1.0, p1=0.0)
    table.loc[:8, ["p0", "p1"]] = [0.0, 1.0]
    decision = decide_two(test=table, rule=ComparisonRule(metric="precision"))
    assert not decision.passed
    assert "10 predictions of each class, and the champion has 9 of 'class 1'" in decision.reason


def test_a_few_large_errors_are_no_evidence() -> None:
    """The challenger is better for all rows but two. How often such rows come, nobody can say."""
    table = NUMBERS.assign(q=NUMBERS["y"])
    table.loc[:1, "q"] += 20
    decision = decide(
        regressor("q"), table, "y", champion=regressor("p"), rule=ComparisonRule("rmse")
    )
    assert not decision.passed
    assert decision.metrics["p_value"] < 0.05
    assert decision.reason.startswith(
        "rmse depends on too few rows: the rows where the challenger gains less than on average"
        " weigh as much as 2.7 rows, and at least 10 are needed;"
    )
    assert "\n" not in decision.reason


@pytest.mark.parametrize("minimum_effect", [0.0, 0.5])
def test_a_challenger_that_is_better_on_every_row_passes(minimum_effect: float) -> None:
    """The champion is off by 8, and the challenger by at most 2, or by 7 for four rows."""
    errors = np.random.default_rng(3).uniform(0, 2, ROWS)
    errors[:4] = 7
    table = NUMBERS.assign(p=NUMBERS["y"] + 8, q=NUMBERS["y"] + errors)
    rule = ComparisonRule("mae", minimum_effect=minimum_effect)
    decision = decide(regressor("q"), table, "y", champion=regressor("p"), rule=rule)
    assert decision.passed
    assert decision.reason.startswith("mae is better than that of the champion")
    # Four rows do not gain 2, so they decide.
    rule = ComparisonRule("mae", minimum_effect=2)
    decision = decide(regressor("q"), table, "y", champion=regressor("p"), rule=rule)
    assert not decision.passed
    assert decision.reason.startswith("mae depends on too few rows")


def test_a_reason_never_shows_two_equal_numbers_for_different_ones() -> None:
    table = TWO.iloc[:3].assign(label=["class 0", "class 0", "class 1"], p0=0.9, p1=0.1)
    decision = decide_two(
        test=table,
        challenger=classifier(2),
        champion=None,
        thresholds=["accuracy >= 0.6666667"],
    )
    assert decision.reason.startswith("accuracy is 0.66666667, and must be >= 0.6666667;")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"champion": None}, "the gate has nothing to check; give thresholds, a champion, or both"),
        ({"champion": classifier(2, "q")}, "the challenger and the champion are the same model"),
        ({"champion": regressor("p")}, "is for classification and the champion for regression"),
        ({"champion": classifier(3)}, "have different classes, so their metrics cannot be compare"),
        ({"thresholds": ["accuracy is good"]}, "'accuracy is good' is not a condition; write one"),
        ({"thresholds": ["accuracy >= nan"]}, "'accuracy >= nan' is not a condition"),
        ({"thresholds": ["accuracy >= high"]}, "'accuracy >= high' is not a condition"),
        ({"thresholds": [0.8]}, "the threshold 0.8 is not a condition"),
        ({"thresholds": ["acuracy > 0"]}, "no metric 'acuracy' for classification. Did you mean"),
        ({"rule": ComparisonRule(metric="rmse")}, "no metric 'rmse' for classification"),
        ({"rule": ComparisonRule(alpha=0)}, "alpha is 0; it must be between 0 and 1"),
        ({"rule": ComparisonRule(alpha=5)}, "alpha is 5; it must be between 0 and 1"),
        ({"rule": ComparisonRule(minimum_effect=-1)}, "minimum_effect is -1; it must be 0 or more"),
        ({"rule": ComparisonRule(minimum_effect=math.nan)}, "minimum_effect is nan"),
        ({"rule": ComparisonRule(alpha=0.001)}, None),
        ({"rule": ComparisonRule(resamples=18)}, "with alpha 0.05 there must be at least 19"),
        ({"target": "lable"}, "no target column 'lable' in the table. Did you mean 'label'?"),
        ({"test": TWO.iloc[:0]}, "none of the 0 rows of the test set has a value"),
        ({"test": TWO.assign(label=None)}, "none of the 300 rows of the test set has a value"),
    ],
)
def test_wrong_arguments_are_one_clear_line(changes: dict[str, Any], message: str | None) -> None:
    if message is None:
        decide_two(**changes)
        return
    with pytest.raises(ValueError) as caught:
        decide_two(**changes)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_metrics_without_a_bootstrap_have_only_thresholds() -> None:
    rule = ComparisonRule(metric="max_error")
    with pytest.raises(ValueError, match="max_error cannot be compared with a bootstrap"):
        decide(regressor("q"), NUMBERS, "y", champion=regressor("p"), rule=rule)
    assert decide(regressor("q"), NUMBERS, "y", thresholds=["max_error < 1000"]).passed


def test_a_threshold_is_read_from_its_text() -> None:
    assert str(parse_threshold("rmse<12.50")) == "rmse < 12.5"


def run_gate(tmp_path: Path, challenger: str, champion: str | None, **arguments: Any) -> Any:
    write_parquet(TABLE, tmp_path / "test")
    copy_model(challenger, tmp_path / "challenger")
    champion_artifact = None
    if champion:
        copy_model(champion, tmp_path / "champion")
        champion_artifact = dsl.Model(name="champion", uri=str(tmp_path / "champion"))
    metrics = dsl.Metrics(name="metrics", uri=str(tmp_path / "metrics"))
    outputs = gate_model.python_func(
        challenger=dsl.Model(name="challenger", uri=str(tmp_path / "challenger")),
        champion=champion_artifact,
        test=dsl.Dataset(name="test", uri=str(tmp_path / "test")),
        target="label",
        metrics=metrics,
        **arguments,
    )
    json.dumps(metrics.metadata, allow_nan=False)
    return outputs


def test_the_component_without_a_champion(tmp_path: Path) -> None:
    passed, reason = run_gate(tmp_path, "random_forest", None, thresholds=["accuracy >= 0.8"])
    assert passed is True
    assert reason == (
        "all thresholds hold: accuracy >= 0.8; no champion was given, so the models were not"
        " compared"
    )


def test_the_component_with_a_champion(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    passed, reason = run_gate(tmp_path, "random_forest", "logistic_regression")
    assert passed is True
    line = json.loads(capsys.readouterr().out)
    assert line == {"severity": "INFO", "message": f"passed: {reason}"}


def test_the_component_refuses_a_copy_of_the_champion(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the challenger and the champion are the same model"):
        run_gate(tmp_path, "random_forest", "random_forest")


def test_an_empty_or_missing_folder_is_no_champion(tmp_path: Path) -> None:
    assert read_champion(tmp_path) is None
    assert read_champion(tmp_path / "missing") is None
    (tmp_path / "other.txt").write_text("x")
    with pytest.raises(ValueError, match=r"no model\.json"):
        read_champion(tmp_path)


def test_a_champion_of_another_scikit_learn_fails_the_task(tmp_path: Path) -> None:
    champion = copy_model("logistic_regression", tmp_path / "champion")

    def change(document: dict[str, Any]) -> None:
        document["libraries"]["scikit-learn"] = "0.24.2"

    change_description(champion, change)
    with pytest.raises(ValueError) as caught:
        read_champion(champion)
    assert str(caught.value) == (
        f"the champion cannot be compared: the model in {champion} was trained with scikit-learn"
        f" 0.24.2, and this environment has {sklearn.__version__}; train the model again, or"
        " install scikit-learn 0.24.2"
    )
