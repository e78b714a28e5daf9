"""Schedules: their form, their states, and the jobs that they start."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from google.cloud.aiplatform_v1 import types
from google.protobuf import json_format

from json_types import JsonDict
from kfgcp.errors import UsageError
from kfgcp.testing.cron import Cron
from stand_in_apis import VertexApi


@pytest.fixture
def schedule_of(quick: VertexApi, body_of: Callable[..., JsonDict]) -> Callable[..., JsonDict]:
    """Return a function that builds the request for a schedule of the pipeline `echo`."""

    def make(**fields: object) -> JsonDict:
        parent = f"projects/{quick.env.project}/locations/{quick.env.location}"
        request = {
            "parent": parent,
            "pipelineJob": body_of("echo", {"text": "scheduled"}, labels={"team": "growth"}),
        }
        plain = {"displayName": "nightly", "cron": "0 3 * * *", "maxConcurrentRunCount": "1"}
        return plain | {"createPipelineJobRequest": request} | fields

    return make


def _id(schedule: JsonDict) -> str:
    return str(schedule["name"].rpartition("/")[2])


def test_every_field_is_read_back(quick: VertexApi, schedule_of: Callable[..., JsonDict]) -> None:
    body = schedule_of(
        cron="TZ=Europe/Amsterdam 0 3 * * 1-5",
        startTime="2097-01-01T00:00:00Z",
        endTime="2098-01-01T00:00:00Z",
        maxRunCount="9",
        maxConcurrentRunCount="2",
        maxConcurrentActiveRunCount="3",
        allowQueueing=True,
    )

    created_schedule = quick.post("schedules", body).json()
    read_schedule = quick.get(f"schedules/{_id(created_schedule)}")

    assert read_schedule == created_schedule
    assert {name: read_schedule[name] for name in body} == body
    assert (read_schedule["state"], read_schedule["startedRunCount"]) == ("ACTIVE", "0")
    # A Tuesday, 03:00 in Amsterdam.
    assert read_schedule["nextRunTime"] == "2097-01-01T02:00:00.000000Z"
    json_format.ParseDict(read_schedule, types.Schedule.pb()())
    json_format.ParseDict(quick.get("schedules"), types.ListSchedulesResponse.pb()())


@pytest.mark.parametrize(
    ("fields", "expected_text"),
    [
        ({"displayName": ""}, "display_name is required"),
        ({"displayName": "x" * 129}, "129 characters"),
        ({"cron": "0 3 * *"}, "4 fields"),
        ({"cron": "61 3 * * *"}, "outside 0 to 59"),
        ({"cron": "TZ=Mars/Base 0 3 * * *"}, "time zone"),
        ({"maxConcurrentRunCount": "0"}, "max_concurrent_run_count"),
        ({"maxRunCount": "-1"}, "max_run_count"),
        ({"startTime": "2030-01-02T00:00:00Z", "endTime": "2030-01-01T00:00:00Z"}, "end_time"),
        ({"createPipelineJobRequest": {}}, "create_pipeline_job_request"),
        ({"colour": "red"}, 'Unknown name "colour"'),
    ],
)
def test_a_schedule_is_refused_for(
    quick: VertexApi, schedule_of: Callable[..., JsonDict], fields: JsonDict, expected_text: str
) -> None:
    code, status, message = quick.refused(quick.post("schedules", schedule_of(**fields)))

    assert (code, status) == (400, "INVALID_ARGUMENT")
    assert expected_text in message


def test_the_job_of_a_schedule_is_checked_when_it_is_made(
    quick: VertexApi, schedule_of: Callable[..., JsonDict]
) -> None:
    body = schedule_of()
    body["createPipelineJobRequest"]["pipelineJob"]["runtimeConfig"] = {
        "gcsOutputDirectory": "gs://nobody"
    }
    parent = schedule_of()
    parent["createPipelineJobRequest"]["parent"] = "projects/p/locations/elsewhere"

    assert "gs://nobody" in quick.refused(quick.post("schedules", body))[2]
    assert "parent" in quick.refused(quick.post("schedules", parent))[2]


def test_a_fired_schedule_starts_a_job_that_names_it(
    quick: VertexApi, schedule_of: Callable[..., JsonDict]
) -> None:
    schedule = quick.post("schedules", schedule_of(maxRunCount="2")).json()

    first_job_id = quick.env.fire(schedule["name"])
    second_job_id = quick.env.fire(_id(schedule))

    read_schedule = quick.get(f"schedules/{_id(schedule)}")
    assert (read_schedule["startedRunCount"], read_schedule["state"]) == ("2", "COMPLETED")
    assert "nextRunTime" not in read_schedule
    assert read_schedule["lastScheduledRunResponse"]["runResponse"].endswith(
        f"/pipelineJobs/{second_job_id}"
    )
    jobs = quick.get("pipelineJobs", filter=f"schedule_name={schedule['name']}")["pipelineJobs"]
    assert [job["name"].rpartition("/")[2] for job in jobs] == [second_job_id, first_job_id]
    assert {job["labels"]["team"] for job in jobs} == {"growth"}
    assert jobs[0]["runtimeConfig"]["parameterValues"] == {"text": "scheduled"}
    for action in (":pause", ":resume"):
        answer = quick.refused(quick.post(f"schedules/{_id(schedule)}{action}"))
        assert answer[:2] == (400, "FAILED_PRECONDITION")
    with pytest.raises(UsageError, match="COMPLETED"):
        quick.env.fire(schedule["name"])


def test_a_paused_schedule_starts_nothing_until_it_is_resumed(
    quick: VertexApi, schedule_of: Callable[..., JsonDict]
) -> None:
    schedule = quick.post("schedules", schedule_of()).json()

    assert quick.post(f"schedules/{_id(schedule)}:pause").json() == {}
    paused = quick.get(f"schedules/{_id(schedule)}")
    with pytest.raises(UsageError, match="PAUSED"):
        quick.env.fire(schedule["name"])
    quick.post(f"schedules/{_id(schedule)}:resume", {"catchUp": True})
    resumed = quick.get(f"schedules/{_id(schedule)}")
    quick.env.fire(schedule["name"])

    assert paused["state"] == "PAUSED"
    assert paused["lastPauseTime"]
    assert "nextRunTime" not in paused
    assert (resumed["state"], resumed["catchUp"]) == ("ACTIVE", True)
    assert resumed["nextRunTime"]


def test_only_so_many_runs_are_under_way(
    quick: VertexApi, schedule_of: Callable[..., JsonDict]
) -> None:
    quick.env.instant.seconds = 600
    schedule = quick.post("schedules", schedule_of(maxConcurrentActiveRunCount="1")).json()
    quick.env.fire(schedule["name"])

    with pytest.raises(UsageError, match="at most 1"):
        quick.env.fire(schedule["name"])


def test_a_patch_changes_what_its_mask_names(
    quick: VertexApi, schedule_of: Callable[..., JsonDict]
) -> None:
    schedule = quick.post("schedules", schedule_of(allowQueueing=True)).json()
    path = f"schedules/{_id(schedule)}"

    body = {"displayName": "weekly", "cron": "30 4 * * 1", "maxRunCount": "7"}
    changed = quick.call(
        "PATCH", path, params={"updateMask": "display_name,cron,allowQueueing"}, json=body
    ).json()

    assert changed == quick.get(path)
    assert (changed["displayName"], changed["cron"]) == ("weekly", "30 4 * * 1")
    assert "maxRunCount" not in changed
    assert "allowQueueing" not in changed
    assert changed["nextRunTime"][11:16] == "04:30"
    for mask in ("", "name", "state", "colour"):
        answer = quick.call("PATCH", path, params={"updateMask": mask}, json=body)
        assert quick.refused(answer)[:2] == (400, "INVALID_ARGUMENT"), mask
    assert (
        quick.refused(
            quick.call("PATCH", path, params={"updateMask": "cron"}, json={"cron": "soon"})
        )[0]
        == 400
    )


def test_schedules_are_listed_by_filter_and_deleted(
    quick: VertexApi, schedule_of: Callable[..., JsonDict]
) -> None:
    schedules = [
        quick.post("schedules", schedule_of(displayName=f"s{number}")).json() for number in range(3)
    ]
    quick.post(f"schedules/{_id(schedules[0])}:pause")

    def listed(filter: str = "", **query: object) -> list[str]:
        return [
            item["displayName"]
            for item in quick.get("schedules", filter=filter, **query)["schedules"]
        ]

    assert sorted(listed()) == ["s0", "s1", "s2"]
    assert listed(orderBy="displayName") == ["s0", "s1", "s2"]
    assert listed('state="PAUSED"') == ["s0"]
    assert listed('NOT display_name:"s*"') == []
    assert sorted(listed("create_pipeline_job_request:*")) == ["s0", "s1", "s2"]
    page = quick.get("schedules", pageSize=2)
    assert len(page["schedules"]) == 2
    assert (
        len(quick.get("schedules", pageSize=2, pageToken=page["nextPageToken"])["schedules"]) == 1
    )
    assert (
        quick.refused(quick.call("GET", "schedules", params={"filter": 'colour="red"'}))[0] == 400
    )
    assert quick.call("DELETE", f"schedules/{_id(schedules[1])}").json()["done"]
    assert quick.refused(quick.call("GET", f"schedules/{_id(schedules[1])}"))[:2] == (
        404,
        "NOT_FOUND",
    )


@pytest.mark.parametrize(
    ("cron", "after", "due"),
    [
        ("* * * * *", "2026-03-01T10:00:30", "2026-03-01T10:01:00"),
        ("0 3 * * *", "2026-03-01T03:00:00", "2026-03-02T03:00:00"),
        ("*/20 * * * *", "2026-03-01T10:41:00", "2026-03-01T11:00:00"),
        ("5-59/10 9-17 * * *", "2026-03-01T17:56:00", "2026-03-02T09:05:00"),
        ("0 0 29 2 *", "2026-03-01T00:00:00", "2028-02-29T00:00:00"),
        (
            "0 12 * * mon,FRI",
            "2026-03-04T00:00:00",
            "2026-03-06T12:00:00",
        ),  # 2026-03-04 is a Wednesday
        ("0 12 * * 7", "2026-03-04T00:00:00", "2026-03-08T12:00:00"),
        ("0 0 13 * 5", "2026-03-09T00:00:00", "2026-03-13T00:00:00"),
        (
            "0 0 1 * 5",
            "2026-03-09T00:00:00",
            "2026-03-13T00:00:00",
        ),  # the day of the month or of the week
        ("0 0 1 jan *", "2026-03-09T00:00:00", "2027-01-01T00:00:00"),
        ("TZ=America/New_York 0 9 * * *", "2026-07-01T00:00:00", "2026-07-01T13:00:00"),
        ("CRON_TZ=America/New_York 0 9 * * *", "2026-01-01T00:00:00", "2026-01-01T14:00:00"),
    ],
)
def test_a_cron_expression_is_due(cron: str, after: str, due: str) -> None:
    next_time = Cron.parse(cron).after(datetime.fromisoformat(after).replace(tzinfo=UTC))

    assert next_time == datetime.fromisoformat(due).replace(tzinfo=UTC)


def test_a_cron_expression_can_be_never_due() -> None:
    assert Cron.parse("0 0 31 2 *").after(datetime(2026, 1, 1, tzinfo=UTC)) is None


@pytest.mark.parametrize(
    "cron", ["", "x * * * *", "* * * * * *", "60 * * * *", "5-1 * * * *", "*/0 * * * *", "@daily"]
)
def test_an_invalid_cron_expression_is_refused(cron: str) -> None:
    with pytest.raises(ValueError):
        Cron.parse(cron)
