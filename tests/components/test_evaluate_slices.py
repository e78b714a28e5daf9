from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from kfp import dsl
from sklearn import metrics as score

from column_models import ColumnClassifier, ColumnRegressor
from kfgcp_components import evaluate_slices as component
from kfgcp_components.evaluate.slices.logic import evaluate_slices, group_rows
from kfgcp_components.tables import write_parquet
from model_files import TABLE, copy_model


def make_test_set(rows: int = 600) -> pd.DataFrame:
    """Return a test set on which the predictions for one city are bad."""
    rng = np.random.default_rng(7)
    table = pd.DataFrame(
        {
            "city": rng.choice(["Łódź", "東京", "<b>Oslo</b>", None], rows),
            "age": rng.integers(18, 90, rows).astype(float),
            "member": rng.choice([True, False], rows),
            "label": rng.choice(["a", "b"], rows),
        }
    )
    table.loc[:20, "age"] = None
    is_right = rng.random(rows) < np.where(table["city"] == "東京", 0.55, 0.9)
    truth = table["label"] == "b"
    table["p1"] = np.where(is_right, truth, ~truth) * 0.6 + rng.random(rows) * 0.3
    table["p0"] = 1 - table["p1"]
    return table


TEST_SET = make_test_set()
MODEL = ColumnClassifier("a", "b")


@pytest.mark.parametrize("metric", ["accuracy", "recall", "roc_auc", "log_loss", "f1"])
def test_each_slice_has_the_metric_of_its_rows(metric: str) -> None:
    report = evaluate_slices(MODEL, TEST_SET, "label", ["city", "member"], metric=metric)
    assert len(report.slices) == 6
    for part in report.slices:
        column = TEST_SET[part.column]
        is_member = column.isna() if part.value == "(missing)" else column.astype(str) == part.value
        rows = TEST_SET[is_member]
        assert part.rows == len(rows)
        assert part.score == pytest.approx(scikit_learn_score(rows, metric), abs=1e-9)
    scores = [part.score for part in report.slices]
    assert report.worst.score == (max(scores) if metric == "log_loss" else min(scores))
    assert report.overall == pytest.approx(scikit_learn_score(TEST_SET, metric), abs=1e-9)


def scikit_learn_score(rows: pd.DataFrame, metric: str) -> float:
    truth, positive = rows["label"] == "b", rows["p1"]
    if metric == "roc_auc":
        return float(score.roc_auc_score(truth, positive))
    if metric == "log_loss":
        return float(score.log_loss(truth, positive))
    functions: dict[str, Any] = {
        "accuracy": score.accuracy_score,
        "recall": score.recall_score,
        "f1": score.f1_score,
    }
    return float(functions[metric](truth, positive > 0.5))


def test_the_worst_slice_is_found_and_reported() -> None:
    report = evaluate_slices(MODEL, TEST_SET, "label", ["member", "city"])
    assert report.worst.name == "city = 東京"
    metrics = report.metrics()
    assert metrics.keys() == {
        "overall_accuracy",
        "worst_accuracy",
        "gap_accuracy",
        "worst_rows",
        "slices",
    }
    gap = metrics["overall_accuracy"] - metrics["worst_accuracy"]
    assert metrics["gap_accuracy"] == pytest.approx(gap)
    assert metrics["slices"] == 6


def test_a_regressor_is_measured_by_hand() -> None:
    table = pd.DataFrame(
        {"site": ["a", "a", "b", "b"], "y": [1.0, 2.0, 3.0, 5.0], "p": [1.0, 3.0, 3.5, 3.0]}
    )
    report = evaluate_slices(ColumnRegressor(), table, "y", ["site"], metric="mae", min_rows=1)
    assert [(part.value, part.score) for part in report.slices] == [("a", 0.5), ("b", 1.25)]
    assert report.worst.name == "site = b"
    assert report.overall == pytest.approx(0.875)


