"""Show schedules, and start their due runs on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import click

from kfgcp.cli import options, output
from kfgcp.deploy.schedules.backfill import BackfillStep
from kfgcp.deploy.schedules.tick import TickAction, TickResult
from kfgcp.errors import BackendError, UsageError
from kfgcp.workspace import Workspace

_env = click.option("--env", metavar="NAME", help="Only schedules of the environment NAME.")


@click.group(epilog="Example: kfgcp schedule next churn-daily -n 3")
def command() -> None:
    """Show schedules, and start their due runs on this machine.

    A schedule is a table [schedule.X] of kfgcp.toml: a pipeline, an environment, and cron or every.
    """


@command.command(
    "list",
    short_help="Show the schedules of kfgcp.toml.",
    epilog="Example: kfgcp schedule list --env local",
)
@_env
@options.as_json
@options.workspace
def list_(workspace: Workspace, env: str | None, as_json: bool) -> None:
    """Show the schedules of kfgcp.toml with their next due times."""
    schedules = workspace.schedules.list(env)
    if as_json:
        output.print_json([info.to_dict() for info in schedules])
        return
    rows = []
    for info in schedules:
        schedule = info.schedule
        due = schedule.cron or f"every {schedule.every_seconds} s"
        next_due = "paused" if info.next_due is None else info.next_due.isoformat()
        rows.append((schedule.name, schedule.pipeline, schedule.env, due, next_due))
    output.print_table(output.table(("SCHEDULE", "PIPELINE", "ENV", "DUE", "NEXT"), rows))


@command.command(
    "next",
    short_help="Show the next due times of a schedule.",
    epilog="Example: kfgcp schedule next churn-daily -n 3",
)
@click.argument("name")
@click.option("-n", "count", type=int, default=5, metavar="N", help="How many times. Default: 5.")
@options.as_json
@options.workspace
def next_(workspace: Workspace, name: str, count: int, as_json: bool) -> None:
    """Show the next due times of the schedule NAME, in its time zone."""
    times = [due.isoformat() for due in workspace.schedules.next(name, count)]
    if as_json:
        output.print_json(times)
        return
    for time in times:
        click.echo(time)


@command.command(
    short_help="Start the due runs of schedules on this machine.",
    epilog="Example: kfgcp schedule tick --env local",
)
@_env
@options.as_json
@options.workspace
def tick(workspace: Workspace, env: str | None, as_json: bool) -> int:
    """Start the due runs of schedules on this machine, and exit.

    cron or systemd calls this command each minute. Each due time gets one run, also when a call is
    killed or two calls run at once. A schedule begins at its first tick.

    Exits with 5 when a run could not be started or a table is not valid. The next tick tries again.
    """
    results = workspace.schedules.tick(env)
    if as_json:
        output.print_json([result.to_dict() for result in results])
    else:
        for result in results:
            click.echo(_tick_line(result))
    has_failed = any(result.action is TickAction.FAILED for result in results)
    return BackendError.exit_code if has_failed else 0


@command.command(
    short_help="Start the runs of missed due times.",
    epilog="Example: kfgcp schedule backfill churn-daily --from 2026-03-01 --to 2026-03-08",
)
@click.argument("name")
@click.option("--from", "start", required=True, metavar="TIME", help="The first time.")
@click.option("--to", "end", required=True, metavar="TIME", help="The time after the last one.")
@click.option(
    "--parallel",
    type=int,
    default=1,
    metavar="N",
    help="At most N runs at the same time. Default: 1, in the order of the due times.",
)
@click.option("--dry-run", is_flag=True, help="Print the due times, but start nothing.")
@options.as_json
@options.workspace
def backfill(
    workspace: Workspace,
    name: str,
    start: str,
    end: str,
    parallel: int,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Start a run for each due time of the schedule NAME that has none, and wait for their ends.

    TIME is a date or a time, such as 2026-03-01 or 2026-03-01T06:00:00+01:00; without an offset, it
    is UTC. Typing the command again continues an interrupted backfill.
    """
    steps = workspace.schedules.backfill(
        name,
        _read_time(start, "--from"),
        _read_time(end, "--to"),
        parallel=parallel,
        dry_run=dry_run,
        notice=lambda step: click.echo(f"started {_step_line(step)}", err=True),
    )
    _print_steps(steps, as_json)


def _print_steps(steps: Sequence[BackfillStep], as_json: bool) -> None:
    if as_json:
        output.print_json([step.to_dict() for step in steps])
        return
    for step in steps:
        click.echo(_step_line(step))


def _step_line(step: BackfillStep) -> str:
    run = step.run_id or "without a run"
    return f"{step.due.isoformat()}  {run}{' (existed)' if step.existed else ''}"


def _tick_line(result: TickResult) -> str:
    parts = [result.schedule, result.action.value]
    if result.due is not None:
        parts.append(result.due.isoformat())
    if result.run_id is not None:
        parts.append(result.run_id)
    if result.note:
        parts.append(output.plain(result.note))
    return "  ".join(parts)


def _read_time(text: str, option: str) -> datetime:
    """Return the time of an option.

    Raises:
        UsageError: the text is not a date or time.
    """
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"{option} is {text!r}, which is not a time.",
            hint="Write a date or a time: 2026-03-01 or 2026-03-01T06:00:00Z",
        ) from None
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)
