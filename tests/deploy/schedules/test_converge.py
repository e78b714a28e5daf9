"""A schedule is replaced or updated without a lost and without a doubled run."""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest

from converged_schedules import SERVICES, apply, desired_schedule, kinds
from kfgcp.backends.schedules import DesiredSchedule, ScheduleFacts
from kfgcp.cron import Timetable
from kfgcp.deploy.schedules.converge import MAX_WAIT
from kfgcp.deploy.schedules.steps import StepKind
from kfgcp.errors import BadAnswer
from simulated_schedules import (
    WITH_UPDATE,
    WITHOUT_UPDATE,
    KilledError,
    SimulatedService,
)
from trials import Trial

# Minutes between two due times.
PERIODS = (1, 5, 60)


@dataclass(frozen=True)
class Change:
    """A random change of a schedule. kills: after how many writes each apply is killed."""

    seed: int
    period: int
    fault_rate: float
    kills: Sequence[int]
    pauses: Sequence[float]

    @classmethod
    def of_seed(cls, seed: int) -> Change:
        choose = random.Random(seed)  # noqa: S311
        period = choose.choice(PERIODS)
        kill_count = choose.randrange(4)
        seconds = (0.0, 5.0, 40.0, period * 60.0, 3 * period * 60.0)
        return cls(
            seed=seed,
            period=period,
            fault_rate=choose.choice((0.0, 0.0, 0.2)),
            kills=[choose.randrange(6) for _ in range(kill_count)],
            pauses=[choose.choice(seconds) for _ in range(kill_count)],
        )


def run_change(facts: ScheduleFacts, change: Change) -> SimulatedService:
    """Change a schedule while processes are killed, and let it run for some periods."""
    service = SimulatedService(facts, change.seed, change.fault_rate)
    choose = random.Random(change.seed + 1)  # noqa: S311
    period = change.period * 60.0
    service.advance(choose.uniform(0, period))
    apply(service, desired_schedule("one", change.period))
    service.advance(choose.uniform(0, 3 * period))
    changed = desired_schedule("two", change.period)
    for kill, pause in zip(change.kills, change.pauses, strict=True):
        service.kill_after = service.writes + kill
        with suppress(KilledError):
            apply(service, changed)
        service.kill_after = None
        service.advance(pause)
    apply(service, changed)
    service.advance(2 * period)
    return service


def check_runs(service: SimulatedService, change: Change) -> None:
    """Check that one schedule is enabled, and that each due time has started one run."""
    assert [row.live.enabled for row in service.rows.values()] == [True]
    assert service.most_enabled == 1
    due_times = [due for due, _ in service.started]
    assert len(due_times) == len(set(due_times)), "a run was started twice"
    timetable = Timetable.parse(every=f"{change.period}m")
    # A run may start some seconds after its due time.
    end = service.now - timedelta(seconds=10)
    expected = timetable.between(min(due_times) - timedelta(seconds=1), end, limit=10_000)
    assert [due for due in expected if due not in due_times] == []


@pytest.mark.trial("a schedule changed while applies are killed, in simulated time")
@pytest.mark.parametrize("kind", SERVICES)
def test_no_due_time_is_lost_or_doubled_when_applies_are_killed(kind: str, trial: Trial) -> None:
    random_numbers = trial.random()
    for _ in range(trial.size(sample=40, proof=2000)):
        change = Change.of_seed(random_numbers.getrandbits(32))

        service = run_change(SERVICES[kind], change)

        check_runs(service, change)
        trial.count("changes", 1)
        trial.count("kills", len(change.kills))


def test_an_unchanged_schedule_needs_no_write() -> None:
    for facts in SERVICES.values():
        service = SimulatedService(facts, seed=1)
        apply(service, desired_schedule("one", 5))
        writes = service.writes

        done = apply(service, desired_schedule("one", 5))

        assert (done.steps, service.writes) == ((), writes)


def test_the_writes_of_a_replacement_without_updates() -> None:
    service = SimulatedService(WITHOUT_UPDATE, seed=1)
    apply(service, desired_schedule("one", 5))

    done = apply(service, desired_schedule("two", 5))

    assert kinds(done) == [StepKind.CREATE, StepKind.DISABLE, StepKind.ENABLE, StepKind.DELETE]
    assert not done.steps[0].enabled


def test_an_update_sends_only_the_changed_properties() -> None:
    service = SimulatedService(WITH_UPDATE, seed=1)
    apply(service, desired_schedule("one", 5))

    done = apply(service, desired_schedule("one", 5, max_active=3))

    assert [(step.kind, step.fields) for step in done.steps] == [(StepKind.UPDATE, ("max_active",))]


@pytest.mark.parametrize("kind", SERVICES)
def test_a_new_paused_schedule_starts_no_run(kind: str) -> None:
    service = SimulatedService(SERVICES[kind], seed=1)

    apply(service, desired_schedule("one", 1, paused=True))
    service.advance(600)

    assert [row.live.enabled for row in service.rows.values()] == [False]
    assert service.started == []


@pytest.mark.parametrize("kind", SERVICES)
def test_a_schedule_that_is_not_declared_any_more_is_deleted(kind: str) -> None:
    service = SimulatedService(SERVICES[kind], seed=1)
    apply(service, desired_schedule("one", 5))

    done = apply(service, None)

    assert kinds(done) == [StepKind.DELETE]
    assert service.rows == {}


def test_a_property_that_the_service_drops_is_an_error_with_its_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    service = SimulatedService(WITHOUT_UPDATE, seed=1)
    create = service.create_schedule

    def create_without_limit(desired: DesiredSchedule, **options: object) -> str:
        limited = desired_schedule("one", 5, max_active=10)
        return create(limited, enabled=False, starts_at=None)

    monkeypatch.setattr(service, "create_schedule", create_without_limit)

    with pytest.raises(BadAnswer, match="did not keep max_active of the schedule churn-daily"):
        apply(service, desired_schedule("one", 5, max_active=2))


@pytest.mark.parametrize("kind", SERVICES)
def test_a_schedule_without_a_quiet_moment_is_changed_after_the_longest_pause(kind: str) -> None:
    service = SimulatedService(SERVICES[kind], seed=1)
    every_61_seconds = replace(desired_schedule("one", 1), timetable=Timetable.parse(every="61s"))
    apply(service, every_61_seconds)
    _advance_until_due_times_are_far_apart(service)
    before = service.now

    done = apply(service, desired_schedule("two", 1))

    assert service.now - before < MAX_WAIT + timedelta(minutes=1)
    assert len(done.steps) <= 4
    rows = list(service.rows.values())
    assert [row.live.fields["cron"] for row in rows] == ["60"]
    assert [row.live.enabled for row in rows] == [True]


def _advance_until_due_times_are_far_apart(service: SimulatedService) -> None:
    """Let time pass until a due time of `61s` is 30 s after one of `1m`.

    Then each moment is less than LAG + LEAD + MARGIN from a due time. The due times approach each
    other by a second in each minute, so this remains so for MAX_WAIT.
    """
    seconds = Timetable.parse(every="61s")
    minutes = Timetable.parse(every="1m")
    while True:
        due = minutes.next(service.now)
        assert due is not None
        following = seconds.next(due)
        assert following is not None
        if following - due == timedelta(seconds=30):
            return
        service.advance((due - service.now).total_seconds() + 1)
