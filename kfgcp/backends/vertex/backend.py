"""The backend `vertex`: Vertex AI Pipelines over its REST API, v1."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from typing import Any, Final
from urllib.parse import quote

from kfgcp.backends.base import LogFilter, LogLine, RunRef, SubmitRequest
from kfgcp.backends.reading import with_failure
from kfgcp.backends.remote import Fetched, RemoteBackend
from kfgcp.backends.vertex import body, filters
from kfgcp.backends.vertex.experiment import Experiments
from kfgcp.backends.vertex.input_artifacts import ArtifactStore, input_artifacts
from kfgcp.backends.vertex.job import Where, at, run_of
from kfgcp.backends.vertex.logs import JobLogs, JobTail
from kfgcp.backends.vertex.messages import read_job
from kfgcp.config import Environment, Project
from kfgcp.errors import BackendError, BadAnswer, NotFound, Refused
from kfgcp.hosts import is_loopback
from kfgcp.labels import SUBMISSION
from kfgcp.model import Run
from kfgcp.query import RunFilter
from kfgcp.services.auth.tokens import token_source
from kfgcp.services.client import ServiceClient
from kfgcp.services.cloud_logging import ADDRESS as LOGGING_ADDRESS
from kfgcp.services.cloud_logging import CloudLogging
from kfgcp.store.rows import Observed
from kfgcp.store.store import Store

LISTED: Final = (
    *("name", "displayName", "state", "createTime", "startTime", "endTime", "updateTime", "error", "labels"),
    *("runtimeConfig", "templateUri", "scheduleName", "pipelineSpec.pipelineInfo"),
)
"""The fields of a job that a list asks for: not the spec and the tasks, which are large."""
MULTI_REGIONS: Final = ("us", "eu")
PAGE: Final = 100
CONFLICT: Final = 409
TAIL_LINES: Final = 20
LATE_SECONDS: Final = 8.0
"""How long after the end of a run its last lines are waited for; Cloud Logging has most of them within seconds."""


class VertexBackend(RemoteBackend):
    """Runs in one project and location."""

    def __init__(self, project: Project, env: Environment, store: Store) -> None:
        super().__init__(project, env, store)
        self._where = Where(env.get("project"), env.get("location"), env.name)
        tokens = token_source(env)
        seconds = env.request_seconds
        vertex = env.get("api_endpoint") or address(self._where.location)
        self._http = ServiceClient(vertex, tokens, service="Vertex AI", seconds=seconds)
        # A private endpoint (Private Service Connect) is for Vertex AI alone.
        logging_address = env.get("logging_endpoint") or LOGGING_ADDRESS
        logging = ServiceClient(logging_address, tokens, service="Cloud Logging", seconds=seconds)
        self._logging = CloudLogging(logging, self._where.project)
        self._artifacts = ArtifactStore(self._http, self._parent)
        self._experiments = Experiments(self._http, self._parent) if env.get("experiment_tracking") else None
        self._takes_mask = True
        self._latest: tuple[str, Mapping[str, Any]] = ("", {})

    # -- what RemoteBackend asks for

    @property
    def place(self) -> str:
        return f"{self._parent}/pipelineJobs/"

    @property
    def _parent(self) -> str:
        return f"projects/{self._where.project}/locations/{self._where.location}"

    def notes(self, request: SubmitRequest) -> list[str]:
        return [*body.notes(request)]

    def _create(self, request: SubmitRequest) -> Run:
        """One create request. It names the job, so that when the answer is lost a second one makes no second job."""
        submission = secrets.token_hex(6)
        job_id = body.job_id(request.spec.name, submission)
        job = body.job(request, self._env, submission)
        if self._experiments is not None:
            self._experiments.ensure(request.options.experiment)
        for artifact in input_artifacts(request):
            self._artifacts.ensure(artifact)
        try:
            made = self._made(job_id, job, submission)
            if not str(made.get("name") or "").endswith(f"/{job_id}"):
                error = BadAnswer("Vertex AI answered with another run than the one that it was asked to create.")
                error.unknown = True
                raise error
        except BackendError as error:
            if error.unknown:
                error.message += f" Whether the run {job_id} was made is not known."
                error.args = (error.message,)
                error.hint = f"See whether it is there before you start it again: kfgcp show {job_id}"
            raise
        run, _ = self._run({**made, "pipelineSpec": job["pipelineSpec"]})
        return replace(
            run,
            backend_ref=self._ref_of(job_id),
            version=request.spec.version,
            experiment=request.options.experiment,
            params=request.params,
        )

    def _made(self, job_id: str, job: Mapping[str, Any], submission: str) -> dict[str, Any]:
        path = f"v1/{self._parent}/pipelineJobs"
        try:
            made = self._http.post(path, params={"pipelineJobId": job_id}, body=job, repeatable=True)
            try:
                return read_job(made)
            except BadAnswer as error:
                error.unknown = True
                raise
        except Refused as refused:
            if refused.status != CONFLICT or not refused.retried:
                raise
            try:
                # An earlier try was carried out, and its answer was lost.
                made = read_job(self._http.get(f"{path}/{job_id}"))
            except BackendError as error:
                error.unknown = True
                raise
            if (made.get("labels") or {}).get(SUBMISSION) != submission:
                raise
            return made

    def _fetch(self, backend_ref: str) -> Fetched:
        job = self._job(backend_ref)
        self._latest = (backend_ref, job)
        if self._experiments is not None:
            self._experiments.join(job)
        run, spec = self._run(job)
        return Fetched(run, at(job.get("updateTime")) or "", spec)

    def _job(self, backend_ref: str) -> dict[str, Any]:
        return read_job(self._http.get(f"v1/{quote(backend_ref, safe='/')}"))

    def _run(self, job: Mapping[str, Any]) -> tuple[Run, Mapping[str, Any] | None]:
        """The run of a job; it belongs to the environment that its label names, when that is for the same place."""
        run, spec = run_of(job, self._where)
        named = self._project.environments.get(run.labels.get("env", ""))
        if named is not None and self._shares(named):
            run = replace(run, env=named.name)
        params = {**run.params, **self._artifacts.uris(job)}
        return replace(run, backend_ref=self._ref_of(run.run_id), params=params), spec

    def _shares(self, other: Environment) -> bool:
        """Whether another environment is for the same place."""
        place = [[env.get(key) for key in ("project", "location", "api_endpoint")] for env in (other, self._env)]
        return other.backend == "vertex" and other.name != self._env.name and place[0] == place[1]

    def _changes(self, observed: Observed | None, window: tuple[str, str | None]) -> Iterator[Fetched]:
        since, before = window
        if observed is not None:
            clauses = [f'update_time>="{observed.changed_until}"']
        else:
            clauses = [f'create_time>="{since}"', *([f'create_time<"{before}"'] if before else [])]
        params = {
            "filter": " AND ".join(clauses),
            "orderBy": "update_time desc" if observed is not None else "create_time desc",
        }
        return self._fetched(params)

    def _newest(self, run_filter: RunFilter, limit: int) -> Iterator[Fetched] | None:
        clauses = filters.clauses(run_filter)
        if clauses is None:
            return None
        if run_filter.env is not None and any(map(self._shares, self._project.environments.values())):
            return None  # runs of others belong to the environment that they were first read for
        return islice(self._fetched({"filter": " AND ".join(clauses) or None, "orderBy": "create_time desc"}), limit)

    def _fetched(self, params: Mapping[str, Any]) -> Iterator[Fetched]:
        return self._read_items(self._listed(params), self._fetched_job, identity="name")

    def _fetched_job(self, answer: Any) -> Fetched:
        job = read_job(answer)
        run, _ = self._run(job)
        return Fetched(run, at(job.get("updateTime")) or run.created_at or "")

    def _listed(self, params: Mapping[str, Any]) -> Iterator[Any]:
        """Yield the jobs of a list.

        They are whole ones where the service does not take the mask, whose paths into a spec are not documented. The
        mask is not sent again to a service that answered without it.
        """
        path = f"v1/{self._parent}/pipelineJobs"
        mask = ",".join(LISTED) if self._takes_mask else None
        jobs = self._http.pages(path, {**params, "readMask": mask}, "pipelineJobs", size=PAGE)
        try:
            first = next(jobs, None)
        except Refused as refused:
            if mask is None or not _may_refuse_mask(refused):
                raise
            jobs = self._http.pages(path, params, "pipelineJobs", size=PAGE)
            first = next(jobs, None)
            self._takes_mask = False
        if first is not None:
            yield first
            yield from jobs

    def _complete(self, run: Run, backend_ref: str) -> Run:
        """The end of the failing task's log; without it when Cloud Logging may not be read or does not answer."""
        error = run.error
        if error is None or error.task is None or error.log_tail:
            return run
        try:
            tail = tuple(self._logs(self._job(backend_ref)).last(error.task, TAIL_LINES))
        except BackendError:
            return run
        return with_failure(run, replace(error, log_tail=tail))

    def _stop(self, backend_ref: str) -> bool:
        try:
            self._http.post(f"v1/{backend_ref}:cancel", body={}, repeatable=True)
        except Refused as refused:
            if refused.reason != "FAILED_PRECONDITION":  # it has ended meanwhile
                raise
            return False
        return True

    def _remove(self, backend_ref: str) -> None:
        with suppress(NotFound):
            self._http.delete(f"v1/{backend_ref}")

    # -- capabilities

    def logs(self, ref: RunRef, log_filter: LogFilter) -> Iterator[LogLine]:
        return self._logs(self._job(self._named(ref))).read(log_filter)

    def tail(self, ref: RunRef, log_filter: LogFilter) -> JobTail:
        backend_ref = self._named(ref)

        def job() -> Mapping[str, Any]:
            """As it was last looked at; the tail follows who looks."""
            latest, job_answer = self._latest
            return job_answer if latest == backend_ref else self._job(backend_ref)

        # A stand-in has every line at once. A private address of Cloud Logging has them as late as the public one.
        late = 0.0 if is_loopback(self._env.get("logging_endpoint")) else LATE_SECONDS
        return JobTail(self._logging, job, log_filter, late=late)

    def native(self, ref: RunRef) -> Any:
        from kfgcp.backends.vertex.native import pipeline_job

        return pipeline_job(self._env, ref.run_id.partition("@")[0])

    def _logs(self, job: Mapping[str, Any]) -> JobLogs:
        return JobLogs(self._logging, job)

    def _named(self, ref: RunRef) -> str:
        known = self._store.refs(ref.run_id)
        return known[1] if known else self._ref_of(ref.run_id)


def _may_refuse_mask(refused: Refused) -> bool:
    """Return whether a list may have been refused because of its mask: the service names it, or no field at all."""
    names = [field.lower() for field in refused.fields]
    return refused.reason == "INVALID_ARGUMENT" and (not names or any("mask" in name for name in names))


def address(location: str) -> str:
    """Of the service for a location; `global` has no prefix, and the multi-regions have hosts of another form."""
    if location in MULTI_REGIONS:
        return f"https://aiplatform.{location}.rep.googleapis.com"
    prefix = "" if location == "global" else f"{location}-"
    return f"https://{prefix}aiplatform.googleapis.com"
