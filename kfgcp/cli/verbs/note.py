"""Write or show the note of a run."""

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
    """Write or show the note of a run.

    RUN is an id, the beginning of an id, a name, or `latest`.

    TEXT replaces the note. Without TEXT, the note is shown.

    Notes stay on this machine. To find runs by their notes:

    \b
    kfgcp list --where "note ~ 'too high'"
    """
    if remove and text is not None:
        raise UsageError("TEXT and --remove exclude each other. Use one of them.")
    note = workspace.note(run, "" if remove else text)
    if as_json:
        output.print_json(note)
    elif note and text is None:
        for line in note.splitlines():
            click.echo(output.plain(line))
