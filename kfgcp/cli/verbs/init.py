"""Start a new project."""

from __future__ import annotations

import shlex

import click

from kfgcp.cli import output
from kfgcp.workspace import Workspace


@click.command(epilog="Example: kfgcp init my-project")
@click.argument("folder", default=".", metavar="[DIR]")
@click.option(
    "--template",
    metavar="NAME",
    help="Start from this template: `kfgcp template list`. Default: the smallest project.",
)
def command(folder: str, template: str | None) -> None:
    """Start a new project.

    Writes kfgcp.toml and an example pipeline into DIR. Default: the current folder.
    """
    scaffold = Workspace.init(folder, template=template)
    for file in scaffold.files:
        click.echo(output.plain(str(scaffold.folder / file)))
    next_command = scaffold.run
    if folder != ".":
        next_command = f"cd {shlex.quote(str(scaffold.folder))} && {next_command}"
    output.hint(next_command)
