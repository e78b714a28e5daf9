from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from kfp import dsl
from sklearn import metrics as sklearn_metrics

from column_models import ColumnClassifier, ColumnRegressor, WithoutProbabilities
from kfgcp_components import gate_model
from kfgcp_components.evaluate.gate.bootstrap import (
    COMPARABLE,
    _draw_weights,
    compare,
    weighted_metric,
)
from kfgcp_components.evaluate.gate.logic import ComparisonRule, Decision, decide, read_champion
from kfgcp_components.evaluate.gate.thresholds import parse_threshold
from kfgcp_components.scoring import CLASS_METRICS, Predictions, predict, score
from kfgcp_components.tables import write_parquet
from model_files import TABLE, copy_model

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


def repeat_rows(predictions: Predictions, weights: Any) -> Predictions:
    return predictions.take(np.repeat(np.arange(len(weights)), weights.astype(int)))


@pytest.mark.parametrize("decimals", [9, 1])
@pytest.mark.parametrize("class_count", [2, 3])
@pytest.mark.parametrize("metric", CLASS_METRICS)
def test_a_weighted_metric_equals_the_metric_of_repeated_rows(
    metric: str, class_count: int, decimals: int
) -> None:
    """scikit-learn measures the resamples one by one."""
    table = make_classes(class_count, decimals)
    predictions = predict(classifier(class_count), table, "label")
    weights = _draw_weights(np.random.default_rng(0), 20, ROWS)
    assert (weights.sum(axis=1) == ROWS).all()
    expected = [score(repeat_rows(predictions, row), metric) for row in weights]
    assert weighted_metric(predictions, metric)(weights).tolist() == pytest.approx(
        expected, abs=1e-9
    )


@pytest.mark.parametrize("metric", [name for name in COMPARABLE if name not in CLASS_METRICS])
def test_a_weighted_metric_of_numbers_equals_the_metric_of_repeated_rows(metric: str) -> None:
    predictions = predict(regressor("p"), NUMBERS, "y")
    weights = _draw_weights(np.random.default_rng(0), 20, ROWS)
    expected = [score(repeat_rows(predictions, row), metric) for row in weights]
    assert weighted_metric(predictions, metric)(weights).tolist() == pytest.approx(
        expected, abs=1e-9
    )


@pytest.mark.parametrize("metric", ["accuracy", "roc_auc", "log_loss"])
def test_the_comparison_agrees_with_a_bootstrap_of_rows(metric: str) -> None:
    """A plain loop over resamples gives the same mean, deviation and bound within its error."""
    old, new = predict(classifier(2), TWO, "label"), predict(classifier(2, "q"), TWO, "label")
    sign = -1 if metric == "log_loss" else 1
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
    # The error of a 5 % quantile of 500 numbers is about 0.1 standard deviations.
    assert result.lower_bound == pytest.approx(bound, abs=0.4 * error)


def plain_score(predictions: Any, metric: str) -> float:
    """Return a metric without the functions that the gate uses."""
    positive = predictions.probabilities[:, 1]
    if metric == "roc_auc":
        return float(sklearn_metrics.roc_auc_score(predictions.truth, positive))
    if metric == "log_loss":
        is_positive = predictions.truth == 1
        return float(-np.log(np.where(is_positive, positive, 1 - positive)).mean())
    return float((predictions.truth == predictions.predicted).mean())


def test_the_p_value_of_a_case_computed_by_hand() -> None:
    """Ten rows, of which the challenger alone gets three right, and the champion alone none.

    A resample shows no improvement if it has none of the three rows: with probability 0.7 ** 10.
    """
    table = pd.DataFrame({"label": ["class 0"] * 5 + ["class 1"] * 5})
    table["p1"] = [0.1] * 5 + [0.9, 0.9, 0.1, 0.1, 0.1]
    table["q1"] = [0.1] * 5 + [0.9] * 5
    table["p0"], table["q0"] = 1 - table["p1"], 1 - table["q1"]
    old, new = predict(classifier(2), table, "label"), predict(classifier(2, "q"), table, "label")
    resamples = 200_000
    result = compare(old, new, "accuracy", resamples=resamples, seed=3)
    assert result.improvement == pytest.approx(0.3)
    error = math.sqrt(0.7**10 / resamples)
    assert result.p_value == pytest.approx(0.7**10, abs=5 * error)


def test_the_seed_decides() -> None:
    old, new = predict(classifier(2), TWO, "label"), predict(classifier(2, "q"), TWO, "label")
    first = compare(old, new, "roc_auc", resamples=200, seed=1)
    assert compare(old, new, "roc_auc", resamples=200, seed=1) == first
    assert compare(old, new, "roc_auc", resamples=200, seed=2) != first


def test_many_rows_are_resampled_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = predict(regressor("p"), NUMBERS, "y"), predict(regressor("q"), NUMBERS, "y")
    whole = compare(old, new, "mae", resamples=500)
    monkeypatch.setattr("kfgcp_components.evaluate.gate.bootstrap.CHUNK_CELLS", 7 * ROWS)
    assert compare(old, new, "mae", resamples=500) == whole


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


def test_resamples_without_the_positive_class_are_no_evidence() -> None:
    """One row in 300 is positive: a third of the resamples have no roc_auc."""
    table = TWO.assign(label=["class 1"] + ["class 0"] * (ROWS - 1), p1=0.5, q1=0.1)
    table.loc[0, "q1"] = 0.9
    table["p0"], table["q0"] = 1 - table["p1"], 1 - table["q1"]
    decision = decide_two(test=table, rule=ComparisonRule(metric="roc_auc"))
    assert not decision.passed
    assert decision.metrics["improvement"] == pytest.approx(0.5)
    assert decision.metrics["p_value"] == pytest.approx(math.exp(-1), abs=0.05)
    assert "improvement_lower_bound" not in decision.metrics


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
