"""Show, pause and run schedules, and start their due runs on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import click

from kfgcp.cli import options, output
from kfgcp.deploy.plan.commands import plan_command
from kfgcp.deploy.schedules.backfill import BackfillStep
from kfgcp.deploy.schedules.on_service import DeployedSchedule
from kfgcp.deploy.schedules.schedules import ScheduleInfo
from kfgcp.deploy.schedules.tick import TickAction, TickResult
from kfgcp.errors import BackendError, UsageError
from kfgcp.model import json_text
from kfgcp.workspace import Workspace

_env = click.option("--env", metavar="NAME", help="Only schedules of the environment NAME.")

_its_env = click.option(
    "--env", metavar="NAME", help="Its environment. Default: the one in kfgcp.toml."
)


@click.group(epilog="Example: kfgcp schedule next churn-daily -n 3")
def command() -> None:
    """Show, pause and run schedules, and start their due runs on this machine.

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
    """Show the schedules of kfgcp.toml with their next due times.

    LIVE says what the service has: enabled or paused, and whether it was changed by hand. It is
    empty when the service does not have the schedule, and on this machine.
    """
    schedules = workspace.schedules.list(env)
    if as_json:
        output.print_json([info.to_dict() for info in schedules])
        return
    rows = []
    for info in schedules:
        schedule = info.schedule
        due = schedule.cron or f"every {schedule.every}"
        next_due = "paused" if info.next_due is None else info.next_due.isoformat()
        live, last_due = _live_cells(info)
        rows.append((schedule.name, schedule.pipeline, schedule.env, due, next_due, live, last_due))
    headers = ("SCHEDULE", "PIPELINE", "ENV", "DUE", "NEXT", "LIVE", "LAST")
    output.print_table(output.table(headers, rows))


def _live_cells(info: ScheduleInfo) -> tuple[str, str]:
    """Return the state of a schedule on its service, and the due time of its last run."""
    deployed = info.deployed
    if deployed is None:
        return "", ""
    state = "enabled" if deployed.enabled else "paused"
    if deployed.changed_by_hand:
        state += ", changed by hand"
    if deployed.count > 1:
        state += f", {deployed.count} of them"
    return state, "" if deployed.last_due is None else deployed.last_due.isoformat()


@command.command(
    short_help="Show a schedule as its service has it.",
    epilog="Example: kfgcp schedule show churn-daily",
)
@click.argument("name")
@_its_env
@options.as_json
@options.workspace
def show(workspace: Workspace, name: str, env: str | None, as_json: bool) -> None:
    """Show the schedule NAME as its service has it: its state and its properties."""
    _print_deployed(workspace.schedules.show(name, env), as_json)


@command.command(
    short_help="Pause a schedule on its service.",
    epilog="Example: kfgcp schedule pause churn-daily",
)
@click.argument("name")
@_its_env
@options.as_json
@options.workspace
def pause(workspace: Workspace, name: str, env: str | None, as_json: bool) -> None:
    """Pause the schedule NAME on its service.

    The next `kfgcp apply` starts it again, unless kfgcp.toml has paused = true.
    """
    deployed = workspace.schedules.pause(name, env)
    _print_state(deployed, as_json)
    declared = workspace.project.schedules.get(name)
    if declared is None or not declared.paused:
        output.note(f"The next apply starts it again, unless [schedule.{name}] has paused = true.")


@command.command(
    short_help="Let a paused schedule start runs again.",
    epilog="Example: kfgcp schedule resume churn-daily",
)
@click.argument("name")
@_its_env
@options.as_json
@options.workspace
def resume(workspace: Workspace, name: str, env: str | None, as_json: bool) -> None:
    """Let the schedule NAME start runs again on its service.

    With catch_up = true, it also starts the runs that were due while it was paused.
    """
    deployed = workspace.schedules.resume(name, env)
    _print_state(deployed, as_json)
    declared = workspace.project.schedules.get(name)
    if declared is not None and declared.paused:
        output.note(f"The next apply pauses it again, because [schedule.{name}] has paused = true.")


@command.command(
    short_help="Start a run of a schedule now.",
    epilog="Example: kfgcp schedule run churn-daily",
)
@click.argument("name")
@options.as_json
@options.workspace
def run(workspace: Workspace, name: str, as_json: bool) -> None:
    """Start a run of the schedule NAME now, with its parameters and labels.

    A schedule on a service starts the version that the service has. The run does not count as the
    run of a due time.
    """
    run_id = workspace.schedules.run(name)
    if as_json:
        output.print_json({"run_id": run_id})
        return
    click.echo(run_id)
    output.hint(f"kfgcp watch {run_id}")


def _print_state(deployed: DeployedSchedule, as_json: bool) -> None:
    if as_json:
        output.print_json(deployed.to_dict())
        return
    state = "enabled" if deployed.enabled else "paused"
    click.echo(output.plain(f"{deployed.name}  {state}  env {deployed.env}"))


def _print_deployed(deployed: DeployedSchedule, as_json: bool) -> None:
    _print_state(deployed, as_json)
    if as_json:
        return
    rows = [("ref", deployed.ref), ("updated", deployed.updated_at.isoformat())]
    if deployed.next_due is not None:
        rows.append(("next due", deployed.next_due.isoformat()))
    if deployed.last_due is not None:
        rows.append(("last due", deployed.last_due.isoformat()))
    for field, value in sorted(deployed.fields.items()):
        rows.append((field, value if isinstance(value, str) else json_text(value)))
    for label, text in rows:
        click.echo(output.plain(f"  {label}: {text}"))
    if deployed.changed_by_hand:
        command = plan_command(deployed.env, [deployed.name])
        output.note(f"Its properties are not those that apply wrote. What differs: {command}")
    if deployed.count > 1:
        output.note(f"The service has {deployed.count} of them. The next apply keeps one.")


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
