"""Schedules of a stand-in: `/v1/projects/P/locations/L/schedules`.

It answers the methods of ScheduleService in aiplatform_v1. A schedule starts a job only when a test
calls `fire` or `fire_due`.

`nextRunTime` is the due time that the schedule has not handled yet. When it is in the past, "the
runs are being started behind schedule" (Schedule.next_run_time in schedule.proto).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from kfgcp.errors import UsageError
from kfgcp.spec.json_values import JsonObject
from kfgcp.testing import protos
from kfgcp.testing.cron import Cron
from kfgcp.testing.filters import (
    EQUALITY,
    ORDER,
    WILDCARD,
    Field,
    build_leaf_compiler,
    compile_list_filter,
    read_key,
)
from kfgcp.testing.google import (
    GoogleError,
    JsonBody,
    SortKey,
    camel_case,
    check_fields,
    check_query,
    format_time,
    invalid,
    json_body,
    list_page,
    micros,
    not_found,
    page_body,
    stable_number,
    wrong_state,
)
from kfgcp.testing.jobs import Job, Jobs
from kfgcp.testing.jobs_from_runs import Place
from kfgcp.testing.operations import Operations
from kfgcp.testing.rules import check_display_name, check_job_id
from kfgcp.testing.server import Request, Response, Route

# ListSchedulesRequest of aiplatform_v1: 100 by default. Nothing confirms that 100 is the limit too.
MAX_PAGE: Final = 100
_CREATE_REQUEST: Final = "createPipelineJobRequest"
# The fields of Schedule in aiplatform_v1 that a client may set.
_CHANGEABLE: Final = (
    "displayName",
    "cron",
    "startTime",
    "endTime",
    "maxRunCount",
    "maxConcurrentRunCount",
    "maxConcurrentActiveRunCount",
    "allowQueueing",
    _CREATE_REQUEST,
)
_LIST_QUERY: Final = ("filter", "orderBy", "pageSize", "pageToken")
_ORDERS: Final = ("createTime", "startTime", "endTime", "nextRunTime", "displayName", "updateTime")

Schedule = JsonBody
"""A Schedule of aiplatform_v1 as JSON."""


@dataclass(frozen=True, slots=True)
class ScheduledRun:
    """A job that a schedule started for a due time.

    Attributes:
        schedule: the resource name of the schedule.
        due: the due time.
        job: the id of the job.
    """

    schedule: str
    due: datetime
    job: str


class Schedules:
    """The schedules of a location.

    Attributes:
        clock: returns the time in seconds since 1970. A test can set its own.
    """

    def __init__(self, place: Place, operations: Operations, jobs: Jobs) -> None:
        self.clock: Callable[[], float] = time.time
        self._place = place
        self._operations = operations
        self._jobs = jobs
        self._schedules: dict[str, Schedule] = {}
        # The id of a paused schedule -> the first due time that it has not handled.
        self._paused_at_due: dict[str, str] = {}
        self._count = 0
        self._lock = threading.RLock()

    def routes(self, base: str) -> list[Route]:
        """Return the routes of the service. base: the path of a location."""
        collection = base + "/schedules"
        schedule = base + "/schedules/{schedule}"
        return [
            Route("POST", collection, self.create),
            Route("GET", collection, self.list_all, _LIST_QUERY),
            Route("GET", schedule, self.get),
            Route("PATCH", schedule, self.patch, ("updateMask",)),
            Route("DELETE", schedule, self.delete),
            Route("POST", schedule + ":pause", self.pause),
            Route("POST", schedule + ":resume", self.resume),
        ]

    # -- methods of the service

    def create(self, request: Request, **_: str) -> Response:
        """Answer CreateSchedule."""
        sent_schedule = protos.read_message("Schedule", json_body(request), "schedule")
        checked_schedule = self._check_schedule(sent_schedule)
        with self._lock:
            self._count += 1
            schedule_id = str(stable_number("schedule", self._place.parent, self._count))
            now = format_time(self.clock())
            schedule: Schedule = {
                "name": self._name(schedule_id),
                "startTime": now,
                **checked_schedule,
                # An int64 is text in the JSON mapping of Protocol Buffers.
                "startedRunCount": "0",
                "state": "ACTIVE",
                "createTime": now,
                "updateTime": now,
            }
            # The service starts the runs of all due times since a start time in the past
            # (sky-uk/kfp-operator#580).
            _set_next_run(schedule, _read_time(schedule["startTime"]))
            self._schedules[schedule_id] = schedule
            return Response(body=schedule)

    def get(self, request: Request, schedule: str, **_: str) -> Response:
        """Answer GetSchedule."""
        return Response(body=self._look_up(schedule))

    def list_all(self, request: Request, **_: str) -> Response:
        """Answer ListSchedules."""
        query = check_query(request, _LIST_QUERY)
        filter_text = query.get("filter", "")
        order_text = query.get("orderBy", "")
        fits = compile_list_filter(filter_text, build_leaf_compiler(_FIELDS))
        sort_key = _build_sort_key(order_text)
        with self._lock:
            schedules = [schedule for schedule in self._schedules.values() if fits(schedule)]
            schedules.sort(key=sort_key)
        page, token = list_page(
            schedules,
            sort_key,
            size=query.get("pageSize"),
            token=query.get("pageToken"),
            scope=f"{filter_text}\n{order_text}",
            default=MAX_PAGE,
            maximum=MAX_PAGE,
        )
        return Response(body=page_body("schedules", page, token))

    def patch(self, request: Request, schedule: str, **_: str) -> Response:
        """Answer UpdateSchedule."""
        stored_schedule = self._look_up(schedule)
        query = check_query(request, ("updateMask",))
        mask = protos.parse_mask("Schedule", query.get("updateMask", ""), "update_mask")
        body = protos.read_message("Schedule", json_body(request), "schedule")
        if not mask:
            raise invalid("update_mask is required.", "update_mask")
        for path in mask:
            if path[0] not in _CHANGEABLE:
                raise invalid(f"{path[0]} cannot be changed.", "update_mask")
        for path in mask:
            # UpdateScheduleRequest of aiplatform_v1: "The non-empty fields cannot be unset." In
            # Protocol Buffers, false is not different from an empty field.
            stored_value = stored_schedule.get(path[0])
            if stored_value not in (None, False, True) and not body.get(path[0]):
                raise invalid(f"{path[0]} cannot be unset.", "update_mask")
        updated = {name: value for name, value in stored_schedule.items() if (name,) not in mask}
        updated |= protos.apply_mask(body, mask)
        updated = self._check_schedule(updated)
        now = self.clock()
        updated["updateTime"] = format_time(now)
        # ScheduleService.UpdateSchedule: new runs are scheduled from the next due time after the
        # update, and all runs before it that have not started are skipped.
        after = max(_utc(now), _read_time(updated["startTime"]))
        _set_next_run(updated, after)
        with self._lock:
            next_due = _next_due(updated, after)
            if schedule in self._paused_at_due and next_due is not None:
                self._paused_at_due[schedule] = next_due
            stored_schedule.clear()
            stored_schedule.update(updated)
            return Response(body=stored_schedule)

    def delete(self, request: Request, schedule: str, **_: str) -> Response:
        """Answer DeleteSchedule."""
        self._look_up(schedule)
        with self._lock:
            self._schedules.pop(schedule, None)
            self._paused_at_due.pop(schedule, None)
        return self._operations.start("DeleteOperationMetadata")

    def pause(self, request: Request, schedule: str, **_: str) -> Response:
        """Answer PauseSchedule."""
        stored_schedule = self._look_up_uncompleted(schedule)
        with self._lock:
            stored_schedule["state"] = "PAUSED"
            stored_schedule["lastPauseTime"] = format_time(self.clock())
            due = stored_schedule.pop("nextRunTime", None)
            if due is not None:
                self._paused_at_due[schedule] = due
        return Response()

    def resume(self, request: Request, schedule: str, **_: str) -> Response:
        """Answer ResumeSchedule.

        Without `catchUp`, runs are scheduled from the next due time on. With it, all missed runs
        are scheduled first.
        """
        body = json_body(request)
        check_fields(body, ("catchUp", "name"))
        stored_schedule = self._look_up_uncompleted(schedule)
        if stored_schedule["state"] != "PAUSED":
            raise wrong_state(f"Only a paused schedule can be resumed: {self._name(schedule)}.")
        catch_up = bool(body.get("catchUp", body.get("catch_up", False)))
        with self._lock:
            now = self.clock()
            stored_schedule["state"] = "ACTIVE"
            stored_schedule["lastResumeTime"] = format_time(now)
            stored_schedule["catchUp"] = catch_up
            _set_next_run(stored_schedule, max(_utc(now), _read_time(stored_schedule["startTime"])))
            missed = self._paused_at_due.pop(schedule, None)
            if catch_up and missed is not None:
                stored_schedule["nextRunTime"] = missed
        return Response()

    # -- for tests

    def fire(self, schedule: str) -> Job:
        """Start a job of a schedule now.

        Args:
            schedule: the resource name or the id.

        Raises:
            UsageError: the schedule does not exist, is paused or completed, or has too many running
                jobs, or the service would refuse the job.
        """
        stored_schedule = self._schedules.get(schedule.rpartition("/")[2])
        if stored_schedule is None:
            raise UsageError(
                f"There is no schedule {schedule}.",
                hint="Use the resource name or the id of a schedule that a client has created.",
            )
        if stored_schedule["state"] != "ACTIVE":
            raise UsageError(
                f"The schedule {schedule} cannot start a job, because its state is"
                f" {stored_schedule['state']}.",
                hint="Only a schedule in the state ACTIVE starts jobs.",
            )
        if self._is_full(stored_schedule):
            max_count = stored_schedule["maxConcurrentActiveRunCount"]
            raise UsageError(
                f"The schedule has {max_count} active runs; at most {max_count} are allowed.",
                hint="Wait until a run ends, or cancel it.",
            )
        with self._lock:
            scheduled_time = stored_schedule.get("nextRunTime") or format_time(self.clock())
            return self._start_job(stored_schedule, scheduled_time)

    def fire_due(self, until: datetime) -> list[ScheduledRun]:
        """Start the jobs of all due times up to a time, as the service does.

        A schedule with too many active jobs waits when it allows queueing, and otherwise skips the
        due time (Schedule.allow_queueing in schedule.proto).

        Args:
            until: the time, with a zone. A due time at it is included.

        Returns:
            The jobs, in the order of their start.

        Raises:
            UsageError: the service would refuse a job.
        """
        runs: list[ScheduledRun] = []
        with self._lock:
            for schedule in list(self._schedules.values()):
                runs += self._fire_due_times(schedule, until)
        return runs

    # -- helpers

    def _fire_due_times(self, schedule: Schedule, until: datetime) -> list[ScheduledRun]:
        runs: list[ScheduledRun] = []
        end = schedule.get("endTime")
        while "nextRunTime" in schedule:
            due_text = schedule["nextRunTime"]
            due = _read_time(due_text)
            if due > until:
                break
            if end and due >= _read_time(end):
                _complete(schedule)
                break
            if not self._is_full(schedule):
                job = self._start_job(schedule, due_text)
                runs.append(ScheduledRun(schedule["name"], due, job.id))
            elif schedule.get("allowQueueing"):
                break
            if schedule["state"] == "ACTIVE":
                _set_next_run(schedule, due)
        return runs

    def _start_job(self, schedule: Schedule, scheduled_time: str) -> Job:
        """Start a job of a schedule, and record the job in the schedule.

        scheduled_time: the due time of the job.
        """
        count = int(schedule["startedRunCount"]) + 1
        schedule_id = schedule["name"].rpartition("/")[2]
        job_body = schedule[_CREATE_REQUEST]["pipelineJob"]
        try:
            job = self._jobs.submit(job_body, f"schedule-{schedule_id}-{count}", schedule["name"])
        except GoogleError as error:
            raise UsageError(
                f"The service refuses the job of the schedule: {error.message}"
            ) from None
        # Schedule.RunResponse of aiplatform_v1.
        schedule["lastScheduledRunResponse"] = {
            "scheduledRunTime": scheduled_time,
            "runResponse": f"{self._place.parent}/pipelineJobs/{job.id}",
        }
        schedule["startedRunCount"] = str(count)
        schedule["updateTime"] = format_time(self.clock())
        max_count = int(schedule.get("maxRunCount") or 0)
        if max_count and count >= max_count:
            _complete(schedule)
        return job

    def _is_full(self, schedule: Schedule) -> bool:
        """Return whether a schedule has reached its limit of active jobs."""
        max_count = int(schedule.get("maxConcurrentActiveRunCount") or 0)
        if not max_count:
            return False
        active_count = 0
        for job in self._jobs.all():
            if job.schedule == schedule["name"] and not job.run().state.final:
                active_count += 1
        return active_count >= max_count

    def _check_schedule(self, schedule: Schedule) -> Schedule:
        """Check a schedule and its job, and return the schedule with the checked job.

        Raise 400 for a schedule that the service would refuse.
        """
        check_display_name(schedule.get("displayName", ""), "schedule.display_name")
        if not schedule.get("displayName"):
            raise invalid("display_name is required.", "schedule.display_name")
        _check_cron(schedule)
        _check_counts(schedule)
        _check_end(schedule)
        create_request = schedule.get(_CREATE_REQUEST)
        field = "schedule.create_pipeline_job_request"
        if not create_request:
            raise invalid("create_pipeline_job_request is required.", field)
        parent = create_request.get("parent", "").split("/")
        if len(parent) != 4 or parent[3] != self._place.location:
            raise invalid(
                "parent must be projects/PROJECT/locations/LOCATION of the schedule.",
                f"{field}.parent",
            )
        if create_request.get("pipelineJobId"):
            check_job_id(create_request["pipelineJobId"])
        job = self._jobs.check(create_request.get("pipelineJob") or {})
        return schedule | {_CREATE_REQUEST: {**create_request, "pipelineJob": job}}

    def _look_up(self, schedule_id: str) -> Schedule:
        if schedule_id not in self._schedules:
            raise not_found(self._name(schedule_id))
        return self._schedules[schedule_id]

    def _look_up_uncompleted(self, schedule_id: str) -> Schedule:
        schedule = self._look_up(schedule_id)
        if schedule["state"] == "COMPLETED":
            raise wrong_state(f"The schedule {self._name(schedule_id)} is completed.")
        return schedule

    def _name(self, schedule_id: str) -> str:
        return f"{self._place.parent}/schedules/{schedule_id}"


def _check_cron(schedule: Schedule) -> None:
    try:
        Cron.parse(schedule.get("cron", ""))
    except ValueError as error:
        raise invalid(f"Invalid cron: {error}.", "schedule.cron") from None


def _check_counts(schedule: Schedule) -> None:
    # max_concurrent_run_count of aiplatform_v1 is required, max_run_count is optional.
    if int(schedule.get("maxConcurrentRunCount") or 0) < 1:
        raise invalid(
            "max_concurrent_run_count must be at least 1.", "schedule.max_concurrent_run_count"
        )
    if int(schedule.get("maxRunCount") or 1) < 1:
        raise invalid("max_run_count must be at least 1.", "schedule.max_run_count")


def _check_end(schedule: Schedule) -> None:
    start = schedule.get("startTime")
    end = schedule.get("endTime")
    if start and end and micros(end) <= micros(start):
        raise invalid("end_time must be after start_time.", "schedule.end_time")


def _set_next_run(schedule: Schedule, after: datetime) -> None:
    """Set `nextRunTime` of a schedule. Remove it if the schedule is not active.

    after: the next due time after this time.
    """
    schedule.pop("nextRunTime", None)
    due = _next_due(schedule, after)
    if schedule["state"] == "ACTIVE" and due is not None:
        schedule["nextRunTime"] = due


def _next_due(schedule: Schedule, after: datetime) -> str | None:
    """Return the first due time of a schedule after a time, None when there is none."""
    due = Cron.parse(schedule["cron"]).after(after)
    return None if due is None else format_time(due.timestamp())


def _complete(schedule: Schedule) -> None:
    schedule["state"] = "COMPLETED"
    schedule.pop("nextRunTime", None)


def _read_time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _utc(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _build_sort_key(order: str) -> Callable[[Schedule], SortKey]:
    """Return the sort key for an `orderBy`. The default is the newest schedule first."""
    name, _, direction = (order or "create_time desc").strip().partition(" ")
    name = camel_case(name)
    direction = direction.strip().lower()
    if name not in _ORDERS or direction not in ("", "asc", "desc"):
        raise invalid(
            f'Invalid order_by: "{order}" is not one of {", ".join(_ORDERS)} [desc].', "order_by"
        )
    # The resource name makes the keys of all schedules different.
    if name == "displayName":
        return lambda schedule: (schedule["displayName"], schedule["name"])
    sign = -1 if direction == "desc" else 1
    return lambda schedule: (sign * micros(schedule.get(name)), schedule["name"])


def _read_create_request(schedule: JsonObject) -> str:
    """Return a text that fits the filter `create_pipeline_job_request:*`.

    Every schedule has a create request, so every schedule fits the filter.
    """
    return "*"


# The fields in the comments of ListSchedulesRequest in aiplatform_v1.
_FIELDS: Final[Mapping[str, Field[JsonObject]]] = {
    "display_name": Field(read_key("displayName"), WILDCARD),
    "state": Field(read_key("state"), EQUALITY, choices=("ACTIVE", "PAUSED", "COMPLETED")),
    "create_pipeline_job_request": Field(_read_create_request, (":",)),
    "create_time": Field(read_key("createTime"), ORDER, "time"),
    "start_time": Field(read_key("startTime"), ORDER, "time"),
    "end_time": Field(read_key("endTime"), ORDER, "time"),
    "next_run_time": Field(read_key("nextRunTime"), ORDER, "time"),
}
