"""Predictions for the rows of a table, compared with those of scikit-learn for the whole table."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from kfgcp_components.models import Model, read_model, write_model
from kfgcp_components.ship.predict_batch.logic import predict_table
from kfgcp_components.train.classifier.logic import train as train_classifier
from kfgcp_components.train.regressor.logic import train as train_regressor


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    generator = np.random.default_rng(7)
    size = generator.normal(size=120)
    color = generator.choice(["red", "blue", None], size=120)
    return pd.DataFrame(
        {
            "id": np.arange(120),
            "size": size,
            "color": color,
            "big": np.where(size > 0.2, "yes", "no"),
            "price": 3 * size + 1,
        }
    )


@pytest.fixture
def source(rows: pd.DataFrame, tmp_path: Path) -> Path:
    path = tmp_path / "rows.parquet"
    rows.to_parquet(path, index=False)
    return path


@pytest.fixture
def classifier(rows: pd.DataFrame, tmp_path: Path) -> Model:
    trained = train_classifier(rows[["size", "color", "big"]], "big", seed=3)
    return _store(trained, tmp_path / "classifier", "classification", "big")


@pytest.fixture
def regressor(rows: pd.DataFrame, tmp_path: Path) -> Model:
    trained = train_regressor(rows[["size", "color", "price"]], "price", seed=3)
    return _store(trained, tmp_path / "regressor", "regression", "price")


def _store(trained: object, folder: Path, task: str, target: str) -> Model:
    write_model(
        trained.pipeline,  # type: ignore[attr-defined]
        folder,
        task=task,  # type: ignore[arg-type]
        target=target,
        features=trained.features,  # type: ignore[attr-defined]
        facts=trained.facts,  # type: ignore[attr-defined]
    )
    return read_model(folder)


@pytest.mark.parametrize("batch_rows", [1, 7, 120, 1000])
def test_rows_keep_their_order_in_batches_of_any_size(
    classifier: Model, source: Path, rows: pd.DataFrame, tmp_path: Path, batch_rows: int
) -> None:
    predicted = predict_table(classifier, source, tmp_path / "out", batch_rows=batch_rows)

    table = pd.read_parquet(tmp_path / "out")
    assert predicted.rows == 120
    assert predicted.columns == ["prediction", "probability_no", "probability_yes"]
    assert list(table.columns) == [*rows.columns, *predicted.columns]
    pd.testing.assert_frame_equal(table[list(rows.columns)], rows)
    assert table["prediction"].tolist() == classifier.predict(rows).tolist()
    whole = classifier.predict_proba(rows)
    assert whole is not None
    np.testing.assert_allclose(table["probability_yes"], whole["yes"], rtol=0, atol=1e-12)
    np.testing.assert_allclose(table["probability_no"] + table["probability_yes"], 1, atol=1e-12)


def test_a_regressor_writes_numbers_only(
    regressor: Model, source: Path, rows: pd.DataFrame, tmp_path: Path
) -> None:
    predict_table(
        regressor, source, tmp_path / "out", keep_columns=["id"], prediction_column="expected"
    )

    table = pd.read_parquet(tmp_path / "out")
    assert list(table.columns) == ["id", "expected"]
    assert table["id"].tolist() == rows["id"].tolist()
    np.testing.assert_allclose(table["expected"], regressor.predict(rows), rtol=0, atol=1e-12)


def test_probabilities_can_be_left_out(classifier: Model, source: Path, tmp_path: Path) -> None:
    predict_table(classifier, source, tmp_path / "out", keep_columns=["id"], probabilities=False)

    assert list(pd.read_parquet(tmp_path / "out").columns) == ["id", "prediction"]


def test_a_table_without_rows_has_predictions_without_rows(
    classifier: Model, rows: pd.DataFrame, tmp_path: Path
) -> None:
    rows.head(0).to_parquet(tmp_path / "empty", index=False)

    assert predict_table(classifier, tmp_path / "empty", tmp_path / "out").rows == 0
    assert pq.read_metadata(tmp_path / "out").num_rows == 0


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (lambda rows: rows.drop(columns="size"), {}, "lacks columns .* trained with: size"),
        (lambda rows: rows.assign(size="x"), {}, "trained with numbers in the column 'size'"),
        (lambda rows: rows.assign(size="1.5"), {}, "and the table has text there; give"),
        (lambda rows: rows[["color"]].head(0), {}, "lacks columns .* trained with: size"),
        (lambda rows: rows.head(0).assign(size="x"), {}, "trained with numbers in the column"),
        (lambda rows: rows, {"prediction_column": "probability_no"}, "the column of a probability"),
        (lambda rows: rows.assign(prediction=1), {}, "already has the column prediction"),
        (lambda rows: rows, {"keep_columns": ["idd"]}, "no column 'idd' to keep. Did you mean"),
    ],
)
def test_a_table_that_does_not_fit_leaves_nothing(
    classifier: Model,
    rows: pd.DataFrame,
    tmp_path: Path,
    change: object,
    options: dict[str, Any],
    message: str,
) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    change(rows).to_parquet(folder / "rows", index=False)  # type: ignore[operator]

    with pytest.raises(ValueError, match=message) as error:
        predict_table(classifier, folder / "rows", folder / "out", **options)
    assert "\n" not in str(error.value)
    assert [path.name for path in folder.iterdir()] == ["rows"]


def test_a_bad_row_in_a_later_batch_leaves_nothing(
    classifier: Model, rows: pd.DataFrame, tmp_path: Path
) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    text_sizes = rows["size"].map(str).where(rows.index < 60, "wrong")
    rows.assign(size=text_sizes).to_parquet(folder / "rows", index=False)

    with pytest.raises(ValueError, match="trained with numbers"):
        predict_table(classifier, folder / "rows", folder / "out", batch_rows=20)
    assert [path.name for path in folder.iterdir()] == ["rows"]


def test_a_file_that_is_not_parquet(classifier: Model, tmp_path: Path) -> None:
    (tmp_path / "rows").write_text("a,b\n1,2\n")

    with pytest.raises(ValueError, match="is not readable as Parquet"):
        predict_table(classifier, tmp_path / "rows", tmp_path / "out")


@pytest.mark.parametrize("dtype", ["int8", "float32", "bool", "Int64"])
def test_numbers_of_another_type_are_predicted_as_the_same_numbers(
    classifier: Model, rows: pd.DataFrame, tmp_path: Path, dtype: str
) -> None:
    ones = rows.assign(size=1.0)
    ones.assign(size=ones["size"].astype(dtype)).to_parquet(tmp_path / "rows", index=False)

    predict_table(classifier, tmp_path / "rows", tmp_path / "out")

    table = pd.read_parquet(tmp_path / "out")
    assert table["prediction"].tolist() == classifier.predict(ones).tolist()


@dataclass(frozen=True)
class ModelWithoutProbabilities:
    """A classifier of another library, which predicts only classes."""

    task: Literal["classification", "regression"] = "classification"
    target: str = "big"
    classes: list[bool | int | str] | None = field(default_factory=lambda: ["no", "yes"])
    columns: dict[str, str] = field(default_factory=lambda: {"size": "numeric"})

    def predict(self, table: pd.DataFrame) -> pd.Series[Any]:
        return pd.Series(["no"] * len(table), index=table.index)

    def predict_proba(self, table: pd.DataFrame) -> pd.DataFrame | None:
        return None


def test_a_model_without_probabilities_says_which_option_to_set(
    source: Path, tmp_path: Path
) -> None:
    model = ModelWithoutProbabilities()
    with pytest.raises(ValueError, match="gives no probabilities; set probabilities=False"):
        predict_table(model, source, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert predict_table(model, source, tmp_path / "out", probabilities=False).rows == 120
