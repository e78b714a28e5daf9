"""Recurring runs: `/apis/v2beta1/recurringruns`. They start runs when a test says so: `fire`.

A cron expression has six fields, the first are seconds; one of five has no weekday, not no seconds: that is how the
server's library reads it. Not confirmed: what the runs are called.
"""

from __future__ import annotations

import hashlib
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from kfgcp.errors import UsageError
from kfgcp.testing.cron import Cron
from kfgcp.testing.google import micros
from kfgcp.testing.kubeflow_server import lists
from kfgcp.testing.kubeflow_server.access import Access
from kfgcp.testing.kubeflow_server.errors import KfpError, internal, invalid, not_found
from kfgcp.testing.kubeflow_server.messages import body_of, only, query_of, stamp, text_of, without_empty
from kfgcp.testing.kubeflow_server.records import Record, source_of
from kfgcp.testing.kubeflow_server.runs import SOURCES, Runs
from kfgcp.testing.server import Request, Response, Route

MAX_CONCURRENCY: Final = 10
_BODY: Final = (
    *("recurring_run_id", "display_name", "description", "runtime_config", "service_account", "max_concurrency"),
    *("trigger", "mode", "created_at", "updated_at", "status", "no_catchup", "namespace", "experiment_id"),
    *("plugins_input", *SOURCES),
)
_FIELDS: Final[lists.Fields] = {
    **dict.fromkeys(("id", "recurring_run_id"), lambda item: item.id),
    **dict.fromkeys(("name", "display_name"), lambda item: item.body["display_name"]),
    "created_at": lambda item: item.created,
    "updated_at": lambda item: item.updated,
    "description": lambda item: item.body.get("description", ""),
}


@dataclass(eq=False, slots=True)
class Recurring:
    """A recurring run. body: what the client sent. created, updated: Unix times in seconds. fired: how often."""

    id: str
    body: Mapping[str, Any]
    source: Mapping[str, Any]
    experiment: str
    namespace: str
    enabled: bool
    created: int
    updated: int
    fired: int = 0

    @property
    def max_concurrency(self) -> int:
        return int(self.body.get("max_concurrency") or 1)

    def view(self) -> Mapping[str, Any]:
        sent = {
            name: self.body.get(name)
            for name in ("display_name", "description", "runtime_config", "service_account", "trigger", "no_catchup")
        }
        return without_empty(
            {
                "recurring_run_id": self.id,
                **sent,
                **self.source,
                "max_concurrency": str(self.max_concurrency),
                "mode": "ENABLE" if self.enabled else "DISABLE",
                "status": "ENABLED" if self.enabled else "DISABLED",
                "created_at": stamp(self.created),
                "updated_at": stamp(self.updated),
                "namespace": self.namespace,
                "experiment_id": self.experiment,
            }
        )


