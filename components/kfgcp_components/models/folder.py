"""Write and read the folder of a model."""

from __future__ import annotations

import hashlib
import os
import platform
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final, cast

import numpy as np
import sklearn
import skops
from sklearn.pipeline import Pipeline

from kfgcp_components.features import Features
from kfgcp_components.messages import one_line
from kfgcp_components.models.archive import MAX_ARCHIVE_BYTES, dump_pipeline, load_pipeline
from kfgcp_components.models.description import Description, parse_description
from kfgcp_components.models.model import Label, Model, Task
from kfgcp_components.models.structure import check_pipeline, without_training_state
from kfgcp_components.outputs import MODEL_DESCRIPTION, write_folder

DESCRIPTION_FILE: Final = MODEL_DESCRIPTION
PIPELINE_FILE: Final = "model.skops"

# Facts have the names of all columns. 16 MiB are enough for 100,000 columns.
MAX_DESCRIPTION_BYTES: Final = 16 * 2**20

_OLD_SUFFIXES: Final = (".joblib", ".pkl", ".pickle")
# The first bytes of pickles, and of the compressed files that joblib writes.
_OLD_BEGINNINGS: Final = (b"\x80", b"\x78", b"\x1f\x8b", b"BZh", b"ZF", b"\xfd7zXZ")

_OLD_MODEL_HINT: Final = (
    "loading a model of joblib or pickle would run code from its file; train the model again with"
    " this version of kfgcp"
)


def write_model(
    model: Pipeline,
    folder: str | Path,
    *,
    task: Task,
    target: str,
    features: Features,
    facts: Mapping[str, object],
) -> None:
    """Write a fitted pipeline as the folder of a model. Equal pipelines give equal files.

    The folder appears when it is complete. Where a folder cannot be renamed, `model.json` comes
    last, so a folder that has this file is complete.

    Args:
        model: the pipeline, with the steps of train_classifier or train_regressor.
        folder: the folder to make. An older model in it is replaced.
        task: classification or regression.
        target: the name of the column that the model predicts.
        features: the columns that the model reads.
        facts: how the model was trained, as JSON values.

    Raises:
        ValueError: `read_model` would refuse the model. No file is left then.
    """
    content = dump_pipeline(without_training_state(model))
    classes = _json_labels(model) if task == "classification" else None
    description = Description(
        task=task,
        target=target,
        classes=classes,
        features=features,
        libraries=_installed_libraries(),
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        facts=facts,
    )
    text = description.to_json()
    try:
        check_pipeline(load_pipeline(content), task, features, classes)
    except ValueError as error:
        raise ValueError(f"the model cannot be written: {error}") from error
    with write_folder(folder) as new_folder:
        (new_folder / PIPELINE_FILE).write_bytes(content)
        (new_folder / DESCRIPTION_FILE).write_text(text, encoding="utf-8")


def read_model(folder: str | Path, max_bytes: int = MAX_ARCHIVE_BYTES) -> Model:
    """Read a model from its folder. No code from its files runs.

    Args:
        folder: the folder that `write_model` made.
        max_bytes: the largest size of the unpacked model file.

    Raises:
        ValueError: the folder is not a model of this format, is damaged, contains a type that is
            not trusted, or was written with another minor version of scikit-learn.
        OSError: a file cannot be read.
    """
    source = Path(folder)
    _reject_foreign(source)
    text = _read_file(source / DESCRIPTION_FILE, MAX_DESCRIPTION_BYTES)
    try:
        description = parse_description(text)
    except ValueError as error:
        raise ValueError(f"{source / DESCRIPTION_FILE} is not usable: {error}") from error
    _require_same_scikit_learn(description, source)
    content = _read_file(source / PIPELINE_FILE, max_bytes)
    if len(content) != description.size:
        raise ValueError(
            f"{source / PIPELINE_FILE} has {len(content)} bytes, and {DESCRIPTION_FILE} says"
            f" {description.size}; the file is not complete"
        )
    fingerprint = hashlib.sha256(content).hexdigest()
    if fingerprint != description.sha256:
        raise ValueError(
            f"{source / PIPELINE_FILE} is not the file that {DESCRIPTION_FILE} describes: its"
            " SHA-256 differs"
        )
    try:
        loaded = load_pipeline(content, max_bytes)
        pipeline = check_pipeline(
            loaded, description.task, description.features, description.classes
        )
    except ValueError as error:
        raise ValueError(f"{source / PIPELINE_FILE} is refused: {error}") from error
    return Model(
        task=description.task,
        target=description.target,
        classes=description.classes,
        features=description.features,
        facts=description.facts,
        libraries=description.libraries,
        fingerprint=fingerprint,
        pipeline=pipeline,
    )


def _installed_libraries() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scikit-learn": sklearn.__version__,
        "skops": skops.__version__,
    }


def _json_labels(model: Pipeline) -> list[Label]:
    return cast("list[Label]", model.classes_.tolist())


def _reject_foreign(source: Path) -> None:
    """Raise an error with a hint unless there is a folder with model.json."""
    if source.is_file():
        with source.open("rb") as file:
            beginning = file.read(8)
        if source.suffix in _OLD_SUFFIXES or beginning.startswith(_OLD_BEGINNINGS):
            raise ValueError(f"{source} is a model of joblib or pickle; {_OLD_MODEL_HINT}")
        raise ValueError(f"{source} is a file; a model is a folder with {DESCRIPTION_FILE}")
    if not source.is_dir():
        raise ValueError(f"the model {source} does not exist")
    if os.path.lexists(source / DESCRIPTION_FILE):
        return
    old_files = sorted(file.name for file in source.iterdir() if file.suffix in _OLD_SUFFIXES)
    if old_files:
        raise ValueError(
            f"{source / old_files[0]} is a model of joblib or pickle; {_OLD_MODEL_HINT}"
        )
    raise ValueError(
        f"{source} has no {DESCRIPTION_FILE}, so it is not a model of kfgcp, or not complete"
    )


def _read_file(path: Path, max_bytes: int) -> bytes:
    """Return the content of an ordinary file.

    Raises:
        ValueError: the file is missing, is a link, or is larger than `max_bytes`.
    """
    try:
        # A link could lead to any file of the machine.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError as error:
        raise ValueError(f"{path} is missing, so the model is not complete") from error
    except OSError as error:
        if path.is_symlink():
            raise ValueError(f"{path} is a symbolic link; a model has ordinary files") from error
        raise
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError(f"{path} is not an ordinary file")
        if status.st_size > max_bytes:
            raise ValueError(
                f"{path} has {status.st_size} bytes, more than the limit of {max_bytes}"
            )
        return file.read(max_bytes + 1)


def _require_same_scikit_learn(description: Description, source: Path) -> None:
    """Check that the minor version of scikit-learn is the one that trained the model.

    scikit-learn does not promise that another minor version predicts the same, or at all.
    """
    trained_with = description.libraries.get("scikit-learn")
    if trained_with is None:
        raise ValueError(f"{source / DESCRIPTION_FILE} does not name its version of scikit-learn")
    if trained_with.split(".")[:2] != sklearn.__version__.split(".")[:2]:
        raise ValueError(
            f"the model in {source} was trained with scikit-learn {one_line(trained_with, 40)}, and"
            f" this environment has {sklearn.__version__}; train the model again, or install"
            f" scikit-learn {one_line(trained_with, 40)}"
        )
