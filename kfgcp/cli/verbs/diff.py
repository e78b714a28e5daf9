"""Show what differs between pipelines, task by task."""

from __future__ import annotations

from typing import Final

import click

from kfgcp.cli import options, output
from kfgcp.errors import CheckFailed
from kfgcp.tracking import changes
from kfgcp.tracking.pipelines import Diff
from kfgcp.workspace import Workspace

COLORS: Final = {"+": "green", "-": "red", "~": "yellow", "@": "cyan"}

# The heading shows 12 digits of a version, like all other texts of kfgcp.
_SHORT_VERSION_LENGTH: Final = len("sha256:") + 12


@click.command(epilog="Example: kfgcp diff train.py latest")
@click.argument("before", metavar="A")
@click.argument("after", metavar="B")
@click.option("--exit-code", "exit_code", is_flag=True, help="Exit with 4 when A and B differ.")
@click.option("--env", metavar="NAME", help="The environment whose registry has NAME@TAG.")
@options.as_json
@options.workspace
def command(
    workspace: Workspace, before: str, after: str, exit_code: bool, env: str | None, as_json: bool
) -> int:
    """Show what differs between pipelines, task by task.

    A and B can each be the name of a pipeline in kfgcp.toml, a file (file.py, file.py:function, or
    a compiled .yaml or .json), a run, the version of a recorded run, such as sha256:1a2b3c4d (at
    least 8 digits), or a version in a registry, such as churn@v1.4.0.

    Changes that have no effect on what runs, such as comments and the order of keys, are not
    shown.
    """
    diff = workspace.diff(before, after, env)
    if as_json:
        output.print_json(diff.to_dict())
    else:
        print_diff(diff)
    if diff.changes and exit_code:
        return CheckFailed.exit_code
    return 0


def print_diff(diff: Diff) -> None:
    """Print two pipelines and what differs between them."""
    for sign, spec in (("-", diff.before), ("+", diff.after)):
        _print_line(sign, f"{sign * 3} {spec.origin}  {spec.version[:_SHORT_VERSION_LENGTH]}")
    if not diff.changes:
        click.echo("No difference.")
    for sign, line in changes.format_tree(diff.changes):
        _print_line(sign, line)


def _print_line(sign: str, line: str) -> None:
    text = output.plain(line.rstrip())
    click.echo(click.style(text, fg=COLORS.get(sign)), color=output.color())
