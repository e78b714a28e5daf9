"""Due times that wait, or were missed, are started once, and not too many at the same time."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest

from converged_schedules import ONLY_REPLACES, SERVICES, apply, desired_schedule, kinds
from kfgcp.backends.schedules import DesiredSchedule, ScheduleFacts
from kfgcp.cron import Timetable
from kfgcp.deploy.plan.schedules import missed_note
from kfgcp.deploy.schedules.steps import StepKind, next_step
from kfgcp.errors import BackendError
from simulated_schedules import (
    START,
    WITH_UPDATE,
    WITHOUT_UPDATE,
    KilledError,
    SimulatedService,
)

HOUR = 3600.0


def hour(number: int) -> datetime:
    """Return a full hour of the first day of the simulation."""
    return datetime(2026, 1, 1, number, tzinfo=UTC)


def counts(service: SimulatedService) -> Counter[datetime]:
    """Return how many runs each due time has."""
    return Counter(due for due, _ in service.started)


def enabled_count(service: SimulatedService) -> int:
    return sum(row.live.enabled for row in service.rows.values())


# -- other due times on a service without updates


def service_with_queue(seed: int, *, active_hours: float, until_hours: float) -> SimulatedService:
    """Return a service like Kubeflow Pipelines whose schedule of every hour waits for its run."""
    service = SimulatedService(WITHOUT_UPDATE, seed)
    service.active_seconds = active_hours * HOUR
    apply(service, desired_schedule("one", 60))
    service.advance(until_hours * HOUR)
    return service


def test_a_due_time_that_waits_is_started_once_when_the_due_times_change() -> None:
    # The run of 01:00 is active until 02:30, and 02:00 waits.
    service = service_with_queue(seed=1, active_hours=1.5, until_hours=2.2)

    done = apply(service, desired_schedule("one", 180))
    service.advance(12 * HOUR)

    assert [due for due, _ in done.fired] == [hour(2)]
    dues = counts(service)
    assert sorted(dues) == [hour(number) for number in (1, 2, 3, 6, 9, 12)]
    assert set(dues.values()) == {1}


def test_due_times_that_change_back_while_some_wait_start_none_twice() -> None:
    service = service_with_queue(seed=1, active_hours=5, until_hours=3.2)
    first = apply(service, desired_schedule("one", 180))
    service.active_seconds = 60.0

    for _ in range(4):
        apply(service, desired_schedule("two", 60))
        service.advance(2 * HOUR)

    assert ([due for due, _ in first.fired], first.waiting) == ([hour(2)], (hour(3),))
    assert set(counts(service).values()) == {1}
    assert sorted(counts(service)) == [hour(number) for number in range(1, 12)]
    assert enabled_count(service) == len(service.rows) == 1


def test_without_catch_up_only_the_latest_due_time_that_waits_is_started() -> None:
    service = SimulatedService(WITHOUT_UPDATE, seed=1)
    service.active_seconds = 5 * HOUR
    apply(service, desired_schedule("one", 60, catch_up=False))
    service.advance(4.2 * HOUR)

    done = apply(service, desired_schedule("one", 180, catch_up=False))

    assert [due for due, _ in done.fired] == [hour(4)]


@pytest.mark.parametrize("kill", range(8))
def test_a_killed_change_of_the_due_times_starts_what_waits_once(kill: int) -> None:
    for seed in range(5):
        service = service_with_queue(seed, active_hours=1.5, until_hours=2.2)
        service.kill_after = service.writes + kill
        with suppress(KilledError):
            apply(service, desired_schedule("one", 180))
        service.kill_after = None
        service.advance(seed * 300.0)

        apply(service, desired_schedule("one", 180))
        service.advance(8 * HOUR)

        dues = counts(service)
        assert {hour(number): dues[hour(number)] for number in (1, 2, 3, 6, 9)} == dict.fromkeys(
            [hour(number) for number in (1, 2, 3, 6, 9)], 1
        )
        assert set(dues.values()) == {1}
        assert enabled_count(service) == 1


@pytest.mark.parametrize("period", [60, 180])
def test_a_run_that_starts_as_the_schedule_is_disabled_is_not_started_again(period: int) -> None:
    for seed in range(40):
        # The run of 01:00 ends about 02:05, when the schedule is disabled. The server records the
        # run of 02:00 some seconds after its start.
        active_hours = (3900 - seed / 4) / HOUR
        service = service_with_queue(seed, active_hours=active_hours, until_hours=2 + 1 / 12)
        service.report_seconds = 10.0

        apply(service, desired_schedule("two", period))
        service.advance(2 * HOUR)

        assert [due for due, count in counts(service).items() if count > 1] == []
        assert counts(service)[hour(2)] == 1


# -- missed due times that apply starts itself


def paused_service(facts: ScheduleFacts, hours: int) -> SimulatedService:
    """Return a service whose schedule was paused for some hours. A run takes 10 minutes."""
    service = SimulatedService(facts, seed=1)
    service.active_seconds = 600.0
    apply(service, desired_schedule("one", 60, paused=True))
    service.advance(hours * HOUR + 60)
    return service


@pytest.mark.parametrize("facts", [WITH_UPDATE, ONLY_REPLACES], ids=["update", "replace"])
def test_apply_starts_at_most_max_active_missed_due_times_at_once(facts: ScheduleFacts) -> None:
    service = paused_service(facts, 5)
    desired = desired_schedule("two", 60, max_active=2)

    first = apply(service, desired)
    again = apply(service, desired)
    service.advance(700)
    second = apply(service, desired)
    service.advance(700)
    last = apply(service, desired)
    service.advance(HOUR)

    fired = [[due.hour for due, _ in done.fired] for done in (first, again, second, last)]
    waiting = [[due.hour for due in done.waiting] for done in (first, again, second, last)]
    assert fired == [[1, 2], [], [3, 4], [5]]
    assert waiting == [[3, 4, 5], [3, 4, 5], [5], []]
    assert service.most_fired_active == 2
    assert set(counts(service).values()) == {1}
    assert sorted(counts(service)) == [hour(number) for number in range(1, 7)]
    assert enabled_count(service) == len(service.rows) == 1


@pytest.mark.parametrize("kill", range(7))
def test_a_killed_apply_never_starts_a_missed_due_time_twice(kill: int) -> None:
    service = paused_service(WITH_UPDATE, 3)
    desired = desired_schedule("two", 60, max_active=2)
    service.kill_after = service.writes + kill
    with suppress(KilledError):
        apply(service, desired)
    service.kill_after = None

    for _ in range(3):
        apply(service, desired)
        service.advance(700)

    assert service.most_fired_active == 2
    assert counts(service) == Counter([hour(1), hour(2), hour(3)])
    assert enabled_count(service) == len(service.rows) == 1


@pytest.mark.parametrize("facts", [WITH_UPDATE, ONLY_REPLACES], ids=["update", "replace"])
def test_another_change_while_due_times_wait_starts_none_twice(facts: ScheduleFacts) -> None:
    service = paused_service(facts, 5)
    apply(service, desired_schedule("two", 60, max_active=2))
    service.advance(2 * HOUR)

    for _ in range(3):
        apply(service, desired_schedule("three", 60, max_active=2))
        service.advance(700)
    service.advance(HOUR)

    assert set(counts(service).values()) == {1}
    assert sorted(counts(service)) == [hour(number) for number in range(1, 9)]
    assert enabled_count(service) == len(service.rows) == 1


@pytest.mark.parametrize("facts", [WITH_UPDATE, ONLY_REPLACES], ids=["update", "replace"])
def test_due_times_that_wait_outlast_a_pause(facts: ScheduleFacts) -> None:
    service = paused_service(facts, 4)
    apply(service, desired_schedule("two", 60, max_active=2))
    paused = desired_schedule("two", 60, max_active=2, paused=True)
    apply(service, paused)
    again = apply(service, paused)
    service.advance(700)

    for _ in range(3):
        apply(service, desired_schedule("two", 60, max_active=2))
        service.advance(700)
    service.advance(HOUR)

    assert (again.steps, again.fired) == ((), ())
    assert set(counts(service).values()) == {1}
    assert sorted(counts(service))[:4] == [hour(number) for number in range(1, 5)]
    assert enabled_count(service) == len(service.rows) == 1


def test_a_change_that_pauses_keeps_the_due_times_that_wait() -> None:
    service = SimulatedService(WITH_UPDATE, seed=1)
    service.active_seconds = 1.5 * HOUR
    apply(service, desired_schedule("one", 60))
    service.advance(2.2 * HOUR)
    apply(service, desired_schedule("two", 60, paused=True))
    service.advance(0.5 * HOUR)

    paused = counts(service)
    apply(service, desired_schedule("two", 60))
    service.advance(HOUR)

    assert sorted(paused) == [hour(1)]
    assert counts(service) == Counter([hour(1), hour(2), hour(3)])
    assert enabled_count(service) == len(service.rows) == 1


def test_a_change_of_a_paused_schedule_keeps_what_it_has_missed() -> None:
    service = paused_service(WITH_UPDATE, 2)
    apply(service, desired_schedule("two", 60, paused=True))
    again = apply(service, desired_schedule("two", 60, paused=True))
    apply(service, desired_schedule("two", 60, max_active=2))
    service.advance(HOUR)

    assert again.steps == ()
    assert counts(service) == Counter([hour(1), hour(2), hour(3)])
    assert enabled_count(service) == len(service.rows) == 1


def test_other_due_times_and_a_pause_keep_a_due_time_that_waits() -> None:
    service = service_with_queue(seed=1, active_hours=1.5, until_hours=2.2)
    apply(service, desired_schedule("one", 180, paused=True))
    service.advance(600)

    apply(service, desired_schedule("one", 180))
    service.advance(8 * HOUR)

    assert sorted(counts(service)) == [hour(number) for number in (1, 2, 3, 6, 9)]
    assert set(counts(service).values()) == {1}


def test_few_missed_due_times_are_started_before_an_update() -> None:
    service = paused_service(WITH_UPDATE, 2)

    done = apply(service, desired_schedule("two", 60, max_active=2))

    assert kinds(done) == [StepKind.UPDATE, StepKind.ENABLE]
    assert [due.hour for due, _ in done.fired] == [1, 2]


def test_without_catch_up_the_latest_missed_due_time_is_started_after_a_long_pause() -> None:
    service = SimulatedService(ONLY_REPLACES, seed=1)
    apply(service, desired_schedule("one", 1, paused=True))
    service.advance(5 * HOUR)
    latest = Timetable.parse(every="1m").previous(service.now)

    done = apply(service, desired_schedule("two", 1, catch_up=False))

    [(due, _)] = done.fired
    assert latest is not None
    assert due - latest in (timedelta(0), timedelta(minutes=1))


# -- an enabled schedule whose due times wait


def test_a_change_that_would_start_too_many_waiting_due_times_writes_nothing() -> None:
    service = SimulatedService(WITH_UPDATE, seed=1)
    service.active_seconds = 2.5 * HOUR
    apply(service, desired_schedule("one", 60))
    # The run of 01:00 is active until 03:30, and 02:00 and 03:00 wait.
    service.advance(3.2 * HOUR)
    writes = service.writes

    with pytest.raises(BackendError) as refused:
        apply(service, desired_schedule("two", 60))

    assert service.writes == writes
    assert refused.value.message == (
        "2 due times of the schedule churn-daily wait for its active runs, and a change would"
        " start more than max_active = 1 of them at once. The schedule was left as it is."
    )
    assert refused.value.hint == (
        "Repeat the command when the schedule has started them. Or pause it, and then each apply"
        " starts at most 1: kfgcp schedule pause churn-daily"
    )
    service.active_seconds = 60.0
    service.advance(HOUR)
    apply(service, desired_schedule("two", 60))
    service.advance(HOUR)
    assert counts(service) == Counter(hour(number) for number in range(1, 6))


def test_after_a_pause_by_hand_each_apply_starts_some_of_the_waiting_due_times() -> None:
    service = SimulatedService(WITH_UPDATE, seed=1)
    service.active_seconds = 2.5 * HOUR
    apply(service, desired_schedule("one", 60))
    service.advance(3.2 * HOUR)
    [live] = service.list_schedules()
    service.disable_schedule(live)
    service.active_seconds = 60.0

    done = apply(service, desired_schedule("two", 60))
    service.advance(120)
    apply(service, desired_schedule("two", 60))
    service.advance(HOUR)

    assert ([due for due, _ in done.fired], done.waiting) == ([hour(2)], (hour(3),))
    assert counts(service) == Counter(hour(number) for number in range(1, 5))
    assert enabled_count(service) == len(service.rows) == 1


def test_a_larger_max_active_starts_all_that_wait() -> None:
    for facts in SERVICES.values():
        service = SimulatedService(facts, seed=1)
        service.active_seconds = 2.5 * HOUR
        apply(service, desired_schedule("one", 60))
        service.advance(3.2 * HOUR)
        service.active_seconds = 60.0

        apply(service, desired_schedule("two", 60, max_active=3))
        service.advance(HOUR)

        assert counts(service) == Counter(hour(number) for number in range(1, 5))
        assert service.now > START


# -- what a plan says about it


def note_of(service: SimulatedService, desired: DesiredSchedule) -> str | None:
    fields, live = service.fields_of(desired), service.list_schedules()
    step = next_step(desired, fields, live, service.facts, service.now, may_wait=False)
    return missed_note(desired, step)


@pytest.mark.parametrize("facts", [WITH_UPDATE, ONLY_REPLACES], ids=["update", "replace"])
def test_a_plan_says_how_many_missed_due_times_are_started_at_once(facts: ScheduleFacts) -> None:
    service = paused_service(facts, 5)

    assert note_of(service, desired_schedule("two", 60, max_active=2)) == (
        "The schedule churn-daily has 5 due times since 2026-01-01T01:00:00+00:00 without a run."
        " apply starts at most max_active = 2 of them at once."
    )
    assert note_of(service, desired_schedule("two", 60, paused=True)) is None


def test_a_plan_says_that_a_change_is_refused_while_due_times_wait() -> None:
    service = SimulatedService(WITH_UPDATE, seed=1)
    service.active_seconds = 2.5 * HOUR
    apply(service, desired_schedule("one", 60))
    service.advance(3.2 * HOUR)

    assert note_of(service, desired_schedule("two", 60)) == (
        "The schedule churn-daily has 2 due times since 2026-01-01T02:00:00+00:00 that wait for its"
        " active runs. apply refuses to change it while more than max_active = 1 wait."
    )
    assert note_of(service, desired_schedule("one", 60)) is None


def test_a_plan_says_that_too_many_due_times_were_missed() -> None:
    service = SimulatedService(WITH_UPDATE, seed=1)
    apply(service, desired_schedule("one", 5, paused=True))
    service.advance(24 * HOUR)

    note = note_of(service, desired_schedule("two", 5))

    assert note is not None
    assert note.startswith("The schedule churn-daily has missed more than 100 due times since ")
