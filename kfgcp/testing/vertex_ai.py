"""Vertex AI Pipelines, Cloud Logging and Cloud Storage on this machine: `with kfgcp.testing.vertex() as env:`."""

from __future__ import annotations

import os
import re
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from kfgcp.errors import SpecError, UsageError
from kfgcp.spec.load import from_documents
from kfgcp.spec.params import declared, resolve
from kfgcp.testing import protos
from kfgcp.testing.artifact_registry import ArtifactRegistry
from kfgcp.testing.cloud_logging import CloudLogging
from kfgcp.testing.engine_runs import Engines, Execution
from kfgcp.testing.google import GoogleError, check_query, denied, invalid, not_found
from kfgcp.testing.jobs import Jobs
from kfgcp.testing.jobs_from_runs import Place
from kfgcp.testing.made_up import Instant, MadeUpRun
from kfgcp.testing.metadata import Metadata
from kfgcp.testing.operations import Operations
from kfgcp.testing.permissions import Permissions
from kfgcp.testing.rules import MAX_REQUEST_BYTES, Submission, Surroundings
from kfgcp.testing.schedules import Schedules
from kfgcp.testing.seeds import seed_spec
from kfgcp.testing.server import Request, Response, Route, Router
from kfgcp.testing.stand_in import StandIn
from kfgcp.testing.storage import Storage

ENGINE: Final = "engine"
INSTANT: Final = "instant"
PROJECT: Final = "stand-in-project"
PROJECT_NUMBER: Final = 123456789012
LOCATION: Final = "europe-west4"
_BASE: Final = "/v1/projects/{project}/locations/{location}"
_PROJECT_NAME: Final = re.compile(r"^projects/[^/]+/")
_EMULATOR: Final = "STORAGE_EMULATOR_HOST"

Each = Any | Callable[[int], Any]
"""A value, or a function from the number of a run to the value."""


