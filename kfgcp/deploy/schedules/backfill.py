"""Start the runs of a schedule for due times in the past, one run for each due time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from kfgcp.config_schedules import ProjectSchedule
from kfgcp.deploy.schedules.labels import (
    UNKNOWN_DUE,
    due_label,
    runs_by_due,
    runs_without_due,
)
from kfgcp.deploy.schedules.tick import Runs, is_interrupted
from kfgcp.errors import UsageError
from kfgcp.labels import DUE
from kfgcp.model import JsonValue, Run, RunState

# A wrong year would otherwise start runs without an end.
MAX_TIMES: Final = 1000

# A service starts the run of a due time some seconds after it, and lists it later.
YOUNGEST: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class BackfillStep:
    """A due time of a backfill.

    Attributes:
        due: the due time.
        run_id: its run, None while it has none.
        existed: whether the run existed before this backfill.
        state: the state of the run at the end of the backfill, None without a run.
    """

    due: datetime
    run_id: str | None
    existed: bool
    state: RunState | None = None

    def to_dict(self) -> dict[str, JsonValue]:
        """Return the step as JSON."""
        return {
            "due": self.due.isoformat(),
            "run_id": self.run_id,
            "existed": self.existed,
            "state": None if self.state is None else self.state.value,
        }


def plan_backfill(
    schedule: ProjectSchedule,
    start: datetime,
    end: datetime,
    runs: Iterable[Run],
    now: datetime,
    *,
    is_deployed: bool = False,
) -> list[BackfillStep]:
    """Return the due times of a backfill in order, with the runs that exist already. Pure.

    Args:
        schedule: the schedule.
        start: the first time, with a zone. A due time at it is included.
        end: the time after the last one, with a zone. A due time at it is left out.
        runs: the runs of the schedule.
        now: the current time, with a zone.
        is_deployed: whether a service starts the runs of the schedule, not `tick`.

    Raises:
        UsageError: the end is not after the start or is later than now, or the range has too many
            due times. Or a service may have started the run of a due time, and kfgcp cannot tell.
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
    all_runs = list(runs)
    _refuse_unknown(schedule, start, all_runs)
    times = _times_from(schedule, start, end)
    if is_deployed:
        _refuse_unclear(schedule, all_runs, times, now)
    existing_runs = runs_by_due(all_runs, schedule.timetable)
    steps: list[BackfillStep] = []
    for due in times:
        run = existing_runs.get(due_label(due))
        run_id = None if run is None else run.run_id
        steps.append(BackfillStep(due, run_id, run is not None))
    return steps


def run_backfill(
    schedule: ProjectSchedule,
    steps: Sequence[BackfillStep],
    runs: Runs,
    *,
    parallel: int,
    hold: Callable[[], AbstractContextManager[bool]],
    wait_for_one: Callable[[set[str]], set[str]],
    notice: Callable[[BackfillStep], None],
) -> list[BackfillStep]:
    """Start the missing runs in the order of their due times, and wait for the end of all.

    An interrupted backfill continues when it is called again: its active runs are waited for, and
    its interrupted runs continue. A due time whose run has ended is left out.

    Args:
        schedule: the schedule.
        steps: what `plan_backfill` returned.
        runs: starts, continues and lists runs.
        parallel: how many runs may be active at the same time. With 1, a run starts after the end
            of the run before it.
        hold: waits for the lock of the schedules, and holds it. A tick, or another backfill, starts
            no run meanwhile.
        wait_for_one: waits until one of the runs with these ids has ended, and returns the ids of
            those that have ended.
        notice: called with each run that was started.

    Returns:
        The steps, each with its run.
    """
    done: list[BackfillStep] = []
    existing_runs = runs_by_due(runs.of(schedule), schedule.timetable)
    active = _active_runs(steps, existing_runs)
    for step in steps:
        run = existing_runs.get(due_label(step.due))
        if run is not None and not is_interrupted(run):
            done.append(BackfillStep(step.due, run.run_id, existed=True))
            continue
        while len(active) >= parallel:
            active -= wait_for_one(active)
        with hold():
            # A tick or another backfill may have started the run since `existing_runs` was read.
            current_runs = runs_by_due(runs.of(schedule), schedule.timetable)
            run = current_runs.get(due_label(step.due))
            started = _start_or_continue(schedule, step.due, run, runs)
        done.append(started)
        if run is None or not run.state.final or is_interrupted(run):
            active.add(str(started.run_id))
        if run is None:
            notice(started)
    while active:
        active -= wait_for_one(active)
    return done


def _refuse_unknown(schedule: ProjectSchedule, start: datetime, runs: Iterable[Run]) -> None:
    """Refuse a backfill that could start a run for a due time that already has one."""
    for run in runs:
        # A run is created after its due time.
        is_before = run.created_at is not None and datetime.fromisoformat(run.created_at) < start
        if is_before or run.labels.get(DUE) != UNKNOWN_DUE:
            continue
        raise UsageError(
            f"The run {run.run_id} may be the run of a due time of the schedule '{schedule.name}'"
            f" since {start.isoformat()}, so nothing was started.",
            hint="The recurring run that started it was deleted by another machine. Start the"
            " backfill there, or give a later --from.",
        )


def _active_runs(steps: Sequence[BackfillStep], existing_runs: Mapping[str, Run]) -> set[str]:
    """Return the ids of the runs of due times that have not ended."""
    active: set[str] = set()
    for step in steps:
        run = existing_runs.get(due_label(step.due))
        if run is not None and not run.state.final:
            active.add(run.run_id)
    return active


def _start_or_continue(
    schedule: ProjectSchedule, due: datetime, run: Run | None, runs: Runs
) -> BackfillStep:
    """Start the run of a due time, or continue it when it was interrupted."""
    if run is None:
        return BackfillStep(due, runs.start(schedule, due), existed=False)
    if is_interrupted(run):
        runs.resume(run.run_id)
    return BackfillStep(due, run.run_id, existed=True)


def _refuse_unclear(
    schedule: ProjectSchedule, runs: Sequence[Run], times: Sequence[datetime], now: datetime
) -> None:
    """Refuse due times whose runs the service may have started or may be about to start.

    Raises:
        UsageError: there are such due times.
    """
    if not times:
        return
    youngest = now - YOUNGEST
    if times[-1] > youngest:
        raise UsageError(
            f"The due time {times[-1].isoformat()} is less than a minute ago, so the service may"
            " still start its run.",
            hint=f"Wait a minute, or give an earlier --to: {_whole_second(youngest)}",
        )
    after = times[-1] + timedelta(seconds=1)
    unclear = runs_without_due(runs, schedule.timetable, times[0], after)
    if unclear:
        run = unclear[0]
        raise UsageError(
            f"The schedule '{schedule.name}' started {run.run_id} at {run.created_at}, long after"
            " its last due time, so kfgcp cannot tell for which due time.",
            hint="Choose --from and --to so that the time of this run is not between them.",
        )


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
