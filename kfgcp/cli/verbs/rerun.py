"""Repeat a run, and run only the tasks that changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from kfgcp.cli import options
from kfgcp.cli.foreground import start
from kfgcp.cli.run_options import ParamOptions, rerun_options
from kfgcp.labels import repeated_labels
from kfgcp.workspace import Workspace

if TYPE_CHECKING:
    from kfgcp.option_keywords import OptionKeywords


@click.command(epilog="Example: kfgcp rerun a1b2 --from train-classifier -p seed=3")
@options.run_argument
@click.option(
    "--from",
    "from_task",
    metavar="TASK",
    help="Run this task again, and every task that depends on this task.",
)
@rerun_options
@options.start_options
@options.workspace
def command(
    workspace: Workspace,
    run: str,
    from_task: str | None,
    params: ParamOptions,
    changes: OptionKeywords,
    start_options: options.StartOptions,
) -> int:
    """Repeat a run, and run only the tasks that changed.

    RUN is an id, the beginning of an id, a name, or `latest` (the default).

    If a task succeeded in RUN, and its code and inputs are the same, the task does not run again:
    the new run takes its results from RUN. Failed tasks run again. On a remote backend, the cache
    of the backend decides which tasks run.

    Options that you leave out have the same values as in RUN, except --name.
    """
    before = workspace.show(run)
    param_values = params.read(workspace.spec_of(before.snapshot).params)
    added_labels = changes.get("labels")
    if added_labels:
        changes["labels"] = {**repeated_labels(before.snapshot.labels), **added_labels}
    in_process = not start_options.detach
    return start(
        lambda: workspace.rerun(
            before,
            from_task=from_task,
            params=param_values,
            wait=False,
            in_process=in_process,
            **changes,
        ),
        start_options,
    )
