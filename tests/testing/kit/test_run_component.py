"""`kfgcp.testing.run_component`: one component with real artifacts."""

from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import Any

import pytest

import kfgcp
from kfgcp.errors import ParamError, UsageError
from kfgcp.testing import artifact, run, run_component
from kit_pipelines import (
    divide,
    double,
    evaluate,
    gated,
    join,
    shell,
    split,
    train,
    use_outside,
    wander,
    wandering,
    where,
)


def test_outputs_artifacts_and_metrics_are_returned() -> None:
    result = run_component(train, rows=7)

    assert (result.output, result.outputs) == ("trained", {"Output": "trained"})
    assert result.artifacts["model"].path.read_text() == "7 rows at 0.1"
    assert result.artifacts["model"].metadata == {"framework": "none"}
    assert result.metrics == {"auc": 0.9}


def test_an_artifact_of_a_result_or_a_file_is_an_input(tmp_path: Path) -> None:
    file = tmp_path / "model"
    file.write_text("a b c")

    from_result = run_component(evaluate, model=run_component(train, rows=7).artifacts["model"])
    from_file = run_component(evaluate, model=file)

    assert (from_result.output, from_file.output) == (0.4, 0.3)
    assert from_file.metrics == {"words": 3}


def test_metadata_of_an_input_artifact_and_named_outputs(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("")

    result = run_component(split, table=artifact(tmp_path / "t.csv", rows=10))

    assert result.outputs == {"train": 8, "test": 2}
    with pytest.raises(UsageError, match="does not return a single value"):
        _ = result.output


def test_a_list_of_artifacts_is_an_input(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)

    tables = [tmp_path / "a", artifact(tmp_path / "b", rows=3)]
    result = run_component(join, tables=tables)

    assert result.output == 2
    assert result.artifacts["note"].path.read_text() == "a b3"
    assert run_component(join, tables=[result.artifacts["note"]] * 2).output == 2
    with pytest.raises(UsageError, match="the input 'tables' does not exist: "):
        run_component(join, tables=[tmp_path / "a", tmp_path / "c"])


@pytest.mark.parametrize("fail", [False, True])
def test_variables_and_the_folder_are_restored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fail: bool
) -> None:
    monkeypatch.setenv("KIT_CHANGED", "before")
    monkeypatch.setenv("KIT_REMOVED", "before")
    before = (dict(os.environ), Path.cwd())

    if fail:
        with pytest.raises(RuntimeError, match="lost"):
            run_component(wander, place=str(tmp_path), fail=True)
    else:
        assert run_component(wander, place=str(tmp_path), fail=False).output == str(tmp_path)
    after_component = (dict(os.environ), Path.cwd())
    result = run(wandering, params={"place": str(tmp_path), "fail": fail})

    assert result.ok is not fail
    assert after_component == before
    assert (dict(os.environ), Path.cwd()) == before


def test_files_are_in_the_folder_of_the_test_or_removed_with_the_result(tmp_path: Path) -> None:
    assert run_component(train, {"rows": 1}, folder=tmp_path).folder == tmp_path
    assert (tmp_path / "model").read_text() == "1 rows at 0.1"
    result = run_component(train, rows=1)
    folder = result.folder

    assert folder.is_dir()
    del result
    gc.collect()

    assert not folder.exists()


def test_an_exception_of_the_function_is_raised_unchanged() -> None:
    with pytest.raises(ZeroDivisionError):
        run_component(divide)


@pytest.mark.parametrize(("component", "name"), [(use_outside, "OUTSIDE"), (where, "os")])
def test_names_of_the_module_are_not_seen_as_in_a_container(component: Any, name: str) -> None:
    with pytest.raises(NameError, match=f"'{name}' is not defined"):
        run_component(component)


def test_a_compiled_component_runs_too(home: Path) -> None:
    kfgcp.compile(double, "double.yaml")

    assert run_component("double.yaml", number=4).output == 8


@pytest.mark.parametrize(
    ("component", "inputs", "message"),
    [
        (
            train,
            {"rwos": 1},
            "Wrong inputs of train: rwos is unknown (did you mean rows?); rows is required.",
        ),
        (train, {"rows": "x"}, "Wrong inputs of train: rows must be int, not the text 'x'."),
        (evaluate, {}, "Wrong inputs of evaluate: model is required."),
        (evaluate, {"model": "no/file"}, "the input 'model' does not exist: "),
        (
            evaluate,
            {"model": 3},
            "the input 'model' must be the path of a file or folder, not 3.",
        ),
        (
            evaluate,
            {"model": {"a": 1}},
            "the input 'model' has no path, and artifacts of the type system.Model need one.",
        ),
        (
            shell,
            {"text": "x"},
            "shell runs the image python:3.11, not a Python function.",
        ),
        (gated, {}, "gated is a pipeline, not a component."),
    ],
)
def test_wrong_calls_are_one_line(component: Any, inputs: dict[str, Any], message: str) -> None:
    with pytest.raises((UsageError, ParamError)) as caught:
        run_component(component, inputs)

    assert caught.value.message.startswith(message)
    assert "\n" not in caught.value.message
