"""Training a scikit-learn classifier on a table of any shape."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
import sklearn
from sklearn.base import ClassifierMixin
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from kfgcp_components.features import Features, choose_features, class_labels, prepare
from kfgcp_components.messages import did_you_mean, listing, one_line
from kfgcp_components.tables import require_column

ESTIMATORS: dict[str, tuple[Callable[..., ClassifierMixin], dict[str, Any]]] = {
    "gradient_boosting": (HistGradientBoostingClassifier, {"early_stopping": False}),
    "logistic_regression": (LogisticRegression, {"max_iter": 1000}),
    "random_forest": (RandomForestClassifier, {}),
}
FRACTION_OR_COUNT = {"max_features", "max_samples"}  # 1.0 means all of them, 1 means one
RARE = 0.01  # categories in a smaller share of the rows are grouped as one
MAX_CATEGORIES = 50  # per column, the group of rare ones included


@dataclass(frozen=True)
class Trained:
    """A fitted pipeline of scikit-learn's own steps, and the facts recorded with it."""

    pipeline: Pipeline
    facts: dict[str, Any]


def train(
    table: pd.DataFrame,
    target: str,
    *,
    model: str = "logistic_regression",
    hyperparameters: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> Trained:
    """A classifier fitted to all usable columns of the table; the same arguments give the same
    classifier.

    Args:
        table: Rows to learn from; those without a target are left out.
        target: Column with the classes.
        model: Key of ESTIMATORS.
        hyperparameters: Arguments of the estimator.
        seed: Its `random_state`.

    Raises:
        ValueError: If the model, a hyperparameter or the target column is unknown, there are fewer
            than two classes, no column is usable, or the estimator refuses a value.
    """
    estimator = build_estimator(model, hyperparameters or {}, seed)
    require_column(table, target)
    rows = table.dropna(subset=[target])
    labels = class_labels(rows[target])
    _require_classes(labels, target)
    features = choose_features(rows.drop(columns=target))
    if not features.numeric and not features.text:
        why = f"; dropped: {listing(features.dropped)}" if features.dropped else ""
        raise ValueError(f"no column to learn from besides the target {target!r}{why}")
    pipeline = Pipeline([("columns", _preparation(features)), ("classifier", estimator)])
    try:
        pipeline.fit(prepare(rows, features.numeric, features.text), labels)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{model} could not be trained: {one_line(error)}") from error
    facts = {
        "framework": "scikit-learn",
        "framework_version": sklearn.__version__,
        "model": model,
        "hyperparameters": dict(hyperparameters or {}),
        "seed": seed,
        "target": target,
        "classes": [str(label) for label in pipeline.classes_],
        "rows": len(rows),
        "numeric_features": features.numeric,
        "text_features": features.text,
        "dropped_columns": features.dropped,
    }
    return Trained(pipeline, facts)


def build_estimator(model: str, hyperparameters: Mapping[str, Any], seed: int) -> ClassifierMixin:
    """The unfitted estimator of a model, with our defaults, the seed and, above both, the
    hyperparameters.

    Raises:
        ValueError: If the model or a hyperparameter is unknown.
    """
    if model not in ESTIMATORS:
        hint = did_you_mean(model, ESTIMATORS)
        raise ValueError(f"no model {model!r}.{hint} There are: {', '.join(ESTIMATORS)}")
    make, defaults = ESTIMATORS[model]
    known = list(inspect.signature(make).parameters)
    for name in hyperparameters:
        if name not in known:
            hint = did_you_mean(name, known)
            raise ValueError(
                f"{model} has no hyperparameter {name!r}.{hint} It has: {', '.join(known)}"
            )
    given = {name: _whole(name, value) for name, value in hyperparameters.items()}
    return make(**{**defaults, "random_state": seed, **given})


def _whole(name: str, value: Any) -> Any:
    """The value with a whole float as int: KFP carries every number inside a dictionary as a
    double."""
    if (
        not isinstance(value, float)
        or not value.is_integer()
        or (name in FRACTION_OR_COUNT and value == 1)
    ):
        return value
    return int(value)


def _require_classes(labels: Any, target: str) -> None:
    counts = pd.Series(labels).value_counts()
    if len(counts) < 2:
        found = (
            f"only the class {listing(map(str, counts.index))!r}" if len(counts) else "no values"
        )
        raise ValueError(
            f"the target column {target!r} has {found}; a classifier needs at least two classes"
        )
    if len(counts) > max(20, len(labels) // 2):
        raise ValueError(
            f"the target column {target!r} has {len(counts)} classes in {len(labels)} rows, like an"
            " identifier or a measurement; choose a column with classes"
        )


def _preparation(features: Features) -> ColumnTransformer:
    numeric = Pipeline([("impute", SimpleImputer(strategy="median")), ("scale", StandardScaler())])
    one_hot = OneHotEncoder(
        handle_unknown="infrequent_if_exist", min_frequency=RARE, max_categories=MAX_CATEGORIES
    )
    text = Pipeline(
        [
            ("impute", SimpleImputer(strategy="constant", fill_value="(missing)")),
            ("encode", one_hot),
        ]
    )
    steps = [("numeric", numeric, features.numeric), ("text", text, features.text)]
    return ColumnTransformer([step for step in steps if step[2]], sparse_threshold=0)