def test_numbers_are_divided_into_ranges_with_equally_many_rows() -> None:
    groups = group_rows(pd.Series([5.0, 1, 2, 8, 7, 3, 6, 4, None]), bins=4)
    assert groups.tolist() == [
        "5 to 6",
        "1 to 2",
        "1 to 2",
        "7 to 8",
        "7 to 8",
        "3 to 4",
        "5 to 6",
        "3 to 4",
        "(missing)",
    ]


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ([1, 2, 1, 2], {"1", "2"}),
        ([0.5, 0.5, 0.25], {"0.5", "0.25"}),
        ([True, False, None], {"True", "False", "(missing)"}),
        ([1, "a", None, 2.5], {"1", "a", "2.5", "(missing)"}),
        ([0.0] * 50 + [1.0, 2, 3, 4, 5, 6], {"0 to 0", "1 to 6"}),
        ([np.inf, -np.inf, *range(10)], {"-inf to 2", "3 to 6", "7 to inf"}),
        ([None, None], {"(missing)"}),
    ],
)
def test_any_column_can_be_sliced(values: list[Any], names: set[str]) -> None:
    assert set(group_rows(pd.Series(values), bins=3)) == names


def test_a_small_slice_is_listed_but_never_the_worst() -> None:
    table = TEST_SET.copy()
    table.loc[:4, "city"] = "Rare"
    table.loc[:4, "p1"] = np.where(table.loc[:4, "label"] == "b", 0.1, 0.9)
    table["p0"] = 1 - table["p1"]
    report = evaluate_slices(MODEL, table, "label", ["city"])
    rare = next(part for part in report.slices if part.value == "Rare")
    assert (rare.rows, rare.score, rare.is_large) == (5, 0.0, False)
    assert report.worst.name == "city = 東京"
    assert "1 slices have fewer than 30 rows and cannot be the worst: city = Rare" in report.notes


def test_a_slice_with_one_class_has_no_roc_auc_and_is_not_the_worst() -> None:
    table = TEST_SET.assign(kind=np.where(TEST_SET["label"] == "a", "only a", "mixed"))
    table.loc[table.index[:100], "kind"] = "mixed"
    report = evaluate_slices(MODEL, table, "label", ["kind"], metric="roc_auc")
    assert report.worst.value == "mixed"
    assert "roc_auc is undefined on 1 slices: kind = only a" in report.notes
    assert "nan" in report.html()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"columns": []}, "no columns to slice by; name at least one in columns"),
        (
            {"columns": ["ctiy"]},
            "no column 'ctiy' to slice by in the test set. Did you mean 'city'",
        ),
        ({"bins": 1}, "bins is 1; a numeric column needs at least 2 slices"),
        ({"min_rows": 0}, "min_rows is 0; it must be at least 1"),
        ({"min_rows": 10_000}, "no slice has at least 10000 rows and a defined accuracy"),
        ({"metric": "acuracy"}, "no metric 'acuracy' for classification. Did you mean 'accuracy'?"),
        ({"metric": "rmse"}, "There are: accuracy, balanced_accuracy, precision, recall, f1, log"),
        ({"target": "lable"}, "no target column 'lable' in the table. Did you mean 'label'?"),
        ({"test": TEST_SET.iloc[:0]}, "none of the 0 rows of the test set has a value"),
    ],
)
def test_wrong_arguments_are_one_clear_line(arguments: dict[str, Any], message: str) -> None:
    given_arguments = {"model": MODEL, "test": TEST_SET, "target": "label", "columns": ["city"]}
    with pytest.raises(ValueError) as caught:
        evaluate_slices(**{**given_arguments, **arguments})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_column_with_a_million_categories_is_refused() -> None:
    names = pd.Series(np.arange(10**6), name="user").astype(str)
    with pytest.raises(ValueError, match="the column 'user' has 1000000 values, more than 100"):
        group_rows(names, bins=4)


def test_the_component_writes_metrics_and_a_page(tmp_path: Path) -> None:
    copy_model("logistic_regression", tmp_path / "model")
    write_parquet(TABLE.assign(city=TABLE["city"].fillna("<i>none</i>")), tmp_path / "test")
    metrics = dsl.Metrics(name="metrics", uri=str(tmp_path / "metrics"))
    report = dsl.HTML(name="report", uri=str(tmp_path / "report"))
    component.python_func(
        model=dsl.Model(name="model", uri=str(tmp_path / "model")),
        test=dsl.Dataset(name="test", uri=str(tmp_path / "test")),
        target="label",
        columns=["city", "size"],
        metrics=metrics,
        report=report,
    )
    json.dumps(metrics.metadata, allow_nan=False)
    assert metrics.metadata["slices"] == 7
    page = (tmp_path / "report").read_text(encoding="utf-8")
    assert page.count("<tr") == 8
    assert "&lt;i&gt;none&lt;/i&gt;" in page
    assert "<i>" not in page
    assert report.metadata["worst_slice"].startswith(("city = ", "size = "))
