"""Schedules on a stand-in of Vertex AI that refuses requests, loses answers or drops fields."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kfgcp.backends.schedules import SupportsSchedules
from kfgcp.errors import BadAnswer, NotFound, Refused, Unreachable
from kfgcp.testing import VertexStandIn
from kfgcp.testing.server import Request, Response
from vertex_schedules import SCHEDULES, apply, desired_schedule, only


@pytest.mark.parametrize("fault", ["lost", "garbage", "reset"])
@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE"])
def test_a_write_whose_answer_was_lost_happens_once(
    cloud: VertexStandIn, schedules: SupportsSchedules, fault: str, method: str
) -> None:
    if method != "POST":
        apply(schedules, desired_schedule())
    cloud.fail_next(fault, method=method, path=f"{SCHEDULES}*")

    target = {"POST": desired_schedule(), "PATCH": desired_schedule(max_active=2), "DELETE": None}
    apply(schedules, target[method])

    expected = 0 if method == "DELETE" else 1
    lives = schedules.list_schedules()
    assert len(lives) == expected
    desired = target[method]
    if desired is not None:
        assert lives[0].fields == schedules.fields_of(desired)


@pytest.mark.parametrize("verb", ["pause", "resume"])
def test_a_pause_whose_answer_was_lost_happens_once(
    cloud: VertexStandIn, schedules: SupportsSchedules, verb: str
) -> None:
    is_paused = verb == "pause"
    apply(schedules, desired_schedule(paused=not is_paused))
    cloud.fail_next("lost", method="POST", path=f"*:{verb}")

    apply(schedules, desired_schedule(paused=is_paused))

    assert only(schedules).enabled != is_paused


def test_too_many_requests_are_no_end(cloud: VertexStandIn, schedules: SupportsSchedules) -> None:
    apply(schedules, desired_schedule())
    cloud.fail_next("429", times=12, method="PATCH")

    apply(schedules, desired_schedule(max_active=2))

    assert only(schedules).fields == schedules.fields_of(desired_schedule(max_active=2))


def test_a_refusal_stops_and_names_the_permission(
    cloud: VertexStandIn, schedules: SupportsSchedules
) -> None:
    cloud.fail_next("403", method="POST", path=SCHEDULES)

    with pytest.raises(Refused) as caught:
        apply(schedules, desired_schedule())

    assert not caught.value.unknown
    assert schedules.list_schedules() == []


def test_a_schedule_that_was_deleted_meanwhile_is_an_error(
    cloud: VertexStandIn, schedules: SupportsSchedules
) -> None:
    apply(schedules, desired_schedule())
    live = only(schedules)
    schedules.delete_schedule(live)

    with pytest.raises(NotFound):
        schedules.update_schedule(live, desired_schedule(max_active=2), ["max_active"])
    schedules.delete_schedule(live)


def test_an_outage_is_reported(cloud: VertexStandIn, schedules: SupportsSchedules) -> None:
    with cloud.offline(), pytest.raises(Unreachable):
        schedules.list_schedules()


@pytest.mark.parametrize(
    ("field", "name"),
    [
        ("maxConcurrentActiveRunCount", "max_active"),
        ("allowQueueing", "queueing"),
        ("createPipelineJobRequest", "version"),
    ],
)
def test_a_property_that_the_service_drops_is_named(
    cloud: VertexStandIn,
    schedules: SupportsSchedules,
    monkeypatch: pytest.MonkeyPatch,
    field: str,
    name: str,
) -> None:
    handle = cloud.handle

    def drop(request: Request) -> Response:
        response = handle(request)
        if request.path.startswith(SCHEDULES) and isinstance(response.body, dict):
            items = response.body.get("schedules", [response.body])
            kept = [{key: item[key] for key in item if key != field} for item in items]
            body = {"schedules": kept} if "schedules" in response.body else kept[0]
            return replace(response, body=body)
        return response

    monkeypatch.setattr(cloud, "handle", drop)

    with pytest.raises(BadAnswer, match=rf"did not keep .*{name}.* of the schedule daily"):
        apply(schedules, desired_schedule())
