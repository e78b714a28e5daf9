from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from kfp import dsl
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from kfgcp_components import train_classifier
from kfgcp_components.features import choose_features, class_labels, prepare
from kfgcp_components.models import read_model
from kfgcp_components.tables import write_parquet
from kfgcp_components.train.classifier.logic import ESTIMATORS, train
from kfgcp_components.training import build_estimator

MODELS = ["gradient_boosting", "logistic_regression", "random_forest"]
QUICK: dict[str, dict[str, Any]] = {
    "gradient_boosting": {"max_iter": 15},
    "logistic_regression": {},
    "random_forest": {"n_estimators": 15},
}


@pytest.fixture
def hostile() -> pd.DataFrame:
    """Eighty rows with every kind of column; `size` decides the class."""
    rng = np.random.default_rng(0)
    rows = 80
    frame = pd.DataFrame(
        {
            "size": rng.normal(size=rows),
            "city, or town": rng.choice(["Łódź", "東京", 'the "old"\ntown', None], rows),
            "member": rng.choice([True, False], rows),
            "consent": rng.choice([True, False, None], rows),
            "seen": pd.to_datetime(rng.choice(["2024-01-01", "2024-05-05"], rows)),
            "ratio": [np.inf, -np.inf, *rng.normal(size=rows - 2)],
            "user_id": [f"user-{i}" for i in range(rows)],
            "nothing": [None] * rows,
            "constant": [1] * rows,
        }
    )
    frame["label"] = np.where(frame["size"] > 0, "да", "нет")
    frame.loc[[3, 9], "size"] = None
    return frame


