"""Cancel a run."""

from __future__ import annotations

import click

from kfgcp.cli import options, output
from kfgcp.workspace import Workspace


@click.command(epilog="Example: kfgcp cancel a1b2 --wait")
@options.run_argument
@click.option("--wait", is_flag=True, help="Return when it has ended.")
@click.option(
    "--timeout",
    type=float,
    callback=options.seconds,
    metavar="S",
    help="Wait S seconds at most; exit 7.",
)
@options.as_json
@options.workspace
def command(
    workspace: Workspace, run: str, wait: bool, timeout: float | None, as_json: bool
) -> None:
    """Cancel a run. A run that has ended stays as it is, and that is no error.

    On this machine tasks are asked to end, and exit tasks run; a second cancel kills whatever still
    runs.
    """
    handle = workspace.cancel(run)
    if wait or timeout is not None:
        handle.wait(timeout, check=False)
    if as_json:
        output.print_json(handle.to_dict())
    else:
        said = "cancel requested" if not handle.state.final else handle.state.value
        click.echo(f"{handle.run_id}  {said}")
