"""When the recurring runs of the stand-in are due, and which runs they start.

The expected values are by hand, from cron_schedule.go, periodic_schedule.go and
scheduled_workflow.go of the controller.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import requests

from json_types import JsonDict
from kfgcp import testing
from kfgcp.testing import KubeflowStandIn
from kfgcp.testing.kubeflow_server.recurring_records import _fnv32a
from kfgcp.testing.kubeflow_server.triggers import Trigger, next_of_cron
from patience import REQUEST

RECORDED = Path(__file__).parents[2] / "recorded" / "cron"
HOUR = 3600


def at(text: str) -> int:
    return int(datetime.fromisoformat(f"2026-12-01T{text}+00:00").timestamp())


def times(started: list[str], server: KubeflowStandIn) -> list[str]:
    """Return the due times of runs, as hours and minutes."""
    dues: list[str] = []
    for run_id in started:
        run = requests.get(f"{server.host}/apis/v2beta1/runs/{run_id}", timeout=REQUEST).json()
        dues.append(run["scheduled_at"][11:16])
    return dues


@pytest.fixture
def server() -> Iterator[KubeflowStandIn]:
    with testing.kubeflow(mode="instant", version="2.17.0") as stand_in:
        stand_in.creation.clock = lambda: at("00:00")
        yield stand_in


@pytest.fixture
def create(
    server: KubeflowStandIn, spec_of: Callable[[str], JsonDict]
) -> Callable[..., Callable[[str], None]]:
    """Return a function that creates a recurring run, and returns how to change it."""

    def make(**fields: Any) -> Callable[[str], None]:
        body = {
            "display_name": "Nightly run of the Customer Churn",
            "mode": "ENABLE",
            "max_concurrency": "10",
            "trigger": {"cron_schedule": {"cron": "0 0 * * * *"}},
            "pipeline_spec": spec_of("echo"),
        }
        url = f"{server.host}/apis/v2beta1/recurringruns"
        answer = requests.post(url, json=body | fields, timeout=REQUEST)
        answer.raise_for_status()
        path = f"{url}/{answer.json()['recurring_run_id']}"

        def send(verb: str) -> None:
            requests.post(f"{path}:{verb}", json={}, timeout=REQUEST).raise_for_status()

        return send

    return make


def test_cron_expressions_are_due_when_the_library_of_the_server_says() -> None:
    checked = 0
    for answer in json.loads((RECORDED / "robfig-1.2.0.json").read_text(encoding="utf-8")):
        # Other zones differ only where clocks change.
        if answer["zone"] != "UTC":
            continue
        moment = int(datetime.fromisoformat(answer["after"]).timestamp())
        for text in answer["times"]:
            due = next_of_cron(answer["cron"], moment, ZoneInfo("UTC"))
            assert due == int(datetime.fromisoformat(text).timestamp()), answer
            moment = due
            checked += 1
    assert checked > 50


def test_the_next_due_time_is_that_of_the_controller() -> None:
    answers = json.loads((RECORDED / "controller-2.17.0.json").read_text(encoding="utf-8"))
    for answer in answers:
        trigger = Trigger(answer["cron"], answer["interval"], answer["start"], answer["end"])

        due = trigger.next_due(
            answer["last"], answer["created"], answer["now"], catch_up=answer["catch_up"]
        )

        assert due == answer["due"], answer
    assert len(answers) > 100


def test_seconds_of_a_cron_expression_count() -> None:
    first = next_of_cron("15,45 30 6 * * *", at("06:30:15"))

    assert first == at("06:30:45")
    assert next_of_cron("15,45 30 6 * * *", first) == at("06:30:15") + 86400


@pytest.mark.parametrize(
    ("trigger", "last", "now", "catch_up", "due"),
    [
        # Without a run, a start time comes before the creation.
        (Trigger(cron="0 0 * * * *"), None, "00:10", True, "01:00"),
        (Trigger(cron="0 0 * * * *", start=at("03:00")), None, "00:10", True, "04:00"),
        # A due time at the start itself is not due.
        (Trigger(cron="0 0 * * * *", start=at("02:59:59")), None, "00:10", True, "03:00"),
        # Missed due times: one after the other, or the last one.
        (Trigger(cron="0 0 * * * *"), at("01:00"), "05:30", True, "02:00"),
        (Trigger(cron="0 0 * * * *"), at("01:00"), "05:30", False, "05:00"),
        (Trigger(cron="0 0 * * * *"), at("05:00"), "05:30", False, "06:00"),
        # An end time ends it.
        (Trigger(cron="0 0 * * * *", end=at("03:30")), at("01:00"), "05:30", False, "03:00"),
        (Trigger(cron="0 0 * * * *", end=at("03:30")), at("03:00"), "05:30", False, None),
        # An interval begins one interval after its start.
        (Trigger(interval=HOUR), None, "00:10", True, "01:00"),
        (Trigger(interval=HOUR, start=at("00:20")), None, "00:10", True, "01:20"),
        (Trigger(interval=HOUR, start=at("00:20")), at("01:20"), "05:30", True, "02:20"),
        # It drifts when a whole interval was missed, but not before.
        (Trigger(interval=HOUR, start=at("00:20")), at("01:20"), "03:19", False, "02:20"),
        (Trigger(interval=HOUR, start=at("00:20")), at("01:20"), "03:21", False, "03:21"),
        (Trigger(interval=HOUR, end=at("03:10")), at("03:00"), "05:30", False, None),
        (Trigger(), None, "05:30", True, None),
    ],
)
def test_the_next_due_time(
    trigger: Trigger, last: int | None, now: str, catch_up: bool, due: str | None
) -> None:
    next_due = trigger.next_due(last, at("00:00"), at(now), catch_up=catch_up)

    assert next_due == (None if due is None else at(due))


def test_every_due_time_starts_a_run_while_time_passes(
    server: KubeflowStandIn, create: Callable[..., Callable[[str], None]]
) -> None:
    create(no_catchup=True)

    started = server.fire_due(at("03:30"))

    assert times(started, server) == ["01:00", "02:00", "03:00"]
    assert server.fire_due(at("03:59")) == []
    assert times(server.fire_due(at("04:00")), server) == ["04:00"]


@pytest.mark.parametrize(
    ("no_catchup", "missed"), [(False, ["02:00", "03:00", "04:00"]), (True, ["04:00"])]
)
def test_an_enabled_recurring_run_starts_what_it_has_missed(
    server: KubeflowStandIn,
    create: Callable[..., Callable[[str], None]],
    no_catchup: bool,
    missed: list[str],
) -> None:
    send = create(no_catchup=no_catchup)
    server.fire_due(at("01:30"))
    send("disable")
    assert server.fire_due(at("04:30")) == []
    server.creation.clock = lambda: at("04:30")

    send("enable")

    assert times(server.fire_due(at("04:31")), server) == missed


def test_a_due_time_waits_while_runs_are_active(
    server: KubeflowStandIn, create: Callable[..., Callable[[str], None]]
) -> None:
    server.instant.seconds = 10_000
    create(max_concurrency="2")

    assert times(server.fire_due(at("05:30")), server) == ["01:00", "02:00"]
    server.finish_runs()

    assert times(server.fire_due(at("05:31")), server) == ["03:00", "04:00"]


def test_the_zone_of_the_controller_counts(
    server: KubeflowStandIn, create: Callable[..., Callable[[str], None]]
) -> None:
    server.recurring.zone = ZoneInfo("Europe/Berlin")
    create(trigger={"cron_schedule": {"cron": "0 0 6 * * *"}})

    # In December, Berlin is one hour ahead of UTC.
    assert times(server.fire_due(at("23:00")), server) == ["05:00"]


def test_runs_have_the_name_of_the_object_in_kubernetes(
    server: KubeflowStandIn, create: Callable[..., Callable[[str], None]]
) -> None:
    create(description="written by people", service_account="trainer")

    (run_id,) = server.fire_due(at("01:00"))

    run = requests.get(f"{server.host}/apis/v2beta1/runs/{run_id}", timeout=REQUEST).json()
    resource, number, digest = run["display_name"].rsplit("-", 2)
    # The first 25 letters and digits in lower case, and five more.
    assert resource[:25] == "nightlyrunofthecustomerchurn"[:25]
    assert len(resource) == 30
    assert number == "1"
    assert int(digest) == _fnv32a(f"{resource}-1")
    assert "description" not in run
    assert "service_account" not in run


def test_the_hash_of_names_is_fnv_1a() -> None:
    # The vectors of http://www.isthe.com/chongo/tech/comp/fnv/.
    assert [_fnv32a(text) for text in ("", "a", "foobar")] == [0x811C9DC5, 0xE40C292C, 0xBF9CF968]


@pytest.mark.parametrize(
    ("version", "policy", "goes_on"),
    [
        ("2.14.3", "", False),
        ("2.14.3", "ORPHAN", False),
        ("2.16.0", "", False),
        ("2.16.0", "BACKGROUND", False),
        ("2.16.0", "ORPHAN", True),
    ],
)
def test_deleting_a_recurring_run_deletes_the_workflows_of_its_active_runs(
    version: str, policy: str, goes_on: bool, spec_of: Callable[[str], JsonDict]
) -> None:
    with testing.kubeflow(mode="instant", version=version) as server:
        server.instant.seconds = 10_000
        url = f"{server.host}/apis/v2beta1/recurringruns"
        trigger = {"periodic_schedule": {"interval_second": "60"}}
        body = {"display_name": "x", "mode": "ENABLE", "trigger": trigger, "max_concurrency": "1"}
        created = requests.post(
            url, json={**body, "pipeline_spec": spec_of("echo")}, timeout=REQUEST
        )
        ref = created.json()["recurring_run_id"]
        run_id = server.fire(ref)
        params = {"propagation_policy": policy} if policy else {}

        answer = requests.delete(f"{url}/{ref}", params=params, timeout=REQUEST)

        assert answer.status_code == 200
        record = server.runs.find(run_id)
        assert record is not None
        assert record.workflow_gone is not goes_on
        assert record.current_run().state.final is not goes_on


@pytest.mark.parametrize(
    ("change", "column"),
    [
        ({"description": "x" * 256}, "Description"),
        ({"display_name": "x" * 256}, "DisplayName"),
        (
            {
                "trigger": {
                    "cron_schedule": {
                        "cron": f"0 {','.join(map(str, range(60)))}" + ",0" * 50 + " * * * *"
                    }
                }
            },
            "Schedule",
        ),
    ],
)
def test_what_does_not_fit_into_the_row_starts_runs_that_no_list_shows(
    server: KubeflowStandIn,
    spec_of: Callable[[str], JsonDict],
    change: JsonDict,
    column: str,
) -> None:
    url = f"{server.host}/apis/v2beta1/recurringruns"
    trigger = {"periodic_schedule": {"interval_second": "60"}}
    body = {"display_name": "x", "mode": "ENABLE", "trigger": trigger, "max_concurrency": "1"}
    body = body | {"pipeline_spec": spec_of("echo")} | change

    answer = requests.post(url, json=body, timeout=REQUEST)

    assert answer.status_code == 500
    assert f"Data too long for column '{column}'" in answer.json()["message"]
    assert len(server.recurring.unseen) == 1
    assert requests.get(url, timeout=REQUEST).json() == {}
