"""Predict the numbers of a table, and compute metrics of the predictions."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from kfgcp_components.class_scores import rows_with_target
from kfgcp_components.features import target_numbers
from kfgcp_components.models import TableModel

Numbers: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True)
class NumberPredictions:
    """The predictions of a regressor for the rows of a table.

    Attributes:
        rows: the rows that have a target.
        truth: the true number of each row.
        predicted: the predicted number of each row.
    """

    rows: pd.DataFrame
    truth: Numbers
    predicted: Numbers

    def take(self, positions: npt.NDArray[np.int64]) -> NumberPredictions:
        """Return the predictions of the rows at some positions."""
        return NumberPredictions(
            self.rows.iloc[positions], self.truth[positions], self.predicted[positions]
        )


def predict_numbers(model: TableModel, table: pd.DataFrame, target: str) -> NumberPredictions:
    """Predict the rows of a table that have a target.

    Args:
        model: a regressor.
        table: rows with the columns of the model.
        target: the column with the true numbers.

    Raises:
        ValueError: the model is not a regressor, the target or a column that the model needs is
            missing, the target has other values than finite numbers, or no row has a target.
    """
    if model.classes is not None:
        raise ValueError("the model predicts classes, not numbers; use evaluate_classifier")
    rows = rows_with_target(table, target)
    truth = target_numbers(rows[target])
    return NumberPredictions(rows, truth, model.predict(rows).to_numpy(dtype=np.float64))


def r2(truth: Numbers, predicted: Numbers) -> float:
    """Return the share of the variance of the truth that the predictions explain.

    It is NaN for a truth that does not vary.
    """
    return _explained_share(np.square(truth - predicted), truth)


def explained_variance(truth: Numbers, predicted: Numbers) -> float:
    """Return the share of variance like `r2`, without counting a constant error."""
    errors = truth - predicted
    return _explained_share(np.square(errors - errors.mean()), truth)


def rmse(truth: Numbers, predicted: Numbers) -> float:
    """Return the root of the mean squared error, in the unit of the target."""
    return float(np.sqrt(np.square(truth - predicted).mean()))


def mae(truth: Numbers, predicted: Numbers) -> float:
    """Return the mean absolute error, in the unit of the target."""
    return float(np.abs(truth - predicted).mean())


def median_absolute_error(truth: Numbers, predicted: Numbers) -> float:
    """Return the median of the absolute errors, in the unit of the target."""
    return float(np.median(np.abs(truth - predicted)))


def max_error(truth: Numbers, predicted: Numbers) -> float:
    """Return the largest absolute error, in the unit of the target."""
    return float(np.abs(truth - predicted).max())


def mape(truth: Numbers, predicted: Numbers) -> float:
    """Return the mean absolute error relative to the truth, where 0.1 means 10 %.

    It is NaN when a true number is 0.
    """
    if (truth == 0).any():
        return math.nan
    return float((np.abs(truth - predicted) / np.abs(truth)).mean())


METRICS: Final[dict[str, Callable[[Numbers, Numbers], float]]] = {
    "r2": r2,
    "explained_variance": explained_variance,
    "rmse": rmse,
    "mae": mae,
    "median_absolute_error": median_absolute_error,
    "max_error": max_error,
    "mape": mape,
}

_NOT_FINITE: Final = "for a prediction that is not a finite number"

# For each metric, the test sets for which it is not a finite number.
UNDEFINED_WHEN: Final = {
    "r2": "when all true numbers are equal",
    "explained_variance": "when all true numbers are equal",
    "rmse": _NOT_FINITE,
    "mae": _NOT_FINITE,
    "median_absolute_error": _NOT_FINITE,
    "max_error": _NOT_FINITE,
    "mape": "when a true number is 0",
}


def _explained_share(squares: Numbers, truth: Numbers) -> float:
    total = float(np.square(truth - truth.mean()).sum())
    if (truth == truth[0]).all():
        return math.nan
    return 1 - float(squares.sum()) / total
