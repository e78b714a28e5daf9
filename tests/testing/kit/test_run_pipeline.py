"""`kfgcp.testing.run`: a pipeline with replacements for tasks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from kfgcp.errors import ParamError, UsageError
from kfgcp.testing import artifact, fails, returns, run
from kit_pipelines import gated, looped, nested, with_image

LOOP_TASK = "for-loop-1[1]/condition-2/inner-2/double"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Return a file of four words."""
    file = tmp_path / "model.txt"
    file.write_text("a b c d")
    return file


def trained(model: Path) -> Any:
    return returns("ok", model=artifact(model, framework="fake"), metrics={"auc": 0.8})


def test_other_tasks_run_their_components(model: Path) -> None:
    result = run(gated, {"train": trained(model)})

    assert result.ok
    assert result.task("evaluate").outputs == {"Output": 0.4}
    assert result.task("deploy").outputs == {"Output": "churn of fake"}
    assert result.task("notify").outputs == {"Output": "SUCCEEDED"}
    assert result.metrics == {
        "exit-handler-1/train/metrics/auc": 0.8,
        "exit-handler-1/evaluate/metrics/words": 4,
    }
    assert (result.metric("auc"), result.task("train").metrics) == (0.8, {"auc": 0.8})


def test_nothing_needs_a_replacement() -> None:
    result = run(gated, params={"rows": 3, "threshold": 0.5})

    assert result.ok
    assert (result.ran("train"), result.skipped("deploy")) == (True, True)
    assert result.task("train").inputs == {"rows": 3, "rate": 0.1}


def test_a_condition_decides_which_tasks_run(model: Path) -> None:
    result = run(
        gated,
        {"train": trained(model), "evaluate": returns(0.2, metrics={})},
        params={"threshold": 0.25},
    )

    assert (result.ran("evaluate"), result.skipped("deploy"), result.ok) == (True, True, True)
    with pytest.raises(UsageError, match="must mean one task of the run, but it means 0"):
        result.task("deploy")


def test_a_failure_skips_what_follows_and_the_exit_task_sees_it(model: Path) -> None:
    result = run(gated, {"train": fails("no data")})

    assert (result.state, result.error) == ("FAILED", "no data")
    assert result.failed("train")
    assert result.skipped("evaluate")
    assert result.task("notify").outputs == {"Output": "FAILED"}
    assert "FAILED     exit-handler-1/train  no data" in repr(result)


def test_a_task_with_retries_fails_in_each_attempt(model: Path) -> None:
    result = run(gated, {"train": trained(model), "deploy*": fails("quota")})

    assert result.failed("deploy")
    assert (result.task("deploy").attempts, result.task("deploy").error) == (3, "quota")


def test_a_function_replaces_each_attempt(model: Path) -> None:
    attempts: list[Mapping[str, Any]] = []

    def flaky(inputs: Mapping[str, Any]) -> Any:
        attempts.append(inputs)
        return fails("quota") if len(attempts) < 3 else returns("deployed")

    result = run(gated, {"train": trained(model), "deploy": flaky})

    assert result.ok
    assert result.task("deploy").attempts == 3
    assert attempts[0]["name"] == "churn"
    assert attempts[0]["model"].path == model


def test_iterations_are_replaced_together_or_one_by_one() -> None:
    assert run(looped).outputs == {"Output": 12}
    assert run(looped, {"double": returns(1)}).outputs == {"Output": 3}
    first = {"for-loop-1[0]/double": returns(100)}

    result = run(looped, first, params={"numbers": [1, 2]})

    assert result.outputs == {"Output": 104}
    assert [task.path for task in result.tasks] == [
        "for-loop-1[0]/double",
        "for-loop-1[1]/double",
        "add",
    ]


@pytest.mark.parametrize(
    ("pattern", "failed"),
    [
        ("inner/double", ["inner/double"]),
        ("for-loop-1/condition-2/inner-2/double", [LOOP_TASK]),
        ("for-loop-1[1]/*", [LOOP_TASK]),
        ("*/inner-2/double", [LOOP_TASK]),
        ("*inner*/double", ["inner/double", LOOP_TASK]),
        ("doub*", ["inner/double", LOOP_TASK]),
    ],
)
def test_tasks_in_nested_pipelines_loops_and_conditions_are_replaced_by_their_paths(
    pattern: str, failed: list[str]
) -> None:
    result = run(nested, {pattern: fails("quota"), "double": returns(1)})

    really_failed = [task for task in result.tasks if task.state == "FAILED"]
    # The last task needs the first one, so it does not start when that fails.
    assert [task.path for task in really_failed] == failed
    assert {task.error for task in really_failed} == {"quota"}
    assert {task.attempts for task in really_failed} == {3}


def test_the_first_pattern_that_fits_counts() -> None:
    replace: dict[str, Any] = {
        "for-loop-1[1]/*": returns(0),
        "double": lambda inputs: returns(inputs["number"]),
    }

    assert run(looped, replace).outputs == {"Output": 4}


