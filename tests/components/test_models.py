"""The folder of a model: what is written, and which folders are refused."""

from __future__ import annotations

import json
import os
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib  # type: ignore[import-untyped]
import numpy as np
import pandas as pd
import pytest
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

from kfgcp_components.models import Model, read_model
from kfgcp_components.train.classifier.logic import train
from kfgcp_components.training import Trained
from model_files import (
    MODELS,
    TABLE,
    change_description,
    copy_model,
    refusal,
    replace_pipeline,
    save,
    train_small,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return copy_model("logistic_regression", tmp_path / "model")


@pytest.mark.parametrize("model", MODELS)
def test_a_model_predicts_the_same_after_it_was_read(model: str, tmp_path: Path) -> None:
    trained = train_small(model)
    loaded = read_model(save(trained, tmp_path / "model"))
    inputs = TABLE.assign(member=TABLE["member"].astype(float))
    expected = trained.pipeline.predict_proba(inputs.assign(city=inputs["city"].astype(object)))
    probabilities = loaded.predict_proba(TABLE)
    assert probabilities is not None
    np.testing.assert_array_equal(probabilities.to_numpy(), expected)
    assert probabilities.columns.tolist() == ["no", "yes"]
    winners = np.array(["no", "yes"], dtype=object)[expected.argmax(axis=1)]
    assert loaded.predict(TABLE).tolist() == winners.tolist()


def test_the_description_names_format_libraries_signature_and_schema(folder: Path) -> None:
    document = json.loads((folder / "model.json").read_text())
    assert document["format"] == "kfgcp-model/1"
    assert document["libraries"].keys() == {"python", "numpy", "scikit-learn", "skops"}
    assert document["signature"] == {
        "task": "classification",
        "target": "label",
        "classes": ["no", "yes"],
    }
    assert document["schema"] == [
        {"name": "size", "kind": "numeric"},
        {"name": "member", "kind": "numeric"},
        {"name": "city", "kind": "text"},
    ]
    assert sorted(file.name for file in folder.iterdir()) == ["model.json", "model.skops"]


@pytest.mark.parametrize("model", MODELS)
def test_equal_models_are_equal_files(model: str, tmp_path: Path) -> None:
    first = save(train_small(model), tmp_path / "first")
    second = save(train_small(model), tmp_path / "second")
    for name in ("model.json", "model.skops"):
        assert (first / name).read_bytes() == (second / name).read_bytes()
    assert read_model(first).fingerprint == read_model(second).fingerprint


@pytest.mark.parametrize(
    "labels", [[True, False], [3, 2**60 + 1], ["b", "a"]], ids=["boolean", "integer", "text"]
)
def test_labels_keep_their_type(labels: list[Any], tmp_path: Path) -> None:
    table = pd.DataFrame({"x": range(40), "label": labels * 20})
    loaded = read_model(save(train(table, "label"), tmp_path / "model"))
    assert loaded.classes == sorted(labels)
    assert set(loaded.predict(table).tolist()) <= set(labels)


def test_a_table_without_rows_gets_no_predictions(folder: Path) -> None:
    model = read_model(folder)
    nothing = TABLE.iloc[:0]
    assert model.predict(nothing).tolist() == []
    probabilities = model.predict_proba(nothing)
    assert probabilities is not None
    assert probabilities.shape == (0, 2)


def test_a_table_that_does_not_fit_the_schema_is_refused(folder: Path) -> None:
    model = read_model(folder)
    with pytest.raises(ValueError, match="lacks columns that the model was trained with: city"):
        model.predict(TABLE.drop(columns="city"))
    with pytest.raises(
        ValueError,
        match=r"numbers in the column 'size', and the table has text there, such as 'large'",
    ):
        model.predict(TABLE.assign(size="large"))


def test_single_values_of_another_kind_count_as_missing(folder: Path) -> None:
    model = read_model(folder)
    mixed = TABLE.assign(size=TABLE["size"].astype(object))
    mixed.loc[0, "size"] = "large"
    without = TABLE.copy()
    without.loc[0, "size"] = np.nan
    assert model.predict(mixed).equals(model.predict(without))


def test_an_older_model_in_the_folder_is_replaced(folder: Path) -> None:
    before = read_model(folder)
    save(train_small("random_forest"), folder)
    assert read_model(folder).fingerprint != before.fingerprint


def test_a_model_that_could_not_be_read_is_not_written(tmp_path: Path) -> None:
    trained = train_small("logistic_regression")
    steps = trained.pipeline.steps
    odd = Pipeline([("columns", FunctionTransformer(np.log1p)), steps[1]])
    with pytest.raises(ValueError, match=r"cannot be written: .*FunctionTransformer"):
        save(Trained(odd, trained.features, trained.facts), tmp_path / "model")
    with pytest.raises(ValueError, match="the facts of the model are not JSON"):
        save(
            Trained(trained.pipeline, trained.features, {"loss": float("nan")}), tmp_path / "model"
        )
    assert not (tmp_path / "model").exists()


# --- folders that are not models


def test_old_models_of_joblib_are_refused_with_a_hint(tmp_path: Path) -> None:
    pipeline = train_small("logistic_regression").pipeline
    hint = "would run code from its file; train the model again"
    for name, compress in (("model", 0), ("zipped", 3)):
        joblib.dump(pipeline, tmp_path / name, compress=compress)
        message = refusal(tmp_path / name)
        assert "is a model of joblib or pickle" in message
        assert hint in message
    old_folder = tmp_path / "old"
    old_folder.mkdir()
    (old_folder / "model.joblib").write_bytes(pickle.dumps(pipeline))
    assert "model.joblib is a model of joblib" in refusal(old_folder)


class Touch:
    """An object whose pickle makes a file as soon as it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_a_pickle_never_runs(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    (tmp_path / "model").write_bytes(pickle.dumps(Touch(trap)))
    refusal(tmp_path / "model")
    assert not trap.exists()


def test_what_is_not_a_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("not a model")
    assert "a model is a folder with model.json" in refusal(tmp_path / "text")
    assert "does not exist" in refusal(tmp_path / "missing")
    (tmp_path / "empty").mkdir()
    assert "has no model.json" in refusal(tmp_path / "empty")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is not JSON"),
        (b"\xff\xfe\x00", "it is not JSON"),
        (b"{" + b'"a":{' * 100_000, "it is not JSON"),
        (b"[1, 2]", "has no key 'format', so kfgcp did not write it"),
        (b'{"name": "resnet"}', "has no key 'format', so kfgcp did not write it"),
        (b'{"format": "mlflow"}', "its format is 'mlflow' instead of 'kfgcp-model/1'"),
        (b'{"format": 3}', "its format is 3 instead of 'kfgcp-model/1'"),
        (b'{"format": "kfgcp-model/2"}', "install the version that wrote the model"),
    ],
)
def test_a_description_of_another_format_is_refused(
    folder: Path, content: bytes, message: str
) -> None:
    (folder / "model.json").write_bytes(content)
    assert message in refusal(folder)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("signature", 7, "signature is 7; it must be an object"),
        ("signature.task", "clustering", "signature.task is 'clustering'; it must be one of"),
        ("signature.task", "regression", "signature.classes is ['no', 'yes'], which does not fit"),
        ("signature.target", None, "signature.target is None; it must be a text"),
        ("signature.classes", "no", "signature.classes is 'no', which does not fit"),
        ("signature.classes", ["no"], "signature.classes is ['no'], which does not fit"),
        ("signature.classes", ["no", 1], "must be all texts, all whole numbers or all booleans"),
        ("signature.classes", [[1], [2]], "must be all texts, all whole numbers or all booleans"),
        ("signature.classes", ["no", "no"], "has the same class twice"),
        ("signature.classes", ["no", "maybe"], "its classes are not the classes of model.json"),
        ("schema", {}, "schema is {}; it must be a list of columns"),
        ("schema", [], "schema is []; it must be a list of columns"),
        ("schema", [3], "schema has the entry 3"),
        ("schema", [{"name": "a", "kind": "image"}], "the kind of the column 'a' is 'image'"),
        ("schema", [{"name": "a", "kind": "text"}] * 2, "schema has the column 'a' twice"),
        ("schema", [{"name": "a", "kind": "text"}], "its columns are not the columns of model"),
        ("libraries", [], "libraries is []; it must be an object"),
        ("libraries", {"scikit-learn": 1.9}, "libraries.scikit-learn is 1.9; it must be a version"),
        ("libraries", {}, "does not name its version of scikit-learn"),
        ("file", "model.skops", "file is 'model.skops'; it must be an object"),
        ("file.size", "12", "file.size is '12'; it must be a number of bytes"),
        ("file.size", -1, "file.size is -1; it must be a number of bytes"),
        ("file.sha256", 5, "file.sha256 is 5; it must be a text"),
        ("file.sha256", "0" * 64, "its SHA-256 differs"),
        ("facts", None, "facts is None; it must be an object"),
    ],
)
def test_a_value_of_the_wrong_type_is_named(
    folder: Path, path: str, value: object, message: str
) -> None:
    def change(document: dict[str, Any]) -> None:
        parent = document
        *parents, name = path.split(".")
        for parent_name in parents:
            parent = parent[parent_name]
        parent[name] = value

    change_description(folder, change)
    assert message in refusal(folder)


def test_a_huge_description_is_refused_before_it_is_read(folder: Path) -> None:
    with (folder / "model.json").open("ab") as file:
        file.truncate(2**40)
    assert "more than the limit of 16777216" in refusal(folder)


@pytest.mark.parametrize("version", ["1.2.0", "0.24", "2.0.0", "nonsense"])
def test_a_model_of_another_scikit_learn_is_refused(folder: Path, version: str) -> None:
    def change(document: dict[str, Any]) -> None:
        document["libraries"]["scikit-learn"] = version

    change_description(folder, change)
    message = refusal(folder)
    assert f"was trained with scikit-learn {version}, and this environment has" in message
    assert "train the model again" in message


def test_a_model_of_another_patch_of_scikit_learn_is_read(folder: Path) -> None:
    def change(document: dict[str, Any]) -> None:
        major, minor, _ = document["libraries"]["scikit-learn"].split(".")
        document["libraries"]["scikit-learn"] = f"{major}.{minor}.99"

    change_description(folder, change)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert isinstance(read_model(folder), Model)


@pytest.mark.parametrize("name", ["model.json", "model.skops"])
def test_links_are_refused(folder: Path, tmp_path: Path, name: str) -> None:
    moved = tmp_path / "elsewhere"
    (folder / name).rename(moved)
    (folder / name).symlink_to(moved)
    assert f"{name} is a symbolic link; a model has ordinary files" in refusal(folder)


def test_a_pipe_does_not_block(folder: Path) -> None:
    (folder / "model.skops").unlink()
    os.mkfifo(folder / "model.skops")
    assert "model.skops is not an ordinary file" in refusal(folder)


def test_a_missing_or_truncated_model_file_is_refused(folder: Path) -> None:
    content = (folder / "model.skops").read_bytes()
    (folder / "model.skops").write_bytes(content[:-10])
    assert "the file is not complete" in refusal(folder)
    replace_pipeline(folder, content[: len(content) // 2])
    assert "the file is damaged or not complete" in refusal(folder)
    (folder / "model.skops").unlink()
    assert "model.skops is missing, so the model is not complete" in refusal(folder)


@pytest.mark.parametrize("model", ["logistic_regression", "random_forest"])
def test_a_damaged_model_file_is_refused_or_reads_the_same(model: str, tmp_path: Path) -> None:
    folder = copy_model(model, tmp_path / "model")
    content = (folder / "model.skops").read_bytes()
    expected = read_model(folder).predict(TABLE)
    rng = np.random.default_rng(4)
    refused = 0
    for _ in range(60):
        damaged = bytearray(content)
        damaged[rng.integers(len(content))] ^= 1 << rng.integers(8)
        replace_pipeline(folder, bytes(damaged))
        try:
            predicted = read_model(folder).predict(TABLE)
        except ValueError:
            refused += 1
        else:
            assert predicted.equals(expected)
    assert refused > 30
