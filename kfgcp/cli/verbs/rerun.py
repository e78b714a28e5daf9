"""Run a run's pipeline again, without what did not change."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from kfgcp.cli import options
from kfgcp.cli.foreground import start
from kfgcp.cli.run_options import params_file, rerun_options
from kfgcp.labels import repeated_labels
from kfgcp.spec import params as spec_params
from kfgcp.workspace import Workspace

if TYPE_CHECKING:
    from kfgcp.option_keywords import OptionKeywords


@click.command(epilog="Example: kfgcp rerun a1b2 --from train-classifier -p seed=3")
@options.run_argument
@click.option(
    "--from", "from_task", metavar="TASK", help="Run this task again, and all that depends on it."
)
@click.option(
    "-p", "--param", "assignments", multiple=True, metavar="NAME=VALUE", help="Change a parameter."
)
@params_file
@rerun_options
@click.option("--detach", is_flag=True, help="Return at once; the run continues by itself.")
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
    """Run a run's pipeline again, without what did not change.

    Tasks that succeeded and whose code and inputs are the same are taken from RUN; failed ones run
    again. On a remote backend its cache does that. An option that is not given is as in RUN, except
    --name.
    """
    before = workspace.show(run)
    values = spec_params.read_file(params_file) if params_file else {}
    values |= spec_params.parse_assignments(workspace.spec_of(before.snapshot).params, assignments)
    if added_labels := changes.get("labels"):
        changes["labels"] = {**repeated_labels(before.snapshot.labels), **added_labels}
    return start(
        lambda: workspace.rerun(
            before, from_task=from_task, params=values, wait=False, in_process=not detach, **changes
        ),
        detach=detach,
        timeout=timeout,
        as_json=as_json,
    )
