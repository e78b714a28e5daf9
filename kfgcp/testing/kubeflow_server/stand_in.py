"""The stand-in itself: `kfgcp.testing.kubeflow`."""

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
from kfgcp.testing.kubeflow_server.errors import NOT_FOUND, GatewayError, KfpError, of_status
from kfgcp.testing.kubeflow_server.experiments import DEFAULT, Experiments
from kfgcp.testing.kubeflow_server.logs import Logs
from kfgcp.testing.kubeflow_server.metadata_store import MetadataStore
from kfgcp.testing.kubeflow_server.pipelines import Pipelines
from kfgcp.testing.kubeflow_server.records import Record, source_of
from kfgcp.testing.kubeflow_server.recurring import RecurringRuns
from kfgcp.testing.kubeflow_server.runs import MAX_REQUEST_BYTES, Runs
from kfgcp.testing.kubeflow_server.task_details import task_details
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
_PAGE: Final = (
    b"<!DOCTYPE html><html><head><title>Sign in</title></head><body>Log in to your"
    b" account</body></html>"
)


class KubeflowStandIn(RunningStandIn):
    """Kubeflow Pipelines with ML Metadata, logs of pods and Cloud Logging (at `host`), and Cloud
    Storage.

    Attributes:
        mode: `engine` runs what is submitted on the embedded engine; `instant` makes runs up, see
            `instant`.
        instant: how made-up runs turn out.
        version: of the server, as it was started; before 2.0 it has nothing but its health at the
            API v1beta1.
        tells_version: whether its health names the version, and not `unknown`, as when whoever
            built it did not say.
        access: its `namespaces` are those that the caller may use, in multi-user mode; `users`
            tells users apart.
        sign_in: what a request without a good token gets: `401`, `redirect` to a login page, or the
            `page` with 200.
        creation: gives ids and times to what is made; a test may choose them.
        runs: its `reporting` and `report`, for what the persistence agent writes when;
            `max_workflow_bytes`.
        pipelines: its `max_spec_bytes`.
        metadata: ML Metadata; `names_types`.
        keeps_tasks: whether the API server keeps the tasks of runs itself, without ML Metadata, as
            from 3.0 on. A test that sets it upgrades the server: it has no tasks of the runs that
            are there.
        tasks: the tasks of a server that keeps them.
        logs: its `kept` is `pods`, `archive` or `gone`; `falls_back`, `published`.
        logging: Cloud Logging; its `payload` is `json` or `text`.
        full_details: whether task details have pod_name, execution_id and parent_task_id, which
            servers leave empty.
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
            raise UsageError(f"'{version}' is no version.", hint="For example 2.14.3.") from None
        self.version = version
        self.full_details = False
        self._sign_in = "401"
        self.tells_version = True
        self._version = server_version
        self._modern = server_version.is_modern
        self.creation = Creation(server_version)
        self.access = Access(multi_user, namespaces)
        self.experiments = Experiments(self.access, self._archived, self.creation)
        self.pipelines = Pipelines(self.access, self.creation)
        self.runs = Runs(
            self.access,
            self.experiments,
            self.pipelines,
            self.execute,
            lambda: self.pipeline_root,
            self._details,
            self.creation,
        )
        self.recurring = RecurringRuns(self.access, self.runs, self.creation)
        self.logs = Logs(self.access, project, self.runs.all, self._modern)
        self.metadata = MetadataStore(
            self.runs.find, self.runs.by_number, self.runs.all, self._modern, log_uri=self.logs.uri
        )
        self.tasks = Tasks(self.access, self.runs.find, self.runs.all, self.logs.uri)
        self.keeps_tasks = server_version.keeps_tasks
        self.logging = CloudLogging(project, PROJECT_NUMBER, self.logs.entries)
        self._router, self._tasks_router = Router(self._routes()), Router(self.tasks.routes(BASE))
        super().__init__(
            mode=mode, project=project, port=port, storage_port=storage_port, host_names=host_names
        )

    # -- where

    @property
    def host(self) -> str:
        """The address, as `kfp.Client(host=...)` takes it."""
        return self.api_endpoint

    @property
    def namespace(self) -> str:
        """The first namespace of the caller's, empty in single-user mode."""
        return self.access.namespaces[0] if self.access.namespaces else ""

    def settings(self) -> dict[str, str]:
        """The settings of an environment of kfgcp.toml that leads here."""
        found = {
            "backend": "kubeflow",
            "host": self.host,
            "pipeline_root": self.pipeline_root,
            "auth": "anonymous",
        }
        return found | ({"namespace": self.namespace} if self.namespace else {})

    # -- what is there

    def fire(self, recurring_run: str) -> str:
        """Starts a run of a recurring run now, as its trigger would; the run's id. recurring_run:
        its id.

        Raises:
            UsageError: it starts none.
        """
        return self.recurring.fire(recurring_run).id

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
        """Adds runs that have ended, made up and in memory, the oldest first; their ids.

        What may be a function is called with the number of the run, from 0.

        Args:
            count: how many.
            experiment: the name of theirs, which is made when there is none.
            namespace: where, the first of the caller's by default.
            display_name: the pipeline's name and the number by default.
            description: empty by default.
            how: fields of `kfgcp.testing.seeds.SeedOptions`: spec, params, metrics, failing, age,
                step.
        """
        found = self.experiments.of(experiment, self.namespace if namespace is None else namespace)
        made: list[str] = []
        for seed in seeds(
            count, id_of=lambda name, number: self.creation.new_id(), root=self.pipeline_root, **how
        ):
            pipeline = seed.submission.spec
            record = self.runs.add(
                seed.submission,
                seed.execution,
                created=int(seed.created),
                name=value_for_run(display_name, seed.number) or f"{pipeline.name} {seed.number}",
                experiment=found,
                source=source_of(pipeline, None),
                runtime_config={
                    "parameters": dict(seed.params),
                    "pipeline_root": self.pipeline_root,
                },
                root=self.pipeline_root,
                description=value_for_run(description, seed.number) or "",
                run_id=seed.id,
            )
            made.append(record.id)
        return made

    # -- what goes wrong

    @property
    def keeps_tasks(self) -> bool:
        return self.runs.tasks is not None

    @keeps_tasks.setter
    def keeps_tasks(self, keeps: bool) -> None:
        self.tasks.lost = {record.id for record in self.runs.all()} if keeps else set()
        self.runs.tasks = self.tasks if keeps else None

    @property
    def sign_in(self) -> str:
        return self._sign_in

    @sign_in.setter
    def sign_in(self, kind: str) -> None:
        if kind not in _SIGN_IN:
            raise UsageError(f"There is no sign_in '{kind}'.", hint="It is 401, redirect or page.")
        self._sign_in = kind

    # -- the service

    def handle(self, request: Request) -> Response:
        path = request.path.removeprefix("/pipeline")
        if (
            path.startswith(f"/{mlmd.SERVICE}/")
            and request.method == "POST"
            and not self.keeps_tasks
        ):
            return self.metadata.call(request)
        if path == LOGIN:
            return _page()
        if path == f"{OLD_BASE}/healthz":
            return self._healthz()
        if self._version.is_before_2_0 and path.startswith(BASE):
            return KfpError(NOT_FOUND, "Not Found").response(with_error=True)
        if path == f"{BASE}/healthz":
            return self._healthz()
        self.access.enter(request)
        try:
            if len(request.body) > MAX_REQUEST_BYTES:
                raise GatewayError(3, f"the body is longer than {MAX_REQUEST_BYTES} bytes")
            below = Request(request.method, path, request.query, request.headers, request.body)
            found = self._router.find(below)
            if found is None and self.keeps_tasks:
                found = self._tasks_router.find(below)
            if found is None:
                return self._no_such_path(path)
            route, segments = found
            return route.handler(below, **segments)
        except KfpError as error:
            return error.response(with_error=not self._modern)
        except GoogleError as error:
            return error.response

    def _no_such_path(self, path: str) -> Response:
        """Return the answer to a path that is none: plain text of older servers
        (path-unknown.json)."""
        if self._modern or not path.startswith(BASE):
            return GatewayError(NOT_FOUND, "Not Found").response(with_error=not self._modern)
        return Response(404, b"Not Found\n", {"Content-Type": "text/plain; charset=utf-8"})

    def refusal(self, status: int, text: str) -> Response:
        return of_status(status, text).response(with_error=not self._modern)

    def unauthenticated(self) -> Response:
        if self._sign_in == "401":
            text = "Unauthenticated: Request header error: there is no user identity header."
            return self.refusal(401, f"{text}: Failed to authorize the request")
        if self._sign_in == "page":
            return _page()
        return Response(
            302, b"", {"Location": f"{self.host}{LOGIN}?state=1", "Content-Type": "text/html"}
        )

    def is_open(self, request: Request) -> bool:
        return request.path == LOGIN

    def takes_type(self, request: Request, content_type: str) -> bool:
        """Return whether the request is an upload of a pipeline, or a binary message of ML
        Metadata."""
        if request.path.endswith(_UPLOADS):
            return content_type == "multipart/form-data"
        return f"/{mlmd.SERVICE}/" in request.path and content_type.startswith("application/grpc")

    def _routes(self) -> list[Route]:
        parts = (self.experiments, self.pipelines, self.runs, self.recurring)
        return [
            *(route for part in parts for route in part.routes(BASE)),
            *self.logs.routes(),
            *self.logging.routes(),
        ]

    def _healthz(self) -> Response:
        tag = self.version if self.tells_version else "unknown"
        body = {"commit_sha": "0" * 40, "tag_name": tag, "multi_user": self.access.multi_user}
        if self._modern:
            body["pipeline_store"] = "database"
        return Response(
            body=json.dumps(body).encode(), headers={"Content-Type": "application/json"}
        )

    def _details(self, record: Record) -> list[dict[str, Any]]:
        """Return the task details of a run that was reported; kept once it has ended."""
        run = record.reported.run
        if run is None or self.keeps_tasks:
            return []
        key = f"details {self.full_details}"
        if key in record.kept and run.state.final:
            kept: list[dict[str, Any]] = record.kept[key]
            return kept
        executions = self.metadata.execution_ids(record)
        details = task_details(record, run, full=self.full_details, executions=executions)
        if run.state.final and run is record.ended:
            record.kept[key] = details
        return details

    def _archived(self, experiment: str) -> None:
        self.runs.archive_all(experiment)
        self.recurring.disable_all(experiment)


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
    """Starts a stand-in of a Kubeflow Pipelines API server; use it with `with`.

    Args:
        multi_user: whether it knows users and namespaces.
        namespaces: those that the caller may use, when it does.
        version: of the server, 2.0 to 2.17 or 3.0; it refuses what is newer, as far as that is
            known.
        mode: `engine` runs what is submitted on the embedded engine, `instant` makes runs up.
        project: the id of the Google Cloud project whose Cloud Logging has the logs.
        port: of the server and Cloud Logging, 0 for a free one.
        storage_port: of Cloud Storage, 0 for a free one.
        host_names: names that lead here besides `localhost` and loopback addresses, `NAME` or
            `NAME:PORT`.

    Raises:
        MissingExtra: the extra `testing` is not installed.
        UsageError: a port is taken, or the version is none.
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


def _page() -> Response:
    return Response(200, _PAGE, {"Content-Type": "text/html; charset=utf-8"})
