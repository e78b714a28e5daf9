"""Model files that an attacker made are refused before anything in them is used."""

from __future__ import annotations

import copy
import io
import json
import os
import warnings
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

from kfgcp_components.models import read_model
from kfgcp_components.models.archive import dump_pipeline, load_pipeline
from kfgcp_components.models.structure import check_pipeline
from kfgcp_components.training import Trained
from model_files import (
    array_bytes,
    copy_model,
    find_nodes,
    refusal,
    replace_pipeline,
    rewrite_archive,
    train_small,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return copy_model("logistic_regression", tmp_path / "model")


@pytest.fixture
def forest_folder(tmp_path: Path) -> Path:
    return copy_model("random_forest", tmp_path / "forest")


class Harmless:
    """A class of the user, which skops could store."""

    value = 3


@pytest.mark.parametrize(
    "content",
    [Harmless(), os.system, np.random.default_rng(0), FunctionTransformer(eval), np.log1p],
    ids=["class", "function", "generator", "transformer", "ufunc"],
)
def test_types_that_are_not_in_the_list_are_refused(folder: Path, content: object) -> None:
    replace_pipeline(folder, skops.io.dumps(content))
    assert "which is not trusted" in refusal(folder)


@pytest.mark.parametrize(
    ("key", "value", "type_name"),
    [
        ("__module__", "os", "os.Pipeline"),
        ("__class__", "FunctionTransformer", "sklearn.pipeline.FunctionTransformer"),
        ("__loader__", "FunctionNode", "sklearn.pipeline.Pipeline"),
        ("__loader__", "MethodNode", "sklearn.pipeline.Pipeline"),
        ("__loader__", "PartialNode", "sklearn.pipeline.Pipeline"),
        ("__loader__", "Unknown", "sklearn.pipeline.Pipeline"),
    ],
)
def test_a_changed_type_is_refused(folder: Path, key: str, value: str, type_name: str) -> None:
    content = rewrite_archive(
        (folder / "model.skops").read_bytes(), lambda schema: schema.update({key: value})
    )
    replace_pipeline(folder, content)
    assert f"it contains the type {type_name}, which is not trusted" in refusal(folder)


def test_objects_with_identities_are_refused(folder: Path) -> None:
    """skops would take the second object for the first one, which passed other checks."""
    content = rewrite_archive(
        (folder / "model.skops").read_bytes(), lambda schema: schema.update({"__id__": 1})
    )
    replace_pipeline(folder, content)
    assert "its objects have identities" in refusal(folder)


@pytest.mark.parametrize("protocol", [0, 1, 99, None, "2", True])
def test_other_protocols_of_skops_are_refused(folder: Path, protocol: object) -> None:
    content = rewrite_archive(
        (folder / "model.skops").read_bytes(), lambda schema: schema.update(protocol=protocol)
    )
    replace_pipeline(folder, content)
    assert f"has protocol {protocol!r} of skops" in refusal(folder)


@pytest.mark.parametrize("name", ["../evil.npy", "/etc/passwd", "a/b.npy", "..", "x.py", "C:\\a"])
def test_names_outside_of_the_archive_are_refused(folder: Path, name: str) -> None:
    content = rewrite_archive(
        (folder / "model.skops").read_bytes(),
        change_arrays=lambda files: files.update({name: b"0"}),
    )
    replace_pipeline(folder, content)
    assert "contains files that no model has" in refusal(folder)


def test_an_array_that_is_not_in_the_archive_is_refused(folder: Path) -> None:
    def change(schema: Any) -> None:
        for node in find_nodes(schema, "NdArrayNode"):
            if node["type"] == "numpy":
                node["file"] = "../../../etc/passwd"

    replace_pipeline(folder, rewrite_archive((folder / "model.skops").read_bytes(), change))
    assert "'../../../etc/passwd' is not in the archive" in refusal(folder)


def test_two_files_of_the_same_name_are_refused(folder: Path) -> None:
    content = io.BytesIO((folder / "model.skops").read_bytes())
    with warnings.catch_warnings(), zipfile.ZipFile(content, "a") as archive:
        warnings.simplefilter("ignore", UserWarning)
        archive.writestr("schema.json", "{}")
    replace_pipeline(folder, content.getvalue())
    assert "two files with the same name" in refusal(folder)


def test_a_zip_bomb_is_refused_before_it_is_unpacked(folder: Path) -> None:
    output = io.BytesIO((folder / "model.skops").read_bytes())
    with zipfile.ZipFile(output, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("ab.npy", b"\0" * 30_000_000)
    assert len(output.getvalue()) < 100_000
    replace_pipeline(folder, output.getvalue())
    with pytest.raises(ValueError, match="bytes when unpacked, more than the limit"):
        read_model(folder, max_bytes=10_000_000)


def test_a_bomb_in_the_schema_is_refused(folder: Path) -> None:
    output = io.BytesIO()
    with zipfile.ZipFile(output, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("schema.json", b" " * (128 * 2**20 + 1))
    replace_pipeline(folder, output.getvalue())
    assert "bytes when unpacked, more than the limit" in refusal(folder)


def test_a_deep_schema_is_refused(folder: Path) -> None:
    output = io.BytesIO()
    with zipfile.ZipFile(output, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("schema.json", b'{"a":' * 200_000 + b"1" + b"}" * 200_000)
    replace_pipeline(folder, output.getvalue())
    assert "needs more memory than a model does" in refusal(folder)


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (-8, -1), }",
        "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (__import__('os'),), }",
    ],
)
def test_an_array_is_as_large_as_its_header_says(folder: Path, header: str) -> None:
    padded = header.ljust(117) + "\n"
    array = b"\x93NUMPY\x01\x00" + len(padded).to_bytes(2, "little") + padded.encode() + b"0" * 64

    def change(files: dict[str, bytes]) -> None:
        for name in files:
            if name != "schema.json":
                files[name] = array

    replace_pipeline(
        folder, rewrite_archive((folder / "model.skops").read_bytes(), change_arrays=change)
    )
    refusal(folder)


# --- hostile trees


def change_tree(folder: Path, change: Callable[[Any], Any], *, state_name: str = "nodes") -> None:
    """Change an array of the first tree of a forest."""
    content = (folder / "model.skops").read_bytes()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        schema = json.loads(archive.read("schema.json"))
        state = find_nodes(schema, "TreeNode")[0]["content"]["content"]
        name = state[state_name]["file"]
        array = np.load(io.BytesIO(archive.read(name)))
    array = change(array)
    replace_pipeline(
        folder,
        rewrite_archive(
            content, change_arrays=lambda files: files.update({name: array_bytes(array)})
        ),
    )


def set_field(name: str, row: int, value: float) -> Callable[[Any], Any]:
    def change(nodes: Any) -> Any:
        nodes[name][row] = value
        return nodes

    return change


@pytest.mark.parametrize(
    ("name", "row", "value", "message"),
    [
        ("left_child", 0, 10**9, "a child of a node is outside of its tree"),
        ("right_child", 0, 10**12, "a child of a node is outside of its tree"),
        ("left_child", 0, -2, "a child of a node is outside of its tree"),
        ("right_child", 0, -1, "a child of a node is outside of its tree"),
        ("left_child", 0, 0, "so the tree has a cycle"),
        ("right_child", 1, 0, "so the tree has a cycle"),
        ("left_child", 0, -1, "a node of a tree has only one child"),
        ("feature", 0, 10**6, "a node splits by a column outside of the 5 columns"),
        ("feature", 0, -5, "a node splits by a column outside of the 5 columns"),
        ("threshold", 0, float("nan"), "the threshold of a node is not a number"),
    ],
)
def test_a_forest_with_a_dangerous_node_is_refused(
    forest_folder: Path, name: str, row: int, value: float, message: str
) -> None:
    change_tree(forest_folder, set_field(name, row, value))
    assert message in refusal(forest_folder)


@pytest.mark.parametrize(
    ("state_name", "change", "message"),
    [
        ("nodes", lambda nodes: nodes[:-1], "nodes and has"),
        ("nodes", lambda nodes: nodes[:0], "the nodes of a tree are not an array of nodes"),
        ("nodes", lambda nodes: nodes["feature"], "the nodes of a tree are not an array of nodes"),
        ("values", lambda values: values[:-1], "the values of a tree do not fit its nodes"),
        ("values", lambda values: values[:, :, :1], "the values of a tree do not fit its nodes"),
        ("values", lambda values: values.astype("<f4"), "the values of a tree do not fit"),
        ("values", lambda values: values * np.nan, "a value of a tree is not a finite number"),
    ],
)
def test_a_forest_whose_arrays_do_not_fit_is_refused(
    forest_folder: Path, state_name: str, change: Callable[[Any], Any], message: str
) -> None:
    change_tree(forest_folder, change, state_name=state_name)
    assert message in refusal(forest_folder)


def set_json(node: dict[str, Any], value: object) -> None:
    node["content"] = json.dumps(value)


TREE_CHANGES: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "outputs": (
        lambda tree: set_json(tree["__reduce__"]["args"]["content"][2], 10**9),
        "a tree has 1000000000 outputs instead of 1",
    ),
    "columns": (
        lambda tree: set_json(tree["__reduce__"]["args"]["content"][0], 4000),
        "a tree does not fit its forest",
    ),
    "no columns": (
        lambda tree: set_json(tree["__reduce__"]["args"]["content"][0], 0),
        "a tree has 0 columns",
    ),
    "text": (
        lambda tree: set_json(tree["__reduce__"]["args"]["content"][0], "many"),
        "a tree has 'many' columns",
    ),
    "count": (
        lambda tree: set_json(tree["content"]["content"]["node_count"], 10**9),
        "a tree counts 1000000000 nodes and has",
    ),
    "arguments": (
        lambda tree: tree["__reduce__"]["args"]["content"].pop(),
        "a tree has no three arguments",
    ),
    "no arguments": (lambda tree: tree["__reduce__"].clear(), "a tree has no 'args'"),
    "state": (lambda tree: tree["content"]["content"].pop("values"), "a tree has no 'values'"),
    "content": (lambda tree: tree.update(content=[]), "a tree has no 'content'"),
    "array": (
        lambda tree: tree["content"]["content"]["nodes"].update(type="json", content=[]),
        "an array of a tree has the wrong type",
    ),
}


