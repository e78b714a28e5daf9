"""train_regressor and evaluate_regressor."""

from __future__ import annotations

import json
import math
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from kfp import dsl
from sklearn import metrics as score
from sklearn.datasets import load_diabetes
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from column_models import ColumnRegressor
from kfgcp_components import evaluate_regressor, train_regressor
from kfgcp_components.evaluate.regressor.logic import evaluate
from kfgcp_components.models import read_model
from kfgcp_components.tables import write_parquet
from kfgcp_components.train.classifier.logic import train as train_classifier
from kfgcp_components.train.regressor.logic import train

MODELS = ["gradient_boosting", "linear_regression", "random_forest", "ridge"]
QUICK: dict[str, dict[str, Any]] = {
    "gradient_boosting": {"max_iter": 10},
    "random_forest": {"n_estimators": 10},
}


def make_table(rows: int = 120) -> pd.DataFrame:
    rng = np.random.default_rng(3)
    frame = pd.DataFrame(
        {
            "size": rng.normal(size=rows),
            "city": rng.choice(["Łódź", "東京", None], rows),
            "member": rng.choice([True, False], rows),
        }
    )
    frame["price"] = 10 + 3 * frame["size"] + frame["member"] + rng.normal(0, 0.1, rows)
    return frame


@pytest.mark.parametrize("model", MODELS)
def test_a_model_learns_and_the_component_records_how(model: str, tmp_path: Path) -> None:
    table = make_table()
    write_parquet(table, tmp_path / "train")
    artifact = dsl.Model(name="regressor", uri=str(tmp_path / "regressor"))
    train_regressor.python_func(
        train=dsl.Dataset(name="train", uri=str(tmp_path / "train")),
        target="price",
        regressor=artifact,
        model=model,
        hyperparameters=QUICK.get(model, {}),
        seed=3,
    )
    loaded = read_model(artifact.path)
    assert (loaded.task, loaded.target, loaded.classes) == ("regression", "price", None)
    assert loaded.facts == artifact.metadata
    assert loaded.predict_proba(table) is None
    assert np.corrcoef(loaded.predict(table), table["price"])[0, 1] > 0.9
    assert artifact.metadata["numeric_features"] == ["size", "member"]
    assert artifact.metadata["text_features"] == ["city"]


def test_the_same_seed_gives_the_same_regressor() -> None:
    table = make_table()
    prepared = table.assign(member=table["member"].astype(float))[["size", "member", "city"]]
    predictions = []
    for seed in (5, 5, 6):
        trained = train(
            table, "price", model="random_forest", hyperparameters={"n_estimators": 5}, seed=seed
        )
        predictions.append(trained.pipeline.predict(prepared.astype({"city": object})))
    np.testing.assert_array_equal(predictions[0], predictions[1])
    assert (predictions[0] != predictions[2]).any()


