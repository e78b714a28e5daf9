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
    "--attempt", type=click.IntRange(min=1), metavar="N", help="Only the log of attempt N."
)
@click.option("--since", metavar="AGE", help="Only lines younger than 30m, 12h, or since a time.")
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
    """Print the logs of a run: of all tasks, or of TASK.

    TASK is the path of a task, such as 'for-loop-1[2]/train'. With --json, each line is a JSON
    object.

    In the logs of runs on this machine, a line that is JSON with a key "severity" has that
    severity. Every other line has DEFAULT, the lowest one. Times are exact to one second, so
    --since may also show lines that are up to a second older.

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
        # Raises an error when the task has no such attempt. An attempt may also have no lines.
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
    """Say which of the tasks wrote nothing because they did not run."""
    for task in handle.tasks:
        is_shown = task_path is None or task_path == task.path
        if is_shown and task.cache is not None and task.cache.hit:
            click.echo(f"{output.plain(task.path)} did not run: {task.cache.reason}", err=True)