@pytest.mark.parametrize("name", TREE_CHANGES)
def test_a_forest_with_a_changed_tree_is_refused(forest_folder: Path, name: str) -> None:
    change, message = TREE_CHANGES[name]
    content = rewrite_archive(
        (forest_folder / "model.skops").read_bytes(),
        lambda schema: change(find_nodes(schema, "TreeNode")[0]),
    )
    replace_pipeline(forest_folder, content)
    assert message in refusal(forest_folder)


def reload(pipeline: Pipeline, trained: Trained) -> None:
    """Read a changed pipeline through the checks of `read_model`."""
    loaded = load_pipeline(dump_pipeline(pipeline))
    check_pipeline(loaded, "classification", trained.features, ["no", "yes"])


BOOSTED_NODES: list[tuple[str, int, float, str]] = [
    ("left", 0, 4_000_000_000, "a child of a node is outside of its tree"),
    ("right", 0, 10**6, "a child of a node is outside of its tree"),
    ("left", 0, 0, "so the tree has a cycle"),
    ("feature_idx", 0, 10**6, "a node splits by a column outside of the 5 columns"),
    ("feature_idx", 0, -1, "a node splits by a column outside of the 5 columns"),
    ("is_categorical", 0, 1, "splits by categories, which is not supported"),
    ("num_threshold", 0, float("nan"), "the threshold of a node is not a number"),
    ("value", 0, float("inf"), "a value of a boosted tree is not a finite number"),
]


