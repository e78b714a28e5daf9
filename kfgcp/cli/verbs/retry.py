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

    It stays the same run. Tasks that succeeded do not run again. Only runs on Kubeflow can be
    continued. For other runs, use `kfgcp rerun`: it starts a new run without the tasks that
    succeeded.
    """
    return start(
        lambda: workspace.retry(run, wait=False), detach=detach, timeout=timeout, as_json=as_json
    )
