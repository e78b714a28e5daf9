"""`kfgcp logs`."""

from __future__ import annotations

import click

from kfgcp import api
from kfgcp.backends.base import LogLine
from kfgcp.cli import options, output


@click.command(epilog="Example: kfgcp logs a1b2 train-classifier --follow")
@options.run_argument
@click.argument("task", required=False)
@click.option("--attempt", type=click.IntRange(min=1), metavar="N", help="Only this attempt.")
@click.option("-f", "--follow", is_flag=True, help="Go on until the run has ended.")
@options.as_json
def command(run: str, task: str | None, attempt: int | None, follow: bool, as_json: bool) -> None:
    """Print what a run's tasks wrote: of all tasks, or of the one at a path.

    With --json each line is an object of its own.
    """
    if not follow:
        handle = api.show(run)
        for line in handle.logs(task, attempt):
            _print(line, task, as_json)
        for found in handle.tasks:
            if found.cache is not None and found.cache.hit and task in (None, found.path):
                click.echo(f"{output.plain(found.path)} did not run: {found.cache.reason}", err=True)
        return
    for update in api.watch(run):
        for line in update.lines:
            if task in (None, line.task) and attempt in (None, line.attempt):
                _print(line, task, as_json)


def _print(line: LogLine, task: str | None, as_json: bool) -> None:
    if as_json:
        import json

        click.echo(json.dumps({"task": line.task, "attempt": line.attempt, "text": line.text}))
    else:
        click.echo(line.text if task else f"{output.plain(line.task)} | {line.text}")
