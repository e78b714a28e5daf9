"""The service of Vertex AI Pipelines, over its REST API v1.

Answers become `PipelineJob` in messages.py, and `Run` in read_run.py.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from typing import Any, Final
from urllib.parse import quote

from kfgcp.backends.base import LogFilter, LogLine, SubmitRequest
from kfgcp.backends.incomplete import readable_runs
from kfgcp.backends.run_values import replace_error
from kfgcp.backends.service import FetchedRun, ServiceFacts, ServiceRecords
from kfgcp.backends.vertex import filters
from kfgcp.backends.vertex import request as job_request
from kfgcp.backends.vertex.addresses import address
from kfgcp.backends.vertex.experiment import Experiments
from kfgcp.backends.vertex.input_artifacts import ArtifactStore, input_artifacts
from kfgcp.backends.vertex.logs import JobLogs, JobTail
from kfgcp.backends.vertex.messages import PipelineJob, read_job
from kfgcp.backends.vertex.read_run import Where, read_time, run_from_job
from kfgcp.backends.vertex.settings import VertexSettings
from kfgcp.config import Environment, Project
from kfgcp.errors import BackendError, BadAnswer, NotFound, Refused
from kfgcp.hosts import is_loopback
from kfgcp.labels import SUBMISSION
from kfgcp.model import Run
from kfgcp.query import RunFilter
from kfgcp.services.auth.sign_in import token_source
from kfgcp.services.client import ServiceClient
from kfgcp.services.cloud_logging import ADDRESS as LOGGING_ADDRESS
from kfgcp.services.cloud_logging import CloudLogging

# A list asks for these fields of a job. It leaves out the spec and the tasks, which are large.
LISTED_FIELDS: Final = (
    "name",
    "displayName",
    "state",
    "createTime",
    "startTime",
    "endTime",
    "updateTime",
    "error",
    "labels",
    "runtimeConfig",
    "templateUri",
    "scheduleName",
    "pipelineSpec.pipelineInfo",
)
PAGE_SIZE: Final = 100
CONFLICT: Final = 409
TAIL_LINES: Final = 20
"""How many lines of its log the error of a failed task has."""
LATE_SECONDS: Final = 8.0
"""How long to wait for the last lines after the end of a run.

