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
    help="Read the outputs from this file; - means standard input.",
)
@click.option(
    "--from",
    "key",
    metavar="KEY",
    help=(
        "The environment to import: a key in Terraform's output kfgcp_environments. Default: NAME."
    ),
)
@click.option("--replace", is_flag=True, help="If the environment NAME exists, replace it.")
@options.workspace
def import_(workspace: Workspace, name: str, file: IO[str], key: str | None, replace: bool) -> None:
    """Write Terraform's outputs as [env.NAME] into kfgcp.toml.

    Reads the output of `terraform output -json` in a folder of terraform/envs. The rest of
    kfgcp.toml does not change.
    """
    imported = workspace.import_env(name, _read_text(file), key=key, replace=replace)
    action = "replaced" if imported.replaced else "added"
    click.echo(output.plain(f"{imported.file.name}: [env.{name}] {action}"))
    output.hint(f"kfgcp doctor --env {name}")


def _read_text(file: IO[str]) -> str:
    if file is sys.stdin and file.isatty():
        raise UsageError(
            "Standard input is a terminal, so kfgcp cannot read the outputs of Terraform.",
            hint="Use a pipe or --file: terraform output -json | kfgcp env import NAME",
        )
    try:
        return file.read()
    except UnicodeDecodeError:
        raise UsageError(
            "The input is not UTF-8 text.",
            hint="Use the output of Terraform: terraform output -json | kfgcp env import NAME",
        ) from None
