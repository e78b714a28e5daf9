"""A schedule changes safely with a wrong clock, waiting runs and slow requests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise

import pytest

from converged_schedules import SERVICES, apply, desired_schedule, kinds
from kfgcp.backends.schedules import DesiredSchedule, LiveSchedule
from kfgcp.deploy.schedules.converge import MAX_REFUSALS, MAX_REFUSED
from kfgcp.deploy.schedules.steps import StepKind, next_step
from kfgcp.errors import Refused, UsageError
from simulated_schedules import WITH_UPDATE, WITHOUT_UPDATE, KilledError, SimulatedService

MINUTE = timedelta(minutes=1)


def doubled(service: SimulatedService) -> list[datetime]:
    """Return the due times that have two runs."""
    counts = Counter(due for due, _ in service.started)
    return [due for due, count in counts.items() if count > 1]


def lost(service: SimulatedService, period: timedelta) -> Sequence[datetime]:
    """Return the due times after which one is missing."""
    dues = sorted({due for due, _ in service.started})
    return [before for before, after in pairwise(dues) if after - before > period]


# -- the clock


@pytest.mark.parametrize("kind", SERVICES)
@pytest.mark.parametrize("seconds", [-120, -30, -9, 9, 30, 120])
def test_a_wrong_clock_of_this_machine_loses_no_due_time(kind: str, seconds: int) -> None:
    for seed in range(8):
        service = SimulatedService(SERVICES[kind], seed)
        service.skew = timedelta(seconds=seconds)
        apply(service, desired_schedule("one", 1))
        service.advance(180 + seed * 7)

        apply(service, desired_schedule("two", 1))
        service.advance(180)

        assert (lost(service, MINUTE), doubled(service)) == ([], [])


# -- slow requests


@pytest.mark.parametrize("seconds", [20, 45])
def test_a_slow_request_that_disables_doubles_no_run(seconds: int) -> None:
    for seed in range(10):
        service = SimulatedService(WITHOUT_UPDATE, seed)
        apply(service, desired_schedule("one", 1))
        service.advance(180 + seed * 7)
        service.disable_seconds = seconds

        apply(service, desired_schedule("two", 1))
        service.advance(180)

        assert doubled(service) == []


def test_slow_preparations_lose_no_due_time() -> None:
    for seed in range(10):
        service = SimulatedService(WITH_UPDATE, seed)
        apply(service, desired_schedule("one", 1))
        service.advance(180 + seed * 7)
        service.prepare_seconds = 45

        apply(service, desired_schedule("two", 1))
        service.advance(180)

        assert (lost(service, MINUTE), doubled(service)) == ([], [])


# -- runs that are active


@pytest.mark.parametrize("kind", SERVICES)
def test_a_due_time_that_waits_for_an_active_run_is_started_after_a_change(kind: str) -> None:
    service = SimulatedService(SERVICES[kind], seed=1)
    service.active_seconds = 90 * 60
    apply(service, desired_schedule("one", 60))
    # The run of 01:00 is active until 02:30, and 02:00 waits.
    service.advance(2 * 3600 + 600)

    apply(service, desired_schedule("two", 60))
    service.advance(6 * 3600)

    assert (lost(service, 60 * MINUTE), doubled(service)) == ([], [])
    assert [row.live.enabled for row in service.rows.values()] == [True]


class _OldServer(SimulatedService):
    """A server before 2.16: a schedule with an active run is only disabled."""

    busy = ""

    def _show(self, live: LiveSchedule) -> LiveSchedule:
        return replace(live, is_busy=live.ref == self.busy and not live.enabled)

    def list_schedules(self) -> Sequence[LiveSchedule]:
        return [self._show(live) for live in super().list_schedules()]

    def read_schedule(self, ref: str) -> LiveSchedule | None:
        live = super().read_schedule(ref)
        return None if live is None else self._show(live)

    def delete_schedule(self, live: LiveSchedule) -> None:
        if live.ref == self.busy:
            self.disable_schedule(live)
            return
        super().delete_schedule(live)


def test_an_earlier_version_returns_while_its_run_is_active() -> None:
    service = _OldServer(WITHOUT_UPDATE, seed=1)
    apply(service, desired_schedule("one", 60))
    service.advance(3700)
    service.busy = "schedule-1"
    apply(service, desired_schedule("two", 60))
    service.advance(3600)

    done = apply(service, desired_schedule("one", 60))
    service.advance(3 * 3600)
    enabled = {row.live.ref: row.live.enabled for row in service.rows.values()}
    service.busy = ""
    last = apply(service, desired_schedule("one", 60))

    assert kinds(done) == [StepKind.CREATE, StepKind.DISABLE, StepKind.ENABLE]
    # The second one stays with the first one: its start time tells what the first one owes.
    assert enabled == {"schedule-1": False, "schedule-2": False, "schedule-3": True}
    assert kinds(last) == [StepKind.DELETE, StepKind.DELETE]
    assert (lost(service, 60 * MINUTE), doubled(service)) == ([], [])


# -- what is left to do


def test_a_schedule_that_starts_late_needs_a_step() -> None:
    service = SimulatedService(WITH_UPDATE, seed=1)
    service.kill_after = 1
    with suppress(KilledError):
        apply(service, desired_schedule("one", 5, paused=True))
    service.kill_after = None
    desired = desired_schedule("one", 5)

    def has_step() -> bool:
        fields, live = service.fields_of(desired), service.list_schedules()
        return next_step(desired, fields, live, service.facts, service.now) is not None

    before = has_step()
    apply(service, desired)

    assert (before, has_step()) == (True, False)


def test_a_service_that_refuses_again_and_again_is_reported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    service = SimulatedService(WITH_UPDATE, seed=1)
    tries: list[int] = []

    def refuse(desired: DesiredSchedule, **options: object) -> str:
        tries.append(1)
        raise Refused("The quota of schedules is exceeded.", status=429).amended(unknown=True)

    monkeypatch.setattr(service, "create_schedule", refuse)

    with pytest.raises(Refused, match="quota of schedules"):
        apply(service, desired_schedule("one", 5))

    assert len(tries) == MAX_REFUSALS


class _RefusingService(SimulatedService):
    """A service that answers 429 to one verb for ever. Each try takes some seconds."""

    refused_verb = ""
    try_seconds = 3.0
    first_refusal: datetime | None = None

    def enable_schedule(self, live: LiveSchedule, *, catch_up: bool) -> None:
        self._refuse("enable")
        super().enable_schedule(live, catch_up=catch_up)

    def disable_schedule(self, live: LiveSchedule) -> None:
        self._refuse("disable")
        super().disable_schedule(live)

    def _refuse(self, verb: str) -> None:
        if verb == self.refused_verb:
            self.first_refusal = self.first_refusal or self.now
            self.advance(self.try_seconds)
            raise Refused("Too many requests.", status=429).amended(unknown=True)


@pytest.mark.parametrize("period", [1, 60])
@pytest.mark.parametrize("try_seconds", [0.5, 3.0, 10.0])
@pytest.mark.parametrize("verb", ["enable", "disable"])
def test_too_many_requests_end_an_apply_after_about_a_minute(
    verb: str, try_seconds: float, period: int
) -> None:
    service = _RefusingService(WITHOUT_UPDATE, seed=1)
    apply(service, desired_schedule("one", period))
    service.advance(3630)
    service.refused_verb = verb
    service.try_seconds = try_seconds

    with pytest.raises(Refused) as refused:
        apply(service, desired_schedule("two", period))

    assert service.first_refusal is not None
    # The last try may begin just before the minute is over.
    assert service.now - service.first_refusal < MAX_REFUSED + timedelta(seconds=20)
    assert refused.value.message == (
        f"The service refuses to {verb} the schedule churn-daily for now: Too many requests."
    )
    assert refused.value.hint == (
        "Repeat the command some minutes later. It continues where it has stopped."
    )
    service.refused_verb = ""
    apply(service, desired_schedule("two", period))
    service.advance(2 * 3600)
    assert (lost(service, period * MINUTE), doubled(service)) == ([], [])
    assert [row.live.enabled for row in service.rows.values()] == [True]


def test_more_missed_due_times_than_apply_starts_are_an_error() -> None:
    service = SimulatedService(WITH_UPDATE, seed=1)
    apply(service, desired_schedule("one", 5, paused=True))
    service.advance(24 * 3600)

    with pytest.raises(UsageError, match=r"churn-daily has missed more than 100 due times"):
        apply(service, desired_schedule("two", 5))
    apply(service, desired_schedule("two", 5, catch_up=False))

    assert service.started == []
    assert [row.live.enabled for row in service.rows.values()] == [True]
