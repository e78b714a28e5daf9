"""Fit a pipeline of scikit-learn to a table: what train_classifier and train_regressor share."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
import sklearn
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from kfgcp_components.features import Features, Labels, choose_features, prepare
from kfgcp_components.messages import did_you_mean, format_names, one_line

# For the name of each model, its class and our defaults, which replace defaults of scikit-learn.
Estimators: TypeAlias = Mapping[str, tuple[Callable[..., BaseEstimator], Mapping[str, object]]]

Numbers: TypeAlias = npt.NDArray[np.float64]

# For these parameters, scikit-learn takes 1.0 as all features or rows, and 1 as one of them.
FRACTION_OR_COUNT: Final = frozenset({"max_features", "max_samples"})

# The pipeline encodes categories itself, so the estimator never gets any.
UNSUPPORTED: Final = frozenset({"categorical_features"})

# Categories with a smaller share of the rows are put into one group.
MIN_CATEGORY_SHARE: Final = 0.01

# The largest number of categories of one column. The group of rare categories counts as one.
MAX_CATEGORIES: Final = 50


@dataclass(frozen=True)
class Trained:
    """A fitted pipeline of scikit-learn's own steps.

    Attributes:
        pipeline: takes tables that `prepare` made.
        features: the columns that it reads, and the columns that were dropped.
        facts: how it was trained, for its metadata.
    """

    pipeline: Pipeline
    features: Features
    facts: dict[str, object]

    def summary(self) -> dict[str, object]:
        """Return the facts for the log, with numbers of columns instead of their names."""
        summary = dict(self.facts)
        summary["numeric_features"] = len(self.features.numeric)
        summary["text_features"] = len(self.features.text)
        return summary


@dataclass(frozen=True)
class TrainingOrder:
    """What to train.

    Attributes:
        model: the name of the model.
        hyperparameters: arguments of the estimator.
        seed: the `random_state` of the estimator.
        target: the column to predict.
    """

    model: str
    hyperparameters: Mapping[str, object]
    seed: int
    target: str


def build_estimator(
    estimators: Estimators, model: str, hyperparameters: Mapping[str, object], seed: int
) -> BaseEstimator:
    """Return the unfitted estimator of a model.

    Hyperparameters override the seed, and the seed overrides our defaults.

    Args:
        estimators: the models to choose from.
        model: a key of `estimators`.
        hyperparameters: arguments of the estimator.
        seed: the `random_state` of an estimator that has one.

    Raises:
        ValueError: the model or a hyperparameter is unknown.
    """
    if model not in estimators:
        hint = did_you_mean(model, estimators)
        raise ValueError(f"no model {model!r}.{hint} There are: {', '.join(estimators)}")
    estimator_class, defaults = estimators[model]
    parameters = inspect.signature(estimator_class).parameters
    names = [name for name in parameters if name not in UNSUPPORTED]
    for name in hyperparameters:
        if name not in names:
            hint = did_you_mean(name, names)
            raise ValueError(
                f"{model} has no hyperparameter {name!r}.{hint} It has: {', '.join(names)}"
            )
    arguments = dict(defaults)
    if "random_state" in names:
        arguments["random_state"] = seed
    for name, value in hyperparameters.items():
        arguments[name] = _whole_float_as_int(name, value)
    return estimator_class(**arguments)


def fit(
    rows: pd.DataFrame,
    values: Labels | Numbers,
    order: TrainingOrder,
    estimator: BaseEstimator,
    step_name: str,
) -> Trained:
    """Fit an estimator to all usable columns of a table.

    Args:
        rows: the rows to learn from, with the target column.
        values: what to predict for each row, shape (rows,).
        order: the names for the facts.
        estimator: the unfitted estimator.
        step_name: the name of the last step of the pipeline.

    Raises:
        ValueError: no column is usable, or the estimator refuses a value.
    """
    features = choose_features(rows.drop(columns=order.target))
    if not features.numeric and not features.text:
        reason = f"; dropped: {format_names(features.dropped)}" if features.dropped else ""
        raise ValueError(f"no column to learn from besides the target {order.target!r}{reason}")
    pipeline = Pipeline([("columns", _build_preparation(features)), (step_name, estimator)])
    try:
        pipeline.fit(prepare(rows, features.numeric, features.text), values)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{order.model} could not be trained: {one_line(error)}") from error
    facts: dict[str, object] = {
        "framework": "scikit-learn",
        "framework_version": sklearn.__version__,
        "model": order.model,
        "hyperparameters": dict(order.hyperparameters),
        "seed": order.seed,
        "target": order.target,
        "rows": len(rows),
        "numeric_features": features.numeric,
        "text_features": features.text,
        "dropped_columns": features.dropped,
    }
    return Trained(pipeline, features, facts)


def _whole_float_as_int(name: str, value: object) -> object:
    """Return the value of a hyperparameter, with a float such as 3.0 as an int.

    KFP passes every number inside a dictionary as a double.
    """
    if not isinstance(value, float) or not value.is_integer():
        return value
    if name in FRACTION_OR_COUNT and value == 1:
        return value
    return int(value)


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
    # A step without columns would fail, so leave it out. `models.structure` knows the names of the
    # steps.
    steps = []
    if features.numeric:
        steps.append(("numeric", numeric, features.numeric))
    if features.text:
        steps.append(("text", text, features.text))
    # The gradient boosting estimators do not take sparse input.
    return ColumnTransformer(steps, sparse_threshold=0)
