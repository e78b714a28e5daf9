"""Explain a model by the permutation importance of its columns."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from kfgcp_components.class_scores import rows_with_target
from kfgcp_components.html_table import render_page
from kfgcp_components.models import TableModel
from kfgcp_components.scoring import LOWER_IS_BETTER, choose_metric, predict, score


@dataclass(frozen=True)
class Importance:
    """How much worse a model predicts when the values of a column are shuffled.

    Attributes:
        column: the name of the column.
        mean: the mean loss of the metric over the repeats. A positive loss is worse for every
            metric.
        standard_deviation: of the losses over the repeats.
        losses: the loss of each repeat.
    """

    column: str
    mean: float
    standard_deviation: float
    losses: list[float]


@dataclass(frozen=True)
class Explanation:
    """The importance of each column of a model.

    Attributes:
        metric: the name of the metric.
        baseline: the metric without shuffling.
        rows: the number of rows that were predicted.
        repeats: how often each column was shuffled.
        seed: the seed of the shuffling.
        importances: the columns, the most important first.
    """

    metric: str
    baseline: float
    rows: int
    repeats: int
    seed: int
    importances: list[Importance]

    def to_json(self) -> str:
        """Return the explanation as JSON."""
        document = {
            "metric": self.metric,
            "baseline": self.baseline,
            "rows": self.rows,
            "repeats": self.repeats,
            "seed": self.seed,
            "importances": [asdict(importance) for importance in self.importances],
        }
        return json.dumps(document, ensure_ascii=False, indent=2, allow_nan=False) + "\n"

    def html(self) -> str:
        """Return a page with a table of the columns, the most important first."""
        rows = [(item.column, item.mean, item.standard_deviation) for item in self.importances]
        notes = [
            f"{self.metric} is {self.baseline:.5g} on {self.rows} rows. The loss says how much"
            f" worse it gets when a column is shuffled: the mean of {self.repeats} repeats."
        ]
        headers = ["column", f"loss of {self.metric}", "standard deviation"]
        return render_page("Permutation importance", notes, headers, rows)


def explain(
    model: TableModel,
    table: pd.DataFrame,
    target: str,
    *,
    metric: str = "",
    repeats: int = 5,
    seed: int = 0,
    max_rows: int = 10_000,
) -> Explanation:
    """Return how much each column contributes to the predictions of a model.

    The order of the shuffled rows is that of `sklearn.inspection.permutation_importance` with the
    same seed, so the results can be compared.

    Args:
        model: a classifier or a regressor.
        table: rows to predict. Rows without a target are left out.
        target: the column with the true values.
        metric: a metric of the model's task. Empty means accuracy or rmse.
        repeats: how often each column is shuffled.
        seed: the seed of the shuffling, and of the choice of rows.
        max_rows: of a larger table, so many rows are chosen at random.

    Raises:
        ValueError: the target, a column or the metric is unknown, a number is out of range, or the
            metric is undefined on the table.
    """
    if repeats < 1 or max_rows < 1:
        raise ValueError(
            f"repeats is {repeats} and max_rows is {max_rows}; both must be at least 1"
        )
    metric = choose_metric(model, metric)
    rows = rows_with_target(table, target)
    if len(rows) > max_rows:
        rows = rows.sample(max_rows, random_state=seed)
    baseline = score(predict(model, rows, target), metric)
    if not math.isfinite(baseline):
        raise ValueError(f"{metric} is undefined on these {len(rows)} rows; choose another metric")
    # Each column is shuffled in the same way, as scikit-learn does it.
    column_seed = np.random.RandomState(seed).randint(np.iinfo(np.int32).max + 1)
    sign = 1 if metric in LOWER_IS_BETTER else -1
    importances = []
    for column in model.columns:
        generator = np.random.RandomState(column_seed)
        order = np.arange(len(rows))
        values = rows[column].array
        losses = []
        for _ in range(repeats):
            generator.shuffle(order)
            # scikit-learn shuffles the values of the repeat before.
            values = values[order]
            shuffled = rows.assign(**{column: values})
            losses.append(sign * (score(predict(model, shuffled, target), metric) - baseline))
        mean, deviation = float(np.mean(losses)), float(np.std(losses))
        importances.append(Importance(column, mean, deviation, losses))
    importances.sort(key=lambda importance: (-importance.mean, importance.column))
    return Explanation(metric, baseline, len(rows), repeats, seed, importances)
