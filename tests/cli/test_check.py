"""`kfgcp check`: the verdict for each environment, exit codes, and rules that are left out.

The rules are those of a backend of another distribution, see `ruled_backend`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kfgcp_command import Command, Result
from ruled_backend import TOML, install, write_pipeline

Check = Callable[..., Any]

PYTHON_PIPELINE = """\
from kfp import dsl


@dsl.container_component
def never():
    return dsl.ContainerSpec(image="python:3.12", command=["echo"])


@dsl.pipeline(name="made-up")
def made_up():
    never()
    later = never()
    later.set_retry(3)
"""

# KFP compiles say to comp-say, comp-say-2 and comp-say-3.
COPIES = """\
from kfp import dsl


@dsl.container_component
def say():
    return dsl.ContainerSpec(image="busybox", command=["echo"])


@dsl.container_component
def shout():
    return dsl.ContainerSpec(image="busybox", command=["echo"])


@dsl.pipeline(name="made-up")
def made_up():
    say()
    say().set_container_image("busybox:1.36")
    say().set_env_variable("LOUD", "1")
    shout()
"""


@pytest.fixture
def variables(tmp_path: Path) -> dict[str, str]:
    """The variables with which the command finds the backend `ruled`."""
    return install(tmp_path / "site")


@pytest.fixture
def check(home: Path, kfgcp: Command, variables: dict[str, str]) -> Check:
    """Run `kfgcp check` where the environments `local` and `ruled` exist."""
    (home / "kfgcp.toml").write_text(TOML)
    return lambda *arguments: kfgcp("check", *arguments, env=variables)


def rules_in(result: Result) -> list[str]:
    return [finding["rule"] for finding in result.json["findings"]]


def test_the_matrix_has_a_column_for_each_environment(home: Path, check: Check) -> None:
    write_pipeline(home / "p.json", "never", "slow")

    result = check("p.json", "--all-envs", "--server", "2.0", "--select", "T")

    assert result.code == 4
    assert result.out.splitlines() == [
        "severity  rule  where      finding                         ruled    local",
        "error     T101  p.json:13  task never cannot run on ruled  error    -",
        "warning   T201  p.json:21  task slow is slow on 2.0        warning  -",
        "",
        "hint: T101: Give it another name.",
        "",
        "ruled (ruled 2.0): does not run",
        "local: runs",
        "1 error, 1 warning",
    ]
    assert result.err == ""


def test_the_exit_code_is_4_only_for_errors_or_with_strict(home: Path, check: Check) -> None:
    write_pipeline(home / "slow.json", "slow")
    write_pipeline(home / "good.json", "good")
    ruled = ("--env", "ruled", "--select", "T")

    assert check("slow.json", *ruled).code == 0
    assert check("slow.json", *ruled, "--strict").code == 4
    assert check("good.json", *ruled, "--strict").code == 0
    assert check("good.json", *ruled).out.splitlines() == ["ruled (ruled 2.1): runs", "no findings"]


def test_a_call_that_is_wrong_is_2_and_a_broken_pipeline_is_3(home: Path, check: Check) -> None:
    write_pipeline(home / "p.json", "good", params={"rows": 3})
    (home / "broken.json").write_text('{"root": {}}')
    wrong = {
        ("--select", "T999"): "There is no rule 'T999'.",
        ("--ignore", "Z"): "There is no rule 'Z'.",
        ("--env", "nowhere"): "There is no environment 'nowhere' (kfgcp.toml).",
        ("--server", "new"): "'new' is not the version of a server.",
        (
            "--env",
            "ruled",
            "--server",
            "0.9",
        ): "The server has version 0.9, but kfgcp needs 1.0 or newer",
        ("-p", "rows=many"): "rows must be int, not 'many'",
        ("--all-envs", "--env", "ruled"): "not both",
        ("--json", "--format", "sarif"): "--json and --format sarif exclude each other. Use one"
        " of them.",
    }

    for arguments, message in wrong.items():
        result = check("p.json", *arguments)
        assert (result.code, result.out) == (2, ""), arguments
        assert message in result.err
    assert check("broken.json").code == 3
    assert check("missing.json").code == 2


def test_a_rule_of_another_environment_can_be_left_out(home: Path, check: Check) -> None:
    """`--ignore T101` is correct although nothing is checked for `ruled`."""
    write_pipeline(home / "p.json", "never")

    assert check("p.json", "--env", "local", "--ignore", "T101").code == 0
    assert rules_in(check("p.json", "--env", "ruled", "--json", "--ignore", "T101,R,P")) == []


def test_the_version_that_is_not_known_is_the_newest_older_one(home: Path, check: Check) -> None:
    write_pipeline(home / "p.json", "slow")
    ruled = ("--env", "ruled", "--select", "T")

    newest = check("p.json", *ruled)
    unknown = check("p.json", *ruled, "--server", "7.3")
    old = check("p.json", *ruled, "--server", "v1.0.7-rc.1", "--json")

    assert "task slow is slow on 2.1" in newest.out
    assert "so it applies the rules for 2.1, the newest known version" in newest.err
    assert "task slow is slow on 2.1" in unknown.out
    assert "ruled: kfgcp does not know version 7.3, so it applies the rules for 2.1" in (
        unknown.err
    )
    assert rules_in(old) == []
    assert old.json["envs"] == [
        {"env": "ruled", "backend": "ruled", "server": "1.0.7", "runs": True}
    ]


def test_a_server_without_versions_is_not_silent(home: Path, check: Check) -> None:
    write_pipeline(home / "p.json", "good")

    assert "--server has no effect" in check("p.json", "--server", "2.0", "--select", "T").err


def test_what_cannot_be_judged_is_a_finding(home: Path, check: Check) -> None:
    write_pipeline(home / "p.json", "maybe")

    result = check("p.json", "--env", "ruled", "--json", "--select", "T")

    assert result.code == 0
    assert [
        (finding["rule"], finding["severity"], finding["message"])
        for finding in result.json["findings"]
    ] == [("T301", "not judged", "not judged: task maybe depends on the weather")]


def test_rules_see_the_values_of_parameters(home: Path, check: Check) -> None:
    write_pipeline(home / "p.json", "good", params={"rows": 3})
    messages = []
    for values in ((), ("-p", "rows=7")):
        result = check("p.json", "--env", "ruled", "--json", "--select", "T401", *values)
        messages += [finding["message"] for finding in result.json["findings"]]

    assert messages == ["the pipeline has 3 rows", "the pipeline has 7 rows"]


def test_a_rule_that_fails_names_its_distribution(home: Path, check: Check) -> None:
    write_pipeline(home / "p.json", "crash")

    result = check("p.json", "--env", "ruled")

    assert result.code == 5
    assert (
        "The backend 'ruled' of kfgcp-ruled 1.0 failed in a rule: ZeroDivisionError" in result.err
    )


def test_findings_have_the_line_of_the_call_or_of_its_method(home: Path, check: Check) -> None:
    (home / "p.py").write_text(PYTHON_PIPELINE)

    result = check("p.py", "--env", "ruled", "--json", "--select", "T101")

    assert [(finding["file"], finding["line"]) for finding in result.json["findings"]] == [
        ("p.py", 11),
        ("p.py", 13),
    ]


def test_copies_of_a_component_are_one_finding(home: Path, check: Check) -> None:
    (home / "p.py").write_text(COPIES)

    result = check("p.py", "--env", "local", "--json", "--select", "R101,R102")

    assert [(finding["component"], finding["line"]) for finding in result.json["findings"]] == [
        ("comp-say", 4),
        ("comp-shout", 9),
        ("comp-say-2", 4),
    ]
    messages = [finding["message"] for finding in result.json["findings"]]
    assert "component say runs the newest version of the image busybox" in messages[0]
    assert "component shout runs the newest version of the image busybox" in messages[1]
    assert "component say-2 names the image busybox:1.36 by a tag" in messages[2]


def test_a_comment_with_a_reason_suppresses_a_finding(home: Path, check: Check) -> None:
    text = PYTHON_PIPELINE.replace(
        "    never()\n", "    never()  # kfgcp: T101 because it is a trial\n", 1
    )
    (home / "p.py").write_text(text.replace("set_retry(3)", "set_retry(3)  # kfgcp: T101"))

    result = check("p.py", "--env", "ruled", "--json", "--select", "T101")

    assert result.code == 4
    assert [finding["line"] for finding in result.json["findings"]] == [13]
    assert [(finding["line"], finding["suppressed"]) for finding in result.json["suppressed"]] == [
        (11, {"reason": "it is a trial", "origin": "p.py:11"})
    ]
    assert any(
        "p.py:13: the comment does not suppress T101" in note for note in result.json["notes"]
    )


def test_the_project_ignores_rules_with_reasons(home: Path, check: Check) -> None:
    write_pipeline(home / "p.json", "never")
    ignore = '[check]\nignore = { T101 = "nobody runs it there" }\n'
    (home / "kfgcp.toml").write_text(TOML + ignore)

    result = check("p.json", "--env", "ruled", "--json")

    assert result.code == 0
    assert [finding["suppressed"] for finding in result.json["suppressed"]] == [
        {"reason": "nobody runs it there", "origin": "kfgcp.toml"}
    ]
    (home / "kfgcp.toml").write_text(TOML + ignore.replace("T101", "T999"))
    unknown = check("p.json", "--env", "ruled")
    assert unknown.code == 2
    assert "[check]: ignore has T999, which is not a rule" in unknown.err
    (home / "kfgcp.toml").write_text(TOML + ignore.replace("T101", "v102"))
    assert "hint: Did you mean 'V102'? docs/reference/rules.md" in check("p.json").err
    (home / "kfgcp.toml").write_text(TOML + '[check]\nignore = { T101 = "" }\n')
    assert "ignore.T101 has no reason" in check("p.json").err


def test_the_formats_for_programs_go_to_stdout_alone(home: Path, check: Check) -> None:
    write_pipeline(home / "p.json", "never")
    call = ("p.json", "--env", "ruled", "--server", "2.0", "--select", "T", "--format")

    sarif = check(*call, "sarif")
    github = check(*call, "github")
    markdown = check(*call, "markdown")

    for result in (sarif, github, markdown):
        assert (result.code, result.err) == (4, "")
    (result,) = json.loads(sarif.out)["runs"][0]["results"]
    assert (result["ruleId"], result["level"]) == ("T101", "error")
    place = result["locations"][0]["physicalLocation"]
    assert (place["artifactLocation"]["uri"], place["region"]["startLine"]) == ("p.json", 13)
    assert github.out.startswith("::error file=p.json,line=13,title=kfgcp T101::task never cannot")
    assert "| error | T101 | p.json:13 | task never cannot run on ruled | error |" in markdown.out
