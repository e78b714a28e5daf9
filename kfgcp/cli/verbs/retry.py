"""Continue a run that failed or was cancelled."""

from __future__ import annotations

import click

from kfgcp.cli import options
from kfgcp.cli.foreground import start
from kfgcp.workspace import Workspace


@click.command(epilog="Example: kfgcp retry a1b2")
@options.run_argument
@click.option("--detach", is_flag=True, help="Return at once; the run continues by itself.")
@options.timeout
@options.as_json
@options.workspace
def command(
    workspace: Workspace, run: str, detach: bool, timeout: float | None, as_json: bool
) -> int:
    """Continue a run that failed or was cancelled.

    What succeeded is kept, the rest is done again, in the same run: for Kubeflow. Elsewhere `kfgcp
    rerun` makes a new run without the tasks that succeeded.
    """
    return start(
        lambda: workspace.retry(run, wait=False), detach=detach, timeout=timeout, as_json=as_json
    )
