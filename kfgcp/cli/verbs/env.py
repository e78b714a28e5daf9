"""Write environments into kfgcp.toml."""

from __future__ import annotations

import sys
from typing import IO

import click

from kfgcp.cli import options, output
from kfgcp.errors import UsageError
from kfgcp.workspace import Workspace


@click.group(epilog="Example: kfgcp env import dev --file outputs.json")
def command() -> None:
    """Write environments into kfgcp.toml."""


@command.command("import", epilog="Example: terraform output -json | kfgcp env import dev")
@click.argument("name")
@click.option(
    "--file",
    "file",
    type=click.File(encoding="utf-8"),
    default="-",
    help="Read from there; - is stdin.",
)
@click.option(
    "--from", "key", metavar="KEY", help="Which of several: the key in kfgcp_environments."
)
@click.option("--replace", is_flag=True, help="Replace an environment that is there already.")
@options.workspace
def import_(workspace: Workspace, name: str, file: IO[str], key: str | None, replace: bool) -> None:
    """Write what Terraform made as [env.NAME] into kfgcp.toml.

    Reads what `terraform output -json` prints in a folder of terraform/envs. The rest of the file
    stays as it is.
    """
    made = workspace.import_env(name, _text(file), key=key, replace=replace)
    click.echo(
        output.plain(
            f"{made.file.name}: [env.{name}] {'written anew' if made.replaced else 'added'}"
        )
    )
    output.hint(f"kfgcp doctor --env {name}")


def _text(file: IO[str]) -> str:
    if file is sys.stdin and file.isatty():
        raise UsageError(
            "There is nothing on standard input.",
            hint="terraform output -json | kfgcp env import NAME, or --file",
        )
    try:
        return file.read()
    except UnicodeDecodeError:
        raise UsageError(
            "What was read is not text.", hint="terraform output -json | kfgcp env import NAME"
        ) from None
