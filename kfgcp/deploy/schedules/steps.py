"""Decide which single write brings the schedules of a service closer to kfgcp.toml.

`next_step` is pure. It looks only at what the service has, so a process that was killed between two
writes needs no memory: the next process finds the same state, and continues. These rules hold in
every state that the steps lead to:

- At most one schedule of a name starts the run of a due time.
- The old schedule is deleted only after the new one has taken over.
- A schedule is not changed near a due time, because a service may start the run a little later.

A service without updates replaces a schedule: create the new one disabled, disable the old one,
enable the new one, delete the old one. The new schedule has a start time shortly after its
creation, and no due time lies between the two. The old schedule is disabled before that start time.
So the old one starts all due times before it, and the new one all after it. When that moment was
missed, because a process was killed, the new schedule is deleted unused, and the replacement begins
again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from kfgcp.backends.schedules import DesiredSchedule, LiveSchedule, ScheduleFacts
from kfgcp.cron import Timetable
from kfgcp.deploy.schedules.missed import (
    LAG,
    find_missed,
    find_missed_of_all,
    find_queue,
    find_skipped,
    must_stay,
    owes,
)
from kfgcp.model import JsonValue

MARGIN: Final = timedelta(seconds=5)
"""Nothing is changed this long before a due time."""

LEAD: Final = timedelta(seconds=25)
"""A replacement may start runs this long after its creation. LAG + LEAD + MARGIN is less than a
minute, so a schedule of every minute can be replaced."""

PAUSED_LEAD: Final = timedelta(hours=1)
"""On a service that creates only enabled schedules, a paused one gets a start time this far ahead.
So it starts no run before it is disabled."""


class StepKind(StrEnum):
    """What a step does."""

    CREATE = "create"
    UPDATE = "update"
    ENABLE = "enable"
    DISABLE = "disable"
    DELETE = "delete"
    START = "start"
    WAIT = "wait"


@dataclass(frozen=True, slots=True)
class Step:
    """One write, or a pause before the next one.

    Attributes:
        kind: what to do. START only starts the runs of `missed`.
        live: the schedule to change, None for CREATE and WAIT.
        fields: the properties to change, for UPDATE.
        enabled: whether the new schedule starts runs, for CREATE.
        starts_at: the start time of the new schedule, for CREATE; None for now.
        missed: due times whose runs must be started before the step, the earliest first.
        waiting: due times without a run that will be `missed` of a later step, the earliest first.
            For DISABLE, the service itself starts their runs while the schedule stays enabled.
        until: the end of the pause, for WAIT.
    """

    kind: StepKind
    live: LiveSchedule | None = None
    fields: tuple[str, ...] = ()
    enabled: bool = True
    starts_at: datetime | None = None
    missed: tuple[datetime, ...] = ()
    waiting: tuple[datetime, ...] = ()
    until: datetime | None = None


def next_step(
    desired: DesiredSchedule | None,
    fields: Mapping[str, JsonValue],
    live: Sequence[LiveSchedule],
    facts: ScheduleFacts,
    now: datetime,
    *,
    may_wait: bool = True,
    started: Collection[datetime] = (),
) -> Step | None:
    """Return the next step for the schedules of one name, None when nothing is left to do.

    A schedule with the right properties may still have to change, for example its start time.

    Args:
        desired: the schedule of kfgcp.toml, None when it must not exist.
        fields: the properties that it must have, from `SupportsSchedules.fields_of`.
        live: the schedules with this name, and the marker of the project, on the service.
        facts: constant properties of the service.
        now: the time, with a time zone.
        may_wait: whether the step may be a pause. Otherwise a schedule is changed near a due time
            too.
        started: missed due times that have a run.
    """
    in_order = sorted(live, key=lambda schedule: (schedule.created_at, schedule.ref))
    if desired is None:
        return _remove(in_order, facts)
    usable = [schedule for schedule in in_order if _is_usable(schedule, in_order, facts)]
    current = _find_current(fields, usable, facts)
    others = [schedule for schedule in in_order if schedule is not current]
    if current is None:
        return _begin_replacement(desired, others, facts, now, may_wait=may_wait)
    changed = changed_fields(current.fields, fields)
    if changed:
        return _update(desired, current, others, changed, facts, now, may_wait=may_wait)
    step = _take_over(desired, current, others, facts, now, may_wait=may_wait)
    return step or _finish(desired, current, others, facts, started)


def _remove(live: Sequence[LiveSchedule], facts: ScheduleFacts) -> Step | None:
    """Return the next step when no schedule must remain."""
    for schedule in live:
        if schedule.is_busy:
            # It is disabled, and a later apply deletes it.
            continue
        if schedule.enabled and facts.deletion_ends_runs:
            return Step(StepKind.DISABLE, live=schedule)
        return Step(StepKind.DELETE, live=schedule)
    return None


def changed_fields(
    before: Mapping[str, JsonValue], after: Mapping[str, JsonValue]
) -> tuple[str, ...]:
    """Return the names of the properties that differ, sorted.

    Example:
        >>> changed_fields({"cron": "0 6 * * *", "max_active": 1}, {"cron": "0 7 * * *"})
        ('cron', 'max_active')
    """
    names = before.keys() | after.keys()
    return tuple(sorted(name for name in names if before.get(name) != after.get(name)))


def can_update(
    before: Mapping[str, JsonValue], after: Mapping[str, JsonValue], facts: ScheduleFacts
) -> bool:
    """Return whether an update can change a schedule so that it has other properties.

    Vertex AI cannot remove a property: "The non-empty fields cannot be unset", see
    UpdateScheduleRequest in schedule_service.proto.
    """
    removed = before.keys() - after.keys()
    return facts.has_update and not removed


def _is_usable(
    schedule: LiveSchedule, in_order: Sequence[LiveSchedule], facts: ScheduleFacts
) -> bool:
    """Return whether a schedule can be kept.

    A disabled schedule that has started runs would start again what later schedules have started.

    in_order: all schedules of the name, the oldest first.
    """
    if schedule.enabled:
        return True
    if facts.creates_disabled and _is_unused(schedule):
        return True
    return schedule is in_order[-1] and not any(other.enabled for other in in_order)


def _is_unused(schedule: LiveSchedule) -> bool:
    return not schedule.enabled and schedule.last_due is None and not schedule.is_busy


def _find_current(
    fields: Mapping[str, JsonValue], live: Sequence[LiveSchedule], facts: ScheduleFacts
) -> LiveSchedule | None:
    """Return the schedule to keep: one with the right properties, else one that can be updated.

    Of several, it is the oldest.
    """
    for schedule in live:
        if schedule.fields == fields:
            return schedule
    for schedule in live:
        if can_update(schedule.fields, fields, facts):
            return schedule
    return None


def _update(
    desired: DesiredSchedule,
    current: LiveSchedule,
    others: Sequence[LiveSchedule],
    changed: tuple[str, ...],
    facts: ScheduleFacts,
    now: datetime,
    *,
    may_wait: bool,
) -> Step:
    """Return the next step when a schedule can be updated. changed: the properties to change."""
    queue = find_queue(current, now)
    if queue:
        # An update skips the due times that wait. Those of a paused schedule are started first,
        # and a process that is killed does not forget them.
        quiet = None
        if may_wait:
            quiet = _wait_for_quiet([current], desired.timetable, timedelta(0), now)
        # A schedule that stays paused starts none of them for now.
        waiting = () if desired.paused else queue
        return quiet or Step(StepKind.DISABLE, live=current, waiting=waiting)
    missed = find_skipped(desired, current, now)
    if len(missed) > (0 if desired.paused else desired.max_active):
        # An update would skip those that `apply` cannot start now. A replacement starts the new due
        # times, and the old schedule stays until all of its own have runs.
        all_live = list(others) + [current]
        return _begin_replacement(desired, all_live, facts, now, may_wait=may_wait)
    # A paused schedule that catches up must have no due time between `now` and the update.
    needs_quiet = current.enabled or (desired.catch_up and not desired.paused)
    wait = None
    if may_wait:
        affected = replace(current, enabled=needs_quiet)
        wait = _wait_for_quiet([affected], desired.timetable, timedelta(0), now)
    return wait or Step(StepKind.UPDATE, live=current, fields=changed, missed=missed)


def _begin_replacement(
    desired: DesiredSchedule,
    others: Sequence[LiveSchedule],
    facts: ScheduleFacts,
    now: datetime,
    *,
    may_wait: bool,
) -> Step:
    """Return the next step when no schedule can be kept.

    others: the schedules with other properties, the oldest first.
    """
    enabled = [schedule for schedule in others if schedule.enabled]
    lead = LEAD if facts.creates_disabled else timedelta(0)
    wait = None
    if may_wait:
        wait = _wait_for_quiet(enabled, desired.timetable, lead, now)
    if facts.creates_disabled:
        if enabled:
            return wait or Step(StepKind.CREATE, enabled=False, starts_at=now + LEAD)
        return Step(StepKind.CREATE, enabled=False, starts_at=_handled_until(others))
    if enabled:
        return wait or Step(StepKind.DISABLE, live=enabled[0])
    starts_at = now + PAUSED_LEAD if desired.paused else None
    waiting = find_missed_of_all(desired, others, now)
    return Step(StepKind.CREATE, enabled=True, starts_at=starts_at, waiting=waiting)


def _take_over(
    desired: DesiredSchedule,
    current: LiveSchedule,
    others: Sequence[LiveSchedule],
    facts: ScheduleFacts,
    now: datetime,
    *,
    may_wait: bool,
) -> Step | None:
    """Return the next step until a schedule with the right properties has taken over.

    Args:
        desired: the schedule of kfgcp.toml.
        current: the schedule with its properties.
        others: the other schedules with its name.
        facts: constant properties of the service.
        now: the time.
        may_wait: see `next_step`.
    """
    for other in others:
        if not other.enabled:
            continue
        is_late = now >= current.starts_at - MARGIN
        if not current.enabled and is_late and facts.creates_disabled:
            # The other schedule may have started due times after the start time of this one. This
            # one has never been enabled, so it can be made again with a later start time.
            return Step(StepKind.DELETE, live=current)
        return Step(StepKind.DISABLE, live=other)
    is_unused = facts.creates_disabled and _is_unused(current)
    report = _wait_for_report(others, current, now) if is_unused and may_wait else None
    if report is not None:
        return report
    if is_unused and _must_start_earlier_or_later(desired, current, others):
        return Step(StepKind.DELETE, live=current)
    if current.enabled and desired.paused:
        wait = None
        if may_wait and current.starts_at <= now:
            # The run of a due time before the pause must have been started.
            wait = _wait_for_quiet([current], desired.timetable, timedelta(0), now)
        return wait or Step(StepKind.DISABLE, live=current)
    starts_late = not facts.creates_disabled and _starts_late(current, now)
    if not desired.paused and (starts_late or not current.enabled):
        wait = None
        if may_wait and starts_late:
            # The start time becomes now, and `now` is exact to a second.
            wait = _wait_for_quiet([current], desired.timetable, timedelta(0), now)
        return wait or Step(StepKind.ENABLE, live=current)
    return None


def _finish(
    desired: DesiredSchedule,
    current: LiveSchedule,
    others: Sequence[LiveSchedule],
    facts: ScheduleFacts,
    started: Collection[datetime],
) -> Step | None:
    """Return the next step when a schedule has taken over: start what others owe, delete them."""
    for other in others:
        if must_stay(desired, current, others, other, facts):
            # The apply that ends the pause starts what it owes.
            return None
        missed = find_missed(desired, current, others, other, facts)
        if not other.is_busy:
            return Step(StepKind.DELETE, live=other, missed=missed)
        # A later apply deletes it. It is disabled, so it starts no run until then. The schedules
        # after it stay too: their start times tell which due times this one owes.
        unstarted = tuple(due for due in missed if due not in started)
        return Step(StepKind.START, live=other, missed=unstarted) if unstarted else None
    return None


def _handled_until(others: Sequence[LiveSchedule]) -> datetime | None:
    """Return the time after which disabled schedules have started no due times.

    It is the due time of their last run. They owe the due times after it, for example because
    max_active of their runs were active. Without runs, it is the time at which the last of these
    schedules was disabled.
    """
    last_dues = [other.last_due for other in others if other.last_due is not None]
    if last_dues:
        # An older schedule owes only due times before the start of the next one. `apply` starts
        # their runs.
        return max(last_dues + [other.starts_at for other in others[1:]])
    disabled_times = [other.disabled_at for other in others if other.disabled_at is not None]
    return max(disabled_times, default=None)


def _must_start_earlier_or_later(
    desired: DesiredSchedule, current: LiveSchedule, others: Sequence[LiveSchedule]
) -> bool:
    """Return whether an unused replacement must be created again with another start time.

    The other schedules are disabled. They may have started due times after the start time of the
    replacement, when the request that disabled them took long. Or they owe due times before it.
    """
    until = _handled_until(others)
    if until is None:
        return False
    if until > current.starts_at:
        return True
    last = [other for other in others if other.last_due == until]
    # With another timetable, `apply` starts the due times that the last one owes, see `missed`.
    has_same_times = any(other.timetable == desired.timetable for other in last)
    return has_same_times and bool(desired.timetable.between(until, current.starts_at, 1))


def _wait_for_report(
    others: Sequence[LiveSchedule], current: LiveSchedule, now: datetime
) -> Step | None:
    """Return a pause until the server has recorded the last run of a schedule that owes due times.

    A run can end in the moment before the schedule is disabled. Then the controller starts the run
    of a due time that waited, and the server lists this run some seconds later.
    """
    owing = [other for other in others if owes(other, current, others)]
    end = max((other.updated_at + LAG for other in owing if not other.enabled), default=now)
    return Step(StepKind.WAIT, until=end) if end > now else None


def _starts_late(live: LiveSchedule, now: datetime) -> bool:
    """Return whether a schedule has the late start time of one that was created to be paused.

    The process that created it may have been killed before the pause. Other schedules start at
    their creation, which is in the future only when the clock of this machine is behind.
    """
    return live.starts_at > max(now, live.created_at + PAUSED_LEAD / 2)


def _wait_for_quiet(
    live: Sequence[LiveSchedule], timetable: Timetable, lead: timedelta, now: datetime
) -> Step | None:
    """Return a pause when a due time is near, None when schedules can be changed now.

    Args:
        live: the schedules that are about to change.
        timetable: when the new schedule starts runs.
        lead: the time after now in which no due time may be. MARGIN is added to it.
        now: the time.
    """
    enabled = [schedule for schedule in live if schedule.enabled]
    if not enabled:
        return None
    timetables = [schedule.timetable for schedule in enabled] + [timetable]
    ends = []
    for item in timetables:
        if item is None:
            continue
        near = item.between(now - LAG, now + lead + MARGIN, limit=10)
        if near:
            ends.append(near[-1] + LAG)
    # Some schedules have no quiet moment, so `converge` ends all pauses after MAX_WAIT.
    return Step(StepKind.WAIT, until=max(ends)) if ends else None
