"""Help, usage errors and exit codes of all verbs."""

from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from kfgcp.cli.main import cli
from kfgcp.cli.verbs import read_summary, verb_names
from kfgcp_command import Command

VERB_NAMES = list(verb_names())


def _help(*arguments: str) -> str:
    result = CliRunner().invoke(cli, [*arguments, "--help"], terminal_width=200)
    assert result.exit_code == 0
    return result.output


def _command(verb: str) -> Any:
    import click

    return cli.get_command(click.Context(cli), verb)  # type: ignore[attr-defined]


def test_the_help_lists_every_verb_with_its_summary() -> None:
    lines = [line.strip() for line in _help().splitlines()]

    for verb in VERB_NAMES:
        summary = read_summary(verb)
        assert any(line.split() == [verb, *summary.split()] for line in lines), verb


def test_the_help_lists_the_verbs_in_a_declared_order() -> None:
    assert VERB_NAMES[:5] == ["run", "compile", "check", "rerun", "retry"]
    assert VERB_NAMES[-4:] == ["images", "schedule", "env", "testing"]


@pytest.mark.parametrize("verb", VERB_NAMES)
def test_the_help_of_a_verb_begins_with_its_summary(verb: str) -> None:
    first = _command(verb).help.splitlines()[0]
    summary = read_summary(verb)

    assert first == summary
    assert summary.endswith(".")


@pytest.mark.parametrize("verb", VERB_NAMES)
def test_every_verb_has_an_example_that_it_understands(verb: str) -> None:
    import shlex

    example = _command(verb).epilog.removeprefix("Example: kfgcp ")
    words = shlex.split(example)

    assert f"Example: kfgcp {example}" in _help(verb)
    assert words[0] == verb
    _command(verb).make_context(
        verb, words[1:]
    )  # raises on an option or argument that is not there


@pytest.mark.parametrize("verb", VERB_NAMES)
def test_every_option_has_help(verb: str) -> None:
    for parameter in _command(verb).params:
        if parameter.param_type_name == "option":
            assert parameter.help, f"{verb} {parameter.name}"
            assert parameter.help.endswith("."), f"{verb} {parameter.name}"


@pytest.mark.parametrize(
    "verb",
    sorted(
        set(VERB_NAMES) - {"init", "env", "export", "template", "testing", "delete", "dashboard"}
    ),
)
def test_verbs_with_results_can_print_json(verb: str) -> None:
    command = _command(verb)
    commands = list(command.commands.values()) if isinstance(command, click.Group) else [command]
    for subcommand in commands:
        names = {name for parameter in subcommand.params for name in parameter.opts}
        assert "--json" in names


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["rnu"], "No such command 'rnu'. Did you mean 'run'?"),
        (["lst"], "No such command 'lst'. Did you mean 'list'?"),
        (["xyzzy"], "No such command 'xyzzy'.\n"),
        (["--nonsense"], "No such option"),
        (["run"], "PIPELINE"),
        (["run", "x.yaml", "--parm", "a=1"], "--param"),
        (["list", "--state", "DONE"], "'DONE' is not one of"),
        (["list", "--limit", "0"], "0 is not in the range"),
        (["list", "--since", "soon"], "--since 'soon' is neither an age"),
        (["list", "--label", "team"], "--label 'team' does not have the form K=V"),
        (["run", "x.yaml", "--timeout", "-1"], "must be 0 or more seconds, not -1."),
        (["run", "x.yaml", "--timeout", "nan"], "must be 0 or more seconds, not nan."),
        (["run", "x.yaml", "--timeout", "inf"], "must be 0 or more seconds, not inf."),
        (["run", "x.yaml", "--label", "=x"], "--label '=x' does not have the form K=V"),
        (["logs", "latest", "t", "--attempt", "0"], "0 is not in the range"),
        (["export", "--format", "xlsx"], "'xlsx' is not one of 'csv', 'json', 'parquet'"),
        (["export", "--format", "parquet"], "Parquet is not text"),
        (["show"], "There are no runs yet"),
        (["show", "zzzz"], "There is no run 'zzzz'"),
        (["logs", "zzzz"], "There is no run 'zzzz'"),
        (["watch", "zzzz"], "There is no run 'zzzz'"),
        (["cancel", "zzzz"], "There is no run 'zzzz'"),
        (["compare"], "A comparison needs two runs"),
        (["compare", "zzzz"], "A comparison needs two runs"),
        (["run", "no.yaml"], "no.yaml"),
        (["run", "no.py"], "no.py"),
    ],
)
def test_wrong_usage_exits_with_2_and_says_why(
    home: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    from kfgcp.cli.main import main

    with pytest.raises(SystemExit) as exit_info:
        main(arguments)

    out, err = capsys.readouterr()
    assert (exit_info.value.code, out) == (2, "")
    assert message in err
    assert "Traceback" not in err


def test_a_bug_is_one_line_and_exit_code_1(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from kfgcp.cli.main import main
    from kfgcp.workspace import Workspace

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(Workspace, "list", broken)
    with pytest.raises(SystemExit) as exit_info:
        main(["list"])
    assert exit_info.value.code == 1
    assert capsys.readouterr().err.splitlines() == [
        "error: kfgcp has an internal error: ZeroDivisionError: oh",
        "hint: This is a bug: please report it. To see the traceback, set KFGCP_DEBUG=1.",
    ]

    monkeypatch.setenv("KFGCP_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        main(["list"])


def test_the_real_command_prints_its_help_and_version(kfgcp: Command) -> None:
    help_result, version = kfgcp("-h"), kfgcp("--version")

    assert (help_result.code, help_result.err) == (0, "")
    assert help_result.out.startswith("Usage: kfgcp [OPTIONS] COMMAND")
    assert (version.code, version.out.split()[0]) == (0, "kfgcp")
    assert kfgcp().code == 2
