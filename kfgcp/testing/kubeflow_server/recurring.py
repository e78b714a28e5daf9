"""Recurring runs: `/apis/v2beta1/recurringruns`. They start runs only when a test calls `fire`.

- A cron expression has six fields, and the first field is the seconds. The server's library also
  reads expressions with five fields: the first field is still the seconds, and the weekday is
  missing.
- Without `mode` the server creates a recurring run that is disabled
  (recurring-run-create-no-mode.json). Without a trigger it creates one that never fires
  (recurring-run-create-no-trigger.json). max_concurrency has no default
  (recurring-run-create-no-concurrency.json).
- The answer always has namespace and service_account (recurring-run-get.json).
- The texts of errors are those of recurring-run-*.json, job_server.go and api_converter.go. Not
  confirmed: the names of the runs that a recurring run starts.
"""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass
from typing import Any, Final

from kfgcp.errors import UsageError
from kfgcp.spec.json_values import JsonObject
from kfgcp.testing.cron import Cron
from kfgcp.testing.google import micros
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
from kfgcp.testing.kubeflow_server.filters import Fields
from kfgcp.testing.kubeflow_server.messages import (
    drop_empty,
    format_time,
    read_body,
    read_fields,
    read_query,
    read_text,
)
from kfgcp.testing.kubeflow_server.records import RunRecord, format_source
from kfgcp.testing.kubeflow_server.rules import UnexpectedError
from kfgcp.testing.kubeflow_server.run_requests import PIPELINE_SOURCES, RunRequests
from kfgcp.testing.kubeflow_server.runs import Runs
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
_FIELDS: Final[Fields] = {
    **dict.fromkeys(("id", "recurring_run_id"), lambda recurring: recurring.id),
    **dict.fromkeys(("name", "display_name"), lambda recurring: recurring.body["display_name"]),
    "created_at": lambda recurring: recurring.created,
    "updated_at": lambda recurring: recurring.updated,
    "description": lambda recurring: recurring.body.get("description", ""),
}
_LISTABLE: Final = lists.Listable("Job", _FIELDS, lambda recurring: recurring.id)

# The namespace of the server itself, which has the recurring runs in single-user mode.
_SERVER_NAMESPACE: Final = "kubeflow"


@dataclass(eq=False, slots=True)
class RecurringRun:
    """A recurring run.

    Attributes:
        body: the fields that the client sent.
        source: the field of the answer that names the pipeline.
        created: Unix time in seconds.
        updated: Unix time in seconds.
        fire_count: how many runs the recurring run has started.
    """

    id: str
    body: JsonObject
    source: JsonObject
    experiment_id: str
    namespace: str
    enabled: bool
    created: int
    updated: int
    service_account: str
    fire_count: int = 0

    @property
    def max_concurrency(self) -> int:
        """How many of its runs may run at the same time."""
        return int(self.body["max_concurrency"])

    def to_json(self) -> JsonObject:
        """Return the recurring run as JSON."""
        body = self.body
        mode = "ENABLE" if self.enabled else "DISABLE"
        status = "ENABLED" if self.enabled else "DISABLED"
        fields = drop_empty(
            {
                "recurring_run_id": self.id,
                "display_name": body.get("display_name"),
                "description": body.get("description"),
                "runtime_config": body.get("runtime_config"),
                "service_account": body.get("service_account") or self.service_account,
                "no_catchup": body.get("no_catchup"),
                **self.source,
                "max_concurrency": str(self.max_concurrency),
                "mode": mode,
                "status": status,
                "created_at": format_time(self.created),
                "updated_at": format_time(self.updated),
                "namespace": self.namespace or _SERVER_NAMESPACE,
                "experiment_id": self.experiment_id,
            }
        )
        # The answer also has an empty trigger. It leaves out other empty fields.
        fields["trigger"] = body.get("trigger") or {}
        return fields


