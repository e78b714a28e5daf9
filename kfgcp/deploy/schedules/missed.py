"""Tell which due times have no run and get one from `apply`, not from a schedule. Pure.

A schedule *owes* a due time when it was enabled at that time and has not started the run, for
example because `max_active` of its runs were active.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from kfgcp.backends.schedules import DesiredSchedule, LiveSchedule, ScheduleFacts
from kfgcp.cron import Timetable

LAG: Final = timedelta(seconds=20)
"""A service may start a run this long after its due time.

The controller of Kubeflow Pipelines looks at a recurring run every 10 seconds (requeueing in
controller.go of the ScheduledWorkflow controller). `now` is exact to a second, see
`SupportsSchedules.clock_offset`."""

MAX_MISSED: Final = 100
"""The most due times for which `apply` starts the runs itself. At most `max_active` of these runs
are active at the same time."""


def find_missed(
    desired: DesiredSchedule,
    current: LiveSchedule,
    others: Sequence[LiveSchedule],
    old: LiveSchedule,
    facts: ScheduleFacts,
) -> tuple[datetime, ...]:
    """Return the due times that an old schedule leaves behind, the earliest first.

    They are those that the old schedule owes, and those between the old schedule and the next one.

    Args:
        desired: the schedule of kfgcp.toml.
        current: the schedule that has its properties.
        others: the other schedules with its name.
        old: one of the others. It is disabled.
        facts: constant properties of the service.
    """
    if desired.paused:
        return ()
    until = _succession(current, others, old)
    if facts.fires_missed:
        return _owed_to_server(old, until, catch_up=desired.catch_up)
    if old.disabled_at is None:
        return ()
    gap: tuple[datetime, ...] = ()
    if old.disabled_at < until:
        gap = _between(desired.timetable, old.disabled_at, until, catch_up=desired.catch_up)
    return owed(old) + gap


def must_stay(
    desired: DesiredSchedule,
    current: LiveSchedule,
    others: Sequence[LiveSchedule],
    old: LiveSchedule,
    facts: ScheduleFacts,
) -> bool:
    """Return whether an old schedule has due times without a run that a pause must not lose.

    The arguments are those of `find_missed`.
    """
    if not desired.paused:
        return False
    if facts.fires_missed:
        return owes(old, current, others)
    if owed(old):
        return True
    if not desired.catch_up or old.disabled_at is None:
        return False
    # A schedule that is created to be paused has a start time in the future for some seconds.
    later = _later_ones(current, others, old)
    until = min((item.created_at for item in later), default=old.disabled_at)
    return bool(_between(desired.timetable, old.disabled_at, until, catch_up=False))


def find_missed_of_all(
    desired: DesiredSchedule, others: Sequence[LiveSchedule], now: datetime
) -> tuple[datetime, ...]:
    """Return the due times that have no run when a schedule is created now.

    Args:
        desired: the schedule of kfgcp.toml.
        others: the schedules with its name. All are disabled.
        now: the time.
    """
    if desired.paused or not others:
        return ()
    missed: list[datetime] = []
    for old in others:
        missed += owed(old)
    disabled_times = [old.disabled_at for old in others if old.disabled_at is not None]
    if disabled_times:
        start = max(disabled_times)
        missed += _between(desired.timetable, start, now, catch_up=desired.catch_up)
    return tuple(missed)


def find_skipped(
    desired: DesiredSchedule, current: LiveSchedule, now: datetime
) -> tuple[datetime, ...]:
    """Return the due times of a pause that an update would skip although they must be started.

    Vertex AI: "All unstarted runs before the update time will be skipped", see UpdateSchedule in
    schedule_service.proto.
    """
    if current.enabled or current.disabled_at is None:
        return ()
    if not desired.catch_up:
        return owed(current)
    pause = desired.timetable.between(current.disabled_at, now, MAX_MISSED + 1)
    return owed(current) + tuple(pause)


def owed(live: LiveSchedule) -> tuple[datetime, ...]:
    """Return the due times that a schedule had not started when it was disabled."""
    if live.timetable is None or live.handled_until is None or live.disabled_at is None:
        return ()
    return tuple(live.timetable.between(live.handled_until, live.disabled_at, MAX_MISSED + 1))


def find_queue(live: LiveSchedule, now: datetime) -> tuple[datetime, ...]:
    """Return the due times that wait at an enabled schedule, because max_active runs are active."""
    if not live.enabled or live.next_due is None or live.next_due >= now - LAG:
        return ()
    if live.timetable is None:
        return (live.next_due,)
    later = live.timetable.between(live.next_due, now, MAX_MISSED)
    return (live.next_due,) + tuple(later)


def owes(old: LiveSchedule, current: LiveSchedule, others: Sequence[LiveSchedule]) -> bool:
    """Return whether a recurring run owes a due time before the start of its successor."""
    until = _succession(current, others, old)
    return bool(_owed_to_server(old, until, catch_up=False))


def _succession(
    current: LiveSchedule, others: Sequence[LiveSchedule], old: LiveSchedule
) -> datetime:
    """Return the time after which later schedules start the runs.

    An old schedule can have several successors, when processes were killed.
    """
    later = _later_ones(current, others, old)
    return min((item.starts_at for item in later), default=current.starts_at)


def _later_ones(
    current: LiveSchedule, others: Sequence[LiveSchedule], old: LiveSchedule
) -> list[LiveSchedule]:
    """Return the schedules that were created after an old one."""
    order = (old.created_at, old.ref)
    return [item for item in [current] + list(others) if (item.created_at, item.ref) > order]


def _owed_to_server(old: LiveSchedule, until: datetime, *, catch_up: bool) -> tuple[datetime, ...]:
    """Return the due times that a recurring run owes up to a time, which is `until`.

    That is the start time of the next recurring run, which starts the due times after it. When the
    timetable changes, the start time of the next one is not before the due times that are owed.
    """
    if old.timetable is None or old.last_due is None:
        return ()
    seconds = old.timetable.every_seconds
    if seconds is None:
        return _between(old.timetable, old.last_due, until, catch_up=catch_up)
    # The server counts an interval from the last run (periodic_schedule.go, GetNextScheduledEpoch).
    interval = timedelta(seconds=seconds)
    count = (until - old.last_due) // interval
    dues = [old.last_due + interval * number for number in range(1, min(count, MAX_MISSED + 1) + 1)]
    if dues and not catch_up:
        return (old.last_due + interval * count,)
    return tuple(dues)


def _between(
    timetable: Timetable, start: datetime, end: datetime, *, catch_up: bool
) -> tuple[datetime, ...]:
    """Return the due times after a time and not after another one: all, or the latest one."""
    if catch_up:
        return tuple(timetable.between(start, end, MAX_MISSED + 1))
    latest = timetable.previous(end)
    return () if latest is None or latest <= start else (latest,)
