"""Put tags on a run, or take them off."""

from __future__ import annotations

import click

from kfgcp.cli import options, output
from kfgcp.workspace import Workspace


@click.command(epilog="Example: kfgcp tag a1b2 good reviewed --remove candidate")
@click.argument("run", metavar="RUN")
@click.argument("tags", nargs=-1, metavar="[TAG...]")
@click.option(
    "--remove", multiple=True, metavar="TAG", help="Take this tag off; may be given several times."
)
@options.as_json
@options.workspace
def command(
    workspace: Workspace, run: str, tags: tuple[str, ...], remove: tuple[str, ...], as_json: bool
) -> None:
    """Put tags on a run, or take them off, and show those that it has then.

    Tags stay on this machine. Runs are found by them: kfgcp list --tag good.
    """
    found = workspace.tag(run, *tags, remove=remove)
    if as_json:
        output.print_json([*found])
    elif found:
        click.echo(output.plain(" ".join(found)))
