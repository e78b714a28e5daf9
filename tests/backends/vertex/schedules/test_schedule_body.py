"""The bodies of schedules, with Google's own message types as the judge of every field."""

import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from google.cloud.aiplatform_v1 import types
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st

from json_types import JsonDict
from kfgcp.backends.schedules import DesiredSchedule
from kfgcp.backends.vertex.schedule_body import (
    due_job,
    masked_fields,
    read_fields,
    read_markers,
    read_timetable,
    schedule_body,
)
from kfgcp.backends.vertex.schedule_messages import check_schedule
from kfgcp.backends.vertex.schedules import due_job_id
from kfgcp.backends.vertex.settings import VertexSettings
from kfgcp.cron import Timetable
from kfgcp.errors import ParamError, SpecError, Unsupported
from kfgcp.model import JsonValue
from kfgcp.spec.load import from_documents
from vertex_schedules import (
    OTHER_VERSION,
    PARENT,
    REGISTRY,
    VERSION,
    churn,
    desired_schedule,
)

PLACEHOLDER = "{{$.pipeline_job_schedule_time_utc}}"
BERLIN = ZoneInfo("Europe/Berlin")
DUE = datetime(2026, 11, 30, 6, tzinfo=UTC)
SETTINGS = VertexSettings(
    project="stand-in-project", location="europe-west4", pipeline_root="gs://acme/runs"
)
FULL_SETTINGS = replace(
    SETTINGS,
    service_account="runner@acme.iam.gserviceaccount.com",
    network="projects/12345/global/networks/net",
    reserved_ip_ranges=("one", "two"),
    encryption_key="projects/acme/locations/europe-west4/keyRings/ring/cryptoKeys/key",
    psc_network_attachment="projects/acme/regions/europe-west4/networkAttachments/one",
    failure_policy="fast",
    preflight_validations=True,
)


def body_of(desired: DesiredSchedule, settings: VertexSettings = SETTINGS) -> JsonDict:
    text = json.dumps(schedule_body(desired, settings, PARENT), allow_nan=False)
    body: JsonDict = json.loads(text)
    return body


def answer_of(body: JsonDict) -> JsonDict:
    """Return a schedule as Google's types write it. A field that they do not know is an error."""
    message: Any = json_format.ParseDict(body, types.Schedule.pb()())
    answer = json_format.MessageToDict(message)
    return {"name": f"{PARENT}/schedules/1", "createTime": "2026-01-01T00:00:00Z", **answer}


def fields_in(answer: JsonDict) -> dict[str, JsonValue]:
    return read_fields(check_schedule(answer))


@pytest.mark.parametrize("settings", [SETTINGS, FULL_SETTINGS], ids=["few", "many"])
@pytest.mark.parametrize("time_param", ["", "day"])
def test_a_body_is_a_schedule_that_comes_back_with_the_same_properties(
    settings: VertexSettings, time_param: str
) -> None:
    desired = desired_schedule(
        params={"lr": 0.5, "rows": 7, "tags": [1, {"a": [None, True, "x"]}]},
        labels={"team": "growth"},
        time_param=time_param,
    )
    body = body_of(desired, settings)

    answer = answer_of(body)

    assert fields_in(answer) == read_fields(schedule_body(desired, settings, PARENT))
    assert read_markers(check_schedule(answer)).applied != ""
    assert read_timetable(check_schedule(answer)) == desired.timetable


def test_the_properties_have_the_names_that_users_know() -> None:
    desired = desired_schedule(
        params={"lr": 0.5}, labels={"team": "growth"}, max_active=2, fail_fast=True
    )

    fields = read_fields(schedule_body(desired, FULL_SETTINGS, PARENT))

    # The text is a digest of our own form of the pipeline.
    assert len(str(fields.pop("text"))) == 32
    assert fields == {
        "name": "daily",
        "cron": "0 6 * * 1-5",
        "time_zone": "Europe/Berlin",
        "max_active": 2,
        "max_starting": 2,
        "queueing": True,
        "version": VERSION.removeprefix("sha256:")[:32],
        "template": f"{REGISTRY}/{VERSION}",
        "run_name": "daily",
        "experiment": "nightly",
        "pipeline_root": "gs://acme/runs",
        "failure_policy": "fast",
        "service_account": "runner@acme.iam.gserviceaccount.com",
        "network": "projects/12345/global/networks/net",
        "reserved_ip_ranges": ["one", "two"],
        "encryption_key": "projects/acme/locations/europe-west4/keyRings/ring/cryptoKeys/key",
        "psc_network_attachment": ("projects/acme/regions/europe-west4/networkAttachments/one"),
        "preflight_validations": True,
        "params.lr": 0.5,
        "params.rows": 3,
        "params.day": "never",
        "params.tags": [1, {"a": None}],
        "labels.team": "growth",
        "labels.env": "dev",
    }


