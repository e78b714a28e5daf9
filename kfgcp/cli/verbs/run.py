"""Run a pipeline and wait for its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from kfgcp.cli import options, output
from kfgcp.cli.foreground import start
from kfgcp.cli.run_options import ParamOptions, run_options
from kfgcp.errors import Unsupported, UsageError
from kfgcp.rules.findings import Severity
from kfgcp.workspace import Workspace

if TYPE_CHECKING:
    from kfgcp.option_keywords import OptionKeywords
    from kfgcp.tracking.dry_run import DryRun


@click.command(
    epilog="Example: kfgcp run examples/train_classifier.py -p model=random_forest -p seed=3"
)
@click.argument("pipeline", required=False)
@click.option(
    "--resume",
    metavar="RUN",
    help="Continue the interrupted run RUN, without PIPELINE.",
)
@click.option(
    "--smoke",
    is_flag=True,
    help="Use the parameters of the smoke run, which kfgcp.toml has for PIPELINE.",
)
@click.option(
    "--dry-run",
    is_flag=True,
    help="Check the pipeline and print the request to the backend, but start nothing.",
)
@run_options
@options.start_options
@options.workspace
def command(
    workspace: Workspace,
    pipeline: str | None,
    resume: str | None,
    smoke: bool,
    dry_run: bool,
    params: ParamOptions,
    changes: OptionKeywords,
    start_options: options.StartOptions,
) -> int:
    """Run a pipeline and wait for its end.

    PIPELINE is the name of a pipeline in kfgcp.toml, file.py, file.py:function, a compiled .yaml or
    .json, a version in the registry of the environment, or the address of one in Artifact Registry:

    \b
    NAME@TAG  NAME@latest  NAME@sha256:DIGITS
    https://LOCATION-kfp.pkg.dev/PROJECT/REPOSITORY/PACKAGE/TAG

    States and logs go to stderr during the run, and the result goes to stdout. Ctrl-C cancels the
    run. A second Ctrl-C kills a local run. For a remote run, a second Ctrl-C only stops waiting.
    """
    if pipeline is not None and resume is not None:
        raise click.UsageError("Give either a PIPELINE or --resume RUN, not both.")
    if resume is not None:
        if params.are_given or changes or start_options.detach or dry_run or smoke:
            raise UsageError(
                "A resumed run keeps its parameters and options: with --resume, only --timeout"
                " and --json are allowed.",
                hint=f"To start a new run with other options: kfgcp rerun {resume}",
            )
        return start(lambda: workspace.resume(resume, wait=False, in_process=True), start_options)
    if pipeline is None:
        raise click.UsageError("Give either a PIPELINE or --resume RUN.")
    spec = workspace.load_pipeline(pipeline, changes.get("env"))
    param_values = params.read(spec.params)
    if dry_run:
        plan = workspace.dry_run(spec, params=param_values, smoke=smoke, **changes)
        return _print_dry_run(plan, as_json=start_options.as_json)
    in_process = not start_options.detach
    return start(
        lambda: workspace.submit(
            spec, params=param_values, smoke=smoke, in_process=in_process, **changes
        ),
        start_options,
    )


def _print_dry_run(plan: DryRun, *, as_json: bool) -> int:
    """Print a request and the findings, and return the exit code."""
    if as_json:
        output.print_json(plan.to_dict())
    else:
        if plan.request is not None:
            output.print_json(dict(plan.request))
        _print_findings(plan)
    return 0 if plan.report.ok else Unsupported.exit_code


def _print_findings(plan: DryRun) -> None:
    for row in plan.report.rows:
        where = f"{row.location}: " if row.location is not None else ""
        # The line itself begins with "note:", and a message about what is not judged says so.
        is_named = row.worst in (Severity.NOTE, Severity.NOT_JUDGED)
        severity = "" if is_named else f"{row.worst}: "
        output.note(f"{where}{severity}{row.finding.message} ({row.finding.rule})")
        if row.worst is Severity.ERROR and row.finding.hint:
            output.print_hint(row.finding.hint)
    environment = plan.env
    if plan.env != plan.backend:
        environment = f"{plan.env} ({plan.backend})"
    if plan.request is None:
        output.note(f"{environment} would refuse the run; nothing was sent")
    else:
        output.note(f"{environment} would get this request; nothing was sent")
