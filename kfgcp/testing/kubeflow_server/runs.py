"""Runs: `/apis/v2beta1/runs`."""

from __future__ import annotations

import random
import string
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from kfgcp.errors import KfgcpError
from kfgcp.spec.load import Spec
from kfgcp.testing.engine_runs import Execution
from kfgcp.testing.kubeflow_server import lists, rules
from kfgcp.testing.kubeflow_server.access import Access
from kfgcp.testing.kubeflow_server.errors import (
    ABORTED,
    INTERNAL,
    PRECONDITION,
    KfpError,
    internal,
    invalid,
    not_found,
)
from kfgcp.testing.kubeflow_server.experiments import Experiment, Experiments
from kfgcp.testing.kubeflow_server.messages import body_of, only, query_of, text_of
from kfgcp.testing.kubeflow_server.pipelines import Pipelines
from kfgcp.testing.kubeflow_server.records import FIELDS, Record, source_of
from kfgcp.testing.kubeflow_server.uploads import spec_of_document
from kfgcp.testing.rules import Submission
from kfgcp.testing.server import Request, Response, Route

MAX_REQUEST_BYTES: Final = 32 * 2**20
MAX_TEXT: Final = 255
"""Characters of a run's name and of its description."""
SOURCES: Final = ("pipeline_spec", "pipeline_version_reference", "pipeline_version_id")
_FIELDS: Final = (
    *("display_name", "description", "experiment_id", "runtime_config", "service_account", "storage_state", "run_id"),
    *("created_at", "scheduled_at", "finished_at", "recurring_run_id", "state", "plugins_input", *SOURCES),
)
_RUNNING: Final = ("PENDING", "RUNNING", "PAUSED")
_SERVICE_ACCOUNT: Final = "pipeline-runner"
_MULTI_USER_ACCOUNT: Final = "default-editor"


class Start(Protocol):
    def __call__(
        self, submission: Submission, run: str, root: str, *, repeats: Execution | None = None
    ) -> Execution: ...


