"""Runs: `/apis/v2beta1/runs`.

The texts of errors are those of tests/recorded/api-2.17.0/run-*.json and, where there is no
recording, those of run_server.go, resource_manager.go and api_converter.go. Limits:

- The API has none for parameters. The whole Workflow must fit into etcd (run-create-too-big.json),
  and before 2.15 the parameters into a column of 65,535 bytes.
- What does not fit its column is refused after the Workflow was made, which then runs unseen
  (resource_manager.go: CreateRun).
"""

from __future__ import annotations

import json
import random
import string
import threading
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from kfgcp.errors import KfgcpError, UsageError
from kfgcp.spec.load import Spec
from kfgcp.testing.engine_runs import Execution
from kfgcp.testing.kubeflow_server import lists, rules
from kfgcp.testing.kubeflow_server.access import Access
from kfgcp.testing.kubeflow_server.creation import Creation
from kfgcp.testing.kubeflow_server.errors import (
    INVALID,
    PRECONDITION,
    GatewayError,
    KfpError,
    bad_request,
    internal,
    invalid,
    not_found,
)
from kfgcp.testing.kubeflow_server.experiments import Experiment, Experiments
from kfgcp.testing.kubeflow_server.messages import body_of, only, query_of, stamp, text_of
from kfgcp.testing.kubeflow_server.pipelines import Pipelines
from kfgcp.testing.kubeflow_server.records import FIELDS, Record, source_of
from kfgcp.testing.kubeflow_server.tasks_api import Tasks, limited_page, view_of
from kfgcp.testing.kubeflow_server.uploads import spec_of_document
from kfgcp.testing.rules import Submission
from kfgcp.testing.server import Request, Response, Route

