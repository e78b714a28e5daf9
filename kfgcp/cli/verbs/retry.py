"""Continue a run that failed or was cancelled."""

from __future__ import annotations

import click

from kfgcp.cli import options
from kfgcp.cli.foreground import start
from kfgcp.workspace import Workspace


@click.command(epilog="Example: kfgcp retry a1b2")
@options.run_argument
@options.start_options
@options.workspace
def command(workspace: Workspace, run: str, start_options: options.StartOptions) -> int:
    """Continue a run that failed or was cancelled.

    RUN is an id, the beginning of an id, a name, or `latest` (the default).

    Works only on Kubeflow. Keeps the tasks that succeeded, and runs the other tasks again in the
    same run. On other backends, use `kfgcp rerun`, which starts a new run.
    """
    return start(lambda: workspace.retry(run, wait=False), start_options)
