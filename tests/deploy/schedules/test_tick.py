"""What a tick starts: each due time once, also when clocks jump and runs overlap."""

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from kfgcp.config_pipelines import ParamSet
from kfgcp.config_schedules import ProjectSchedule
from kfgcp.deploy.schedules.labels import due_label, run_labels
from kfgcp.deploy.schedules.state import hold_schedules, state_file, states_folder
from kfgcp.deploy.schedules.tick import MAX_RUNS, TickAction, TickResult, tick_schedule
from kfgcp.errors import BackendError, StateError
from kfgcp.model import ErrorInfo, ErrorKind, Run, RunState
from patience import PROCESS, wait_for

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


@dataclass
class RecordedRuns:
    """Runs that end only when a test says so."""

    runs: list[Run] = field(default_factory=list)
    resumed: list[str] = field(default_factory=list)
    is_down: bool = False

    def of(self, schedule: ProjectSchedule) -> list[Run]:
        return self.runs

    def start(self, schedule: ProjectSchedule, due: datetime) -> str:
        if self.is_down:
            raise BackendError("The disk is full.")
        self.add(due, RunState.RUNNING)
        return self.runs[-1].run_id

    def resume(self, run_id: str) -> None:
        self.resumed.append(run_id)

    def add(self, due: datetime, state: RunState, error: ErrorInfo | None = None) -> None:
        self.runs.append(
            Run(
                f"run-{len(self.runs)}",
                "local",
                "local",
                "churn",
                "sha256:0",
                state,
                labels=run_labels("shop", "hourly", due),
                error=error,
            )
        )

    def end_all(self) -> None:
        self.runs = [replace(run, state=RunState.SUCCEEDED) for run in self.runs]


@pytest.fixture
def runs() -> RecordedRuns:
    return RecordedRuns()


def _schedule(
    folder: Path, *, catch_up: bool = False, max_active: int = 1, paused: bool = False
) -> ProjectSchedule:
    return ProjectSchedule(
        name="hourly",
        pipeline="churn",
        env="local",
        cron="@hourly",
        every_seconds=None,
        time_zone="UTC",
        params=ParamSet({}, ""),
        time_param=None,
        catch_up=catch_up,
        max_active=max_active,
        paused=paused,
        origin="kfgcp.toml [schedule.hourly]",
        folder=folder,
    )


def _summary(results: list[TickResult]) -> list[tuple[str, str]]:
    return [(result.action.value, f"{result.due:%H:%M}") for result in results if result.due]


def _dues(runs: RecordedRuns) -> list[str]:
    return [run.labels["kfgcp-due"] for run in runs.runs]


def test_a_schedule_begins_at_its_first_tick(tmp_path: Path, runs: RecordedRuns) -> None:
    schedule = _schedule(tmp_path, catch_up=True)

    first = tick_schedule(tmp_path, schedule, runs, NOON)
    second = tick_schedule(tmp_path, schedule, runs, NOON + HOUR)

    assert [result.action for result in first] == [TickAction.BEGUN]
    assert _summary(second) == [("started", "13:00")]
    assert _dues(runs) == ["20260310t130000z"]


def test_a_due_time_gets_one_run(tmp_path: Path, runs: RecordedRuns) -> None:
    schedule = _schedule(tmp_path, catch_up=True, max_active=10)
    for minutes in range(0, 181, 7):
        tick_schedule(tmp_path, schedule, runs, NOON + timedelta(minutes=minutes))

    assert _dues(runs) == ["20260310t130000z", "20260310t140000z"]


def test_catch_up_starts_all_missed_runs_and_otherwise_only_the_latest(
    tmp_path: Path, runs: RecordedRuns
) -> None:
    for catch_up, expected in ((True, ["13:00", "14:00", "15:00"]), (False, ["15:00"])):
        home = tmp_path / str(catch_up)
        schedule = _schedule(tmp_path, catch_up=catch_up, max_active=10)
        tick_schedule(home, schedule, runs, NOON)
        results = tick_schedule(home, schedule, runs, NOON + 3 * HOUR)

        assert _summary(results) == [("started", time) for time in expected]
        runs.runs.clear()


