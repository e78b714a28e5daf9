"""The entries of pipeline jobs in Cloud Logging: the lines of tasks, and the events of jobs.

Each line of an attempt is an entry with `resource.type="ml_job"`. `resource.labels.job_id` of the
entry is the id of the custom job of the attempt.

The events of a job are in the log `pipeline_job_events`. They have the state of the job in
`jsonPayload.state`. The events of its tasks are in the log `pipeline_job_task_events`, with their
fields in `jsonPayload.payload`. The names of logs, the types of payloads and the label
`pipeline_name` come from Google's index of platform logs. Nothing confirms the value of
`pipelineName` and the list of fields.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from kfgcp.model import Run, RunState, Task, TaskState
from kfgcp.spec.json_values import JsonObject
from kfgcp.testing import log_entries
from kfgcp.testing.google import JsonBody, format_time, micros
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

# The last parts of the names of logs. `%2F` is an escaped slash.
JOB_EVENTS: Final = "aiplatform.googleapis.com%2Fpipeline_job_events"
TASK_EVENTS: Final = "aiplatform.googleapis.com%2Fpipeline_job_task_events"
# A condition that names custom jobs: `resource.labels.job_id="1"` or `=("1" OR "2")`.
_JOB_IDS: Final = re.compile(r'resource\.labels\.job_id\s*=\s*("?\d+"?|\([^()]*\))')
# With one of these words, a filter may also fit entries of custom jobs that it does not name.
_WIDENING_WORDS: Final = ("NOT", "OR", "!=")


@dataclass(frozen=True, slots=True)
class _Event:
    """A change of the state of a job or a task.

    time: RFC 3339, None if it is not known. task_path: empty for the job. error: {} without one.
    """

    time: str | None
    state: str
    task_path: str
    error: JsonObject


class JobLogs:
    """The log entries of the jobs of a location.

    Args:
        project: the id of the project.
        place: the location, with the number of the project.
        jobs: the jobs of the location.
    """

    def __init__(self, project: str, place: Place, jobs: Jobs) -> None:
        self._project = project
        self._place = place
        self._jobs = jobs

    def entries(self, filter_text: str, payload: str) -> Iterator[Entry]:
        """Yield all entries that may fit a filter.

        Clients often ask for the lines of a few custom jobs. So that this is fast, the method reads
        only the lines of the custom jobs that the filter names. It reads the lines of all custom
        jobs if the filter names none, or has a word such as OR, with which other lines may fit.

        Args:
            filter_text: the filter of the client.
            payload: see `CloudLogging.payload`.
        """
        id_conditions = " ".join(_JOB_IDS.findall(filter_text))
        named_ids = re.findall(r"\d+", id_conditions)
        other_conditions = _JOB_IDS.sub("", filter_text)
        may_fit_others = any(word in other_conditions for word in _WIDENING_WORDS)
        reads_all = not named_ids or may_fit_others
        # A filter may name a custom job twice.
        for named_id in dict.fromkeys(named_ids):
            job_and_attempt = self._jobs.find_attempt(named_id)
            if job_and_attempt is not None:
                yield from self._attempt_entries(*job_and_attempt, payload)
        for job in self._jobs.all():
            yield from self._event_entries(job)
            if not reads_all:
                continue
            for attempt in list_attempts(job.id, job.run()):
                if custom_job_id(attempt) not in named_ids:
                    yield from self._attempt_entries(job, attempt, payload)

    def _attempt_entries(self, job: Job, attempt: Attempt, payload: str) -> Iterator[Entry]:
        """Yield an entry for each line of an attempt."""
        task = _find_task(job.run(), attempt.path)
        if task is None:
            return
        job_id = custom_job_id(attempt)
        labels = {"project_id": self._project, "job_id": job_id, "task_name": "workerpool0-0"}
        lines = log_entries.read_attempt(job.execution, task, attempt.number, payload)
        for index, line in enumerate(lines):
            yield {
                "insertId": f"{job_id}-{index}",
                "logName": f"projects/{self._project}/logs/workerpool0-0",
                "resource": {"type": "ml_job", "labels": labels},
                "labels": {"ml.googleapis.com/job_id/log_area": "root"},
                **line,
            }

    def _event_entries(self, job: Job) -> Iterator[Entry]:
        """Yield the events of a job and its tasks."""
        for index, event in enumerate(_list_events(job.run())):
            if event.time is not None:
                # Many events have the same time. An extra microsecond for each keeps their order.
                time = format_time((micros(event.time) + index) / 1_000_000)
                yield self._event_entry(job, f"{job.id}-{index}", time, event)

    def _event_entry(self, job: Job, insert_id: str, time: str, event: _Event) -> Entry:
        fields: JsonBody = {"pipelineName": job.id, "state": event.state}
        if event.task_path:
            fields["taskName"] = event.task_path.rpartition("/")[2]
        if event.error:
            fields["error"] = dict(event.error)
        log = JOB_EVENTS
        message_type = "PipelineJobLogEntry"
        payload = fields
        if event.task_path:
            log = TASK_EVENTS
            message_type = "PipelineJobTaskLogEntry"
            payload = {"payload": fields}
        resource_labels = {
            "resource_container": f"projects/{self._place.project}",
            "location": self._place.location,
            "pipeline_job_id": job.id,
        }
        return {
            "insertId": insert_id,
            "logName": f"projects/{self._project}/logs/{log}",
            "resource": {
                "type": "aiplatform.googleapis.com/PipelineJob",
                "labels": resource_labels,
            },
            "timestamp": time,
            "severity": "ERROR" if event.error else "INFO",
            "labels": {"pipeline_name": job.submission.spec.name},
            "jsonPayload": {
                "@type": f"type.googleapis.com/google.cloud.aiplatform.logging.{message_type}",
                **payload,
            },
        }


def _find_task(run: Run, path: str) -> Task | None:
    for task in run.tasks:
        if task.path == path:
            return task
    return None


def _list_events(run: Run) -> list[_Event]:
    """Return the events of a run: its start, the ends of its tasks, and the end of the run."""
    events = [_Event(run.started_at, JOB_STATES[RunState.RUNNING], "", {})]
    for task in run.tasks:
        if task.state.final:
            state = TASK_STATES[task.state]
            events.append(_Event(task.ended_at, state, task.path, _task_error(task)))
    if run.state.final:
        error = job_error(run) or {}
        events.append(_Event(run.ended_at, JOB_STATES[run.state], "", error))
    return events


def _task_error(task: Task) -> JsonObject:
    if task.error is None or task.state is not TaskState.FAILED:
        return {}
    return {"message": task.error.message}
