"""The messages of schedules on Vertex AI: the fields that kfgcp reads, and the check of answers.

Names and types come from `google.cloud.aiplatform.v1` (schedule.proto, pipeline_service.proto and
pipeline_job.proto) in the JSON mapping of Protocol Buffers. A field that is null in an answer is
missing after the check.
"""

from __future__ import annotations

from typing import Any, Final, Required, TypedDict

from kfgcp.backends.vertex.messages import SERVICE, InputArtifactMessage, OldValue
from kfgcp.model import JsonValue
from kfgcp.services.fields import (
    list_of,
    map_of,
    mapping,
    message,
    read,
    required_text,
    text,
    time,
    truth,
    whole_number,
)


class EncryptionSpec(TypedDict, total=False):
    """The key that encrypts the data of a job."""

    kmsKeyName: str


class PscInterfaceConfig(TypedDict, total=False):
    """The network attachment for Private Service Connect."""

    networkAttachment: str


class ScheduledRuntime(TypedDict, total=False):
    """The inputs of the jobs of a schedule, and where their artifacts are."""

    parameters: dict[str, OldValue]
    parameterValues: dict[str, JsonValue]
    inputArtifacts: dict[str, InputArtifactMessage]
    gcsOutputDirectory: str
    failurePolicy: str


class ScheduledJob(TypedDict, total=False):
    """The job that a schedule starts."""

    displayName: str
    labels: dict[str, str]
    pipelineSpec: dict[str, Any]
    templateUri: str
    runtimeConfig: ScheduledRuntime
    serviceAccount: str
    network: str
    reservedIpRanges: list[str]
    encryptionSpec: EncryptionSpec
    pscInterfaceConfig: PscInterfaceConfig
    preflightValidations: bool


class CreateJobRequest(TypedDict, total=False):
    """The request that a schedule sends for each due time."""

    parent: str
    pipelineJob: ScheduledJob


class RunResponse(TypedDict, total=False):
    """The last job that a schedule started."""

    scheduledRunTime: str
    runResponse: str


class ScheduleBody(TypedDict, total=False):
    """The fields of a schedule that kfgcp sends, and that a person can set."""

    displayName: str
    cron: str
    startTime: str
    endTime: str
    maxRunCount: int
    maxConcurrentRunCount: int
    maxConcurrentActiveRunCount: int
    allowQueueing: bool
    createPipelineJobRequest: CreateJobRequest


class ScheduleAnswer(ScheduleBody, total=False):
    """A schedule as the service has it."""

    name: Required[str]
    state: str
    createTime: Required[str]
    updateTime: str
    lastPauseTime: str
    lastResumeTime: str
    catchUp: bool
    nextRunTime: str
    lastScheduledRunResponse: RunResponse


_VALUE: Final = message({"intValue": whole_number, "stringValue": text})
_JOB: Final = message(
    {
        "displayName": text,
        "labels": map_of(text),
        "pipelineSpec": mapping,
        "templateUri": text,
        "runtimeConfig": message(
            {
                "gcsOutputDirectory": text,
                "failurePolicy": text,
                "parameters": map_of(_VALUE),
                "parameterValues": mapping,
                "inputArtifacts": map_of(message({"artifactId": text})),
            }
        ),
        "serviceAccount": text,
        "network": text,
        "reservedIpRanges": list_of(text),
        "encryptionSpec": message({"kmsKeyName": text}),
        "pscInterfaceConfig": message({"networkAttachment": text}),
        "preflightValidations": truth,
    }
)
_SCHEDULE: Final = message(
    {
        "name": required_text,
        "displayName": text,
        "cron": text,
        "state": text,
        "startTime": time,
        "endTime": time,
        "createTime": time,
        "updateTime": time,
        "lastPauseTime": time,
        "lastResumeTime": time,
        "catchUp": truth,
        "nextRunTime": time,
        "maxRunCount": whole_number,
        "maxConcurrentRunCount": whole_number,
        "maxConcurrentActiveRunCount": whole_number,
        "allowQueueing": truth,
        "createPipelineJobRequest": message({"parent": text, "pipelineJob": _JOB}),
        "lastScheduledRunResponse": message({"scheduledRunTime": time, "runResponse": text}),
    },
    required=("name", "createTime"),
)


def check_schedule(answer: object) -> ScheduleAnswer:
    """Check an answer, or an item of a list, and return it as a schedule.

    Raises:
        BadAnswer: the answer is not a schedule. The message names the wrong field.
    """
    schedule: ScheduleAnswer = read(answer, _SCHEDULE, service=SERVICE, thing="a schedule")
    return schedule
