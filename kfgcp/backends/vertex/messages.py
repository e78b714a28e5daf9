"""The messages of Vertex AI that kfgcp reads: the fields that it uses, and their types.

Names and types are those of `google.cloud.aiplatform.v1` (pipeline_job.proto, artifact.proto,
context.proto) in the JSON mapping of Protocol Buffers.
"""

from __future__ import annotations

from typing import Any, Final

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

STATUS: Final = message({"message": text})
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
"""A parameter of schema 2.0.0."""
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
        "runtimeConfig": message({"parameters": map_of(_OLD_VALUE), "parameterValues": mapping}),
        "jobDetail": message(
            {
                "pipelineRunContext": message({"name": text, "parentContexts": list_of(text)}),
                "taskDetails": list_of(TASK),
            }
        ),
    },
    required=("name", "createTime"),
)


def read_job(answer: Any) -> dict[str, Any]:
    """Return an answer, or an item of a list, as a PipelineJob.

    Raises:
        BadAnswer: it is not one; the message names the field.
    """
    job: dict[str, Any] = read(answer, JOB, service=SERVICE, thing="a pipeline job")
    return job
