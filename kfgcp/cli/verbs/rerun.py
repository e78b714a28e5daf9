"""Repeat a run, and run only the tasks that changed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from kfgcp.cli import options
from kfgcp.cli.foreground import start
from kfgcp.cli.run_options import params_file, read_params, rerun_options
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
    help="Run this task again, and every task that depends on it.",
)
@click.option(
    "-p", "--param", "assignments", multiple=True, metavar="NAME=VALUE", help="Change a parameter."
)
@params_file
@rerun_options
@options.detach
@options.timeout
@options.as_json
@options.workspace
def command(
    workspace: Workspace,
    run: str,
    from_task: str | None,
    assignments: tuple[str, ...],
    params_file: Path | None,
    detach: bool,
    timeout: float | None,
    as_json: bool,
    changes: OptionKeywords,
) -> int:
    """Repeat a run, and run only the tasks that changed.

    Tasks that succeeded with the same code and inputs are taken from RUN. Failed tasks run again.
    On a remote backend, its cache decides.

    Options that you leave out keep the values of RUN, except --name.
    """
    before = workspace.show(run)
    declared_params = workspace.spec_of(before.snapshot).params
    params = read_params(declared_params, params_file, assignments)
    added_labels = changes.get("labels")
    if added_labels:
        changes["labels"] = {**repeated_labels(before.snapshot.labels), **added_labels}
    return start(
        lambda: workspace.rerun(
            before, from_task=from_task, params=params, wait=False, in_process=not detach, **changes
        ),
        detach=detach,
        timeout=timeout,
        as_json=as_json,
    )
