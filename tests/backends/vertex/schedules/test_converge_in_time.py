"""A schedule on Vertex AI changes without a lost and without a doubled run, also after kills."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

import pytest

from kfgcp import testing
from kfgcp.backends.schedules import DesiredSchedule
from kfgcp.cron import Timetable
from timed_schedules import KilledError, TimedVertex
from trials import Trial
from vertex_schedules import OTHER_VERSION, churn, desired_schedule

# Minutes between two due times.
PERIODS = (1, 5, 60)


def running(period: int) -> DesiredSchedule:
    timetable = Timetable.parse(every=f"{period}m")
    return desired_schedule(timetable=timetable, catch_up=True, labels={"team": "growth"})


def with_other_version(period: int) -> DesiredSchedule:
    """Return a schedule that an update can make of `running`."""
    timetable = Timetable.parse(every=f"{period}m")
    spec = churn(OTHER_VERSION, "b")
    return desired_schedule(
        timetable=timetable, catch_up=True, labels={"team": "growth"}, spec=spec
    )


def without_label(period: int) -> DesiredSchedule:
    """Return a schedule that replaces `running`, because an update cannot remove the label."""
    return desired_schedule(timetable=Timetable.parse(every=f"{period}m"), catch_up=True)


def paused(period: int) -> DesiredSchedule:
    timetable = Timetable.parse(every=f"{period}m")
    return desired_schedule(
        timetable=timetable, catch_up=True, labels={"team": "growth"}, paused=True
    )


CHANGES: dict[str, Sequence[Callable[[int], DesiredSchedule]]] = {
    "update": (running, with_other_version),
    "replace": (running, without_label),
    "back": (running, without_label, running),
    "pause": (running, paused, running),
    "pause, then update": (running, paused, with_other_version),
    "pause, then replace": (running, paused, without_label),
}


@dataclass(frozen=True)
class Attempt:
    """An apply that is killed. kill: before which of its writes. pause: seconds afterwards."""

    kill: int
    pause: float


def run_changes(vertex: TimedVertex, period: int, kind: str, choose: random.Random) -> int:
    """Apply the schedules of a change one after another, and return how many applies were killed.

    The last attempt of each is not killed.
    """
    kills = 0
    seconds = period * 60.0
    pauses = (0.0, 5.0, 40.0, seconds, 3 * seconds)
    for make in CHANGES[kind]:
        for _ in range(choose.randrange(3)):
            attempt = Attempt(choose.randrange(5), choose.choice(pauses))
            vertex.kill_after = vertex.writes + attempt.kill
            with suppress(KilledError):
                vertex.apply(make(period))
                kills -= 1
            kills += 1
            vertex.kill_after = None
            vertex.count_active()
            vertex.advance(attempt.pause)
        while vertex.apply(make(period)).waiting:
            # Jobs of this stand-in end at once, so the next apply starts the next missed due time.
            vertex.count_active()
            vertex.advance(1.0)
        vertex.count_active()
        vertex.advance(choose.uniform(0.0, 3 * seconds))
    vertex.advance(2 * seconds)
    return kills


def check(vertex: TimedVertex, period: int) -> None:
    """Check that one schedule is enabled, and that each due time has started one run."""
    end = vertex.now
    vertex.start_jobs(end)
    lives = vertex.schedules().list_schedules()
    assert [live.enabled for live in lives] == [True]
    assert vertex.most_active == 1
    due_times = sorted(vertex.started + vertex.fired())
    assert len(due_times) == len(set(due_times)), "a run was started twice"
    timetable = Timetable.parse(every=f"{period}m")
    expected = timetable.between(due_times[0] - timedelta(seconds=1), end, limit=10_000)
    assert [due for due in expected if due not in due_times] == []


@pytest.mark.trial("a schedule on a stand-in of Vertex AI changed while applies are killed")
@pytest.mark.parametrize("kind", CHANGES)
def test_no_due_time_is_lost_or_doubled(kind: str, trial: Trial) -> None:
    numbers = trial.random()
    for _ in range(trial.size(sample=2, proof=50)):
        seed = numbers.getrandbits(32)
        choose = random.Random(seed)  # noqa: S311
        period = choose.choice(PERIODS)
        with testing.vertex(mode="instant") as stand_in:
            vertex = TimedVertex(stand_in, seed)
            vertex.advance(choose.uniform(0.0, 60.0 * period))
            if choose.random() < 0.3:
                kinds = ("503", "429", "reset", "lost")
                stand_in.faults(0.1, kinds, seed=seed)

            kills = run_changes(vertex, period, kind, choose)
            stand_in.faults(0.0)

            check(vertex, period)
        trial.count("changes")
        trial.count("kills", kills)
