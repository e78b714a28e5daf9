"""Recurring runs: `/apis/v2beta1/recurringruns`. They start runs when a test calls `fire` or
`fire_due`.

- Without `mode` the server creates a recurring run that is disabled
  (recurring-run-create-no-mode.json). Without a trigger it creates one that never fires
  (recurring-run-create-no-trigger.json). max_concurrency has no default
  (recurring-run-create-no-concurrency.json).
- The server creates the object that starts runs before it writes the row. When MySQL refuses the
  row, no list shows what starts the runs (CreateJob in resource_manager.go), see `unseen`.
- Enabling an enabled one does not change `updated_at` (ChangeJobMode in job_store.go).
- A recurring run owns the Workflows of its runs (SetOwnerReferences in common/util/workflow.go), so
  Kubernetes deletes active ones with it, and the state of their runs never changes again. Since
  2.16 a request can leave them: propagation_policy=ORPHAN (recurring_run.proto).
- A run has no description and no service account, and its `scheduled_at` is its due time
  (ReportWorkflowResource in resource_manager.go).
- The texts of errors are those of recurring-run-*.json, job_server.go and api_converter.go.
"""

from __future__ import annotations

import threading
from datetime import UTC, tzinfo
from typing import Final

from kfgcp.errors import UsageError
from kfgcp.spec.json_values import JsonObject
from kfgcp.testing.kubeflow_server import lists
from kfgcp.testing.kubeflow_server.access import Access
from kfgcp.testing.kubeflow_server.creation import Creation
from kfgcp.testing.kubeflow_server.errors import (
    INVALID,
    GatewayError,
    KfpError,
    internal_error,
    invalid_input,
    not_found,
)
from kfgcp.testing.kubeflow_server.messages import read_body, read_query, read_text
from kfgcp.testing.kubeflow_server.records import RunRecord, format_source
from kfgcp.testing.kubeflow_server.recurring_records import (
    RECURRING_RUN_FIELDS,
    RecurringRun,
    make_resource_name,
)
from kfgcp.testing.kubeflow_server.rules import UnexpectedError
from kfgcp.testing.kubeflow_server.run_requests import (
    MAX_TEXT_LENGTH,
    PIPELINE_SOURCES,
    RunRequests,
    check_columns,
    check_workflow_size,
)
from kfgcp.testing.kubeflow_server.runs import Runs
from kfgcp.testing.kubeflow_server.triggers import Trigger, read_int64
from kfgcp.testing.server import Request, Response, Route

# The limit of api_converter.go (toModelJob).
MAX_CONCURRENCY: Final = 10
_MODES: Final = ("MODE_UNSPECIFIED", "ENABLE", "DISABLE")

# The fields of the message RecurringRun that a request may have.
_BODY_FIELDS: Final[tuple[str, ...]] = (
    "recurring_run_id",
    "display_name",
    "description",
    "runtime_config",
    "service_account",
    "max_concurrency",
    "trigger",
    "mode",
    "created_at",
    "updated_at",
    "status",
    "no_catchup",
    "namespace",
    "experiment_id",
    "plugins_input",
) + PIPELINE_SOURCES
# The values of propagation_policy, of which the first three delete active Workflows.
_POLICIES: Final = (
    "",
    "DELETE_PROPAGATION_POLICY_UNSPECIFIED",
    "FOREGROUND",
    "BACKGROUND",
    "ORPHAN",
)

# The fields of a recurring run that its runs do not have.
_OWN_FIELDS: Final = ("description", "service_account")


