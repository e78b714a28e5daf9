"""Write a schedule as Vertex AI takes it, and read its properties from an answer. Pure.

A Schedule has no labels, so the markers are labels of the job that it starts. The jobs have them
too, and that is how the runs of a schedule are found. See docs/decisions/0033.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final, cast

from kfgcp.backends.applied import APPLIED_MARKER, applied_digest
from kfgcp.backends.base import SubmitRequest
from kfgcp.backends.schedule_labels import schedule_labels
from kfgcp.backends.schedules import DesiredSchedule
from kfgcp.backends.versions import MARKER_DIGITS, TEXT_MARKER, VERSION_MARKER, digits
from kfgcp.backends.vertex import request as job_request
from kfgcp.backends.vertex.messages import OldValue
from kfgcp.backends.vertex.schedule_messages import (
    CreateJobRequest,
    ScheduleBody,
    ScheduledJob,
    ScheduledRuntime,
)
from kfgcp.backends.vertex.settings import FAILURE_POLICIES, VertexSettings
from kfgcp.cron import CronError, Timetable
from kfgcp.cron_services import to_vertex
from kfgcp.errors import Unsupported
from kfgcp.labels import EXPERIMENT, GIT_LABELS, PREFIXES_OF_GOOGLE, PROJECT, SCHEDULE, SUBMISSION
from kfgcp.model import JsonValue
from kfgcp.spec.digest import canonical_json
from kfgcp.spec.json_values import JsonObject, normalize_numbers
from kfgcp.spec.schedule_time import PLACEHOLDER, with_schedule_time

JOB_REQUEST: Final = "createPipelineJobRequest"

# Google's rules for labels: at most 64 labels for a resource.
MAX_LABELS: Final = 64

_POLICY_PREFIX: Final = "PIPELINE_FAILURE_POLICY_FAIL_"

# PipelineFailurePolicy of aiplatform_v1: the default is "fail slow".
_DEFAULT_POLICY: Final = "slow"

# PipelineJob.service_account of aiplatform_v1: without one, the jobs run as this account. A service
# may write the default into its answer.
_DEFAULT_ACCOUNT: Final = re.compile(r"\d+-compute@developer\.gserviceaccount\.com")

# Labels that change from one apply to the next although the schedule stays the same.
_LABELS_OF_ONE_APPLY: Final = GIT_LABELS + ("user", SUBMISSION)

# Labels that other properties show.
_LABELS_BESIDE: Final = (
    PROJECT,
    SCHEDULE,
    VERSION_MARKER,
    TEXT_MARKER,
    APPLIED_MARKER,
    EXPERIMENT,
    "version",
)

# The properties that are fields of the Schedule itself -> the name in an update mask. All others
# are in the request for a job. An update names that request as a whole, because nothing confirms
# that the service takes masks inside it.
_MASKS: Final[Mapping[str, str]] = {
    "name": "displayName",
    "cron": "cron",
    "time_zone": "cron",
    "max_active": "maxConcurrentActiveRunCount",
    "max_starting": "maxConcurrentRunCount",
    "queueing": "allowQueueing",
}


@dataclass(frozen=True, slots=True)
class Markers:
    """The markers of a schedule. Each is "" when the schedule does not have it.

    Attributes:
        project: the name of the project as the value of a label.
        name: the name of the schedule.
        applied: see `kfgcp.backends.applied`.
    """

    project: str
    name: str
    applied: str


def schedule_body(desired: DesiredSchedule, settings: VertexSettings, parent: str) -> ScheduleBody:
    """Return the body of a schedule, without a start time.

    Args:
        desired: the schedule.
        settings: the settings of the environment.
        parent: `projects/PROJECT/locations/LOCATION`.

    Raises:
        Unsupported: Vertex AI cannot do what the schedule asks for, or takes fewer labels.
        SpecError: the pipeline does not have the parameter `time_param`.
        ParamError: a parameter has a number that is too large for Vertex AI to keep exactly.
    """
    job = _scheduled_job(desired, settings)
    body: ScheduleBody = {
        "displayName": desired.name,
        "cron": to_vertex(desired.timetable),
        # How many requests may be sent at the same time. It is required, and the next field limits
        # how many jobs may run (Schedule in schedule.proto).
        "maxConcurrentRunCount": desired.max_active,
        "maxConcurrentActiveRunCount": desired.max_active,
        # Otherwise a due time is skipped while the limit is reached.
        "allowQueueing": True,
        JOB_REQUEST: {"parent": parent, "pipelineJob": job},
    }
    job["labels"][APPLIED_MARKER] = applied_digest(read_fields(body), paused=False)
    if len(job["labels"]) > MAX_LABELS:
        raise Unsupported(
            f"The schedule {desired.name} has {len(job['labels'])} labels with those of kfgcp;"
            f" Vertex AI takes at most {MAX_LABELS}.",
            hint="Remove labels in [env.X] or [pipeline.X] of kfgcp.toml.",
        )
    return body


def due_job(desired: DesiredSchedule, settings: VertexSettings, due: datetime) -> JsonObject:
    """Return the body of the job of a due time, as the schedule would start it.

    Args:
        desired: the schedule.
        settings: the settings of the environment.
        due: the due time, with a zone.
    """
    request = desired.request
    if desired.time_param:
        # The service replaces the placeholder for the due time only in the jobs that a schedule
        # starts. This job gets the due time itself.
        time_text = due.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        params = {**request.params, desired.time_param: time_text}
        request = replace(request, params=params)
    return cast("JsonObject", _labelled_job(desired, request, settings))


def read_fields(body: ScheduleBody) -> dict[str, JsonValue]:
    """Return the properties of a schedule, by the names that users know.

    Two bodies have the same properties exactly when an update would change nothing.

    Args:
        body: the body of a request, or an answer of the service.
    """
    time_zone, cron = _split_cron(body.get("cron", ""))
    fields: dict[str, JsonValue] = {
        "name": body.get("displayName", ""),
        "cron": cron,
        "time_zone": time_zone,
        "max_active": body.get("maxConcurrentActiveRunCount", 0),
        "max_starting": body.get("maxConcurrentRunCount", 0),
        "queueing": body.get("allowQueueing", False),
    }
    # kfgcp never sets these two, so they are changes by hand.
    if body.get("endTime"):
        fields["end_time"] = body.get("endTime")
    if body.get("maxRunCount"):
        fields["max_runs"] = body.get("maxRunCount")
    job = (body.get(JOB_REQUEST) or CreateJobRequest()).get("pipelineJob")
    if job is not None:
        fields |= _read_job_fields(job)
    return fields


def read_markers(body: ScheduleBody) -> Markers:
    """Return the markers of a schedule."""
    job = (body.get(JOB_REQUEST) or CreateJobRequest()).get("pipelineJob") or ScheduledJob()
    labels = job.get("labels") or {}
    return Markers(
        labels.get(PROJECT, ""), labels.get(SCHEDULE, ""), labels.get(APPLIED_MARKER, "")
    )


def read_timetable(body: ScheduleBody) -> Timetable | None:
    """Return when a schedule is due, None when kfgcp cannot read it."""
    time_zone, cron = _split_cron(body.get("cron", ""))
    try:
        return Timetable.parse(cron=cron, time_zone=time_zone)
    except CronError:
        return None


def masked_fields(fields: Sequence[str]) -> list[str]:
    """Return the fields of a Schedule that an update of some properties sends, sorted.

    The request for a job is always among them, because the marker of what was applied is a label in
    it.

    Example:
        >>> masked_fields(["cron", "params.lr"])
        ['createPipelineJobRequest', 'cron']
    """
    names = {JOB_REQUEST}
    for field in fields:
        names.add(_MASKS.get(field, JOB_REQUEST))
    return sorted(names)


def _scheduled_job(desired: DesiredSchedule, settings: VertexSettings) -> ScheduledJob:
    """Return the job that a schedule starts for each due time."""
    request = desired.request
    if desired.time_param:
        spec = with_schedule_time(request.sent_spec, desired.time_param)
        # Nothing reads the value of the parameter any more, but the pipeline may require one.
        params = {**request.params, desired.time_param: PLACEHOLDER}
        request = replace(request, spec=spec, translated=None, params=params)
    return _labelled_job(desired, request, settings)


def _labelled_job(
    desired: DesiredSchedule, request: SubmitRequest, settings: VertexSettings
) -> ScheduledJob:
    """Return the job of a request with the labels of its schedule."""
    body: dict[str, Any] = job_request.job(request, settings, "")
    registered = desired.request.spec.registered
    all_labels: dict[str, str] = body["labels"]
    labels = {name: value for name, value in all_labels.items() if name not in _LABELS_OF_ONE_APPLY}
    labels |= schedule_labels(desired.project, desired.name)
    labels[VERSION_MARKER] = digits(desired.request.spec.version)
    labels[TEXT_MARKER] = _text_digits(body["pipelineSpec"])
    body["labels"] = labels
    body["displayName"] = request.options.name or desired.name
    if registered is not None and registered.address.startswith("https://"):
        # The address has a digest, so it never means another text.
        body["templateUri"] = registered.address
    # An update cannot remove the policy, so it is always there.
    body["runtimeConfig"].setdefault("failurePolicy", f"{_POLICY_PREFIX}{_DEFAULT_POLICY.upper()}")
    return cast("ScheduledJob", body)


def _text_digits(pipeline_spec: JsonObject) -> str:
    """Return digits that identify the text of a pipeline as a schedule has it.

    The service keeps numbers as doubles, which does not change the digits.
    """
    text = canonical_json(pipeline_spec)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:MARKER_DIGITS]


def _split_cron(text: str) -> tuple[str, str]:
    """Return the time zone and the five fields of a cron expression.

    Schedule.cron of aiplatform_v1: the zone can be named with CRON_TZ= or TZ=.
    """
    fields = text.split()
    if fields and fields[0].startswith(("CRON_TZ=", "TZ=")):
        return fields[0].partition("=")[2], " ".join(fields[1:])
    return "UTC", " ".join(fields)


def _read_job_fields(job: ScheduledJob) -> dict[str, JsonValue]:
    labels = job.get("labels") or {}
    runtime = job.get("runtimeConfig") or ScheduledRuntime()
    policy = runtime.get("failurePolicy", "").removeprefix(_POLICY_PREFIX).lower()
    if policy not in FAILURE_POLICIES:
        policy = _DEFAULT_POLICY
    account = job.get("serviceAccount", "")
    if _DEFAULT_ACCOUNT.fullmatch(account):
        account = ""
    attachment = (job.get("pscInterfaceConfig") or {}).get("networkAttachment", "")
    ip_ranges: list[JsonValue] = list(job.get("reservedIpRanges") or [])
    # A list may leave out large parts of its items, as lists of jobs do. Then the marker tells.
    pipeline_spec = job.get("pipelineSpec")
    text = labels.get(TEXT_MARKER, "") if pipeline_spec is None else _text_digits(pipeline_spec)
    values: dict[str, JsonValue] = {
        "version": labels.get(VERSION_MARKER, ""),
        "text": text,
        "template": job.get("templateUri", ""),
        "run_name": job.get("displayName", ""),
        "experiment": labels.get(EXPERIMENT, ""),
        "pipeline_root": runtime.get("gcsOutputDirectory", ""),
        "failure_policy": policy,
        "service_account": account,
        "network": job.get("network", ""),
        "reserved_ip_ranges": ip_ranges,
        "encryption_key": (job.get("encryptionSpec") or {}).get("kmsKeyName", ""),
        "psc_network_attachment": attachment,
        "preflight_validations": job.get("preflightValidations", False),
    }
    fields: dict[str, JsonValue] = {name: value for name, value in values.items() if value}
    for name, value in _read_params(runtime).items():
        fields[f"params.{name}"] = value
    for name, label in labels.items():
        if name not in _LABELS_BESIDE and not name.startswith(PREFIXES_OF_GOOGLE):
            fields[f"labels.{name}"] = label
    return fields


def _read_params(runtime: ScheduledRuntime) -> dict[str, JsonValue]:
    """Return the parameters and the ids of input artifacts. Schema 2.0.0 has typed values."""
    params: dict[str, JsonValue] = {}
    for name, value in (runtime.get("parameters") or {}).items():
        params[name] = _read_old_value(value)
    params |= normalize_numbers(runtime.get("parameterValues") or {})
    for name, artifact in (runtime.get("inputArtifacts") or {}).items():
        params[name] = artifact.get("artifactId", "")
    return params


def _read_old_value(value: OldValue) -> JsonValue:
    if "intValue" in value:
        return int(value["intValue"])
    if "doubleValue" in value:
        return value["doubleValue"]
    return value.get("stringValue")
