"""Write a note on a run."""

from __future__ import annotations

import click

from kfgcp.cli import options, output
from kfgcp.errors import UsageError
from kfgcp.workspace import Workspace


@click.command(epilog="Example: kfgcp note a1b2 'the learning rate was too high'")
@click.argument("run", metavar="RUN")
@click.argument("text", required=False, metavar="[TEXT]")
@click.option("--remove", is_flag=True, help="Remove the note.")
@options.as_json
@options.workspace
def command(workspace: Workspace, run: str, text: str | None, remove: bool, as_json: bool) -> None:
    """Write a note on a run in the place of the one before; without a text, show it.

    Notes stay on this machine. Runs are found by them: kfgcp list --where "note ~ 'too high'".
    """
    if remove and text is not None:
        raise UsageError("A text and --remove exclude each other.")
    found = workspace.note(run, "" if remove else text)
    if as_json:
        output.print_json(found)
    elif found and text is None:
        click.echo("\n".join(map(output.plain, found.splitlines())))
