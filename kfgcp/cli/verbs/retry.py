"""Continue a run that failed or was cancelled."""

from __future__ import annotations

import click

from kfgcp.cli import options
from kfgcp.cli.foreground import start
from kfgcp.workspace import Workspace


@click.command(epilog="Example: kfgcp retry a1b2")
@options.run_argument
@options.detach
@options.timeout
@options.as_json
@options.workspace
def command(
    workspace: Workspace, run: str, detach: bool, timeout: float | None, as_json: bool
) -> int:
    """Continue a run that failed or was cancelled.

    Kubeflow only. Keeps the tasks that succeeded, and runs the others again in the same run. On
    other backends, use `kfgcp rerun`: it starts a new run.
    """
    return start(
        lambda: workspace.retry(run, wait=False), detach=detach, timeout=timeout, as_json=as_json
    )