def test_a_component_that_really_fails_leaves_its_exception(model: Path) -> None:
    result = run(gated, {"train": returns("ok", model=artifact(model.parent), metrics={})})

    assert result.failed("evaluate")
    assert isinstance(result.task("evaluate").exception, IsADirectoryError)
    assert result.error.startswith("IsADirectoryError: ")


def test_a_name_in_kfgcp_toml_brings_its_parameters(home: Path) -> None:
    (home / "pipe.py").write_text(
        "from kfp import dsl\n\n@dsl.component(base_image='python:3.11')\n"
        "def double(number: int) -> int:\n    return number * 2\n\n"
        "@dsl.pipeline\ndef pipe(number: int) -> int:\n    return double(number=number).output\n"
    )
    (home / "kfgcp.toml").write_text(
        '[pipeline.twice]\nsource = "pipe.py"\nparams = { number = 4 }\nsmoke = { number = 1 }\n'
    )

    assert run("twice").outputs == {"Output": 8}
    assert run("twice", smoke=True).outputs == {"Output": 2}
    assert run("twice", params={"number": 5}).outputs == {"Output": 10}
    assert run("pipe.py", params={"number": 5}).outputs == {"Output": 10}


def test_a_task_with_an_image_must_be_replaced() -> None:
    with pytest.raises(UsageError) as caught:
        run(with_image)

    assert caught.value.message == (
        "The task shell runs the image python:3.11, which a test cannot run."
    )
    assert caught.value.hint == 'Replace it: replace={"shell": returns(…)}'
    assert run(with_image, {"shell": returns()}).ok


@pytest.mark.parametrize(
    ("replace", "message", "hint"),
    [
        (
            {"trian": fails("x")},
            'replace["trian"] matches no task.',
            "Did you mean 'train'? Tasks: exit-handler-1/condition-2/deploy,"
            " exit-handler-1/evaluate, exit-handler-1/train, notify.",
        ),
        (
            {"exit-handler-1/trian": fails("x")},
            'replace["exit-handler-1/trian"] matches no task.',
            "Did you mean 'exit-handler-1/train'? Tasks: ",
        ),
        (
            {"train": returns("ok", model=["a", "b"], metrics={})},
            "replace[\"train\"]: the output 'model' of train must be the path of a file or folder,"
            " not ['a', 'b'].",
            "Give a path",
        ),
        (
            {"train": returns("ok", modle="m", metrics={})},
            "replace[\"train\"]: train has no output 'modle'.",
            "Did you mean 'model'? Outputs: Output, metrics, model.",
        ),
        (
            {"train": returns("ok", metrics={})},
            "replace[\"train\"]: the output 'model' of train is missing.",
            "Add it: returns(model=VALUE)",
        ),
        (
            {"evaluate": returns(metrics={})},
            "replace[\"evaluate\"]: the output 'Output' of evaluate is missing.",
            "Add it: returns(VALUE)",
        ),
        (
            {"evaluate": returns("high", metrics={})},
            "replace[\"evaluate\"]: Output must be float, not the text 'high'.",
            "",
        ),
        (
            {"deploy": returns(3)},
            'replace["deploy"]: Output must be str, not 3.',
            "",
        ),
        (
            {"train": returns("ok", model="no/file", metrics={})},
            "replace[\"train\"]: the output 'model' of train does not exist: ",
            "",
        ),
        (
            {"train": returns("ok", model=3, metrics={})},
            "replace[\"train\"]: the output 'model' of train must be the path of a file or folder,"
            " not 3.",
            "Give a path",
        ),
        (
            {"train": 3},
            'replace["train"] must be returns(…), fails(…) or a function, not 3.',
            "",
        ),
        (
            {"train": lambda inputs: None},
            'replace["train"] must return returns(…) or fails(…), not None.',
            "",
        ),
    ],
)
def test_a_replacement_is_checked_against_the_signature(
    replace: dict[str, Any], message: str, hint: str
) -> None:
    with pytest.raises(UsageError) as caught:
        run(gated, replace)

    assert caught.value.message.startswith(message)
    assert caught.value.hint.startswith(hint)
    assert "\n" not in caught.value.message


def test_questions_about_tasks_that_do_not_exist_are_errors(model: Path) -> None:
    result = run(gated, {"train": trained(model)})

    for question in (result.ran, result.skipped, result.failed, result.task):
        with pytest.raises(UsageError, match="'depoly' matches no task"):
            question("depoly")
    with pytest.raises(UsageError, match="0 metrics of the run have the name 'auk'"):
        result.metric("auk")


def test_wrong_parameters_are_the_error_of_a_run() -> None:
    with pytest.raises(ParamError, match="rwos is unknown"):
        run(gated, params={"rwos": 3})
