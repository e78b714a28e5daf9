"""Train a scikit-learn classifier on a table with columns of any kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression

from kfgcp_components.features import Labels, class_labels
from kfgcp_components.messages import format_names
from kfgcp_components.tables import require_column
from kfgcp_components.training import Estimators, Trained, TrainingOrder, build_estimator, fit

# With the defaults of scikit-learn, the number of rows decides about early stopping, and
# LogisticRegression often stops before it has converged.
ESTIMATORS: Final[Estimators] = {
    "gradient_boosting": (HistGradientBoostingClassifier, {"early_stopping": False}),
    "logistic_regression": (LogisticRegression, {"max_iter": 1000}),
    "random_forest": (RandomForestClassifier, {}),
}

# A target with no more distinct values is always accepted.
ALWAYS_CLASSES: Final = 20
# More classes do not fit into the memory of most machines: each gets its own coefficients or trees.
MAX_CLASSES: Final = 10_000
# Classes need at least two rows on average. Numbers need more, because counts and amounts repeat.
ROWS_PER_CLASS: Final = 2
ROWS_PER_NUMBER: Final = 20
MAX_NUMBERS: Final = 1_000


def train(
    table: pd.DataFrame,
    target: str,
    *,
    model: str = "logistic_regression",
    hyperparameters: Mapping[str, object] | None = None,
    seed: int = 0,
) -> Trained:
    """Train a classifier on all usable columns of a table.

    The same arguments give the same classifier.

    Args:
        table: the rows to learn from. Rows without a target are left out.
        target: the column with the classes.
        model: a key of ESTIMATORS.
        hyperparameters: arguments of the estimator.
        seed: the `random_state` of the estimator.

    Raises:
        ValueError: the model, a hyperparameter or the target column is unknown, there are fewer
            than two classes or too many, no column is usable, or the estimator refuses a value.
    """
    order = TrainingOrder(model, hyperparameters or {}, seed, target)
    estimator = build_estimator(ESTIMATORS, model, order.hyperparameters, seed)
    require_column(table, target)
    rows = table.dropna(subset=[target])
    labels = class_labels(rows[target])
    _require_classes(labels, target)
    trained = fit(rows, labels, order, estimator, "classifier")
    trained.facts["classes"] = [str(label) for label in trained.pipeline.classes_]
    return trained


def _require_classes(labels: Labels, target: str) -> None:
    """Raise an error unless the labels can be classes: two or more, and not too many."""
    counts = pd.Series(labels).value_counts()
    if counts.empty:
        raise ValueError(
            f"the target column {target!r} has no values; a classifier needs at least two classes"
        )
    if len(counts) == 1:
        name = format_names([str(counts.index[0])])
        raise ValueError(
            f"the target column {target!r} has only the class {name!r}; a classifier needs at"
            " least two classes"
        )
    if np.issubdtype(labels.dtype, np.integer):
        limit = min(len(labels) // ROWS_PER_NUMBER, MAX_NUMBERS)
        advice = "to predict a number, use train_regressor"
    else:
        limit = min(len(labels) // ROWS_PER_CLASS, MAX_CLASSES)
        advice = "choose a column with classes"
    if len(counts) > max(ALWAYS_CLASSES, limit):
        raise ValueError(
            f"the target column {target!r} has {len(counts)} classes in {len(labels)} rows, like an"
            f" identifier or a measurement; {advice}"
        )
