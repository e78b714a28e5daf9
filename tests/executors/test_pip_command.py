"""Package indexes with passwords: pip in a container gets them by its environment, as a real shell
shows."""

import os
import subprocess
from pathlib import Path

import pytest
from kfp import compiler, dsl
from kfp.dsl.python_component import PythonComponent

from kfgcp.engine.executors.pip_command import hide_index_passwords
from kfgcp.spec.load import load

FIRST = "https://bob:s3cretpw@index.acme.example/simple"
SECOND = "https://index.acme.example/other"

PYTHON = """#!/bin/sh
# Stands for python3: notes how pip was called, and does nothing.
{
  echo "arguments: $*"
  echo "index: $PIP_INDEX_URL"
  echo "extra: $PIP_EXTRA_INDEX_URL"
  echo "trusted: $PIP_TRUSTED_HOST"
} >> "$CALLS"
"""


@dsl.component(
    base_image="python:3.11", packages_to_install=["six==1.16.0"], pip_index_urls=[FIRST, SECOND]
)
def private():
    pass


@dsl.component(
    base_image="python:3.11", packages_to_install=["six==1.16.0"], pip_index_urls=[SECOND]
)
def public():
    pass


def _command(component: PythonComponent, folder: Path) -> list[str]:
    file = folder / "component.yaml"
    compiler.Compiler().compile(component, str(file))
    (executor,) = load(str(file)).pipeline_spec["deploymentSpec"]["executors"].values()
    return list(executor["container"]["command"])


def _pip_calls(command: list[str], variables: dict[str, str], folder: Path) -> list[str]:
    """What pip got from the first shell of a command, whose next program is `true`."""
    programs = folder / "bin"
    programs.mkdir()
    for name in ("python3", "pip"):
        (programs / name).write_text(PYTHON)
        (programs / name).chmod(0o755)
    calls = folder / "calls"
    environ = {"PATH": f"{programs}:{os.environ['PATH']}", "CALLS": str(calls), **variables}
    shell, option, script = command[:3]
    subprocess.run([shell, option, script, "true"], check=True, env=environ)
    return calls.read_text().splitlines()


def test_pip_gets_the_indexes_and_the_command_line_has_no_password(tmp_path: Path) -> None:
    before = _command(private, tmp_path)
    assert "s3cretpw" in " ".join(before), "KFP did not write the password into the command"

    command, variables = hide_index_passwords(before)

    assert "s3cretpw" not in " ".join(command)
    assert command[3:] == before[3:], "something else than the script with pip has changed"
    lines = _pip_calls(command, variables, tmp_path)
    installs = [at for at, line in enumerate(lines) if "pip install" in line]
    assert installs
    for at in installs:
        arguments, index, extra, trusted = lines[at : at + 4]
        assert "s3cretpw" not in arguments
        assert "index-url" not in arguments
        assert index == f"index: {FIRST}"
        assert extra == f"extra: {SECOND}"
        assert trusted.split()[1:] == [FIRST, SECOND]
    assert any("six==1.16.0" in lines[at] for at in installs)


def test_a_command_without_passwords_is_left_as_it_is(tmp_path: Path) -> None:
    command = _command(public, tmp_path)

    assert hide_index_passwords(command) == (command, {})


@pytest.mark.parametrize(
    ("script", "expected", "variables"),
    [
        (
            f"python3 -m pip install --index-url '{FIRST}' six && true",
            'PIP_INDEX_URL="$KFGCP_PIP_INDEX_URL_0" python3 -m pip install six && true',
            {"KFGCP_PIP_INDEX_URL_0": FIRST},
        ),
        (
            f"pip --version\npython -m pip install six -i {SECOND} --index-url={FIRST}\necho done",
            (
                'pip --version\nPIP_INDEX_URL="$KFGCP_PIP_INDEX_URL_0" python -m pip install six'
                " \necho done"
            ),
            {"KFGCP_PIP_INDEX_URL_0": FIRST},
        ),
        ("echo --index-url https://bob:pw@host", "echo --index-url https://bob:pw@host", {}),
    ],
)
def test_forms_of_options(script: str, expected: str, variables: dict[str, str]) -> None:
    """Of several --index-url the last one counts, as pip documents it."""
    assert hide_index_passwords(["sh", "-c", script]) == (["sh", "-c", expected], variables)


def test_a_password_cannot_leave_its_variable() -> None:
    """The shell does not look into the values of variables."""
    url = 'https://bob:$(id)`id`\\"@host/simple'
    command, variables = hide_index_passwords(
        ["sh", "-c", f"python3 -m pip install --index-url '{url}' six"]
    )

    assert variables == {"KFGCP_PIP_INDEX_URL_0": url}
    assert "id" not in command[2].replace("INDEX", "")