Cloud Logging has most of them within seconds.
"""
# A refusal may name the mask as in the proto or as in JSON.
_MASK_FIELDS: Final = ("read_mask", "readMask")


class VertexService:
    """The pipeline jobs of one project and location.

    Args:
        project: the project, for its other environments.
        env: the environment.
        records: not used. A job says everything about itself.
    """

    facts = ServiceFacts()

    def __init__(self, project: Project, env: Environment, records: ServiceRecords) -> None:
        self._project = project
        self._env = env
        settings = VertexSettings.of(env.settings)
        self._settings = settings
        self._where = Where(settings.project, settings.location, env.name)
        tokens = token_source(env)
        self._http = ServiceClient(
            settings.api_endpoint or address(settings.location),
            tokens,
            service="Vertex AI",
            seconds=settings.request_seconds,
        )
        # A private endpoint (Private Service Connect) is for Vertex AI alone, so api_endpoint does
        # not change the address of Cloud Logging.
        logging_client = ServiceClient(
            settings.logging_endpoint or LOGGING_ADDRESS,
            tokens,
            service="Cloud Logging",
            seconds=settings.request_seconds,
        )
        self._logging = CloudLogging(logging_client, settings.project)
        self._artifacts = ArtifactStore(self._http, self._parent)
        self._experiments: Experiments | None = None
        if settings.experiment_tracking:
            self._experiments = Experiments(self._http, self._parent)
        # False after the service has refused the mask of a list once.
        self._accepts_mask = True
        # The `backend_ref` and the answer of the last fetch, for the tail of its logs.
        self._last_fetch: tuple[str, PipelineJob] | None = None

    @property
    def place(self) -> str:
        """What the name of each job begins with."""
        return f"{self._parent}/pipelineJobs/"

    @property
    def _parent(self) -> str:
        return f"projects/{self._where.project}/locations/{self._where.location}"

    # -- starting and ending runs

    def notes(self, request: SubmitRequest) -> list[str]:
        """Return what Vertex AI leaves out of a request or does in another way."""
        return list(job_request.notes(request))

    def create(self, request: SubmitRequest) -> Run:
        """Create a job with one request.

        The request names the job, so that a second request makes no second job when the first
        answer is lost.
        """
        submission = secrets.token_hex(6)
        job_id = job_request.job_id(request.spec.name, submission)
        job_body = job_request.job(request, self._settings, submission)
        if self._experiments is not None:
            self._experiments.ensure(request.options.experiment)
        for artifact in input_artifacts(request):
            self._artifacts.ensure(artifact)
        try:
            job = self._create_job(job_id, job_body, submission)
            _check_id(job, job_id)
        except BackendError as error:
            if not error.unknown:
                raise
            raise error.amended(
                message=f"{error.message} It is not known whether the run {job_id} was created.",
                hint=f"Before you start it again, look for it: kfgcp show {job_id}",
            ) from error
        # The answer may leave out parts of the spec, so the run has the spec that was sent.
        job["pipelineSpec"] = job_body["pipelineSpec"]
        run, _ = self._read_run(job)
        return replace(
            run,
            backend_ref=f"{self.place}{job_id}",
            version=request.spec.version,
            experiment=request.options.experiment,
            params=request.params,
        )

    def _create_job(self, job_id: str, job_body: Mapping[str, Any], submission: str) -> PipelineJob:
        """Create a job, and return it as the service answered.

        Raises:
            BackendError: the service refused it, or its answer cannot be read. `unknown` says that
                the job may exist.
        """
        path = f"v1/{self._parent}/pipelineJobs"
        try:
            answer = self._http.post(
                path, params={"pipelineJobId": job_id}, body=job_body, repeatable=True
            )
        except Refused as refused:
            # After a retry, a conflict may mean that the first try created the job and its answer
            # was lost.
            if refused.status != CONFLICT or not refused.retried:
                raise
            existing_job = self._existing_job(job_id)
            if (existing_job.get("labels") or {}).get(SUBMISSION) != submission:
                raise
            return existing_job
        try:
            return read_job(answer)
        except BadAnswer as error:
            raise error.amended(unknown=True) from error

    def _existing_job(self, job_id: str) -> PipelineJob:
        try:
            return self._job(f"{self.place}{job_id}")
        except BackendError as error:
            raise error.amended(unknown=True) from error

    def cancel(self, backend_ref: str) -> bool:
        """Ask a job to end, and return whether Vertex AI accepted it."""
        try:
            self._http.post(f"v1/{backend_ref}:cancel", body={}, repeatable=True)
        except Refused as refused:
            # FAILED_PRECONDITION: the job has ended meanwhile.
            if refused.reason != "FAILED_PRECONDITION":
                raise
            return False
        return True

    def delete(self, backend_ref: str) -> None:
        """Delete a job. It is not an error when there is no such job."""
        with suppress(NotFound):
            self._http.delete(f"v1/{backend_ref}")

    # -- reading runs

    def fetch(self, backend_ref: str) -> FetchedRun:
        """Return a run with its tasks."""
        job = self._job(backend_ref)
        self._last_fetch = (backend_ref, job)
        if self._experiments is not None:
            self._experiments.join(job)
        run, pipeline_spec = self._read_run(job)
        return FetchedRun(run, read_time(job.get("updateTime")) or "", pipeline_spec)

    def changed_since(self, since: str) -> Iterator[FetchedRun]:
        """Return the runs that have changed at this time or later, the last change first."""
        return self._listed_runs(
            {"filter": f'update_time>="{since}"', "orderBy": "update_time desc"}
        )

    def created_between(self, since: str, until: str | None = None) -> Iterator[FetchedRun]:
        """Return the runs that were created in a window of time, newest first."""
        clauses = [f'create_time>="{since}"']
        if until:
            clauses.append(f'create_time<"{until}"')
        return self._listed_runs({"filter": " AND ".join(clauses), "orderBy": "create_time desc"})

    def newest(self, run_filter: RunFilter, limit: int) -> Iterator[FetchedRun] | None:
        """Return the newest runs that match, None when Vertex AI cannot choose them."""
        clauses = filters.clauses(run_filter)
        if clauses is None:
            return None
        # Where environments share a place, a run can belong to the one that read it first. Vertex
        # AI does not know that.
        if run_filter.env is not None and self._may_share_place():
            return None
        params = {"filter": " AND ".join(clauses) or None, "orderBy": "create_time desc"}
        return islice(self._listed_runs(params), limit)

    def explain(self, run: Run, backend_ref: str) -> Run:
        """Return a failed run with the end of the failing task's log.

        The run stays as it is when Cloud Logging may not be read or does not answer.
        """
        error = run.error
        if error is None or error.task is None or error.log_tail:
            return run
        try:
            log_lines = tuple(self._logs(self._job(backend_ref)).last(error.task, TAIL_LINES))
        except BackendError:
            return run
        return replace_error(run, replace(error, log_tail=log_lines))

    def _job(self, backend_ref: str) -> PipelineJob:
        return read_job(self._http.get(f"v1/{quote(backend_ref, safe='/')}"))

    def _read_run(self, job: PipelineJob) -> tuple[Run, Mapping[str, Any] | None]:
        """Return the run of a job and its PipelineSpec."""
        run, pipeline_spec = run_from_job(job, self._where)
        params = {**run.params, **self._artifacts.uris(job)}
        env_name = self._env_of_label(run.labels.get("env", ""))
        backend_ref = f"{self.place}{run.run_id}"
        return replace(run, env=env_name, backend_ref=backend_ref, params=params), pipeline_spec

    def _env_of_label(self, label: str) -> str:
        """Return the environment that a run belongs to.

        It is the one that the run's label names, when that environment has the same place.
        """
        labelled = self._project.environments.get(label)
        if labelled is not None and self._shares_place(labelled):
            return labelled.name
        # The place of an environment that is not valid is not known. The record of a run keeps its
        # environment for ever, so the label counts.
        if label in self._project.invalid_environments:
            return label
        return self._env.name

    def _may_share_place(self) -> bool:
        """Return whether another environment has the same place, or is not valid and may have."""
        if self._project.invalid_environments:
            return True
        return any(self._shares_place(other) for other in self._project.environments.values())

    def _shares_place(self, other: Environment) -> bool:
        if other.backend != "vertex" or other.name == self._env.name or other.missing:
            return False
        return _place(VertexSettings.of(other.settings)) == _place(self._settings)

    def _listed_runs(self, params: Mapping[str, str | None]) -> Iterator[FetchedRun]:
        jobs = self._listed_jobs(params)
        return readable_runs(jobs, self._listed_run, id_field="name", env_name=self._env.name)

    def _listed_run(self, item: object) -> FetchedRun:
        job = read_job(item)
        run, _ = self._read_run(job)
        return FetchedRun(run, read_time(job.get("updateTime")) or run.created_at or "")

    def _listed_jobs(self, params: Mapping[str, str | None]) -> Iterator[object]:
        """Yield the jobs of a list, as the service answered.

        The reference does not say that a mask may have paths into the spec. So when a service
        refuses the mask, the list is read without it, and the mask is not sent again.
        """
        path = f"v1/{self._parent}/pipelineJobs"
        mask = ",".join(LISTED_FIELDS) if self._accepts_mask else None
        jobs = self._http.pages(path, {**params, "readMask": mask}, "pipelineJobs", size=PAGE_SIZE)
        try:
            first = next(jobs, None)
        except Refused as refused:
            if mask is None or not _may_refuse_mask(refused):
                raise
            jobs = self._http.pages(path, params, "pipelineJobs", size=PAGE_SIZE)
            first = next(jobs, None)
            self._accepts_mask = False
        if first is not None:
            yield first
            yield from jobs

    # -- logs and the official client

    def logs(self, backend_ref: str, log_filter: LogFilter) -> Iterator[LogLine]:
        """Return the lines that Cloud Logging has now."""
        return self._logs(self._job(backend_ref)).read(log_filter)

    def tail(self, backend_ref: str, log_filter: LogFilter) -> JobTail:
        """Return a reader of the lines of a run that has not ended."""

        def latest_job() -> PipelineJob:
            # A caller that follows a run fetches it just before it reads the lines.
            if self._last_fetch is not None and self._last_fetch[0] == backend_ref:
                return self._last_fetch[1]
            return self._job(backend_ref)

        # A stand-in has every line at once. A private address of Cloud Logging has them as late as
        # the public one.
        late_seconds = 0.0 if is_loopback(self._settings.logging_endpoint) else LATE_SECONDS
        return JobTail(self._logging, latest_job, log_filter, late_seconds=late_seconds)

    # The client is an optional dependency, so its types cannot be named here.
    def native(self, backend_ref: str) -> Any:
        """Return a run as an `aiplatform.PipelineJob`."""
        from kfgcp.backends.vertex.native import pipeline_job

        return pipeline_job(self._settings, backend_ref.removeprefix(self.place))

    def _logs(self, job: PipelineJob) -> JobLogs:
        return JobLogs(self._logging, job)


def _check_id(job: PipelineJob, job_id: str) -> None:
    if not job["name"].endswith(f"/{job_id}"):
        error = BadAnswer(
            "Vertex AI answered with a different run, not with the one in the request."
        )
        raise error.amended(unknown=True)


def _place(settings: VertexSettings) -> tuple[str, str, str | None]:
    return settings.project, settings.location, settings.api_endpoint


def _may_refuse_mask(refused: Refused) -> bool:
    """Return whether a list may have been refused because of its mask.

    The service names the mask, or no field at all.
    """
    if refused.reason != "INVALID_ARGUMENT":
        return False
    top_fields = {field.partition(".")[0] for field in refused.fields}
    return not top_fields or not top_fields.isdisjoint(_MASK_FIELDS)
