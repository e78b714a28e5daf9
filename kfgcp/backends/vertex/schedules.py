"""Schedules on Vertex AI, see `SupportsSchedules`.

Field names and behaviour come from ScheduleService of `google.cloud.aiplatform.v1`
(schedule_service.proto and schedule.proto). See docs/decisions/0033-schedules-on-vertex.md.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import quote

from kfgcp.backends.base import SubmitRequest
from kfgcp.backends.schedule_labels import due_label, project_label, run_labels
from kfgcp.backends.schedules import DesiredSchedule, FiredRun, LiveSchedule, ScheduleFacts
from kfgcp.backends.vertex.messages import PipelineJob, read_job
from kfgcp.backends.vertex.read_run import job_state
from kfgcp.backends.vertex.schedule_body import (
    due_job,
    masked_fields,
    read_fields,
    read_markers,
    read_timetable,
    schedule_body,
)
from kfgcp.backends.vertex.schedule_messages import ScheduleAnswer, ScheduleBody, check_schedule
from kfgcp.backends.vertex.settings import VertexSettings
from kfgcp.errors import BadAnswer, NotFound, Refused
from kfgcp.labels import SCHEDULE, SUBMISSION
from kfgcp.model import JsonValue
from kfgcp.services.client import ServiceClient
from kfgcp.services.server_time import measure_offset

PAGE_SIZE: Final = 100

# Seconds after its first try in which a write may be sent again. A later try could fall on a due
# time, so `converge` then begins again with a look at the service.
WRITE_BUDGET: Final = 3.0

# Seconds to wait for the end of a deletion, and between two looks at it.
DELETION_SECONDS: Final = 60.0
DELETION_PAUSE: Final = 0.5

# The longest part of the id of a job that is the name of a schedule. An id has at most 128
# characters.
_MAX_NAME_IN_ID: Final = 60

_ACTIVE: Final = "ACTIVE"
_PAUSED: Final = "PAUSED"
_CONFLICT: Final = 409
_WRONG_STATE: Final = "FAILED_PRECONDITION"


class VertexSchedules:
    """The schedules of one project and location. It belongs to one thread.

    Args:
        http: the client of Vertex AI.
        settings: the settings of the environment.
        project: the name of the project of kfgcp.toml.
        parent: `projects/PROJECT/locations/LOCATION`.
        prepare: creates what the job of a request needs: its experiment and input artifacts.
        now: returns the time in UTC, None for the clock of this machine. Another clock is not
            compared with the clock of the service.
        sleep: waits for a number of seconds.
    """

    schedule_facts = ScheduleFacts(has_update=True)

    def __init__(
        self,
        http: ServiceClient,
        settings: VertexSettings,
        project: str,
        parent: str,
        prepare: Callable[[SubmitRequest], None],
        *,
        now: Callable[[], datetime] | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._http = http
        self._settings = settings
        self._project = project
        self._parent = parent
        self._prepare = prepare
        self._now = now or _machine_time
        # How far the clock of the service is ahead, None before it was measured.
        self._offset = None if now is None else timedelta(0)
        self._sleep = sleep
        # A label of the jobs that this object starts. It identifies them when an answer was lost.
        self._submission = secrets.token_hex(6)
        self._fired: set[str] = set()
        # The last request whose experiment and input artifacts were created.
        self._prepared: SubmitRequest | None = None

    # -- reading

    def list_schedules(self) -> Sequence[LiveSchedule]:
        """Return all schedules, see `SupportsSchedules.list_schedules`.

        A schedule of others that kfgcp cannot read is left out.

        Raises:
            BadAnswer: a schedule of kfgcp cannot be read.
        """
        path = f"v1/{self._parent}/schedules"
        schedules: list[LiveSchedule] = []
        for item in self._http.pages(path, None, "schedules", size=PAGE_SIZE):
            try:
                schedules.append(self._read(check_schedule(item)))
            except BadAnswer:
                if _may_be_ours(item):
                    raise
        return schedules

    def read_schedule(self, ref: str) -> LiveSchedule | None:
        """Return a schedule, None when it does not exist."""
        try:
            return self._read(check_schedule(self._http.get(_path(ref))))
        except NotFound:
            return None

    def clock_offset(self) -> timedelta:
        """Return how far the clock of the service is ahead, see `SupportsSchedules`."""
        if self._offset is None:
            path = f"v1/{self._parent}/schedules"
            self._offset = measure_offset(self._http, path, {"pageSize": 1}, self._now)
        return self._offset

    def _service_time(self) -> datetime:
        return self._now() + self.clock_offset()

    def fields_of(self, desired: DesiredSchedule) -> Mapping[str, JsonValue]:
        """Return the properties that a schedule must have, see `SupportsSchedules.fields_of`."""
        return read_fields(self._body(desired))

    def _read(self, answer: ScheduleAnswer) -> LiveSchedule:
        markers = read_markers(answer)
        state = answer.get("state", "")
        created = answer["createTime"]
        paused = answer.get("lastPauseTime") if state == _PAUSED else None
        next_run = answer.get("nextRunTime") if state == _ACTIVE else None
        last_run = answer.get("lastScheduledRunResponse") or {}
        last_due = last_run.get("scheduledRunTime")
        project = markers.project
        # The label of a project may be another text than its name.
        if project == project_label(self._project):
            project = self._project
        return LiveSchedule(
            # The name in an answer may have the number of the project instead of its id.
            ref=f"{self._parent}/schedules/{answer['name'].rpartition('/')[2]}",
            project=project,
            name=markers.name,
            display_name=answer.get("displayName", ""),
            enabled=state == _ACTIVE,
            fields=read_fields(answer),
            timetable=read_timetable(answer),
            created_at=_moment(created),
            updated_at=_moment(answer.get("updateTime") or created),
            starts_at=_moment(answer.get("startTime") or created),
            disabled_at=_optional_moment(paused),
            last_due=_optional_moment(last_due),
            next_due=_optional_moment(next_run),
            handled_until=_handled_until(answer) if paused else None,
            applied=markers.applied,
        )

    def _body(self, desired: DesiredSchedule) -> ScheduleBody:
        return schedule_body(desired, self._settings, self._parent)

    # -- writing

    def prepare_runs(self, desired: DesiredSchedule) -> None:
        """Create the experiment and the input artifacts, see `SupportsSchedules.prepare_runs`."""
        if self._prepared is not desired.request:
            self._prepare(desired.request)
            self._prepared = desired.request

    def create_schedule(
        self, desired: DesiredSchedule, *, enabled: bool, starts_at: datetime | None
    ) -> str:
        """Create a schedule, and return its identity, see `SupportsSchedules.create_schedule`.

        Vertex AI starts the runs of all due times since a start time in the past
        (sky-uk/kfp-operator#580). So a start time is sent only when it is in the future.
        """
        if not enabled:
            raise ValueError("Vertex AI creates only enabled schedules")
        body = self._body(desired)
        if starts_at is not None and starts_at > self._service_time():
            body["startTime"] = _format_time(starts_at)
        self.prepare_runs(desired)
        with _uncertain():
            answer = self._http.post(f"v1/{self._parent}/schedules", body=body)
            return self._read(check_schedule(answer)).ref

    def update_schedule(
        self, live: LiveSchedule, desired: DesiredSchedule, fields: Sequence[str]
    ) -> None:
        """Change exactly the named properties, see `SupportsSchedules.update_schedule`."""
        self.prepare_runs(desired)
        body: Mapping[str, object] = self._body(desired)
        names = masked_fields(fields)
        self._patch(live.ref, {name: body[name] for name in names})

    def enable_schedule(self, live: LiveSchedule, *, catch_up: bool) -> None:
        """Let a schedule start runs again, see `SupportsSchedules.enable_schedule`.

        A schedule that was created paused has a start time in the future, see `PAUSED_LEAD` in
        `kfgcp.deploy.schedules.steps`. It starts runs from now on.
        """
        self._begin_now(live)
        if not live.enabled:
            self._change_state(live.ref, "resume", {"catchUp": catch_up})

    def disable_schedule(self, live: LiveSchedule) -> None:
        """Let a schedule start no runs, see `SupportsSchedules.disable_schedule`."""
        self._change_state(live.ref, "pause", {})
        self._begin_now(live)

    def delete_schedule(self, live: LiveSchedule) -> None:
        """Delete a schedule, and wait for the end of the deletion."""
        with suppress(NotFound), _uncertain():
            self._http.delete(_path(live.ref), budget=WRITE_BUDGET)
        deadline = time.monotonic() + DELETION_SECONDS
        while time.monotonic() < deadline:
            # The operation of the deletion could be read instead. But an answer that was lost names
            # no operation.
            if self.read_schedule(live.ref) is None:
                return
            self._sleep(DELETION_PAUSE)

    def fire(self, desired: DesiredSchedule, due: datetime) -> FiredRun:
        """Start the run of a due time, unless there is one, see `SupportsSchedules.fire`.

        A backfill may have started the run, so it is looked up by its labels. The id of the job
        depends only on the schedule and the due time, so the service refuses a second job of
        `apply`.
        """
        job_id = due_job_id(desired.project, desired.name, due)
        job: dict[str, Any] = {**due_job(desired, self._settings, due)}
        due_labels = run_labels(desired.project, desired.name, due)
        job["labels"] = {**job["labels"], **due_labels, SUBMISSION: self._submission}
        path = f"v1/{self._parent}/pipelineJobs"
        existing = self._find_job(path, due_labels)
        if existing is None:
            self._prepare(desired.request)
            try:
                with _uncertain():
                    query = {"pipelineJobId": job_id}
                    self._http.post(path, params=query, body=job, repeatable=True)
            except Refused as refused:
                if refused.status != _CONFLICT:
                    raise
                existing = read_job(self._http.get(f"{path}/{job_id}"))
        if existing is not None:
            labels = existing.get("labels") or {}
            # An earlier try of this object may have started the job, although its answer was lost.
            if labels.get(SUBMISSION) != self._submission or job_id in self._fired:
                existing_id = existing["name"].rpartition("/")[2]
                is_active = not job_state(existing).final
                return FiredRun(existing_id, is_new=False, is_active=is_active)
        self._fired.add(job_id)
        return FiredRun(job_id, is_new=True, is_active=True)

    def _find_job(self, path: str, labels: Mapping[str, str]) -> PipelineJob | None:
        """Return a job with some labels, None when there is none."""
        clauses = [f"labels.{name}={json.dumps(value)}" for name, value in labels.items()]
        params: dict[str, str | int] = {"filter": " AND ".join(clauses)}
        for item in self._http.pages(path, params, "pipelineJobs", size=1):
            return read_job(item)
        return None

    def _begin_now(self, live: LiveSchedule) -> None:
        """Move a start time in the future to now.

        An update skips the runs that have not started, but before its start time a schedule has
        none. The new start time is never before the creation: the service would start the runs of
        the time between the two.
        """
        now = max(self._service_time(), live.created_at)
        if live.starts_at > now:
            self._patch(live.ref, {"startTime": _format_time(now)})

    def _patch(self, ref: str, body: Mapping[str, object]) -> None:
        mask = ",".join(body)
        with _uncertain():
            self._http.patch(
                _path(ref), params={"updateMask": mask}, body=body, budget=WRITE_BUDGET
            )

    def _change_state(self, ref: str, verb: str, body: Mapping[str, object]) -> None:
        path = f"{_path(ref)}:{verb}"
        with _uncertain():
            self._http.post(path, body=body, repeatable=True, budget=WRITE_BUDGET)


def due_job_id(project: str, name: str, due: datetime) -> str:
    """Return the id of the job of a due time. It depends only on the arguments.

    Args:
        project: the name of the project.
        name: the name of the schedule.
        due: the due time, with a zone.

    Example:
        >>> due_job_id("shop", "daily", datetime(2026, 11, 30, 6, tzinfo=UTC))
        'daily-20261130t060000z-23366d7daf33'
    """
    due_text = due_label(due)
    # Two names can become the same text in an id, so the id has a digest of the names too.
    identity = f"{project}\0{name}\0{due_text}"
    digest = hashlib.sha256(identity.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    text = re.sub(r"[^a-z0-9-]+", "-", name.lower())[:_MAX_NAME_IN_ID].strip("-")
    if not text[:1].isalpha():
        text = f"s{text}"
    return f"{text}-{due_text}-{digest}"


@contextmanager
def _uncertain() -> Iterator[None]:
    """Mark errors of a write after which the service must be read again.

    - The service answered success with something that kfgcp cannot read.
    - It refused because of too many requests. `converge` then waits again for a moment without a
      due time.
    - It refused the second try because of the state that the first one led to.
    """
    try:
        yield
    except BadAnswer as error:
        raise error.amended(unknown=True) from None
    except Refused as refused:
        is_repeated = refused.retried and refused.reason == _WRONG_STATE
        if refused.passing or is_repeated:
            raise refused.amended(unknown=True) from None
        raise


def _may_be_ours(item: object) -> bool:
    """Return whether an item that cannot be read may be a schedule of kfgcp."""
    return SCHEDULE in str(item)


def _handled_until(answer: ScheduleAnswer) -> datetime:
    """Return the time until which a paused schedule has handled its due times.

    A resume without catch-up skips the due times before it (ResumeScheduleRequest in
    schedule_service.proto).
    """
    last_run = answer.get("lastScheduledRunResponse") or {}
    times = [answer.get("startTime") or answer["createTime"], last_run.get("scheduledRunTime")]
    if not answer.get("catchUp"):
        times.append(answer.get("lastResumeTime"))
    return max(_moment(text) for text in times if text)


def _machine_time() -> datetime:
    return datetime.now(UTC)


def _path(ref: str) -> str:
    return f"v1/{quote(ref, safe='/')}"


def _moment(text: str) -> datetime:
    """Return a time of the service."""
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _optional_moment(text: str | None) -> datetime | None:
    return _moment(text) if text else None


def _format_time(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
