"""Schedules on a server that fails, loses answers, drops fields, or changes what it gets."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
import requests

from exchanges import exchange
from json_types import JsonDict
from kfgcp import testing
from kfgcp.backends.kubeflow.schedule_messages import check_recurring_run
from kfgcp.backends.kubeflow.schedules import WRITE_BUDGET
from kfgcp.backends.schedules import DesiredSchedule, LiveSchedule
from kfgcp.deploy.schedules.converge import Clock, converge
from kfgcp.errors import BackendError, BadAnswer, NotFound, Refused
from kfgcp.services.client import ServiceClient
from kfgcp.testing import KubeflowStandIn
from kfgcp.testing.server import Request, Response
from kubeflow_schedules import ScheduleServer
from patience import REQUEST
from service_fixtures import Clock as FakeClock

LOST = ["lost", "late", "garbage"]
RECURRING = "*/recurringruns*"


def change_answers(
    stand_in: KubeflowStandIn,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Request, JsonDict], object],
) -> None:
    """Let a function change the JSON of each answer."""
    handle = stand_in.handle

    def changed(request: Request) -> Response:
        response = handle(request)
        if not isinstance(response.body, dict):
            return response
        body = json.loads(json.dumps(response.body))
        change(request, body)
        return Response(response.status, body)

    monkeypatch.setattr(stand_in, "handle", changed)


def apply(server: ScheduleServer, desired: DesiredSchedule | None) -> list[LiveSchedule]:
    """Apply a schedule, and return what the server has. Pauses are skipped."""
    now = datetime(2026, 12, 1, 8, tzinfo=UTC)
    waits: list[float] = []
    clock = Clock(now=lambda: now + timedelta(seconds=sum(waits)), sleep=waits.append)
    schedules = server.schedules(now=clock.now)
    converge(schedules, "shop", "churn-daily", desired, schedules.list_schedules(), clock=clock)
    return list(server.schedules().list_schedules())


@pytest.mark.parametrize("kind", LOST)
def test_a_schedule_whose_answer_was_lost_is_created_once(
    kfp_server: ScheduleServer, kind: str
) -> None:
    desired = kfp_server.desired()
    kfp_server.stand_in.fail_next(kind, times=1, method="POST", path="*/recurringruns")
    if kind == "late":
        # The request arrives while `converge` reads the server again and again.
        kfp_server.stand_in.fail_next("reset", times=1, method="GET", path="*/recurringruns")

    schedules = kfp_server.schedules()
    converge(schedules, "shop", "churn-daily", desired, schedules.list_schedules())

    (live,) = kfp_server.schedules().list_schedules()
    assert live.enabled
    assert live.fields == schedules.fields_of(desired)


@pytest.mark.parametrize("path", ["*:disable", "*:enable", "*/recurringruns/*"])
@pytest.mark.parametrize("kind", ["lost", "reset", "503"])
def test_a_failing_write_of_a_replacement_is_repeated(
    kfp_server: ScheduleServer, kind: str, path: str
) -> None:
    apply(kfp_server, kfp_server.desired())
    kfp_server.stand_in.fail_next(kind, times=2, path=path)

    (live,) = apply(kfp_server, kfp_server.desired("b"))

    assert live.enabled
    assert live.fields == kfp_server.schedules().fields_of(kfp_server.desired("b"))


@pytest.mark.parametrize(
    ("field", "name"),
    [
        ("max_concurrency", "max_active"),
        ("no_catchup", "catch_up"),
        ("runtime_config", "params.day, params.lr"),
        ("trigger", "cron"),
        ("pipeline_version_reference", "entry"),
        ("display_name", "name"),
        ("experiment_id", "experiment"),
        ("description", "version"),
    ],
)
def test_a_field_that_the_server_drops_is_an_error_with_its_name(
    kfp_server: ScheduleServer, monkeypatch: pytest.MonkeyPatch, field: str, name: str
) -> None:
    def drop(request: Request, answer: JsonDict) -> None:
        if "/recurringruns" in request.path:
            answer.pop(field, None)

    change_answers(kfp_server.stand_in, monkeypatch, drop)

    with pytest.raises(BadAnswer) as caught:
        apply(kfp_server, kfp_server.desired())

    dropped = caught.value.message.partition("did not keep ")[2].partition(" of the")[0]
    assert set(name.split(", ")) <= set(dropped.split(", "))


def test_a_changed_value_is_an_error_with_its_name(
    kfp_server: ScheduleServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def change(request: Request, answer: JsonDict) -> None:
        for config in [answer.get("runtime_config")]:
            if config:
                config["parameters"]["lr"] = 0.25

    change_answers(kfp_server.stand_in, monkeypatch, change)

    with pytest.raises(BadAnswer, match=r"did not keep params\.lr of the schedule churn-daily"):
        apply(kfp_server, kfp_server.desired())


@pytest.mark.parametrize("kind", ["403", "404"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_refused_request_is_one_line_and_writes_nothing(
    kfp_server: ScheduleServer, kind: str, method: str
) -> None:
    desired = kfp_server.desired()
    kfp_server.stand_in.fail_next(kind, times=1, method=method, path=RECURRING)

    with pytest.raises(Refused) as caught:
        apply(kfp_server, desired)

    assert "\n" not in caught.value.message
    assert kfp_server.recurring_runs() == []


def test_a_schedule_that_somebody_deleted_is_not_an_error_to_read_or_delete(
    kfp_server: ScheduleServer,
) -> None:
    schedules = kfp_server.schedules()
    ref = schedules.create_schedule(kfp_server.desired(), enabled=True, starts_at=None)
    live = schedules.read_schedule(ref)
    assert live is not None
    schedules.delete_schedule(live)

    assert schedules.read_schedule(ref) is None
    schedules.delete_schedule(live)
    with pytest.raises(NotFound):
        schedules.enable_schedule(live, catch_up=False)


def test_a_version_that_was_deleted_is_refused(kfp_server: ScheduleServer) -> None:
    desired = kfp_server.desired()
    registered = kfp_server.entry().registered
    assert registered is not None
    pipeline_id, _, version_id = registered.ref.partition("/")
    kfp_server.http().delete(f"apis/v2beta1/pipelines/{pipeline_id}/versions/{version_id}")

    with pytest.raises(Refused) as caught:
        kfp_server.schedules().create_schedule(desired, enabled=True, starts_at=None)

    assert "\n" not in caught.value.message
    assert kfp_server.recurring_runs() == []


def test_a_recurring_run_that_the_server_cannot_read_may_be_any_schedule(
    kfp_server: ScheduleServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    kfp_server.schedules().create_schedule(kfp_server.desired(), enabled=True, starts_at=None)

    def break_items(request: Request, answer: JsonDict) -> None:
        for item in answer.get("recurringRuns", []):
            ref = item["recurring_run_id"]
            item.clear()
            item.update({"recurring_run_id": ref, "error": {"code": 13, "message": "no"}})

    change_answers(kfp_server.stand_in, monkeypatch, break_items)

    with pytest.raises(BadAnswer, match="cannot read the recurring run"):
        kfp_server.schedules().list_schedules()


def test_a_field_of_the_pipeline_that_the_server_drops_is_an_error_with_its_name(
    new_server: ScheduleServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    desired = new_server.desired(time_param="day", params={"lr": 0.5})

    def drop(request: Request, answer: JsonDict) -> None:
        if "/recurringruns/" in request.path:
            del answer["pipeline_spec"]["root"]["dag"]["tasks"]["say"]["inputs"]

    change_answers(new_server.stand_in, monkeypatch, drop)

    with pytest.raises(BadAnswer, match=r"did not keep root\.dag\.tasks\.say\.inputs"):
        apply(new_server, desired)


@pytest.mark.parametrize("seconds", [-60, 60])
def test_a_machine_with_another_time_than_the_server_writes_nothing(
    kfp_server: ScheduleServer, monkeypatch: pytest.MonkeyPatch, seconds: int
) -> None:
    desired = kfp_server.desired()
    wrong = datetime.now(UTC) + timedelta(seconds=seconds)
    monkeypatch.setattr("kfgcp.backends.kubeflow.schedules._machine_time", lambda: wrong)

    with pytest.raises(BackendError, match="differs from the clock of Kubeflow Pipelines by"):
        kfp_server.schedules().create_schedule(desired, enabled=True, starts_at=None)

    assert kfp_server.recurring_runs() == []


def test_a_schedule_is_created_on_a_server_with_users(client: Callable[..., ServiceClient]) -> None:
    with testing.kubeflow(mode="instant", multi_user=True, namespaces=["growth"]) as stand_in:
        server = ScheduleServer(stand_in, client, settings={"namespace": "growth"})
        desired = server.desired()

        # The clock of the machine is compared, so this is the whole creation.
        server.schedules().create_schedule(desired, enabled=True, starts_at=None)

        (live,) = server.schedules().list_schedules()
        refused = requests.get(f"{stand_in.host}/apis/v2beta1/recurringruns", timeout=REQUEST)

    assert live.fields == server.schedules().fields_of(desired)
    # canAccessJob in job_server.go, at the tags 2.5.0 and 2.17.0.
    assert refused.status_code == 400
    empty = "recurring run cannot have an empty namespace in multi-user mode"
    assert empty in refused.json()["message"]


@pytest.mark.parametrize("kind", ["503", "429"])
@pytest.mark.parametrize("verb", ["enable", "disable"])
def test_a_change_of_mode_ends_in_seconds_and_is_looked_up_again(
    new_server: ScheduleServer, clock: FakeClock, verb: str, kind: str
) -> None:
    schedules = new_server.schedules()
    ref = schedules.create_schedule(new_server.desired(), enabled=True, starts_at=None)
    live = schedules.read_schedule(ref)
    assert live is not None
    begin = clock()
    # With pauses of at most 1 s and 2 s, two tries fit into three seconds.
    new_server.stand_in.fail_next(kind, times=2, path=f"*:{verb}")

    change = schedules.disable_schedule
    if verb == "enable":
        change = partial(schedules.enable_schedule, catch_up=False)
    with pytest.raises(BackendError) as caught:
        change(live)

    assert caught.value.unknown
    assert clock() - begin < WRITE_BUDGET


@pytest.mark.parametrize("kind", ["503", "429"])
def test_a_creation_that_the_server_refuses_for_ever_ends_in_seconds(
    new_server: ScheduleServer, clock: FakeClock, kind: str
) -> None:
    desired = new_server.desired()
    begin = clock()
    tries = 2 if kind == "429" else 1
    new_server.stand_in.fail_next(kind, times=tries, method="POST", path="*/recurringruns")

    with pytest.raises(BackendError) as caught:
        new_server.schedules().create_schedule(desired, enabled=True, starts_at=None)

    # After 429, the server certainly has not created it.
    assert caught.value.unknown is (kind == "503")
    assert clock() - begin < WRITE_BUDGET


def test_a_recorded_recurring_run_is_read() -> None:
    for release in ("2.5.0", "2.14.3", "2.17.0"):
        answer = check_recurring_run(exchange("recurring-run-get", release).answer)
        assert answer["max_concurrency"] == 1
        assert answer.get("trigger") == {"cron_schedule": {"cron": "0 0 3 * * *"}}
        (first, *_) = exchange("recurring-runs-list", release).answer["recurringRuns"]
        check_recurring_run(first)


@pytest.mark.parametrize("seed", range(40))
def test_a_mutated_answer_is_read_or_refused_in_one_line(seed: int) -> None:
    choose = random.Random(seed)  # noqa: S311
    answer = deepcopy(exchange("recurring-run-get", "2.17.0").answer)
    values: list[Any] = [None, "", 0, -1, [], {}, "x" * 5000, {"a": 1}, ["a"], True, 2**70]
    for _ in range(3):
        place: JsonDict = answer
        while True:
            key = choose.choice(sorted(place))
            if isinstance(place[key], dict) and place[key] and choose.random() < 0.7:
                place = place[key]
                continue
            place[key] = choose.choice(values)
            break

    problem = ""
    try:
        check_recurring_run(answer)
    except BackendError as error:
        problem = error.message
    assert "\n" not in problem
    assert len(problem) < 800