def test_a_run_waits_while_max_active_runs_are_active(tmp_path: Path, runs: RecordedRuns) -> None:
    schedule = _schedule(tmp_path, catch_up=True)
    tick_schedule(tmp_path, schedule, runs, NOON)

    results = tick_schedule(tmp_path, schedule, runs, NOON + 2 * HOUR)
    assert _summary(results) == [("started", "13:00"), ("waiting", "14:00")]
    results = tick_schedule(tmp_path, schedule, runs, NOON + 2 * HOUR)
    assert _summary(results) == [("waiting", "14:00")]

    runs.end_all()
    results = tick_schedule(tmp_path, schedule, runs, NOON + 2 * HOUR)
    assert _summary(results) == [("started", "14:00")]


def test_a_clock_far_ahead_starts_a_limited_number_of_runs(
    tmp_path: Path, runs: RecordedRuns
) -> None:
    schedule = _schedule(tmp_path, catch_up=True, max_active=10_000)
    tick_schedule(tmp_path, schedule, runs, NOON)

    results = tick_schedule(tmp_path, schedule, runs, NOON.replace(year=2036))

    assert len(runs.runs) == MAX_RUNS
    assert results[-1].action is TickAction.WAITING
    assert results[-1].note == "More runs are due than the 10 of one tick. Later ticks start them."


def test_a_clock_that_goes_back_starts_nothing_twice(tmp_path: Path, runs: RecordedRuns) -> None:
    schedule = _schedule(tmp_path, catch_up=True, max_active=10)
    tick_schedule(tmp_path, schedule, runs, NOON)
    tick_schedule(tmp_path, schedule, runs, NOON + HOUR)

    results = tick_schedule(tmp_path, schedule, runs, NOON + HOUR / 2)
    assert [result.action for result in results] == [TickAction.CLOCK]
    assert results[0].note == (
        "The clock is before the last tick at 2026-03-10T13:00:00Z. Nothing is due until then."
    )
    tick_schedule(tmp_path, schedule, runs, NOON + 2 * HOUR)

    assert _dues(runs) == ["20260310t130000z", "20260310t140000z"]


def test_after_a_jump_of_years_and_back_the_schedule_continues(
    tmp_path: Path, runs: RecordedRuns
) -> None:
    schedule = _schedule(tmp_path, max_active=10)
    tick_schedule(tmp_path, schedule, runs, NOON)
    tick_schedule(tmp_path, schedule, runs, NOON.replace(year=2036))

    results = tick_schedule(tmp_path, schedule, runs, NOON + HOUR / 2)
    assert "Begins again now." in results[0].note
    tick_schedule(tmp_path, schedule, runs, NOON + HOUR)

    assert _dues(runs) == ["20360310t120000z", "20260310t130000z"]


def test_a_paused_schedule_starts_nothing_and_later_only_what_catch_up_says(
    tmp_path: Path, runs: RecordedRuns
) -> None:
    for catch_up, expected in ((True, ["13:00", "14:00"]), (False, [])):
        home = tmp_path / str(catch_up)
        schedule = _schedule(tmp_path, catch_up=catch_up, max_active=10)
        tick_schedule(home, schedule, runs, NOON)
        paused = _schedule(tmp_path, catch_up=catch_up, max_active=10, paused=True)
        results = tick_schedule(home, paused, runs, NOON + 2 * HOUR)
        assert [result.action for result in results] == [TickAction.PAUSED]
        assert runs.runs == []

        results = tick_schedule(home, schedule, runs, NOON + 2.5 * HOUR)

        assert _summary(results) == [("started", time) for time in expected]
        runs.runs.clear()


