"""Schedules on a stand-in of Vertex AI, request by request."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests

from json_types import JsonDict
from kfgcp.backends.schedules import DesiredSchedule, SupportsSchedules
from kfgcp.cron import Timetable
from kfgcp.deploy.schedules.applied import was_changed_by_hand
from kfgcp.deploy.schedules.steps import StepKind
from kfgcp.errors import BackendError, BadAnswer
from kfgcp.testing import VertexStandIn
from kfgcp.testing.server import Request, Response
from patience import REQUEST
from stand_in_apis import VertexApi
from vertex_schedules import (
    MORNING,
    OTHER_VERSION,
    PARENT,
    SCHEDULES,
    apply,
    churn,
    desired_schedule,
    only,
    open_schedules,
    toml,
)

DUE = datetime(2026, 11, 30, 6, tzinfo=UTC)


@pytest.fixture
def api(cloud: VertexStandIn) -> Iterator[VertexApi]:
    """Return a client that sends what a person could send."""
    with requests.Session() as session:
        yield VertexApi(cloud, session)


def writes(cloud: VertexStandIn, since: int = 0) -> list[tuple[str, str]]:
    """Return the method and the last part of the path of each request that writes."""
    requests = cloud.requests.select(since=since)
    return [
        (request.method, request.path.removeprefix("/v1/").removeprefix(f"{PARENT}/"))
        for request in requests
        if request.method != "GET"
    ]


# -- create, read and change


def test_a_schedule_is_created_with_one_request_and_read_back(
    cloud: VertexStandIn, schedules: SupportsSchedules
) -> None:
    desired = desired_schedule(labels={"team": "growth"})
    before = datetime.now(UTC) - timedelta(seconds=1)

    done = apply(schedules, desired)

    live = only(schedules)
    assert [step.kind for step in done.steps] == [StepKind.CREATE]
    assert writes(cloud) == [("POST", "schedules")]
    assert (live.project, live.name, live.display_name, live.enabled) == (
        "shop",
        "daily",
        "daily",
        True,
    )
    assert live.fields == schedules.fields_of(desired)
    assert live.timetable == MORNING
    assert before < live.created_at == live.updated_at == live.starts_at
    assert (live.disabled_at, live.last_due) == (None, None)
    assert live.ref.startswith(f"{PARENT}/schedules/")
    assert schedules.read_schedule(live.ref) == live
    assert not was_changed_by_hand(live)


def test_an_unchanged_schedule_costs_one_request(
    cloud: VertexStandIn, schedules: SupportsSchedules
) -> None:
    apply(schedules, desired_schedule())
    since = len(cloud.requests)

    done = apply(schedules, desired_schedule(labels={"git": "1" * 40, "user": "grace"}))

    assert done.steps == ()
    assert [request.method for request in cloud.requests.select(since=since)] == ["GET"]


def test_100_schedules_cost_one_request(cloud: VertexStandIn, schedules: SupportsSchedules) -> None:
    for number in range(101):
        schedules.create_schedule(desired_schedule(f"s{number}"), enabled=True, starts_at=None)
    since = len(cloud.requests)

    assert len(schedules.list_schedules()) == 101
    assert cloud.requests.count("GET", SCHEDULES, since=since) == 2


@pytest.mark.parametrize(
    ("desired", "mask"),
    [
        (
            desired_schedule(timetable=Timetable.parse(cron="0 7 * * *")),
            {"cron", "createPipelineJobRequest"},
        ),
        (
            desired_schedule(max_active=3),
            {
                "maxConcurrentActiveRunCount",
                "maxConcurrentRunCount",
                "createPipelineJobRequest",
            },
        ),
        (desired_schedule(params={"lr": 0.5}), {"createPipelineJobRequest"}),
        (desired_schedule(spec=churn(OTHER_VERSION, "b")), {"createPipelineJobRequest"}),
        (desired_schedule(labels={"team": "growth"}), {"createPipelineJobRequest"}),
        (desired_schedule(time_param="day"), {"createPipelineJobRequest"}),
    ],
)
def test_an_update_sends_exactly_the_fields_that_changed(
    cloud: VertexStandIn, schedules: SupportsSchedules, desired: DesiredSchedule, mask: set[str]
) -> None:
    apply(schedules, desired_schedule())
    before = only(schedules)
    since = len(cloud.requests)

    done = apply(schedules, desired)

    [request] = cloud.requests.select("PATCH", since=since)
    assert [step.kind for step in done.steps] == [StepKind.UPDATE]
    assert set(request.query["updateMask"].split(",")) == set(request.body) == mask
    after = only(schedules)
    assert (after.ref, after.created_at) == (before.ref, before.created_at)
    assert after.fields == schedules.fields_of(desired)
    assert not was_changed_by_hand(after)


def test_a_property_that_cannot_be_removed_replaces_the_schedule(
    cloud: VertexStandIn, schedules: SupportsSchedules
) -> None:
    apply(schedules, desired_schedule(labels={"team": "growth"}))
    before = only(schedules)

    done = apply(schedules, desired_schedule())

    kinds = [step.kind for step in done.steps]
    assert kinds == [StepKind.DISABLE, StepKind.CREATE, StepKind.DELETE]
    assert only(schedules).ref != before.ref


def test_a_paused_schedule_starts_when_it_is_enabled(
    cloud: VertexStandIn, schedules: SupportsSchedules
) -> None:
    apply(schedules, desired_schedule(paused=True))
    paused = only(schedules)
    since = len(cloud.requests)

    apply(schedules, desired_schedule())

    enabled = only(schedules)
    assert (paused.enabled, paused.disabled_at is not None) == (False, True)
    # Its start time was in the future until it was paused. The service gives its time in whole
    # seconds.
    assert paused.starts_at <= datetime.now(UTC) + timedelta(seconds=2)
    assert writes(cloud, since) == [("POST", f"schedules/{paused.ref.rpartition('/')[2]}:resume")]
    assert (enabled.enabled, enabled.ref, enabled.disabled_at) == (True, paused.ref, None)
    assert not was_changed_by_hand(paused)
    assert not was_changed_by_hand(enabled)


def test_a_start_time_in_the_future_moves_to_now(
    cloud: VertexStandIn, schedules: SupportsSchedules
) -> None:
    # The process that created it to be paused was killed before the pause.
    later = datetime.now(UTC) + timedelta(hours=1)
    schedules.create_schedule(desired_schedule(paused=True), enabled=True, starts_at=later)
    assert only(schedules).starts_at == later

    done = apply(schedules, desired_schedule())

    assert [step.kind for step in done.steps] == [StepKind.ENABLE]
    assert cloud.requests.select("PATCH")[0].query == {"updateMask": "startTime"}
    assert only(schedules).starts_at <= datetime.now(UTC) + timedelta(seconds=2)
    assert only(schedules).enabled


def test_a_start_time_in_the_past_is_not_sent(
    cloud: VertexStandIn, schedules: SupportsSchedules
) -> None:
    past = datetime.now(UTC) - timedelta(days=5)
    every_hour = desired_schedule(timetable=Timetable.parse(every="1h"))

    schedules.create_schedule(every_hour, enabled=True, starts_at=past)

    # The service would start the runs of five days.
    assert "startTime" not in cloud.requests.select("POST", SCHEDULES)[0].body
    assert cloud.fire_due(datetime.now(UTC)) == []


def test_due_times_that_wait_are_started_before_an_update_skips_them(
    cloud: VertexStandIn, schedules: SupportsSchedules
) -> None:
    hourly = Timetable.parse(every="1h")
    created = datetime.now(UTC) - timedelta(hours=3)
    cloud.schedule_clock = created.timestamp
    apply(schedules, desired_schedule(timetable=hourly))
    cloud.schedule_clock = lambda: datetime.now(UTC).timestamp()

    done = apply(open_schedules(), desired_schedule(timetable=hourly, max_active=4))

    kinds = [step.kind for step in done.steps]
    assert kinds == [StepKind.DISABLE, StepKind.UPDATE, StepKind.ENABLE]
    now = datetime.now(UTC)
    assert [due for due, _ in done.fired] == hourly.between(created, now, 10)
    assert cloud.fire_due(now) == []
    assert only(schedules).enabled


@pytest.mark.parametrize("hours", [-2, 2])
def test_a_wrong_clock_of_this_machine_sends_no_start_time_in_the_past(
    cloud: VertexStandIn,
    schedules: SupportsSchedules,
    monkeypatch: pytest.MonkeyPatch,
    hours: int,
) -> None:
    wrong = timedelta(hours=hours)
    monkeypatch.setattr(
        "kfgcp.backends.vertex.schedules._machine_time", lambda: datetime.now(UTC) + wrong
    )
    desired = desired_schedule(timetable=Timetable.parse(every="15m"))

    apply(schedules, desired, machine_ahead=wrong)
    apply(open_schedules(), desired, machine_ahead=wrong)

    assert writes(cloud) == [("POST", "schedules")]
    live = only(schedules)
    schedules.delete_schedule(live)
    apply(open_schedules(), replace(desired, paused=True), machine_ahead=wrong)
    started = only(schedules).starts_at
    assert live.created_at <= started <= datetime.now(UTC) + timedelta(seconds=2)


def test_a_deleted_schedule_is_gone_and_its_runs_stay(
    cloud: VertexStandIn, schedules: SupportsSchedules
) -> None:
    apply(schedules, desired_schedule())
    job = cloud.fire(only(schedules).ref)

    apply(schedules, None)

    assert schedules.list_schedules() == []
    assert cloud.jobs() == [job]


def test_a_deletion_that_takes_long_is_awaited(
    cloud: VertexStandIn, schedules: SupportsSchedules, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply(schedules, desired_schedule())
    live = only(schedules)
    handle = cloud.handle
    deletions: list[Request] = []

    def delete_after_two_reads(request: Request) -> Response:
        if request.method == "DELETE":
            deletions.append(request)
            return Response(body={"name": f"{PARENT}/operations/1"})
        if deletions and cloud.requests.count("GET", f"/v1/{live.ref}") == 3:
            handle(deletions[0])
        return handle(request)

    # The first read is the check of what was created.
    monkeypatch.setattr(cloud, "handle", delete_after_two_reads)

    schedules.delete_schedule(live)

    assert len(deletions) == 1
    assert cloud.requests.count("GET", f"/v1/{live.ref}") == 3


def test_the_last_due_time_is_read(cloud: VertexStandIn, schedules: SupportsSchedules) -> None:
    apply(schedules, desired_schedule(timetable=Timetable.parse(every="1h")))
    until = datetime.now(UTC) + timedelta(hours=3)

    runs = cloud.fire_due(until)

    assert only(schedules).last_due == runs[-1].due


def test_a_schedule_that_does_not_exist_is_none(schedules: SupportsSchedules) -> None:
    assert schedules.read_schedule(f"{PARENT}/schedules/123") is None


# -- the runs


def test_the_jobs_of_a_schedule_have_its_markers(
    cloud: VertexStandIn, schedules: SupportsSchedules, api: VertexApi
) -> None:
    apply(schedules, desired_schedule(labels={"team": "growth"}, time_param="day"))

    job = api.get(f"pipelineJobs/{cloud.fire(only(schedules).ref)}")

    labels = job["labels"]
    assert (labels["kfgcp-project"], labels["kfgcp-schedule"]) == ("shop", "daily")
    assert (labels["team"], labels["experiment"]) == ("growth", "nightly")
    assert not labels.keys() & {"git", "git-dirty", "user"}


def test_a_due_time_has_one_run(cloud: VertexStandIn, schedules: SupportsSchedules) -> None:
    desired = desired_schedule(time_param="day")

    first = schedules.fire(desired, DUE)
    second = schedules.fire(desired, DUE)
    of_another_process = open_schedules().fire(desired, DUE)

    assert (first[1], second[1], of_another_process[1]) == (True, False, False)
    assert cloud.jobs() == [first[0]] == [second[0]] == [of_another_process[0]]
    body = cloud.requests.select("POST", "*/pipelineJobs")[0].body
    assert body["labels"]["kfgcp-due"] == "20261130t060000z"
    assert body["runtimeConfig"]["parameterValues"]["day"] == "2026-11-30T06:00:00Z"


def test_a_due_time_whose_run_a_backfill_has_started_is_not_started_again(
    cloud: VertexStandIn, schedules: SupportsSchedules
) -> None:
    desired = desired_schedule()
    first = schedules.fire(desired, DUE)
    [sent] = cloud.requests.select("POST", "*/pipelineJobs")
    # A backfill sends the same labels, and its jobs have other ids.
    later = DUE + timedelta(days=1)
    labels = {**sent.body["labels"], "kfgcp-due": "20261201t060000z", "submission": "other"}
    job = {**sent.body, "labels": labels}
    address = f"{cloud.api_endpoint}{sent.path}"
    answer = requests.post(address, params={"pipelineJobId": "a"}, json=job, timeout=REQUEST)
    answer.raise_for_status()

    again = schedules.fire(desired, later)

    assert first.is_new
    assert (again.run_id, again.is_new) == ("a", False)
    assert len(cloud.jobs()) == 2


@pytest.mark.parametrize("fault", ["lost", "garbage"])
def test_a_run_whose_answer_was_lost_is_reported_once(
    cloud: VertexStandIn, schedules: SupportsSchedules, fault: str
) -> None:
    desired = desired_schedule()
    cloud.fail_next(fault, method="POST", path="*/pipelineJobs")
    answers = []
    for _ in range(3):
        # `converge` reads the service again after such an error, and repeats the step.
        with suppress(BackendError):
            answers.append(schedules.fire(desired, DUE)[1])

    assert answers.count(True) == 1
    assert len(cloud.jobs()) == 1


# -- schedules of others


def body_of_a_person() -> JsonDict:
    return {
        "displayName": "daily",
        "cron": "0 6 * * *",
        "maxConcurrentRunCount": "1",
        "createPipelineJobRequest": {
            "parent": PARENT,
            "pipelineJob": {
                "pipelineSpec": churn().pipeline_spec,
                "runtimeConfig": {"gcsOutputDirectory": "gs://stand-in-project-pipelines/runs"},
            },
        },
    }


def test_a_schedule_of_a_person_has_no_markers_and_is_not_changed(
    schedules: SupportsSchedules, api: VertexApi
) -> None:
    created = api.post("schedules", body_of_a_person()).json()

    apply(schedules, desired_schedule())
    apply(schedules, None)

    theirs = only(schedules)
    assert (theirs.project, theirs.name, theirs.display_name) == ("", "", "daily")
    assert theirs.applied == ""
    assert not was_changed_by_hand(theirs)
    assert api.get(f"schedules/{theirs.ref.rpartition('/')[2]}") == created


def test_a_schedule_of_another_project_keeps_its_label(schedules: SupportsSchedules) -> None:
    schedules.create_schedule(desired_schedule(project="Other Shop"), enabled=True, starts_at=None)

    assert only(schedules).project.startswith("other-shop-")


def test_the_project_has_its_own_name_although_its_label_differs(
    cloud: VertexStandIn, home: Path
) -> None:
    (home / "kfgcp.toml").write_text(toml(cloud.toml("dev")).replace('"shop"', '"Größe 7!"'))
    schedules = open_schedules()

    schedules.create_schedule(desired_schedule(project="Größe 7!"), enabled=True, starts_at=None)

    assert only(schedules).project == "Größe 7!"


def test_a_schedule_that_starts_no_pipeline_has_no_properties_of_a_job(
    cloud: VertexStandIn, schedules: SupportsSchedules, monkeypatch: pytest.MonkeyPatch
) -> None:
    notebook = {
        "name": "projects/1/locations/europe-west4/schedules/7",
        "displayName": "notebook",
        "cron": "TZ=Europe/Berlin 0 6 * * mon",
        "createTime": "2026-01-01T00:00:00Z",
        "state": "ACTIVE",
        "createNotebookExecutionJobRequest": {"parent": PARENT},
    }
    unreadable = {"name": "projects/1/locations/europe-west4/schedules/8", "createTime": 5}
    _answer_lists(cloud, [notebook, unreadable], monkeypatch)

    live = only(schedules)

    assert (live.ref, live.project, live.enabled) == (f"{PARENT}/schedules/7", "", True)
    assert live.timetable is not None
    assert "version" not in live.fields


def test_a_schedule_of_kfgcp_that_cannot_be_read_is_an_error(
    cloud: VertexStandIn, schedules: SupportsSchedules, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = body_of_a_person() | {"name": "x/1", "createTime": "yesterday"}
    broken["createPipelineJobRequest"]["pipelineJob"]["labels"] = {"kfgcp-schedule": "daily"}
    _answer_lists(cloud, [broken], monkeypatch)

    with pytest.raises(BadAnswer, match="createTime"):
        schedules.list_schedules()


def _answer_lists(
    cloud: VertexStandIn, items: list[JsonDict], monkeypatch: pytest.MonkeyPatch
) -> None:
    handle = cloud.handle

    def answer(request: Request) -> Response:
        if (request.method, request.path) == ("GET", SCHEDULES):
            return Response(body={"schedules": items})
        return handle(request)

    monkeypatch.setattr(cloud, "handle", answer)


# -- changes by hand


def test_a_change_by_hand_is_seen_and_undone(
    cloud: VertexStandIn, schedules: SupportsSchedules, api: VertexApi
) -> None:
    apply(schedules, desired_schedule())
    schedule_id = only(schedules).ref.rpartition("/")[2]
    api.call("PATCH", f"schedules/{schedule_id}?updateMask=cron", json={"cron": "0 9 * * *"})
    changed = only(schedules)

    done = apply(schedules, desired_schedule())

    assert was_changed_by_hand(changed)
    assert [step.fields for step in done.steps] == [("cron", "time_zone")]
    assert not was_changed_by_hand(only(schedules))


def test_an_end_that_was_set_by_hand_replaces_the_schedule(
    schedules: SupportsSchedules, api: VertexApi
) -> None:
    apply(schedules, desired_schedule())
    before = only(schedules)
    path = f"schedules/{before.ref.rpartition('/')[2]}"
    end = {"endTime": "2090-01-01T00:00:00Z"}
    api.call("PATCH", f"{path}?updateMask=endTime", json=end)

    apply(schedules, desired_schedule())

    after = only(schedules)
    assert after.ref != before.ref
    assert after.fields == schedules.fields_of(desired_schedule())
