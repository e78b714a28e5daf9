"""Pipeline jobs of a stand-in: `/v1/projects/P/locations/L/pipelineJobs`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from kfgcp.errors import KfgcpError
from kfgcp.model import Run
from kfgcp.spec import graph
from kfgcp.testing import protos
from kfgcp.testing.engine_runs import Execution
from kfgcp.testing.google import (
    GoogleError,
    check_query,
    format_time,
    invalid,
    json_body,
    not_found,
    only_fields,
    stable_number,
    wrong_state,
)
from kfgcp.testing.job_lists import listed
from kfgcp.testing.jobs_from_runs import (
    JOB_STATES,
    Attempt,
    Place,
    custom_job_id,
    job_error,
    list_attempts,
    task_details,
)
from kfgcp.testing.operations import Operations
from kfgcp.testing.rules import Submission, Surroundings, check_job, check_job_id
from kfgcp.testing.server import Request, Response, Route

MAX_BATCH: Final = 32
BILLING_LABEL: Final = "vertex-ai-pipelines-run-billing-id"
_NOT_IN_LISTS: Final = ("pipelineSpec", "jobDetail")


@dataclass(eq=False, slots=True)
class Job:
    """A pipeline job. body: what the client sent, read. number: its place in the order of
    creation."""

    id: str
    number: int
    body: Mapping[str, Any]
    submission: Submission
    created: float
    execution: Execution
    schedule: str = ""
    ended: Run | None = None  # once the state is final
    labels: Mapping[str, str] | None = None
    view: tuple[Run, dict[str, Any]] | None = None  # of the final run, without tasks

    def run(self) -> Run:
        """As it is now; kept once it has ended."""
        if self.ended is not None:
            return self.ended
        run = self.execution.run()
        if run.state.final:
            self.ended = run
        return run


class Jobs:
    """The jobs of a location.

    Args:
        place: where they are.
        operations: where deletes go.
        around: what a job may use.
        start: gives the execution of a job, from the submission, its id and its body.
    """

    def __init__(
        self,
        place: Place,
        operations: Operations,
        around: Surroundings,
        start: Callable[[Submission, str, Mapping[str, Any]], Execution],
    ) -> None:
        self._place = place
        self._operations = operations
        self._around = around
        self._start = start
        self._jobs: dict[str, Job] = {}
        self._reserved: set[str] = set()
        self._count = 0
        self._attempts: dict[str, Attempt] = {}
        self._lock = threading.RLock()

    def routes(self, base: str) -> list[Route]:
        many, one = base + "/pipelineJobs", base + "/pipelineJobs/{job}"
        listing = ("filter", "orderBy", "pageSize", "pageToken", "readMask")
        return [
            Route("POST", many, self.create, ("pipelineJobId",)),
            Route("GET", many, self.list_all, listing),
            Route("GET", one, self.get),
            Route("DELETE", one, self.delete),
            Route("POST", one + ":cancel", self.cancel),
            Route("POST", many + ":batchDelete", self.batch_delete),
            Route("POST", many + ":batchCancel", self.batch_cancel),
        ]

    # -- methods of the service

    def create(self, request: Request, **_: str) -> Response:
        job_id = check_query(request, ("pipelineJobId",)).get("pipelineJobId", "")
        job = self.submit(json_body(request), job_id)
        return Response(body=self._whole(job))

    def get(self, request: Request, job: str, **_: str) -> Response:
        return Response(body=self._whole(self._known(job)))

    def list_all(self, request: Request, **_: str) -> Response:
        query = check_query(request, ("filter", "orderBy", "pageSize", "pageToken", "readMask"))
        mask = protos.mask_paths("PipelineJob", query.get("readMask", ""), "read_mask")
        items, token = listed(
            [(self._view(job, job.run()), job.number) for job in self.all()], query
        )
        jobs = [self._in_list(view, mask) for view in items]
        return Response(body={"pipelineJobs": jobs} | ({"nextPageToken": token} if token else {}))

    def delete(self, request: Request, job: str, **_: str) -> Response:
        self._delete([self._known(job)])
        return self._operations.start("DeleteOperationMetadata")

    def cancel(self, request: Request, job: str, **_: str) -> Response:
        self._cancel([self._known(job)])
        return Response()

    def batch_delete(self, request: Request, **_: str) -> Response:
        jobs = self._batch(request)
        views = [self._whole(job) for job in jobs]
        self._delete(jobs)
        kind = "BatchDeletePipelineJobsResponse"
        return self._operations.start("DeleteOperationMetadata", {"pipelineJobs": views}, kind)

    def batch_cancel(self, request: Request, **_: str) -> Response:
        jobs = self._batch(request)
        self._cancel(jobs)
        views = [self._whole(job) for job in jobs]
        kind = "BatchCancelPipelineJobsResponse"
        return self._operations.start(
            "BatchCancelPipelineJobsOperationMetadata", {"pipelineJobs": views}, kind
        )

    # -- for the other parts of the stand-in

    def submit(self, body: Mapping[str, Any], job_id: str = "", schedule: str = "") -> Job:
        """Starts a job, which is refused or made whole."""
        if job_id:
            check_job_id(job_id)
        read = protos.read("PipelineJob", body, "pipeline_job")
        submission = check_job(read, self._around)
        job_id = self._reserve(job_id, submission.spec.name)
        created = int(time.time() * 1000) / 1000  # the engine's times have no more digits
        try:
            execution = self._start(submission, job_id, read)
        except KfgcpError as error:
            raise invalid(f"The stand-in cannot run this pipeline: {error.message}") from None
        finally:
            self._reserved.discard(job_id)
        return self.add(job_id, read, submission, created, execution, schedule)

    def add(
        self,
        job_id: str,
        body: Mapping[str, Any],
        submission: Submission,
        created: float,
        execution: Execution,
        schedule: str = "",
    ) -> Job:
        """Adds a job that is carried out already."""
        with self._lock:
            self._count += 1
            labels = {
                **(body.get("labels") or {}),
                BILLING_LABEL: str(stable_number("billing", job_id)),
            }
            job = Job(
                job_id, self._count, body, submission, created, execution, schedule, labels=labels
            )
            self._jobs[job_id] = job
            return job

    def check(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The body of a job that a schedule is to start, read and checked."""
        read = protos.read("PipelineJob", body, "schedule.create_pipeline_job_request.pipeline_job")
        check_job(read, self._around)
        return read

    def all(self) -> list[Job]:
        """Oldest first."""
        with self._lock:
            return list(self._jobs.values())

    def find(self, job_id: str) -> Job | None:
        return self._jobs.get(job_id)

    def attempt(self, number: str) -> tuple[Job, Attempt] | None:
        """The attempt that a custom job's id stands for."""
        if number not in self._attempts:
            for job in self.all():
                self._note_attempts(job, job.run())
        attempt = self._attempts.get(number)
        found = self._jobs.get(attempt.job) if attempt else None
        return (found, attempt) if found and attempt else None

    def details(self, job: Job) -> list[dict[str, Any]]:
        """The job's taskDetails as they are now."""
        run = job.run()
        self._note_attempts(job, run)
        return task_details(
            job.id, run, graph.build(job.submission.spec.pipeline_spec), self._place
        )

    def contexts(self, job: Job) -> dict[str, dict[str, Any]]:
        """The pipelineContext and the pipelineRunContext of a job."""
        pipeline = job.submission.spec.name
        whole = self._context(pipeline, "system.Pipeline", job.created)
        one = self._context(job.id, "system.PipelineRun", job.created)
        return {
            "pipelineContext": whole,
            "pipelineRunContext": one | {"parentContexts": [whole["name"]]},
        }

    # -- helpers

    def _reserve(self, job_id: str, pipeline: str) -> str:
        with self._lock:
            if not job_id:
                job_id = f"{pipeline[:100]}-{time.strftime('%Y%m%d%H%M%S', time.gmtime())}-{self._count + 1}"
            if job_id in self._jobs or job_id in self._reserved:
                raise GoogleError(409, f"The PipelineJob {self._name(job_id)} already exists.")
            self._reserved.add(job_id)
            return job_id

    def _known(self, job_id: str) -> Job:
        job = self._jobs.get(job_id)
        if job is None:
            raise not_found(self._name(job_id))
        return job

    def _batch(self, request: Request) -> list[Job]:
        body = json_body(request)
        only_fields(body, ("names", "parent"))
        names = body.get("names") or []
        if not names or len(names) > MAX_BATCH:
            raise invalid(f"There are {len(names)} names, 1 to {MAX_BATCH} are allowed.", "names")
        return [self._known(name.rpartition("/")[2]) for name in names]

    def _delete(self, jobs: list[Job]) -> None:
        for job in jobs:
            if not job.run().state.final:
                raise wrong_state(
                    f"The PipelineJob {self._name(job.id)} has not ended; cancel it first."
                )
        with self._lock:
            for job in jobs:
                self._jobs.pop(job.id, None)

    def _cancel(self, jobs: list[Job]) -> None:
        for job in jobs:
            if job.run().state.final:
                raise wrong_state(
                    f"The PipelineJob {self._name(job.id)} has ended and cannot be cancelled."
                )
        for job in jobs:
            job.execution.cancel()

    def _note_attempts(self, job: Job, run: Run) -> None:
        for attempt in list_attempts(job.id, run):
            self._attempts[custom_job_id(attempt)] = attempt

    def _name(self, job_id: str) -> str:
        return f"{self._place.parent}/pipelineJobs/{job_id}"

    def _context(self, name: str, schema: str, created: float) -> dict[str, Any]:
        return {
            "name": f"{self._place.metadata_store}/contexts/{name}",
            "displayName": name,
            "createTime": format_time(created),
            "updateTime": format_time(created),
            "schemaTitle": schema,
            "schemaVersion": "0.0.1",
            "metadata": {},
        }

    # -- views

    def _view(self, job: Job, run: Run) -> dict[str, Any]:
        """The job without its details; kept for a run that has ended."""
        if job.view is not None and job.view[0] is run:
            return job.view[1]
        created = format_time(job.created)
        view: dict[str, Any] = {
            "name": self._name(job.id),
            **job.body,
            "createTime": created,
            "updateTime": run.ended_at or run.started_at or created,
            "state": JOB_STATES[run.state],
            "labels": dict(job.labels or {}),
        }
        times = {"startTime": run.started_at, "endTime": run.ended_at, "error": job_error(run)}
        view |= {name: value for name, value in times.items() if value}
        if job.schedule:
            view["scheduleName"] = job.schedule
        if run.state.final:
            job.view = run, view
        return view

    def _whole(self, job: Job) -> dict[str, Any]:
        view = dict(self._view(job, job.run()))
        view["jobDetail"] = {**self.contexts(job), "taskDetails": self.details(job)}
        return view

    def _in_list(self, view: Mapping[str, Any], mask: list[tuple[str, ...]]) -> dict[str, Any]:
        """As lists have it: without spec and details, unless a mask asks for them; of details only
        the contexts."""
        if not mask:
            return {name: value for name, value in view.items() if name not in _NOT_IN_LISTS}
        job = self._known(view["name"].rpartition("/")[2])
        return protos.masked({**view, "jobDetail": self.contexts(job)}, mask)
