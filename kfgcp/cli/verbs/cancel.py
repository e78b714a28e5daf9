"""Cancel a run."""

from __future__ import annotations

import click

from kfgcp.cli import options, output
from kfgcp.workspace import Workspace


@click.command(epilog="Example: kfgcp cancel a1b2 --wait")
@options.run_argument
@click.option("--wait", is_flag=True, help="Wait until the run has ended.")
@click.option(
    "--timeout",
    type=float,
    callback=options.seconds,
    metavar="S",
    help="Wait at most S seconds, then exit with 7.",
)
@options.as_json
@options.workspace
def command(
    workspace: Workspace, run: str, wait: bool, timeout: float | None, as_json: bool
) -> None:
    """Cancel a run.

    RUN is an id, the beginning of an id, a name, or `latest` (the default).

    If the run has already ended, nothing changes, and the command exits with 0.

    On this machine, `kfgcp cancel` asks the tasks to end, and then runs the exit tasks. A second
    `kfgcp cancel` kills all tasks that still run.
    """
    handle = workspace.cancel(run)
    if wait or timeout is not None:
        handle.wait(timeout, check=False)
    if as_json:
        output.print_json(handle.to_dict())
        return
    status = handle.state.value if handle.state.final else "cancel requested"
    click.echo(f"{handle.run_id}  {status}")