def test_a_run_that_a_killed_tick_had_recorded_is_not_started_again(
    tmp_path: Path, runs: RecordedRuns
) -> None:
    schedule = _schedule(tmp_path, catch_up=True, max_active=10)
    tick_schedule(tmp_path, schedule, runs, NOON)
    interrupted = ErrorInfo("The engine was killed.", kind=ErrorKind.INTERRUPTED)
    runs.add(NOON + HOUR, RunState.SUCCEEDED)
    runs.add(NOON + 2 * HOUR, RunState.FAILED, interrupted)

    results = tick_schedule(tmp_path, schedule, runs, NOON + 2 * HOUR)

    assert _summary(results) == [("continued", "14:00")]
    assert runs.resumed == ["run-1"]
    assert len(runs.runs) == 2


def test_a_run_that_cannot_be_started_is_due_at_the_next_tick(
    tmp_path: Path, runs: RecordedRuns
) -> None:
    schedule = _schedule(tmp_path, catch_up=True)
    tick_schedule(tmp_path, schedule, runs, NOON)
    runs.is_down = True
    with pytest.raises(BackendError):
        tick_schedule(tmp_path, schedule, runs, NOON + HOUR)
    runs.is_down = False

    results = tick_schedule(tmp_path, schedule, runs, NOON + HOUR)

    assert _summary(results) == [("started", "13:00")]


def test_a_damaged_state_is_one_error_and_is_not_replaced(
    tmp_path: Path, runs: RecordedRuns
) -> None:
    file = state_file(tmp_path, "local", "hourly")
    file.parent.mkdir(parents=True)
    file.write_text('{"handled_until": 5}')

    with pytest.raises(StateError, match="is not the state of a schedule"):
        tick_schedule(tmp_path, _schedule(tmp_path), runs, NOON)
    assert file.read_text() == '{"handled_until": 5}'


def test_only_one_tick_holds_the_schedules(tmp_path: Path) -> None:
    with hold_schedules(tmp_path) as first, hold_schedules(tmp_path) as second:
        assert (first, second) == (True, False)
    with hold_schedules(tmp_path) as third:
        assert third


def test_the_lock_of_the_schedules_can_be_waited_for(tmp_path: Path) -> None:
    order: list[str] = []

    def hold_and_note() -> None:
        with hold_schedules(tmp_path, wait=True) as has_lock:
            order.append(f"second {has_lock}")

    with ThreadPoolExecutor() as pool:
        with hold_schedules(tmp_path):
            waiting = pool.submit(hold_and_note)
            wait_for(lambda: " FLOCK " in _waiting_locks(tmp_path))
            order.append("first")
        waiting.result(PROCESS)

    assert order == ["first", "second True"]


def _waiting_locks(home: Path) -> str:
    """Return the lines of /proc/locks about locks that are waited for (proc_locks(5))."""
    inode = (home / "locks" / "schedules").stat().st_ino
    lines = Path("/proc/locks").read_text().splitlines()
    return "\n".join(line for line in lines if "->" in line and f":{inode} " in line)


def test_a_due_time_is_a_valid_label_in_utc() -> None:
    due = datetime.fromisoformat("2026-10-25T02:30:00+01:00")

    assert due_label(due) == "20261025t013000z"


def test_each_project_and_environment_has_its_own_folder_of_states(tmp_path: Path) -> None:
    names = ["shop", "Shop", "a/b", "..", ".", ""]
    folders = [states_folder(tmp_path, name) for name in names]

    assert len(set(folders)) == len(names)
    assert {folder.resolve().parent for folder in folders} == {tmp_path.resolve() / "schedules"}
    assert state_file(tmp_path, "..", "daily").resolve().parent.parent == tmp_path.resolve()


def test_the_labels_of_projects_differ_when_their_names_differ() -> None:
    names = ["shop", "Shop", "s h o p", "", "é", "x" * 63, "x" * 64, "x" * 65]
    values = [run_labels(name, "daily", NOON)["kfgcp-project"] for name in names]

    assert values[0] == "shop"
    assert len(set(values)) == len(names)
    for value in values:
        assert re.fullmatch("[a-z0-9_-]{1,63}", value)
