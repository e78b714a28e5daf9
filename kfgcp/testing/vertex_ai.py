"""The stand-in of Vertex AI Pipelines: `with kfgcp.testing.vertex() as env:`.

It puts the parts together: jobs, schedules, models, metadata, operations, log entries, permissions
and Artifact Registry at one address, and Cloud Storage at another.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Final, Unpack

from kfgcp.spec.json_values import JsonObject
from kfgcp.testing import protos
from kfgcp.testing.artifact_registry import ArtifactRegistry
from kfgcp.testing.cloud_logging import CloudLogging
from kfgcp.testing.cloud_scheduler import SchedulerJobs
from kfgcp.testing.engine_runs import Execution
from kfgcp.testing.google import GoogleError, check_query, denied, invalid, not_found
from kfgcp.testing.job_logs import JobLogs
from kfgcp.testing.jobs import Jobs
from kfgcp.testing.jobs_from_runs import Place
from kfgcp.testing.metadata import Metadata
from kfgcp.testing.model_registry import ModelRegistry
from kfgcp.testing.operations import Operations
from kfgcp.testing.permissions import TOKEN_INFO, Permissions
from kfgcp.testing.rules import MAX_REQUEST_BYTES, Submission, Surroundings
from kfgcp.testing.running import (
    ENGINE,
    PROJECT,
    PROJECT_NUMBER,
    EmulatorVariable,
    RunningStandIn,
)
from kfgcp.testing.schedules import ScheduledRun, Schedules
from kfgcp.testing.seeds import PerRun, SeedOptions, seeds, value_for_run, values_for_run
from kfgcp.testing.server import Request, Response, Route, Router

LOCATION: Final = "europe-west4"
# A repository of the format KFP.
REPOSITORY: Final = "pipelines"
_BASE: Final = "/v1/projects/{project}/locations/{location}"
# Our components register models at this address. Google's clients do not read the variable.
_vertex_variable: Final = EmulatorVariable("AIPLATFORM_EMULATOR_HOST")
_PROJECT_NAME: Final = re.compile(r"^projects/[^/]+/")


class VertexStandIn(RunningStandIn):
    """A stand-in of Vertex AI, Cloud Logging, Artifact Registry and Cloud Storage.

    Cloud Storage is at `storage_endpoint`. The other services are at `api_endpoint`. They answer
    until the stand-in is closed.

    Attributes:
        mode: `engine` runs jobs on the embedded engine, `instant` makes jobs up.
        instant: the outcome of made-up jobs.
        operations: `operations.seconds` is the duration of long-running operations, 0 by default.
        logging: `logging.payload` is the form of the log entries of tasks: `json` or `text`.
        permissions: the answers to questions about tokens, permissions and quotas.
        cloud_scheduler: the jobs of Cloud Scheduler, which a test adds.
        artifact_registry: the repositories of pipelines. It has REPOSITORY from the start.
        service_accounts: the accounts that jobs may run as, None for any.
        max_request_bytes: the longest body of a request.
    """

    def __init__(
        self,
        *,
        mode: str = ENGINE,
        project: str = PROJECT,
        location: str = LOCATION,
        port: int = 0,
        storage_port: int = 0,
        host_names: Sequence[str] = (),
    ) -> None:
        protos.require()
        self.service_accounts: set[str] | None = None
        self.max_request_bytes = MAX_REQUEST_BYTES
        self.location = location
        place = Place(PROJECT_NUMBER, location)
        self.operations = Operations(place.parent)
        # These are functions, because the storage and the metadata are created later.
        surroundings = Surroundings(
            lambda bucket: self._storage.has_bucket(bucket),
            self._may_act_as,
            lambda artifact_id: self._metadata.artifact_uri(artifact_id),
        )
        self._jobs = Jobs(place, self.operations, surroundings, self._start)
        self._schedules = Schedules(place, self.operations, self._jobs)
        self._metadata = Metadata(place, self.operations, self._jobs, self.canonical)
        self._models = ModelRegistry(place, self.operations, surroundings.has_bucket)
        job_logs = JobLogs(project, place, self._jobs)
        self.logging = CloudLogging(project, PROJECT_NUMBER, job_logs.entries)
        self.artifact_registry = ArtifactRegistry(location, self.operations)
        self.artifact_registry.make_repository(REPOSITORY)
        self.cloud_scheduler = SchedulerJobs()
        self.permissions = Permissions(self._may_act_as)
        # The base class starts the server, and then requests may come at once. So call it last.
        self._router = Router(self._routes())
        super().__init__(
            mode=mode, project=project, port=port, storage_port=storage_port, host_names=host_names
        )
        _vertex_variable.add(self.api_endpoint)

    def close(self) -> None:
        """End all jobs, stop serving, and set the variables of the environment back."""
        super().close()
        _vertex_variable.remove(self.api_endpoint)

    def environ_of(self, name: str) -> dict[str, str]:
        """Return the environment variables with which a process uses this stand-in.

        They are AIPLATFORM_EMULATOR_HOST, and those of every stand-in that runs pipelines.
        """
        return {_vertex_variable.name: self.api_endpoint, **super().environ_of(name)}

    # -- address

    def settings(self) -> dict[str, str]:
        """Return the settings of an environment in kfgcp.toml for this stand-in."""
        return {
            "backend": "vertex",
            "project": self.project,
            "location": self.location,
            "pipeline_root": self.pipeline_root,
            "api_endpoint": self.api_endpoint,
            "logging_endpoint": self.api_endpoint,
            "artifact_registry_endpoint": self.api_endpoint,
            "pipeline_registry": self.pipeline_registry,
            "auth": "anonymous",
        }

    @property
    def pipeline_registry(self) -> str:
        """Return the address of the repository REPOSITORY, as Google writes it."""
        return f"https://{self.location}-kfp.pkg.dev/{self.project}/{REPOSITORY}"

    def canonical(self, name: str) -> str:
        """Return a resource name with the number of the project, as the service writes names."""
        return _PROJECT_NAME.sub(f"projects/{self.project_number}/", name)

    # -- jobs, pipelines and schedules

    def jobs(self) -> list[str]:
        """Return the ids of all jobs, the oldest first."""
        return [job.id for job in self._jobs.all()]

    def models(self) -> list[str]:
        """Return the resource names of all registered models, the oldest first."""
        return self._models.names()

    def publish(self, package: str, content: str, *tags: str, repository: str = REPOSITORY) -> str:
        """Add a version of a compiled pipeline to Artifact Registry.

        Args:
            package: the name of the package.
            content: the text of the compiled file.
            tags: the tags that name this version from now on.
            repository: a repository of the format KFP in the project and the location.

        Returns:
            The address of the version, with its digest.
        """
        return self.artifact_registry.publish(self.project, repository, package, content, tags)

    def fire(self, schedule: str) -> str:
        """Start a job of a schedule now, as its cron would, and return the id of the job.

        Args:
            schedule: the resource name or the id of the schedule.

        Raises:
            UsageError: the schedule starts no job now.
        """
        return self._schedules.fire(schedule).id

    def fire_due(self, until: datetime) -> list[ScheduledRun]:
        """Start the jobs of all schedules for their due times up to a time, see `Schedules`.

        Args:
            until: the time, with a zone. A due time at it is included.
        """
        return self._schedules.fire_due(until)

    @property
    def schedule_clock(self) -> Callable[[], float]:
        """The clock of the schedules: it returns seconds since 1970. A test can set its own."""
        return self._schedules.clock

    @schedule_clock.setter
    def schedule_clock(self, clock: Callable[[], float]) -> None:
        self._schedules.clock = clock

    def seed(
        self,
        count: int,
        *,
        labels: Mapping[str, PerRun] | None = None,
        experiment: str | None = None,
        display_name: PerRun = None,
        **options: Unpack[SeedOptions],
    ) -> list[str]:
        """Add made-up jobs that have ended, and return their ids, the oldest first.

        The jobs exist only in memory. A label, the display name, a parameter or a metric may be a
        function. It is called with the number of the job, from 0, and returns the value.

        Args:
            count: the number of jobs.
            labels: key -> value.
            experiment: the Vertex experiment of the jobs, None for no experiment.
            display_name: the display name, by default the name of the pipeline.
            options: the fields of `kfgcp.testing.seeds.SeedOptions`: spec, params, metrics,
                failing, age, step.

        Raises:
            UsageError: the spec is invalid.
        """
        # The jobs of two calls must have different ids.
        call_id = secrets.token_hex(3)

        def job_id(pipeline_name: str, number: int) -> str:
            return f"{pipeline_name}-{call_id}-{number}"

        jobs = []
        for seed in seeds(count, make_id=job_id, root=self.pipeline_root, **options):
            label_values = values_for_run(labels or {}, seed.number)
            display_text = value_for_run(display_name, seed.number)
            spec = seed.submission.spec
            body = {
                "displayName": display_text or spec.name,
                "pipelineSpec": spec.pipeline_spec,
                "labels": {key: str(value) for key, value in label_values.items()},
                "runtimeConfig": {
                    "gcsOutputDirectory": self.pipeline_root,
                    "parameterValues": dict(seed.params),
                },
            }
            jobs.append(
                self._jobs.add(seed.id, body, seed.submission, seed.created, seed.execution)
            )
        if experiment is not None:
            self._metadata.add_to_experiment(experiment, jobs)
        return [job.id for job in jobs]

    # -- the service

    def handle(self, request: Request) -> Response:
        """Return the answer of the service, see `StandIn.handle`."""
        try:
            if len(request.body) > self.max_request_bytes:
                raise invalid(
                    f"Request payload size exceeds the limit: {self.max_request_bytes} bytes."
                )
            match = self._router.find(request)
            if match is None:
                raise not_found(f"{request.method} {request.path}")
            route, segments = match
            check_query(request, route.query)
            self._check_location(segments)
            return route.handler(request, **segments)
        except GoogleError as error:
            return error.response

    def refusal(self, status: int, text: str) -> Response:
        """Return the error of the service for a status and a text."""
        return GoogleError(status, text).response

    def takes_type(self, request: Request, content_type: str) -> bool:
        """Return whether a request may have a form.

        Google's services take a form for the question who a token belongs to, and for the upload of
        a pipeline. A foreign web page may send the question, because it changes nothing. An upload
        from a foreign web page is refused by its Origin.
        """
        if request.path == TOKEN_INFO:
            return content_type == "application/x-www-form-urlencoded"
        return self.artifact_registry.is_upload(request, content_type)

    def _routes(self) -> list[Route]:
        routes = self.logging.routes() + self.permissions.routes()
        routes.append(Route("GET", _BASE, self._get_location))
        for part in (self._jobs, self._schedules, self._metadata, self._models, self.operations):
            routes += part.routes(_BASE)
        routes += self.cloud_scheduler.routes(_BASE)
        # The routes of downloads are last, because they also fit many paths of other services.
        return routes + self.artifact_registry.routes()

    def _get_location(self, request: Request, project: str, location: str) -> Response:
        return Response(
            body={"name": f"projects/{project}/locations/{location}", "locationId": location}
        )

    def _check_location(self, segments: Mapping[str, str]) -> None:
        """Raise an error for a project or a location that the stand-in does not have."""
        project = segments.get("project")
        location = segments.get("location")
        if project not in (None, self.project, str(self.project_number)):
            raise denied(f"Permission denied on resource project {project} (or it may not exist).")
        if location not in (None, self.location):
            raise not_found(f"projects/{project}/locations/{location}")

    def _may_act_as(self, account: str) -> bool:
        return self.service_accounts is None or account in self.service_accounts

    def _start(self, submission: Submission, job_id: str, body: JsonObject) -> Execution:
        """Start a job and return its execution, see `Jobs`. body: the checked JSON of the job."""
        runtime = body.get("runtimeConfig") or {}
        root = runtime["gcsOutputDirectory"]
        fail_fast = runtime.get("failurePolicy") == "PIPELINE_FAILURE_POLICY_FAIL_FAST"
        return self.execute(submission, job_id, root, fail_fast=fail_fast)


def vertex(
    *,
    mode: str = ENGINE,
    project: str = PROJECT,
    location: str = LOCATION,
    port: int = 0,
    storage_port: int = 0,
    host_names: Sequence[str] = (),
) -> VertexStandIn:
    """Start a stand-in of Vertex AI Pipelines, Cloud Logging and Cloud Storage.

    Use it in a `with` block.

    Args:
        mode: `engine` runs jobs on the embedded engine, `instant` makes jobs up.
        project: the id of the only project.
        location: the only location.
        port: the port of Vertex AI and Cloud Logging, 0 for a free one.
        storage_port: the port of Cloud Storage, 0 for a free one.
        host_names: more names of this machine in the Host header of requests, as `NAME` or
            `NAME:PORT`. `localhost` and loopback addresses are always allowed.

    Raises:
        MissingExtra: the extra `testing` is not installed.
        UsageError: a port is taken.
    """
    return VertexStandIn(
        mode=mode,
        project=project,
        location=location,
        port=port,
        storage_port=storage_port,
        host_names=host_names,
    )
