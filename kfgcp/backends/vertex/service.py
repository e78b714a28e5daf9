"""The service of Vertex AI Pipelines, over its REST API v1.

Answers become `PipelineJob` in messages.py, and `Run` in read_run.py.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from kfgcp.backends.base import UNKNOWN_SUBMISSION, LogFilter, LogLine, SubmitRequest
from kfgcp.backends.incomplete import readable_runs
from kfgcp.backends.run_values import replace_error
from kfgcp.backends.schedules import OtherScheduler
from kfgcp.backends.service import FetchedRun, ServiceFacts, ServiceRecords
from kfgcp.backends.vertex import filters
from kfgcp.backends.vertex import request as job_request
from kfgcp.backends.vertex.addresses import address
from kfgcp.backends.vertex.experiment import Experiments
from kfgcp.backends.vertex.input_artifacts import ArtifactStore, input_artifacts
from kfgcp.backends.vertex.logs import JobLogs, JobTail
from kfgcp.backends.vertex.messages import PipelineJob, read_job
from kfgcp.backends.vertex.read_run import JobLocation, read_time, run_from_job
from kfgcp.backends.vertex.settings import VertexSettings
from kfgcp.backends.vertex.versions import VertexVersions
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
from kfgcp.spec.json_values import JsonObject

if TYPE_CHECKING:
    from kfgcp.backends.vertex.locks import VertexLocks
    from kfgcp.backends.vertex.schedules import VertexSchedules

# The fields of a job that kfgcp requests in a list. The spec and the tasks are not among them,
# because they are large.
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
# The jobs that kfgcp requests in one page of a list.
PAGE_SIZE: Final = 100

# The HTTP status when a job with this id exists already.
CONFLICT: Final = 409

# The number of log lines in the error of a failed task.
TAIL_LINES: Final = 20

# How long to wait for the last log lines after the end of a run. Cloud Logging has most of them
# within seconds.
LATE_SECONDS: Final = 8.0

# The mask of a list has the first name in the proto, and the second name in JSON. A refusal may use
# either name.
_MASK_FIELDS: Final = ("read_mask", "readMask")


class VertexService:
    """The pipeline jobs of one project and location.

    Args:
        project: the configuration of the project, which has the other environments.
        env: the environment of this service.
        records: not used, because every answer about a job is complete.
    """

    facts = ServiceFacts()

    def __init__(self, project: Project, env: Environment, records: ServiceRecords) -> None:
        self._project = project
        self._env = env
        settings = VertexSettings.of(env.settings)
        self._settings = settings
        self._job_location = JobLocation(settings.project, settings.location, env.name)
        tokens = token_source(env)
        self._http = ServiceClient(
            settings.api_endpoint or address(settings.location),
            tokens,
            service="Vertex AI",
            seconds=settings.request_seconds,
        )
        # The address of Cloud Logging does not depend on api_endpoint, because a private endpoint
        # (Private Service Connect) serves only Vertex AI.
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
        # The `backend_ref` and the job of the last fetch. `tail` uses the job, to save a request.
        self._last_fetch: tuple[str, PipelineJob] | None = None

    @property
    def place(self) -> str:
        """The beginning of the resource name of each job, see `RunService.place`."""
        return f"{self._parent}/pipelineJobs/"

    @property
    def _parent(self) -> str:
        return f"projects/{self._job_location.project}/locations/{self._job_location.region}"

    def versions(self) -> VertexVersions:
        """Return the registry of the environment, see `HasRegistry`."""
        return VertexVersions(self._env)

    def schedules(self) -> VertexSchedules:
        """Return the schedules of the environment, see `HasSchedules`."""
        # Most commands change no schedules, and the module takes time to import.
        from kfgcp.backends.vertex.schedules import VertexSchedules

        return VertexSchedules(
            self._http, self._settings, self._project.name, self._parent, self._prepare
        )

    def locks(self) -> VertexLocks:
        """Return the locks of the environment, see `HasLocks`."""
        # See `schedules`.
        from kfgcp.backends.vertex.locks import VertexLocks

        return VertexLocks(self._env, self._settings)

    def find_other_schedulers(self) -> list[OtherScheduler]:
        """Return the jobs of Cloud Scheduler that start pipelines, see `FindsOtherSchedulers`."""
        # Only the first plan of a schedule needs the module.
        from kfgcp.backends.vertex.cloud_scheduler import ADDRESS, SECONDS, SERVICE, find_jobs

        endpoint = self._settings.api_endpoint or ""
        # A private endpoint of Vertex AI does not serve Cloud Scheduler. A stand-in does.
        address = endpoint if endpoint and is_loopback(endpoint) else ADDRESS
        tokens = token_source(self._env)
        http = ServiceClient(address, tokens, service=SERVICE, seconds=SECONDS)
        return find_jobs(http, self._parent)

    # -- starting and ending runs

    def notes(self, request: SubmitRequest) -> list[str]:
        """Return a line for each warning of the rules about a request."""
        # The rules take time to import, and most commands start no run.
        from kfgcp.rules.before_run import warning_lines

        findings = job_request.find_problems(request, self._settings)
        return warning_lines(findings, request.ignored)

    def request_body(self, request: SubmitRequest) -> JsonObject:
        """Return the pipelineJob that `create` would send, see `SupportsPreview`."""
        return job_request.job(request, self._settings, UNKNOWN_SUBMISSION)

    def create(self, request: SubmitRequest) -> Run:
        """Create exactly one job, and return its run.

        kfgcp chooses the id of the job. So when an answer is lost and the request is sent again,
        the service refuses the second request, and no second job starts.

        Raises:
            BackendError: the service did not create the job. The message says when this is not
                certain.
        """
        submission = secrets.token_hex(6)
        job_id = job_request.job_id(request.spec.name, submission)
        job_body = job_request.job(request, self._settings, submission)
        self._prepare(request)
        try:
            job = self._create_job(job_id, job_body, submission)
            _check_id(job, job_id)
        except BackendError as error:
            if not error.unknown:
                raise
            raise error.amended(
                message=(
                    f"{error.message} kfgcp does not know whether the run {job_id} was created."
                ),
                hint=f"Before you start the pipeline again, look for this run: kfgcp show {job_id}",
            ) from error
        # The answer may leave out parts of the spec, so the spec of the request replaces it.
        job["pipelineSpec"] = job_body["pipelineSpec"]
        run, _ = self._read_run(job)
        return replace(
            run,
            backend_ref=f"{self.place}{job_id}",
            version=request.spec.version,
            experiment=request.options.experiment,
            params=request.params,
        )

    def _prepare(self, request: SubmitRequest) -> None:
        """Create what the job of a request needs: its experiment and its input artifacts."""
        if self._experiments is not None:
            self._experiments.ensure(request.options.experiment)
        for artifact in input_artifacts(request):
            self._artifacts.ensure(artifact)

    def _create_job(self, job_id: str, job_body: Mapping[str, Any], submission: str) -> PipelineJob:
        """Create a job, and return the job in the answer of the service.

        Raises:
            BackendError: the service refused the request, or kfgcp cannot read the answer. With
                `unknown`, the job may exist nevertheless.
        """
        path = f"v1/{self._parent}/pipelineJobs"
        try:
            answer = self._http.post(
                path, params={"pipelineJobId": job_id}, body=job_body, repeatable=True
            )
        except Refused as refused:
            # A conflict after a retry: probably the first try created the job, and its answer was
            # lost. Only a job from this submission has the right value in the label SUBMISSION.
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
        """Request the end of a job. Return False when the job has ended already."""
        try:
            self._http.post(f"v1/{backend_ref}:cancel", body={}, repeatable=True)
        except Refused as refused:
            # The service gives this reason when the job has ended.
            if refused.reason != "FAILED_PRECONDITION":
                raise
            return False
        return True

    def delete(self, backend_ref: str) -> None:
        """Delete a job. A job that does not exist is not an error."""
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
        """Return the runs that have changed since a time, the run that changed last first."""
        return self._listed_runs(
            {"filter": f'update_time>="{since}"', "orderBy": "update_time desc"}
        )

    def created_between(self, since: str, until: str | None = None) -> Iterator[FetchedRun]:
        """Return the runs that were created since a time and before `until`, newest first."""
        clauses = [f'create_time>="{since}"']
        if until:
            clauses.append(f'create_time<"{until}"')
        return self._listed_runs({"filter": " AND ".join(clauses), "orderBy": "create_time desc"})

    def newest(self, run_filter: RunFilter, limit: int) -> Iterator[FetchedRun] | None:
        """Return the newest runs that match, None when Vertex AI cannot filter in this way."""
        clauses = filters.clauses(run_filter)
        if clauses is None:
            return None
        # When two environments have the same project and location, Vertex AI does not know which
        # of them a run belongs to.
        if run_filter.env is not None and self._may_share_place():
            return None
        params = {"filter": " AND ".join(clauses) or None, "orderBy": "create_time desc"}
        return islice(self._listed_runs(params), limit)

    def explain(self, run: Run, backend_ref: str) -> Run:
        """Add the last log lines of the task that failed to the error of a run.

        Return the run unchanged when it has no such task, or when the log cannot be read.
        """
        error = run.error
        if error is None or error.task is None or error.log_tail:
            return run
        try:
            log_lines = tuple(self._logs(self._job(backend_ref)).read_end(error.task, TAIL_LINES))
        except BackendError:
            return run
        return replace_error(run, replace(error, log_tail=log_lines))

    def _job(self, backend_ref: str) -> PipelineJob:
        return read_job(self._http.get(f"v1/{quote(backend_ref, safe='/')}"))

    def _read_run(self, job: PipelineJob) -> tuple[Run, Mapping[str, Any] | None]:
        """Return the run of a job, and the PipelineSpec of the job, None when it cannot be read."""
        run, pipeline_spec = run_from_job(job, self._job_location)
        run = replace(
            run,
            env=self._choose_env(run.labels.get("env", "")),
            # The name in an answer may have the number of the project instead of its id.
            backend_ref=f"{self.place}{run.run_id}",
            params={**run.params, **self._artifacts.input_uris(job)},
        )
        return run, pipeline_spec

    def _choose_env(self, label: str) -> str:
        """Return the name of the environment that a run belongs to.

        Args:
            label: the value of the run's label `env`. It counts when this environment has the same
                project and location. In all other cases the run belongs to `self._env`.
        """
        labelled_env = self._project.environments.get(label)
        if labelled_env is not None and self._shares_place(labelled_env):
            return labelled_env.name
        # The project and location of an invalid environment are not known. A record keeps the
        # environment of its run for ever, so the label counts here, too.
        if label in self._project.invalid_environments:
            return label
        return self._env.name

    def _may_share_place(self) -> bool:
        """Return whether another environment may have the same project and location.

        An invalid environment may have the same, because its settings are not known.
        """
        if self._project.invalid_environments:
            return True
        return any(self._shares_place(other) for other in self._project.environments.values())

    def _shares_place(self, other: Environment) -> bool:
        """Return whether another environment certainly has the same project and location."""
        if other.backend != "vertex" or other.name == self._env.name or other.missing:
            return False
        return _place(VertexSettings.of(other.settings)) == _place(self._settings)

    def _listed_runs(self, params: Mapping[str, str | None]) -> Iterator[FetchedRun]:
        jobs = self._listed_jobs(params)
        return readable_runs(jobs, self._read_listed_run, id_field="name", env_name=self._env.name)

    def _read_listed_run(self, item: object) -> FetchedRun:
        job = read_job(item)
        run, _ = self._read_run(job)
        return FetchedRun(run, read_time(job.get("updateTime")) or run.created_at or "")

    def _listed_jobs(self, params: Mapping[str, str | None]) -> Iterator[object]:
        """Yield the jobs of a list, each as the JSON of the service.

        `readMask` keeps large fields out of the answer. The reference does not say that a mask may
        name a field inside the spec. So when the service refuses the mask, this method repeats the
        request without a mask, and sends no mask from then on.
        """
        path = f"v1/{self._parent}/pipelineJobs"
        mask = ",".join(LISTED_FIELDS) if self._accepts_mask else None
        jobs = self._http.pages(path, {**params, "readMask": mask}, "pipelineJobs", size=PAGE_SIZE)
        # `pages` sends its first request when the first job is read. So read this job here, where a
        # refusal of the mask can be caught.
        try:
            first_job = next(jobs, None)
        except Refused as refused:
            if mask is None or not _is_mask_refusal(refused):
                raise
            jobs = self._http.pages(path, params, "pipelineJobs", size=PAGE_SIZE)
            first_job = next(jobs, None)
            self._accepts_mask = False
        if first_job is not None:
            yield first_job
            yield from jobs

    # -- logs and the official client

    def logs(self, backend_ref: str, log_filter: LogFilter) -> Iterator[LogLine]:
        """Return the log lines of a run that Cloud Logging has now."""
        return self._logs(self._job(backend_ref)).read(log_filter)

    def tail(self, backend_ref: str, log_filter: LogFilter) -> JobTail:
        """Return a reader of the log lines of a run that has not ended."""

        def latest_job() -> PipelineJob:
            # A caller that follows a run fetches the run just before it reads the log lines.
            if self._last_fetch is not None:
                fetched_ref, job = self._last_fetch
                if fetched_ref == backend_ref:
                    return job
            return self._job(backend_ref)

        # The stand-in of Cloud Logging on this machine has no delay. A private endpoint of Cloud
        # Logging has the same delay as the public one.
        late_seconds = 0.0 if is_loopback(self._settings.logging_endpoint) else LATE_SECONDS
        return JobTail(self._logging, latest_job, log_filter, late_seconds=late_seconds)

    # The official client is an optional dependency, so the signature cannot use its types.
    def native(self, backend_ref: str) -> Any:
        """Return a run as an `aiplatform.PipelineJob`."""
        from kfgcp.backends.vertex.native import pipeline_job

        return pipeline_job(self._settings, backend_ref.removeprefix(self.place))

    def _logs(self, job: PipelineJob) -> JobLogs:
        return JobLogs(self._logging, job)


def _check_id(job: PipelineJob, job_id: str) -> None:
    """Raise BadAnswer when a job in an answer has another id than the job in the request."""
    if not job["name"].endswith(f"/{job_id}"):
        error = BadAnswer("Vertex AI answered with a different run.")
        raise error.amended(unknown=True)


def _place(settings: VertexSettings) -> tuple[str, str, str | None]:
    """Return the settings that environments with the same jobs have in common."""
    return settings.project, settings.location, settings.api_endpoint


def _is_mask_refusal(refused: Refused) -> bool:
    """Return whether the mask may be the reason why the service refused a list.

    The refusal names the mask, or it names no field.
    """
    if refused.reason != "INVALID_ARGUMENT":
        return False
    top_fields = {field.partition(".")[0] for field in refused.fields}
    return not top_fields or not top_fields.isdisjoint(_MASK_FIELDS)
