"""Print what a run's tasks wrote."""

from __future__ import annotations

import click

from kfgcp.backends.base import SEVERITIES, LogFilter, LogLine
from kfgcp.cli import options, output
from kfgcp.tracking import lookup
from kfgcp.tracking.choose import moment
from kfgcp.tracking.updates import LogWritten
from kfgcp.workspace import Workspace


@click.command(epilog="Example: kfgcp logs a1b2 train-classifier --follow")
@options.run_argument
@click.argument("task", required=False)
@click.option("--attempt", type=click.IntRange(min=1), metavar="N", help="Only this attempt.")
@click.option("--since", metavar="AGE", help="Only lines younger than 30m, 12h, or since a time.")
@click.option(
    "--severity",
    type=click.Choice(SEVERITIES, case_sensitive=False),
    help="Only lines of this severity or a higher one.",
)
@click.option("--all-lines", is_flag=True, help="Also lines of Kubeflow's launcher and of Argo.")
@click.option("-f", "--follow", is_flag=True, help="Continue until the run has ended.")
@options.as_json
@options.workspace
def command(
    workspace: Workspace,
    run: str,
    task: str | None,
    attempt: int | None,
    since: str | None,
    severity: str | None,
    all_lines: bool,
    follow: bool,
    as_json: bool,
) -> None:
    """Print what a run's tasks wrote: of all tasks, or of the one at a path, such as
    'for-loop-1[2]/train'.

    With --json each line is an object of its own.

    In the logs of runs on this machine, a line that is JSON with a key "severity" has that
    severity; every other line has DEFAULT, which is below all others. Times are noted once a
    second, so --since may also show lines that are up to a second older.

    In the logs of runs on Kubeflow, lines of the launcher, of kfp and of Argo are left out, unless
    --all-lines is given. Logs of runs on this machine and on Vertex AI have no such lines, and are
    always complete.
    """
    log_filter = LogFilter(
        task,
        attempt,
        None if since is None else moment(since),
        severity and severity.upper(),
        all_lines=all_lines,
    )
    handle = lookup.look(workspace, run)
    if follow:
        for update in handle.updates(logs=log_filter, notice=output.note):
            if isinstance(update, LogWritten):
                _print(update.line, task, as_json)
        return
    lines = handle.logs(
        task, attempt, since=log_filter.since, severity=log_filter.severity, all_lines=all_lines
    )
    has_lines = False
    for line in lines:
        _print(line, task, as_json)
        has_lines = True
    if attempt is not None and not has_lines:
        handle.check_attempt(task, attempt)
    for found in handle.tasks:
        if found.cache is not None and found.cache.hit and task in (None, found.path):
            click.echo(f"{output.plain(found.path)} did not run: {found.cache.reason}", err=True)


def _print(line: LogLine, task: str | None, as_json: bool) -> None:
    if as_json:
        import json

        facts = {"task": line.task, "attempt": line.attempt, "text": line.text}
        click.echo(
            json.dumps(facts | ({"at": line.at, "severity": line.severity} if line.at else {}))
        )
    else:
        text = output.log_text(line.text)
        click.echo(text if task else f"{output.plain(line.task)} | {text}", color=output.color())
