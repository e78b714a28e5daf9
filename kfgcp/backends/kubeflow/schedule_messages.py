"""Check the answers of Kubeflow Pipelines about recurring runs.

Names and types follow recurring_run.proto of the v2beta1 API, as in `messages`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Required, TypedDict, cast

from kfgcp.backends.kubeflow.messages import SERVICE, RuntimeConfigAnswer, VersionReference
from kfgcp.errors import BadAnswer
from kfgcp.services.fields import (
    count,
    mapping,
    message,
    read,
    required_text,
    text,
    time,
    truth,
)
from kfgcp.services.redact import redacted_line


class CronAnswer(TypedDict, total=False):
    """A cron expression of six fields, and the time in which it is valid."""

    cron: str
    start_time: str
    end_time: str


class PeriodicAnswer(TypedDict, total=False):
    """An interval in seconds, and the time in which it is valid."""

    interval_second: int
    start_time: str
    end_time: str


class TriggerAnswer(TypedDict, total=False):
    """When a recurring run starts runs. At most one of the two is set."""

    cron_schedule: CronAnswer
    periodic_schedule: PeriodicAnswer


class ScheduleConfigAnswer(RuntimeConfigAnswer, total=False):
    """The inputs of the runs."""

    pipeline_root: str


class RecurringRunAnswer(TypedDict, total=False):
    """A recurring run."""

    recurring_run_id: Required[str]
    display_name: str
    description: str
    pipeline_spec: dict[str, Any]
    pipeline_version_reference: VersionReference
    runtime_config: ScheduleConfigAnswer
    service_account: str
    max_concurrency: int
    trigger: TriggerAnswer
    mode: str
    status: str
    no_catchup: bool
    experiment_id: str
    created_at: Required[str]
    updated_at: str


_RECURRING_RUN: Final = message(
    {
        "recurring_run_id": required_text,
        "display_name": text,
        "description": text,
        "pipeline_spec": mapping,
        "pipeline_version_reference": message({"pipeline_id": text, "pipeline_version_id": text}),
        "runtime_config": message({"parameters": mapping, "pipeline_root": text}),
        "service_account": text,
        "max_concurrency": count,
        "trigger": message(
            {
                "cron_schedule": message({"cron": text, "start_time": time, "end_time": time}),
                "periodic_schedule": message(
                    {"interval_second": count, "start_time": time, "end_time": time}
                ),
            }
        ),
        "mode": text,
        "status": text,
        "no_catchup": truth,
        "experiment_id": text,
        "created_at": time,
        "updated_at": time,
    },
    required=("recurring_run_id", "created_at"),
)


def check_recurring_run(answer: object) -> RecurringRunAnswer:
    """Return an answer, or an item of a list, as a recurring run.

    Raises:
        BadAnswer: the answer is not a recurring run, and the message names the wrong field. Or the
            server could not convert it from its database (toApiRecurringRun in api_converter.go).
    """
    if isinstance(answer, Mapping) and answer.get("error") and "created_at" not in answer:
        ref = redacted_line(str(answer.get("recurring_run_id")), limit=80)
        raise BadAnswer(
            f"{SERVICE} cannot read the recurring run {ref}, so it may be any schedule.",
            hint="Delete it on the server: its id is enough for kfp recurring-run delete.",
        )
    checked = read(answer, _RECURRING_RUN, service=SERVICE, thing="a recurring run")
    return cast("RecurringRunAnswer", checked)
