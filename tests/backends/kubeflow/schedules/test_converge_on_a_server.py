"""`converge` against a server over real sockets, in simulated time, with kills and lost answers."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from kfgcp import testing
from kfgcp.backends.kubeflow.schedules import KubeflowSchedules
from kfgcp.backends.schedules import DesiredSchedule, FiredRun, LiveSchedule, ScheduleFacts
from kfgcp.cron import Timetable
from kfgcp.deploy.schedules.converge import Clock, Done, converge
from kfgcp.deploy.schedules.steps import StepKind
from kfgcp.model import JsonValue
from kfgcp.services.client import ServiceClient
from kubeflow_schedules import ScheduleServer
from simulated_schedules import KilledError
from trials import Trial

START = datetime(2026, 12, 1, tzinfo=UTC)
RELEASES = ("2.5.0", "2.14.3", "2.17.0")
# Minutes between two due times. Cron cannot express 7 minutes, so it is an interval of the server.
PERIODS = (1, 5, 7, 60)


class SimulatedTime:
    """The time of a server. While it passes, recurring runs start their runs a little later."""

    def __init__(self, server: ScheduleServer, seed: int) -> None:
        self.server = server
        self.random = random.Random(seed)  # noqa: S311
        self.now = START
        server.stand_in.creation.clock = lambda: self.now.timestamp()

    def advance(self, seconds: float) -> None:
        end = self.now + timedelta(seconds=seconds)
        while self.now < end:
            step = timedelta(seconds=self.random.uniform(0.2, 5.0))
            self.now = min(end, self.now + step)
            self.server.stand_in.fire_due(self.now.timestamp())


@dataclass
class KilledProcess:
    """The schedules of a server as a process uses them that is killed after some writes.

    It is a `SupportsSchedules`.

    Attributes:
        schedules: the schedules.
        time: passes with each request.
        fault_rate: how often the answer of a write is lost.
        kill_after: the number of writes after which the process is killed, None for never.
    """

    schedules: KubeflowSchedules
    time: SimulatedTime
    fault_rate: float
    kill_after: int | None
    writes: int = 0
    most_enabled: int = 0

    @property
    def schedule_facts(self) -> ScheduleFacts:
        return self.schedules.schedule_facts

    def clock_offset(self) -> timedelta:
        return self.schedules.clock_offset()

    def list_schedules(self) -> Sequence[LiveSchedule]:
        self.time.advance(self.time.random.uniform(0.1, 1.0))
        return self.schedules.list_schedules()

    def read_schedule(self, ref: str) -> LiveSchedule | None:
        self.time.advance(self.time.random.uniform(0.05, 0.5))
        return self.schedules.read_schedule(ref)

    def fields_of(self, desired: DesiredSchedule) -> dict[str, JsonValue]:
        return dict(self.schedules.fields_of(desired))

    def prepare_runs(self, desired: DesiredSchedule) -> None:
        self.schedules.prepare_runs(desired)

    def create_schedule(
        self, desired: DesiredSchedule, *, enabled: bool, starts_at: datetime | None
    ) -> str:
        ref = ""

        def create() -> None:
            nonlocal ref
            ref = self.schedules.create_schedule(desired, enabled=enabled, starts_at=starts_at)

        self._write(create, "*/recurringruns")
        return ref

    def update_schedule(
        self, live: LiveSchedule, desired: DesiredSchedule, fields: Sequence[str]
    ) -> None:
        raise AssertionError("the server has no update")

    def enable_schedule(self, live: LiveSchedule, *, catch_up: bool) -> None:
        self._write(lambda: self.schedules.enable_schedule(live, catch_up=catch_up), "*:enable")

    def disable_schedule(self, live: LiveSchedule) -> None:
        self._write(lambda: self.schedules.disable_schedule(live), "*:disable")

    def delete_schedule(self, live: LiveSchedule) -> None:
        self._write(lambda: self.schedules.delete_schedule(live), "*/recurringruns/*")

    def fire(self, desired: DesiredSchedule, due: datetime) -> FiredRun:
        return self.schedules.fire(desired, due)

    def _write(self, write: Callable[[], None], path: str) -> None:
        if self.kill_after is not None and self.writes >= self.kill_after:
            raise KilledError
        self.time.advance(self.time.random.uniform(0.05, 0.5))
        if self.time.random.random() < self.fault_rate:
            kind = self.time.random.choice(("lost", "reset"))
            method = "DELETE" if path.endswith("/*") else "POST"
            self.time.server.stand_in.fail_next(kind, times=1, method=method, path=path)
        try:
            write()
        finally:
            self.writes += 1
            runs = self.time.server.recurring_runs()
            enabled = [run for run in runs if run["mode"] == "ENABLE"]
            self.most_enabled = max(self.most_enabled, len(enabled))
        self.time.advance(self.time.random.uniform(0.05, 0.5))
        if self.kill_after is not None and self.writes > self.kill_after:
            raise KilledError


@dataclass(frozen=True)
class Change:
    """A random change of a schedule. kills: after how many writes each apply is killed."""

    release: str
    period: int
    fault_rate: float
    kills: Sequence[int]
    pauses: Sequence[float]
    seed: int

    @classmethod
    def random(cls, choose: random.Random) -> Change:
        period = choose.choice(PERIODS)
        kill_count = choose.randrange(4)
        seconds = (0.0, 5.0, 40.0, period * 60.0, 2 * period * 60.0)
        return cls(
            release=choose.choice(RELEASES),
            period=period,
            fault_rate=choose.choice((0.0, 0.0, 0.2)),
            kills=[choose.randrange(6) for _ in range(kill_count)],
            pauses=[choose.choice(seconds) for _ in range(kill_count)],
            seed=choose.getrandbits(32),
        )


def apply(
    time: SimulatedTime,
    desired: DesiredSchedule | None,
    *,
    fault_rate: float = 0.0,
    kill_after: int | None = None,
) -> tuple[Done, KilledProcess]:
    """Apply a schedule in a new process."""
    schedules = time.server.schedules(now=lambda: time.now)
    process = KilledProcess(schedules, time, fault_rate, kill_after)
    clock = Clock(now=lambda: time.now, sleep=time.advance)
    live = process.list_schedules()
    own = [schedule for schedule in live if (schedule.project, schedule.name) == NAME]
    done = converge(process, *NAME, desired, own, clock=clock)
    assert process.most_enabled <= 1
    return done, process


NAME = ("shop", "churn-daily")


def run_change(change: Change, time: SimulatedTime) -> None:
    """Change a schedule while processes are killed, and let it run for some periods."""
    server = time.server
    period = change.period * 60.0
    every = f"{change.period}m"
    before = server.desired("a", every=every, catch_up=True)
    after = server.desired("b", every=every, catch_up=True)
    choose = time.random
    time.advance(choose.uniform(0, period))
    apply(time, before)
    time.advance(choose.uniform(0, 2 * period))
    for kill, pause in zip(change.kills, change.pauses, strict=True):
        with suppress(KilledError):
            apply(time, after, fault_rate=change.fault_rate, kill_after=kill)
        time.advance(pause)
    apply(time, after)
    time.advance(2 * period)
    done, process = apply(time, after)
    assert (done.steps, process.writes) == ((), 0)


def check_runs(change: Change, time: SimulatedTime) -> None:
    """Check that one schedule is enabled, and that each due time has started one run."""
    server = time.server
    (live,) = server.recurring_runs()
    assert live["mode"] == "ENABLE"
    records = server.stand_in.runs.all()
    dues = [datetime.fromtimestamp(record.scheduled, UTC) for record in records]
    assert len(dues) == len(set(dues)), "a run was started twice"
    timetable = Timetable.parse(every=f"{change.period}m")
    expected = timetable.between(min(dues) - timedelta(seconds=1), time.now, limit=10_000)
    assert sorted(dues) == [due.astimezone(UTC) for due in expected]


@pytest.mark.trial("a schedule on Kubeflow changed while applies are killed, over sockets")
def test_no_due_time_is_lost_or_doubled_on_a_server(
    trial: Trial, client: Callable[..., ServiceClient]
) -> None:
    numbers = trial.random()
    for _ in range(trial.size(sample=6, proof=300)):
        change = Change.random(numbers)
        with testing.kubeflow(mode="instant", version=change.release) as stand_in:
            stand_in.instant.seconds = 0
            server = ScheduleServer(stand_in, client)
            time = SimulatedTime(server, change.seed)

            run_change(change, time)

            check_runs(change, time)
            server.http().close()
        trial.count("changes", 1)
        trial.count("kills", len(change.kills))


def test_the_writes_of_a_replacement(kfp_server: ScheduleServer) -> None:
    time = SimulatedTime(kfp_server, seed=1)
    apply(time, kfp_server.desired("a"))

    done, _ = apply(time, kfp_server.desired("b"))

    kinds = [step.kind for step in done.steps]
    assert kinds == [StepKind.CREATE, StepKind.DISABLE, StepKind.ENABLE, StepKind.DELETE]
    (live,) = kfp_server.recurring_runs()
    assert live["mode"] == "ENABLE"


def test_a_paused_schedule_starts_no_run(kfp_server: ScheduleServer) -> None:
    time = SimulatedTime(kfp_server, seed=1)

    apply(time, kfp_server.desired(every="1m", paused=True))
    time.advance(600)

    (live,) = kfp_server.recurring_runs()
    assert live["mode"] == "DISABLE"
    assert kfp_server.stand_in.runs.all() == []


def test_a_schedule_that_is_not_declared_any_more_is_deleted(kfp_server: ScheduleServer) -> None:
    time = SimulatedTime(kfp_server, seed=1)
    apply(time, kfp_server.desired())

    done, _ = apply(time, None)

    expected = [StepKind.DELETE]
    if kfp_server.schedules().schedule_facts.deletion_ends_runs:
        # A run that starts at this moment would end with its schedule.
        expected.insert(0, StepKind.DISABLE)
    assert [step.kind for step in done.steps] == expected
    assert kfp_server.recurring_runs() == []


def test_an_old_schedule_with_an_active_run_is_deleted_by_a_later_apply(
    old_server: ScheduleServer,
) -> None:
    old_server.stand_in.instant.seconds = 10_000
    time = SimulatedTime(old_server, seed=1)
    apply(time, old_server.desired("a", every="5m"))
    time.advance(400)
    apply(time, old_server.desired("b", every="5m"))

    states = [run["mode"] for run in old_server.recurring_runs()]
    # The runs of both are active, and nothing was ended.
    assert sorted(states) == ["DISABLE", "ENABLE"]
    assert not any(record.workflow_gone for record in old_server.stand_in.runs.all())
    old_server.stand_in.finish_runs()
    done, _ = apply(time, old_server.desired("b", every="5m"))

    assert [step.kind for step in done.steps] == [StepKind.DELETE]
    (live,) = old_server.recurring_runs()
    assert live["mode"] == "ENABLE"


def test_a_destroyed_schedule_with_an_active_run_is_disabled_first(
    old_server: ScheduleServer,
) -> None:
    old_server.stand_in.instant.seconds = 10_000
    time = SimulatedTime(old_server, seed=1)
    apply(time, old_server.desired("a", every="5m"))
    time.advance(400)

    apply(time, None)

    (live,) = old_server.recurring_runs()
    assert live["mode"] == "DISABLE"
    old_server.stand_in.finish_runs()
    apply(time, None)
    assert old_server.recurring_runs() == []
