"""What Cloud Logging has of Vertex pipeline jobs: what tasks wrote, and what happened to jobs.

Each line of an attempt's log is an entry of `resource.type="ml_job"`, whose
`resource.labels.job_id` is the id of the attempt's custom job.

What happened to a job is in the log `pipeline_job_events`, with its state in `jsonPayload.state`.
What happened to its tasks is in `pipeline_job_task_events`, with the fields below
`jsonPayload.payload`. Names of logs, types of payloads and the label are those of Google's index of
platform logs. Not confirmed: what `pipelineName` holds, and further fields.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from kfgcp.model import RunState, Task, TaskState
from kfgcp.testing import log_entries
from kfgcp.testing.google import format_time, micros
from kfgcp.testing.jobs import Job, Jobs
from kfgcp.testing.jobs_from_runs import (
    JOB_STATES,
    TASK_STATES,
    Attempt,
    Place,
    custom_job_id,
    job_error,
    list_attempts,
)
from kfgcp.testing.log_entries import Entry

JOB_EVENTS: Final = "aiplatform.googleapis.com%2Fpipeline_job_events"
TASK_EVENTS: Final = "aiplatform.googleapis.com%2Fpipeline_job_task_events"
_JOB_IDS: Final = re.compile(r'resource\.labels\.job_id\s*=\s*("?\d+"?|\([^()]*\))')


class JobLogs:
    """The entries of a location. project: its id."""

    def __init__(self, project: str, place: Place, jobs: Jobs) -> None:
        self._project = project
        self._place = place
        self._jobs = jobs

    def entries(self, text: str, form: str) -> Iterator[Entry]:
        """All that the filter could want; when it names custom jobs, and only by =, of task logs
        only theirs."""
        numbers = re.findall(r"\d+", " ".join(_JOB_IDS.findall(text)))
        others = _JOB_IDS.sub("", text)
        if numbers:
            found = [self._jobs.find_attempt(number) for number in dict.fromkeys(numbers)]
            for job, attempt in filter(None, found):
                yield from self._of_attempt(job, attempt, form)
        for job in self._jobs.all():
            yield from self._events(job)
            if not numbers or "NOT" in others or "OR" in others or "!=" in others:
                for attempt in list_attempts(job.id, job.run()):
                    if custom_job_id(attempt) not in numbers:
                        yield from self._of_attempt(job, attempt, form)

    def _of_attempt(self, job: Job, attempt: Attempt, form: str) -> Iterator[Entry]:
        task = next((task for task in job.run().tasks if task.path == attempt.path), None)
        if task is None:
            return
        number = custom_job_id(attempt)
        labels = {"project_id": self._project, "job_id": number, "task_name": "workerpool0-0"}
        for index, entry in enumerate(
            log_entries.read_attempt(job.execution, task, attempt.number, form)
        ):
            yield {
                "insertId": f"{number}-{index}",
                "logName": f"projects/{self._project}/logs/workerpool0-0",
                "resource": {"type": "ml_job", "labels": labels},
                "labels": {"ml.googleapis.com/job_id/log_area": "root"},
                **entry,
            }

    def _events(self, job: Job) -> Iterator[Entry]:
        """Yield what happened to a job and its tasks."""
        run = job.run()
        changes: list[tuple[str | None, str, str, Mapping[str, Any]]] = [
            (run.started_at, JOB_STATES[RunState.RUNNING], "", {})
        ]
        ended = [task for task in run.tasks if task.state.final]
        changes += [
            (task.ended_at, TASK_STATES[task.state], task.path, _reason(task)) for task in ended
        ]
        if run.state.final:
            changes.append((run.ended_at, JOB_STATES[run.state], "", job_error(run) or {}))
        for index, (at, state, path, error) in enumerate(changes):
            if at is not None:
                time = format_time((micros(at) + index) / 1_000_000)
                yield self._event(job, f"{job.id}-{index}", time, state, path, error)

    def _event(
        self, job: Job, insert_id: str, time: str, state: str, task: str, error: Mapping[str, Any]
    ) -> Entry:
        """Return the entry of one change of state; task: its path, empty for the job."""
        fields: dict[str, Any] = {"pipelineName": job.id, "state": state}
        if task:
            fields["taskName"] = task.rpartition("/")[2]
        if error:
            fields["error"] = dict(error)
        log, kind, payload = JOB_EVENTS, "PipelineJobLogEntry", fields
        if task:
            log, kind, payload = TASK_EVENTS, "PipelineJobTaskLogEntry", {"payload": fields}
        container = f"projects/{self._place.project}"
        resource = {
            "resource_container": container,
            "location": self._place.location,
            "pipeline_job_id": job.id,
        }
        return {
            "insertId": insert_id,
            "logName": f"projects/{self._project}/logs/{log}",
            "resource": {"type": "aiplatform.googleapis.com/PipelineJob", "labels": resource},
            "timestamp": time,
            "severity": "ERROR" if error else "INFO",
            "labels": {"pipeline_name": job.submission.spec.name},
            "jsonPayload": {
                "@type": f"type.googleapis.com/google.cloud.aiplatform.logging.{kind}",
                **payload,
            },
        }


def _reason(task: Task) -> Mapping[str, Any]:
    return (
        {"message": task.error.message}
        if task.error is not None and task.state is TaskState.FAILED
        else {}
    )