class RecurringRuns:
    """The recurring runs of a server.

    Args:
        access: who may do what.
        runs: the runs of the server. A recurring run adds the runs that it starts.
        requests: finds the experiment and the pipeline that a request names.
        creation: gives ids and times, and the version of the server.
    """

    def __init__(
        self, access: Access, runs: Runs, requests: RunRequests, creation: Creation
    ) -> None:
        self._access = access
        self._runs = runs
        self._requests = requests
        self._creation = creation
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
        self._check_body(body)
        try:
            recurring_run = self._build(body)
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
            page, total, token = lists.list_page(records, query, _LISTABLE)
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
        with self._lock:
            self._recurring_runs_by_id.pop(recurring_run_id, None)
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
        recurring_run.fire_count += 1
        count = recurring_run.fire_count
        # The suffix makes the name differ from the names of other runs.
        digest = hashlib.sha256(f"{recurring_run.id}/{count}".encode()).hexdigest()
        suffix = int(digest[:8], 16)
        try:
            return self._runs.submit(
                recurring_run.body,
                name=f"{recurring_run.body['display_name']}-{count}-{suffix}",
                recurring_run_id=recurring_run.id,
                namespace=recurring_run.namespace,
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

    def _check_concurrency(self, recurring_run: RecurringRun) -> None:
        active_count = 0
        for record in self._runs.all():
            if record.recurring_run_id != recurring_run.id:
                continue
            if not record.current_run().state.final:
                active_count += 1
        limit = recurring_run.max_concurrency
        if active_count >= limit:
            raise UsageError(
                f"{active_count} runs of the recurring run {recurring_run.id} are running, and its"
                f" max_concurrency is {limit}."
            )

    def _check_body(self, body: JsonObject) -> None:
        """Refuse a body that the server cannot convert to a row (api_converter.go: toModelJob)."""
        try:
            self._check_fields(body)
        except KfpError as error:
            context = "Failed to create a recurring run due to conversion error"
            raise error.within(context) from None

    def _check_fields(self, body: JsonObject) -> None:
        if not read_text(body, "display_name"):
            context = "Failed to convert a API recurring run to its internal representation"
            raise internal_error(invalid_input("Recurring run's name cannot be empty"), context)
        lenient = not self._creation.version.is_modern
        _check_trigger(body.get("trigger") or {}, lenient=lenient)
        mode = body.get("mode", "MODE_UNSPECIFIED")
        if mode not in _MODES:
            raise GatewayError(
                INVALID, f'proto: (line 1:25): invalid value for enum field mode: "{mode}"'
            )
        concurrency = _read_int64(body.get("max_concurrency") or 0, "max_concurrency")
        if not 1 <= concurrency <= MAX_CONCURRENCY:
            raise invalid_input(
                "Max concurrency of a recurring run must be at least 1 and at most"
                f" {MAX_CONCURRENCY}. Received {concurrency}"
            )

    def _build(self, body: JsonObject) -> RecurringRun:
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
        )

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
        recurring_run.enabled = enabled
        recurring_run.updated = self._creation.now()
        return Response()


def _check_trigger(trigger: JsonObject, *, lenient: bool) -> None:
    """Refuse a trigger with two schedules or an invalid schedule."""
    schedules = read_fields(trigger, ("cron_schedule", "periodic_schedule"), lenient=lenient)
    if not schedules:
        return
    if len(schedules) != 1:
        raise GatewayError(INVALID, "proto: (line 1:25): oneof trigger is already set")
    kind = next(iter(schedules))
    schedule_field = "cron" if kind == "cron_schedule" else "interval_second"
    schedule = read_fields(
        schedules[kind], ("start_time", "end_time", schedule_field), lenient=lenient
    )
    try:
        micros(schedule.get("start_time"))
        micros(schedule.get("end_time"))
    except (ValueError, TypeError, AttributeError):
        raise GatewayError(
            INVALID, "proto: (line 1:25): invalid google.protobuf.Timestamp value"
        ) from None
    if kind == "cron_schedule":
        _check_cron(str(schedule.get("cron", "")))
    else:
        _check_interval(schedule.get("interval_second") or 0)


def _check_cron(text: str) -> None:
    try:
        _check_cron_fields(text)
    except ValueError as error:
        problem = (
            "Schedule cron is not a supported format(https://godoc.org/github.com/robfig/cron)"
        )
        raise invalid_input(f"{problem}. Error: {error}") from None


def _check_cron_fields(text: str) -> None:
    """Raise ValueError unless a text has six valid fields, or five without the weekday."""
    # The server's library also accepts names such as @daily.
    if text.startswith("@"):
        return
    # `?` means any value, as `*` does.
    fields = [field.replace("?", "*") for field in text.split()]
    if len(fields) not in (5, 6):
        raise ValueError(f"Expected 5 to 6 fields, found {len(fields)}: {text}")
    # `Cron` has no field for seconds. Seconds have the range of minutes, so check them as minutes.
    Cron.parse(f"{fields[0]} * * * *")
    weekday = fields[5] if len(fields) == 6 else "*"
    Cron.parse(" ".join([*fields[1:5], weekday]))


def _check_interval(value: object) -> None:
    interval = _read_int64(value, "interval_second")
    if interval < 1:
        raise invalid_input(
            f"Found invalid period schedule interval {interval}. Set at interval to least 1 second"
        )


def _read_int64(value: Any, field: str) -> int:
    """Return an int64, which is a number or text in proto JSON."""
    try:
        return int(value)
    except (ValueError, TypeError):
        raise GatewayError(
            INVALID, f"proto: (line 1:25): invalid value for int64 field {field}: {value}"
        ) from None
