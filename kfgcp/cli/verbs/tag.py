"""Add or remove tags of a run, and show its tags."""

from __future__ import annotations

import click

from kfgcp.cli import options, output
from kfgcp.workspace import Workspace


@click.command(epilog="Example: kfgcp tag a1b2 good reviewed --remove candidate")
@click.argument("run", metavar="RUN")
@click.argument("tags", nargs=-1, metavar="[TAG...]")
@click.option(
    "--remove", multiple=True, metavar="TAG", help="Remove this tag; may be given several times."
)
@options.as_json
@options.workspace
def command(
    workspace: Workspace, run: str, tags: tuple[str, ...], remove: tuple[str, ...], as_json: bool
) -> None:
    """Add or remove tags of a run, and show its tags.

    RUN is an id, the beginning of an id, a name, or `latest`.

    Tags stay on this machine. To find runs by their tags: kfgcp list --tag good
    """
    tags_after = workspace.tag(run, *tags, remove=remove)
    if as_json:
        output.print_json(list(tags_after))
    elif tags_after:
        click.echo(output.plain(" ".join(tags_after)))
