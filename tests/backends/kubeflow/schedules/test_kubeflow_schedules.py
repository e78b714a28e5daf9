"""Schedules on Kubeflow Pipelines: what is written, and what is read back."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from json_types import JsonDict
from kfgcp import testing
from kfgcp.backends.applied import applied_digest
from kfgcp.backends.base import capability
from kfgcp.backends.kubeflow.schedules import KubeflowSchedules
from kfgcp.backends.locks import SupportsLock
from kfgcp.backends.registry import load_project, open_backend
from kfgcp.backends.schedules import ScheduleFacts, SupportsSchedules
from kfgcp.errors import ParamError, Refused, Unsupported
from kfgcp.options import RunOptions
from kubeflow_schedules import MemoryRecords, ScheduleServer

START = datetime(2026, 12, 1, 5, 30, tzinfo=UTC)


def test_a_schedule_is_a_recurring_run_that_names_its_version(kfp_server: ScheduleServer) -> None:
    desired = kfp_server.desired(max_active=3)
    registered = kfp_server.entry().registered
    assert registered is not None
    pipeline_id, _, version_id = registered.ref.partition("/")

    ref = kfp_server.schedules().create_schedule(desired, enabled=True, starts_at=None)

    (stored,) = kfp_server.recurring_runs()
    assert stored["recurring_run_id"] == ref
    assert stored["display_name"] == "churn-daily"
    assert stored["pipeline_version_reference"] == {
        "pipeline_id": pipeline_id,
        "pipeline_version_id": version_id,
    }
    assert stored["runtime_config"] == {"parameters": {"lr": 0.5, "day": "monday"}}
    # Six fields, and Monday to Friday.
    assert stored["trigger"] == {"cron_schedule": {"cron": "0 0 6 * * 1-5"}}
    assert (stored["max_concurrency"], stored["mode"]) == ("3", "ENABLE")
    assert stored["no_catchup"] is True
    experiment = kfp_server.get(f"experiments/{stored['experiment_id']}")
    assert experiment["display_name"] == "nightly"
    version = kfp_server.entry().version.removeprefix("sha256:")[:32]
    assert stored["description"].startswith(
        f"kfgcp: project=shop schedule=churn-daily version={version} "
    )
    assert len(stored["description"]) <= 255


def test_a_schedule_is_read_back_with_the_properties_that_were_asked_for(
    kfp_server: ScheduleServer,
) -> None:
    desired = kfp_server.desired(catch_up=True)
    schedules = kfp_server.schedules()

    ref = schedules.create_schedule(desired, enabled=False, starts_at=START)

    (live,) = kfp_server.schedules().list_schedules()
    assert live == kfp_server.schedules().read_schedule(ref)
    assert (live.ref, live.project, live.name) == (ref, "shop", "churn-daily")
    assert not live.enabled
    assert live.starts_at == START
    assert live.timetable is not None
    assert live.timetable.fields == desired.timetable.fields
    assert live.fields == schedules.fields_of(desired)
    # By hand.
    assert live.fields | {"version": "", "entry": ""} == {
        "name": "churn-daily",
        "cron": "0 6 * * 1-5",
        "experiment": "nightly",
        "catch_up": True,
        "max_active": 1,
        "params.lr": 0.5,
        "params.day": "monday",
        "version": "",
        "entry": "",
    }
    assert live.applied == applied_digest(live.fields, paused=False)


def test_reading_a_list_costs_one_request_for_100_schedules(new_server: ScheduleServer) -> None:
    schedules = new_server.schedules()
    for number in range(101):
        desired = new_server.desired(name=f"s{number}")
        schedules.create_schedule(desired, enabled=True, starts_at=None)
    new_server.records = MemoryRecords()
    first = new_server.schedules()
    mark = len(new_server.stand_in.requests)

    live = first.list_schedules()

    paths = [request.path for request in new_server.stand_in.requests.select(since=mark)]
    assert len(live) == 101
    assert sorted(live.name for live in live)[:2] == ["s0", "s1"]
    # Two pages, and the names of the experiments once.
    assert sorted(path.rpartition("/")[2] for path in paths) == [
        "experiments",
        "recurringruns",
        "recurringruns",
    ]


def test_a_schedule_is_disabled_enabled_and_deleted(kfp_server: ScheduleServer) -> None:
    schedules = kfp_server.schedules()
    ref = schedules.create_schedule(kfp_server.desired(), enabled=True, starts_at=None)
    live = schedules.read_schedule(ref)
    assert live is not None

    schedules.disable_schedule(live)
    disabled = schedules.read_schedule(ref)
    schedules.enable_schedule(live, catch_up=False)
    enabled = schedules.read_schedule(ref)
    schedules.delete_schedule(live)
    schedules.delete_schedule(live)

    assert disabled is not None
    assert enabled is not None
    assert (disabled.enabled, enabled.enabled) == (False, True)
    assert disabled.disabled_at is not None
    assert enabled.disabled_at is None
    # Nobody changed its properties.
    assert disabled.applied == applied_digest(disabled.fields, paused=False)
    assert enabled.applied == applied_digest(enabled.fields, paused=False)
    assert schedules.read_schedule(ref) is None


@pytest.mark.parametrize(
    ("every", "trigger"),
    [
        ("6h", {"cron_schedule": {"cron": "0 0 */6 * * *", "start_time": "2026-12-01T05:30:00Z"}}),
        # 7 h = 25200 s, and 71273 * 25200 s = 1796079600 s after 1970 is 2026-11-30T23:00:00Z. So
        # the first due time after 05:30 is 06:00, and the start is one interval before it.
        (
            "7h",
            {
                "periodic_schedule": {
                    "interval_second": "25200",
                    "start_time": "2026-11-30T23:00:00Z",
                }
            },
        ),
    ],
)
def test_an_interval_is_due_at_its_own_times(
    kfp_server: ScheduleServer, every: str, trigger: JsonDict
) -> None:
    desired = kfp_server.desired(every=every)
    schedules = kfp_server.schedules()

    ref = schedules.create_schedule(desired, enabled=False, starts_at=START)

    (stored,) = kfp_server.recurring_runs()
    live = schedules.read_schedule(ref)
    assert stored["trigger"] == trigger
    assert live is not None
    assert live.timetable is not None
    assert live.fields == schedules.fields_of(desired)
    moments = live.timetable.between(live.starts_at, START + timedelta(days=1), 10)
    assert moments == desired.timetable.between(START, START + timedelta(days=1), 10)


def test_a_schedule_with_a_due_time_for_a_parameter(new_server: ScheduleServer) -> None:
    desired = new_server.desired(time_param="day", params={"lr": 0.5})
    schedules = new_server.schedules()

    schedules.create_schedule(desired, enabled=True, starts_at=None)

    (stored,) = new_server.recurring_runs()
    placeholder = "{{$.pipeline_job_schedule_time_utc}}"
    tasks = stored["pipeline_spec"]["root"]["dag"]["tasks"]
    assert tasks["say"]["inputs"]["parameters"]["text"] == {
        "runtimeValue": {"constant": placeholder}
    }
    assert stored["runtime_config"]["parameters"] == {"lr": 0.5, "day": placeholder}
    (live,) = schedules.list_schedules()
    assert live.fields == schedules.fields_of(desired)
    other = replace(desired, request=new_server.desired("b").request)
    assert live.fields["entry"] != schedules.fields_of(other)["entry"]


def test_an_older_server_gives_runs_no_due_time(old_server: ScheduleServer) -> None:
    desired = old_server.desired(time_param="day", params={"lr": 0.5})

    with pytest.raises(Unsupported, match=r"since 2\.16\. This server is 2\.14\.3"):
        old_server.schedules().fields_of(desired)
    assert old_server.recurring_runs() == []


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"cron": "0 7 * * 1-5"}, {"cron"}),
        ({"every": "6h"}, {"cron"}),
        ({"every": "7h"}, {"cron", "every"}),
        ({"params": {"lr": 0.1, "day": "monday"}}, {"params.lr"}),
        ({"params": {"lr": 0.5}}, {"params.day"}),
        ({"version": "b"}, {"version", "entry"}),
        ({"catch_up": True}, {"catch_up"}),
        ({"max_active": 2}, {"max_active"}),
        ({"options": RunOptions(env="gke", experiment="other")}, {"experiment"}),
        # These are labels of single runs, and a recurring run has none.
        ({"options": RunOptions(env="gke", experiment="nightly", labels={"git": "1"})}, set()),
        ({"paused": True}, set()),
    ],
)
def test_exactly_the_changed_properties_differ(
    new_server: ScheduleServer, change: dict[str, Any], names: set[str]
) -> None:
    schedules = new_server.schedules()
    before = schedules.fields_of(new_server.desired())

    after = schedules.fields_of(new_server.desired(**change))

    changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    assert changed == names


def test_a_service_account_counts_only_when_the_environment_names_one(
    kfp_server: ScheduleServer,
) -> None:
    schedules = kfp_server.schedules()
    schedules.create_schedule(kfp_server.desired(), enabled=True, starts_at=None)
    (left_to_server,) = schedules.list_schedules()
    kfp_server.settings["service_account"] = "trainer"

    named = kfp_server.schedules()

    (stored,) = kfp_server.recurring_runs()
    assert stored["service_account"] == "pipeline-runner"
    assert "service_account" not in left_to_server.fields
    assert named.fields_of(kfp_server.desired())["service_account"] == "trainer"
    ref = named.create_schedule(kfp_server.desired(), enabled=True, starts_at=None)
    with_account = named.read_schedule(ref)
    assert with_account is not None
    assert with_account.fields == named.fields_of(kfp_server.desired())
    # After the key was removed, the schedule with the account must be replaced.
    kfp_server.settings.clear()
    assert with_account.fields != kfp_server.schedules().fields_of(kfp_server.desired())


def test_a_recurring_run_of_others_has_no_markers(kfp_server: ScheduleServer) -> None:
    descriptions = [
        "",
        "kfgcp",
        "kfgcp: project=shop",
        'kfgcp: {"project":"shop"}',
        "kfgcp: project=shop schedule=churn-daily version=1\nchanged by hand",
    ]
    kfp_server.schedules().create_schedule(kfp_server.desired(), enabled=True, starts_at=None)
    (own,) = kfp_server.recurring_runs()
    keys = ("display_name", "pipeline_version_reference", "runtime_config", "experiment_id")
    plain = {key: own[key] for key in keys} | {"max_concurrency": "1"}
    for description in descriptions:
        kfp_server.post("recurringruns", {**plain, "description": description})

    live = kfp_server.schedules().list_schedules()

    foreign = [schedule for schedule in live if schedule.ref != own["recurring_run_id"]]
    assert len(foreign) == len(descriptions)
    for schedule in foreign:
        assert (schedule.project, schedule.name, schedule.applied) == ("", "", "")
        assert "version" not in schedule.fields


def test_text_of_people_before_the_markers_does_not_hide_them(kfp_server: ScheduleServer) -> None:
    schedules = kfp_server.schedules()
    schedules.create_schedule(kfp_server.desired(), enabled=True, starts_at=None)
    (own,) = kfp_server.recurring_runs()
    keys = ("display_name", "pipeline_version_reference", "runtime_config", "experiment_id")
    body = {key: own[key] for key in keys} | {"max_concurrency": "1"}
    kfp_server.post("recurringruns", {**body, "description": f"Ada\n{own['description']}\n"})

    assert [live.name for live in schedules.list_schedules()] == ["churn-daily"] * 2


@pytest.mark.parametrize(
    "name",
    [
        "ä" * 40,
        "a=b schedule=c",
        "a\nkfgcp: project=x",
        "  ",
        "%2e",
        "'; DROP TABLE jobs; --",
        "😀",
    ],
)
def test_hostile_names_come_back_as_they_were(kfp_server: ScheduleServer, name: str) -> None:
    desired = replace(kfp_server.desired(), project=name, name=name)
    schedules = kfp_server.schedules()
    try:
        schedules.create_schedule(desired, enabled=True, starts_at=None)
    except Unsupported:
        assert len(name) == 40
        assert kfp_server.recurring_runs() == []
        return

    (live,) = schedules.list_schedules()

    assert (live.name, live.display_name) == (name, name)
    assert live.fields == schedules.fields_of(desired)
    assert live.applied == applied_digest(live.fields, paused=False)


def test_the_longest_names_fit_into_the_description(kfp_server: ScheduleServer) -> None:
    # The config allows 63 characters, and a label of a project has at most 63.
    desired = replace(kfp_server.desired(), project="P" * 90, name="s" * 63)

    kfp_server.schedules().create_schedule(desired, enabled=True, starts_at=None)

    (stored,) = kfp_server.recurring_runs()
    assert 240 < len(stored["description"]) <= 255
    (live,) = kfp_server.schedules().list_schedules()
    assert live.name == "s" * 63


def test_names_and_values_over_the_limits_are_refused_before_the_first_write(
    kfp_server: ScheduleServer,
) -> None:
    schedules = kfp_server.schedules()
    minutes = ",".join(str(minute) for minute in range(60))
    hours = ",".join(str(hour) for hour in range(24))
    days = ",".join(str(day) for day in range(1, 32))
    kfp_server.entry()
    mark = len(kfp_server.stand_in.requests)
    cases: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"name": "s" * 300}, Unsupported, "300 characters"),
        ({"cron": f"{minutes} {hours} {days} * *"}, Unsupported, "takes at most 255"),
        ({"params": {"lr": 2**60 + 1}}, ParamError, "1152921504606846977"),
        (
            {"options": RunOptions(env="gke", experiment="e" * 300)},
            Unsupported,
            "name of the experiment",
        ),
    ]
    for change, error, text in cases:
        desired = kfp_server.desired(**change)
        with pytest.raises(error, match=text):
            schedules.create_schedule(desired, enabled=True, starts_at=None)
        with pytest.raises(error, match=text):
            schedules.fields_of(desired)

    sent = kfp_server.stand_in.requests.select(since=mark)
    assert [request for request in sent if request.method != "GET"] == []


def test_a_zone_that_the_server_does_not_have_is_refused(new_server: ScheduleServer) -> None:
    desired = new_server.desired()
    berlin = replace(desired.timetable, time_zone="Europe/Berlin")

    with pytest.raises(Unsupported, match='time_zone = "Europe/Berlin" is not possible'):
        new_server.schedules().fields_of(replace(desired, timetable=berlin))
    new_server.settings["schedule_time_zone"] = "Europe/Berlin"
    fields = new_server.schedules().fields_of(replace(desired, timetable=berlin))

    assert fields["cron"] == "0 6 * * 1-5"


def test_a_pipeline_that_does_not_fit_into_etcd_is_refused_in_one_line(
    new_server: ScheduleServer,
) -> None:
    new_server.stand_in.runs.max_workflow_bytes = 100

    with pytest.raises(Refused, match="too large") as caught:
        new_server.schedules().create_schedule(new_server.desired(), enabled=True, starts_at=None)

    assert "\n" not in caught.value.message
    assert new_server.recurring_runs() == []


def test_the_official_client_sees_exactly_what_was_created(
    kfp_server: ScheduleServer, home: Path
) -> None:
    import kfp

    desired = kfp_server.desired(max_active=2, catch_up=True)
    ref = kfp_server.schedules().create_schedule(desired, enabled=True, starts_at=START)

    client = kfp.Client(host=kfp_server.stand_in.host, existing_token="t")  # noqa: S106

    (listed,) = client.list_recurring_runs().recurring_runs
    assert listed == client.get_recurring_run(ref)
    registered = kfp_server.entry().registered
    assert registered is not None
    reference = listed.pipeline_version_reference
    assert f"{reference.pipeline_id}/{reference.pipeline_version_id}" == registered.ref
    assert listed.display_name == "churn-daily"
    assert (listed.status, listed.mode) == ("ENABLED", "ENABLE")
    assert (int(listed.max_concurrency), bool(listed.no_catchup)) == (2, False)
    assert listed.trigger.cron_schedule.cron == "0 0 6 * * 1-5"
    assert listed.trigger.cron_schedule.start_time == START
    assert listed.runtime_config.parameters == {"lr": 0.5, "day": "monday"}
    experiment = client.get_experiment(experiment_name="nightly")
    assert listed.experiment_id == experiment.experiment_id


@pytest.mark.parametrize("release", ["2.14.3", "2.17.0"])
def test_the_backend_of_an_environment_keeps_schedules(home: Path, release: str) -> None:
    with testing.kubeflow(mode="instant", version=release) as stand_in:
        (home / "kfgcp.toml").write_text(stand_in.toml("gke"))
        project = load_project()
        backend = open_backend(project, project.env("gke"))

        schedules = capability(backend, SupportsSchedules)

        assert isinstance(schedules, KubeflowSchedules)
        # DeletePropagationPolicy is in recurring_run.proto since 2.16.
        assert schedules.schedule_facts == ScheduleFacts(
            creates_disabled=True, fires_missed=True, deletion_ends_runs=release == "2.14.3"
        )
        assert schedules.list_schedules() == []
        assert capability(backend, SupportsLock) is not None


def test_an_experiment_whose_name_differs_in_case_is_the_same_one(
    kfp_server: ScheduleServer,
) -> None:
    kfp_server.post("experiments", {"display_name": "Nightly"})
    desired = kfp_server.desired()
    schedules = kfp_server.schedules()

    ref = schedules.create_schedule(desired, enabled=True, starts_at=None)

    live = kfp_server.schedules().read_schedule(ref)
    assert live is not None
    # MySQL ignores case when it compares names.
    assert live.fields["experiment"] == "nightly"
    assert live.fields == kfp_server.schedules().fields_of(desired)
    assert live.applied == applied_digest(live.fields, paused=False)


def test_there_is_no_update(new_server: ScheduleServer) -> None:
    schedules = new_server.schedules()
    schedules.create_schedule(new_server.desired(), enabled=True, starts_at=None)
    (live,) = schedules.list_schedules()

    with pytest.raises(Unsupported, match="cannot change cron of the schedule churn-daily"):
        schedules.update_schedule(live, new_server.desired(), ["cron"])
