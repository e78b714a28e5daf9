"""Start the runs of a schedule for due times in the past, one run for each due time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from kfgcp.config_schedules import ProjectSchedule
from kfgcp.deploy.schedules.labels import due_label, runs_by_due
from kfgcp.deploy.schedules.tick import Runs
from kfgcp.errors import UsageError
from kfgcp.model import JsonValue, Run

# A wrong year would otherwise start runs without an end.
MAX_TIMES: Final = 1000


@dataclass(frozen=True, slots=True)
class BackfillStep:
    """A due time of a backfill.

    Attributes:
        due: the due time.
        run_id: its run, None while it has none.
        existed: whether the run existed before this backfill.
    """

    due: datetime
    run_id: str | None
    existed: bool

    def to_dict(self) -> dict[str, JsonValue]:
        """Return the step as JSON."""
        return {"due": self.due.isoformat(), "run_id": self.run_id, "existed": self.existed}


def plan_backfill(
    schedule: ProjectSchedule, start: datetime, end: datetime, runs: Iterable[Run], now: datetime
) -> list[BackfillStep]:
    """Return the due times of a backfill in order, with the runs that exist already. Pure.

    Args:
        schedule: the schedule.
        start: the first time, with a zone. A due time at it is included.
        end: the time after the last one, with a zone. A due time at it is left out.
        runs: the runs of the schedule.
        now: the current time, with a zone.

    Raises:
        UsageError: the end is not after the start or is later than now, or the range has too many
            due times.
    """
    if end <= start:
        raise UsageError(
            f"The end of the backfill, {end.isoformat()}, is not after its start,"
            f" {start.isoformat()}.",
            hint="Give an earlier --from or a later --to.",
        )
    if end > now:
        # `tick` would start no run for a due time that already has one.
        raise UsageError(
            f"The end of the backfill, {end.isoformat()}, is in the future.",
            hint=f"A backfill starts missed runs. Give an earlier --to: {_whole_second(now)}",
        )
    existing_runs = runs_by_due(runs)
    steps: list[BackfillStep] = []
    for due in _times_from(schedule, start, end):
        run = existing_runs.get(due_label(due))
        run_id = None if run is None else run.run_id
        steps.append(BackfillStep(due, run_id, run is not None))
    return steps


def run_backfill(
    schedule: ProjectSchedule,
    steps: Iterable[BackfillStep],
    runs: Runs,
    *,
    parallel: int,
    wait_for_one: Callable[[set[str]], set[str]],
    notice: Callable[[BackfillStep], None],
) -> list[BackfillStep]:
    """Start the missing runs in the order of their due times, and wait for the end of all.

    An interrupted backfill continues when it is called again: a due time that has a run is left
    out.

    Args:
        schedule: the schedule.
        steps: what `plan_backfill` returned.
        runs: starts runs.
        parallel: how many runs may be active at the same time. With 1, a run starts after the end
            of the run before it.
        wait_for_one: waits until one of the runs with these ids has ended, and returns the ids of
            those that have ended.
        notice: called with each run that was started.

    Returns:
        The steps, each with its run.
    """
    done: list[BackfillStep] = []
    active: set[str] = set()
    for step in steps:
        if step.existed:
            done.append(step)
            continue
        while len(active) >= parallel:
            active -= wait_for_one(active)
        run_id = runs.start(schedule, step.due)
        active.add(run_id)
        started = BackfillStep(step.due, run_id, existed=False)
        done.append(started)
        notice(started)
    while active:
        active -= wait_for_one(active)
    return done


def _whole_second(time: datetime) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _times_from(schedule: ProjectSchedule, start: datetime, end: datetime) -> list[datetime]:
    timetable = schedule.timetable
    times = timetable.between(start, end, MAX_TIMES + 1)
    # `between` leaves out its start and includes its end.
    first = timetable.previous(start)
    if first == start:
        times.insert(0, first)
    times = [time for time in times if time < end]
    if len(times) > MAX_TIMES:
        raise UsageError(
            f"The schedule '{schedule.name}' is due more than {MAX_TIMES} times from"
            f" {start.isoformat()} to {end.isoformat()}.",
            hint="Choose a shorter range with --from and --to, and start several backfills.",
        )
    return times
