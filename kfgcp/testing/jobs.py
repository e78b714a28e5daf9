"""Pipeline jobs of a stand-in: `/v1/projects/P/locations/L/pipelineJobs`.

It answers the methods of PipelineService in aiplatform_v1.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from kfgcp.errors import KfgcpError
from kfgcp.model import Run
from kfgcp.spec import graph
from kfgcp.spec.json_values import JsonObject
from kfgcp.testing import protos
from kfgcp.testing.engine_runs import Execution
from kfgcp.testing.google import (
    GoogleError,
    JsonBody,
    check_fields,
    check_query,
    format_time,
    invalid,
    json_body,
    not_found,
    page_body,
    stable_number,
    wrong_state,
)
from kfgcp.testing.job_lists import select_jobs
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

# BatchDeletePipelineJobsRequest and BatchCancelPipelineJobsRequest of aiplatform_v1: at most 32.
MAX_BATCH: Final = 32
# PipelineJob.labels of aiplatform_v1: the service sets this label on each job. It overrides a value
# of the client.
BILLING_LABEL: Final = "vertex-ai-pipelines-run-billing-id"
# PipelineJob.job_detail of aiplatform_v1 is "not available in the list view". Nothing confirms that
# a list without a mask has no spec either.
_NOT_IN_LISTS: Final = ("pipelineSpec", "jobDetail")
_LIST_QUERY: Final = ("filter", "orderBy", "pageSize", "pageToken", "readMask")


@dataclass(eq=False, slots=True)
class Job:
    """A pipeline job.

    Attributes:
        id: the last part of the resource name.
        number: the place of the job in the order of creation, from 1.
        body: the checked JSON that the client sent.
        submission: the pipeline and its parameters.
        created: the time of creation, in seconds since 1970.
        execution: the execution of the job.
        schedule: the resource name of the schedule that started the job; empty without one.
        labels: the labels of the client, and `BILLING_LABEL`.
        final_run: the run, None until its state is final.
        final_view: the JSON without `jobDetail`, None until the state is final.
    """

    id: str
    number: int
    body: JsonObject
    submission: Submission
    created: float
    execution: Execution
    schedule: str
    labels: JsonObject
    final_run: Run | None = None
    final_view: JsonBody | None = None

    def run(self) -> Run:
        """Return the run of the job as it is now."""
        # A run that has ended does not change any more, so it is kept. Lists read all runs.
        if self.final_run is not None:
            return self.final_run
        run = self.execution.run()
        if run.state.final:
            self.final_run = run
        return run


class Jobs:
    """The pipeline jobs of a location.

    Args:
        place: the location.
        operations: starts the operations of deletes and batches.
        surroundings: the buckets, accounts and artifacts that a job may use.
        start: starts a job from its submission, id and body, and returns its execution.
    """

    def __init__(
        self,
        place: Place,
        operations: Operations,
        surroundings: Surroundings,
        start: Callable[[Submission, str, JsonObject], Execution],
    ) -> None:
        self._place = place
        self._operations = operations
        self._surroundings = surroundings
        self._start = start
        self._jobs: dict[str, Job] = {}
        # The ids of jobs that are being started, so that no second job gets the same id.
        self._reserved: set[str] = set()
        self._count = 0
        self._attempts_by_custom_job: dict[str, Attempt] = {}
        self._lock = threading.RLock()

    def routes(self, base: str) -> list[Route]:
        """Return the routes of the service. base: the path of a location."""
        collection = base + "/pipelineJobs"
        job = base + "/pipelineJobs/{job}"
        return [
            Route("POST", collection, self.create, ("pipelineJobId",)),
            Route("GET", collection, self.list_all, _LIST_QUERY),
            Route("GET", job, self.get),
            Route("DELETE", job, self.delete),
            Route("POST", job + ":cancel", self.cancel),
            Route("POST", collection + ":batchDelete", self.batch_delete),
            Route("POST", collection + ":batchCancel", self.batch_cancel),
        ]

    # -- methods of the service

    def create(self, request: Request, **_: str) -> Response:
        """Answer CreatePipelineJob."""
        query = check_query(request, ("pipelineJobId",))
        job = self.submit(json_body(request), query.get("pipelineJobId", ""))
        return Response(body=self._full_view(job))

    def get(self, request: Request, job: str, **_: str) -> Response:
        """Answer GetPipelineJob."""
        return Response(body=self._full_view(self._look_up(job)))

    def list_all(self, request: Request, **_: str) -> Response:
        """Answer ListPipelineJobs."""
        query = check_query(request, _LIST_QUERY)
        mask = protos.parse_mask("PipelineJob", query.get("readMask", ""), "read_mask")
        numbered_views = [(self._view(job), job.number) for job in self.all()]
        page, token = select_jobs(numbered_views, query)
        views = [self._list_view(view, mask) for view in page]
        return Response(body=page_body("pipelineJobs", views, token))

    def delete(self, request: Request, job: str, **_: str) -> Response:
        """Answer DeletePipelineJob."""
        self._delete([self._look_up(job)])
        return self._operations.start("DeleteOperationMetadata")

    def cancel(self, request: Request, job: str, **_: str) -> Response:
        """Answer CancelPipelineJob."""
        self._cancel([self._look_up(job)])
        return Response()

    def batch_delete(self, request: Request, **_: str) -> Response:
        """Answer BatchDeletePipelineJobs."""
        jobs = self._read_batch(request)
        views = [self._full_view(job) for job in jobs]
        self._delete(jobs)
        return self._operations.start(
            "DeleteOperationMetadata", {"pipelineJobs": views}, "BatchDeletePipelineJobsResponse"
        )

    def batch_cancel(self, request: Request, **_: str) -> Response:
        """Answer BatchCancelPipelineJobs."""
        jobs = self._read_batch(request)
        self._cancel(jobs)
        views = [self._full_view(job) for job in jobs]
        return self._operations.start(
            "BatchCancelPipelineJobsOperationMetadata",
            {"pipelineJobs": views},
            "BatchCancelPipelineJobsResponse",
        )

    # -- for the other parts of the stand-in

    def submit(self, body: JsonObject, job_id: str = "", schedule: str = "") -> Job:
        """Check and start a job.

        Args:
            body: the JSON of the job as the client sent it.
            job_id: the id that the client asks for; empty for a new one.
            schedule: the resource name of the schedule that starts the job; empty without one.

        Raises:
            GoogleError: the service would refuse the job, or the stand-in cannot run it.
        """
        if job_id:
            check_job_id(job_id)
        checked_body = protos.read_message("PipelineJob", body, "pipeline_job")
        submission = check_job(checked_body, self._surroundings)
        job_id = self._reserve(job_id, submission.spec.name)
        # The times of the engine have milliseconds. With more digits here, a job could be created
        # after its run has started.
        created = int(time.time() * 1000) / 1000
        try:
            execution = self._start(submission, job_id, checked_body)
        except KfgcpError as error:
            raise invalid(f"The stand-in cannot run this pipeline: {error.message}") from None
        finally:
            self._reserved.discard(job_id)
        return self.add(job_id, checked_body, submission, created, execution, schedule)

    def add(
        self,
        job_id: str,
        body: JsonObject,
        submission: Submission,
        created: float,
        execution: Execution,
        schedule: str = "",
    ) -> Job:
        """Add a job whose execution has started already."""
        labels = {
            **(body.get("labels") or {}),
            BILLING_LABEL: str(stable_number("billing", job_id)),
        }
        with self._lock:
            self._count += 1
            job = Job(job_id, self._count, body, submission, created, execution, schedule, labels)
            self._jobs[job_id] = job
            return job

    def check(self, body: JsonObject) -> JsonBody:
        """Return the checked body of a job that a schedule will start.

        Raises:
            GoogleError: the service would refuse the job.
        """
        field = "schedule.create_pipeline_job_request.pipeline_job"
        checked_body = protos.read_message("PipelineJob", body, field)
        check_job(checked_body, self._surroundings)
        return checked_body

    def all(self) -> list[Job]:
        """Return all jobs, the oldest first."""
        with self._lock:
            return list(self._jobs.values())

    def find(self, job_id: str) -> Job | None:
        """Return a job, None when there is none with this id."""
        return self._jobs.get(job_id)

    def find_attempt(self, custom_job: str) -> tuple[Job, Attempt] | None:
        """Return the pipeline job and the attempt of a custom job, None if it does not exist.

        custom_job: the id of the custom job.
        """
        if custom_job not in self._attempts_by_custom_job:
            for job in self.all():
                self._record_attempts(job, job.run())
        attempt = self._attempts_by_custom_job.get(custom_job)
        if attempt is None:
            return None
        # The pipeline job may have been deleted since its attempts were recorded.
        pipeline_job = self._jobs.get(attempt.job)
        if pipeline_job is None:
            return None
        return pipeline_job, attempt

    def details(self, job: Job) -> list[JsonBody]:
        """Return the taskDetails of a job as they are now."""
        run = job.run()
        self._record_attempts(job, run)
        pipeline = graph.build(job.submission.spec.pipeline_spec)
        return task_details(job.id, run, pipeline, self._place)

    def contexts(self, job: Job) -> dict[str, JsonBody]:
        """Return the pipelineContext and the pipelineRunContext of a job."""
        pipeline_name = job.submission.spec.name
        pipeline_context = self._context(pipeline_name, "system.Pipeline", job.created)
        run_context = self._context(job.id, "system.PipelineRun", job.created)
        run_context["parentContexts"] = [pipeline_context["name"]]
        return {"pipelineContext": pipeline_context, "pipelineRunContext": run_context}

    # -- helpers

    def _reserve(self, job_id: str, pipeline: str) -> str:
        """Reserve and return the id of a new job, or raise 409 if a job has this id.

        If `job_id` is empty, reserve an id of the form PIPELINE-TIME-NUMBER.
        """
        with self._lock:
            if not job_id:
                # The number makes the ids of two jobs of the same second different. An id has at
                # most 128 characters, so a long name of a pipeline is cut.
                created = time.strftime("%Y%m%d%H%M%S", time.gmtime())
                job_id = f"{pipeline[:100]}-{created}-{self._count + 1}"
            if job_id in self._jobs or job_id in self._reserved:
                raise GoogleError(409, f"The PipelineJob {self._name(job_id)} already exists.")
            self._reserved.add(job_id)
            return job_id

    def _look_up(self, job_id: str) -> Job:
        """Return a job, or raise 404."""
        job = self._jobs.get(job_id)
        if job is None:
            raise not_found(self._name(job_id))
        return job

    def _read_batch(self, request: Request) -> list[Job]:
        """Return the jobs that a batch request names."""
        body = json_body(request)
        check_fields(body, ("names", "parent"))
        names = body.get("names") or []
        if not names or len(names) > MAX_BATCH:
            raise invalid(f"There are {len(names)} names, 1 to {MAX_BATCH} are allowed.", "names")
        return [self._look_up(name.rpartition("/")[2]) for name in names]

    def _delete(self, jobs: Sequence[Job]) -> None:
        # All jobs are checked first: a batch deletes all of them or none.
        for job in jobs:
            if not job.run().state.final:
                raise wrong_state(
                    f"The PipelineJob {self._name(job.id)} has not ended; cancel it first."
                )
        with self._lock:
            for job in jobs:
                self._jobs.pop(job.id, None)

    def _cancel(self, jobs: Sequence[Job]) -> None:
        # All jobs are checked first: a batch cancels all of them or none.
        for job in jobs:
            if job.run().state.final:
                raise wrong_state(
                    f"The PipelineJob {self._name(job.id)} has ended and cannot be cancelled."
                )
        for job in jobs:
            job.execution.cancel()

    def _record_attempts(self, job: Job, run: Run) -> None:
        """Record the custom jobs of a job, so that `find_attempt` finds them."""
        for attempt in list_attempts(job.id, run):
            self._attempts_by_custom_job[custom_job_id(attempt)] = attempt

    def _name(self, job_id: str) -> str:
        return f"{self._place.parent}/pipelineJobs/{job_id}"

    def _context(self, name: str, schema: str, created: float) -> JsonBody:
        return {
            "name": f"{self._place.metadata_store}/contexts/{name}",
            "displayName": name,
            "createTime": format_time(created),
            "updateTime": format_time(created),
            "schemaTitle": schema,
            "schemaVersion": "0.0.1",
            "metadata": {},
        }

    # -- JSON of jobs

    def _view(self, job: Job) -> JsonBody:
        """Return the JSON of a job without `jobDetail`."""
        # The JSON of a job that has ended does not change any more, so it is kept.
        if job.final_view is not None:
            return job.final_view
        run = job.run()
        created = format_time(job.created)
        view: JsonBody = {
            "name": self._name(job.id),
            **job.body,
            "createTime": created,
            "updateTime": run.ended_at or run.started_at or created,
            "state": JOB_STATES[run.state],
            "labels": dict(job.labels),
        }
        optional_fields = {
            "startTime": run.started_at,
            "endTime": run.ended_at,
            "error": job_error(run),
            "scheduleName": job.schedule,
        }
        view |= {name: value for name, value in optional_fields.items() if value}
        if run.state.final:
            job.final_view = view
        return view

    def _full_view(self, job: Job) -> JsonBody:
        """Return the JSON of a job with `jobDetail`."""
        view = dict(self._view(job))
        view["jobDetail"] = {**self.contexts(job), "taskDetails": self.details(job)}
        return view

    def _list_view(self, view: JsonObject, mask: list[tuple[str, ...]]) -> JsonBody:
        """Return the JSON of a job in the answer of a list.

        Without a mask, the JSON has no `pipelineSpec` and no `jobDetail`. With a mask, `jobDetail`
        has only the contexts. Nothing confirms that it has no `taskDetails` then.
        """
        if not mask:
            return {name: value for name, value in view.items() if name not in _NOT_IN_LISTS}
        job = self._look_up(view["name"].rpartition("/")[2])
        return protos.apply_mask({**view, "jobDetail": self.contexts(job)}, mask)