def test_git_and_the_user_do_not_change_a_schedule() -> None:
    desired = desired_schedule()
    other = desired_schedule(labels={"git": "1" * 40, "git-dirty": "false", "user": "grace"})

    assert body_of(desired) == body_of(other)
    labels = body_of(desired)["createPipelineJobRequest"]["pipelineJob"]["labels"]
    assert not labels.keys() & {"git", "git-dirty", "user", "submission"}


def changed(**changes: Any) -> DesiredSchedule:
    base: dict[str, Any] = {"params": {"lr": 0.5}, "labels": {"team": "growth"}}
    return desired_schedule(**base | changes)


@pytest.mark.parametrize(
    ("desired", "expected"),
    [
        (changed(), set()),
        (changed(max_active=2), {"max_active", "max_starting"}),
        (
            changed(timetable=Timetable.parse(cron="0 7 * * 1-5", time_zone="Europe/Berlin")),
            {"cron"},
        ),
        (changed(timetable=Timetable.parse(cron="0 6 * * 1-5")), {"time_zone"}),
        (changed(params={"lr": 0.25}), {"params.lr"}),
        (changed(labels={"team": "risk"}), {"labels.team"}),
        (changed(labels={}), {"labels.team"}),
        (changed(fail_fast=True), {"failure_policy"}),
        (changed(spec=churn(OTHER_VERSION)), {"version", "template"}),
        (changed(spec=churn(OTHER_VERSION, "b")), {"version", "template", "text"}),
        (changed(time_param="day"), {"params.day", "text"}),
        # A pause, and what happens after one, are not properties of a Schedule.
        (changed(paused=True, catch_up=True), set()),
    ],
)
def test_a_change_shows_in_its_property_only(desired: DesiredSchedule, expected: set[str]) -> None:
    before = read_fields(schedule_body(changed(), SETTINGS, PARENT))
    after = read_fields(schedule_body(desired, SETTINGS, PARENT))

    names = before.keys() | after.keys()

    assert {name for name in names if before.get(name) != after.get(name)} == expected


def test_defaults_that_a_service_fills_in_are_not_changes() -> None:
    body = body_of(desired_schedule())
    answer = answer_of(body)
    job = answer["createPipelineJobRequest"]["pipelineJob"]
    job["serviceAccount"] = "123456-compute@developer.gserviceaccount.com"
    job["labels"]["vertex-ai-pipelines-run-billing-id"] = "5"
    job["preflightValidations"] = False
    answer["catchUp"] = False

    assert fields_in(answer) == read_fields(schedule_body(desired_schedule(), SETTINGS, PARENT))


def test_a_list_may_leave_out_the_pipeline() -> None:
    desired = desired_schedule(time_param="day")
    answer = answer_of(body_of(desired))
    del answer["createPipelineJobRequest"]["pipelineJob"]["pipelineSpec"]

    assert fields_in(answer) == read_fields(schedule_body(desired, SETTINGS, PARENT))


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"cron": "0 7 * * *"}, "cron"),
        ({"endTime": "2030-01-01T00:00:00Z"}, "end_time"),
        ({"maxRunCount": "5"}, "max_runs"),
        ({"allowQueueing": False}, "queueing"),
        ({"displayName": "mine"}, "name"),
    ],
)
def test_a_change_by_hand_is_seen(change: JsonDict, name: str) -> None:
    answer = answer_of(body_of(desired_schedule())) | change
    expected = read_fields(schedule_body(desired_schedule(), SETTINGS, PARENT))

    fields = fields_in(answer)

    assert fields.get(name) != expected.get(name)


def test_a_pipeline_that_was_edited_by_hand_is_seen() -> None:
    answer = answer_of(body_of(desired_schedule()))
    spec = answer["createPipelineJobRequest"]["pipelineJob"]["pipelineSpec"]
    spec["deploymentSpec"]["executors"]["exec-say"]["container"]["args"] = ["mine"]

    assert fields_in(answer)["text"] != fields_in(answer_of(body_of(desired_schedule())))["text"]


# -- the due time


