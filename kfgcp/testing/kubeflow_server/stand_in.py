"""Start and stop a stand-in of a Kubeflow Pipelines server: `kfgcp.testing.kubeflow`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final, Unpack

from kfgcp.backends.kubeflow import mlmd
from kfgcp.errors import UsageError
from kfgcp.testing.cloud_logging import CloudLogging
from kfgcp.testing.google import GoogleError
from kfgcp.testing.kubeflow_server.access import Access
from kfgcp.testing.kubeflow_server.creation import Creation
from kfgcp.testing.kubeflow_server.errors import (
    INVALID,
    NOT_FOUND,
    GatewayError,
    KfpError,
    error_for_status,
)
from kfgcp.testing.kubeflow_server.experiments import DEFAULT, Experiments
from kfgcp.testing.kubeflow_server.logs import Logs
from kfgcp.testing.kubeflow_server.metadata_store import MetadataStore
from kfgcp.testing.kubeflow_server.pipelines import Pipelines
from kfgcp.testing.kubeflow_server.records import RunRecord, format_source
from kfgcp.testing.kubeflow_server.recurring import RecurringRuns
from kfgcp.testing.kubeflow_server.run_requests import RunRequests
from kfgcp.testing.kubeflow_server.runs import MAX_REQUEST_BYTES, Runs
from kfgcp.testing.kubeflow_server.task_details import format_task_details
from kfgcp.testing.kubeflow_server.tasks_api import Tasks
from kfgcp.testing.kubeflow_server.versions import ServerVersion
from kfgcp.testing.running import ENGINE, PROJECT, PROJECT_NUMBER, RunningStandIn
from kfgcp.testing.seeds import PerRun, SeedOptions, seeds, value_for_run
from kfgcp.testing.server import Request, Response, Route, Router

VERSION: Final = "2.17.0"
BASE: Final = "/apis/v2beta1"
OLD_BASE: Final = "/apis/v1beta1"
LOGIN: Final = "/dex/auth"
_UPLOADS: Final = ("/pipelines/upload", "/pipelines/upload_version")
_SIGN_IN: Final = ("401", "redirect", "page")
_PLAIN_TEXT: Final = {"Content-Type": "text/plain; charset=utf-8"}
_LOGIN_PAGE: Final = (
    b"<!DOCTYPE html><html><head><title>Sign in</title></head><body>Log in to your"
    b" account</body></html>"
)


class KubeflowStandIn(RunningStandIn):
    """Kubeflow Pipelines with ML Metadata, logs of pods, Cloud Logging and Cloud Storage.

    All these services except Cloud Storage are at `host`.

    Attributes:
        mode: `engine` runs pipelines on the embedded engine; `instant` invents the results of
            runs, as the attribute `instant` says.
        instant: the results of invented runs.
        version: the version of the server. A version before 2.0 answers only the health path of
            the API v1beta1.
        tells_version: whether the answer of the health path names the version. Otherwise the
            version is `unknown`, as in servers that were built without a version.
        access: in multi-user mode, `namespaces` are the namespaces that every caller may use, and
            `users` gives each user its own namespaces.
        sign_in: the answer to a request without a valid token: `401`, `redirect` to a login page,
            or the login `page` with 200.
        creation: gives ids and times to new objects; a test may set both.
        runs: `reporting` and `report` control what the persistence agent writes and when;
            `max_workflow_bytes` is a limit.
        pipelines: `max_spec_bytes` is a limit.
        metadata: ML Metadata; `names_types` sets whether its answers name types.
        keeps_tasks: whether the API server keeps the tasks of runs itself, without ML Metadata, as
            since 3.0. A test that sets this attribute upgrades the server, which then does not
            have the tasks of older runs.
        tasks: the tasks of a server that keeps them.
        logs: `kept` says where logs still exist: `pods`, `archive` or `gone`; see also
            `falls_back` and `published`.
        logging: Cloud Logging; its `payload` is `json` or `text`.
        full_details: whether task details have pod_name, execution_id and parent_task_id, which
            real servers leave empty.
    """

    def __init__(
        self,
        *,
        multi_user: bool = False,
        namespaces: Sequence[str] = ("team-a", "team-b"),
        version: str = VERSION,
        mode: str = ENGINE,
        project: str = PROJECT,
        port: int = 0,
        storage_port: int = 0,
        host_names: Sequence[str] = (),
    ) -> None:
        try:
            server_version = ServerVersion.parse(version)
        except ValueError:
            raise UsageError(f"'{version}' is not a version.", hint="For example 2.14.3.") from None
        self.version = version
        self.full_details = False
        self._sign_in = "401"
        self.tells_version = True
        self._version = server_version
        self._modern = server_version.is_modern
        self.creation = Creation(server_version)
        self.access = Access(multi_user, namespaces)
        self.experiments = Experiments(self.access, self._on_archive, self.creation)
        self.pipelines = Pipelines(self.access, self.creation)
        requests = RunRequests(self.access, self.experiments, self.pipelines, server_version)
        self.runs = Runs(
            self.access,
            self.experiments,
            requests,
            self.execute,
            lambda: self.pipeline_root,
            self._task_details,
            self.creation,
        )
        self.recurring = RecurringRuns(self.access, self.runs, requests, self.creation)
        self.logs = Logs(self.access, project, self.runs.all, self._modern)
        self.metadata = MetadataStore(
            self.runs.find,
            self.runs.find_by_number,
            self.runs.all,
            self._modern,
            log_uri=self.logs.log_uri,
        )
        self.tasks = Tasks(self.access, self.runs.find, self.runs.all, self.logs.log_uri)
        self.keeps_tasks = server_version.keeps_tasks
        self.logging = CloudLogging(project, PROJECT_NUMBER, self.logs.entries)
        self._router = Router(self._routes())
        self._tasks_router = Router(self.tasks.routes(BASE))
        # This must be the last step, because the server answers requests from now on.
        super().__init__(
            mode=mode, project=project, port=port, storage_port=storage_port, host_names=host_names
        )

    # -- addresses

    @property
    def host(self) -> str:
        """The address, as `kfp.Client(host=...)` takes it."""
        return self.api_endpoint

    @property
    def namespace(self) -> str:
        """The first namespace of the caller, empty in single-user mode."""
        return self.access.namespaces[0] if self.access.namespaces else ""

    def settings(self) -> dict[str, str]:
        """Return the settings of an environment of kfgcp.toml that uses this server."""
        settings = {
            "backend": "kubeflow",
            "host": self.host,
            "pipeline_root": self.pipeline_root,
            "auth": "anonymous",
        }
        if self.namespace:
            settings["namespace"] = self.namespace
        return settings

    # -- contents

    def fire(self, recurring_run: str) -> str:
        """Start a run of a recurring run now, as its trigger does.

        Args:
            recurring_run: the id of the recurring run.

        Returns:
            The id of the run.

        Raises:
            UsageError: the recurring run cannot start a run.
        """
        return self.recurring.fire(recurring_run).id

    def fire_due(self, until: float) -> list[str]:
        """Let time pass, and start the runs of all due times of recurring runs.

        Args:
            until: the end of the time, Unix time in seconds.

        Returns:
            The ids of the runs.
        """
        return [record.id for record in self.recurring.fire_due(until)]

    def seed(
        self,
        count: int,
        *,
        experiment: str = DEFAULT,
        namespace: str | None = None,
        display_name: PerRun = None,
        description: PerRun = None,
        **how: Unpack[SeedOptions],
    ) -> list[str]:
        """Add invented runs that have ended. They are only in memory.

        Display names and descriptions may be functions of the number of the run, from 0.

        Args:
            count: how many runs to add.
            experiment: the name of their experiment, which is created if it does not exist.
            namespace: their namespace, by default the first one of the caller.
            display_name: by default the pipeline's name and the number.
            description: empty by default.
            how: fields of `kfgcp.testing.seeds.SeedOptions`: spec, params, metrics, failing, age,
                step.

        Returns:
            The ids of the runs, the oldest first.
        """
        if namespace is None:
            namespace = self.namespace
        seed_experiment = self.experiments.get_or_create(experiment, namespace)
        run_ids: list[str] = []
        for seed in seeds(
            count,
            make_id=lambda name, number: self.creation.new_id(),
            root=self.pipeline_root,
            **how,
        ):
            pipeline = seed.submission.spec
            record = self.runs.add(
                seed.submission,
                seed.execution,
                created=int(seed.created),
                name=value_for_run(display_name, seed.number) or f"{pipeline.name} {seed.number}",
                experiment=seed_experiment,
                source=format_source(pipeline, None),
                runtime_config={
                    "parameters": dict(seed.params),
                    "pipeline_root": self.pipeline_root,
                },
                root=self.pipeline_root,
                description=value_for_run(description, seed.number) or "",
                run_id=seed.id,
            )
            run_ids.append(record.id)
        return run_ids

    # -- behaviour

    @property
    def keeps_tasks(self) -> bool:
        return self.runs.tasks is not None

    @keeps_tasks.setter
    def keeps_tasks(self, keeps_tasks: bool) -> None:
        if keeps_tasks:
            self.tasks.lost = {record.id for record in self.runs.all()}
            self.runs.tasks = self.tasks
        else:
            self.tasks.lost = set()
            self.runs.tasks = None

    @property
    def sign_in(self) -> str:
        return self._sign_in

    @sign_in.setter
    def sign_in(self, sign_in: str) -> None:
        if sign_in not in _SIGN_IN:
            raise UsageError(f'sign_in must be "401", "redirect" or "page", not "{sign_in}".')
        self._sign_in = sign_in

    # -- the service

    def handle(self, request: Request) -> Response:
        """Return the answer to a request that is signed in."""
        # The UI server in front of the API also serves the API below /pipeline.
        path = request.path.removeprefix("/pipeline")
        if self._is_metadata_call(request.method, path):
            return self.metadata.call(request)
        if path == LOGIN:
            return _login_page()
        if path == f"{OLD_BASE}/healthz":
            return self._health()
        if self._version.is_before_2_0 and path.startswith(BASE):
            return KfpError(NOT_FOUND, "Not Found").response(with_error=True)
        if path == f"{BASE}/healthz":
            return self._health()
        self.access.remember_caller(request)
        try:
            return self._route(
                Request(request.method, path, request.query, request.headers, request.body)
            )
        except KfpError as error:
            return error.response(with_error=not self._modern)
        except GoogleError as error:
            return error.response

    def refusal(self, status: int, text: str) -> Response:
        """Return the error that the service answers for an HTTP status and a text."""
        return error_for_status(status, text).response(with_error=not self._modern)

    def unauthenticated(self) -> Response:
        """Return the answer to a request without a valid token."""
        if self._sign_in == "401":
            text = "Unauthenticated: Request header error: there is no user identity header."
            return self.refusal(401, f"{text}: Failed to authorize the request")
        if self._sign_in == "page":
            return _login_page()
        return Response(
            302, b"", {"Location": f"{self.host}{LOGIN}?state=1", "Content-Type": "text/html"}
        )

    def is_open(self, request: Request) -> bool:
        """Return whether a request needs no token."""
        return request.path == LOGIN

    def takes_type(self, request: Request, content_type: str) -> bool:
        """Return whether a request that is not JSON has the content type that its path requires.

        These requests are uploads of pipelines, and binary messages to ML Metadata.
        """
        if request.path.endswith(_UPLOADS):
            return content_type == "multipart/form-data"
        return f"/{mlmd.SERVICE}/" in request.path and content_type.startswith("application/grpc")

    def _is_metadata_call(self, method: str, path: str) -> bool:
        is_call = method == "POST" and path.startswith(f"/{mlmd.SERVICE}/")
        return is_call and not self.keeps_tasks

    def _route(self, request: Request) -> Response:
        """Return the answer of the handler for a request."""
        if len(request.body) > MAX_REQUEST_BYTES:
            raise GatewayError(INVALID, f"the body is longer than {MAX_REQUEST_BYTES} bytes")
        match = self._router.find(request)
        if match is None and self.keeps_tasks:
            match = self._tasks_router.find(request)
        if match is None:
            return self._unknown_path(request.path)
        route, segments = match
        return route.handler(request, **segments)

    def _unknown_path(self, path: str) -> Response:
        """Return the answer to an unknown path, plain text before 2.14 (path-unknown.json)."""
        if self._modern or not path.startswith(BASE):
            return GatewayError(NOT_FOUND, "Not Found").response(with_error=not self._modern)
        return Response(404, b"Not Found\n", _PLAIN_TEXT)

    def _routes(self) -> list[Route]:
        routes: list[Route] = []
        for part in (self.experiments, self.pipelines, self.runs, self.recurring):
            routes += part.routes(BASE)
        return routes + self.logs.routes() + self.logging.routes()

    def _health(self) -> Response:
        tag = self.version if self.tells_version else "unknown"
        body = {"commit_sha": "0" * 40, "tag_name": tag, "multi_user": self.access.multi_user}
        if self._modern:
            body["pipeline_store"] = "database"
        return Response(
            body=json.dumps(body).encode(), headers={"Content-Type": "application/json"}
        )

    def _task_details(self, record: RunRecord) -> list[dict[str, Any]]:
        """Return the task details of a run as it was last reported."""
        run = record.reported.run
        if run is None or self.keeps_tasks:
            return []
        cache_key = f"details {self.full_details}"
        if cache_key in record.cache and run.state.final:
            cached: list[dict[str, Any]] = record.cache[cache_key]
            return cached
        execution_ids = self.metadata.execution_ids(record)
        details = format_task_details(
            record, run, full=self.full_details, execution_ids=execution_ids
        )
        # A retry discards the final run. Details of a discarded run must not be in the cache.
        if run.state.final and run is record.final_run:
            record.cache[cache_key] = details
        return details

    def _on_archive(self, experiment_id: str) -> None:
        self.runs.archive_all(experiment_id)
        self.recurring.disable_all(experiment_id)


def kubeflow(
    *,
    multi_user: bool = False,
    namespaces: Sequence[str] = ("team-a", "team-b"),
    version: str = VERSION,
    mode: str = ENGINE,
    project: str = PROJECT,
    port: int = 0,
    storage_port: int = 0,
    host_names: Sequence[str] = (),
) -> KubeflowStandIn:
    """Start a stand-in of a Kubeflow Pipelines API server.

    Use it with `with`, which stops it at the end.

    Args:
        multi_user: whether the server knows users and namespaces.
        namespaces: in multi-user mode, the namespaces that the caller may use.
        version: the version of the server, 2.0 to 2.17 or 3.0. The stand-in refuses requests that
            only newer versions accept, for each difference between versions that is known.
        mode: `engine` runs pipelines on the embedded engine, `instant` invents their results.
        project: the id of the Google Cloud project whose Cloud Logging has the logs.
        port: the port of the server and of Cloud Logging, 0 for a free one.
        storage_port: the port of Cloud Storage, 0 for a free one.
        host_names: names of this machine besides `localhost` and loopback addresses, as `NAME` or
            `NAME:PORT`.

    Raises:
        MissingExtra: the extra `testing` is not installed.
        UsageError: a port is not free, or the version is not a version.
    """
    return KubeflowStandIn(
        multi_user=multi_user,
        namespaces=namespaces,
        version=version,
        mode=mode,
        project=project,
        port=port,
        storage_port=storage_port,
        host_names=host_names,
    )


def _login_page() -> Response:
    return Response(200, _LOGIN_PAGE, {"Content-Type": "text/html; charset=utf-8"})
