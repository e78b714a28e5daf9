"""Find what prevents a run from starting."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from kfgcp.cli import options, output
from kfgcp.workspace import Workspace

if TYPE_CHECKING:
    from kfgcp.diagnosis.checks import Finding

# `Finding.ok` -> the sign of the finding and its color.
_SIGNS: Final = {True: ("✓", "green"), False: ("✗", "red"), None: ("–", "yellow")}  # noqa: RUF001

# The width in characters of the column with the names of checks. In a line with a longer name,
# the text begins further to the right.
_NAME_WIDTH: Final = 15


@click.command(epilog="Example: kfgcp doctor pipeline.py --env dev")
@click.argument("pipeline", required=False)
@click.option(
    "--env", metavar="NAME", help="The environment to check. Default: the default environment."
)
@options.as_json
@options.workspace
def command(workspace: Workspace, pipeline: str | None, env: str | None, as_json: bool) -> int:
    """Find what prevents a run from starting.

    Checks step by step what a run needs. Stops at the first problem, and says how to fix it. With
    PIPELINE, also checks the images of the pipeline. Changes nothing.

    A dash marks a step that a run does not need, or that kfgcp could not check.

    Exits with 5 when there is a problem, and with 2 when the configuration is wrong.
    """
    if as_json:
        findings = workspace.doctor(env, pipeline)
        output.print_json([finding.to_dict() for finding in findings])
    else:
        findings = workspace.doctor(env, pipeline, notice=_print_finding)
    return findings[-1].exit_code


def _print_finding(finding: Finding) -> None:
    sign, sign_color = _SIGNS[finding.ok]
    label = f" {finding.check:<{_NAME_WIDTH}}  "
    indent = len(sign) + len(label)
    first_line, *other_lines = output.wrapped(finding.detail, indent)
    styled_sign = click.style(sign, fg=sign_color)
    click.echo(f"{styled_sign}{label}{first_line}", color=output.color())
    for line in other_lines:
        click.echo(" " * indent + line)
    # Hints are commands to copy, so they are not wrapped.
    for line in finding.hint.splitlines():
        output.hint(line)
