"""Recurring runs: `/apis/v2beta1/recurringruns`. They start runs when a test says so: `fire`.

- A cron expression has six fields, the first are seconds; one of five has no weekday, not no
  seconds: that is how the server's library reads it.
- Without `mode` a recurring run is made and disabled (recurring-run-create-no-mode.json), without a
  trigger it is made and never fires (recurring-run-create-no-trigger.json). max_concurrency has no
  default (recurring-run-create-no-concurrency.json).
- namespace and service_account are always in the answer (recurring-run-get.json).
- The texts are those of recurring-run-*.json, job_server.go and api_converter.go. Not confirmed:
  what the runs are called.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from kfgcp.errors import UsageError
from kfgcp.testing.cron import Cron
from kfgcp.testing.google import micros
from kfgcp.testing.kubeflow_server import lists
from kfgcp.testing.kubeflow_server.access import Access
from kfgcp.testing.kubeflow_server.creation import Creation
from kfgcp.testing.kubeflow_server.errors import (
    INVALID,
    GatewayError,
    KfpError,
    internal,
    invalid,
    not_found,
)
from kfgcp.testing.kubeflow_server.messages import (
    body_of,
    only,
    query_of,
    stamp,
    text_of,
    without_empty,
)
from kfgcp.testing.kubeflow_server.records import Record, source_of
from kfgcp.testing.kubeflow_server.rules import UnexpectedError
from kfgcp.testing.kubeflow_server.runs import SOURCES, Runs
from kfgcp.testing.server import Request, Response, Route

MAX_CONCURRENCY: Final = 10
_MODES: Final = ("MODE_UNSPECIFIED", "ENABLE", "DISABLE")
_BODY: Final = (
    *(
        "recurring_run_id",
        "display_name",
        "description",
        "runtime_config",
        "service_account",
        "max_concurrency",
    ),
    *(
        "trigger",
        "mode",
        "created_at",
        "updated_at",
        "status",
        "no_catchup",
        "namespace",
        "experiment_id",
    ),
    *("plugins_input", *SOURCES),
)
_FIELDS: Final[lists.Fields] = {
    **dict.fromkeys(("id", "recurring_run_id"), lambda item: item.id),
    **dict.fromkeys(("name", "display_name"), lambda item: item.body["display_name"]),
    "created_at": lambda item: item.created,
    "updated_at": lambda item: item.updated,
    "description": lambda item: item.body.get("description", ""),
}
_LISTABLE: Final = lists.Listable("Job", _FIELDS, lambda item: item.id)
_NAMESPACE: Final = "kubeflow"
"""Where the server itself runs: that of recurring runs in single-user mode."""


@dataclass(eq=False, slots=True)
class Recurring:
    """A recurring run. body: what the client sent. created, updated: Unix times in seconds. fired:
    how often."""

    id: str
    body: Mapping[str, Any]
    source: Mapping[str, Any]
    experiment: str
    namespace: str
    enabled: bool
    created: int
    updated: int
    service_account: str
    fired: int = 0

    @property
    def max_concurrency(self) -> int:
        return int(self.body["max_concurrency"])

    def view(self) -> Mapping[str, Any]:
        body = self.body
        data = without_empty(
            {
                "recurring_run_id": self.id,
                "display_name": body.get("display_name"),
                "description": body.get("description"),
                "runtime_config": body.get("runtime_config"),
                "service_account": body.get("service_account") or self.service_account,
                "no_catchup": body.get("no_catchup"),
                **self.source,
                "max_concurrency": str(self.max_concurrency),
                "mode": "ENABLE" if self.enabled else "DISABLE",
                "status": "ENABLED" if self.enabled else "DISABLED",
                "created_at": stamp(self.created),
                "updated_at": stamp(self.updated),
                "namespace": self.namespace or _NAMESPACE,
                "experiment_id": self.experiment,
            }
        )
        return data | {"trigger": body.get("trigger") or {}}


class RecurringRuns:
    """The recurring runs of a server, which start runs in `runs`. creation: gives ids, times and
    the version."""

    def __init__(self, access: Access, runs: Runs, creation: Creation) -> None:
        self._access, self._runs, self._creation = access, runs, creation
        self._recurring: dict[str, Recurring] = {}
        self._lock = threading.RLock()

    def routes(self, base: str) -> list[Route]:
        many, one = base + "/recurringruns", base + "/recurringruns/{recurring}"
        return [
            Route("POST", many, self.create),
            Route("GET", many, self.list_all),
            Route("GET", one, self.get),
            Route("DELETE", one, self.delete),
            Route("POST", one + ":enable", self.enable),
            Route("POST", one + ":disable", self.disable),
        ]

    # -- methods of the service

    def create(self, request: Request) -> Response:
        body = body_of(request, _BODY, lenient=not self._creation.version.is_modern)
        self._check_conversion(body)
        try:
            recurring = self._made(body)
        except KfpError as error:
            raise error.within("Failed to create a recurring run") from None
        with self._lock:
            self._recurring[recurring.id] = recurring
        return Response(body=recurring.view())

    def get(self, request: Request, recurring: str) -> Response:
        return Response(
            body=self._allowed(recurring, "get", "Failed to fetch a recurring run").view()
        )

    def list_all(self, request: Request) -> Response:
        query, around = query_of(request), "Failed to list jobs"
        with self._lock:
            items = list(self._recurring.values())
        namespace = self._access.place(query.get("namespace", ""))
        if experiment := query.get("experiment_id"):
            problem = (
                "Failed to list recurring runs due to error fetching namespace for experiment"
                f" {experiment}"
            )
            known = self._runs.existing_experiment(experiment, around, problem)
            namespace = known.namespace
            items = [item for item in items if item.experiment == experiment]
        denied = (
            "Failed to list recurring runs due to authorization error. Check if you have permission"
            " to access namespace"
        )
        self._access.check(namespace, "list", "jobs", around, f"{denied} {namespace}")
        items = [item for item in items if item.namespace == namespace]
        try:
            page, total, token = lists.listed(items, query, _LISTABLE)
        except KfpError as error:
            raise error.within(
                "Failed to list recurring runs due to error parsing the listing options"
            ) from None
        return Response(
            body=lists.answer("recurringRuns", [item.view() for item in page], total, token)
        )

    def delete(self, request: Request, recurring: str) -> Response:
        inner = f"Failed to delete recurring run {recurring}. Check if exists"
        self._allowed(recurring, "delete", "Failed to delete a recurring run", inner)
        with self._lock:
            self._recurring.pop(recurring, None)
        return Response()

    def enable(self, request: Request, recurring: str) -> Response:
        return self._switch(recurring, True)

    def disable(self, request: Request, recurring: str) -> Response:
        return self._switch(recurring, False)

    # -- for the other parts

    def fire(self, recurring: str) -> Record:
        """Starts a run of it now.

        Raises:
            UsageError: it is disabled or not there, as many runs as may be are under way, or its
                run is refused.
        """
        known = self._recurring.get(recurring)
        if known is None or not known.enabled:
            raise UsageError(
                f"The recurring run {recurring} is {'disabled' if known else 'not there'}."
            )
        active = [
            run
            for run in self._runs.all()
            if run.recurring == recurring and not run.run().state.final
        ]
        if len(active) >= known.max_concurrency:
            raise UsageError(
                f"{len(active)} runs of it are under way, at most {known.max_concurrency} may be."
            )
        known.fired += 1
        suffix = int(hashlib.sha256(f"{known.id}/{known.fired}".encode()).hexdigest()[:8], 16)
        name = f"{known.body['display_name']}-{known.fired}-{suffix}"
        try:
            return self._runs.submit(
                known.body, name=name, recurring=known.id, namespace=known.namespace
            )
        except KfpError as error:
            raise UsageError(f"The recurring run's run is refused: {error.text}") from None

    def disable_all(self, experiment: str) -> None:
        """Disables those of an experiment that is archived."""
        for known in list(self._recurring.values()):
            known.enabled = known.enabled and known.experiment != experiment

    # -- helpers

    def _check_conversion(self, body: Mapping[str, Any]) -> None:
        """Refuse what cannot become a row of the table (api_converter.go: toModelJob)."""
        outer = "Failed to create a recurring run due to conversion error"
        try:
            if not text_of(body, "display_name"):
                inner = "Failed to convert a API recurring run to its internal representation"
                raise internal(invalid("Recurring run's name cannot be empty"), inner)
            _check_trigger(body.get("trigger") or {}, lenient=not self._creation.version.is_modern)
            mode = body.get("mode", "MODE_UNSPECIFIED")
            if mode not in _MODES:
                raise GatewayError(
                    INVALID, f'proto: (line 1:25): invalid value for enum field mode: "{mode}"'
                )
            concurrency = _whole_number(body.get("max_concurrency") or 0, "max_concurrency")
            if not 1 <= concurrency <= MAX_CONCURRENCY:
                limits = f"at least 1 and at most {MAX_CONCURRENCY}"
                raise invalid(
                    f"Max concurrency of a recurring run must be {limits}. Received {concurrency}"
                )
        except KfpError as error:
            raise error.within(outer) from None

    def _made(self, body: Mapping[str, Any]) -> Recurring:
        namespace = self._access.place(text_of(body, "namespace"))
        experiment = self._runs.experiment(
            body, namespace, "create", "jobs", "Failed to create a recurring run"
        )
        if not any(body.get(name) for name in SOURCES):
            raise UnexpectedError("Cannot create a job with an empty pipeline ID")
        spec, reference, _ = self._runs.checked(
            body,
            experiment.namespace,
            "Failed to create a recurring run with an invalid pipeline spec manifest",
            "Failed to create a recurring run during scheduled workflow creation",
        )
        now = self._creation.now()
        return Recurring(
            id=self._creation.new_id(),
            body=body,
            source=source_of(spec, reference),
            experiment=experiment.id,
            namespace=experiment.namespace,
            enabled=body.get("mode") == "ENABLE",
            created=now,
            updated=now,
            service_account=self._runs.service_account,
        )

    def _allowed(self, recurring: str, verb: str, *around: str) -> Recurring:
        known = self._recurring.get(recurring)
        if known is None:
            raise not_found("Job", recurring, *around)
        denied = ("Failed to authorize the request", "failed to authorize with API")
        self._access.check(known.namespace, verb, "jobs", around[0], *denied)
        return known

    def _switch(self, recurring: str, enabled: bool) -> Response:
        verb = "enable" if enabled else "disable"
        inner = (
            f"Failed to change recurring run's mode to enable:{str(enabled).lower()}. Check if"
            " recurring run"
        )
        around = f"Failed to {verb} a recurring run"
        known = self._allowed(recurring, verb, around, f"{inner} {recurring} exists")
        known.enabled, known.updated = enabled, self._creation.now()
        return Response()


def _check_trigger(trigger: Mapping[str, Any], *, lenient: bool) -> None:
    trigger = only(trigger, ("cron_schedule", "periodic_schedule"), lenient=lenient)
    if not trigger:
        return
    if len(trigger) != 1:
        raise GatewayError(INVALID, "proto: (line 1:25): oneof trigger is already set")
    kind, given = next(iter(trigger.items()))
    own = "cron" if kind == "cron_schedule" else "interval_second"
    schedule = only(given, ("start_time", "end_time", own), lenient=lenient)
    try:
        micros(schedule.get("start_time"))
        micros(schedule.get("end_time"))
    except (ValueError, TypeError, AttributeError):
        raise GatewayError(
            INVALID, "proto: (line 1:25): invalid google.protobuf.Timestamp value"
        ) from None
    if kind == "cron_schedule":
        try:
            _check_cron(str(schedule.get("cron", "")))
        except ValueError as error:
            place = (
                "Schedule cron is not a supported format(https://godoc.org/github.com/robfig/cron)"
            )
            raise invalid(f"{place}. Error: {error}") from None
        return
    interval = _whole_number(schedule.get("interval_second") or 0, "interval_second")
    if interval < 1:
        raise invalid(
            f"Found invalid period schedule interval {interval}. Set at interval to least 1 second"
        )


def _whole_number(value: Any, field: str) -> int:
    """Return an int64, which proto JSON takes as a number and as text."""
    try:
        number = int(value)
    except (ValueError, TypeError):
        raise GatewayError(
            INVALID, f"proto: (line 1:25): invalid value for int64 field {field}: {value}"
        ) from None
    return number


def _check_cron(text: str) -> None:
    """Six fields, or five without the weekday; `?` is any."""
    if text.startswith("@"):
        return
    fields = [field.replace("?", "*") for field in text.split()]
    if len(fields) not in (5, 6):
        raise ValueError(f"Expected 5 to 6 fields, found {len(fields)}: {text}")
    Cron.parse(" ".join([fields[0], *["*"] * 4]))  # seconds have the range of minutes
    Cron.parse(" ".join([*fields[1:], "*"][:5]))
