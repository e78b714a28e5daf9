"""Run a pipeline and wait for its end."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from kfgcp.cli import options
from kfgcp.cli.foreground import start
from kfgcp.cli.run_options import params_file, run_options
from kfgcp.errors import UsageError
from kfgcp.spec import params as spec_params
from kfgcp.workspace import Workspace

if TYPE_CHECKING:
    from kfgcp.option_keywords import OptionKeywords


@click.command(
    epilog="Example: kfgcp run examples/train_classifier.py -p model=random_forest -p seed=3"
)
@click.argument("pipeline", required=False)
@click.option(
    "--resume", metavar="RUN", help="Go on with a run that was interrupted, instead of PIPELINE."
)
@click.option(
    "-p", "--param", "assignments", multiple=True, metavar="NAME=VALUE", help="A parameter's value."
)
@params_file
@run_options
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
    detach: bool,
    timeout: float | None,
    as_json: bool,
    changes: OptionKeywords,
) -> int:
    """Run a pipeline and wait for its end.

    PIPELINE is file.py, file.py:function, a compiled .yaml or .json, or the address of a version in
    Artifact Registry, https://LOCATION-kfp.pkg.dev/PROJECT/REPOSITORY/PACKAGE/TAG. States and logs
    go to stderr during the run; the result goes to stdout. Ctrl-C cancels the run; a second one
    kills it, or leaves a remote one as it is.
    """
    if (pipeline is None) == (resume is None):
        raise click.UsageError(
            "Name either a PIPELINE, or a run with --resume" + (", not both." if pipeline else ".")
        )
    if resume is not None:
        if assignments or params_file or detach or changes:
            raise UsageError(
                "A resumed run continues as it was submitted: --resume takes --timeout and --json"
                " only.",
                hint=f"To run it again with other options: kfgcp rerun {resume}",
            )
        return start(
            lambda: workspace.resume(resume, wait=False, in_process=True),
            detach=False,
            timeout=timeout,
            as_json=as_json,
        )
    assert pipeline is not None
    spec = workspace.load_pipeline(pipeline, changes.get("env"))
    values = spec_params.read_file(params_file) if params_file else {}
    values |= spec_params.parse_assignments(spec.params, assignments)
    return start(
        lambda: workspace.submit(spec, params=values, in_process=not detach, **changes),
        detach=detach,
        timeout=timeout,
        as_json=as_json,
    )
