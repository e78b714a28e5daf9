"""Bring the schedules of one name on a service to what kfgcp.toml declares.

The loop reads the service after each write, and compares. It may be killed at any moment: the next
call begins with what the service has, see `steps`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from kfgcp.backends.schedules import DesiredSchedule, LiveSchedule, SupportsSchedules
from kfgcp.deploy.schedules.missed import MAX_MISSED
from kfgcp.deploy.schedules.ownership import is_own
from kfgcp.deploy.schedules.steps import (
    Step,
    StepKind,
    changed_fields,
    next_step,
)
from kfgcp.errors import BackendError, BadAnswer, Refused, UsageError
from kfgcp.model import JsonValue

MAX_STEPS: Final = 40
"""The most steps for one schedule. A replacement has four writes, and may begin again."""

MAX_WAIT: Final = timedelta(minutes=3)
"""The longest time of all pauses for one schedule. Some schedules always have a due time near, so
after this time a schedule is changed anyway."""

MAX_REFUSALS: Final = 4
"""How often a write is tried that the service refuses for now, for example with 429."""

MAX_REFUSED: Final = timedelta(minutes=1)
"""How long the service may refuse one kind of write for now. A replacement that begins again in the
meantime sends the same write to another schedule."""

MAX_FAILURES: Final = 6
"""How often a write is tried whose answers are lost and that changes nothing."""

LOOKUP_PAUSES: Final = (0.5, 2.0, 4.0, 8.0)
"""After a lost answer: the seconds before each reading of the service."""


@dataclass(frozen=True, slots=True)
class Clock:
    """The time, and how to wait. Tests give their own.

    Attributes:
        now: returns the time in UTC.
        sleep: waits for a number of seconds.
    """

    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    sleep: Callable[[float], None] = time.sleep


@dataclass(frozen=True, slots=True)
class Done:
    """What `converge` did.

    Attributes:
        steps: the writes, in their order.
        fired: the due times whose runs it started, with the ids of the runs.
        is_busy: whether a schedule that must be deleted is only disabled, because its active runs
            would end with it. A later call deletes it.
        waiting: missed due times without a run, because max_active of the runs that apply has
            started are active. The old schedule stays, disabled, until later calls have started
            the runs of all its due times.
    """

    steps: tuple[Step, ...]
    fired: tuple[tuple[datetime, str], ...]
    is_busy: bool = False
    waiting: tuple[datetime, ...] = ()


@dataclass(frozen=True, slots=True)
class _Refusal:
    """A kind of write that the service refuses for now.

    Attributes:
        since: when the service first refused such a write.
        error: the last error, with the name of the schedule.
    """

    since: datetime
    error: Refused


@dataclass(slots=True)
class _Progress:
    """What one call of `converge` has read and done so far."""

    live: dict[str, LiveSchedule]
    waited: timedelta = timedelta(0)
    is_prepared: bool = False
    # How many writes in a row have failed and left the service as it was.
    failures: int = 0
    refusals: dict[StepKind, _Refusal] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    # The missed due times that have a run now, and how many of these runs are active.
    started: set[datetime] = field(default_factory=set)
    active_count: int = 0
    # The missed due times that must wait for the end of these runs.
    waiting: tuple[datetime, ...] = ()
    fired: list[tuple[datetime, str]] = field(default_factory=list)


def converge(
    service: SupportsSchedules,
    project: str,
    name: str,
    desired: DesiredSchedule | None,
    live: Sequence[LiveSchedule],
    *,
    clock: Clock | None = None,
    notice: Callable[[Step], None] = lambda step: None,
) -> Done:
    """Write until the service has exactly the desired schedule of a name.

    Args:
        service: the service.
        project: the name of the project.
        name: the name of the schedule.
        desired: the schedule of kfgcp.toml, None when it must not exist.
        live: the schedules with this name on the service, as they were just read.
        clock: the time, None for the clock of this machine.
        notice: called before each step.

    Raises:
        BackendError: the service refused a write or cannot be reached. Another call continues.
        BadAnswer: the service did not keep a property. The message names it.
        UsageError: a schedule with catch_up has missed more than MAX_MISSED due times.
        BackendError: more due times wait for active runs than a change may start. Nothing is
            written.
    """
    clock = clock or Clock()
    fields: Mapping[str, JsonValue] = {} if desired is None else service.fields_of(desired)
    if next_step(desired, fields, live, service.schedule_facts, clock.now()) is None:
        return Done((), ())
    # The service starts runs by its own clock.
    offset = service.clock_offset()
    progress = _Progress({schedule.ref: schedule for schedule in live})
    for _ in range(MAX_STEPS):
        now = clock.now() + offset
        schedules = list(progress.live.values())
        may_wait = progress.waited < MAX_WAIT
        facts = service.schedule_facts
        step = next_step(
            desired, fields, schedules, facts, now, may_wait=may_wait, started=progress.started
        )
        if step is None:
            is_busy = desired is None and any(schedule.is_busy for schedule in schedules)
            return Done(tuple(progress.steps), tuple(progress.fired), is_busy)
        if step.kind is StepKind.WAIT:
            _check_refusals(progress, step.until or now)
            notice(step)
            _wait(step, progress, clock, now)
            _refresh(service, progress)
            continue
        _check_counts(desired, step)
        try:
            if _prepare_runs(service, desired, step, progress):
                continue
            if _start_missed(service, desired, step, progress):
                # Starting runs took time, so the step may have to wait now.
                continue
            if progress.waiting:
                return Done(tuple(progress.steps), tuple(progress.fired), waiting=progress.waiting)
            notice(step)
            written = _write(service, desired, step, progress)
        except BackendError as error:
            if not error.unknown:
                raise
            # The write may have happened, so the service decides how to continue.
            before = progress.live
            progress.live = _read_again(service, project, name, clock)
            progress.failures = progress.failures + 1 if progress.live == before else 0
            if isinstance(error, Refused):
                _note_refusal(progress, step, error, name, now)
                _check_refusals(progress, clock.now() + offset)
            elif progress.failures >= MAX_FAILURES:
                raise
            continue
        progress.failures = 0
        progress.refusals.pop(step.kind, None)
        progress.steps.append(step)
        if step.kind in (StepKind.CREATE, StepKind.UPDATE):
            _check_written(written, fields, name)
    raise BackendError(
        f"The schedule {name} changes again and again, so kfgcp has stopped after"
        f" {MAX_STEPS} steps.",
        hint="Another program may change it. Stop that program, then: kfgcp apply",
    )


def _wait(step: Step, progress: _Progress, clock: Clock, now: datetime) -> None:
    """Wait for the end of a pause, but not longer than MAX_WAIT for all pauses together."""
    if step.until is None:
        raise ValueError("a pause needs an end")
    pause = min(step.until - now, MAX_WAIT - progress.waited)
    progress.waited += pause
    clock.sleep(max(pause.total_seconds(), 0.0))


def _note_refusal(
    progress: _Progress, step: Step, error: Refused, name: str, now: datetime
) -> None:
    """Remember that the service refuses a write for now. now: when the write was tried."""
    earlier = progress.refusals.get(step.kind)
    refused = error.amended(
        message=f"The service refuses to {step.kind.value} the schedule {name} for now:"
        f" {error.message}",
        hint="Repeat the command some minutes later. It continues where it has stopped.",
    )
    since = now if earlier is None else earlier.since
    progress.refusals[step.kind] = _Refusal(since, refused)


def _check_refusals(progress: _Progress, until: datetime) -> None:
    """Stop when the service refuses a write again and again.

    Args:
        progress: what has happened so far.
        until: the moment of the next try.

    Raises:
        Refused: the service has refused for MAX_REFUSED, or MAX_REFUSALS times in a row. The
            message names the schedule.
    """
    for refusal in progress.refusals.values():
        is_long = until - refusal.since >= MAX_REFUSED
        if is_long or progress.failures >= MAX_REFUSALS:
            raise refusal.error


def _refresh(service: SupportsSchedules, progress: _Progress) -> None:
    """Read the schedules again after a pause, in which they may have started runs."""
    for ref in list(progress.live):
        current = service.read_schedule(ref)
        if current is None:
            del progress.live[ref]
        else:
            progress.live[ref] = current


def _check_counts(desired: DesiredSchedule | None, step: Step) -> None:
    """Check that a step does not lead to more runs at the same time than the user expects.

    Raises:
        UsageError: more than MAX_MISSED due times were missed.
        BackendError: more due times wait for active runs than max_active.
    """
    if desired is None:
        return
    name = desired.name
    if max(len(step.missed), len(step.waiting)) > MAX_MISSED:
        raise UsageError(
            f"The schedule {name} has missed more than {MAX_MISSED} due times.",
            hint="Remove catch_up from the schedule, repeat the command, then start the missed"
            f" runs: kfgcp schedule backfill {name} --from TIME --to TIME",
        )
    if step.kind is StepKind.DISABLE and len(step.waiting) > desired.max_active:
        raise BackendError(
            f"{len(step.waiting)} due times of the schedule {name} wait for its active runs, and a"
            f" change would start more than max_active = {desired.max_active} of them at once. The"
            " schedule was left as it is.",
            hint="Repeat the command when the schedule has started them. Or pause it, and then"
            f" each apply starts at most {desired.max_active}: kfgcp schedule pause {name}",
        )


def _prepare_runs(
    service: SupportsSchedules,
    desired: DesiredSchedule | None,
    step: Step,
    progress: _Progress,
) -> bool:
    """Create what the runs need before the first write that leads to them.

    Returns:
        Whether something was done. That took time, so the step may have to wait now.
    """
    if progress.is_prepared or desired is None:
        return False
    if step.kind in (StepKind.ENABLE, StepKind.DELETE, StepKind.START):
        return False
    service.prepare_runs(desired)
    progress.is_prepared = True
    return True


def _start_missed(
    service: SupportsSchedules,
    desired: DesiredSchedule | None,
    step: Step,
    progress: _Progress,
) -> bool:
    """Start the runs of the missed due times of a step, the earliest first.

    At most max_active of these runs are active at the same time, together with those that earlier
    calls have started. The due times that are left are in `progress.waiting` afterwards.

    Returns:
        Whether a due time has got a run, or was seen to have one.
    """
    if desired is None:
        return False
    count = len(progress.started)
    progress.waiting = ()
    for index, due in enumerate(step.missed):
        if due in progress.started:
            continue
        if progress.active_count >= desired.max_active:
            progress.waiting = step.missed[index:]
            break
        run = service.fire(desired, due)
        progress.started.add(due)
        progress.active_count += run.is_active
        if run.is_new:
            progress.fired.append((due, run.run_id))
    return len(progress.started) > count


def _write(
    service: SupportsSchedules,
    desired: DesiredSchedule | None,
    step: Step,
    progress: _Progress,
) -> LiveSchedule | None:
    """Execute a step, and return the schedule as the service has it afterwards."""
    ref = _execute(service, desired, step)
    written = service.read_schedule(ref)
    if written is None:
        progress.live.pop(ref, None)
    else:
        progress.live[ref] = written
    return written


def _execute(service: SupportsSchedules, desired: DesiredSchedule | None, step: Step) -> str:
    """Send the write of a step, and return the identity of the schedule."""
    if step.live is None:
        if desired is None:
            raise ValueError("only a desired schedule is created")
        return service.create_schedule(desired, enabled=step.enabled, starts_at=step.starts_at)
    if step.kind is StepKind.DISABLE:
        service.disable_schedule(step.live)
    elif step.kind is StepKind.DELETE:
        service.delete_schedule(step.live)
    elif desired is not None and step.kind is StepKind.ENABLE:
        service.enable_schedule(step.live, catch_up=desired.catch_up)
    elif desired is not None and step.kind is StepKind.UPDATE:
        service.update_schedule(step.live, desired, step.fields)
    else:
        raise ValueError(f"no write for {step.kind}")
    return step.live.ref


def _check_written(
    written: LiveSchedule | None, fields: Mapping[str, JsonValue], name: str
) -> None:
    """Check that the service has the properties that were just written.

    Raises:
        BadAnswer: a property is missing or has another value.
    """
    if written is None:
        raise BadAnswer(f"The service took the schedule {name}, but does not have it.")
    dropped = changed_fields(written.fields, fields)
    if dropped:
        raise BadAnswer(
            f"The service did not keep {', '.join(dropped)} of the schedule {name}.",
            hint=f"See what it has: kfgcp schedule show {name}",
        )


def _read_again(
    service: SupportsSchedules, project: str, name: str, clock: Clock
) -> dict[str, LiveSchedule]:
    """Return the schedules of a name after a write whose answer was lost.

    A write may arrive late, so the service is read until two answers are equal.
    """
    before: dict[str, LiveSchedule] | None = None
    for pause in LOOKUP_PAUSES:
        clock.sleep(pause)
        current = {
            schedule.ref: schedule
            for schedule in service.list_schedules()
            if schedule.name == name and is_own(schedule, project)
        }
        if current == before:
            return current
        before = current
    return before or {}
