"""`kfgcp run`: compile, submit, follow to the end."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from kfgcp.cli import options, output
from kfgcp.cli.foreground import detached, finish
from kfgcp.errors import UsageError
from kfgcp.spec import params as spec_params
from kfgcp.tracking.choose import labels_of
from kfgcp.tracking.submit_options import SubmitOptions
from kfgcp.workspace import Workspace


@click.command(epilog="Example: kfgcp run examples/train_classifier.py -p model=random_forest -p seed=3")
@click.argument("pipeline", required=False)
@click.option("--resume", metavar="RUN", help="Go on with a run that was interrupted, instead of PIPELINE.")
@click.option("-p", "--param", "assignments", multiple=True, metavar="NAME=VALUE", help="A parameter's value.")
@click.option("--params-file", type=click.Path(path_type=Path), help="YAML or JSON with values; -p wins.")
@click.option("--env", metavar="NAME", help="The environment to run in.")
@click.option("--experiment", metavar="NAME", help="The group of runs it belongs to.")
@click.option("--name", default="", metavar="TEXT", help="A name for the run.")
@click.option("--label", "label", multiple=True, metavar="K=V", help="A label to find the run by.")
@click.option("--cache/--no-cache", default=None, help="Caching for every task; without, as the pipeline says.")
@click.option("--max-parallel", type=click.IntRange(min=1), metavar="N", help="Tasks at the same time (local).")
@click.option("--fail-fast", is_flag=True, help="Start nothing new after the first failure.")
@click.option(
    "--executor",
    type=click.Choice(["auto", "process", "docker"]),
    default="auto",
    help="What runs tasks (local): Python functions in processes and other commands in Docker, or all in one.",
)
@click.option("--strict-env", is_flag=True, help="Install the very kfp that the compiled commands pin (local).")
@click.option("--detach", is_flag=True, help="Return at once; the run continues by itself.")
@options.timeout
@options.as_json
@options.workspace
def command(
    workspace: Workspace,
    pipeline: str | None,
    resume: str | None,
    assignments: tuple[str, ...],
    params_file: Path | None,
    env: str | None,
    experiment: str | None,
    name: str,
    label: tuple[str, ...],
    cache: bool | None,
    max_parallel: int | None,
    fail_fast: bool,
    executor: Literal["auto", "process", "docker"],
    strict_env: bool,
    detach: bool,
    timeout: float | None,
    as_json: bool,
) -> int:
    """Run a pipeline and wait for its end.

    PIPELINE is file.py, file.py:function, a compiled .yaml or .json, or the address of a version in Artifact Registry,
    https://LOCATION-kfp.pkg.dev/PROJECT/REPOSITORY/PACKAGE/TAG. States and logs go to
    stderr during the run; the result goes to stdout. Ctrl-C cancels the run; a second one kills it, or leaves a remote
    one as it is.
    """
    if (pipeline is None) == (resume is None):
        raise click.UsageError("Name either a PIPELINE, or a run with --resume" + (", not both." if pipeline else "."))
    if resume is not None:
        if assignments or params_file or detach or name or label or experiment or env or cache is not None:
            raise UsageError(
                "A resumed run continues as it was submitted: --resume takes --timeout and --json only.",
                hint=f"To run it again with other options: kfgcp rerun {resume}",
            )
        return finish(*workspace.open_resumed(resume), timeout, as_json)
    assert pipeline is not None
    labels = labels_of(label)
    spec = workspace.load_pipeline(pipeline, env)
    values = spec_params.read_file(params_file) if params_file else {}
    values |= spec_params.parse(spec.params, assignments)
    how = SubmitOptions(
        params=values,
        env=env,
        experiment=experiment,
        name=name,
        labels=labels,
        cache=cache,
        max_parallel=max_parallel,
        fail_fast=fail_fast,
        executor=executor,
        strict_env=strict_env,
    )
    if detach:
        return detached(lambda: workspace.submit(spec, **how), as_json)
    return finish(*workspace.open_run(spec, notice=output.note, **how), timeout, as_json)