class Runs:
    """The runs of a server.

    Args:
        access: who may do what.
        experiments: theirs.
        pipelines: whose versions they may refer to.
        start: starts one, from the submission, its name and where its artifacts go.
        root: gives the default pipeline root.
        details: gives the task details of a run.
        version: of the server.

    Attributes:
        max_parameter_bytes: longer parameters are refused.
        terminated_state: what a run becomes that was terminated.
    """

    def __init__(
        self,
        access: Access,
        experiments: Experiments,
        pipelines: Pipelines,
        start: Start,
        root: Callable[[], str],
        details: Callable[[Record], list[dict[str, Any]]],
        version: tuple[int, int],
    ) -> None:
        self.max_parameter_bytes = rules.MAX_PARAMETER_BYTES
        self.terminated_state = "CANCELED"
        self._access, self._experiments, self._pipelines = access, experiments, pipelines
        self._start, self._root, self._details = start, root, details
        self._version = version
        self._records: dict[str, Record] = {}
        self._numbers: dict[int, Record] = {}
        self._count = 0
        self._lock = threading.RLock()

    def routes(self, base: str) -> list[Route]:
        many, one = base + "/runs", base + "/runs/{run}"
        return [
            Route("POST", many, self.create),
            Route("GET", many, self.list_all),
            Route("GET", one, self.get),
            Route("DELETE", one, self.delete),
            Route("POST", one + ":archive", self.archive),
            Route("POST", one + ":unarchive", self.unarchive),
            Route("POST", one + ":terminate", self.terminate),
            Route("POST", one + ":retry", self.retry),
        ]

    # -- methods of the service

    def create(self, request: Request) -> Response:
        around = "Failed to create a new run"
        body = body_of(request, _FIELDS)
        try:
            if "experiment_id" in (query := query_of(request)):
                body.setdefault("experiment_id", query["experiment_id"])
            if not text_of(body, "display_name"):
                raise invalid("The run name is empty. Please specify a valid name")
            return Response(body=self._view(self.submit(body)))
        except KfpError as error:
            raise error.within(around) from None

    def get(self, request: Request, run: str) -> Response:
        return Response(body=self._view(self._allowed(run, "get", "Failed to get a run")))

    def list_all(self, request: Request) -> Response:
        query, around = query_of(request), "Failed to list runs"
        if experiment := query.get("experiment_id"):
            self._experiments.allowed(experiment, "list", around)
            items = [item for item in self.all() if item.experiment == experiment]
        else:
            namespace = self._access.place(query.get("namespace", ""))
            self._access.check(namespace, "list", "runs", around)
            items = [item for item in self.all() if item.namespace == namespace]
        found, total, token = lists.listed(items, query, FIELDS, lambda item: item.id)
        return Response(body=lists.answer("runs", [self._view(item) for item in found], total, token))

    def delete(self, request: Request, run: str) -> Response:
        record = self._allowed(run, "delete", "Failed to delete a run")
        if not record.execution.state.final:
            record.execution.cancel()
        with self._lock:
            self._records.pop(run, None)
            self._numbers.pop(record.number, None)
        return Response()

    def archive(self, request: Request, run: str) -> Response:
        self._allowed(run, "archive", "Failed to archive a run").archived = True
        return Response()

    def unarchive(self, request: Request, run: str) -> Response:
        around = "Failed to unarchive a run"
        record = self._allowed(run, "unarchive", around)
        experiment = next((item for item in self._experiments.all() if item.id == record.experiment), None)
        if experiment is not None and experiment.archived:
            text = f"Failed to unarchive run {run} as experiment {experiment.id} must be un-archived first"
            raise KfpError(PRECONDITION, text, around)
        record.archived = False
        return Response()

    def terminate(self, request: Request, run: str) -> Response:
        around = "Failed to terminate a run"
        record = self._allowed(run, "terminate", around)
        if record.state not in _RUNNING:
            raise invalid(f"{around} {run}. Row not found", around, f"Failed to terminate run {run}")
        record.terminating = True
        record.execution.cancel()
        return Response()

    def retry(self, request: Request, run: str) -> Response:
        around = "Failed to retry a run"
        record = self._allowed(run, "retry", around)
        if record.archived:
            raise KfpError(PRECONDITION, f"Run {run} is archived", around)
        if not record.run().state.final or record.state == "SUCCEEDED":
            text = "Workflow must be Failed/Error to retry"
            raise KfpError(ABORTED, text, around, f"Failed to retry run {run}", "BadRequestError")
        record.retry(self._execute(record.submission, record.name, record.root, repeats=record.execution))
        return Response()

    # -- for the other parts

    def submit(self, body: Mapping[str, Any], *, name: str = "", recurring: str = "", namespace: str = "") -> Record:
        """Starts a run, which is refused or made whole.

        Raises:
            KfpError: it is refused.
        """
        experiment = self.experiment(body, namespace, "create", "runs")
        spec, reference, submission = self.checked(body, experiment.namespace)
        runtime = dict(body.get("runtime_config") or {})
        name, root = name or text_of(body, "display_name"), runtime.get("pipeline_root") or self._root()
        _check_columns({"DisplayName": name, "Description": text_of(body, "description")})
        created = int(time.time())
        execution = self._execute(submission, name, root)
        return self.add(
            submission,
            execution,
            created=created,
            name=name,
            experiment=experiment,
            source=source_of(spec, reference),
            runtime_config=runtime,
            description=text_of(body, "description"),
            service_account=text_of(body, "service_account"),
            recurring=recurring or text_of(body, "recurring_run_id"),
            root=root,
        )

    def add(
        self,
        submission: Submission,
        execution: Execution,
        *,
        created: int,
        name: str,
        experiment: Experiment,
        source: Mapping[str, Any],
        runtime_config: Mapping[str, Any],
        root: str,
        description: str = "",
        service_account: str = "",
        recurring: str = "",
        run_id: str = "",
    ) -> Record:
        """Adds a run that is carried out already."""
        default = _MULTI_USER_ACCOUNT if self._access.multi_user else _SERVICE_ACCOUNT
        with self._lock:
            self._count += 1
            record = Record(
                id=run_id or str(uuid.uuid4()),
                number=self._count,
                name=name,
                description=description,
                experiment=experiment.id,
                namespace=experiment.namespace,
                service_account=service_account or default,
                source=source,
                runtime_config=runtime_config,
                submission=submission,
                created=created,
                workflow=f"{submission.spec.name}-{_letters()}",
                root=root,
                execution=execution,
                terminated=self.terminated_state,
                recurring=recurring,
            )
            self._records[record.id] = self._numbers[record.number] = record
            experiment.last_run = max(experiment.last_run, created)
            return record

    def checked(self, body: Mapping[str, Any], namespace: str) -> tuple[Spec, dict[str, str] | None, Submission]:
        """The pipeline of a run or a recurring run, the version that it refers to, and what is to be done.

        Raises:
            KfpError: it is refused.
        """
        runtime = only(body.get("runtime_config") or {}, ("parameters", "pipeline_root"))
        parameters = runtime.get("parameters") or {}
        spec, reference = self._pipeline(body, namespace)
        return spec, reference, rules.submission(spec, parameters, self._version, self.max_parameter_bytes)

    def experiment(self, body: Mapping[str, Any], namespace: str, verb: str, kind: str) -> Experiment:
        """The experiment of a run or a recurring run, that of the namespace by default.

        Raises:
            KfpError: there is none, or it is not the caller's.
        """
        if experiment := text_of(body, "experiment_id"):
            around = "due to invalid experimentId and namespace combination"
            found = self._experiments.allowed(experiment, verb, f"Failed to create a run {around}")
            self._access.check(found.namespace, verb, kind)
            return found
        self._access.check(namespace, verb, kind)
        return self._experiments.default(namespace)

    def archive_all(self, experiment: str) -> None:
        """Archives the runs of an experiment."""
        for record in self.all():
            if record.experiment == experiment:
                record.archived = True

    def all(self) -> list[Record]:
        """Oldest first."""
        with self._lock:
            return list(self._records.values())

    def find(self, run: str) -> Record | None:
        return self._records.get(run)

    def by_number(self, number: int) -> Record | None:
        return self._numbers.get(number)

    # -- helpers

    def _pipeline(self, body: Mapping[str, Any], namespace: str) -> tuple[Spec, dict[str, str] | None]:
        given = [name for name in SOURCES if body.get(name)]
        if len(given) > 1:
            raise KfpError(3, f'proto: error parsing "{given[1]}", oneof pipeline_source is already set')
        if not given:
            raise invalid(
                "Pipeline spec source is missing", "Failed to fetch a template due to missing pipeline source"
            )
        reference = body.get("pipeline_version_reference")
        if "pipeline_version_id" in given:
            reference = {"pipeline_version_id": body["pipeline_version_id"]}
        try:
            if reference is None:
                return spec_of_document(body["pipeline_spec"]), None
            reference = only(reference, ("pipeline_id", "pipeline_version_id"))
            if (place := self._pipelines.namespace(reference)) is not None:
                self._access.check(place, "get", "pipelines", shared=True)
            version = self._pipelines.referred(reference)
            return version.spec, version.reference
        except KfpError as error:
            if error.status == 403:
                raise
            raise internal(error, "Failed to create a run due to error fetching manifest") from None

    def _execute(self, submission: Submission, name: str, root: str, repeats: Execution | None = None) -> Execution:
        try:
            return self._start(submission, name, root, repeats=repeats)
        except KfgcpError as error:
            raise invalid(f"The stand-in cannot run this pipeline: {error.message}") from None

    def _allowed(self, run: str, verb: str, *around: str) -> Record:
        record = self._records.get(run)
        if record is None:
            raise not_found("Run", run, *around, f"Failed to fetch run {run}")
        self._access.check(record.namespace, verb, "runs", *around)
        return record

    def _view(self, record: Record) -> dict[str, Any]:
        return record.view(self._details)


def _check_columns(texts: Mapping[str, str]) -> None:
    """Refuses what MySQL would, in its strict mode, which is the default one: `run_details` has VARCHAR(255) for texts
    of unsaid size (model/run.go, client_manager.go)."""
    for column, text in texts.items():
        if len(text) > MAX_TEXT:
            problem = KfpError(INTERNAL, f"Error 1406 (22001): Data too long for column '{column}' at row 1")
            raise internal(problem.within("Failed to store run to table"), "Failed to create a run")


def _letters() -> str:
    return "".join(random.choices(string.ascii_lowercase + string.digits, k=5))  # noqa: S311