@cache
def trained_once(model: str) -> Trained:
    return train_small(model)


@pytest.fixture
def boosted() -> Trained:
    trained = copy.deepcopy(trained_once("gradient_boosting"))
    # The generator of the training is not trusted; write_model leaves it out.
    trained.pipeline[-1]._feature_subsample_rng = None
    reload(trained.pipeline, trained)
    return trained


@pytest.mark.parametrize(("name", "row", "value", "message"), BOOSTED_NODES)
def test_gradient_boosting_with_a_dangerous_node_is_refused(
    boosted: Trained, name: str, row: int, value: float, message: str
) -> None:
    boosted.pipeline[-1]._predictors[1][0].nodes[name][row] = value
    with pytest.raises(ValueError, match=message):
        reload(boosted.pipeline, boosted)


def drop_nodes(booster: Any) -> None:
    booster._predictors[0][0].nodes = booster._predictors[0][0].nodes[:0]


def replace_nodes(booster: Any) -> None:
    booster._predictors[0][0].nodes = [1, 2, 3]


def reverse_bins(booster: Any) -> None:
    booster._bin_mapper.bin_thresholds_[0] = booster._bin_mapper.bin_thresholds_[0][::-1].copy()


def drop_bins(booster: Any) -> None:
    booster._bin_mapper.bin_thresholds_.pop()


