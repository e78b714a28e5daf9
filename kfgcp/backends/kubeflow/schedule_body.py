"""Convert a schedule to a recurring run, and a recurring run to the properties of a schedule. Pure.

`read_fields` reads both the body that is sent and the answer of the server. So the properties are
equal exactly when nothing has to change. When the body has no service account, the server fills one
in. The marker `account` says that it did.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final, cast

from kfgcp.backends.applied import applied_digest
from kfgcp.backends.kubeflow.limits import MAX_RUN_NAME
from kfgcp.backends.kubeflow.messages import SERVICE
from kfgcp.backends.kubeflow.request import run_body
from kfgcp.backends.kubeflow.schedule_markers import (
    ScheduleMarkers,
    format_markers,
    parse_markers,
)
from kfgcp.backends.kubeflow.schedule_messages import RecurringRunAnswer, TriggerAnswer
from kfgcp.backends.kubeflow.settings import KubeflowSettings
from kfgcp.backends.kubeflow.times import read_moment
from kfgcp.backends.schedule_labels import project_label
from kfgcp.backends.schedules import DesiredSchedule
from kfgcp.backends.versions import SHORT_DIGITS, digits
from kfgcp.cron import CronError, Timetable
from kfgcp.cron_services import to_kubeflow
from kfgcp.errors import Unsupported
from kfgcp.model import JsonValue, timestamp
from kfgcp.spec.digest import canonical_json
from kfgcp.spec.json_values import JsonObject, normalize_numbers
from kfgcp.spec.schedule_time import PLACEHOLDER, with_schedule_time

ENABLED: Final = "ENABLE"
DISABLED: Final = "DISABLE"

# The length of the column for the cron expression (model/job.go, DefaultStringSize).
MAX_CRON: Final = 255


@dataclass(frozen=True, slots=True)
class Place:
    """Where a schedule is created, and when it begins.

    Attributes:
        experiment_id: the server's id of the experiment, "" when it is not known.
        enabled: whether it starts runs.
        starts_at: the time after which it may start runs, None for now.
        now: the time.
    """

    experiment_id: str
    enabled: bool
    starts_at: datetime | None
    now: datetime


def schedule_body(
    desired: DesiredSchedule, settings: KubeflowSettings, place: Place
) -> RecurringRunAnswer:
    """Return the body of the request that creates the recurring run of a schedule.

    Args:
        desired: the schedule.
        settings: the settings of the environment.
        place: where and when it begins.

    Raises:
        Unsupported: the server cannot do what the schedule asks for, or a name is too long.
        ParamError, SpecError: the server would change an integer.
    """
    _check_lengths(desired)
    runs = _runs_body(desired, settings)
    trigger = _format_trigger(desired, settings, place)
    markers = ScheduleMarkers(
        project=project_label(desired.project),
        name=desired.name,
        version=digits(_registered(desired)[1]),
        entry=_entry_digits(desired),
        default_account="service_account" not in runs,
    )
    body: dict[str, Any] = {
        "display_name": desired.name,
        "description": format_markers(markers),
        "experiment_id": place.experiment_id,
        "max_concurrency": str(desired.max_active),
        "no_catchup": not desired.catch_up,
        "mode": ENABLED if place.enabled else DISABLED,
        "trigger": trigger,
    }
    for name in ("pipeline_spec", "pipeline_version_reference", "service_account"):
        if name in runs:
            body[name] = runs[name]
    if any(runs["runtime_config"].values()):
        body["runtime_config"] = runs["runtime_config"]
    fields = read_fields(cast("RecurringRunAnswer", body), desired.request.options.experiment)
    applied = applied_digest(fields, paused=False)
    body["description"] = format_markers(replace(markers, applied=applied))
    return cast("RecurringRunAnswer", body)


def read_fields(body: RecurringRunAnswer, experiment: str) -> dict[str, JsonValue]:
    """Return the properties of a schedule.

    Args:
        body: the body of a request, or an answer of the server.
        experiment: the name of its experiment. The body has only the id.
    """
    fields: dict[str, JsonValue] = {
        **_read_trigger(body.get("trigger") or TriggerAnswer()),
        "name": body.get("display_name") or "",
        # For MySQL, the experiment "default" is "Default", which each server has. See
        # `kfgcp.backends.kubeflow.names.is_same_name`.
        "experiment": experiment.rstrip(" ").casefold(),
        "catch_up": not body.get("no_catchup", False),
        "max_active": int(body.get("max_concurrency") or 0),
    }
    markers = parse_markers(body.get("description"))
    reference = body.get("pipeline_version_reference") or {}
    if markers is not None:
        fields["version"] = markers.version
        fields["entry"] = markers.entry
    if reference:
        pipeline_id = reference.get("pipeline_id") or ""
        fields["entry"] = f"{pipeline_id}/{reference.get('pipeline_version_id') or ''}"
    if markers is None or not markers.default_account:
        fields["service_account"] = body.get("service_account") or ""
    config = body.get("runtime_config") or {}
    if config.get("pipeline_root"):
        fields["pipeline_root"] = config.get("pipeline_root")
    for name, value in (config.get("parameters") or {}).items():
        fields[f"params.{name}"] = normalize_numbers(value)
    return fields


def read_timetable(body: RecurringRunAnswer, zone: str) -> Timetable | None:
    """Return when a recurring run is due, None when kfgcp cannot read it.

    Args:
        body: the answer of the server.
        zone: the zone in which the controller of the server reads cron expressions.
    """
    trigger = body.get("trigger") or TriggerAnswer()
    cron = (trigger.get("cron_schedule") or {}).get("cron") or ""
    seconds = (trigger.get("periodic_schedule") or {}).get("interval_second") or 0
    try:
        if cron.startswith("0 "):
            return Timetable.parse(cron=cron.removeprefix("0 "), time_zone=zone)
        if seconds:
            return Timetable.parse(every=f"{seconds}s", time_zone=zone)
    except CronError:
        pass
    return None


def read_start(body: RecurringRunAnswer, created_at: datetime) -> datetime:
    """Return the time after which a recurring run may start runs.

    The first run of an interval is one interval after its start time
    (periodic_schedule.go, GetNextScheduledEpoch).
    """
    trigger = body.get("trigger") or TriggerAnswer()
    cron_start = (trigger.get("cron_schedule") or {}).get("start_time")
    if cron_start:
        return read_moment(cron_start)
    periodic = trigger.get("periodic_schedule") or {}
    start = periodic.get("start_time")
    if start:
        interval = timedelta(seconds=int(periodic.get("interval_second") or 0))
        return read_moment(start) + interval - timedelta(seconds=1)
    return created_at


# -- the body


def _registered(desired: DesiredSchedule) -> tuple[str, str]:
    """Return the identity of the entry in the registry, and the version of the pipeline."""
    registered = desired.request.spec.registered
    if registered is None:
        raise ValueError("a schedule runs a version of a registry")
    return registered.ref, registered.version


def _entry_digits(desired: DesiredSchedule) -> str:
    """Return digits that identify the text of the pipeline.

    The server has the reference to the entry too, unless the text differs from the entry.
    """
    ref, _ = _registered(desired)
    text = canonical_json([ref, desired.request.options.cache, desired.time_param])
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:SHORT_DIGITS]


def _runs_body(desired: DesiredSchedule, settings: KubeflowSettings) -> JsonObject:
    """Return the body of a run of the schedule."""
    request = desired.request
    # The labels of a run are in its description, and runs of a recurring run have none.
    request = replace(request, options=request.options.changed(labels={}))
    if desired.time_param:
        spec = with_schedule_time(request.sent_spec, desired.time_param)
        # The pipeline differs from its entry, so its text is sent instead of the reference.
        spec = replace(spec, registered=None)
        params = {**request.params, desired.time_param: PLACEHOLDER}
        request = replace(request, spec=spec, translated=None, params=params)
    return run_body(request, settings, "", "")


def _format_trigger(
    desired: DesiredSchedule, settings: KubeflowSettings, place: Place
) -> JsonObject:
    zone = settings.schedule_time_zone
    env = desired.request.options.env or "NAME"
    trigger = to_kubeflow(desired.timetable, place.starts_at or place.now, zone, env)
    if trigger.cron is None:
        start = trigger.start or place.now
        return {
            "periodic_schedule": {
                "interval_second": str(trigger.interval_seconds),
                "start_time": _format_time(start),
            }
        }
    if len(trigger.cron) > MAX_CRON:
        raise Unsupported(
            f"The cron expression of the schedule {desired.name} has {len(trigger.cron)}"
            f" characters; {SERVICE} takes at most {MAX_CRON}.",
            hint="Write ranges and steps instead of lists: 0-30/5.",
        )
    cron_schedule = {"cron": trigger.cron}
    if place.starts_at is not None:
        cron_schedule["start_time"] = _format_time(place.starts_at)
    return {"cron_schedule": cron_schedule}


def _format_time(moment: datetime) -> str:
    # The server has whole seconds. No due time has a fraction of a second, so a start that is
    # rounded down is before the same due times.
    return timestamp(int(moment.timestamp()))


def _check_lengths(desired: DesiredSchedule) -> None:
    if not desired.name or len(desired.name) > MAX_RUN_NAME:
        raise Unsupported(
            f"The name of the schedule has {len(desired.name)} characters; {SERVICE} takes 1 to"
            f" {MAX_RUN_NAME}.",
            hint="Choose another name in [schedule.NAME].",
        )


# -- the fields


def _read_trigger(trigger: TriggerAnswer) -> dict[str, JsonValue]:
    """Return when a recurring run is due.

    The start time is left out, because each creation has another one. Nobody sets an end time with
    kfgcp, so an end time is a change by hand.
    """
    cron = trigger.get("cron_schedule")
    periodic = trigger.get("periodic_schedule")
    if cron is not None:
        text = cron.get("cron") or ""
        fields: dict[str, JsonValue] = {"cron": text.removeprefix("0 ")}
        end = cron.get("end_time")
    elif periodic is not None:
        fields = {"every": f"{int(periodic.get('interval_second') or 0)}s"}
        end = periodic.get("end_time")
    else:
        return {}
    if end:
        fields["end_time"] = end
    return fields
