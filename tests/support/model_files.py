"""Folders of small models, and the changes with which an attacker would spoil them."""

from __future__ import annotations

import hashlib
import io
import json
import tempfile
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from kfgcp_components.models import read_model, write_model
from kfgcp_components.train.classifier.logic import train
from kfgcp_components.training import Trained

MODELS = ["gradient_boosting", "logistic_regression", "random_forest"]
SMALL: dict[str, dict[str, Any]] = {
    "gradient_boosting": {"max_iter": 3},
    "logistic_regression": {},
    "random_forest": {"n_estimators": 3},
}


def make_table() -> pd.DataFrame:
    rng = np.random.default_rng(1)
    frame = pd.DataFrame(
        {
            "size": rng.normal(size=200),
            "city": rng.choice(["東京", "Łódź", None], 200),
            "member": rng.choice([True, False], 200),
        }
    )
    frame["label"] = np.where(frame["size"] + rng.normal(size=200) > 0, "yes", "no")
    return frame


TABLE = make_table()


def train_small(model: str) -> Trained:
    return train(TABLE, "label", model=model, hyperparameters=SMALL[model])


def save(trained: Trained, folder: Path) -> Path:
    write_model(
        trained.pipeline,
        folder,
        task="classification",
        target="label",
        features=trained.features,
        facts=trained.facts,
    )
    return folder


@cache
def stored_files(model: str) -> dict[str, bytes]:
    """Return the files of a small model."""
    with tempfile.TemporaryDirectory() as folder:
        save(train_small(model), Path(folder))
        return {file.name: file.read_bytes() for file in Path(folder).iterdir()}


def copy_model(model: str, folder: Path) -> Path:
    """Make a folder with a small model, without training it again."""
    folder.mkdir()
    for name, content in stored_files(model).items():
        (folder / name).write_bytes(content)
    return folder


def change_description(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    document = json.loads((folder / "model.json").read_text())
    change(document)
    (folder / "model.json").write_text(json.dumps(document))


def replace_pipeline(folder: Path, content: bytes) -> None:
    """Put another model file into a folder, as a attacker does: with the right size and hash."""
    (folder / "model.skops").write_bytes(content)

    def change(document: dict[str, Any]) -> None:
        document["file"] = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}

    change_description(folder, change)


def rewrite_archive(
    content: bytes,
    change_schema: Callable[[Any], None] | None = None,
    change_arrays: Callable[[dict[str, bytes]], None] | None = None,
) -> bytes:
    """Return a model file with changes that skops itself would never make."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    if change_schema:
        schema = json.loads(files["schema.json"])
        change_schema(schema)
        files["schema.json"] = json.dumps(schema).encode()
    if change_arrays:
        change_arrays(files)
    output = io.BytesIO()
    with zipfile.ZipFile(output, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return output.getvalue()


def array_bytes(array: Any) -> bytes:
    output = io.BytesIO()
    np.save(output, array, allow_pickle=False)
    return output.getvalue()


def find_nodes(schema: Any, loader: str) -> list[dict[str, Any]]:
    """Return all nodes of a schema with this loader."""
    found_nodes = []
    if isinstance(schema, dict):
        if schema.get("__loader__") == loader:
            found_nodes.append(schema)
        for value in schema.values():
            found_nodes += find_nodes(value, loader)
    elif isinstance(schema, list):
        for value in schema:
            found_nodes += find_nodes(value, loader)
    return found_nodes


def refusal(folder: Path) -> str:
    """Return the message with which a folder is refused. It has one line."""
    with pytest.raises(ValueError) as caught:
        read_model(folder)
    message = str(caught.value)
    assert "\n" not in message
    assert str(folder) in message
    return message
