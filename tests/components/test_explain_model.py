from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from kfp import dsl
from sklearn import metrics as score
from sklearn.base import BaseEstimator
from sklearn.inspection import permutation_importance

from column_models import ColumnClassifier, ColumnRegressor
from kfgcp_components import explain_model
from kfgcp_components.evaluate.explain.logic import explain
from kfgcp_components.models import Model, read_model
from kfgcp_components.tables import write_parquet
from model_files import TABLE, copy_model


class AsEstimator(BaseEstimator):  # type: ignore[misc]
    """A model as scikit-learn's own implementation takes it."""

    def __init__(self, model: Model) -> None:
        self.model = model

    def fit(self, table: Any, truth: Any) -> AsEstimator:
        # scikit-learn wants this method. The model is fitted already.
        return self


def accuracy(estimator: AsEstimator, table: pd.DataFrame, truth: Any) -> float:
    return float(score.accuracy_score(truth, estimator.model.predict(table)))


def log_loss(estimator: AsEstimator, table: pd.DataFrame, truth: Any) -> float:
    # scikit-learn expects a score that is better when it is higher.
    return -float(score.log_loss(truth, estimator.model.predict_proba(table)))


@pytest.fixture
def model(tmp_path: Path) -> Model:
    return read_model(copy_model("logistic_regression", tmp_path / "model"))


@pytest.mark.parametrize(("metric", "scorer"), [("accuracy", accuracy), ("log_loss", log_loss)])
@pytest.mark.parametrize("seed", [0, 11])
def test_importances_equal_those_of_scikit_learn(
    model: Model, metric: str, scorer: Any, seed: int
) -> None:
    columns = list(model.columns)
    expected = permutation_importance(
        AsEstimator(model),
        TABLE[columns],
        TABLE["label"],
        scoring=scorer,
        n_repeats=4,
        random_state=seed,
    )
    result = explain(model, TABLE, "label", metric=metric, repeats=4, seed=seed)
    by_column = {importance.column: importance for importance in result.importances}
    assert by_column.keys() == set(columns)
    for position, column in enumerate(columns):
        ours = by_column[column]
        assert ours.losses == pytest.approx(expected.importances[position].tolist(), abs=1e-9)
        assert ours.mean == pytest.approx(expected.importances_mean[position], abs=1e-9)
        assert ours.standard_deviation == pytest.approx(
            expected.importances_std[position], abs=1e-9
        )
    means = [importance.mean for importance in result.importances]
    assert means == sorted(means, reverse=True)


def test_a_regressor_that_uses_one_column() -> None:
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"p": rng.normal(size=500)})
    table["y"] = table["p"]
    (importance,) = explain(ColumnRegressor(), table, "y", metric="r2", repeats=50).importances
    # Shuffled numbers do not correlate with the truth, so r2 falls from 1 to about -1.
    assert importance.mean == pytest.approx(2, abs=0.05)


def test_a_column_that_is_not_used_has_no_importance(model: Model) -> None:
    table = TABLE.assign(size=1.0)
    importances = explain(model, table, "label").importances
    assert {item.column: item.losses for item in importances}["size"] == [0.0] * 5


def test_a_large_table_is_sampled_and_the_seed_decides(model: Model) -> None:
    first = explain(model, TABLE, "label", max_rows=50, seed=1)
    assert first.rows == 50
    assert explain(model, TABLE, "label", max_rows=50, seed=1) == first
    assert explain(model, TABLE, "label", max_rows=50, seed=2) != first


def test_the_table_is_not_changed(model: Model) -> None:
    before = TABLE.copy()
    explain(model, TABLE, "label", repeats=1)
    assert before.equals(TABLE)


def test_wrong_arguments_are_refused() -> None:
    table = pd.DataFrame({"p0": [0.9, 0.8], "p1": [0.1, 0.2], "label": ["a", "a"]})
    model = ColumnClassifier("a", "b")
    with pytest.raises(ValueError, match="roc_auc is undefined on these 2 rows; choose another"):
        explain(model, table, "label", metric="roc_auc")
    with pytest.raises(ValueError, match="repeats is 0 and max_rows is 10000; both must be at"):
        explain(model, table, "label", repeats=0)
    with pytest.raises(ValueError, match="no metric 'mae' for classification"):
        explain(model, table, "label", metric="mae")
    with pytest.raises(ValueError, match="none of the 0 rows"):
        explain(model, table.iloc[:0], "label")


def test_the_component_writes_metrics_a_page_and_json(tmp_path: Path) -> None:
    copy_model("random_forest", tmp_path / "model")
    write_parquet(TABLE, tmp_path / "test")
    metrics = dsl.Metrics(name="metrics", uri=str(tmp_path / "metrics"))
    explain_model.python_func(
        model=dsl.Model(name="model", uri=str(tmp_path / "model")),
        test=dsl.Dataset(name="test", uri=str(tmp_path / "test")),
        target="label",
        metrics=metrics,
        report=dsl.HTML(name="report", uri=str(tmp_path / "report")),
        importances=dsl.Artifact(name="importances", uri=str(tmp_path / "importances")),
        metric="roc_auc",
        repeats=2,
    )
    assert metrics.metadata.keys() == {
        "baseline_roc_auc",
        "importance_size",
        "importance_city",
        "importance_member",
    }
    document = json.loads((tmp_path / "importances").read_text(encoding="utf-8"))
    assert document["importances"][0]["column"] == "size"
    assert [len(item["losses"]) for item in document["importances"]] == [2, 2, 2]
    assert "<td>size</td>" in (tmp_path / "report").read_text(encoding="utf-8")