class VertexStandIn(StandIn):
    """Vertex AI, Cloud Logging (both at `api_endpoint`) and Cloud Storage (at `storage_endpoint`), until it is closed.

    Attributes:
        mode: `engine` runs what is submitted on the embedded engine; `instant` makes jobs up, see `instant`.
        instant: how made-up jobs turn out.
        operations: its `seconds` is how long a long-running operation takes, 0 at first.
        logging: its `payload` is `json` or `text`.
        service_accounts: those that jobs may run as; None for any.
        max_request_bytes: longer requests are refused.
    """

    def __init__(
        self,
        *,
        mode: str = ENGINE,
        project: str = PROJECT,
        location: str = LOCATION,
        port: int = 0,
        storage_port: int = 0,
    ) -> None:
        if mode not in (ENGINE, INSTANT):
            raise UsageError(f"There is no mode '{mode}'.", hint="mode is engine or instant.")
        protos.require()
        self.mode = mode
        self.instant = Instant()
        self.service_accounts: set[str] | None = None
        self.max_request_bytes = MAX_REQUEST_BYTES
        self.project = project
        self.project_number = PROJECT_NUMBER
        self.location = location
        place = Place(self.project_number, location)
        self.operations = Operations(place.parent)
        around = Surroundings(lambda bucket: self._storage.has_bucket(bucket), self._may_act_as)
        self._jobs = Jobs(place, self.operations, around, self._start)
        self._schedules = Schedules(place, self.operations, self._jobs)
        self._metadata = Metadata(place, self.operations, self._jobs, self.canonical)
        self.logging = CloudLogging(project, place, self._jobs)
        self._registry = ArtifactRegistry(location)
        self.permissions = Permissions(self._may_act_as)
        self._router = Router(self._routes())
        self._engines: Engines | None = None
        self._lock = threading.Lock()
        self._storage = Storage(self.project_number, storage_port)
        try:
            super().__init__(port)
        except UsageError:
            self._storage.close()
            raise
        self._storage.make_bucket(self.bucket)
        self._before = os.environ.get(_EMULATOR)
        os.environ[_EMULATOR] = self.storage_endpoint

    def close(self) -> None:
        """Ends the jobs that still run, stops serving, and puts STORAGE_EMULATOR_HOST back."""
        if self._engines is not None:
            self._engines.close()
        super().close()
        self._storage.close()
        if self._before is None:
            os.environ.pop(_EMULATOR, None)
        else:
            os.environ[_EMULATOR] = self._before

    # -- where

    @property
    def storage_endpoint(self) -> str:
        """`http://127.0.0.1:PORT` of Cloud Storage."""
        return self._storage.endpoint

    @property
    def bucket(self) -> str:
        return f"{self.project}-pipelines"

    @property
    def pipeline_root(self) -> str:
        """A gs:// folder in a bucket that is there."""
        return f"gs://{self.bucket}/runs"

    def make_bucket(self, name: str) -> None:
        """Makes a bucket unless there is one of that name."""
        self._storage.make_bucket(name)

    def settings(self) -> dict[str, str]:
        """The settings of an environment of kfgcp.toml that leads here."""
        return {
            "backend": "vertex",
            "project": self.project,
            "location": self.location,
            "pipeline_root": self.pipeline_root,
            "api_endpoint": self.api_endpoint,
            "auth": "anonymous",
        }

    def toml(self, name: str = "stand-in") -> str:
        """The table of kfgcp.toml for an environment of that name."""
        lines = (f'{key} = "{value}"' for key, value in self.settings().items())
        return "\n".join([f"[env.{name}]", *lines]) + "\n"

    @property
    def environ(self) -> dict[str, str]:
        """Environment variables that lead here, those of the environment `stand-in`; see `environ_of`."""
        return self.environ_of("stand-in")

    def environ_of(self, name: str) -> dict[str, str]:
        """Environment variables for processes: of Cloud Storage, and of an environment that kfgcp.toml may name."""
        prefix = f"KFGCP_ENV_{name.upper().replace('-', '_')}_"
        return {_EMULATOR: self.storage_endpoint} | {
            prefix + key.upper(): value for key, value in self.settings().items()
        }

    def canonical(self, name: str) -> str:
        """A resource name with the project's number instead of its id, as the service writes names."""
        return _PROJECT_NAME.sub(f"projects/{self.project_number}/", name)

    # -- what is there

    def jobs(self) -> list[str]:
        """The ids of all jobs, oldest first."""
        return [job.id for job in self._jobs.all()]

    def publish(self, package: str, content: str, *tags: str, repository: str = "pipelines") -> str:
        """Adds a version of a compiled pipeline to Artifact Registry.

        Args:
            package: its name there.
            content: the compiled file's text.
            tags: that lead to this version from now on.
            repository: of format KFP, in the stand-in's project and location.

        Returns:
            The version's address, with its digest.
        """
        return self._registry.publish(self.project, repository, package, content, tags)

    def fire(self, schedule: str) -> str:
        """Starts a job of a schedule now, as its cron would; the job's id. schedule: its resource name or id.

        Raises:
            UsageError: it starts none.
        """
        return self._schedules.fire(schedule).id

    def seed(
        self,
        count: int,
        *,
        spec: Mapping[str, Any] | None = None,
        params: Mapping[str, Each] | None = None,
        metrics: Mapping[str, Each] | None = None,
        labels: Mapping[str, Each] | None = None,
        failing: Mapping[str, str] | None = None,
        experiment: str | None = None,
        display_name: Each = None,
        age: float = 0.0,
        step: float = 60.0,
    ) -> list[str]:
        """Adds jobs that have ended, made up and in memory, the oldest first; their ids.

        What may be a function is called with the number of the job, from 0.

        Args:
            count: how many.
            spec: a PipelineSpec; by default one with the parameters of `params` and a task `train` with metrics.
            params: parameter -> value.
            metrics: name -> number, in every artifact of system.Metrics.
            labels: key -> value.
            failing: task -> message, for jobs that FAILED.
            experiment: a Vertex experiment that they belong to.
            display_name: the pipeline's name by default.
            age: seconds since the newest one was created.
            step: seconds between one and the next.
        """
        submission = self._seeded(spec, {name: _each(value, 0) for name, value in (params or {}).items()})
        definitions = declared(submission.spec.pipeline_spec)
        now, mark, made = time.time(), secrets.token_hex(3), []
        for number in range(count):
            created = now - age - (count - 1 - number) * step
            values = {name: _each(value, number) for name, value in (params or {}).items()}
            body = {
                "displayName": _each(display_name, number) or submission.spec.name,
                "pipelineSpec": submission.spec.pipeline_spec,
                "labels": {key: str(_each(value, number)) for key, value in (labels or {}).items()},
                "runtimeConfig": {"gcsOutputDirectory": self.pipeline_root, "parameterValues": values},
            }
            how = Instant(
                metrics={name: _each(value, number) for name, value in (metrics or {}).items()},
                failing=dict(failing or {}),
            )
            job_id = f"{submission.spec.name}-{mark}-{number}"
            seeded = Submission(submission.spec, resolve(definitions, values))
            execution = MadeUpRun(seeded, job_id, self.pipeline_root, created, how)
            made.append(self._jobs.add(job_id, body, seeded, created, execution))
        if experiment is not None:
            self._metadata.experiment(experiment, made)
        return [job.id for job in made]

    # -- the service

    def handle(self, request: Request) -> Response:
        try:
            if len(request.body) > self.max_request_bytes:
                raise invalid(f"Request payload size exceeds the limit: {self.max_request_bytes} bytes.")
            found = self._router.find(request)
            if found is None:
                raise not_found(f"{request.method} {request.path}")
            route, segments = found
            check_query(request, route.query)
            self._check_place(segments)
            return route.handler(request, **segments)
        except GoogleError as error:
            return error.response

    def refusal(self, status: int, text: str) -> Response:
        return GoogleError(status, text).response

    def _routes(self) -> list[Route]:
        parts = (self._jobs, self._schedules, self._metadata, self.operations)
        place = Route("GET", _BASE, self._get_place)
        based = [route for part in parts for route in part.routes(_BASE)]
        return [*self.logging.routes(), *self.permissions.routes(), place, *based, *self._registry.routes()]

    def _get_place(self, request: Request, project: str, location: str) -> Response:
        return Response(body={"name": f"projects/{project}/locations/{location}", "locationId": location})

    def _check_place(self, segments: Mapping[str, str]) -> None:
        project, location = segments.get("project"), segments.get("location")
        if project not in (None, self.project, str(self.project_number)):
            raise denied(f"Permission denied on resource project {project} (or it may not exist).")
        if location not in (None, self.location):
            raise not_found(f"projects/{project}/locations/{location}")

    def _may_act_as(self, account: str) -> bool:
        return self.service_accounts is None or account in self.service_accounts

    def _start(self, submission: Submission, job_id: str, body: Mapping[str, Any]) -> Execution:
        runtime = body.get("runtimeConfig") or {}
        root = runtime["gcsOutputDirectory"]
        if self.mode == INSTANT:
            how = replace(self.instant, metrics=dict(self.instant.metrics), failing=dict(self.instant.failing))
            return MadeUpRun(submission, job_id, root, time.time(), how)
        with self._lock:
            self._engines = self._engines or Engines()
        fail_fast = runtime.get("failurePolicy") == "PIPELINE_FAILURE_POLICY_FAIL_FAST"
        return self._engines.start(submission, job_id, root, fail_fast)

    def _seeded(self, spec: Mapping[str, Any] | None, params: Mapping[str, Any]) -> Submission:
        try:
            found = from_documents([dict(spec) if spec is not None else seed_spec(params)], "spec")
        except SpecError as error:
            raise UsageError(f"The spec of the seed is invalid: {error.message}") from None
        return Submission(found, {})


def vertex(
    *, mode: str = ENGINE, project: str = PROJECT, location: str = LOCATION, port: int = 0, storage_port: int = 0
) -> VertexStandIn:
    """Starts a stand-in of Vertex AI Pipelines, Cloud Logging and Cloud Storage; use it with `with`.

    Args:
        mode: `engine` runs jobs on the embedded engine, `instant` makes them up.
        project: the id of the only project.
        location: the only location.
        port: of Vertex AI and Cloud Logging, 0 for a free one.
        storage_port: of Cloud Storage, 0 for a free one.

    Raises:
        MissingExtra: the extra `testing` is not installed.
        UsageError: a port is taken.
    """
    return VertexStandIn(mode=mode, project=project, location=location, port=port, storage_port=storage_port)


def _each(value: Each, number: int) -> Any:
    return value(number) if callable(value) else value
