"""benchmarks/check_verdicts.py, with small pipelines."""

import importlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"

PIPELINES = """
from kfp import dsl


@dsl.component
def divide(by: int) -> float:
    return 6 / by


@dsl.pipeline
def completes(by: int):
    divide(by=by)


@dsl.pipeline
def fails():
    divide(by=0)
"""


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("check_verdicts")


@pytest.fixture
def settings(tool: ModuleType, tmp_path: Path) -> Any:
    """How the pipelines of a test run, with a record."""
    folder = tmp_path / "work"
    folder.mkdir()
    return tool.Settings(folder, record=tmp_path / "record.jsonl")


def document(**executor: Any) -> dict[str, Any]:
    """A pipeline with one task, which this executor runs."""
    return {
        "schemaVersion": "2.1.0",
        "pipelineInfo": {"name": "small"},
        "root": {"dag": {"tasks": {"train": {"componentRef": {"name": "comp-train"}}}}},
        "components": {"comp-train": {"executorLabel": "exec-train"}},
        "deploymentSpec": {"executors": {"exec-train": executor}},
    }


def test_each_pipeline_of_a_folder_is_checked_and_run(
    tool: ModuleType, settings: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "pipelines"
    folder.mkdir()
    (folder / "several.py").write_text(PIPELINES)
    (folder / "refused.json").write_text(json.dumps(document(customJob={"customJob": {}})))
    (folder / "notes.yaml").write_text("kind: Workflow\n")
    (folder / "text.txt").write_text("not looked at")

    verdicts, without_pipeline = tool.judge_folder(folder, settings)

    outcomes = {verdict.name: (verdict.runs, verdict.outcome) for verdict in verdicts}
    assert outcomes == {
        "refused.json": (False, tool.Outcome.REFUSED),
        "several.py:completes": (True, tool.Outcome.COMPLETED),
        "several.py:fails": (True, tool.Outcome.PROGRAM_FAILED),
    }
    assert without_pipeline == ["notes.yaml"]
    reasons = {verdict.name: verdict.reasons for verdict in verdicts}
    assert reasons["several.py:fails"] == ["divide: ZeroDivisionError: division by zero"]
    assert "L101" in verdicts[0].errors[0]
    assert not any(verdict.is_false_run or verdict.is_false_alarm for verdict in verdicts)

    # Nothing runs again: the folder of compiled pipelines is gone.
    for file in settings.folder.glob("pipeline-*"):
        file.unlink()
    again, _ = tool.judge_folder(folder, settings, only="several")
    assert again == verdicts[1:]
    assert not list(settings.folder.glob("pipeline-*"))


def test_disagreements_are_counted(tool: ModuleType) -> None:
    verdicts = [
        tool.Verdict("a", runs=True, outcome=tool.Outcome.REFUSED, reasons=["x: not possible"]),
        tool.Verdict("b", runs=False, errors=["S101: wrong"]),
        tool.Verdict("c", runs=False, errors=["S101: wrong"], outcome=tool.Outcome.PROGRAM_FAILED),
        tool.Verdict("d", runs=False, errors=["S102: wrong"], outcome=tool.Outcome.UNDECIDED),
        tool.Verdict("e", runs=True, warnings=["R101: new"]),
    ]

    lines = list(tool.report(verdicts, ["f"]))

    assert lines[0].endswith(": 5 pipelines, 1 files without one")
    assert "| completed | 1 | 1 |" in lines
    assert "| refused | 1 | 0 |" in lines
    assert "decided: 4, false 'runs': 1, false alarms: 2" in lines
    assert "warnings: 1 (R101 1)" in lines
    assert "a: check: runs; engine: refused" in lines
    assert "  engine: x: not possible" in lines


@pytest.mark.parametrize(
    ("message", "outcome"),
    [
        ("the process exited with code 1", "its program failed"),
        ("the process was killed by SIGKILL", "its program failed"),
        ("the container of python:3.12 exited with code 2", "its program failed"),
        ("ValueError: no rows", "its program failed"),
        ("Exception: no rows", "its program failed"),
        ("my.package.OddError", "its program failed"),
        ("the container of python:3.12 exited with code 127", "this machine lacks something"),
        ("ModuleNotFoundError: No module named 'torch'", "this machine lacks something"),
        (
            "the image a is not on this machine and cannot be pulled: x",
            "this machine lacks something",
        ),
        ("DB comes from the secret 'db' on a cluster; here, set", "this machine lacks something"),
        ("the output 'n' must be NUMBER_INTEGER, but is \"x\"", "refused"),
        ("the condition cannot be evaluated: ValueError: x", "refused"),
    ],
)
def test_the_message_of_a_task_tells_why_it_failed(
    tool: ModuleType, message: str, outcome: str
) -> None:
    assert tool.classify_task({"error": {"message": message, "log_tail": []}}) == outcome


def failed_task(path: str, message: str, kind: str = "container") -> dict[str, Any]:
    return {"path": path, "kind": kind, "state": "FAILED", "error": {"message": message}}


def test_one_refused_task_makes_a_run_refused(tool: ModuleType) -> None:
    tasks = [
        failed_task("a", "ValueError: x"),
        failed_task("b", "'n' must be a number"),
        failed_task("group", "'n' must be a number", kind="dag"),
        {"path": "c", "kind": "container", "state": "SUCCEEDED", "error": None},
    ]

    assert tool.classify_tasks(tasks) == (
        tool.Outcome.REFUSED,
        ["a: ValueError: x", "b: 'n' must be a number"],
    )
    assert tool.classify_tasks(tasks[:1])[0] is tool.Outcome.PROGRAM_FAILED
    assert tool.classify_tasks(tasks[2:]) == (
        tool.Outcome.REFUSED,
        ["group: 'n' must be a number"],
    )
    assert tool.classify_tasks([]) == (tool.Outcome.REFUSED, [])


def test_required_inputs_get_samples(tool: ModuleType, tmp_path: Path) -> None:
    spec = document(container={"image": "python"})
    spec["root"]["inputDefinitions"] = {
        "parameters": {
            "rows": {"parameterType": "NUMBER_INTEGER"},
            "text": {"parameterType": "STRING"},
            "known": {"parameterType": "LIST", "defaultValue": []},
            "free": {"parameterType": "LIST", "isOptional": True},
        },
        "artifacts": {"data": {}, "more": {"isOptional": True}},
    }

    options = tool.sample_params(spec, tmp_path)

    assert options == ["-p", "rows=3", "-p", "text=text", "-p", f"data={tmp_path / 'sample.txt'}"]
    assert (tmp_path / "sample.txt").exists()


@pytest.mark.parametrize(
    ("image", "expected"), [("python:3.12", "here:1"), ("argostub/createpvc", "argostub/createpvc")]
)
def test_images_are_replaced_but_not_the_names_of_volumes(
    tool: ModuleType, image: str, expected: str
) -> None:
    spec = document(container={"image": image, "command": ["echo"]})

    tool.replace_images(spec, "here:1")

    executor = spec["deploymentSpec"]["executors"]["exec-train"]
    assert executor == {"container": {"image": expected, "command": ["echo"]}}
