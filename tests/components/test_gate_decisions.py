"""What a gate decides, and the reason that it gives."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from column_models import WithoutProbabilities
from gate_models import NUMBERS, ROWS, TWO, classifier, regressor
from kfgcp_components.evaluate.gate.logic import ComparisonRule, Decision, decide
from kfgcp_components.evaluate.gate.thresholds import parse_threshold


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