@pytest.mark.parametrize("model", MODELS)
def test_any_table_can_be_learnt_from_without_a_warning(hostile: pd.DataFrame, model: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trained = train(hostile, "label", model=model, hyperparameters=QUICK[model])
    assert trained.facts["classes"] == ["да", "нет"]
    assert trained.facts["numeric_features"] == ["size", "member", "consent", "ratio", "constant"]
    assert trained.facts["text_features"] == ["city, or town", "seen"]
    assert sorted(trained.facts["dropped_columns"]) == ["nothing", "user_id"]
    inputs = prepare(hostile, trained.facts["numeric_features"], trained.facts["text_features"])
    assert (trained.pipeline.predict(inputs) == hostile["label"]).mean() > 0.9


@pytest.mark.parametrize("model", MODELS)
def test_the_same_seed_gives_the_same_classifier(hostile: pd.DataFrame, model: str) -> None:
    inputs = prepare(
        hostile, ["size", "member", "consent", "ratio", "constant"], ["city, or town", "seen"]
    )
    first, second = (
        train(hostile, "label", model=model, hyperparameters=QUICK[model], seed=5).pipeline
        for _ in range(2)
    )
    np.testing.assert_array_equal(first.predict_proba(inputs), second.predict_proba(inputs))


def test_another_seed_gives_another_forest(hostile: pd.DataFrame) -> None:
    inputs = prepare(
        hostile, ["size", "member", "consent", "ratio", "constant"], ["city, or town", "seen"]
    )
    first, second = (
        train(
            hostile, "label", model="random_forest", hyperparameters={"n_estimators": 5}, seed=seed
        )
        for seed in (1, 2)
    )
    assert (first.pipeline.predict_proba(inputs) != second.pipeline.predict_proba(inputs)).any()


def test_logistic_regression_equals_scikit_learns_own_on_scaled_columns() -> None:
    data = load_breast_cancer(as_frame=True)
    trained = train(data.data.assign(label=data.target), "label", hyperparameters={"C": 0.3})
    scaled = StandardScaler().fit_transform(data.data)
    expected = (
        LogisticRegression(C=0.3, max_iter=1000).fit(scaled, data.target).predict_proba(scaled)
    )
    np.testing.assert_allclose(
        trained.pipeline.predict_proba(data.data.astype(float)), expected, atol=1e-9
    )


def test_the_model_file_holds_only_scikit_learns_own_steps(hostile: pd.DataFrame) -> None:
    pipeline = train(hostile, "label").pipeline
    steps = [step for _, step in pipeline.steps]
    steps += [
        inner
        for _, part, _ in pipeline.named_steps["columns"].transformers_
        for _, inner in part.steps
    ]
    assert {type(step).__module__.partition(".")[0] for step in steps} == {"sklearn"}


def test_text_never_seen_in_training_is_not_an_error(hostile: pd.DataFrame) -> None:
    pipeline = train(hostile, "label").pipeline
    other = hostile.assign(
        **{"city, or town": "Nowhere", "seen": "someday", "consent": None, "ratio": "n/a"}
    )
    inputs = prepare(
        other, ["size", "member", "consent", "ratio", "constant"], ["city, or town", "seen"]
    )
    assert len(pipeline.predict(inputs)) == len(other)


def test_rare_categories_are_grouped() -> None:
    names = ["common"] * 500 + ["usual"] * 480 + [f"rare-{i % 10}" for i in range(20)]
    frame = pd.DataFrame({"name": names, "label": ["a", "b"] * 500})
    columns = train(frame, "label").pipeline.named_steps["columns"].get_feature_names_out().tolist()
    assert columns == ["text__name_common", "text__name_usual", "text__name_infrequent_sklearn"]


@pytest.mark.parametrize(
    ("values", "classes"),
    [
        ([10, 2, 10, 2], ["2", "10"]),
        ([1.0, None, 0.0, 1.0], ["0", "1"]),
        ([True, False, True, None], ["False", "True"]),
        (["b", "a", None, "a"], ["a", "b"]),
        ([1, "a", 1, "a"], ["1", "a"]),
    ],
)
def test_classes_may_be_integers_booleans_or_text_and_are_sorted(
    values: list[Any], classes: list[str]
) -> None:
    frame = pd.DataFrame({"x": [1.0, 2.0, 3.0, 4.0], "label": pd.Series(values)})
    facts = train(frame, "label").facts
    assert facts["classes"] == classes
    assert facts["rows"] == sum(value is not None for value in values)


def test_labels_keep_integers_exact() -> None:
    assert class_labels(pd.Series([2**60 + 1, 5])).tolist() == [2**60 + 1, 5]


def test_short_tables_keep_text_that_long_ones_would_drop() -> None:
    assert choose_features(pd.DataFrame({"t": [f"v{i}" for i in range(19)]})).text == ["t"]
    assert choose_features(pd.DataFrame({"t": [f"v{i}" for i in range(20)]})).dropped.keys() == {
        "t"
    }
    assert choose_features(pd.DataFrame({"t": [f"v{i % 18}" for i in range(20)]})).text == ["t"]


def test_whole_floats_become_integers_where_only_integers_make_sense() -> None:
    hyperparameters = {"n_estimators": 30.0, "max_depth": 1.0, "max_features": 1.0}
    estimator = build_estimator(ESTIMATORS, "random_forest", hyperparameters, 4)
    values = estimator.get_params()
    assert (values["n_estimators"], type(values["n_estimators"])) == (30, int)
    assert (values["max_depth"], type(values["max_depth"])) == (1, int)
    assert (values["max_features"], type(values["max_features"])) == (1.0, float)
    assert values["random_state"] == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"model": "random_forrest"},
            "Did you mean 'random_forest'? There are: gradient_boosting, log",
        ),
        ({"model": "svm"}, "There are: gradient_boosting, logistic_regression, random_forest"),
        ({"hyperparameters": {"c": 1}}, "has no hyperparameter 'c'. Did you mean 'C'? It has:"),
        ({"hyperparameters": {"C": -1}}, "could not be trained: The 'C' parameter"),
        (
            {"hyperparameters": {"max_iter": "many"}},
            "could not be trained: The 'max_iter' parameter",
        ),
        ({"target": "Label"}, "no target column 'Label' in the table. Did you mean 'label'?"),
        ({"target": "constant"}, "has only the class '1'"),
        ({"target": "nothing"}, "has no values"),
        ({"target": "ratio"}, "contains fractions"),
        ({"target": "user_id"}, "has 80 classes in 80 rows"),
    ],
)
def test_what_cannot_be_trained_is_one_clear_line(
    hostile: pd.DataFrame, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError) as caught:
        train(hostile, **{"target": "label", **arguments})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_table_without_usable_columns_is_refused(hostile: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match=r"no column to learn from .*; dropped: user_id, nothing"):
        train(hostile[["user_id", "nothing", "label"]], "label")


def test_the_component_writes_the_model_and_records_how_it_was_trained(
    hostile: pd.DataFrame, tmp_path: Path
) -> None:
    write_parquet(hostile, tmp_path / "train")
    model = dsl.Model(name="classifier", uri=str(tmp_path / "classifier"))
    train_classifier.python_func(
        train=dsl.Dataset(name="train", uri=str(tmp_path / "train")),
        target="label",
        classifier=model,
        hyperparameters={"C": 0.5, "max_iter": 500.0},
        seed=3,
    )
    assert model.framework == "scikit-learn"
    assert model.metadata["hyperparameters"] == {"C": 0.5, "max_iter": 500.0}
    assert model.metadata["rows"] == 80
    stored = read_model(model.path)
    assert stored.pipeline.named_steps["classifier"].C == 0.5
    assert (stored.task, stored.target, stored.classes) == (
        "classification",
        "label",
        ["да", "нет"],
    )
    assert stored.facts == model.metadata
    assert stored.columns == {
        "size": "numeric",
        "member": "numeric",
        "consent": "numeric",
        "ratio": "numeric",
        "constant": "numeric",
        "city, or town": "text",
        "seen": "text",
    }
