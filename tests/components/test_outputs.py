"""Outputs of components are complete or absent, whatever ends the task.

Real processes run the components. They are forked from one process that has imported kfp. One of
them stops itself at the moment when an output is written and does not have its name yet, and gets
SIGTERM there.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from component_processes import ComponentProcess, ComponentServer
from kfgcp_components.outputs import write_files, write_folder
from kfgcp_components.registries import open_registry
from kfgcp_components.registries.base import Details, ModelFiles
from patience import wait_for


@dataclass(frozen=True)
class Case:
    """A component to run.

    Attributes:
        component: its name.
        artifacts: the types of its artifacts. Those without an argument are outputs.
        arguments: its arguments. Words in capitals are replaced by paths.
        outputs: how many of its outputs are files or folders.
    """

    component: str
    artifacts: dict[str, str]
    arguments: dict[str, object] = field(default_factory=dict)
    outputs: int = 1


CASES = [
    Case("ingest_table", {"table": "Dataset"}, {"source": "TABLE"}),
    Case("copy_files", {"manifest": "Artifact"}, {"source": "TABLE", "target": "COPY"}, 2),
    Case(
        "split_table",
        {"table": "Dataset", "train": "Dataset", "test": "Dataset"},
        {"table": "TABLE", "target": "big"},
        2,
    ),
    Case(
        "profile_table",
        {"table": "Dataset", "profile": "Artifact", "report": "HTML"},
        {"table": "TABLE"},
        2,
    ),
    Case(
        "detect_drift",
        {
            "table": "Dataset",
            "reference": "Dataset",
            "metrics": "Metrics",
            "details": "Artifact",
            "report": "HTML",
        },
        {"table": "TABLE", "reference": "TABLE"},
        2,
    ),
    Case(
        "validate_table",
        {
            "table": "Dataset",
            "violations": "Artifact",
            "used_schema": "Artifact",
            "report": "HTML",
        },
        {"table": "TABLE", "infer": True},
        3,
    ),
    Case(
        "train_classifier",
        {"train": "Dataset", "classifier": "Model"},
        {"train": "TABLE", "target": "big"},
    ),
    Case(
        "train_regressor",
        {"train": "Dataset", "regressor": "Model"},
        {"train": "TABLE", "target": "price"},
    ),
    Case(
        "evaluate_slices",
        {"model": "Model", "test": "Dataset", "metrics": "Metrics", "report": "HTML"},
        {"model": "MODEL", "test": "TABLE", "target": "big", "columns": ["color"], "min_rows": 1},
    ),
    Case(
        "explain_model",
        {
            "model": "Model",
            "test": "Dataset",
            "metrics": "Metrics",
            "report": "HTML",
            "importances": "Artifact",
        },
        {"model": "MODEL", "test": "TABLE", "target": "big", "repeats": 1},
        2,
    ),
    Case(
        "predict_batch",
        {"model": "Model", "table": "Dataset", "predictions": "Dataset"},
        {"model": "MODEL", "table": "TABLE"},
    ),
    Case(
        "fetch_model",
        {"model": "Model"},
        {"registry": "REGISTRY", "name": "big", "version": "VERSION"},
    ),
]


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The inputs of all components, by the word that names them."""
    from kfgcp_components.models import write_model
    from kfgcp_components.train.classifier.logic import train

    folder = tmp_path_factory.mktemp("inputs")
    generator = np.random.default_rng(7)
    size = generator.normal(size=200)
    table = pd.DataFrame(
        {
            "size": size,
            "color": generator.choice(["red", "blue"], size=200),
            "price": 3 * size + 1,
            "big": np.where(size > 0.2, "yes", "no"),
        }
    )
    table.to_parquet(folder / "table", index=False)
    trained = train(table, "big")
    write_model(
        trained.pipeline,
        folder / "model",
        task="classification",
        target="big",
        features=trained.features,
        facts=trained.facts,
    )
    model = ModelFiles.read(folder / "model", str(folder / "model"))
    version = open_registry(str(folder / "registry")).register("big", model, Details())
    return {
        "TABLE": str(folder / "table"),
        "MODEL": str(folder / "model"),
        "REGISTRY": str(folder / "registry"),
        "VERSION": version.version,
    }


@pytest.fixture(scope="module")
def server() -> Iterator[ComponentServer]:
    """The process that all processes of components are forked from."""
    if sys.platform != "linux":
        pytest.skip("libraries are imported before a fork on Linux only")
    server = ComponentServer()
    yield server
    server.close()


def start(
    server: ComponentServer,
    case: Case,
    paths: dict[str, str],
    folder: Path,
    *,
    stop_at: int = 0,
    max_bytes: int = 0,
) -> ComponentProcess:
    """Start a process that runs a component with outputs in the folder `outputs`."""
    outputs = folder / "outputs"
    outputs.mkdir()
    words = {**paths, "COPY": str(outputs / "copy")}
    arguments = {
        name: words.get(value, value) if isinstance(value, str) else value
        for name, value in case.arguments.items()
    }
    order = {
        "component": case.component,
        "artifacts": case.artifacts,
        "arguments": arguments,
        "outputs": str(outputs),
        "stop_at": stop_at,
        "marker": str(folder / "stopped"),
        "max_bytes": max_bytes,
    }
    return server.start(order)


@pytest.fixture(params=CASES, ids=[case.component for case in CASES])
def case(request: pytest.FixtureRequest) -> Case:
    value = request.param
    assert isinstance(value, Case)
    return value


