"""The runs of schedules: how they are found, started once, and left alone."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

import kfgcp
from kfgcp.backends.kubeflow.schedules import KubeflowSchedules
from kfgcp.backends.kubeflow.service import KubeflowService
from kfgcp.backends.registry import load_project
from kfgcp.backends.schedules import DesiredSchedule
from kfgcp.deploy.schedules.converge import Clock, Done, converge
from kfgcp.errors import BackendError, UsageError
from kfgcp.options import RunOptions
from kubeflow_schedules import TEXT, ScheduleServer

DUE = datetime(2026, 11, 30, 6, tzinfo=UTC)
NAME = "churn-daily-20261130t060000z"


def starting(
    server: ScheduleServer, home: Path, now: Callable[[], datetime] | None = None
) -> KubeflowSchedules:
    """Return schedules that can start runs."""
    (home / "kfgcp.toml").write_text(server.stand_in.toml("gke"))
    project = load_project()
    service = KubeflowService(project, project.env("gke"), server.records)
    return server.schedules(service.create, now)


def run_names(server: ScheduleServer) -> list[str]:
    return [run["display_name"] for run in server.get("runs").get("runs", [])]


def test_a_due_time_is_started_once_with_the_labels_of_the_schedule(
    kfp_server: ScheduleServer, home: Path
) -> None:
    desired = kfp_server.desired()

    run_id, is_new, is_active = starting(kfp_server, home).fire(desired, DUE)
    again = starting(kfp_server, home).fire(desired, DUE.astimezone())

    assert (is_new, is_active) == (True, True)
    # The stand-in ends runs at once.
    assert again == (run_id, False, False)
    assert run_names(kfp_server) == [NAME]
    run = kfp_server.get(f"runs/{run_id}")
    for label in (
        '"kfgcp-project":"shop"',
        '"kfgcp-schedule":"churn-daily"',
        '"kfgcp-due":"20261130t060000z"',
        '"team":"growth"',
    ):
        assert label in run["description"]
    assert run["runtime_config"]["parameters"] == {"lr": 0.5, "day": "monday"}


@pytest.mark.parametrize("kind", ["lost", "late", "garbage", "reset"])
def test_a_due_time_whose_answer_was_lost_has_one_run(
    new_server: ScheduleServer, home: Path, kind: str
) -> None:
    desired = new_server.desired()
    new_server.stand_in.fail_next(kind, times=1, method="POST", path="*/runs")
    with suppress(BackendError):
        starting(new_server, home).fire(desired, DUE)

    run_id, _, _ = starting(new_server, home).fire(desired, DUE)

    assert run_names(new_server) == [NAME]
    assert new_server.get("runs")["runs"][0]["run_id"] == run_id


def test_a_run_of_others_with_the_same_name_does_not_count(
    new_server: ScheduleServer, home: Path
) -> None:
    desired = new_server.desired()
    schedules = starting(new_server, home)
    schedules.fire(DesiredSchedule("other", desired.name, desired.timetable, desired.request), DUE)

    _, is_new, _ = schedules.fire(desired, DUE)

    assert is_new
    assert run_names(new_server) == [NAME, NAME]


def test_the_parameter_for_the_due_time_gets_it(new_server: ScheduleServer, home: Path) -> None:
    desired = new_server.desired(time_param="day", params={"lr": 0.5})

    run_id, _, _ = starting(new_server, home).fire(desired, DUE)

    run = new_server.get(f"runs/{run_id}")
    assert run["runtime_config"]["parameters"]["day"] == "2026-11-30T06:00:00Z"
    assert "pipeline_version_reference" in run


def test_a_due_time_that_the_recurring_run_has_started_is_not_started_again(
    kfp_server: ScheduleServer, home: Path
) -> None:
    kfp_server.stand_in.creation.clock = lambda: (DUE - timedelta(minutes=5)).timestamp()
    desired = kfp_server.desired()
    schedules = starting(kfp_server, home)
    ref = schedules.create_schedule(desired, enabled=True, starts_at=None)
    kfp_server.stand_in.creation.clock = lambda: (DUE + timedelta(seconds=9)).timestamp()
    (run_id,) = kfp_server.stand_in.fire_due((DUE + timedelta(seconds=9)).timestamp())

    assert schedules.fire(desired, DUE)[:2] == (run_id, False)
    live = schedules.read_schedule(ref)
    assert live is not None
    schedules.delete_schedule(live)
    # kfgcp remembers the recurring run, so another process finds its run too.
    assert starting(kfp_server, home).fire(desired, DUE)[:2] == (run_id, False)
    assert starting(kfp_server, home).fire(desired, DUE + timedelta(days=1))[1]


def test_a_run_of_a_recurring_run_has_the_labels_of_its_schedule(
    kfp_server: ScheduleServer, home: Path
) -> None:
    kfp_server.stand_in.creation.clock = lambda: (DUE - timedelta(minutes=5)).timestamp()
    kfp_server.schedules().create_schedule(kfp_server.desired(), enabled=True, starts_at=None)
    kfp_server.stand_in.creation.clock = lambda: (DUE + timedelta(seconds=9)).timestamp()
    (run_id,) = kfp_server.stand_in.fire_due((DUE + timedelta(seconds=9)).timestamp())
    (home / "kfgcp.toml").write_text(kfp_server.stand_in.toml("gke"))

    labels = {"kfgcp-project": "shop", "kfgcp-schedule": "churn-daily"}
    with kfgcp.Workspace() as workspace:
        runs = list(workspace.list(env="gke", label=labels))

    assert [run.run_id for run in runs] == [run_id]
    assert runs[0].labels == {**labels, "kfgcp-due": "20261130t060000z"}


PROJECT = """
[pipeline.churn]
source = "churn.yaml"
[schedule.churn-daily]
pipeline = "churn"
env = "gke"
cron = "0 6 * * *"
"""


def run_of_deleted_schedule(server: ScheduleServer, home: Path, desired: DesiredSchedule) -> str:
    """Return a run whose recurring run was deleted by another machine.

    The current folder is a project with the schedule, and no command has read the server yet.
    """
    server.stand_in.creation.clock = lambda: (DUE - timedelta(minutes=5)).timestamp()
    schedules = server.schedules()
    ref = schedules.create_schedule(desired, enabled=True, starts_at=None)
    server.stand_in.creation.clock = lambda: (DUE + timedelta(seconds=9)).timestamp()
    (run_id,) = server.stand_in.fire_due((DUE + timedelta(seconds=9)).timestamp())
    server.stand_in.finish_runs()
    live = schedules.read_schedule(ref)
    assert live is not None
    schedules.delete_schedule(live)
    assert schedules.read_schedule(ref) is None
    (home / "churn.yaml").write_text(TEXT)
    toml = f'[project]\nname = "shop"\n{server.stand_in.toml("gke")}{PROJECT}'
    (home / "kfgcp.toml").write_text(toml)
    return run_id


def test_another_machine_knows_the_schedule_of_a_run_whose_recurring_run_was_deleted(
    kfp_server: ScheduleServer, home: Path
) -> None:
    run_id = run_of_deleted_schedule(kfp_server, home, kfp_server.desired())

    with kfgcp.Workspace() as workspace:
        (run,) = workspace.list(env="gke")
        steps = workspace.schedules.backfill(
            "churn-daily", DUE, DUE + timedelta(minutes=1), dry_run=True
        )

    assert run.labels["kfgcp-project"] == "shop"
    assert run.labels["kfgcp-schedule"] == "churn-daily"
    assert run.labels["kfgcp-due"] == "20261130t060000z"
    assert [(step.run_id, step.existed) for step in steps] == [(run_id, True)]


def test_a_backfill_stops_at_a_run_that_may_be_of_the_schedule(
    new_server: ScheduleServer, home: Path
) -> None:
    # With a parameter for the due time, a recurring run has the pipeline itself, and no version.
    desired = new_server.desired(time_param="day", params={"lr": 0.5})
    run_id = run_of_deleted_schedule(new_server, home, desired)

    with kfgcp.Workspace() as workspace:
        backfill = partial(workspace.schedules.backfill, "churn-daily", dry_run=True)
        with pytest.raises(UsageError, match=f"The run {run_id} may be the run of a") as caught:
            backfill(DUE, DUE + timedelta(minutes=1))
        later = DUE + timedelta(hours=1)
        steps = backfill(later, later + timedelta(minutes=1))

    assert "\n" not in caught.value.message
    assert steps == []


def test_a_backfill_stops_at_a_run_of_one_of_two_schedules_with_similar_names(
    new_server: ScheduleServer, home: Path
) -> None:
    # The names share the 25 characters that the server takes for the names of runs.
    daily, weekly = (f"customer-churn-prediction-{word}" for word in ("daily", "weekly"))
    desired = replace(new_server.desired(), name=weekly)
    run_id = run_of_deleted_schedule(new_server, home, desired)
    tables = [PROJECT.replace("churn-daily", name) for name in (daily, weekly)]
    second = tables[1].partition('source = "churn.yaml"')[2]
    toml = f'[project]\nname = "shop"\n{new_server.stand_in.toml("gke")}{tables[0]}{second}'
    (home / "kfgcp.toml").write_text(toml)

    for name in (daily, weekly):
        with kfgcp.Workspace() as workspace:
            backfill = partial(workspace.schedules.backfill, name, dry_run=True)
            with pytest.raises(UsageError, match=f"The run {run_id} may be the run of a"):
                backfill(DUE, DUE + timedelta(minutes=1))


def test_a_due_time_whose_run_a_backfill_has_started_is_not_started_again(
    new_server: ScheduleServer, home: Path
) -> None:
    (home / "churn.yaml").write_text(TEXT)
    toml = f'[project]\nname = "shop"\n{new_server.stand_in.toml("gke")}{PROJECT}'
    (home / "kfgcp.toml").write_text(toml)
    due = DUE - timedelta(days=7)
    with kfgcp.Workspace() as workspace:
        (step,) = workspace.schedules.backfill("churn-daily", due, due + timedelta(minutes=1))
    desired = new_server.desired(options=RunOptions(env="gke", experiment="default"))

    run = starting(new_server, home).fire(desired, due)

    assert (run.run_id, run.is_new) == (step.run_id, False)


def test_a_run_of_another_project_with_the_same_schedule_has_no_labels(
    new_server: ScheduleServer, home: Path
) -> None:
    run_of_deleted_schedule(new_server, home, new_server.desired())
    toml = (home / "kfgcp.toml").read_text()
    (home / "kfgcp.toml").write_text(toml.replace('"shop"', '"other"'))

    with kfgcp.Workspace() as workspace:
        (run,) = workspace.list(env="gke")

    assert not [label for label in run.labels if label.startswith("kfgcp-")]


def test_deleting_a_schedule_leaves_its_active_runs_alone(kfp_server: ScheduleServer) -> None:
    kfp_server.stand_in.instant.seconds = 10_000
    kfp_server.stand_in.creation.clock = lambda: (DUE - timedelta(minutes=5)).timestamp()
    schedules = kfp_server.schedules()
    ref = schedules.create_schedule(kfp_server.desired(), enabled=True, starts_at=None)
    (run_id,) = kfp_server.stand_in.fire_due(DUE.timestamp())
    live = schedules.read_schedule(ref)
    assert live is not None

    schedules.delete_schedule(live)

    record = kfp_server.stand_in.runs.find(run_id)
    assert record is not None
    assert not record.workflow_gone
    assert not record.current_run().state.final
    remaining = schedules.read_schedule(ref)
    if kfp_server.stand_in.version == "2.17.0":
        assert remaining is None
        return
    # An older server would end the run, so the schedule is only disabled.
    assert remaining is not None
    assert not remaining.enabled
    assert remaining.is_busy
    assert remaining.last_due == DUE
    kfp_server.stand_in.finish_runs()
    ended = schedules.read_schedule(ref)
    assert ended is not None
    assert not ended.is_busy
    schedules.delete_schedule(ended)
    assert schedules.read_schedule(ref) is None


@pytest.mark.parametrize("catch_up", [True, False])
def test_due_times_that_wait_are_started_once_when_the_due_times_change(
    kfp_server: ScheduleServer, home: Path, catch_up: bool
) -> None:
    now = DUE
    stand_in = kfp_server.stand_in
    stand_in.creation.clock = lambda: now.timestamp()
    # Runs stay active until the end of the test.
    stand_in.instant.seconds = 1_000_000

    def advance(seconds: float) -> None:
        nonlocal now
        now += timedelta(seconds=seconds)
        stand_in.fire_due(now.timestamp())

    def apply(every: str) -> Done:
        desired = kfp_server.desired(every=every, catch_up=catch_up, max_active=2)
        schedules = starting(kfp_server, home, now=lambda: now)
        live = schedules.list_schedules()
        clock = Clock(now=lambda: now, sleep=advance)
        return converge(schedules, "shop", "churn-daily", desired, live, clock=clock)

    apply("5m")
    # Two runs are active, and the due times after 15 and 20 minutes wait.
    advance(22 * 60)
    advance(60)
    done = apply("1h")
    again = apply("1h")

    waiting = [DUE + timedelta(minutes=15), DUE + timedelta(minutes=20)]
    assert [due for due, _ in done.fired] == (waiting if catch_up else waiting[-1:])
    assert (again.steps, again.fired) == ((), ())
    modes = [run["mode"] for run in kfp_server.recurring_runs()]
    # Before 2.16, the runs that are active would end with their recurring run.
    is_old = starting(kfp_server, home).schedule_facts.deletion_ends_runs
    assert modes == (["DISABLE", "ENABLE"] if is_old else ["ENABLE"])
