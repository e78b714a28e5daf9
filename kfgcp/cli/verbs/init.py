"""Start a new project."""

from __future__ import annotations

import shlex

import click

from kfgcp.cli import output
from kfgcp.workspace import Workspace


@click.command(epilog="Example: kfgcp init my-project")
@click.argument("folder", default=".", metavar="[DIR]")
def command(folder: str) -> None:
    """Start a new project in DIR (the current folder by default), with a pipeline that runs at
    once."""
    made = Workspace.init(folder)
    for file in made.files:
        click.echo(output.plain(str(made.folder / file)))
    output.hint((f"cd {shlex.quote(str(made.folder))} && " if folder != "." else "") + made.run)
