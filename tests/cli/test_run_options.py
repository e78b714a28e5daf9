"""The options of `run` and `rerun` are made from the fields of `RunOptions`, and reach the store
and the engine."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

import kfgcp as package
from kfgcp.cli.main import cli, main
from kfgcp.cli.verbs import rerun, run
from kfgcp.engine.executors.base import Attempt
from kfgcp.engine.executors.router import Router
from kfgcp.options import OptionField, OptionType, RunOptions, option_fields
from kfgcp.store.store import Store
from patience import PROCESS

OPTIONS = pytest.mark.parametrize("field", option_fields(), ids=lambda field: field.name)
ENVIRONMENTS = '[env.local]\nbackend = "local"\n[env.other]\nbackend = "local"\n'


def _other_value(field: OptionField) -> Any:
    """A value that is not the default, and that the engine can run with."""
    match field.type:
        case OptionType.TEXT:
            return "other"
        case OptionType.FLAG:
            return True
        case OptionType.SWITCH:
            return False
        case OptionType.NUMBER:
            return (field.option.minimum or 0) + 1
        case OptionType.CHOICE:
            return field.choices[1]
        case OptionType.PAIRS:
            return {"team": "growth"}


def _arguments(field: OptionField) -> list[str]:
    """The option with this value on the command line."""
    value = _other_value(field)
    match field.type:
        case OptionType.FLAG:
            return [field.flag]
        case OptionType.SWITCH:
            return [field.flag.replace("--", "--no-", 1)]
        case OptionType.PAIRS:
            return [field.flag, "team=growth"]
        case _:
            return [field.flag, str(value)]


ALL_ARGUMENTS = [argument for field in option_fields() for argument in _arguments(field)]


@pytest.fixture
def attempts(monkeypatch: pytest.MonkeyPatch) -> list[Attempt]:
    """The attempts that the engine gives to an executor."""
    attempts: list[Attempt] = []
    start = Router.start

    def record(router: Router, attempt: Attempt) -> None:
        attempts.append(attempt)
        start(router, attempt)

    monkeypatch.setattr(Router, "start", record)
    return attempts


def _call(*arguments: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    assert ended.value.code == 0


@pytest.mark.parametrize(("verb", "command"), [("run", run.command), ("rerun", rerun.command)])
@OPTIONS
def test_each_option_is_in_the_help_with_its_flag_and_text(
    verb: str, command: click.Command, field: OptionField
) -> None:
    (shown,) = [parameter for parameter in command.params if parameter.name == field.name]
    assert isinstance(shown, click.Option)
    texts = {field.option.help, field.option.rerun_help}
    ends_with = " Local runs only." if field.option.local_only else ""

    assert field.flag in shown.opts
    assert shown.help is not None
    assert shown.help.removesuffix(ends_with) in texts
    assert shown.help.endswith(ends_with)
    assert field.flag in CliRunner().invoke(cli, [verb, "--help"], terminal_width=200).output


def test_each_option_of_run_is_stored_and_reaches_the_executor(
    home: Path, pipeline: Callable[[str], Path], attempts: list[Attempt]
) -> None:
    (home / "kfgcp.toml").write_text(ENVIRONMENTS)

    _call("run", str(pipeline("echo")), *ALL_ARGUMENTS)

    _assert_all_given(home, attempts)


def test_each_option_of_rerun_changes_that_of_the_run(
    home: Path, pipeline: Callable[[str], Path], attempts: list[Attempt]
) -> None:
    (home / "kfgcp.toml").write_text(ENVIRONMENTS)
    _call("run", str(pipeline("echo")))
    plain = RunOptions(env="local", experiment="default")
    assert attempts.pop().options.changed(labels={}) == plain

    _call("rerun", "latest", "--from", "say", *ALL_ARGUMENTS)

    _assert_all_given(home, attempts)


def _assert_all_given(home: Path, attempts: list[Attempt]) -> None:
    """Check that the newest run was stored and run with the value of `_other_value` for each
    option."""
    with Store(home / ".kfgcp") as store:
        request = store.request(package.show().run_id)
    assert request is not None
    (attempt,) = attempts
    assert attempt.options == request.options
    for field in option_fields():
        value, expected = getattr(request.options, field.name), _other_value(field)
        if field.type is OptionType.PAIRS:
            assert expected.items() <= value.items(), field.name
        else:
            assert value == expected, field.name


@OPTIONS
def test_a_run_that_is_resumed_takes_no_option(
    field: OptionField, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before, `--resume` ignored --max-parallel, --fail-fast, --executor and --strict-env."""
    with pytest.raises(SystemExit) as ended:
        main(["run", "--resume", "latest", *_arguments(field)])

    assert ended.value.code == 2
    assert "with --resume, only --timeout and --json are allowed" in capsys.readouterr().err


