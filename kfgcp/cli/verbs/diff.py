"""Show what differs between pipelines, task by task."""

from __future__ import annotations

from typing import Final

import click

from kfgcp.cli import options, output
from kfgcp.errors import CheckFailed
from kfgcp.tracking import changes
from kfgcp.workspace import Workspace

COLORS: Final = {"+": "green", "-": "red", "~": "yellow", "@": "cyan"}


@click.command(epilog="Example: kfgcp diff train.py latest")
@click.argument("before", metavar="A")
@click.argument("after", metavar="B")
@click.option("--exit-code", "exit_code", is_flag=True, help="Exit with 4 when they differ.")
@options.as_json
@options.workspace
def command(workspace: Workspace, before: str, after: str, exit_code: bool, as_json: bool) -> int:
    """Show what differs between pipelines, task by task.

    A and B are each a file (file.py, file.py:function, or a compiled .yaml or .json), a run, or a
    version that a run here had: sha256: and its first 8 digits or more. What makes no other version
    of a pipeline is no difference.
    """
    found = workspace.diff(before, after)
    if as_json:
        output.print_json(found.to_dict())
    else:
        for sign, spec in (("-", found.before), ("+", found.after)):
            _print(sign, f"{sign * 3} {spec.origin}  {spec.version[: len('sha256:') + 12]}")
        if not found.changes:
            click.echo("No difference.")
        for sign, line in changes.format_tree(found.changes):
            _print(sign, line)
    return CheckFailed.exit_code if found.changes and exit_code else 0


def _print(sign: str, line: str) -> None:
    click.echo(click.style(output.plain(line.rstrip()), fg=COLORS.get(sign)), color=output.color())
