"""Find what keeps runs from starting."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from kfgcp.cli import options, output
from kfgcp.workspace import Workspace

if TYPE_CHECKING:
    from kfgcp.diagnosis.checks import Finding

_SIGNS = {True: ("✓", "green"), False: ("✗", "red"), None: ("–", "yellow")}  # noqa: RUF001
_WIDTH = 15


@click.command(epilog="Example: kfgcp doctor pipeline.py --env dev")
@click.argument("pipeline", required=False)
@click.option("--env", metavar="NAME", help="The environment to look at; the default one without.")
@options.as_json
@options.workspace
def command(workspace: Workspace, pipeline: str | None, env: str | None, as_json: bool) -> int:
    """Find what keeps runs from starting: look at all that one needs, in order, up to the first
    thing that is broken. With a PIPELINE its images are looked for, too.

    The line below it says how to fix it. A line with a dash is something that is not needed, or
    could not be checked. Nothing is written, neither here nor there. Exits 5 when something is
    broken, 2 when that is the configuration.
    """
    found = workspace.doctor(env, pipeline, notice=(lambda finding: None) if as_json else _show)
    if as_json:
        output.print_json([finding.to_dict() for finding in found])
    return found[-1].exit_code


def _show(finding: Finding) -> None:
    sign, colour = _SIGNS[finding.ok]
    label = f" {finding.check:<{_WIDTH}}  "
    indent = len(sign) + len(label)
    first, *others = output.wrapped(finding.detail, indent)
    click.echo(f"{click.style(sign, fg=colour)}{label}{first}", color=output.color())
    for line in others:
        click.echo(" " * indent + line)
    # Hints are commands to copy, so they are not wrapped.
    for line in finding.hint.splitlines():
        output.hint(line)
