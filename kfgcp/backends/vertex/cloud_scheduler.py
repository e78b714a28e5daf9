"""Find the jobs of Cloud Scheduler that start pipelines.

The module `scheduler` of Terraform makes such jobs. Each sends the request that creates a pipeline
job (terraform/modules/scheduler/main.tf). The fields are those of Job in
google.cloud.scheduler_v1 (job.proto, target.proto).
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from typing import Any, Final, TypedDict, cast

from kfgcp.backends.schedules import OtherScheduler
from kfgcp.backends.vertex.registry_addresses import parse_version
from kfgcp.services.client import ServiceClient
from kfgcp.services.fields import list_of, message, read, text

SERVICE: Final = "Cloud Scheduler"
ADDRESS: Final = "https://cloudscheduler.googleapis.com"

# A plan without this list is still right, so it does not wait long for it.
SECONDS: Final = 5.0

# ListJobsRequest.page_size: at most 500. A plan reads only the first page.
MAX_JOBS: Final = 500

# PipelineService.CreatePipelineJob of aiplatform_v1.
_CREATES_JOB: Final = re.compile(
    r"https://[a-z0-9.-]+/v1(beta1)?/projects/[^/]+/locations/[^/]+/pipelineJobs(\?.*)?"
)
_ENABLED: Final = "ENABLED"
_JOBS: Final = message(
    {
        "jobs": list_of(
            message(
                {
                    "name": text,
                    "schedule": text,
                    "timeZone": text,
                    "state": text,
                    "httpTarget": message({"uri": text, "body": text}),
                }
            )
        )
    }
)


class _Target(TypedDict, total=False):
    uri: str
    body: str


class _Job(TypedDict, total=False):
    name: str
    schedule: str
    timeZone: str
    state: str
    httpTarget: _Target


def find_jobs(http: ServiceClient, parent: str) -> list[OtherScheduler]:
    """Return the enabled jobs that start pipelines of Artifact Registry. It costs one request.

    Args:
        http: the client of Cloud Scheduler.
        parent: `projects/PROJECT/locations/LOCATION`.

    Raises:
        BackendError: the service refuses or cannot be reached.
    """
    answer = http.get(f"v1/{parent}/jobs", params={"pageSize": str(MAX_JOBS)})
    fields = read(answer, _JOBS, service=SERVICE, thing="a list of jobs")
    others = []
    for job in cast("list[_Job]", fields.get("jobs") or []):
        pipeline = _pipeline_of(job)
        if pipeline and job.get("state") == _ENABLED:
            name = job.get("name", "").rpartition("/")[2]
            due = f"{job.get('schedule', '')} {job.get('timeZone', '')}".strip()
            title = f"the job {name} of {SERVICE}"
            others.append(OtherScheduler(title=title, pipeline=pipeline, due=due))
    return others


def _pipeline_of(job: _Job) -> str:
    """Return the name of the pipeline that a job starts, "" for a job that does something else."""
    target = job.get("httpTarget") or _Target()
    if not _CREATES_JOB.fullmatch(target.get("uri", "")):
        return ""
    try:
        # In the JSON mapping of Protocol Buffers, bytes are base64.
        body: Any = json.loads(base64.b64decode(target.get("body", "")))
    except (binascii.Error, ValueError):
        return ""
    template = body.get("templateUri") if isinstance(body, dict) else None
    version = parse_version(template) if isinstance(template, str) else None
    return "" if version is None else version.package
