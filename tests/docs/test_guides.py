"""What guides show can be typed: configuration loads, commands are those of kfgcp, shell and YAML
are valid."""

import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest
import yaml

from kfgcp.backends.kubeflow.settings import KubeflowSettings
from kfgcp.backends.registry import load_project, plugin_of, require_settings
from kfgcp.cli.main import cli
from patience import PROCESS

GUIDES = sorted((Path(__file__).parents[2] / "docs" / "guides").glob("*.md"))
TEXTS = {file.stem: file.read_text(encoding="utf-8") for file in GUIDES}
INLINE = re.compile(r"`(kfgcp [^`\n]*)`")
ASSIGNMENT = re.compile(r"[A-Z_]+=.*")
Parts = Callable[[str, str], list[str]]
guides = pytest.mark.parametrize("guide", TEXTS)


def _commands(text: str, blocks: Parts) -> Iterator[str]:
    """The calls of kfgcp in blocks of shell, after prompts and between backticks."""
    yield from INLINE.findall(text)
    yield from (
        line.removeprefix("$ ") for block in blocks(text, "text") for line in block.splitlines()
    )
    yield from (
        line for block in blocks(text, "sh") for line in block.replace("\\\n", " ").splitlines()
    )


def _calls(line: str) -> Iterator[list[str]]:
    """The arguments of each call of kfgcp in a line of shell."""
    try:
        words = shlex.split(line, comments=True)
    except ValueError:  # output, not a command
        return
    while words:
        end = next((at for at, word in enumerate(words) if word in ("&&", "|")), len(words))
        call, words = words[:end], words[end + 1 :]
        while call and ASSIGNMENT.fullmatch(call[0]):
            call = call[1:]
        if call[:1] == ["kfgcp"]:
            yield call[1 : call.index(">") if ">" in call else None]


def _parse(
    command: click.Command, name: str, arguments: list[str], above: click.Context | None = None
) -> None:
    """Raise click's error if a command does not accept the arguments. Nothing runs."""
    with command.make_context(name, list(arguments), parent=above) as context:
        rest = [*context._protected_args, *context.args]
        if isinstance(command, click.Group):
            verb, subcommand, rest = command.resolve_command(context, rest)
            _parse(subcommand, str(verb), rest, context)


MADE = re.compile(r".*/outputs\.json")
"""Files that an earlier command of a guide writes."""


@guides
def test_every_command_is_one_of_kfgcp(
    guide: str, blocks: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    # `--build-arg NAME` reads the variable of this name.
    monkeypatch.setenv("PIP_INDEX_URL", "https://packages.example/simple")
    calls = [call for line in _commands(TEXTS[guide], blocks) for call in _calls(line)]

    assert calls or guide in ("sign-in", "security")
    for call in ([MADE.sub("-", part) for part in arguments] for arguments in calls):
        try:
            _parse(cli, "kfgcp", call)
        except click.ClickException as error:
            if (
                "No such file" in error.format_message()
            ):  # one that an earlier command of the guide has made
                continue
            raise AssertionError(f"kfgcp {shlex.join(call)}: {error.format_message()}") from error
        except click.exceptions.Exit:  # help
            pass


@pytest.mark.parametrize(
    "call", [["rnu", "a.py"], ["run", "--no-such", "a.py"], ["testing", "k8s"]]
)
def test_a_call_that_is_not_a_command_is_detected(call: list[str]) -> None:
    with pytest.raises(click.ClickException):
        _parse(cli, "kfgcp", call)


@guides
def test_every_configuration_loads_and_has_what_it_needs(
    guide: str, blocks: Parts, tmp_path: Path
) -> None:
    for block in blocks(TEXTS[guide], "toml"):
        (tmp_path / "kfgcp.toml").write_text(block, encoding="utf-8")

        for env in load_project(tmp_path, {}).environments.values():
            require_settings(env)


@guides
def test_every_auth_is_one_that_is_accepted(guide: str) -> None:
    assert set(re.findall(r'auth = "([^"]*)"', TEXTS[guide])) <= set(KubeflowSettings.auth_modes)


def test_every_auth_is_in_the_guide_to_signing_in() -> None:
    _, *modes_in_guide = re.findall(r"^\| `([a-z-]+)`", TEXTS["sign-in"], re.MULTILINE)

    assert sorted(modes_in_guide) == sorted(KubeflowSettings.auth_modes)


@pytest.mark.parametrize(
    ("guide", "heading", "backend"),
    [("vertex", "### kfgcp.toml", "vertex"), ("gke", "### All keys", "kubeflow")],
)
def test_every_key_of_an_environment_is_in_its_table(
    guide: str, heading: str, backend: str, section: Callable[[str, str], str]
) -> None:
    cells = re.findall(r"^\| (`.*?) \|", section(TEXTS[guide], heading), re.MULTILINE)
    named = [key for cell in cells for key in re.findall(r"`(\w+)`", cell)]

    assert sorted(named) == sorted(plugin_of(backend).settings.types())


@guides
def test_every_block_of_shell_is_valid(guide: str, blocks: Parts) -> None:
    for block in blocks(TEXTS[guide], "sh"):
        checked = subprocess.run(
            ["sh", "-n"], input=block, capture_output=True, encoding="utf-8", timeout=PROCESS
        )
        assert checked.returncode == 0, f"{block}{checked.stderr}"


@guides
def test_every_block_of_yaml_is_valid(guide: str, blocks: Parts) -> None:
    for block in blocks(TEXTS[guide], "yaml"):
        assert all(isinstance(document, dict) for document in yaml.safe_load_all(block))
