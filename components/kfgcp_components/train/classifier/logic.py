"""Train a scikit-learn classifier on a table with columns of any kind."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pandas as pd
import sklearn
from sklearn.base import ClassifierMixin
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from kfgcp_components.features import Features, Labels, choose_features, class_labels, prepare
from kfgcp_components.messages import did_you_mean, format_names, one_line
from kfgcp_components.tables import require_column

# For each model, its class and our defaults, which replace defaults of scikit-learn. With the
# defaults of scikit-learn, the number of rows decides about early stopping, and LogisticRegression
# often stops before it has converged.
ESTIMATORS: dict[str, tuple[Callable[..., ClassifierMixin], dict[str, object]]] = {
    "gradient_boosting": (HistGradientBoostingClassifier, {"early_stopping": False}),
    "logistic_regression": (LogisticRegression, {"max_iter": 1000}),
    "random_forest": (RandomForestClassifier, {}),
}

# For these parameters, scikit-learn takes 1.0 as all features or rows, and 1 as one of them.
FRACTION_OR_COUNT = frozenset({"max_features", "max_samples"})

# Categories with a smaller share of the rows are put into one group.
MIN_CATEGORY_SHARE = 0.01

# The largest number of categories of one column. The group of rare categories counts as one.
MAX_CATEGORIES = 50


@dataclass(frozen=True)
class Trained:
    """A fitted pipeline of scikit-learn's own steps, and the facts for its metadata."""

    pipeline: Pipeline
    facts: dict[str, object]


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
            than two classes, no column is usable, or the estimator refuses a value.
    """
    estimator = build_estimator(model, hyperparameters or {}, seed)
    require_column(table, target)
    rows = table.dropna(subset=[target])
    labels = class_labels(rows[target])
    _require_classes(labels, target)
    features = choose_features(rows.drop(columns=target))
    if not features.numeric and not features.text:
        reason = f"; dropped: {format_names(features.dropped)}" if features.dropped else ""
        raise ValueError(f"no column to learn from besides the target {target!r}{reason}")
    pipeline = Pipeline([("columns", _build_preparation(features)), ("classifier", estimator)])
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


def build_estimator(
    model: str, hyperparameters: Mapping[str, object], seed: int
) -> ClassifierMixin:
    """Return the unfitted estimator of a model.

    Hyperparameters override the seed, and the seed overrides our defaults.

    Raises:
        ValueError: the model or a hyperparameter is unknown.

    Example:
        >>> build_estimator("logistic_regression", {"C": 0.5}, seed=7)
        LogisticRegression(C=0.5, max_iter=1000, random_state=7)
    """
    if model not in ESTIMATORS:
        hint = did_you_mean(model, ESTIMATORS)
        raise ValueError(f"no model {model!r}.{hint} There are: {', '.join(ESTIMATORS)}")
    estimator_class, defaults = ESTIMATORS[model]
    names = list(inspect.signature(estimator_class).parameters)
    for name in hyperparameters:
        if name not in names:
            hint = did_you_mean(name, names)
            raise ValueError(
                f"{model} has no hyperparameter {name!r}.{hint} It has: {', '.join(names)}"
            )
    arguments = {**defaults, "random_state": seed}
    for name, value in hyperparameters.items():
        arguments[name] = _whole_float_as_int(name, value)
    return estimator_class(**arguments)


def _whole_float_as_int(name: str, value: object) -> object:
    """Return the value of a hyperparameter, with a float such as 3.0 as an int.

    KFP passes every number inside a dictionary as a double.
    """
    if not isinstance(value, float) or not value.is_integer():
        return value
    if name in FRACTION_OR_COUNT and value == 1:
        return value
    return int(value)


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
    # Up to 20 classes are always allowed. More classes need at least two rows for each on average.
    if len(counts) > max(20, len(labels) // 2):
        raise ValueError(
            f"the target column {target!r} has {len(counts)} classes in {len(labels)} rows, like an"
            " identifier or a measurement; choose a column with classes"
        )


def _build_preparation(features: Features) -> ColumnTransformer:
    """Return the step that turns prepared columns into the input of the estimator."""
    numeric = Pipeline([("impute", SimpleImputer(strategy="median")), ("scale", StandardScaler())])
    one_hot = OneHotEncoder(
        handle_unknown="infrequent_if_exist",
        min_frequency=MIN_CATEGORY_SHARE,
        max_categories=MAX_CATEGORIES,
    )
    fill_missing = SimpleImputer(strategy="constant", fill_value="(missing)")
    text = Pipeline([("impute", fill_missing), ("encode", one_hot)])
    # A step without columns would fail, so leave it out. `evaluate` uses the names "numeric" and
    # "text".
    steps = []
    if features.numeric:
        steps.append(("numeric", numeric, features.numeric))
    if features.text:
        steps.append(("text", text, features.text))
    # HistGradientBoostingClassifier does not take sparse input.
    return ColumnTransformer(steps, sparse_threshold=0)
