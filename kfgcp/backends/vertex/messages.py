"""The messages of Vertex AI: the fields that kfgcp reads, their types, and the check of answers.

Each message has a class, which tells type checkers the fields, and a `Kind` of
`kfgcp.services.fields`, which checks an answer. A field that is null in an answer is missing after
the check. Names and types come from `google.cloud.aiplatform.v1` (pipeline_job.proto,
artifact.proto, context.proto) in the JSON mapping of Protocol Buffers.
"""

from __future__ import annotations

from typing import Any, Final, Required, TypedDict

from kfgcp.backends.status import STATUS, Status
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
    whole_number,
)

SERVICE: Final = "Vertex AI"


class ArtifactMessage(TypedDict, total=False):
    """An artifact of ML Metadata."""

    uri: str
    schemaTitle: str
    metadata: dict[str, JsonValue]


class ArtifactList(TypedDict, total=False):
    """The artifacts of one input or output."""

    artifacts: list[ArtifactMessage]


class Execution(TypedDict, total=False):
    """An execution of ML Metadata: what a task is, and its parameters."""

    schemaTitle: str
    metadata: dict[str, JsonValue]


class ContainerDetail(TypedDict, total=False):
    """The custom jobs of a container task."""

    mainJob: str
    failedMainJobs: list[str]


class CustomJobDetail(TypedDict, total=False):
    """The custom jobs of a custom job component."""

    job: str
    failedJobs: list[str]


class ExecutorDetail(TypedDict, total=False):
    """The custom jobs of a task. A task has one of the two fields."""

    containerDetail: ContainerDetail
    customJobDetail: CustomJobDetail


class TaskDetail(TypedDict, total=False):
    """A task of a job."""

    taskId: int
    parentTaskId: int
    taskName: str
    state: str
    error: Status
    createTime: str
    startTime: str
    endTime: str
    execution: Execution
    executorDetail: ExecutorDetail
    inputs: dict[str, ArtifactList]
    outputs: dict[str, ArtifactList]


class OldValue(TypedDict, total=False):
    """A parameter of schema 2.0.0."""

    intValue: int
    doubleValue: float
    stringValue: str


class InputArtifactMessage(TypedDict, total=False):
    """An input artifact of a job."""

    artifactId: str


class RuntimeConfig(TypedDict, total=False):
    """The inputs of a job."""

    parameters: dict[str, OldValue]
    parameterValues: dict[str, JsonValue]
    inputArtifacts: dict[str, InputArtifactMessage]


class RunContext(TypedDict, total=False):
    """The context of a job in ML Metadata."""

    name: str
    parentContexts: list[str]


class JobDetail(TypedDict, total=False):
    """The progress of a job: its context and its tasks."""

    pipelineRunContext: RunContext
    taskDetails: list[TaskDetail]


class PipelineJob(TypedDict, total=False):
    """A pipeline job."""

    name: Required[str]
    displayName: str
    state: str
    error: Status
    createTime: str
    startTime: str
    endTime: str
    updateTime: str
    labels: dict[str, str]
    templateUri: str
    scheduleName: str
    pipelineSpec: dict[str, Any]
    runtimeConfig: RuntimeConfig
    jobDetail: JobDetail


_ARTIFACTS: Final = message(
    {"artifacts": list_of(message({"uri": text, "schemaTitle": text, "metadata": mapping}))}
)
TASK: Final = message(
    {
        "taskId": whole_number,
        "parentTaskId": whole_number,
        "taskName": text,
        "state": text,
        "error": STATUS,
        "createTime": time,
        "startTime": time,
        "endTime": time,
        "execution": message({"schemaTitle": text, "metadata": mapping}),
        "executorDetail": message(
            {
                "containerDetail": message({"mainJob": text, "failedMainJobs": list_of(text)}),
                "customJobDetail": message({"job": text, "failedJobs": list_of(text)}),
            }
        ),
        "inputs": map_of(_ARTIFACTS),
        "outputs": map_of(_ARTIFACTS),
    }
)
_OLD_VALUE: Final = message({"intValue": whole_number, "stringValue": text})
JOB: Final = message(
    {
        "name": required_text,
        "displayName": text,
        "state": text,
        "error": STATUS,
        "createTime": time,
        "startTime": time,
        "endTime": time,
        "updateTime": time,
        "labels": map_of(text),
        "templateUri": text,
        "scheduleName": text,
        "pipelineSpec": message({"pipelineInfo": message({"name": text})}),
        "runtimeConfig": message(
            {
                "parameters": map_of(_OLD_VALUE),
                "parameterValues": mapping,
                "inputArtifacts": map_of(message({"artifactId": text})),
            }
        ),
        "jobDetail": message(
            {
                "pipelineRunContext": message({"name": text, "parentContexts": list_of(text)}),
                "taskDetails": list_of(TASK),
            }
        ),
    },
    required=("name", "createTime"),
)


def read_job(answer: object) -> PipelineJob:
    """Check an answer, or an item of a list, and return it as a pipeline job.

    Raises:
        BadAnswer: the answer is not a pipeline job. The message names the wrong field.
    """
    job: PipelineJob = read(answer, JOB, service=SERVICE, thing="a pipeline job")
    return job