def test_ridge_equals_scikit_learns_own_on_scaled_columns() -> None:
    data = load_diabetes(as_frame=True)
    trained = train(data.data.assign(y=data.target), "y", hyperparameters={"alpha": 0.3})
    scaled = StandardScaler().fit_transform(data.data)
    expected = Ridge(alpha=0.3).fit(scaled, data.target).predict(scaled)
    np.testing.assert_allclose(trained.pipeline.predict(data.data), expected, atol=1e-9)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([None] * 4, "the target column 'y' has no values"),
        ([7, 7, 7, None], "the target column 'y' has only the value 7"),
        (["low", "high", "low", "low"], "holds text values, such as 'low'; a regressor needs num"),
        ([1, 2, "many", 3], "holds text values, such as 1; a regressor needs numbers"),
        ([True, False, True, True], "holds boolean values, such as True"),
        ([1.0, math.inf, 2.0, 3.0], "target column 'y' contains infinity"),
    ],
)
def test_a_target_that_is_not_made_of_numbers_is_refused(values: list[Any], message: str) -> None:
    table = pd.DataFrame({"x": [1.0, 2.0, 3.0, 4.0], "y": pd.Series(values, dtype=object)})
    with pytest.raises(ValueError) as caught:
        train(table, "y")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": "linear"}, "no model 'linear'. There are: gradient_boosting, linear_regression"),
        ({"model": "rigde"}, "Did you mean 'ridge'?"),
        ({"hyperparameters": {"alpah": 1}}, "has no hyperparameter 'alpah'. Did you mean 'alpha'?"),
        ({"hyperparameters": {"alpha": -1}}, "ridge could not be trained: The 'alpha' parameter"),
        ({"target": "prize"}, "no target column 'prize' in the table. Did you mean 'price'?"),
        (
            {"model": "gradient_boosting", "hyperparameters": {"categorical_features": [0]}},
            "gradient_boosting has no hyperparameter 'categorical_features'",
        ),
    ],
)
def test_wrong_arguments_are_one_clear_line(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        train(make_table(), **{"target": "price", **arguments})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_empty_table_is_refused() -> None:
    with pytest.raises(ValueError, match="the target column 'price' has no values"):
        train(make_table().iloc[:0], "price")


@pytest.mark.parametrize("values", [range(400), [i * 0.37 for i in range(400)]])
def test_a_classifier_refuses_numbers_and_names_train_regressor(values: Any) -> None:
    table = pd.DataFrame({"x": range(400), "price": list(values)})
    with pytest.raises(ValueError, match="to predict a number, use train_regressor"):
        train_classifier(table, "price")


TRUTH = [3.0, -0.5, 2.0, 7.0, 4.0]
PREDICTED = [2.5, 0.0, 2.0, 8.0, 4.25]


def test_metrics_computed_by_hand() -> None:
    table = pd.DataFrame({"y": TRUTH, "p": PREDICTED})
    errors = [y - p for y, p in zip(TRUTH, PREDICTED, strict=True)]
    assert errors == [0.5, -0.5, 0.0, -1.0, -0.25]
    total = sum((y - 3.1) ** 2 for y in TRUTH)
    squares = 0.25 + 0.25 + 0 + 1 + 0.0625
    result = evaluate(ColumnRegressor(), table, "y")
    assert result.metrics == pytest.approx(
        {
            "r2": 1 - squares / total,
            "explained_variance": 1 - sum((e + 0.25) ** 2 for e in errors) / total,
            "rmse": math.sqrt(squares / 5),
            "mae": 2.25 / 5,
            "median_absolute_error": statistics.median(map(abs, errors)),
            "max_error": 1.0,
            "mape": (0.5 / 3 + 0.5 / 0.5 + 0 + 1 / 7 + 0.25 / 4) / 5,
        },
        abs=1e-12,
    )
    assert result.notes == []


def test_metrics_agree_with_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(100, 20, 5000)
    predicted = truth + rng.normal(1, 5, 5000)
    metrics = evaluate(ColumnRegressor(), pd.DataFrame({"y": truth, "p": predicted}), "y").metrics
    assert metrics == pytest.approx(
        {
            "r2": score.r2_score(truth, predicted),
            "explained_variance": score.explained_variance_score(truth, predicted),
            "rmse": score.root_mean_squared_error(truth, predicted),
            "mae": score.mean_absolute_error(truth, predicted),
            "median_absolute_error": score.median_absolute_error(truth, predicted),
            "max_error": score.max_error(truth, predicted),
            "mape": score.mean_absolute_percentage_error(truth, predicted),
        },
        abs=1e-9,
    )


def test_undefined_metrics_are_left_out_with_a_note() -> None:
    result = evaluate(ColumnRegressor(), pd.DataFrame({"y": [0.0, 0.0], "p": [1.0, 2.0]}), "y")
    assert result.metrics.keys() == {"rmse", "mae", "median_absolute_error", "max_error"}
    assert result.notes == [
        "r2 is left out: it is undefined when all true numbers are equal",
        "explained_variance is left out: it is undefined when all true numbers are equal",
        "mape is left out: it is undefined when a true number is 0",
    ]


def test_a_test_set_that_cannot_be_measured_is_refused() -> None:
    table = pd.DataFrame({"y": TRUTH, "p": PREDICTED})
    with pytest.raises(ValueError, match="predicts classes, not numbers; use evaluate_classifier"):
        evaluate(ColumnRegressor(["a", "b"]), table, "y")
    with pytest.raises(ValueError, match="none of the 5 rows of the test set has a value"):
        evaluate(ColumnRegressor(), table.assign(y=None), "y")
    with pytest.raises(ValueError, match="no target column 'z'"):
        evaluate(ColumnRegressor(), table, "z")
    with pytest.raises(ValueError, match="target column 'y' holds text"):
        evaluate(ColumnRegressor(), table.assign(y="a"), "y")


def test_the_component_logs_finite_json(tmp_path: Path) -> None:
    table = make_table()
    write_parquet(table, tmp_path / "table")
    regressor = dsl.Model(name="regressor", uri=str(tmp_path / "regressor"))
    dataset = dsl.Dataset(name="table", uri=str(tmp_path / "table"))
    train_regressor.python_func(train=dataset, target="price", regressor=regressor)
    metrics = dsl.Metrics(name="metrics", uri=str(tmp_path / "metrics"))
    evaluate_regressor.python_func(
        regressor=regressor, test=dataset, target="price", metrics=metrics
    )
    assert metrics.metadata["r2"] > 0.9
    json.dumps(metrics.metadata, allow_nan=False)
