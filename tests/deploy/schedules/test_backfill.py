"""Runs for due times in the past: one for each, in order, and continued after an interruption."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from kfgcp.config_pipelines import ParamSet
from kfgcp.config_schedules import ProjectSchedule
from kfgcp.deploy.schedules.backfill import BackfillStep, plan_backfill, run_backfill
from kfgcp.deploy.schedules.labels import UNKNOWN_DUE, run_labels, schedule_labels
from kfgcp.errors import BackendError, UsageError
from kfgcp.model import ErrorInfo, ErrorKind, Run, RunState

START = datetime(2026, 3, 1, tzinfo=UTC)
END = datetime(2026, 3, 5, tzinfo=UTC)
NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
DAYS = ["20260301t000000z", "20260302t000000z", "20260303t000000z", "20260304t000000z"]


@dataclass
class RecordedRuns:
    """Runs, and how many of them were active at the same time."""

    runs: list[Run] = field(default_factory=list)
    most_active: int = 0
    fails_at: int | None = None
    resumed: list[str] = field(default_factory=list)
    is_held: bool = False

    def of(self, schedule: ProjectSchedule) -> list[Run]:
        return self.runs

    @contextmanager
    def hold(self) -> Iterator[bool]:
        self.is_held = True
        yield True
        self.is_held = False

    def start(self, schedule: ProjectSchedule, due: datetime) -> str:
        assert self.is_held
        if len(self.runs) == self.fails_at:
            raise BackendError("The service cannot be reached.")
        run_id = self.add(due, RunState.RUNNING)
        self._count_active()
        return run_id

    def add(self, due: datetime, state: RunState, error: ErrorInfo | None = None) -> str:
        """Record a run that something else has started."""
        run_id = f"run-{len(self.runs)}"
        labels = run_labels("shop", "daily", due)
        self.runs.append(
            Run(run_id, "local", "local", "churn", "sha256:0", state, labels=labels, error=error)
        )
        return run_id

    def resume(self, run_id: str) -> None:
        assert self.is_held
        self.resumed.append(run_id)
        self.runs = [
            replace(run, state=RunState.RUNNING, error=None) if run.run_id == run_id else run
            for run in self.runs
        ]
        self._count_active()

    def _count_active(self) -> None:
        active = [run for run in self.runs if run.state is RunState.RUNNING]
        self.most_active = max(self.most_active, len(active))

    def end_one(self, run_ids: set[str]) -> set[str]:
        """End the newest of some runs."""
        ended = max(run_ids)
        self.runs = [
            replace(run, state=RunState.SUCCEEDED) if run.run_id == ended else run
            for run in self.runs
        ]
        return {ended}

    @property
    def dues(self) -> list[str]:
        return [run.labels["kfgcp-due"] for run in self.runs]


@pytest.fixture
def daily(tmp_path: Path) -> ProjectSchedule:
    return ProjectSchedule(
        name="daily",
        pipeline="churn",
        env="local",
        cron="@daily",
        every_seconds=None,
        time_zone="UTC",
        params=ParamSet({}, ""),
        time_param=None,
        catch_up=False,
        max_active=1,
        paused=False,
        origin="kfgcp.toml [schedule.daily]",
        folder=tmp_path,
    )


def _backfill(
    schedule: ProjectSchedule, runs: RecordedRuns, parallel: int = 1
) -> list[BackfillStep]:
    steps = plan_backfill(schedule, START, END, runs.runs, NOW)
    return run_backfill(
        schedule,
        steps,
        runs,
        parallel=parallel,
        hold=runs.hold,
        wait_for_one=runs.end_one,
        notice=lambda step: None,
    )


@pytest.mark.parametrize("parallel", [1, 3])
def test_each_due_time_gets_a_run_in_order(daily: ProjectSchedule, parallel: int) -> None:
    runs = RecordedRuns()

    _backfill(daily, runs, parallel)

    assert runs.dues == DAYS
    assert runs.most_active == parallel
    assert {run.state for run in runs.runs} == {RunState.SUCCEEDED}


def test_the_start_is_included_and_the_end_is_not(daily: ProjectSchedule) -> None:
    steps = plan_backfill(daily, START, END, [], NOW)

    assert [step.due.day for step in steps] == [1, 2, 3, 4]
    assert plan_backfill(daily, START.replace(second=1), START.replace(hour=23), [], NOW) == []


def test_a_second_backfill_starts_nothing(daily: ProjectSchedule) -> None:
    runs = RecordedRuns()
    _backfill(daily, runs)

    steps = _backfill(daily, runs)

    assert runs.dues == DAYS
    assert all(step.existed for step in steps)


@pytest.mark.parametrize(
    ("created_at", "is_refused"),
    [("2026-03-02T00:00:09Z", True), (None, True), ("2026-02-28T00:00:09Z", False)],
)
def test_a_run_that_may_be_of_a_due_time_stops_the_backfill(
    daily: ProjectSchedule, created_at: str | None, is_refused: bool
) -> None:
    runs = RecordedRuns()
    runs.add(START, RunState.SUCCEEDED)
    labels = {**schedule_labels("shop", "daily"), "kfgcp-due": UNKNOWN_DUE}
    unknown = [replace(run, labels=labels, created_at=created_at) for run in runs.runs]

    problem = ""
    try:
        plan_backfill(daily, START, END, unknown, NOW)
    except UsageError as error:
        problem = error.message

    expected = (
        "The run run-0 may be the run of a due time of the schedule 'daily' since"
        " 2026-03-01T00:00:00+00:00, so nothing was started."
    )
    assert problem == (expected if is_refused else "")


def test_an_interrupted_backfill_continues(daily: ProjectSchedule) -> None:
    runs = RecordedRuns(fails_at=2)
    with pytest.raises(BackendError):
        _backfill(daily, runs)
    assert runs.dues == DAYS[:2]
    runs.fails_at = None

    steps = _backfill(daily, runs)

    assert runs.dues == DAYS
    assert [step.existed for step in steps] == [True, True, False, False]


def test_a_second_backfill_counts_the_active_runs_of_the_first_and_waits_for_them(
    daily: ProjectSchedule,
) -> None:
    runs = RecordedRuns()
    runs.add(START, RunState.RUNNING)
    runs.add(START.replace(day=2), RunState.RUNNING)

    steps = _backfill(daily, runs, parallel=2)

    assert runs.most_active == 2
    assert {run.state for run in runs.runs} == {RunState.SUCCEEDED}
    assert [step.existed for step in steps] == [True, True, False, False]


def test_an_interrupted_run_continues_and_a_failed_one_does_not(daily: ProjectSchedule) -> None:
    runs = RecordedRuns()
    interrupted = ErrorInfo("The engine was killed.", kind=ErrorKind.INTERRUPTED)
    runs.add(START, RunState.FAILED, interrupted)
    runs.add(START.replace(day=2), RunState.FAILED, ErrorInfo("The task failed."))

    _backfill(daily, runs)

    assert runs.resumed == ["run-0"]
    assert runs.dues == DAYS
    assert runs.most_active == 1
    states = [run.state for run in runs.runs]
    assert states == [RunState.SUCCEEDED, RunState.FAILED, RunState.SUCCEEDED, RunState.SUCCEEDED]


def test_a_run_that_a_tick_starts_during_the_backfill_is_not_started_again(
    daily: ProjectSchedule,
) -> None:
    @dataclass
    class RunsWithTick(RecordedRuns):
        def end_one(self, run_ids: set[str]) -> set[str]:
            if len(self.runs) == 1:
                self.add(START.replace(day=2), RunState.RUNNING)
            return super().end_one(run_ids)

    runs = RunsWithTick()

    steps = _backfill(daily, runs)

    assert runs.dues == DAYS
    assert [step.existed for step in steps] == [False, True, False, False]
    assert {run.state for run in runs.runs} == {RunState.SUCCEEDED}


def test_an_empty_or_too_large_range_is_refused(daily: ProjectSchedule) -> None:
    with pytest.raises(UsageError, match="is not after its start"):
        plan_backfill(daily, END, START, [], NOW)
    with pytest.raises(UsageError, match="is due more than 1000 times"):
        plan_backfill(daily, START, END.replace(year=2036), [], NOW.replace(year=2040))


def test_an_end_in_the_future_is_refused(daily: ProjectSchedule) -> None:
    with pytest.raises(UsageError) as caught:
        plan_backfill(daily, START, NOW.replace(second=1), [], NOW)

    assert caught.value.message == (
        "The end of the backfill, 2026-03-10T12:00:01+00:00, is in the future."
    )
    assert caught.value.hint.endswith("Give an earlier --to: 2026-03-10T12:00:00Z")
    assert len(plan_backfill(daily, START, NOW, [], NOW)) == 10


# -- runs that a schedule of Vertex AI started. They have no label with the due time.


def _started_by_service(created_at: str) -> Run:
    labels = {"kfgcp-project": "shop", "kfgcp-schedule": "daily", "kfgcp-applied": "c216dab80a9f"}
    return Run(
        f"run-{created_at}",
        "dev",
        "vertex",
        "churn",
        "sha256:0",
        RunState.SUCCEEDED,
        labels=labels,
        created_at=created_at,
    )


def test_a_run_that_a_schedule_of_a_service_started_has_the_last_due_time(
    daily: ProjectSchedule,
) -> None:
    run = _started_by_service("2026-03-02T00:00:07.250Z")

    steps = plan_backfill(daily, START, END, [run], NOW, is_deployed=True)

    assert [step.run_id for step in steps] == [None, run.run_id, None, None]


def test_a_run_by_hand_is_not_the_run_of_a_due_time(daily: ProjectSchedule) -> None:
    run = _started_by_service("2026-03-02T00:00:07.250Z")
    by_hand = replace(run, labels={"kfgcp-project": "shop", "kfgcp-schedule": "daily"})

    steps = plan_backfill(daily, START, END, [by_hand], NOW, is_deployed=True)

    assert [step.run_id for step in steps] == [None] * 4


def test_a_range_with_a_late_run_is_refused(daily: ProjectSchedule) -> None:
    late = _started_by_service("2026-03-02T07:30:00Z")

    with pytest.raises(UsageError, match="cannot tell for which due time"):
        plan_backfill(daily, START, END, [late], NOW, is_deployed=True)
    before = plan_backfill(daily, START, END.replace(day=2), [late], NOW, is_deployed=True)
    assert [step.due.day for step in before] == [1]


def test_a_due_time_of_the_last_minute_is_refused_on_a_service(daily: ProjectSchedule) -> None:
    now = END.replace(hour=0, minute=0, second=59)
    end = now

    with pytest.raises(UsageError, match="is less than a minute ago"):
        plan_backfill(daily, START, end, [], now, is_deployed=True)
    later = now.replace(minute=1)
    assert len(plan_backfill(daily, START, end, [], later, is_deployed=True)) == 5
    assert len(plan_backfill(daily, START, end, [], now)) == 5
