"""When the schedules of a stand-in start jobs, as the comments of aiplatform_v1 say."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from json_types import JsonDict
from kfgcp.errors import UsageError
from stand_in_apis import VertexApi

HOURLY = "0 * * * *"


class Clock:
    """The clock of the schedules. hour: the hour of 2026-01-01, and minutes as a fraction."""

    def __init__(self, api: VertexApi) -> None:
        self.api = api
        self.hour = 0.0
        api.env.schedule_clock = lambda: self.at(self.hour).timestamp()

    def at(self, hour: float) -> datetime:
        return datetime.fromtimestamp(1767225600 + hour * 3600, UTC)

    def advance_to(self, hour: float) -> list[int]:
        """Let time pass, and return the hours of the due times whose jobs were started."""
        self.hour = hour
        return [run.due.hour for run in self.api.env.fire_due(self.at(hour))]


@pytest.fixture
def clock(quick: VertexApi) -> Clock:
    return Clock(quick)


@pytest.fixture
def create(quick: VertexApi, body_of: Callable[..., JsonDict]) -> Callable[..., str]:
    """Return a function that creates an hourly schedule, and returns its path."""

    def make(**fields: object) -> str:
        request = {
            "parent": f"projects/{quick.env.project}/locations/{quick.env.location}",
            "pipelineJob": body_of("echo", {"text": "scheduled"}),
        }
        body = {"displayName": "hourly", "cron": HOURLY, "maxConcurrentRunCount": "1"}
        schedule = quick.post("schedules", body | {"createPipelineJobRequest": request} | fields)
        return f"schedules/{schedule.json()['name'].rpartition('/')[2]}"

    return make


def test_each_due_time_starts_one_job(
    quick: VertexApi, clock: Clock, create: Callable[..., str]
) -> None:
    clock.hour = 0.5
    path = create()

    assert clock.advance_to(0.9) == []
    assert clock.advance_to(2.5) == [1, 2]
    assert clock.advance_to(2.6) == []
    schedule = quick.get(path)
    assert schedule["startedRunCount"] == "2"
    assert schedule["nextRunTime"] == "2026-01-01T03:00:00.000000Z"
    last_run = schedule["lastScheduledRunResponse"]
    assert last_run["scheduledRunTime"] == "2026-01-01T02:00:00.000000Z"
    assert last_run["runResponse"].rpartition("/")[2] == quick.env.jobs()[-1]


def test_a_start_time_in_the_past_starts_all_due_times_since(
    clock: Clock, create: Callable[..., str]
) -> None:
    clock.hour = 4.5

    create(startTime="2026-01-01T01:30:00Z")

    assert clock.advance_to(4.6) == [2, 3, 4]


def test_a_start_time_in_the_future_starts_nothing_before(
    clock: Clock, create: Callable[..., str]
) -> None:
    create(startTime="2026-01-01T02:30:00Z")

    assert clock.advance_to(2.9) == []
    assert clock.advance_to(3.5) == [3]


def test_a_pause_skips_due_times_unless_the_schedule_catches_up(
    quick: VertexApi, clock: Clock, create: Callable[..., str]
) -> None:
    clock.hour = 0.5
    path = create()
    clock.advance_to(1.5)

    quick.post(f"{path}:pause")
    assert clock.advance_to(3.5) == []
    quick.post(f"{path}:resume")
    assert clock.advance_to(4.5) == [4]

    quick.post(f"{path}:pause")
    clock.advance_to(6.5)
    quick.post(f"{path}:resume", {"catchUp": True})
    assert clock.advance_to(7.5) == [5, 6, 7]


def test_only_a_paused_schedule_can_be_resumed(
    quick: VertexApi, create: Callable[..., str]
) -> None:
    answer = quick.refused(quick.post(f"{create()}:resume"))

    assert answer[:2] == (400, "FAILED_PRECONDITION")


def patch(api: VertexApi, path: str, **fields: object) -> None:
    mask = ",".join(fields)
    assert api.call("PATCH", f"{path}?updateMask={mask}", json=fields).status_code == 200


def test_an_update_skips_what_has_not_started(
    quick: VertexApi, clock: Clock, create: Callable[..., str]
) -> None:
    path = create()
    clock.hour = 2.5

    patch(quick, path, displayName="other")

    assert clock.advance_to(3.5) == [3]


def test_an_update_of_a_paused_schedule_skips_the_pause_until_then(
    quick: VertexApi, clock: Clock, create: Callable[..., str]
) -> None:
    path = create()
    clock.advance_to(0.5)
    quick.post(f"{path}:pause")
    clock.hour = 2.5
    patch(quick, path, displayName="other")
    clock.hour = 4.5

    quick.post(f"{path}:resume", {"catchUp": True})

    assert clock.advance_to(4.6) == [3, 4]


def test_a_value_cannot_be_unset(quick: VertexApi, create: Callable[..., str]) -> None:
    path = create(endTime="2090-01-01T00:00:00Z")

    answer = quick.refused(quick.call("PATCH", f"{path}?updateMask=endTime", json={}))

    assert answer[0] == 400
    assert "cannot be unset" in answer[2]
    assert quick.get(path)["endTime"].startswith("2090")


def test_a_full_schedule_queues_or_skips(
    quick: VertexApi, clock: Clock, create: Callable[..., str]
) -> None:
    quick.env.instant.seconds = 600
    queues = create(maxConcurrentActiveRunCount="1", allowQueueing=True)

    assert clock.advance_to(2.5) == [1]
    assert quick.get(queues)["nextRunTime"].startswith("2026-01-01T02:00")
    quick.env.finish_runs()
    assert clock.advance_to(2.6) == [2]

    quick.call("DELETE", queues)
    skips = create(maxConcurrentActiveRunCount="1", allowQueueing=False)
    assert clock.advance_to(4.5) == [3]
    quick.env.finish_runs()
    assert clock.advance_to(4.6) == []
    assert quick.get(skips)["nextRunTime"].startswith("2026-01-01T05:00")


def test_a_schedule_ends_at_its_end_time_or_its_last_run(
    quick: VertexApi, clock: Clock, create: Callable[..., str]
) -> None:
    until = create(endTime="2026-01-01T02:00:00Z")
    assert clock.advance_to(9.5) == [1]
    assert quick.get(until)["state"] == "COMPLETED"

    twice = create(maxRunCount="2")
    assert clock.advance_to(20.5) == [10, 11]
    assert quick.get(twice)["state"] == "COMPLETED"
    with pytest.raises(UsageError, match="COMPLETED"):
        quick.env.fire(twice.rpartition("/")[2])
