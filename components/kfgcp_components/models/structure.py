"""Check that an object is a fitted pipeline as our components train it.

The list of trusted types limits the parts of a model. This module checks how the parts are put
together, before the first prediction.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Final, cast

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from kfgcp_components.features import Features, prepare
from kfgcp_components.messages import one_line
from kfgcp_components.models.tree_arrays import check_bins, check_boosted_tree

CLASSIFIERS: Final = (HistGradientBoostingClassifier, LogisticRegression, RandomForestClassifier)
REGRESSORS: Final = (
    HistGradientBoostingRegressor,
    LinearRegression,
    RandomForestRegressor,
    Ridge,
)
_FORESTS: Final = (RandomForestClassifier, RandomForestRegressor)
_BOOSTERS: Final = (HistGradientBoostingClassifier, HistGradientBoostingRegressor)

# For each task, the name of the last step and the estimators that it can be.
_LAST_STEPS: Final = {
    "classification": ("classifier", CLASSIFIERS),
    "regression": ("regressor", REGRESSORS),
}

# For each group of columns, the steps that prepare them.
_PREPARATIONS: Final = {
    "numeric": [("impute", SimpleImputer), ("scale", StandardScaler)],
    "text": [("impute", SimpleImputer), ("encode", OneHotEncoder)],
}


def without_training_state(pipeline: Pipeline) -> Pipeline:
    """Return a copy of a pipeline without the random generator of its training.

    Predictions do not need the generator. A reader can then refuse all generators.
    """
    name, estimator = pipeline.steps[-1]
    if not isinstance(estimator, _BOOSTERS):
        return pipeline
    estimator = copy.copy(estimator)
    estimator._feature_subsample_rng = None
    result = copy.copy(pipeline)
    result.steps = pipeline.steps[:-1] + [(name, estimator)]
    return result


def check_pipeline(
    pipeline: object, task: str, features: Features, classes: Sequence[object] | None
) -> Pipeline:
    """Return a pipeline after a check that it is safe to use and fits its description.

    Args:
        pipeline: the object from the file.
        task: classification or regression.
        features: the columns that the description names.
        classes: the classes that the description names, or None for a regression.

    Raises:
        ValueError: the pipeline has another structure, does not fit the description, or cannot
            predict.
    """
    step_name, estimator_classes = _LAST_STEPS[task]
    steps = _steps(pipeline, "the pipeline", ["columns", step_name])
    preparation, estimator = steps
    _check_preparation(preparation, features)
    if type(estimator) not in estimator_classes:
        raise ValueError(f"its last step is {_type_name(estimator)}, which is not for {task}")
    _check_attributes(estimator)
    _use_one_process(preparation)
    _use_one_process(estimator)
    if classes is not None and estimator.classes_.tolist() != list(classes):
        raise ValueError("its classes are not the classes of model.json")
    if isinstance(estimator, _FORESTS):
        _check_forest(estimator)
    if isinstance(estimator, _BOOSTERS):
        _check_booster(estimator)
    _check_prediction(pipeline, features)
    return pipeline


def _steps(pipeline: object, name: str, expected_names: list[str]) -> list[BaseEstimator]:
    """Return the steps of a pipeline, after a check of their names."""
    if type(pipeline) is not Pipeline:
        raise ValueError(f"{name} is {_type_name(pipeline)} instead of a Pipeline")
    steps = cast("Pipeline", pipeline).steps
    _check_attributes(pipeline)
    names = [step_name for step_name, _ in steps]
    if names != expected_names:
        raise ValueError(f"{name} has the steps {one_line(names)} instead of {expected_names}")
    return [step for _, step in steps]


def _check_preparation(preparation: object, features: Features) -> None:
    if type(preparation) is not ColumnTransformer:
        raise ValueError(f"its first step is {_type_name(preparation)}, not a ColumnTransformer")
    _check_attributes(preparation)
    groups = {}
    for name, group, columns in cast("ColumnTransformer", preparation).transformers_:
        groups[name] = list(columns)
        if name not in _PREPARATIONS:
            raise ValueError(f"it prepares an unknown group of columns: {one_line(name, 60)!r}")
        expected = _PREPARATIONS[name]
        steps = _steps(group, f"the group {name!r}", [step for step, _ in expected])
        for step, (_, step_class) in zip(steps, expected, strict=True):
            if type(step) is not step_class:
                raise ValueError(f"a step of the group {name!r} is {_type_name(step)}")
            _check_attributes(step)
    numeric, text = groups.get("numeric", []), groups.get("text", [])
    if numeric != list(features.numeric) or text != list(features.text):
        raise ValueError("its columns are not the columns of model.json")


def _check_attributes(estimator: BaseEstimator) -> None:
    """Check that no attribute of an object hides a method of its class."""
    for name in vars(estimator):
        # Gradient boosting takes its input as bins while this attribute is true.
        if hasattr(type(estimator), name) or name == "_in_fit":
            raise ValueError(f"an object of the pipeline replaces {one_line(name, 60)!r}")


def _use_one_process(estimator: BaseEstimator) -> None:
    """Let an object predict in this process.

    The file decides otherwise how many processes and threads a prediction starts.
    """
    if hasattr(estimator, "n_jobs"):
        estimator.n_jobs = None


def _check_forest(forest: RandomForestClassifier | RandomForestRegressor) -> None:
    is_classifier = isinstance(forest, RandomForestClassifier)
    tree_class = DecisionTreeClassifier if is_classifier else DecisionTreeRegressor
    class_count = len(forest.classes_) if is_classifier else 1
    if forest.n_outputs_ != 1 or (is_classifier and forest.n_classes_ != class_count):
        raise ValueError("the forest does not fit its classes")
    if not forest.estimators_:
        raise ValueError("the forest has no trees")
    for estimator in forest.estimators_:
        if type(estimator) is not tree_class:
            raise ValueError(f"a tree of the forest is {_type_name(estimator)}")
        _check_attributes(estimator)
        tree = estimator.tree_
        features_fit = tree.n_features == forest.n_features_in_ == estimator.n_features_in_
        classes_fit = tree.max_n_classes == class_count and estimator.n_outputs_ == 1
        if is_classifier:
            classes_fit = classes_fit and estimator.n_classes_ == class_count
        if not features_fit or not classes_fit:
            raise ValueError("a tree does not fit its forest")


def _check_booster(
    booster: HistGradientBoostingClassifier | HistGradientBoostingRegressor,
) -> None:
    feature_count = booster.n_features_in_
    bins = booster._bin_mapper
    _check_attributes(bins)
    if booster._preprocessor is not None or np.any(bins.is_categorical_):
        raise ValueError("the model has categorical features, which is not supported")
    # scikit-learn uses one of the bins for missing values.
    check_bins(bins.bin_thresholds_, feature_count, bins.n_bins - 1)
    is_classifier = isinstance(booster, HistGradientBoostingClassifier)
    class_count = len(booster.classes_) if is_classifier else 1
    trees_per_iteration = class_count if class_count > 2 else 1
    baseline = np.asarray(booster._baseline_prediction)
    if booster.n_trees_per_iteration_ != trees_per_iteration or baseline.size not in (
        1,
        trees_per_iteration,
    ):
        raise ValueError("the trees of the model do not fit its classes")
    for iteration in booster._predictors:
        if len(iteration) != trees_per_iteration:
            raise ValueError("an iteration of the model lacks a tree")
        for predictor in iteration:
            _check_attributes(predictor)
            check_boosted_tree(predictor.nodes, feature_count)


def _check_prediction(pipeline: Pipeline, features: Features) -> None:
    """Check that the pipeline can predict a row without any value."""
    names = features.numeric + features.text
    row = prepare(pd.DataFrame({name: [None] for name in names}), features.numeric, features.text)
    try:
        pipeline.predict(row)
        if hasattr(pipeline, "predict_proba"):
            pipeline.predict_proba(row)
    # A damaged attribute can lead to any error.
    except Exception as error:
        raise ValueError(f"it cannot predict: {one_line(repr(error))}") from error


def _type_name(value: object) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"