NEW_FIELD = """
    weight: Annotated[
        int, Option("The weight of task processes.", metavar="N", minimum=0, local_only=True)
    ] = 0

    def __post_init__"""
PIPELINE = """
import os
from kfp import dsl

@dsl.component
def weights() -> str:
    import os
    return os.environ["WEIGHTS"]

@dsl.pipeline
def pipeline() -> str:
    return weights().output
"""


def test_a_new_option_is_one_field_and_its_use(
    home: Path,
    tmp_path: Path,
    environment: Callable[[], dict[str, str]],
    parse_json: Callable[[str], Any],
) -> None:
    """A copy of the package gets an option `weight`: a field of `RunOptions`, and its use in an
    executor."""
    copy = tmp_path / "copy" / "kfgcp"
    shutil.copytree(
        Path(package.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__")
    )
    _replace(copy / "options.py", "\n    def __post_init__", NEW_FIELD)
    use = '"env": {**attempt.env, "WEIGHTS": str(attempt.options.weight)}'
    _replace(copy / "engine" / "executors" / "python.py", '"env": dict(attempt.env)', use)
    (home / "p.py").write_text(PIPELINE)
    variables = environment() | {"PYTHONPATH": str(copy.parent)}

    def python(code: str, *arguments: str) -> str:
        command = [sys.executable, "-c", code, *arguments]
        result = subprocess.run(
            command, env=variables, cwd=home, capture_output=True, text=True, timeout=PROCESS
        )
        assert result.returncode == 0, result.stderr
        return result.stdout

    def command(*arguments: str) -> str:
        return python("from kfgcp.cli.main import main; main()", *arguments)

    assert "--weight N" in command("run", "--help")
    assert parse_json(command("run", "p.py", "--weight", "5", "--json"))["outputs"] == {
        "Output": "5"
    }
    assert parse_json(command("rerun", "latest", "--from", "weights", "--json"))["outputs"] == {
        "Output": "5"
    }
    assert parse_json(command("rerun", "latest", "--from", "weights", "--weight", "7", "--json"))[
        "outputs"
    ] == {"Output": "7"}
    by_keyword = (
        'import kfgcp; print(kfgcp.run("p.py", weight=3, cache=False).outputs,'
        " kfgcp.submit.__module__)"
    )
    assert python(by_keyword) == "{'Output': '3'} kfgcp\n"
    wrong = (
        'import kfgcp\ntry:\n    kfgcp.submit("p.py", weight=-1)\nexcept kfgcp.UsageError as'
        " error:\n    print(error)"
    )
    assert python(wrong) == "The option `weight` must be a whole number of 0 or more, not -1.\n"

    with (
        pytest.warns(
            package.OptionLeftOut,
            match="leaves out options of the run that it does not know: weight",
        ),
        Store(home / ".kfgcp") as old,
    ):
        assert old.request(package.show().run_id) is not None


def _replace(file: Path, before: str, after: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert text.count(before) == 1, f"{file} has {before!r} {text.count(before)} times"
    file.write_text(text.replace(before, after), encoding="utf-8")
