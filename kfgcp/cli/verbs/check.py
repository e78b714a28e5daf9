"""Check in which environments a pipeline can run, and what differs there."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from typing import Final

import click

from kfgcp.cli import options, output
from kfgcp.cli.run_options import ParamOptions, param_options
from kfgcp.errors import CheckFailed, UsageError
from kfgcp.rules.findings import Severity
from kfgcp.rules.formats.matrix import Cell, layout, matrix
from kfgcp.rules.report import Report
from kfgcp.rules.rule import Target
from kfgcp.rules.versions import format_version
from kfgcp.workspace import Workspace

FORMATS: Final = ("text", "json", "sarif", "github", "markdown")

_COLORS: Final = {
    Severity.ERROR: "red",
    Severity.WARNING: "yellow",
    Severity.NOTE: "cyan",
    Severity.NOT_JUDGED: "magenta",
}
_NOUNS: Final = {
    Severity.ERROR: ("error", "errors"),
    Severity.WARNING: ("warning", "warnings"),
    Severity.NOTE: ("note", "notes"),
    Severity.NOT_JUDGED: ("not judged", "not judged"),
}


@click.command(epilog="Example: kfgcp check pipelines/train.py --env dev --env gke")
@click.argument("pipeline")
@click.option(
    "--env",
    "envs",
    multiple=True,
    metavar="NAME",
    help="An environment to check; may be given several times. Default: those that kfgcp.toml"
    " names for PIPELINE, else the default environment.",
)
@click.option("--all-envs", is_flag=True, help="Check all environments of kfgcp.toml.")
@click.option(
    "--server",
    default="",
    metavar="VERSION",
    help="The version of the Kubeflow Pipelines server, such as 2.14.0.",
)
@param_options
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    default="text",
    help="The output format. github: annotations for GitHub Actions.",
)
@options.as_json
@click.option(
    "--select",
    multiple=True,
    metavar="RULES",
    help="Apply only these rules, by id or first letter, such as K203,V.",
)
@click.option(
    "--ignore",
    multiple=True,
    metavar="RULES",
    help="Leave out these rules, by id or first letter, such as K203,V.",
)
@click.option("--strict", is_flag=True, help="Exit with 4 also when the check finds warnings.")
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
    """Check in which environments a pipeline can run, and what differs there.

    PIPELINE is the name of a pipeline in kfgcp.toml, file.py, file.py:function, or a compiled .yaml
    or .json. The check sends nothing to a service. Exits with 4 when the pipeline cannot run in one
    of the environments.

    To suppress a rule, write a comment on the line of the finding: # kfgcp: V203 because REASON.
    To suppress a rule in the whole project, use the table [check] of kfgcp.toml: ignore = { V203 =
    "REASON" }.
    """
    if as_json and form not in ("text", "json"):
        raise UsageError(f"--json and --format {form} exclude each other. Use one of them.")
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
    match form:
        case "json":
            output.print_json(report.to_dict())
        case "sarif":
            from kfgcp.rules.formats.sarif import format_sarif

            click.echo(format_sarif(report), nl=False)
        case "github":
            from kfgcp.rules.formats.github import format_github

            click.echo(format_github(report), nl=False)
        case "markdown":
            from kfgcp.rules.formats.markdown import format_markdown

            click.echo(format_markdown(report), nl=False)
        case _:
            _print_matrix(report)


def _print_matrix(report: Report) -> None:
    # In a pipe or file, each finding is one line.
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for line in format_lines(report, width):
        click.echo(line, color=output.color())
    for note in report.notes:
        output.note(note)


def format_lines(report: Report, width: int | None) -> Iterator[str]:
    """Yield the lines of a report: a matrix, then the hints and the verdict for each environment.

    Args:
        report: the report.
        width: of the terminal, in characters. None prints each finding in one line.
    """
    shown = matrix(report)
    for line in layout(shown, width):
        cells = [_format_cell(cell) for cell in line]
        yield "".join(cells).rstrip()
    if shown.rows:
        yield ""
    for hint in shown.hints:
        yield f"hint: {hint}"
    if shown.hints:
        yield ""
    for target in report.targets:
        yield _describe_target(report, target)
    yield _describe_counts(report)


def _format_cell(cell: Cell) -> str:
    if cell.severity is None:
        return cell.text
    return click.style(cell.text, fg=_COLORS[cell.severity])


def _describe_target(report: Report, target: Target) -> str:
    """Return whether the pipeline runs in an environment: `gke (kubeflow 2.17): does not run`."""
    backend = f"{target.backend} {format_version(target.version)}".strip()
    where = output.plain(target.env)
    if target.env != backend:
        where = f"{where} ({output.plain(backend)})"
    verdict = click.style("runs", fg="green")
    if not report.runs_on(target.env):
        verdict = click.style("does not run", fg="red")
    return f"{where}: {verdict}"


def _describe_counts(report: Report) -> str:
    """Return the numbers of findings: `1 error, 2 warnings, 1 suppressed`."""
    counts = [(report.count(severity), _NOUNS[severity]) for severity in Severity]
    counts.append((len(report.suppressed), ("suppressed", "suppressed")))
    words = []
    for count, (singular, plural) in counts:
        if count:
            words.append(f"{count} {singular if count == 1 else plural}")
    return ", ".join(words) or "no findings"
