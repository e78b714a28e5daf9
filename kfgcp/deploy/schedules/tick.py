"""Start the due runs of a schedule on this machine.

Each due time gets one run. The order of the steps makes that true when the process is killed at any
moment: first the run is recorded with its labels, then the state of the schedule. A tick that finds
a run with the labels of a due time starts no second one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Final, Protocol

from kfgcp.config_schedules import ProjectSchedule
from kfgcp.deploy.schedules.labels import due_label, runs_by_due
from kfgcp.deploy.schedules.state import ScheduleState, read_state, write_state
from kfgcp.model import ErrorKind, JsonValue, Run

# The most runs of a schedule that one tick starts. After a long pause or a jump of the clock, the
# next ticks start the others.
MAX_RUNS: Final = 10

# A clock is set back by less than this when it is corrected. After a longer jump, the time in the
# state was wrong, and the schedule begins again.
LARGE_JUMP: Final = timedelta(days=1)


class TickAction(StrEnum):
    """What a tick did for a schedule or for one of its due times."""

    STARTED = "started"
    CONTINUED = "continued"
    BEGUN = "begun"
    PAUSED = "paused"
    WAITING = "waiting"
    CLOCK = "clock"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class TickResult:
    """What a tick did.

    Attributes:
        schedule: the name of the schedule.
        action: what the tick did.
        due: the due time, None when the result is about the schedule.
        run_id: the run that was started or continued.
        note: a sentence for people, "" without one.
    """

    schedule: str
    action: TickAction
    due: datetime | None = None
    run_id: str | None = None
    note: str = ""

    def to_dict(self) -> dict[str, JsonValue]:
        """Return the result as JSON, in the form that `kfgcp schedule tick --json` prints."""
        return {
            "schedule": self.schedule,
            "action": self.action.value,
            "due": None if self.due is None else self.due.isoformat(),
            "run_id": self.run_id,
            "note": self.note,
        }


class Runs(Protocol):
    """Starts and lists the runs of schedules."""

    def of(self, schedule: ProjectSchedule) -> list[Run]:
        """Return the runs that have the label of a schedule, in its environment."""

    def start(self, schedule: ProjectSchedule, due: datetime) -> str:
        """Start the run of a due time, and return its id."""

    def resume(self, run_id: str) -> None:
        """Continue an interrupted run."""


def tick_schedule(
    folder: Path, schedule: ProjectSchedule, runs: Runs, now: datetime
) -> list[TickResult]:
    """Start the due runs of a schedule.

    The caller holds the lock of the schedules.

    Args:
        folder: the folder with the states of the project, see `states_folder`.
        schedule: a schedule of an environment on this machine.
        runs: starts and lists runs.
        now: the current time, with a zone.

    Raises:
        KfgcpError: a run cannot be started. The next tick tries the due time again.
    """
    now = now.astimezone(UTC)
    name = schedule.name

    def save(state: ScheduleState) -> None:
        write_state(folder, schedule.env, name, state)

    state = read_state(folder, schedule.env, name)
    if state is None:
        save(ScheduleState(now))
        return [TickResult(name, TickAction.BEGUN, note="Begins now. Earlier times are not due.")]
    if now < state.handled_until:
        return [_handle_clock(name, state, now, save)]
    if schedule.paused:
        # Without catch_up, a schedule that continues starts nothing for the time of its pause.
        if not schedule.catch_up:
            save(ScheduleState(now))
        return [TickResult(name, TickAction.PAUSED, note="Paused. Nothing was started.")]
    due_times = _due_times(schedule, state.handled_until, now)
    return _start_due(schedule, due_times, runs, now, save)


def is_interrupted(run: Run) -> bool:
    """Return whether the engine of a run ended before the run, so that the run can continue."""
    return run.error is not None and run.error.kind is ErrorKind.INTERRUPTED


def _due_times(schedule: ProjectSchedule, after: datetime, now: datetime) -> Sequence[datetime]:
    """Return the due times to handle. With catch_up, one more than a tick starts."""
    timetable = schedule.timetable
    if schedule.catch_up:
        return timetable.between(after, now, MAX_RUNS + 1)
    latest = timetable.previous(now)
    if latest is None or latest <= after:
        return []
    return [latest]


def _start_due(
    schedule: ProjectSchedule,
    due_times: Sequence[datetime],
    runs: Runs,
    now: datetime,
    save: Callable[[ScheduleState], None],
) -> list[TickResult]:
    results: list[TickResult] = []
    if due_times:
        schedule_runs = runs.of(schedule)
        existing_runs = runs_by_due(schedule_runs)
        active_count = sum(1 for run in schedule_runs if not run.state.final)
    for due in due_times[:MAX_RUNS]:
        existing = existing_runs.get(due_label(due))
        if existing is not None:
            results += _continue_interrupted(schedule, due, existing, runs)
        elif active_count >= schedule.max_active:
            note = f"{active_count} of its runs are active, and max_active is"
            note += f" {schedule.max_active}. A later tick starts this run."
            results.append(TickResult(schedule.name, TickAction.WAITING, due, note=note))
            return results
        else:
            run_id = runs.start(schedule, due)
            active_count += 1
            results.append(TickResult(schedule.name, TickAction.STARTED, due, run_id))
        save(ScheduleState(due.astimezone(UTC)))
    if len(due_times) > MAX_RUNS:
        note = f"More runs are due than the {MAX_RUNS} of one tick. Later ticks start them."
        results.append(TickResult(schedule.name, TickAction.WAITING, due_times[-1], note=note))
        return results
    save(ScheduleState(now))
    return results


def _continue_interrupted(
    schedule: ProjectSchedule, due: datetime, run: Run, runs: Runs
) -> list[TickResult]:
    """Continue a run whose tick was killed after it had recorded the run."""
    if not is_interrupted(run):
        return []
    runs.resume(run.run_id)
    return [TickResult(schedule.name, TickAction.CONTINUED, due, run.run_id)]


def _handle_clock(
    name: str, state: ScheduleState, now: datetime, save: Callable[[ScheduleState], None]
) -> TickResult:
    """Handle a clock that shows an earlier time than at the last tick."""
    last = f"{state.handled_until:%Y-%m-%dT%H:%M:%SZ}"
    if state.handled_until - now < LARGE_JUMP:
        note = f"The clock is before the last tick at {last}. Nothing is due until then."
        return TickResult(name, TickAction.CLOCK, note=note)
    save(ScheduleState(now))
    note = f"The clock is more than a day before the last tick at {last}. Begins again now."
    return TickResult(name, TickAction.CLOCK, note=note)
