"""`kfgcp rerun`."""

from __future__ import annotations

from pathlib import Path

import click

from kfgcp import api
from kfgcp.cli import options, output
from kfgcp.cli.foreground import finish
from kfgcp.spec import params as spec_params


@click.command(epilog="Example: kfgcp rerun a1b2 --from train-classifier -p seed=3")
@options.run_argument
@click.option("--from", "from_task", metavar="TASK", help="Run this task again, and all that depends on it.")
@click.option("-p", "--param", "assignments", multiple=True, metavar="NAME=VALUE", help="Change a parameter.")
@click.option("--params-file", type=click.Path(path_type=Path), help="YAML or JSON with values; -p wins.")
@click.option("--env", metavar="NAME", help="The environment to run in, that of the run if not said.")
@options.timeout
@options.as_json
def command(
    run: str,
    from_task: str | None,
    assignments: tuple[str, ...],
    params_file: Path | None,
    env: str | None,
    timeout: float | None,
    as_json: bool,
) -> int:
    """Run a run's pipeline again, without what did not change.

    Tasks that succeeded and whose code and inputs are the same are taken from RUN; failed ones run again.
    """
    values = spec_params.read_file(params_file) if params_file else {}
    values |= spec_params.parse(api.spec_of(run).params, assignments)
    how = api.SubmitOptions(params=values)
    if env is not None:
        how["env"] = env
    return finish(*api.open_rerun(run, from_task=from_task, notice=output.note, **how), timeout, as_json)