class RecurringRuns:
    """The recurring runs of a server, which start runs in `runs`."""

    def __init__(self, access: Access, runs: Runs) -> None:
        self._access, self._runs = access, runs
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
        body = body_of(request, _BODY)
        try:
            made = self._made(body)
        except KfpError as error:
            raise error.within("Failed to create a recurring run") from None
        with self._lock:
            self._recurring[made.id] = made
        return Response(body=made.view())

    def get(self, request: Request, recurring: str) -> Response:
        return Response(body=self._allowed(recurring, "get", "Failed to fetch a recurring run").view())

    def list_all(self, request: Request) -> Response:
        query, around = query_of(request), "Failed to list recurring runs"
        with self._lock:
            items = list(self._recurring.values())
        if experiment := query.get("experiment_id"):
            items = [item for item in items if item.experiment == experiment]
            for namespace in {item.namespace for item in items}:
                self._access.check(namespace, "list", "jobs", around)
        else:
            namespace = self._access.place(query.get("namespace", ""))
            self._access.check(namespace, "list", "jobs", around)
            items = [item for item in items if item.namespace == namespace]
        found, total, token = lists.listed(items, query, _FIELDS, lambda item: item.id)
        return Response(body=lists.answer("recurringRuns", [item.view() for item in found], total, token))

    def delete(self, request: Request, recurring: str) -> Response:
        self._allowed(recurring, "delete", "Failed to delete a recurring run")
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
            UsageError: it is disabled or not there, as many runs as may be are under way, or its run is refused.
        """
        known = self._recurring.get(recurring)
        if known is None or not known.enabled:
            raise UsageError(f"The recurring run {recurring} is {'disabled' if known else 'not there'}.")
        active = [run for run in self._runs.all() if run.recurring == recurring and not run.run().state.final]
        if len(active) >= known.max_concurrency:
            raise UsageError(f"{len(active)} runs of it are under way, at most {known.max_concurrency} may be.")
        known.fired += 1
        suffix = int(hashlib.sha256(f"{known.id}/{known.fired}".encode()).hexdigest()[:8], 16)
        name = f"{known.body['display_name']}-{known.fired}-{suffix}"
        try:
            return self._runs.submit(known.body, name=name, recurring=known.id, namespace=known.namespace)
        except KfpError as error:
            raise UsageError(f"The recurring run's run is refused: {error.text}") from None

    def disable_all(self, experiment: str) -> None:
        """Disables those of an experiment that is archived."""
        for known in list(self._recurring.values()):
            known.enabled = known.enabled and known.experiment != experiment

    # -- helpers

    def _made(self, body: Mapping[str, Any]) -> Recurring:
        if not text_of(body, "display_name"):
            raise internal(invalid("Recurring run's name cannot be empty"), "Failed to convert a recurring run")
        experiment = self._runs.experiment(body, self._access.place(text_of(body, "namespace")), "create", "jobs")
        spec, reference, _ = self._runs.checked(body, experiment.namespace)
        try:
            concurrency = int(body.get("max_concurrency") or 1)
        except (ValueError, TypeError):
            concurrency = 0
        if not 1 <= concurrency <= MAX_CONCURRENCY:
            raise invalid(
                f"Max concurrency of a recurring run must be at least 1 and at most {MAX_CONCURRENCY}. "
                f"Received {body.get('max_concurrency')}"
            )
        _check_trigger(body.get("trigger") or {})
        mode = body.get("mode", "MODE_UNSPECIFIED")
        if mode not in ("ENABLE", "DISABLE"):
            raise invalid(f"Unrecognized recurring run mode: {mode}")
        now = int(time.time())
        source = source_of(spec, reference)
        enabled = mode == "ENABLE"
        return Recurring(str(uuid.uuid4()), body, source, experiment.id, experiment.namespace, enabled, now, now)

    def _allowed(self, recurring: str, verb: str, *around: str) -> Recurring:
        known = self._recurring.get(recurring)
        if known is None:
            raise not_found("Job", recurring, *around)
        self._access.check(known.namespace, verb, "jobs", *around)
        return known

    def _switch(self, recurring: str, enabled: bool) -> Response:
        verb = "enable" if enabled else "disable"
        known = self._allowed(recurring, verb, f"Failed to {verb} a recurring run")
        known.enabled, known.updated = enabled, int(time.time())
        return Response()


def _check_trigger(trigger: Mapping[str, Any]) -> None:
    trigger = only(trigger, ("cron_schedule", "periodic_schedule"))
    if len(trigger) != 1:
        raise invalid("A recurring run needs a trigger, either cron_schedule or periodic_schedule")
    kind, given = next(iter(trigger.items()))
    schedule = only(given, ("start_time", "end_time", "cron" if kind == "cron_schedule" else "interval_second"))
    try:
        start, end = micros(schedule.get("start_time")), micros(schedule.get("end_time"))
    except (ValueError, TypeError, AttributeError):
        raise KfpError(3, "proto: invalid google.protobuf.Timestamp value") from None
    if start and end and end < start:
        raise invalid("The end time of a recurring run must be after its start time")
    if kind == "cron_schedule":
        try:
            _check_cron(str(schedule.get("cron", "")))
        except ValueError as error:
            raise invalid(f"Schedule cron is not a supported format: {error}") from None
    elif not str(schedule.get("interval_second", "")).isdigit() or int(schedule["interval_second"]) < 1:
        raise invalid(f"Found invalid period schedule interval {schedule.get('interval_second')}. Set at interval >= 1")


def _check_cron(text: str) -> None:
    """Six fields, or five without the weekday; `?` is any."""
    if text.startswith("@"):
        return
    fields = [field.replace("?", "*") for field in text.split()]
    if len(fields) not in (5, 6):
        raise ValueError(f'Expected 5 to 6 fields, found {len(fields)}: "{text}"')
    Cron.parse(" ".join([fields[0], *["*"] * 4]))  # seconds have the range of minutes
    Cron.parse(" ".join([*fields[1:], "*"][:5]))
