"""Train a scikit-learn regressor on a table with columns of any kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import pandas as pd
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor
from sklearn.linear_model import LinearRegression, Ridge

from kfgcp_components.features import target_numbers
from kfgcp_components.tables import require_column
from kfgcp_components.training import Estimators, Trained, TrainingOrder, build_estimator, fit

# With the defaults of scikit-learn, the number of rows decides about early stopping.
ESTIMATORS: Final[Estimators] = {
    "gradient_boosting": (HistGradientBoostingRegressor, {"early_stopping": False}),
    "linear_regression": (LinearRegression, {}),
    "random_forest": (RandomForestRegressor, {}),
    "ridge": (Ridge, {}),
}


def train(
    table: pd.DataFrame,
    target: str,
    *,
    model: str = "ridge",
    hyperparameters: Mapping[str, object] | None = None,
    seed: int = 0,
) -> Trained:
    """Train a regressor on all usable columns of a table.

    The same arguments give the same regressor.

    Args:
        table: the rows to learn from. Rows without a target are left out.
        target: the column with the numbers to predict.
        model: a key of ESTIMATORS.
        hyperparameters: arguments of the estimator.
        seed: the `random_state` of an estimator that has one.

    Raises:
        ValueError: the model, a hyperparameter or the target column is unknown, the target is not
            made of finite numbers or has only one value, no column is usable, or the estimator
            refuses a value.
    """
    order = TrainingOrder(model, hyperparameters or {}, seed, target)
    estimator = build_estimator(ESTIMATORS, model, order.hyperparameters, seed)
    require_column(table, target)
    rows = table.dropna(subset=[target])
    if rows.empty:
        raise ValueError(f"the target column {target!r} has no values; a regressor needs numbers")
    numbers = target_numbers(rows[target])
    if (numbers == numbers[0]).all():
        raise ValueError(
            f"the target column {target!r} has only the value {numbers[0]:g}; a regressor needs at"
            " least two different numbers"
        )
    return fit(rows, numbers, order, estimator, "regressor")
