"""Decide whether a model may be used: thresholds on metrics, and a comparison with a champion."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from kfgcp_components.evaluate.gate.bootstrap import (
    MINIMUM_LOW_ROWS,
    Comparison,
    compare,
    is_shown_better,
)
from kfgcp_components.evaluate.gate.effects import COMPARABLE
from kfgcp_components.evaluate.gate.numbers import exact, next_to
from kfgcp_components.evaluate.gate.rows import describe_missing_rows
from kfgcp_components.evaluate.gate.thresholds import Threshold, parse_threshold
from kfgcp_components.models import Model, read_model
from kfgcp_components.scoring import Predictions, choose_metric, predict, score


@dataclass(frozen=True)
class ComparisonRule:
    """How a challenger is compared with a champion.

    Attributes:
        metric: the metric to compare. Empty means accuracy or rmse.
        minimum_effect: the improvement, in the unit of the metric, that has to be exceeded.
        alpha: the largest acceptable probability of a false promotion.
        resamples: the number of resamples of the bootstrap.
        seed: the seed of the resamples.
    """

    metric: str = ""
    minimum_effect: float = 0.0
    alpha: float = 0.05
    resamples: int = 2000
    seed: int = 0

    def check(self) -> None:
        """Check the numbers.

        Raises:
            ValueError: a number is out of range, or there are too few resamples for this alpha.
        """
        if not 0 < self.alpha < 1:
            raise ValueError(f"alpha is {self.alpha}; it must be between 0 and 1")
        if not math.isfinite(self.minimum_effect) or self.minimum_effect < 0:
            raise ValueError(f"minimum_effect is {self.minimum_effect}; it must be 0 or more")
        # With fewer resamples, the smallest possible p-value is larger than alpha.
        fewest = math.ceil(1 / self.alpha) - 1
        if self.resamples < fewest:
            raise ValueError(
                f"resamples is {self.resamples}; with alpha {self.alpha:g} there must be at least"
                f" {fewest}"
            )


@dataclass(frozen=True)
class Decision:
    """Whether a model passed, and why.

    Attributes:
        passed: whether all conditions hold.
        reason: one line that says which conditions hold or fail.
        metrics: finite numbers by name.
    """

    passed: bool
    reason: str
    metrics: dict[str, float] = field(default_factory=dict)


def decide(
    challenger: Model,
    test: pd.DataFrame,
    target: str,
    *,
    champion: Model | None = None,
    thresholds: Sequence[object] = (),
    rule: ComparisonRule | None = None,
) -> Decision:
    """Decide whether a challenger may be used.

    Args:
        challenger: the new model.
        test: the rows to predict, which no model was trained on. Rows without a target are left
            out.
        target: the column with the true values.
        champion: the model in use, if there is one.
        thresholds: conditions on metrics of the challenger, such as "roc_auc >= 0.8".
        rule: how to compare the challenger with the champion.

    Raises:
        ValueError: there is nothing to check, both models are the same, the models do not fit
            together, or a threshold, the metric, the target or a number is wrong.
    """
    rule = rule or ComparisonRule()
    rule.check()
    if not thresholds and champion is None:
        raise ValueError("the gate has nothing to check; give thresholds, a champion, or both")
    conditions = [parse_threshold(text) for text in thresholds]
    for condition in conditions:
        choose_metric(challenger, condition.metric)
    metric = choose_metric(challenger, rule.metric)
    if champion is not None:
        _require_comparable(challenger, champion, metric)
    predictions = predict(challenger, test, target)
    failures, metrics = _check_thresholds(conditions, predictions)
    reasons = list(failures)
    if conditions and not failures:
        reasons.append("all thresholds hold: " + ", ".join(str(item) for item in conditions))
    if champion is None:
        reasons.append("no champion was given, so the models were not compared")
        return Decision(not failures, "; ".join(reasons), _finite(metrics))
    champion_predictions = predict(champion, test, target)
    metrics[f"challenger_{metric}"] = score(predictions, metric)
    metrics[f"champion_{metric}"] = score(champion_predictions, metric)
    missing_rows = describe_missing_rows(champion_predictions, predictions, metric)
    if missing_rows:
        reasons.append(missing_rows)
        return Decision(False, "; ".join(reasons), _finite(metrics))
    comparison = compare(
        champion_predictions,
        predictions,
        metric,
        minimum_effect=rule.minimum_effect,
        alpha=rule.alpha,
        resamples=rule.resamples,
        seed=rule.seed,
    )
    is_better = is_shown_better(comparison, rule.alpha)
    reasons.append(_describe(comparison, metric, rule))
    metrics["improvement"] = comparison.improvement
    metrics["improvement_lower_bound"] = comparison.lower_bound
    metrics["p_value"] = comparison.p_value
    return Decision(is_better and not failures, "; ".join(reasons), _finite(metrics))


def read_champion(path: str | Path) -> Model | None:
    """Return the model in use, None when there is none yet.

    `fetch_model` leaves an empty folder for a model that is not registered. A bucket keeps no empty
    folder, so on other backends the folder can also be missing.

    Raises:
        ValueError: the folder has files that are not a model, or a model that this environment
            cannot use, such as one of another version of scikit-learn.
    """
    folder = Path(path)
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return None
    try:
        return read_model(folder)
    except ValueError as error:
        raise ValueError(f"the champion cannot be compared: {error}") from error


def _require_comparable(challenger: Model, champion: Model, metric: str) -> None:
    if challenger.fingerprint == champion.fingerprint:
        raise ValueError(
            "the challenger and the champion are the same model; a comparison with itself says"
            f" nothing (SHA-256 {challenger.fingerprint[:12]})"
        )
    if challenger.task != champion.task:
        raise ValueError(
            f"the challenger is for {challenger.task} and the champion for {champion.task}; only"
            " models for the same task can be compared"
        )
    if challenger.classes != champion.classes:
        raise ValueError(
            "the challenger and the champion have different classes, so their metrics cannot be"
            " compared; train both on the same classes"
        )
    if metric not in COMPARABLE:
        raise ValueError(f"{metric} cannot be compared with a bootstrap; choose another metric")


def _check_thresholds(
    conditions: Sequence[Threshold], predictions: Predictions
) -> tuple[list[str], dict[str, float]]:
    """Return why conditions fail, and the metrics of all conditions."""
    metrics = {}
    for condition in conditions:
        metrics[condition.metric] = score(predictions, condition.metric)
    failures = []
    for condition in conditions:
        failure = condition.failure(metrics)
        if failure:
            failures.append(failure)
    return failures, metrics


def _describe(comparison: Comparison, metric: str, rule: ComparisonRule) -> str:
    """Return one line about a comparison."""
    if math.isnan(comparison.improvement):
        return f"{metric} is undefined on the test set, so the models cannot be compared"
    effect = exact(rule.minimum_effect)
    wanted_effect = f"by more than {effect}" if rule.minimum_effect else "at all"
    lower_bound = next_to(comparison.lower_bound, rule.minimum_effect)
    p_value = next_to(comparison.p_value, rule.alpha, digits=4)
    numbers = (
        f"improvement {next_to(comparison.improvement, rule.minimum_effect)}, lower bound"
        f" {lower_bound}, p = {p_value}"
    )
    if is_shown_better(comparison, rule.alpha):
        return f"{metric} is better than that of the champion ({numbers})"
    if comparison.p_value <= rule.alpha:
        low_rows = next_to(comparison.low_rows, MINIMUM_LOW_ROWS, digits=2)
        return (
            f"{metric} depends on too few rows: the rows where the challenger gains less than on"
            f" average weigh as much as {low_rows} rows, and at least {MINIMUM_LOW_ROWS} are"
            " needed; use a larger test set, or a metric that large errors influence less"
            f" ({numbers})"
        )
    return (
        f"it is not shown that {metric} is better than that of the champion {wanted_effect}"
        f" ({numbers}, which must be at most {exact(rule.alpha)})"
    )


def _finite(metrics: dict[str, float]) -> dict[str, float]:
    """Return the numbers that JSON has."""
    return {name: float(value) for name, value in metrics.items() if math.isfinite(value)}
