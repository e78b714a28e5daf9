"""Vertex AI Pipelines, Cloud Logging and Cloud Storage on this machine: `with
kfgcp.testing.vertex() as env:`."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from typing import Any, Final, Unpack

from kfgcp.testing import protos
from kfgcp.testing.artifact_registry import ArtifactRegistry
from kfgcp.testing.cloud_logging import CloudLogging
from kfgcp.testing.engine_runs import Execution
from kfgcp.testing.google import GoogleError, check_query, denied, invalid, not_found
from kfgcp.testing.job_logs import JobLogs
from kfgcp.testing.jobs import Jobs
from kfgcp.testing.jobs_from_runs import Place
from kfgcp.testing.metadata import Metadata
from kfgcp.testing.operations import Operations
from kfgcp.testing.permissions import TOKEN_INFO, Permissions
from kfgcp.testing.rules import MAX_REQUEST_BYTES, Submission, Surroundings
from kfgcp.testing.running import ENGINE, PROJECT, PROJECT_NUMBER, RunningStandIn
from kfgcp.testing.schedules import Schedules
from kfgcp.testing.seeds import PerRun, SeedOptions, seeds, value_for_run
from kfgcp.testing.server import Request, Response, Route, Router

LOCATION: Final = "europe-west4"
_BASE: Final = "/v1/projects/{project}/locations/{location}"
_PROJECT_NAME: Final = re.compile(r"^projects/[^/]+/")


class VertexStandIn(RunningStandIn):
    """Vertex AI, Cloud Logging and Artifact Registry at `api_endpoint`, and Cloud Storage at
    `storage_endpoint`.

    They answer until the stand-in is closed.

    Attributes:
        mode: `engine` runs what is submitted on the embedded engine; `instant` makes jobs up, see
            `instant`.
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
        host_names: Sequence[str] = (),
    ) -> None:
        protos.require()
        self.service_accounts: set[str] | None = None
        self.max_request_bytes = MAX_REQUEST_BYTES
        self.location = location
        place = Place(PROJECT_NUMBER, location)
        self.operations = Operations(place.parent)
        around = Surroundings(
            lambda bucket: self._storage.has_bucket(bucket),
            self._may_act_as,
            lambda artifact_id: self._metadata.artifact_uri(artifact_id),
        )
        self._jobs = Jobs(place, self.operations, around, self._start)
        self._schedules = Schedules(place, self.operations, self._jobs)
        self._metadata = Metadata(place, self.operations, self._jobs, self.canonical)
        self.logging = CloudLogging(
            project, PROJECT_NUMBER, JobLogs(project, place, self._jobs).entries
        )
        self._registry = ArtifactRegistry(location)
        self.permissions = Permissions(self._may_act_as)
        self._router = Router(self._routes())
        super().__init__(
            mode=mode, project=project, port=port, storage_port=storage_port, host_names=host_names
        )

    # -- where

    def settings(self) -> dict[str, str]:
        """The settings of an environment of kfgcp.toml that leads here."""
        return {
            "backend": "vertex",
            "project": self.project,
            "location": self.location,
            "pipeline_root": self.pipeline_root,
            "api_endpoint": self.api_endpoint,
            "logging_endpoint": self.api_endpoint,
            "artifact_registry_endpoint": self.api_endpoint,
            "auth": "anonymous",
        }

    def canonical(self, name: str) -> str:
        """A resource name with the project's number instead of its id, as the service writes
        names."""
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
        """Starts a job of a schedule now, as its cron would; the job's id. schedule: its resource
        name or id.

        Raises:
            UsageError: it starts none.
        """
        return self._schedules.fire(schedule).id

    def seed(
        self,
        count: int,
        *,
        labels: Mapping[str, PerRun] | None = None,
        experiment: str | None = None,
        display_name: PerRun = None,
        **how: Unpack[SeedOptions],
    ) -> list[str]:
        """Adds jobs that have ended, made up and in memory, the oldest first; their ids.

        What may be a function is called with the number of the job, from 0.

        Args:
            count: how many.
            labels: key -> value.
            experiment: a Vertex experiment that they belong to.
            display_name: the pipeline's name by default.
            how: fields of `kfgcp.testing.seeds.SeedOptions`: spec, params, metrics, failing, age,
                step.
        """
        mark, made = secrets.token_hex(3), []
        for seed in seeds(
            count,
            id_of=lambda name, number: f"{name}-{mark}-{number}",
            root=self.pipeline_root,
            **how,
        ):
            pipeline = seed.submission.spec
            body = {
                "displayName": value_for_run(display_name, seed.number) or pipeline.name,
                "pipelineSpec": pipeline.pipeline_spec,
                "labels": {
                    key: str(value_for_run(value, seed.number))
                    for key, value in (labels or {}).items()
                },
                "runtimeConfig": {
                    "gcsOutputDirectory": self.pipeline_root,
                    "parameterValues": dict(seed.params),
                },
            }
            made.append(
                self._jobs.add(seed.id, body, seed.submission, seed.created, seed.execution)
            )
        if experiment is not None:
            self._metadata.add_to_experiment(experiment, made)
        return [job.id for job in made]

    # -- the service

    def handle(self, request: Request) -> Response:
        try:
            if len(request.body) > self.max_request_bytes:
                raise invalid(
                    f"Request payload size exceeds the limit: {self.max_request_bytes} bytes."
                )
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

    def takes_type(self, request: Request, content_type: str) -> bool:
        """Return whether the request asks whose token it is, which Google's service takes as a
        form.

        It changes nothing, so a web page may send it.
        """
        return request.path == TOKEN_INFO and content_type == "application/x-www-form-urlencoded"

    def _routes(self) -> list[Route]:
        parts = (self._jobs, self._schedules, self._metadata, self.operations)
        place = Route("GET", _BASE, self._get_place)
        based = [route for part in parts for route in part.routes(_BASE)]
        return [
            *self.logging.routes(),
            *self.permissions.routes(),
            place,
            *based,
            *self._registry.routes(),
        ]

    def _get_place(self, request: Request, project: str, location: str) -> Response:
        return Response(
            body={"name": f"projects/{project}/locations/{location}", "locationId": location}
        )

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
    """Starts a stand-in of Vertex AI Pipelines, Cloud Logging and Cloud Storage; use it with
    `with`.

    Args:
        mode: `engine` runs jobs on the embedded engine, `instant` makes them up.
        project: the id of the only project.
        location: the only location.
        port: of Vertex AI and Cloud Logging, 0 for a free one.
        storage_port: of Cloud Storage, 0 for a free one.
        host_names: names that lead here besides `localhost` and loopback addresses, `NAME` or
            `NAME:PORT`.

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
