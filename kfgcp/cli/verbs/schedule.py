"""Show, pause and run schedules, and start their due runs on this machine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

import click

from kfgcp.cli import options, output
from kfgcp.deploy.plan.commands import plan_command
from kfgcp.deploy.schedules.backfill import BackfillStep
from kfgcp.deploy.schedules.listing import ScheduleInfo
from kfgcp.deploy.schedules.on_service import DeployedSchedule
from kfgcp.deploy.schedules.properties import property_lines
from kfgcp.deploy.schedules.tick import TickAction, TickResult
from kfgcp.errors import BackendError, RunFailed, UsageError
from kfgcp.labels import SCHEDULE
from kfgcp.model import RunState
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
    short_help="Show the schedules of kfgcp.toml and of the services.",
    epilog="Example: kfgcp schedule list --env local",
)
@_env
@options.as_json
@options.workspace
def list_(workspace: Workspace, env: str | None, as_json: bool) -> None:
    """Show the schedules of kfgcp.toml, and those of this project that only a service has.

    LIVE says what the service has: enabled, paused, missing, or unknown when it cannot be reached.
    A schedule "not in kfgcp.toml" is deleted by the next `kfgcp apply`. On this machine, `kfgcp
    schedule tick` starts the runs. Without --env, the list is about all environments that a
    [schedule.X] or [pipeline.X] names. A narrow terminal has no room for LAST and PIPELINE.
    """
    schedules = workspace.schedules.list(env)
    if as_json:
        output.print_json([info.to_dict() for info in schedules])
        return
    if not schedules:
        where = "The project" if env is None else f"The environment '{env}'"
        output.note(f"{where} has no schedules.")
        return
    rows = [["SCHEDULE", "PIPELINE", "ENV", "DUE", "NEXT", "LIVE", "LAST"]]
    for info in schedules:
        pipeline = "" if info.schedule is None else info.schedule.pipeline
        next_due = "paused" if info.next_due is None else _short_time(info.next_due)
        last_due = ""
        if info.deployed is not None and info.deployed.last_due is not None:
            last_due = _short_time(info.deployed.last_due)
        live = _live_cell(info)
        rows.append([info.name, pipeline, info.env, _due_cell(info), next_due, live, last_due])
    for column in ("LAST", "PIPELINE"):
        if _table_width(rows) > output.console().width:
            index = rows[0].index(column)
            for cells in rows:
                del cells[index]
    output.print_table(output.table(rows[0], rows[1:]))


def _table_width(rows: Sequence[Sequence[str]]) -> int:
    """Return how many characters a table needs without folded cells."""
    widths = [0] * len(rows[0])
    for cells in rows:
        for index, cell in enumerate(cells):
            widths[index] = max(widths[index], len(cell))
    # Two blanks are between columns.
    return sum(widths) + 2 * (len(widths) - 1)


def _due_cell(info: ScheduleInfo) -> str:
    """Return when a schedule is due, as kfgcp.toml or else the service has it."""
    if info.schedule is not None:
        return info.schedule.cron or f"every {info.schedule.every}"
    if info.deployed is None:
        return ""
    fields = info.deployed.fields
    return str(fields.get("cron") or f"every {fields.get('every')}")


def _live_cell(info: ScheduleInfo) -> str:
    """Return what the service has of a schedule."""
    parts: list[str] = [info.live.value]
    if info.has_invalid_table:
        parts.append("its table is not valid")
    elif info.schedule is None:
        parts.append("not in kfgcp.toml")
    if info.deployed is not None and info.deployed.changed_by_hand:
        parts.append("changed by hand")
    if info.deployed is not None and info.deployed.count > 1:
        parts.append(f"{info.deployed.count} of them")
    return ", ".join(parts)


def _short_time(time: datetime) -> str:
    """Return a due time without seconds, which cron does not have, unless an interval has them."""
    text = time.isoformat(timespec="seconds" if time.second else "minutes")
    return f"{text.removesuffix('+00:00')}Z" if text.endswith("+00:00") else text


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
    deployed = workspace.schedules.show(name, env)
    declared = workspace.project.schedules.get(name)
    catch_up = None if declared is None else declared.catch_up
    _print_deployed(deployed, as_json, catch_up=catch_up)


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
    project = workspace.project
    declared = project.schedules.get(name)
    if declared is None and name not in project.invalid_schedules:
        output.note(f"The next apply deletes it, because kfgcp.toml has no [schedule.{name}].")
    elif declared is None or not declared.paused:
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


def _print_deployed(deployed: DeployedSchedule, as_json: bool, *, catch_up: bool | None) -> None:
    _print_state(deployed, as_json)
    if as_json:
        return
    lines = [f"id: {deployed.ref}"]
    lines.append(f"updated: {deployed.updated_at.isoformat(timespec='seconds')}")
    if deployed.next_due is not None:
        lines.append(f"next due: {_short_time(deployed.next_due)}")
    if deployed.last_due is not None:
        lines.append(f"last due: {_short_time(deployed.last_due)}")
    lines += property_lines(deployed.name, deployed.fields, catch_up=catch_up)
    for line in lines:
        click.echo(output.plain(f"  {line}"))
    if deployed.changed_by_hand:
        command = plan_command(deployed.env, [deployed.name])
        output.note(
            f"Its properties are not those that apply wrote. To see what differs: {command}"
        )
    if deployed.count > 1:
        output.note(
            f"The service has {deployed.count} schedules {deployed.name}. The next apply keeps one."
        )


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
) -> int:
    """Start a run for each due time of the schedule NAME that has none, and wait for their ends.

    TIME is a date or a time, such as 2026-03-01 or 2026-03-01T06:00:00+01:00; without an offset, it
    is UTC. Typing the command again continues an interrupted backfill.

    Each due time is printed as soon as it has a run. Exits with 6 when a run of the range has
    failed or was cancelled, also when it existed before this backfill.
    """
    printed: set[datetime] = set()

    def print_step(step: BackfillStep) -> None:
        printed.add(step.due)
        # JSON is one document on stdout.
        click.echo(_step_line(step), err=as_json)

    steps = workspace.schedules.backfill(
        name,
        _read_time(start, "--from"),
        _read_time(end, "--to"),
        parallel=parallel,
        dry_run=dry_run,
        notice=print_step,
    )
    if as_json:
        output.print_json([step.to_dict() for step in steps])
    else:
        for step in steps:
            if step.due not in printed:
                # A dry run, or a run that a tick has started meanwhile.
                click.echo(_step_line(step))
        _print_counts(name, steps)
    return RunFailed.exit_code if any(_has_failed(step) for step in steps) else 0


def _step_line(step: BackfillStep) -> str:
    if step.run_id is None:
        return f"{_short_time(step.due)}  to start"
    state = "" if step.state is None else f", {step.state.value}"
    return (
        f"{_short_time(step.due)}  {step.run_id}  {'existed' if step.existed else 'started'}{state}"
    )


def _print_counts(name: str, steps: Sequence[BackfillStep]) -> None:
    """Print how many due times a backfill has, and how their runs have ended."""
    states = Counter(step.state.value for step in steps if step.state is not None)
    waiting = len(steps) - states.total()
    parts = [f"{count} {state}" for state, count in sorted(states.items())]
    if waiting:
        parts.append(f"{waiting} to start")
    existing = len([step for step in steps if step.existed])
    if existing:
        parts.append(f"{existing} existed before")
    noun = "due time" if len(steps) == 1 else "due times"
    click.echo(": ".join([f"{len(steps)} {noun}", ", ".join(parts)][: 2 if parts else 1]))
    if states:
        output.hint(f"kfgcp list --label {SCHEDULE}={name}")


def _has_failed(step: BackfillStep) -> bool:
    return step.state in (RunState.FAILED, RunState.CANCELLED)


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