def test_all_tasks_get_the_placeholder_instead_of_the_parameter() -> None:
    job = body_of(desired_schedule(time_param="day"))["createPipelineJobRequest"]["pipelineJob"]

    inputs = job["pipelineSpec"]["root"]["dag"]["tasks"]["say"]["inputs"]["parameters"]
    assert inputs["day"] == {"runtimeValue": {"constant": PLACEHOLDER}}
    assert inputs["lr"] == {"componentInputParameter": "lr"}
    assert job["templateUri"] == f"{REGISTRY}/{VERSION}"


def test_the_job_of_a_due_time_gets_the_time_itself() -> None:
    desired = desired_schedule(time_param="day")

    job = due_job(desired, SETTINGS, DUE.astimezone(BERLIN))

    assert job["runtimeConfig"]["parameterValues"]["day"] == "2026-11-30T06:00:00Z"
    assert PLACEHOLDER not in json.dumps(job)
    json_format.ParseDict(json.loads(json.dumps(job)), types.PipelineJob.pb()())


def test_a_time_param_that_is_not_text_is_refused() -> None:
    with pytest.raises(SpecError, match="rows"):
        schedule_body(desired_schedule(time_param="rows"), SETTINGS, PARENT)
    with pytest.raises(SpecError, match="absent"):
        schedule_body(desired_schedule(time_param="absent"), SETTINGS, PARENT)


def test_the_id_of_a_job_depends_on_its_due_time_and_schedule_only() -> None:
    first = due_job_id("shop", "daily", DUE)

    assert first == due_job_id("shop", "daily", DUE.astimezone(BERLIN))
    others = {
        due_job_id("shop", "daily", DUE.replace(hour=7)),
        due_job_id("shop", "dai-ly", DUE),
        due_job_id("shop", "dai_ly", DUE),
        due_job_id("other", "daily", DUE),
    }
    assert len({first, *others}) == 5


@given(name=st.text(min_size=1, max_size=80), project=st.text(max_size=80))
def test_each_name_makes_an_id_of_the_documented_form(name: str, project: str) -> None:
    # The pattern that PipelineJob of google-cloud-aiplatform checks.
    assert re.fullmatch("[a-z][-a-z0-9]{0,127}", due_job_id(project, name, DUE))


# -- limits


def test_a_whole_number_that_vertex_ai_would_change_is_refused() -> None:
    with pytest.raises(ParamError, match="rows"):
        schedule_body(desired_schedule(params={"rows": 2**53 + 1}), SETTINGS, PARENT)


def test_an_interval_that_cron_cannot_express_is_refused() -> None:
    desired = desired_schedule(timetable=Timetable.parse(every="7m"))

    with pytest.raises(Unsupported, match="7m"):
        schedule_body(desired, SETTINGS, PARENT)


def test_too_many_labels_are_refused() -> None:
    labels = {f"label-{number}": "x" for number in range(60)}

    with pytest.raises(Unsupported, match="at most 64"):
        schedule_body(desired_schedule(labels=labels), SETTINGS, PARENT)


def test_an_update_names_whole_fields_of_the_schedule() -> None:
    assert masked_fields(["time_zone", "max_active", "max_starting"]) == [
        "createPipelineJobRequest",
        "cron",
        "maxConcurrentActiveRunCount",
        "maxConcurrentRunCount",
    ]
    assert masked_fields(["params.lr", "labels.team"]) == ["createPipelineJobRequest"]


# -- schema 2.0.0


def test_a_pipeline_of_an_old_schema_has_the_same_properties_after_the_service() -> None:
    document = churn().pipeline_spec | {"schemaVersion": "2.0.0"}
    spec = replace(from_documents([document], "old.yaml"), registered=churn().registered)
    params: dict[str, JsonValue] = {"lr": 2.0, "rows": 3, "day": "monday", "tags": ["x"]}
    desired = desired_schedule(spec=spec, params=params)

    fields = fields_in(answer_of(body_of(desired)))

    assert fields == read_fields(schedule_body(desired, SETTINGS, PARENT))
    # A list is sent as JSON text.
    expected = params | {"tags": '["x"]'}
    assert {name: fields[f"params.{name}"] for name in params} == expected


# -- names


@given(project=st.text(max_size=80))
def test_each_name_of_a_project_makes_valid_labels(project: str) -> None:
    body = schedule_body(desired_schedule(project=project), SETTINGS, PARENT)

    labels = body["createPipelineJobRequest"]["pipelineJob"]["labels"]
    for value in labels.values():
        assert re.fullmatch("[-_a-z0-9]{0,63}", value)
    json_format.ParseDict(body_of(desired_schedule(project=project)), types.Schedule.pb()())
