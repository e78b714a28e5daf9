"""`kfgcp rerun`."""

from __future__ import annotations

from pathlib import Path

import click

from kfgcp.cli import options, output
from kfgcp.cli.foreground import detached, finish
from kfgcp.labels import repeated
from kfgcp.spec import params as spec_params
from kfgcp.tracking.choose import labels_of
from kfgcp.tracking.submit_options import SubmitOptions
from kfgcp.workspace import Workspace


@click.command(epilog="Example: kfgcp rerun a1b2 --from train-classifier -p seed=3")
@options.run_argument
@click.option("--from", "from_task", metavar="TASK", help="Run this task again, and all that depends on it.")
@click.option("-p", "--param", "assignments", multiple=True, metavar="NAME=VALUE", help="Change a parameter.")
@click.option("--params-file", type=click.Path(path_type=Path), help="YAML or JSON with values; -p wins.")
@click.option("--env", metavar="NAME", help="The environment to run in, that of the run if not said.")
@click.option("--experiment", metavar="NAME", help="The group of runs it belongs to, that of the run if not said.")
@click.option("--name", metavar="TEXT", help="A name for the run.")
@click.option("--label", "label", multiple=True, metavar="K=V", help="A label beside those of the run.")
@click.option("--cache/--no-cache", default=None, help="Caching for every task; without, as for the run.")
@click.option("--fail-fast", is_flag=True, default=None, help="Start nothing new after the first failure.")
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
    env: str | None,
    experiment: str | None,
    name: str | None,
    label: tuple[str, ...],
    cache: bool | None,
    fail_fast: bool | None,
    detach: bool,
    timeout: float | None,
    as_json: bool,
) -> int:
    """Run a run's pipeline again, without what did not change.

    Tasks that succeeded and whose code and inputs are the same are taken from RUN; failed ones run again. On a remote
    backend its cache does that.
    """
    before = workspace.show(run)
    values = spec_params.read_file(params_file) if params_file else {}
    values |= spec_params.parse(workspace.spec_of(before.snapshot).params, assignments)
    given = {"env": env, "experiment": experiment, "name": name, "cache": cache, "fail_fast": fail_fast}
    how = SubmitOptions(params=values)
    how.update({key: value for key, value in given.items() if value is not None})  # type: ignore[typeddict-item]
    if label:
        how["labels"] = {**repeated(before.snapshot.labels), **labels_of(label)}
    if detach:
        return detached(lambda: workspace.submit_again(before, from_task=from_task, **how), as_json)
    return finish(*workspace.open_rerun(before, from_task=from_task, notice=output.note, **how), timeout, as_json)