def test_sigterm_at_the_last_output_leaves_no_output(
    server: ComponentServer, case: Case, paths: dict[str, str], tmp_path: Path
) -> None:
    process = start(server, case, paths, tmp_path, stop_at=case.outputs)
    try:
        wait_for(lambda: (tmp_path / "stopped").exists() or process.poll() is not None)
        written = sorted(path.name for path in (tmp_path / "outputs").iterdir())
        process.send_signal(signal.SIGTERM)
        errors = process.end()
    finally:
        process.kill()
    # The last output was written, and the others had their names.
    assert (tmp_path / "stopped").exists(), errors
    unfinished = [name for name in written if name.endswith(".kfgcp-part")]
    assert len(unfinished) == 1
    assert len(written) == case.outputs
    assert process.returncode == 128 + signal.SIGTERM, errors
    left = sorted(path.name for path in (tmp_path / "outputs").iterdir())
    # The files that copy_files has copied stay, so that the next attempt continues.
    assert left == (["copy"] if case.component == "copy_files" else [])


def test_a_full_disk_leaves_no_output(
    server: ComponentServer, case: Case, paths: dict[str, str], tmp_path: Path
) -> None:
    # The kernel refuses the bytes of a file after this limit, in the middle of a write.
    process = start(server, case, paths, tmp_path, max_bytes=50)
    try:
        errors = process.end()
    finally:
        process.kill()
    assert process.returncode == 1, errors
    assert "File too large" in errors
    assert list((tmp_path / "outputs").iterdir()) == []


@pytest.fixture(params=["missing", "empty", "link", "older model"])
def target_folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A folder to write, which does or does not exist. A folder behind a link has no new name."""
    target = tmp_path / "model"
    if request.param == "link":
        (tmp_path / "volume").mkdir()
        target.symlink_to(tmp_path / "volume")
    elif request.param != "missing":
        target.mkdir()
    if request.param == "older model":
        (target / "model.json").write_text("old")
    return target


def test_a_folder_has_all_its_files_at_the_end(target_folder: Path) -> None:
    with write_folder(target_folder) as folder:
        (folder / "model.json").write_text("new")
        (folder / "sub").mkdir()
        (folder / "sub" / "weights").write_text("numbers")
        assert not (target_folder / "sub").exists()
    files = {path.name: path.read_text() for path in target_folder.rglob("*") if path.is_file()}
    assert files == {"model.json": "new", "weights": "numbers"}
    assert [path for path in target_folder.parent.iterdir() if path.name.startswith(".")] == []


def test_the_description_of_a_model_is_the_last_file_that_arrives(tmp_path: Path) -> None:
    target = tmp_path / "model"
    target.mkdir()
    (target / "model.json").write_text("old")
    # A file cannot replace a folder, so the move fails in the middle.
    (target / "weights").mkdir()
    (target / "weights" / "x").touch()

    def write() -> None:
        with write_folder(target) as folder:
            (folder / "a").write_text("1")
            (folder / "model.json").write_text("new")
            (folder / "weights").write_text("2")

    with pytest.raises(IsADirectoryError):
        write()
    assert sorted(path.name for path in target.iterdir()) == ["weights"]


def test_an_error_leaves_the_older_file_of_an_earlier_attempt(tmp_path: Path) -> None:
    target = tmp_path / "report"
    target.write_text("old")

    def write() -> None:
        with write_files(target) as (unfinished,):
            unfinished.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write()
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"report": "old"}


@pytest.fixture(params=["hard links", "no hard links"])
def older_files(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, str]:
    """Three older files of an earlier attempt. The last one cannot be replaced by a file.

    Cloud Storage FUSE has no hard links, and answers ENOTSUP.
    """
    if request.param == "no hard links":

        def refuse(*paths: object, **options: object) -> None:
            raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP), str(paths[0]))

        monkeypatch.setattr(os, "link", refuse)
    (tmp_path / "first").write_text("old first")
    (tmp_path / "second").write_text("old second")
    (tmp_path / "third").mkdir()
    (tmp_path / "third/x").write_text("old third")
    return {"first": "old first", "second": "old second", "third/x": "old third"}


def read_tree(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_text() for path in files}


def test_a_failed_rename_leaves_all_older_files_and_tells_its_cause(
    tmp_path: Path, older_files: dict[str, str]
) -> None:
    paths = [tmp_path / name for name in ("new", "first", "second", "third")]

    def write() -> None:
        with write_files(*paths) as parts:
            for part in parts:
                part.write_text("new")

    with pytest.raises(IsADirectoryError) as error:
        write()
    # The error of the rename has both names, and no other error came after it.
    assert str(error.value.filename2) == str(tmp_path / "third")
    assert error.value.__context__ is None
    assert read_tree(tmp_path) == older_files


def test_older_files_are_replaced_and_nothing_else_is_left(
    tmp_path: Path, older_files: dict[str, str]
) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "missing")
    paths = [tmp_path / name for name in ("first", "second", "link")]

    with write_files(*paths) as parts:
        for part in parts:
            part.write_text("new")

    assert read_tree(tmp_path) == {
        "first": "new",
        "second": "new",
        "link": "new",
        "third/x": older_files["third/x"],
    }


@pytest.fixture
def handler() -> Iterator[object]:
    """The handler of SIGTERM before the test."""
    handler = signal.getsignal(signal.SIGTERM)
    yield handler
    signal.signal(signal.SIGTERM, handler)


def test_the_handler_of_sigterm_is_set_only_while_a_file_is_written(
    handler: object, tmp_path: Path
) -> None:
    def write() -> None:
        with write_files(tmp_path / "file"):
            os.kill(os.getpid(), signal.SIGTERM)
            # The interpreter runs the handler between two instructions.
            signal.pause()

    with pytest.raises(SystemExit):
        write()
    assert signal.getsignal(signal.SIGTERM) is handler
