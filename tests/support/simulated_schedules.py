"""A service with schedules in simulated time, for tests of the steps.

It behaves as the services do: it starts the run of each due time while a schedule is enabled, at a
random moment up to some seconds later. Requests take time. The answer of a write may be lost, and
the caller may be killed before or after any write.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from kfgcp.backends.schedules import DesiredSchedule, FiredRun, LiveSchedule, ScheduleFacts
from kfgcp.cron import Timetable
from kfgcp.errors import Unreachable
from kfgcp.model import JsonValue

START = datetime(2026, 1, 1, tzinfo=UTC)

# Vertex AI updates these properties in place, and cannot create a disabled schedule.
WITH_UPDATE = ScheduleFacts(has_update=True)

# Kubeflow Pipelines has no update. An enabled schedule starts what it missed since its start time,
# see getNextScheduledTimeImp in cron_schedule.go of the controller.
WITHOUT_UPDATE = ScheduleFacts(creates_disabled=True, fires_missed=True)


# A due run starts at most this many seconds after its due time, and some more for a step of the
# simulation. The controller of Kubeflow Pipelines looks every 10 seconds.
MAX_START_LAG: Final = 8.0


class KilledError(BaseException):
    """The process that applies was killed."""


@dataclass
class Row:
    """A schedule of the service. fired_until: the due times until this one are done with."""

    live: LiveSchedule
    timetable: Timetable
    catch_up: bool
    fired_until: datetime
    # When the service looks at the schedule next.
    looks_at: datetime = START
    # Its last run is active until then. At most one is active.
    active_until: datetime = START
    # When the service shows its last run.
    reports_at: datetime = START
    reported_due: datetime | None = None

    def read(self, now: datetime) -> LiveSchedule:
        """Return the schedule as the service shows it. now: the time."""
        if now < self.reports_at:
            live = replace(self.live, last_due=self.reported_due)
            return live if live.enabled else replace(live, handled_until=self.fired_until)
        if self.live.enabled:
            return replace(self.live, next_due=self.timetable.next(self.fired_until))
        return replace(self.live, handled_until=self.fired_until)


class SimulatedService:
    """See the module. It implements `SupportsSchedules`.

    Args:
        facts: how the service behaves.
        seed: for the moments at which runs start and faults happen.
        fault_rate: how often the answer of a write is lost.

    Attributes:
        active_seconds: how long a run is active. With a limit, the due times meanwhile wait.
        report_seconds: how long after its start the service shows a run.
        disable_seconds: how long the request takes that disables a schedule.
        prepare_seconds: how long it takes to create what runs need.
        skew: how far the clock of the machine that applies is ahead.
    """

    def __init__(self, facts: ScheduleFacts, seed: int, fault_rate: float = 0.0) -> None:
        self.facts = facts
        self.random = random.Random(seed)  # noqa: S311
        self.fault_rate = fault_rate
        self.now = START
        self.skew = timedelta(0)
        self.active_seconds = 0.0
        self.report_seconds = 0.0
        self.disable_seconds = 0.0
        self.prepare_seconds = 0.0
        self.rows: dict[str, Row] = {}
        self.started: list[tuple[datetime, str]] = []
        self.writes = 0
        self.kill_after: int | None = None
        self.most_enabled = 0
        # The runs that `apply` has started: due time -> when it ends, and the most at one moment.
        self.fired_until: dict[datetime, datetime] = {}
        self.most_fired_active = 0
        self._count = 0

    @property
    def schedule_facts(self) -> ScheduleFacts:
        return self.facts

    # -- time

    def advance(self, seconds: float) -> None:
        """Let time pass, in steps in which enabled schedules start their runs."""
        end = self.now + timedelta(seconds=seconds)
        while self.now < end:
            step = timedelta(seconds=self.random.uniform(0.2, 5.0))
            self.now = min(end, self.now + step)
            self._start_due_runs()

    def _start_due_runs(self) -> None:
        # A disabled or deleted schedule does not start what was due since the last look.
        enabled = [row for row in self.rows.values() if row.live.enabled]
        for row in enabled:
            if self.now < row.looks_at:
                continue
            row.looks_at = self.now + timedelta(seconds=self.random.uniform(0, MAX_START_LAG))
            due_times = row.timetable.between(row.fired_until, self.now, limit=1000)
            if not due_times:
                continue
            if not row.catch_up:
                due_times = due_times[-1:]
            for due in due_times:
                if self.now < row.active_until:
                    break
                row.active_until = self.now + timedelta(seconds=self.active_seconds)
                self.started.append((due, row.live.ref))
                row.fired_until = due
                row.reported_due = row.live.last_due
                row.reports_at = self.now + timedelta(seconds=self.report_seconds)
                row.live = replace(row.live, last_due=due)

    # -- SupportsSchedules

    def clock_offset(self) -> timedelta:
        return -self.skew

    def list_schedules(self) -> Sequence[LiveSchedule]:
        self.advance(self.random.uniform(0.1, 1.0))
        return [row.read(self.now) for row in self.rows.values()]

    def read_schedule(self, ref: str) -> LiveSchedule | None:
        self.advance(self.random.uniform(0.05, 0.5))
        row = self.rows.get(ref)
        return None if row is None else row.read(self.now)

    def fields_of(self, desired: DesiredSchedule) -> Mapping[str, JsonValue]:
        return fields_of(desired)

    def prepare_runs(self, desired: DesiredSchedule) -> None:
        self.advance(self.prepare_seconds)

    def create_schedule(
        self, desired: DesiredSchedule, *, enabled: bool, starts_at: datetime | None
    ) -> str:
        assert enabled or self.facts.creates_disabled
        self._before_write()
        self._count += 1
        ref = f"schedule-{self._count}"
        begin = starts_at or self.now
        live = LiveSchedule(
            ref=ref,
            project=desired.project,
            name=desired.name,
            display_name=desired.name,
            enabled=enabled,
            fields=self.fields_of(desired),
            timetable=desired.timetable,
            created_at=self.now,
            updated_at=self.now,
            starts_at=begin,
            disabled_at=None if enabled else self.now,
        )
        self.rows[ref] = Row(live, desired.timetable, desired.catch_up, begin)
        self._after_write()
        return ref

    def update_schedule(
        self, live: LiveSchedule, desired: DesiredSchedule, fields: Sequence[str]
    ) -> None:
        assert self.facts.has_update
        self._before_write()
        row = self.rows[live.ref]
        new_fields = self.fields_of(desired)
        changed = {name: new_fields[name] for name in fields}
        row.live = replace(
            row.live,
            fields={**row.live.fields, **changed},
            timetable=desired.timetable,
            updated_at=self.now,
        )
        row.timetable = desired.timetable
        # "All unstarted runs before the update time will be skipped", schedule_service.proto.
        row.fired_until = self.now
        self._after_write()

    def enable_schedule(self, live: LiveSchedule, *, catch_up: bool) -> None:
        self._before_write()
        row = self.rows[live.ref]
        if not self.facts.fires_missed and not catch_up and not row.live.enabled:
            row.fired_until = self.now
        if not self.facts.creates_disabled and row.live.starts_at > self.now:
            # A schedule that was created to be paused.
            row.live = replace(row.live, starts_at=self.now)
            row.fired_until = self.now
        row.live = replace(row.live, enabled=True, disabled_at=None, updated_at=self.now)
        self._after_write()

    def disable_schedule(self, live: LiveSchedule) -> None:
        self._before_write()
        self.advance(self.disable_seconds)
        row = self.rows[live.ref]
        row.live = replace(row.live, enabled=False, disabled_at=self.now, updated_at=self.now)
        self._after_write()

    def delete_schedule(self, live: LiveSchedule) -> None:
        self._before_write()
        self.rows.pop(live.ref, None)
        self._after_write()

    def fire(self, desired: DesiredSchedule, due: datetime) -> FiredRun:
        self._before_write()
        run = (due, f"fired-{desired.name}")
        is_new = run not in self.started
        if is_new:
            self.started.append(run)
            self.fired_until[due] = self.now + timedelta(seconds=self.active_seconds)
            active = [end for end in self.fired_until.values() if end > self.now]
            self.most_fired_active = max(self.most_fired_active, len(active))
        self._after_write()
        is_active = self.fired_until[due] > self.now
        return FiredRun(f"run-{due.isoformat()}", is_new, is_active)

    # -- faults

    def _before_write(self) -> None:
        if self.kill_after is not None and self.writes >= self.kill_after:
            raise KilledError
        self.advance(self.random.uniform(0.05, 0.5))
        if self.random.random() < self.fault_rate / 2:
            raise lost_answer()

    def _after_write(self) -> None:
        self.writes += 1
        enabled = [row for row in self.rows.values() if row.live.enabled]
        self.most_enabled = max(self.most_enabled, len(enabled))
        self.advance(self.random.uniform(0.05, 0.5))
        if self.kill_after is not None and self.writes > self.kill_after:
            raise KilledError
        if self.random.random() < self.fault_rate / 2:
            raise lost_answer()


def lost_answer() -> Unreachable:
    return Unreachable("The connection ended before the answer.").amended(unknown=True)


def fields_of(desired: DesiredSchedule) -> dict[str, JsonValue]:
    """Return the properties of a schedule. The version stands for everything that is not a time."""
    return {
        "cron": str(desired.timetable.every_seconds),
        "version": desired.request.spec.version,
        "max_active": desired.max_active,
    }
