"""Check where a pipeline runs, and what differs there."""

from __future__ import annotations

from typing import Final

import click

from kfgcp.cli import options, output
from kfgcp.cli.run_options import ParamOptions, param_options
from kfgcp.errors import CheckFailed, UsageError
from kfgcp.model import json_text
from kfgcp.rules.report import Report
from kfgcp.rules.rule import Severity
from kfgcp.workspace import Workspace

FORMATS: Final = ("text", "json", "sarif", "github", "markdown")


@click.command(epilog="Example: kfgcp check pipelines/train.py --env dev --env gke")
@click.argument("pipeline")
@click.option(
    "--env",
    "envs",
    multiple=True,
    metavar="NAME",
    help="An environment to check for; may be given several times. Default: the default one.",
)
@click.option("--all-envs", is_flag=True, help="Check for all environments of kfgcp.toml.")
@click.option(
    "--server",
    default="",
    metavar="VERSION",
    help="The version of the servers of Kubeflow Pipelines, such as 2.14.0.",
)
@param_options
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    default="text",
    help="How to print the findings. github: annotations of GitHub Actions.",
)
@options.as_json
@click.option(
    "--select",
    multiple=True,
    metavar="RULES",
    help="Apply only these rules and families, such as V,K203.",
)
@click.option(
    "--ignore", multiple=True, metavar="RULES", help="Leave out these rules and families."
)
@click.option("--strict", is_flag=True, help="Exit with 4 when there are warnings, too.")
@options.workspace
def command(
    workspace: Workspace,
    pipeline: str,
    envs: tuple[str, ...],
    all_envs: bool,
    server: str,
    params: ParamOptions,
    form: str,
    as_json: bool,
    select: tuple[str, ...],
    ignore: tuple[str, ...],
    strict: bool,
) -> int:
    """Check where a pipeline runs, and what differs there.

    PIPELINE is file.py, file.py:function, or a compiled .yaml or .json. Nothing is sent to a
    service. Exits with 4 when the pipeline cannot run in one of the environments.

    A comment suppresses a rule on its line: # kfgcp: V203 because REASON. So does the table [check]
    of kfgcp.toml: ignore = { V203 = "REASON" }.
    """
    if as_json and form not in ("text", "json"):
        raise UsageError(f"--json and --format {form} exclude each other.")
    spec = workspace.load_pipeline(pipeline, envs[0] if envs else None)
    report = workspace.check(
        spec,
        envs,
        all_envs=all_envs,
        server=server,
        select=_split(select),
        ignore=_split(ignore),
        params=params.read(spec.params),
    )
    _print_report(report, "json" if as_json else form)
    fails = not report.ok or (strict and report.count(Severity.WARNING) > 0)
    return CheckFailed.exit_code if fails else 0


def _split(values: tuple[str, ...]) -> list[str]:
    """Return the words of options that are lists: `V,K203` are two words."""
    words = []
    for value in values:
        words += [word.strip() for word in value.split(",") if word.strip()]
    return words


def _print_report(report: Report, form: str) -> None:
    if form == "json":
        output.print_json(report.to_dict())
        return
    raise NotImplementedError(json_text(form))
