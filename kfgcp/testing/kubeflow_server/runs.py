"""Runs: `/apis/v2beta1/runs`.

The texts of errors are those of the recordings tests/recorded/api-2.17.0/run-*.json. Texts without
a recording are those of run_server.go, resource_manager.go and api_converter.go.

Limits of a new run:

- The API does not limit parameters. The whole Workflow must fit into etcd
  (run-create-too-big.json). Before 2.15 the parameters must also fit into a column of 65,535 bytes.
- The server checks the columns after it has created the Workflow. The Workflow of a run that does
  not fit its columns keeps running, and no list shows it (resource_manager.go: CreateRun).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

from kfgcp.errors import KfgcpError
from kfgcp.spec.json_values import JsonObject
from kfgcp.testing.engine_runs import Execution
from kfgcp.testing.kubeflow_server import lists, rules
from kfgcp.testing.kubeflow_server.access import Access
from kfgcp.testing.kubeflow_server.creation import Creation
from kfgcp.testing.kubeflow_server.errors import (
    FAILED_PRECONDITION,
    KfpError,
    bad_request,
    internal_error,
    invalid_input,
    not_found,
)
from kfgcp.testing.kubeflow_server.experiments import Experiments
from kfgcp.testing.kubeflow_server.messages import (
    format_time,
    read_body,
    read_query,
    read_text,
)
from kfgcp.testing.kubeflow_server.records import RUN_FIELDS, RunRecord, format_source
from kfgcp.testing.kubeflow_server.run_requests import (
    PIPELINE_SOURCES,
    RunRequests,
    check_columns,
    check_workflow_size,
)
from kfgcp.testing.kubeflow_server.run_store import RunStore
from kfgcp.testing.kubeflow_server.tasks_api import Tasks, limit_page_size, wants_tasks
from kfgcp.testing.rules import Submission
from kfgcp.testing.server import Request, Response, Route

# A limit of the stand-in: the server itself accepts any size (apiserver/main.go).
MAX_REQUEST_BYTES: Final = 32 * 2**20
# The default limit of etcd, 1.5 MB.
MAX_WORKFLOW_BYTES: Final = 1_572_864

# The fields of the message Run that a request may have.
_BODY_FIELDS: Final[tuple[str, ...]] = (
    "display_name",
    "description",
    "experiment_id",
    "runtime_config",
    "service_account",
    "storage_state",
    "run_id",
    "created_at",
    "scheduled_at",
    "finished_at",
    "recurring_run_id",
    "state",
    "plugins_input",
) + PIPELINE_SOURCES
_TERMINABLE_STATES: Final = ("PENDING", "RUNNING", "PAUSED")
_UNAUTHORIZED: Final = "Failed to authorize the request"


class StartExecution(Protocol):
    """A function that starts a run. `repeats` is the execution that a retry continues."""

    def __call__(
        self, submission: Submission, run: str, root: str, *, repeats: Execution | None = None
    ) -> Execution: ...


class Runs(RunStore):
    """The runs of a server, and the methods of its API for runs.

    Args:
        access: who may do what.
        experiments: the experiments of the server.
        requests: finds the experiment and the pipeline that a request names.
        start: starts a run on the engine.
        default_root: gives the default pipeline root.
        task_details: gives the task details of a run.
        creation: gives ids and times, and the version of the server.

    Attributes:
        max_workflow_bytes: the limit for a pipeline and its parameters together, as in etcd.
        retries_failed_programs: whether a server with workflow defaults repeats a task after its
            program failed, if the pipeline sets retries for the task. The release 2.17.0 does not
            repeat it (cluster-2.17.0/retry-good-with-default-configmap).
        unseen: the executions of runs that the server refused after it had created their Workflow.
        tasks: the tasks that the server keeps itself, None when ML Metadata has the tasks.
    """

    def __init__(
        self,
        access: Access,
        experiments: Experiments,
        requests: RunRequests,
        start: StartExecution,
        default_root: Callable[[], str],
        task_details: Callable[[RunRecord], list[dict[str, Any]]],
        creation: Creation,
    ) -> None:
        super().__init__(access, creation)
        self.max_workflow_bytes = MAX_WORKFLOW_BYTES
        self.retries_failed_programs = False
        self.unseen: list[Execution] = []
        self.tasks: Tasks | None = None
        self._experiments = experiments
        self._requests = requests
        self._start = start
        self._default_root = default_root
        self._task_details = task_details
        self._version = creation.version
        self._listable = lists.Listable(
            "Run", RUN_FIELDS, lambda record: record.id, self._version.name_of_page_tokens
        )

    def routes(self, base: str) -> list[Route]:
        """Return the routes of the API below a path."""
        runs = f"{base}/runs"
        run = runs + "/{run_id}"
        return [
            Route("POST", runs, self.create),
            Route("GET", runs, self.list_all),
            Route("GET", run, self.get),
            Route("DELETE", run, self.delete),
            Route("POST", run + ":archive", self.archive),
            Route("POST", run + ":unarchive", self.unarchive),
            Route("POST", run + ":terminate", self.terminate),
            Route("POST", run + ":retry", self.retry),
        ]

    # -- methods of the API

    def create(self, request: Request) -> Response:
        """Create and start a run."""
        body = read_body(request, _BODY_FIELDS, lenient=not self._version.is_modern)
        query = read_query(request)
        if "experiment_id" in query:
            body.setdefault("experiment_id", query["experiment_id"])
        if not read_text(body, "display_name"):
            context = "Failed to convert a API run detail to its internal representation"
            problem = internal_error(invalid_input("Run name cannot be empty"), context)
            raise problem.within(
                "CreateJob(job.ToV2())Failed to create a run due to conversion error"
            )
        try:
            return Response(body=self._to_json(self.submit(body)))
        except KfpError as error:
            raise error.within("Failed to create a new run") from None

    def get(self, request: Request, run_id: str) -> Response:
        """Return a run."""
        context = "Failed to get a run"
        with_tasks = self._wants_tasks(request)
        missing_contexts = (context, f"Failed to fetch run {run_id}")
        record = self._get_allowed(run_id, "get", context, missing_contexts)
        return Response(body=self._to_json(record, with_tasks=with_tasks))

    def list_all(self, request: Request) -> Response:
        """Return a page of the runs in a namespace or an experiment."""
        query = read_query(request)
        context = "Failed to list runs"
        with_tasks = self._wants_tasks(request)
        if with_tasks:
            query["page_size"] = limit_page_size(query.get("page_size", ""))
        namespace = self._access.normalize_namespace(query.get("namespace", ""))
        experiment_id = query.get("experiment_id", "")
        if experiment_id:
            fetching_context = (
                f"{context} due to error fetching namespace for experiment {experiment_id}. Try"
                " filtering based on namespace"
            )
            experiment = self._requests.find_listed_experiment(
                experiment_id, context, fetching_context
            )
            namespace = experiment.namespace
        denied_context = (
            f"{context} due to authorization error. Check if you have permission to access"
            f" namespace {namespace}"
        )
        self._check_access(namespace, "list", "", context, denied_context)
        records = [record for record in self.all() if record.namespace == namespace]
        if experiment_id:
            records = [record for record in records if record.experiment_id == experiment_id]
        try:
            page, total, token = lists.list_page(records, query, self._listable)
        except KfpError as error:
            raise error.within("Failed to create list options") from None
        items = [self._to_json(record, with_tasks=with_tasks) for record in page]
        return Response(body=lists.format_page("runs", items, total, token))

    def delete(self, request: Request, run_id: str) -> Response:
        """Cancel and delete a run."""
        context = "Failed to delete a run"
        missing_contexts = (
            context,
            f"Failed to delete run {run_id} as it does not exist",
            f"Failed to fetch run {run_id}",
        )
        record = self._get_allowed(run_id, "delete", context, missing_contexts)
        if not record.execution.state.final:
            record.execution.cancel()
        self.remove(run_id)
        return Response()

    def archive(self, request: Request, run_id: str) -> Response:
        """Archive a run."""
        context = "Failed to archive a run"
        missing_contexts = (
            context,
            f"Failed to archive run {run_id} as it failed to be retrieved",
            f"Failed to fetch run {run_id}",
        )
        self._get_allowed(run_id, "archive", context, missing_contexts).archived = True
        return Response()

    def unarchive(self, request: Request, run_id: str) -> Response:
        """Restore an archived run."""
        context = "Failed to unarchive a run"
        missing_contexts = (
            context,
            f"Failed to unarchive run {run_id} as it does not exist",
            f"Failed to fetch run {run_id}",
        )
        record = self._get_allowed(run_id, "unarchive", context, missing_contexts)
        for experiment in self._experiments.all():
            if experiment.id == record.experiment_id and experiment.archived:
                raise KfpError(
                    FAILED_PRECONDITION,
                    f"Failed to unarchive run {run_id} as experiment {experiment.id} must be"
                    " un-archived first",
                    context,
                    "FailedPreconditionError",
                    cause="Unarchive the experiment first to allow the run to be restored",
                )
        record.archived = False
        return Response()

    def terminate(self, request: Request, run_id: str) -> Response:
        """Terminate a run."""
        context = "Failed to terminate a run"
        missing_contexts = (
            context,
            f"Failed to terminate run {run_id} due to error fetching the run",
            f"Failed to fetch run {run_id}",
        )
        record = self._get_allowed(run_id, "terminate", context, missing_contexts)
        if record.state not in _TERMINABLE_STATES:
            raise invalid_input(
                f"{context} {run_id}. Row not found", context, f"Failed to terminate run {run_id}"
            )
        record.terminate()
        if record.workflow_gone:
            raise _workflow_not_found(record).within(context)
        return Response()

    def retry(self, request: Request, run_id: str) -> Response:
        """Continue a failed run."""
        context = "Failed to retry a run"
        missing_contexts = (
            context,
            f"Failed to retry run {run_id} due to error fetching the run",
            f"Failed to fetch run {run_id}",
        )
        record = self._get_allowed(run_id, "retry", context, missing_contexts)
        if record.reported.run is None:
            text = f"Failed to retry run {run_id} due to error fetching workflow manifest"
            cause = "Invalid input error: Workflow manifest cannot be empty"
            raise bad_request(text, cause).within(context)
        if record.state not in ("FAILED", self.terminated_state):
            text = "Workflow must be Failed/Error to retry"
            error = bad_request(text, "workflow cannot be retried")
            raise error.within(context, f"Failed to retry run {run_id}")
        execution = self._execute(
            record.submission, record.name, record.root, repeats=record.execution
        )
        now = format_time(self._creation.now())
        record.retry(execution, now, keeps_history=self._version.keeps_history_at_retry)
        return Response()

    # -- for recurring runs

    def submit(
        self,
        body: JsonObject,
        *,
        name: str = "",
        recurring_run_id: str = "",
        namespace: str = "",
        scheduled: int = 0,
    ) -> RunRecord:
        """Start the run that a body describes.

        Args:
            body: the fields of the run.
            name: the name to show, by default the `display_name` of the body.
            recurring_run_id: the id of the recurring run that starts this run, by default the
                `recurring_run_id` of the body.
            namespace: the namespace to use when the body names no experiment.
            scheduled: its due time, Unix time in seconds, 0 for the time of its creation.

        Raises:
            KfpError: the server refuses the run.
        """
        experiment = self._requests.read_experiment(
            body, namespace, "runs", "Failed to create a run"
        )
        pipeline = self._requests.read_pipeline(body)
        runtime_config = dict(body.get("runtime_config") or {})
        parameters = runtime_config.get("parameters") or {}
        root = runtime_config.get("pipeline_root") or self._default_root()
        name = name or read_text(body, "display_name")
        description = read_text(body, "description")
        check_workflow_size(pipeline.spec, parameters, self.max_workflow_bytes)
        execution = self._execute(pipeline.submission, name, root)
        # The server creates the Workflow before it writes the row of the run. If MySQL refuses the
        # row, the Workflow runs, but no list shows it.
        try:
            check_columns(name, description, parameters, self._version)
        except KfpError:
            self.unseen.append(execution)
            raise
        return self.add(
            pipeline.submission,
            execution,
            created=self._creation.now(),
            name=name,
            experiment=experiment,
            source=format_source(pipeline.spec, pipeline.reference),
            runtime_config=runtime_config,
            description=description,
            service_account=read_text(body, "service_account"),
            recurring_run_id=recurring_run_id or read_text(body, "recurring_run_id"),
            scheduled=scheduled,
            root=root,
        )

    # -- helpers

    def _execute(
        self, submission: Submission, name: str, root: str, repeats: Execution | None = None
    ) -> Execution:
        if self.workflow_defaults and not self.retries_failed_programs:
            submission = rules.drop_retries(submission)
        try:
            return self._start(submission, name, root, repeats=repeats)
        except KfgcpError as error:
            raise invalid_input(f"The stand-in cannot run this pipeline: {error.message}") from None

    def _get_allowed(
        self, run_id: str, verb: str, context: str, missing_contexts: tuple[str, ...]
    ) -> RunRecord:
        """Let the agent report a run, and return it, if it exists and the caller may use it.

        Args:
            run_id: the id of the run.
            verb: the verb of the permission.
            context: the step that fails when the caller may not use the run.
            missing_contexts: the steps that fail when the run does not exist, the outermost first.

        Raises:
            KfpError: NOT_FOUND or PERMISSION_DENIED.
        """
        record = self.find(run_id)
        if record is None:
            raise not_found("Run", run_id, *missing_contexts)
        self._check_access(
            record.namespace, verb, run_id, context, _UNAUTHORIZED, name=record.workflow
        )
        self.report_automatically(record)
        return record

    def _check_access(
        self, namespace: str, verb: str, run_id: str, *contexts: str, name: str = ""
    ) -> None:
        """Refuse a request for runs that the caller may not use (run_server.go: canAccessRun)."""
        if namespace:
            step = f"Failed to access run {run_id}. Check if you have access to namespace"
            contexts = (*contexts, f"{step} {namespace}")
        self._access.check(namespace, verb, "runs", *contexts, name=name)

    def _wants_tasks(self, request: Request) -> bool:
        """Return whether the answer to a request must contain the tasks.

        Servers up to 2.17 ignore the parameter `view` (run-get-view-full.json).
        """
        return self.tasks is not None and wants_tasks(request)

    def _to_json(self, record: RunRecord, *, with_tasks: bool = False) -> dict[str, Any]:
        run = record.to_json(self._task_details)
        if self.tasks is None or record.unreadable:
            return run
        return {**run, **self.tasks.format_fields(record, full=with_tasks)}


def _workflow_not_found(record: RunRecord) -> KfpError:
    """Return the error when the Workflow of a run is gone (run-terminate-workflow-gone.json).

    A real server answers this error after ten seconds of retries.
    """
    patching = f"Failed to terminate workflow {record.workflow} due to patching error"
    cause = f'workflows.argoproj.io "{record.workflow}" not found'
    problem = f"{patching} after multiple retries: {patching}: {cause}"
    step = f"Failed to terminate run {record.id} due to error terminating its workflow"
    return internal_error(problem, step)