class RecurringRuns:
    """The recurring runs of a server.

    Args:
        access: who may do what.
        runs: the runs of the server. A recurring run adds the runs that it starts.
        requests: finds the experiment and the pipeline that a request names.
        creation: gives ids and times, and the version of the server.

    Attributes:
        zone: the zone in which the controller reads cron expressions, CRON_SCHEDULE_TIMEZONE.
        unseen: the recurring runs that the server refused after it had created their objects.
    """

    def __init__(
        self, access: Access, runs: Runs, requests: RunRequests, creation: Creation
    ) -> None:
        self._access = access
        self._runs = runs
        self._requests = requests
        self._creation = creation
        self.zone: tzinfo = UTC
        self.unseen: list[RecurringRun] = []
        self._listable = lists.Listable(
            "Job",
            RECURRING_RUN_FIELDS,
            lambda recurring: recurring.id,
            creation.version.name_of_page_tokens,
        )
        self._recurring_runs_by_id: dict[str, RecurringRun] = {}
        self._lock = threading.RLock()

    def routes(self, base: str) -> list[Route]:
        """Return the routes of the API below a path."""
        recurring_runs = f"{base}/recurringruns"
        recurring_run = recurring_runs + "/{recurring_run_id}"
        return [
            Route("POST", recurring_runs, self.create),
            Route("GET", recurring_runs, self.list_all),
            Route("GET", recurring_run, self.get),
            Route("DELETE", recurring_run, self.delete),
            Route("POST", recurring_run + ":enable", self.enable),
            Route("POST", recurring_run + ":disable", self.disable),
        ]

    # -- methods of the API

    def create(self, request: Request) -> Response:
        """Create a recurring run."""
        body = read_body(request, _BODY_FIELDS, lenient=not self._creation.version.is_modern)
        trigger = self._check_body(body)
        try:
            recurring_run = self._build(body, trigger)
            self._check_columns(recurring_run)
        except KfpError as error:
            raise error.within("Failed to create a recurring run") from None
        with self._lock:
            self._recurring_runs_by_id[recurring_run.id] = recurring_run
        return Response(body=recurring_run.to_json())

    def get(self, request: Request, recurring_run_id: str) -> Response:
        """Return a recurring run."""
        record = self._get_allowed(recurring_run_id, "get", "Failed to fetch a recurring run")
        return Response(body=record.to_json())

    def list_all(self, request: Request) -> Response:
        """Return a page of the recurring runs in a namespace or an experiment."""
        query = read_query(request)
        context = "Failed to list jobs"
        with self._lock:
            records = list(self._recurring_runs_by_id.values())
        namespace = self._access.normalize_namespace(query.get("namespace", ""))
        experiment_id = query.get("experiment_id")
        if experiment_id:
            fetching_context = (
                "Failed to list recurring runs due to error fetching namespace for experiment"
                f" {experiment_id}"
            )
            experiment = self._requests.find_listed_experiment(
                experiment_id, context, fetching_context
            )
            namespace = experiment.namespace
            records = [record for record in records if record.experiment_id == experiment_id]
        denied_context = (
            "Failed to list recurring runs due to authorization error. Check if you have permission"
            f" to access namespace {namespace}"
        )
        self._access.check(namespace, "list", "jobs", context, denied_context)
        records = [record for record in records if record.namespace == namespace]
        try:
            page, total, token = lists.list_page(records, query, self._listable)
        except KfpError as error:
            raise error.within(
                "Failed to list recurring runs due to error parsing the listing options"
            ) from None
        items = [record.to_json() for record in page]
        return Response(body=lists.format_page("recurringRuns", items, total, token))

    def delete(self, request: Request, recurring_run_id: str) -> Response:
        """Delete a recurring run."""
        missing_context = f"Failed to delete recurring run {recurring_run_id}. Check if exists"
        self._get_allowed(
            recurring_run_id, "delete", "Failed to delete a recurring run", missing_context
        )
        policy = read_query(request).get("propagation_policy", "")
        has_policies = self._creation.version.has_propagation_policies
        if has_policies and policy not in _POLICIES:
            raise GatewayError(
                INVALID, f"type mismatch, parameter: propagation_policy, error: {policy} is invalid"
            )
        with self._lock:
            self._recurring_runs_by_id.pop(recurring_run_id, None)
        if not has_policies or policy != "ORPHAN":
            self._delete_workflows(recurring_run_id)
        return Response()

    def enable(self, request: Request, recurring_run_id: str) -> Response:
        """Enable a recurring run."""
        return self._set_enabled(recurring_run_id, True)

    def disable(self, request: Request, recurring_run_id: str) -> Response:
        """Disable a recurring run."""
        return self._set_enabled(recurring_run_id, False)

    # -- for the stand-in

    def fire(self, recurring_run_id: str) -> RunRecord:
        """Start a run of a recurring run now.

        Raises:
            UsageError: the recurring run does not exist or is disabled, too many of its runs are
                running, or the server refuses its run.
        """
        recurring_run = self._recurring_runs_by_id.get(recurring_run_id)
        if recurring_run is None:
            raise UsageError(f"There is no recurring run {recurring_run_id}.")
        if not recurring_run.enabled:
            raise UsageError(f"The recurring run {recurring_run_id} is disabled.")
        self._check_concurrency(recurring_run)
        return self._start(recurring_run, self._creation.now())

    def fire_due(self, until: float) -> list[RunRecord]:
        """Let time pass, and start the runs of all due times, as the controller does.

        A due time waits while max_concurrency runs are active. So runs of this stand-in end only
        between two calls.

        Args:
            until: the end of the time, Unix time in seconds.

        Returns:
            The runs, in the order of their recurring runs.
        """
        started: list[RunRecord] = []
        with self._lock:
            recurring_runs = list(self._recurring_runs_by_id.values())
        for recurring_run in recurring_runs:
            if recurring_run.enabled:
                started += self._fire_due(recurring_run, int(until))
        return started

    def _fire_due(self, recurring_run: RecurringRun, until: int) -> list[RunRecord]:
        started: list[RunRecord] = []
        while self._count_active(recurring_run) < recurring_run.max_concurrency:
            due = recurring_run.next_due(recurring_run.visited, self.zone)
            if due is None or due > until:
                break
            # The controller looks at each recurring run when it is due.
            recurring_run.visited = max(recurring_run.visited, due)
            recurring_run.last_due = due
            started.append(self._start(recurring_run, due))
        recurring_run.visited = max(recurring_run.visited, until)
        return started

    def _start(self, recurring_run: RecurringRun, due: int) -> RunRecord:
        """Start a run of a recurring run. due: Unix time in seconds."""
        body = {key: value for key, value in recurring_run.body.items() if key not in _OWN_FIELDS}
        try:
            return self._runs.submit(
                body,
                name=recurring_run.next_run_name(),
                recurring_run_id=recurring_run.id,
                namespace=recurring_run.namespace,
                scheduled=due,
            )
        except KfpError as error:
            raise UsageError(
                f"The server refuses the run of the recurring run: {error.chain}"
            ) from None

    def disable_all(self, experiment_id: str) -> None:
        """Disable the recurring runs of an experiment that is archived."""
        for recurring_run in list(self._recurring_runs_by_id.values()):
            if recurring_run.experiment_id == experiment_id:
                recurring_run.enabled = False

    # -- helpers

    def _active_runs(self, recurring_run_id: str) -> list[RunRecord]:
        active: list[RunRecord] = []
        for record in self._runs.all():
            if record.recurring_run_id != recurring_run_id:
                continue
            if not record.current_run().state.final:
                active.append(record)
        return active

    def _count_active(self, recurring_run: RecurringRun) -> int:
        return len(self._active_runs(recurring_run.id))

    def _delete_workflows(self, recurring_run_id: str) -> None:
        """Delete the active Workflows of a recurring run. Their runs keep their states for ever."""
        for record in self._active_runs(recurring_run_id):
            record.workflow_gone = True
            record.execution.cancel()

    def _check_concurrency(self, recurring_run: RecurringRun) -> None:
        active_count = self._count_active(recurring_run)
        limit = recurring_run.max_concurrency
        if active_count >= limit:
            raise UsageError(
                f"{active_count} runs of the recurring run {recurring_run.id} are running, and its"
                f" max_concurrency is {limit}."
            )

    def _check_body(self, body: JsonObject) -> Trigger:
        """Refuse a body that the server cannot convert to a row (api_converter.go: toModelJob)."""
        try:
            return self._check_fields(body)
        except KfpError as error:
            context = "Failed to create a recurring run due to conversion error"
            raise error.within(context) from None

    def _check_fields(self, body: JsonObject) -> Trigger:
        if not read_text(body, "display_name"):
            context = "Failed to convert a API recurring run to its internal representation"
            raise internal_error(invalid_input("Recurring run's name cannot be empty"), context)
        lenient = not self._creation.version.is_modern
        trigger = Trigger.parse(body.get("trigger") or {}, lenient=lenient)
        mode = body.get("mode", "MODE_UNSPECIFIED")
        if mode not in _MODES:
            raise GatewayError(
                INVALID, f'proto: (line 1:25): invalid value for enum field mode: "{mode}"'
            )
        concurrency = read_int64(body.get("max_concurrency") or 0, "max_concurrency")
        if not 1 <= concurrency <= MAX_CONCURRENCY:
            raise invalid_input(
                "Max concurrency of a recurring run must be at least 1 and at most"
                f" {MAX_CONCURRENCY}. Received {concurrency}"
            )
        return trigger

    def _build(self, body: JsonObject, trigger: Trigger) -> RecurringRun:
        namespace = self._access.normalize_namespace(read_text(body, "namespace"))
        experiment = self._requests.read_experiment(
            body, namespace, "jobs", "Failed to create a recurring run"
        )
        if not any(body.get(name) for name in PIPELINE_SOURCES):
            raise UnexpectedError("Cannot create a job with an empty pipeline ID")
        pipeline = self._requests.read_pipeline(
            body,
            "Failed to create a recurring run with an invalid pipeline spec manifest",
            "Failed to create a recurring run during scheduled workflow creation",
        )
        parameters = (body.get("runtime_config") or {}).get("parameters") or {}
        check_workflow_size(pipeline.spec, parameters, self._runs.max_workflow_bytes)
        now = self._creation.now()
        return RecurringRun(
            id=self._creation.new_id(),
            body=body,
            source=format_source(pipeline.spec, pipeline.reference),
            experiment_id=experiment.id,
            namespace=experiment.namespace,
            enabled=body.get("mode") == "ENABLE",
            created=now,
            updated=now,
            service_account=self._runs.service_account,
            trigger=trigger,
            resource=make_resource_name(read_text(body, "display_name")),
            visited=now,
        )

    def _check_columns(self, recurring_run: RecurringRun) -> None:
        """Refuse values that MySQL cannot store. Then what starts the runs exists already."""
        body = recurring_run.body
        parameters = (body.get("runtime_config") or {}).get("parameters") or {}
        try:
            check_columns(
                read_text(body, "display_name"),
                read_text(body, "description"),
                parameters,
                self._creation.version,
            )
            if len(recurring_run.trigger.cron) > MAX_TEXT_LENGTH:
                problem = "Error 1406 (22001): Data too long for column 'Schedule' at row 1"
                raise internal_error(problem, "Failed to store job to table")
        except KfpError:
            self.unseen.append(recurring_run)
            raise

    def _get_allowed(
        self, recurring_run_id: str, verb: str, context: str, *missing_contexts: str
    ) -> RecurringRun:
        """Return a recurring run if it exists and the caller may use it.

        Args:
            recurring_run_id: the id of the recurring run.
            verb: the verb of the permission.
            context: the step that fails.
            missing_contexts: the steps that fail when the recurring run does not exist.
        """
        recurring_run = self._recurring_runs_by_id.get(recurring_run_id)
        if recurring_run is None:
            raise not_found("Job", recurring_run_id, context, *missing_contexts)
        self._access.check(
            recurring_run.namespace,
            verb,
            "jobs",
            context,
            "Failed to authorize the request",
            "failed to authorize with API",
        )
        return recurring_run

    def _set_enabled(self, recurring_run_id: str, enabled: bool) -> Response:
        verb = "enable" if enabled else "disable"
        missing_context = (
            f"Failed to change recurring run's mode to enable:{str(enabled).lower()}. Check if"
            f" recurring run {recurring_run_id} exists"
        )
        recurring_run = self._get_allowed(
            recurring_run_id, verb, f"Failed to {verb} a recurring run", missing_context
        )
        if recurring_run.enabled != enabled:
            recurring_run.enabled = enabled
            recurring_run.updated = self._creation.now()
            recurring_run.visited = recurring_run.updated
        return Response()