MAX_REQUEST_BYTES: Final = 32 * 2**20
MAX_TEXT: Final = 255
"""Characters of a run's name and of its description."""
SOURCES: Final = ("pipeline_spec", "pipeline_version_reference", "pipeline_version_id")
_FIELDS: Final = (
    *(
        "display_name",
        "description",
        "experiment_id",
        "runtime_config",
        "service_account",
        "storage_state",
        "run_id",
    ),
    *(
        "created_at",
        "scheduled_at",
        "finished_at",
        "recurring_run_id",
        "state",
        "plugins_input",
        *SOURCES,
    ),
)
_LISTABLE_KIND: Final = "Run"
_RUNNING: Final = ("PENDING", "RUNNING", "PAUSED")
MAX_WORKFLOW_BYTES: Final = 1_572_864
"""Of etcd's default, 1.5 MB."""
MAX_COLUMN_BYTES: Final = 65_535
"""Of the parameters before 2.15."""
REPORTING: Final = ("all", "states", "nothing")
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
        creation: gives ids and times, and the version of the server.

    Attributes:
        max_workflow_bytes: a pipeline and parameters that are longer together do not fit into etcd.
        terminated_state: what a run becomes that was terminated.
        workflow_defaults: whether the nodes of new runs have a retry strategy: at first as the
            server is shipped.
        retries_failed_programs: whether tasks with a number of retries are tried again after their
            program failed, on a server with workflow defaults. As 2.17.0 is shipped they are not
            (cluster-2.17.0/retry-good-with-default-configmap).
        unseen: workflows of runs that the server refused after it had made them.
        tasks: the tasks that the server keeps itself, None when it does not.
    """

    def __init__(
        self,
        access: Access,
        experiments: Experiments,
        pipelines: Pipelines,
        start: Start,
        root: Callable[[], str],
        details: Callable[[Record], list[dict[str, Any]]],
        creation: Creation,
    ) -> None:
        self.max_workflow_bytes = MAX_WORKFLOW_BYTES
        self.terminated_state = "FAILED"
        self.workflow_defaults = creation.version.has_workflow_defaults
        self.retries_failed_programs = False
        self.unseen: list[Execution] = []
        self.tasks: Tasks | None = None
        self._reporting = "all"
        self._access, self._experiments, self._pipelines = access, experiments, pipelines
        self._start, self._root, self._details = start, root, details
        self._creation = creation
        self._version = creation.version
        self._records: dict[str, Record] = {}
        self._numbers: dict[int, Record] = {}
        self._count = 0
        self._lock = threading.RLock()
        self._listable = lists.Listable(
            _LISTABLE_KIND, FIELDS, lambda record: record.id, self._version.name_of_page_tokens
        )

    @property
    def reporting(self) -> str:
        """What the persistence agent reports by itself.

        `all`: every run at every look. `states`: the states of runs, but not their tasks, which
        come later in reality. `nothing`: a test calls `report`.
        """
        return self._reporting

    @reporting.setter
    def reporting(self, value: str) -> None:
        if value not in REPORTING:
            raise UsageError(
                f"There is no reporting '{value}'.", hint=f"It is {', '.join(REPORTING)}."
            )
        self._reporting = value

    @property
    def service_account(self) -> str:
        """The service account of runs that name none."""
        return _MULTI_USER_ACCOUNT if self._access.multi_user else _SERVICE_ACCOUNT

    def report(self, run: str) -> None:
        """Report a run now, as the persistence agent does. run: its id."""
        self._records[run].report()

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
        body = body_of(request, _FIELDS, lenient=not self._version.is_modern)
        if "experiment_id" in (query := query_of(request)):
            body.setdefault("experiment_id", query["experiment_id"])
        if not text_of(body, "display_name"):
            around = "Failed to convert a API run detail to its internal representation"
            problem = internal(invalid("Run name cannot be empty"), around)
            raise problem.within(
                "CreateJob(job.ToV2())Failed to create a run due to conversion error"
            )
        try:
            return Response(body=self._view(self.submit(body)))
        except KfpError as error:
            raise error.within("Failed to create a new run") from None

    def get(self, request: Request, run: str) -> Response:
        around = ("Failed to get a run", "Failed to authorize the request")
        full = self._is_full(request)
        record = self._allowed(run, "get", around, (around[0], f"Failed to fetch run {run}"))
        return Response(body=self._view(record, full=full))

    def list_all(self, request: Request) -> Response:
        query, around = query_of(request), "Failed to list runs"
        full = self._is_full(request)
        if full:
            query["page_size"] = limited_page(query.get("page_size", ""))
        namespace = self._access.place(query.get("namespace", ""))
        experiment = query.get("experiment_id", "")
        if experiment:
            problem = f"{around} due to error fetching namespace for experiment {experiment}."
            outer = (around, f"{problem} Try filtering based on namespace")
            inner = f"Failed to fetch namespace from experiment {experiment}"
            namespace = self._experiments.existing(experiment, *outer, inner).namespace
        denied = (
            f"{around} due to authorization error. Check if you have permission to access namespace"
            f" {namespace}"
        )
        self._check(namespace, "list", "", around, denied)
        items = [item for item in self.all() if item.namespace == namespace]
        if experiment:
            items = [item for item in items if item.experiment == experiment]
        try:
            page, total, token = lists.listed(items, query, self._listable)
        except KfpError as error:
            raise error.within("Failed to create list options") from None
        return Response(
            body=lists.answer("runs", [self._view(item, full=full) for item in page], total, token)
        )

    def delete(self, request: Request, run: str) -> Response:
        around = "Failed to delete a run"
        unknown = (
            around,
            f"Failed to delete run {run} as it does not exist",
            f"Failed to fetch run {run}",
        )
        record = self._allowed(run, "delete", (around, "Failed to authorize the request"), unknown)
        if not record.execution.state.final:
            record.execution.cancel()
        with self._lock:
            self._records.pop(run, None)
            self._numbers.pop(record.number, None)
        return Response()

    def archive(self, request: Request, run: str) -> Response:
        around = "Failed to archive a run"
        unknown = (
            around,
            f"Failed to archive run {run} as it failed to be retrieved",
            f"Failed to fetch run {run}",
        )
        self._allowed(
            run, "archive", (around, "Failed to authorize the request"), unknown
        ).archived = True
        return Response()

    def unarchive(self, request: Request, run: str) -> Response:
        around = "Failed to unarchive a run"
        unknown = (
            around,
            f"Failed to unarchive run {run} as it does not exist",
            f"Failed to fetch run {run}",
        )
        record = self._allowed(
            run, "unarchive", (around, "Failed to authorize the request"), unknown
        )
        for experiment in self._experiments.all():
            if experiment.id == record.experiment and experiment.archived:
                text = (
                    f"Failed to unarchive run {run} as experiment {experiment.id} must be"
                    " un-archived first"
                )
                cause = "Unarchive the experiment first to allow the run to be restored"
                raise KfpError(PRECONDITION, text, around, "FailedPreconditionError", cause=cause)
        record.archived = False
        return Response()

    def terminate(self, request: Request, run: str) -> Response:
        around = "Failed to terminate a run"
        unknown = (
            around,
            f"Failed to terminate run {run} due to error fetching the run",
            f"Failed to fetch run {run}",
        )
        record = self._allowed(
            run, "terminate", (around, "Failed to authorize the request"), unknown
        )
        if record.state not in _RUNNING:
            raise invalid(
                f"{around} {run}. Row not found", around, f"Failed to terminate run {run}"
            )
        record.terminate()
        if record.workflow_gone:
            raise internal(
                _workflow_not_found(record), f"Failed to terminate run {run} {_TERMINATING}"
            ).within(around)
        return Response()

    def retry(self, request: Request, run: str) -> Response:
        around = "Failed to retry a run"
        unknown = (
            around,
            f"Failed to retry run {run} due to error fetching the run",
            f"Failed to fetch run {run}",
        )
        record = self._allowed(run, "retry", (around, "Failed to authorize the request"), unknown)
        if record.reported.run is None:
            text = f"Failed to retry run {run} due to error fetching workflow manifest"
            cause = "Invalid input error: Workflow manifest cannot be empty"
            raise bad_request(text, cause).within(around)
        if record.state != "FAILED" and record.state != self.terminated_state:
            text = "Workflow must be Failed/Error to retry"
            inner = f"Failed to retry run {run}"
            raise bad_request(text, "workflow cannot be retried").within(around, inner)
        execution = self._execute(
            record.submission, record.name, record.root, repeats=record.execution
        )
        at = stamp(self._creation.now())
        record.retry(execution, at, keeps_history=self._version.keeps_history_at_retry)
        return Response()

    # -- for the other parts

    def submit(
        self, body: Mapping[str, Any], *, name: str = "", recurring: str = "", namespace: str = ""
    ) -> Record:
        """Start a run, which is refused or made whole.

        Raises:
            KfpError: it is refused.
        """
        experiment = self.experiment(body, namespace, "create", "runs", "Failed to create a run")
        spec, reference, submission = self.checked(body, experiment.namespace)
        runtime = dict(body.get("runtime_config") or {})
        name, root = (
            name or text_of(body, "display_name"),
            runtime.get("pipeline_root") or self._root(),
        )
        self._check_size(spec, runtime.get("parameters") or {})
        execution = self._execute(submission, name, root)
        try:
            self._check_columns(name, text_of(body, "description"), runtime)
        except KfpError:
            self.unseen.append(execution)
            raise
        return self.add(
            submission,
            execution,
            created=self._creation.now(),
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
        with self._lock:
            self._count += 1
            record = Record(
                id=run_id or self._creation.new_id(),
                number=self._count,
                name=name,
                description=description,
                experiment=experiment.id,
                namespace=experiment.namespace,
                service_account=service_account or self.service_account,
                source=source,
                runtime_config=runtime_config,
                submission=submission,
                created=created,
                workflow=f"{submission.spec.name}-{_letters()}",
                root=root,
                execution=execution,
                terminated=self.terminated_state,
                workflow_defaults=self.workflow_defaults,
                recurring=recurring,
            )
            self._records[record.id] = self._numbers[record.number] = record
            experiment.last_run = max(experiment.last_run, created)
            return record

    def checked(
        self,
        body: Mapping[str, Any],
        namespace: str,
        around: str = "Failed to create a run due to error fetching manifest",
        generating: str = rules.GENERATE,
    ) -> tuple[Spec, dict[str, str] | None, Submission]:
        """Return the pipeline of a run or a recurring run, the version that it refers to, and what
        is to be done.

        Args:
            body: of the request.
            namespace: of its experiment.
            around: what cannot be done without the pipeline.
            generating: what cannot be done with wrong parameters.

        Raises:
            KfpError: it is refused.
        """
        lenient = not self._version.is_modern
        runtime = only(
            body.get("runtime_config") or {}, ("parameters", "pipeline_root"), lenient=lenient
        )
        parameters = runtime.get("parameters") or {}
        spec, reference = self._pipeline(body, namespace, around)
        return spec, reference, rules.submission(spec, parameters, self._version, generating)

    def experiment(
        self, body: Mapping[str, Any], namespace: str, verb: str, kind: str, around: str
    ) -> Experiment:
        """Return the experiment of a run or a recurring run, that of the namespace by default.

        Args:
            body: of the request.
            namespace: where, when no experiment is named.
            verb: what is done: `create`.
            kind: of what is made: `runs`.
            around: what cannot be done without it: `Failed to create a run`.

        Raises:
            KfpError: there is none, or it is not the caller's.
        """
        outer = f"{around} due to invalid experimentId and namespace combination"
        denied = (
            f"{around} due to authorization error. Check if you have write permissions to"
            " namespace "
        )
        if experiment := text_of(body, "experiment_id"):
            inner = (
                f"Failed to fetch namespace for experiment {experiment}",
                f"Failed to fetch namespace from experiment {experiment}",
            )
            known = self._experiments.existing(experiment, outer, *inner)
            self._access.check(known.namespace, verb, kind, denied + known.namespace)
            return known
        if self._access.multi_user and not namespace:
            raise invalid("Experiment id can not be empty in multi-user mode", outer)
        self._access.check(namespace, verb, kind, denied + namespace)
        return self._experiments.default(namespace)

    def existing_experiment(self, experiment: str, *around: str) -> Experiment:
        """Return an experiment that a list names.

        Raises:
            KfpError: NOT_FOUND.
        """
        inner = f"Failed to fetch namespace from experiment {experiment}"
        return self._experiments.existing(experiment, *around, inner)

    def archive_all(self, experiment: str) -> None:
        """Archives the runs of an experiment."""
        for record in self.all():
            if record.experiment == experiment:
                record.archived = True

    def all(self) -> list[Record]:
        """Return the runs, the oldest first, as they are reported now."""
        with self._lock:
            records = list(self._records.values())
        for record in records:
            self._watch(record)
        return records

    def find(self, run: str) -> Record | None:
        return self._records.get(run)

    def by_number(self, number: int) -> Record | None:
        return self._numbers.get(number)

    # -- helpers

    def _watch(self, record: Record) -> None:
        """Let the persistence agent report a run, when it reports by itself."""
        if self._reporting != "nothing":
            record.report(with_tasks=self._reporting == "all", watched=True)

    def _pipeline(
        self, body: Mapping[str, Any], namespace: str, around: str
    ) -> tuple[Spec, dict[str, str] | None]:
        given = [name for name in SOURCES if body.get(name)]
        if len(given) > 1:
            raise GatewayError(
                INVALID, f'proto: (line 1:25): error parsing "{given[1]}", oneof is already set'
            )
        try:
            if not given:
                raise invalid("Failed to fetch a template with an empty pipeline spec manifest")
            reference = body.get("pipeline_version_reference")
            if "pipeline_version_id" in given:
                reference = {"pipeline_version_id": body["pipeline_version_id"]}
            if reference is None:
                return spec_of_document(body["pipeline_spec"]), None
            reference = only(
                reference,
                ("pipeline_id", "pipeline_version_id"),
                lenient=not self._version.is_modern,
            )
            if (place := self._pipelines.namespace(reference)) is not None:
                self._access.check(place, "get", "pipelines", shared=True)
            version = self._pipelines.referred(reference)
            return version.spec, version.reference
        except KfpError as error:
            if error.status == 403 or isinstance(error, GatewayError):
                raise
            raise internal(error, around) from None

    def _check_size(self, spec: Spec, parameters: Mapping[str, Any]) -> None:
        """Refuse a Workflow that etcd would not take."""
        size = sum(
            len(json.dumps(part, ensure_ascii=False).encode())
            for part in (spec.pipeline_spec, parameters)
        )
        if size > self.max_workflow_bytes:
            workflow = f"{spec.name}-{_letters()}"
            raise internal(
                "etcdserver: request is too large", f"Failed to create a workflow for ({workflow})"
            )

    def _check_columns(self, name: str, description: str, runtime: Mapping[str, Any]) -> None:
        """Refuse what MySQL does not store in its strict mode, which is the default one.

        `run_details` has VARCHAR(255) for texts of unsaid size (model/run.go, client_manager.go).
        """
        column = None
        if len(name) > MAX_TEXT:
            column = "DisplayName"
        elif len(description) > MAX_TEXT:
            column = "Description"
        elif not self._version.limits_names:
            parameters = json.dumps(
                runtime.get("parameters") or {}, ensure_ascii=False, separators=(",", ":")
            )
            column = "RuntimeParameters" if len(parameters.encode()) > MAX_COLUMN_BYTES else None
        if column is not None:
            problem = f"Error 1406 (22001): Data too long for column '{column}' at row 1"
            raise internal(problem, "Failed to store run to table").within("Failed to create a run")

    def _execute(
        self, submission: Submission, name: str, root: str, repeats: Execution | None = None
    ) -> Execution:
        if self.workflow_defaults and not self.retries_failed_programs:
            submission = rules.without_retries(submission)
        try:
            return self._start(submission, name, root, repeats=repeats)
        except KfgcpError as error:
            raise invalid(f"The stand-in cannot run this pipeline: {error.message}") from None

    def _allowed(
        self, run: str, verb: str, around: tuple[str, ...], unknown: tuple[str, ...]
    ) -> Record:
        """Return a run that is there and that the caller may use.

        Args:
            run: its id.
            verb: what is done.
            around: what cannot be done when it is not the caller's.
            unknown: what cannot be done when it is not there.

        Raises:
            KfpError: NOT_FOUND or DENIED.
        """
        record = self._records.get(run)
        if record is None:
            raise not_found("Run", run, *unknown)
        self._check(record.namespace, verb, run, *around, name=record.workflow)
        self._watch(record)
        return record

    def _check(self, namespace: str, verb: str, run: str, *around: str, name: str = "") -> None:
        """Refuse runs of a namespace that is not the caller's (run_server.go: canAccessRun)."""
        inner = f"Failed to access run {run}. Check if you have access to namespace {namespace}"
        if namespace:
            around = (*around, inner)
        self._access.check(namespace, verb, "runs", *around, name=name)

    def _is_full(self, request: Request) -> bool:
        """Return whether tasks are asked for; servers up to 2.17 do not look at `view`
        (run-get-view-full.json)."""
        return self.tasks is not None and view_of(request)

    def _view(self, record: Record, *, full: bool = False) -> dict[str, Any]:
        view = record.view(self._details)
        if self.tasks is None or record.unreadable:
            return view
        return {**view, **self.tasks.fields(record, full=full)}


_TERMINATING: Final = "due to error terminating its workflow"


def _workflow_not_found(record: Record) -> str:
    """Return the text of run-terminate-workflow-gone.json, which a real server answers after ten
    seconds."""
    patching = f"Failed to terminate workflow {record.workflow} due to patching error"
    cause = f'workflows.argoproj.io "{record.workflow}" not found'
    return f"{patching} after multiple retries: {patching}: {cause}"


def _letters() -> str:
    return "".join(random.choices(string.ascii_lowercase + string.digits, k=5))  # noqa: S311