def lengthen_bins(booster: Any) -> None:
    booster._bin_mapper.bin_thresholds_[0] = np.arange(300.0)


def make_categorical(booster: Any) -> None:
    booster._bin_mapper.is_categorical_ = np.array([1, 0, 0, 0, 0], dtype=np.uint8)


def add_tree(booster: Any) -> None:
    booster._predictors[0].append(booster._predictors[0][0])


def take_bins(booster: Any) -> None:
    booster._in_fit = True


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop_nodes, "a boosted tree has no nodes"),
        (replace_nodes, "not an array of nodes|the file is damaged"),
        (reverse_bins, "the thresholds between the bins of a column do not ascend"),
        (drop_bins, "the bins of a gradient boosting model do not fit its columns"),
        (lengthen_bins, "the bins of a column are not an array of thresholds"),
        (make_categorical, "has categorical features, which is not supported"),
        (add_tree, "an iteration of the model lacks a tree"),
        (take_bins, "replaces '_in_fit'"),
    ],
)
def test_gradient_boosting_whose_parts_do_not_fit_is_refused(
    boosted: Trained, change: Callable[[Any], None], message: str
) -> None:
    change(boosted.pipeline[-1])
    with pytest.raises(ValueError, match=message):
        reload(boosted.pipeline, boosted)


# --- pipelines that are put together in another way


def rename_step(pipeline: Pipeline) -> None:
    pipeline.steps[0] = ("other", pipeline.steps[0][1])


def replace_step(pipeline: Pipeline) -> None:
    pipeline.steps[1] = ("classifier", pipeline.steps[0][1])


def hide_method(pipeline: Pipeline) -> None:
    pipeline.predict = 3


def shorten_coefficients(pipeline: Pipeline) -> None:
    pipeline[-1].coef_ = pipeline[-1].coef_[:, :1]


def swap_classes(pipeline: Pipeline) -> None:
    pipeline[-1].classes_ = pipeline[-1].classes_[::-1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (rename_step, "has the steps"),
        (replace_step, "its last step is .*ColumnTransformer, which is not for classification"),
        (hide_method, "an object of the pipeline replaces 'predict'"),
        (shorten_coefficients, "it cannot predict"),
        (swap_classes, "its classes are not the classes of model.json"),
    ],
)
def test_a_pipeline_with_another_structure_is_refused(
    change: Callable[[Pipeline], None], message: str
) -> None:
    trained = copy.deepcopy(trained_once("logistic_regression"))
    change(trained.pipeline)
    with pytest.raises(ValueError, match=message):
        reload(trained.pipeline, trained)
