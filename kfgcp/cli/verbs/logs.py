"""Print the logs of a run: of all tasks, or of TASK."""

from __future__ import annotations

import json

import click

from kfgcp.backends.base import SEVERITIES, LogFilter, LogLine
from kfgcp.cli import options, output
from kfgcp.model import JsonValue
from kfgcp.tracking import lookup
from kfgcp.tracking.choose import moment
from kfgcp.tracking.handle import RunHandle
from kfgcp.tracking.updates import LogWritten
from kfgcp.workspace import Workspace


@click.command(epilog="Example: kfgcp logs a1b2 train-classifier --follow")
@options.run_argument
@click.argument("task", required=False)
@click.option(
    "--attempt",
    type=click.IntRange(min=1),
    metavar="N",
    help="Only the lines of attempt N of each task.",
)
@click.option(
    "--since",
    metavar="AGE|TIME",
    help="Only lines written at this time or later, such as 30m (30 minutes ago) or"
    " 2026-01-31T08:00:00Z.",
)
@click.option(
    "--severity",
    type=click.Choice(SEVERITIES, case_sensitive=False),
    help="Only lines of this severity or a higher one.",
)
@click.option(
    "--all-lines",
    is_flag=True,
    help="Also show the lines of Kubeflow's launcher, of kfp and of Argo.",
)
@click.option("-f", "--follow", is_flag=True, help="Print new lines until the run has ended.")
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
    """Print the logs of a run: of all tasks, or of TASK.

    RUN is an id, the beginning of an id, a name, or `latest` (the default). TASK is the path of a
    task, such as 'for-loop-1[2]/train'. With --json, each line is a JSON object.

    Runs on this machine: if a line is JSON with a key "severity", the line has this severity. All
    other lines have DEFAULT, the lowest severity. Times are exact to one second, so --since may
    also show lines that are up to one second older.

    Runs on Kubeflow: without --all-lines, kfgcp leaves out the lines of Kubeflow's launcher, of kfp
    and of Argo. Other backends have no such lines.
    """
    log_filter = LogFilter(
        task,
        attempt,
        since=None if since is None else moment(since),
        severity=severity and severity.upper(),
        all_lines=all_lines,
    )
    handle = lookup.find_without_logs(workspace, run)
    if follow:
        for update in handle.updates(logs=log_filter, notice=output.note):
            if isinstance(update, LogWritten):
                _print_line(update.line, task, as_json)
        return
    lines = handle.logs(
        task, attempt, since=log_filter.since, severity=log_filter.severity, all_lines=all_lines
    )
    has_lines = False
    for line in lines:
        _print_line(line, task, as_json)
        has_lines = True
    if attempt is not None and not has_lines:
        # No lines: either the attempt wrote none, or it does not exist, which is an error.
        handle.check_attempt(task, attempt)
    _print_cached_tasks(handle, task)


def _print_line(line: LogLine, task: str | None, as_json: bool) -> None:
    if as_json:
        fields: dict[str, JsonValue] = {
            "task": line.task,
            "attempt": line.attempt,
            "text": line.text,
        }
        if line.at:
            fields["at"] = line.at
            fields["severity"] = line.severity
        click.echo(json.dumps(fields))
        return
    text = output.log_text(line.text)
    if not task:
        text = f"{output.plain(line.task)} | {text}"
    click.echo(text, color=output.color())


def _print_cached_tasks(handle: RunHandle, task_path: str | None) -> None:
    """Print which tasks have no log because they came from the cache.

    Args:
        handle: the run.
        task_path: the only task whose log was printed, None for all tasks.
    """
    for task in handle.tasks:
        is_shown = task_path is None or task_path == task.path
        if is_shown and task.cache is not None and task.cache.hit:
            click.echo(f"{output.plain(task.path)} did not run: {task.cache.reason}", err=True)
