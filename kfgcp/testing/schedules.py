"""Schedules of a stand-in: `/v1/projects/P/locations/L/schedules`. They start jobs when a test says
so: `fire`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from kfgcp.errors import UsageError
from kfgcp.testing import protos
from kfgcp.testing.cron import Cron
from kfgcp.testing.filters import (
    EQUALITY,
    ORDER,
    WILDCARD,
    Field,
    FilterError,
    build_leaf,
    compile_filter,
)
from kfgcp.testing.google import (
    GoogleError,
    camel_case,
    check_query,
    format_time,
    invalid,
    json_body,
    list_page,
    micros,
    not_found,
    only_fields,
    stable_number,
    wrong_state,
)
from kfgcp.testing.jobs import Job, Jobs
from kfgcp.testing.jobs_from_runs import Place
from kfgcp.testing.operations import Operations
from kfgcp.testing.rules import check_display_name, check_job_id
from kfgcp.testing.server import Request, Response, Route

_REQUEST: Final = "createPipelineJobRequest"
_CHANGEABLE: Final = (
    *("displayName", "cron", "startTime", "endTime", "maxRunCount", "maxConcurrentRunCount"),
    *("maxConcurrentActiveRunCount", "allowQueueing", _REQUEST),
)
_ORDERS: Final = ("createTime", "startTime", "endTime", "nextRunTime", "displayName", "updateTime")

Schedule = dict[str, Any]


class Schedules:
    """The schedules of a location."""

    def __init__(self, place: Place, operations: Operations, jobs: Jobs) -> None:
        self._place = place
        self._operations = operations
        self._jobs = jobs
        self._schedules: dict[str, Schedule] = {}
        self._count = 0
        self._lock = threading.RLock()

    def routes(self, base: str) -> list[Route]:
        many, one = base + "/schedules", base + "/schedules/{schedule}"
        return [
            Route("POST", many, self.create),
            Route("GET", many, self.list_all, ("filter", "orderBy", "pageSize", "pageToken")),
            Route("GET", one, self.get),
            Route("PATCH", one, self.patch, ("updateMask",)),
            Route("DELETE", one, self.delete),
            Route("POST", one + ":pause", self.pause),
            Route("POST", one + ":resume", self.resume),
        ]

    # -- methods of the service

    def create(self, request: Request, **_: str) -> Response:
        schedule = self._checked(protos.read("Schedule", json_body(request), "schedule"))
        with self._lock:
            self._count += 1
            number = str(stable_number("schedule", self._place.parent, self._count))
            now = format_time(time.time())
            made: Schedule = {
                "name": self._name(number),
                "startTime": now,
                **schedule,
                "startedRunCount": "0",
                "state": "ACTIVE",
                "createTime": now,
                "updateTime": now,
            }
            _plan(made)
            self._schedules[number] = made
            return Response(body=made)

    def get(self, request: Request, schedule: str, **_: str) -> Response:
        return Response(body=self._known(schedule))

    def list_all(self, request: Request, **_: str) -> Response:
        query = check_query(request, ("filter", "orderBy", "pageSize", "pageToken"))
        try:
            wanted = compile_filter(query.get("filter", ""), build_leaf(_FIELDS))
        except FilterError as error:
            raise invalid(f"Invalid filter: {error}.", "filter") from None
        key = _order(query.get("orderBy", ""))
        with self._lock:
            found = sorted((item for item in self._schedules.values() if wanted(item)), key=key)
        items, token = list_page(
            found,
            key,
            size=query.get("pageSize"),
            token=query.get("pageToken"),
            scope=f"{query.get('filter', '')}\n{query.get('orderBy', '')}",
            default=100,
            maximum=100,
        )
        return Response(body={"schedules": items} | ({"nextPageToken": token} if token else {}))

    def patch(self, request: Request, schedule: str, **_: str) -> Response:
        known = self._known(schedule)
        mask = protos.mask_paths(
            "Schedule", check_query(request, ("updateMask",)).get("updateMask", ""), "update_mask"
        )
        body = protos.read("Schedule", json_body(request), "schedule")
        if not mask:
            raise invalid("update_mask is required.", "update_mask")
        for path in mask:
            if path[0] not in _CHANGEABLE:
                raise invalid(f"{path[0]} cannot be changed.", "update_mask")
        changed = {name: value for name, value in known.items() if (name,) not in mask}
        changed |= protos.masked(body, mask)
        changed = self._checked(changed) | {"updateTime": format_time(time.time())}
        _plan(changed)
        with self._lock:
            known.clear()
            known.update(changed)
            return Response(body=known)

    def delete(self, request: Request, schedule: str, **_: str) -> Response:
        self._known(schedule)
        with self._lock:
            self._schedules.pop(schedule, None)
        return self._operations.start("DeleteOperationMetadata")

    def pause(self, request: Request, schedule: str, **_: str) -> Response:
        known = self._unfinished(schedule)
        with self._lock:
            known |= {"state": "PAUSED", "lastPauseTime": format_time(time.time())}
            known.pop("nextRunTime", None)
        return Response()

    def resume(self, request: Request, schedule: str, **_: str) -> Response:
        body = json_body(request)
        only_fields(body, ("catchUp", "name"))
        known = self._unfinished(schedule)
        with self._lock:
            known |= {"state": "ACTIVE", "lastResumeTime": format_time(time.time())}
            known["catchUp"] = bool(body.get("catchUp", body.get("catch_up", False)))
            _plan(known)
        return Response()

    # -- for tests

    def fire(self, schedule: str) -> Job:
        """Starts a job of the schedule now. schedule: its name or id.

        Raises:
            UsageError: it is paused or done, there is none, or its job is refused.
        """
        known = self._schedules.get(schedule.rpartition("/")[2])
        if known is None or known["state"] != "ACTIVE":
            state = "not there" if known is None else known["state"]
            raise UsageError(f"The schedule {schedule} is {state}, it starts nothing.")
        self._check_active(known)
        with self._lock:
            count = int(known["startedRunCount"]) + 1
            at = known.get("nextRunTime") or format_time(time.time())
            job_id = f"schedule-{known['name'].rpartition('/')[2]}-{count}"
            try:
                job = self._jobs.submit(known[_REQUEST]["pipelineJob"], job_id, known["name"])
            except GoogleError as error:
                raise UsageError(f"The schedule's job is refused: {error.message}") from None
            known |= {"startedRunCount": str(count), "updateTime": format_time(time.time())}
            response = {
                "scheduledRunTime": at,
                "runResponse": f"{self._place.parent}/pipelineJobs/{job.id}",
            }
            known["lastScheduledRunResponse"] = response
            if count >= int(known.get("maxRunCount") or count + 1):
                known["state"] = "COMPLETED"
                known.pop("nextRunTime", None)
        return job

    # -- helpers

    def _check_active(self, known: Schedule) -> None:
        most = int(known.get("maxConcurrentActiveRunCount") or 0)
        active = [
            job
            for job in self._jobs.all()
            if job.schedule == known["name"] and not job.run().state.final
        ]
        if most and len(active) >= most:
            raise UsageError(
                f"{len(active)} runs of the schedule are under way, at most {most} may be."
            )

    def _checked(self, schedule: Schedule) -> Schedule:
        check_display_name(schedule.get("displayName", ""), "schedule.display_name")
        if not schedule.get("displayName"):
            raise invalid("display_name is required.", "schedule.display_name")
        try:
            Cron.parse(schedule.get("cron", ""))
        except ValueError as error:
            raise invalid(f"Invalid cron: {error}.", "schedule.cron") from None
        if int(schedule.get("maxConcurrentRunCount") or 0) < 1:
            raise invalid(
                "max_concurrent_run_count must be at least 1.", "schedule.max_concurrent_run_count"
            )
        if int(schedule.get("maxRunCount") or 1) < 1:
            raise invalid("max_run_count must be at least 1.", "schedule.max_run_count")
        start, end = schedule.get("startTime"), schedule.get("endTime")
        if start and end and micros(end) <= micros(start):
            raise invalid("end_time must be after start_time.", "schedule.end_time")
        wanted = schedule.get(_REQUEST)
        field = "schedule.create_pipeline_job_request"
        if not wanted:
            raise invalid("create_pipeline_job_request is required.", field)
        parent = wanted.get("parent", "").split("/")
        if len(parent) != 4 or parent[3] != self._place.location:
            raise invalid(
                "parent must be projects/PROJECT/locations/LOCATION of the schedule.",
                f"{field}.parent",
            )
        if wanted.get("pipelineJobId"):
            check_job_id(wanted["pipelineJobId"])
        job = self._jobs.check(wanted.get("pipelineJob") or {})
        return schedule | {_REQUEST: {**wanted, "pipelineJob": job}}

    def _known(self, schedule: str) -> Schedule:
        if schedule not in self._schedules:
            raise not_found(self._name(schedule))
        return self._schedules[schedule]

    def _unfinished(self, schedule: str) -> Schedule:
        known = self._known(schedule)
        if known["state"] == "COMPLETED":
            raise wrong_state(f"The schedule {self._name(schedule)} is completed.")
        return known

    def _name(self, number: str) -> str:
        return f"{self._place.parent}/schedules/{number}"


def _plan(schedule: Schedule) -> None:
    """Sets when it is due next; a paused one is not."""
    schedule.pop("nextRunTime", None)
    if schedule["state"] != "ACTIVE":
        return
    earliest = max(datetime.now(UTC), datetime.fromisoformat(schedule["startTime"]))
    due = Cron.parse(schedule["cron"]).after(earliest)
    if due is not None:
        schedule["nextRunTime"] = format_time(due.timestamp())


def _plain(name: str) -> Callable[[Mapping[str, Any]], Any]:
    return lambda schedule: schedule.get(name)


_FIELDS: Final[Mapping[str, Field[Mapping[str, Any]]]] = {
    "display_name": Field(_plain("displayName"), WILDCARD),
    "state": Field(_plain("state"), EQUALITY, choices=("ACTIVE", "PAUSED", "COMPLETED")),
    "create_pipeline_job_request": Field(lambda schedule: "*", (":",)),
    **{
        name: Field(_plain(camel_case(name)), ORDER, "time")
        for name in ("create_time", "start_time", "end_time", "next_run_time")
    },
}


def _order(text: str) -> Callable[[Schedule], tuple[Any, ...]]:
    """The sort key of an `orderBy`, newest first without one."""
    name, _, direction = (text or "create_time desc").strip().partition(" ")
    name = camel_case(name)
    if name not in _ORDERS or direction.strip().lower() not in ("", "asc", "desc"):
        raise invalid(
            f'Invalid order_by: "{text}" is not one of {", ".join(_ORDERS)} [desc].', "order_by"
        )
    sign = -1 if direction.strip().lower() == "desc" else 1
    if name == "displayName":
        return lambda schedule: (schedule["displayName"], schedule["name"])
    return lambda schedule: (sign * micros(schedule.get(name)), schedule["name"])
