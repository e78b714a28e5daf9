"""Schedules on Kubeflow Pipelines, see `SupportsSchedules`.

A schedule is a recurring run. It names an entry of the registry, and its description has the
markers (`schedule_markers`). The server has no update of a recurring run, so `steps` replaces it.
See docs/decisions/0034-schedules-on-kubeflow.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import quote

from kfgcp.backends.base import SubmitRequest
from kfgcp.backends.kubeflow.limits import check_experiment_name, check_parameters
from kfgcp.backends.kubeflow.messages import SERVICE, RunAnswer
from kfgcp.backends.kubeflow.names import Experiments
from kfgcp.backends.kubeflow.request import parse_description
from kfgcp.backends.kubeflow.schedule_body import (
    DISABLED,
    Place,
    read_fields,
    read_start,
    read_timetable,
    schedule_body,
)
from kfgcp.backends.kubeflow.schedule_markers import (
    NO_MARKERS,
    ScheduleMarkers,
    parse_markers,
)
from kfgcp.backends.kubeflow.schedule_messages import RecurringRunAnswer, check_recurring_run
from kfgcp.backends.kubeflow.schedule_runs import (
    RECURRING_RUNS,
    RecentRuns,
    RecurringRunIds,
    StartedRuns,
)
from kfgcp.backends.kubeflow.server_version import Server
from kfgcp.backends.kubeflow.settings import KubeflowSettings
from kfgcp.backends.kubeflow.states import run_state
from kfgcp.backends.kubeflow.times import read_moment
from kfgcp.backends.kubeflow.version_documents import compare_documents, documents_of
from kfgcp.backends.schedule_labels import project_label, run_labels
from kfgcp.backends.schedules import DesiredSchedule, FiredRun, LiveSchedule, ScheduleFacts
from kfgcp.errors import BackendError, BadAnswer, NotFound, Refused, Unsupported
from kfgcp.labels import DUE
from kfgcp.model import JsonValue, Run
from kfgcp.rules.versions import format_version
from kfgcp.services.client import ServiceClient
from kfgcp.services.redact import redacted_line
from kfgcp.services.server_time import measure_offset
from kfgcp.spec.json_values import JsonObject

PAGE_SIZE: Final = 100

# Seconds after its first try in which a write may be sent again. A later try could fall on a due
# time, so `converge` then begins again with a look at the server.
WRITE_BUDGET: Final = 3.0

# Since this release, a recurring run can be deleted without its Workflows
# (DeletePropagationPolicy in recurring_run.proto), and the driver replaces the placeholder for the
# due time (resolveInputParameter in v2/driver/resolve.go).
FIRST_WITH_ORPHANS: Final = (2, 16)
FIRST_WITH_SCHEDULE_TIME: Final = (2, 16)

MAX_SKEW: Final = timedelta(seconds=10)
"""The clocks of this machine and of the server may differ by at most this time. It is less than LAG
in `kfgcp.deploy.schedules.missed`."""


class KubeflowSchedules:
    """The recurring runs of a server and a namespace. It belongs to one thread.

    Args:
        http: the client of the pipelines API.
        server: the release of the server.
        settings: the settings of the environment.
        experiments: looks experiments up.
        ids: remembers the recurring runs of kfgcp.
        start: starts a run.
        now: returns the time in UTC, None for the clock of this machine. With another clock, the
            clocks of the server and of this machine are not compared.
    """

    def __init__(
        self,
        http: ServiceClient,
        server: Server,
        settings: KubeflowSettings,
        experiments: Experiments,
        ids: RecurringRunIds,
        start: Callable[[SubmitRequest], Run],
        now: Callable[[], datetime] | None = None,
    ) -> None:
        self._http = http
        self._server = server
        self._settings = settings
        self._experiments = experiments
        self._ids = ids
        self._start = start
        self._now = now or _machine_time
        # How far the clock of the server is ahead, None before it was measured.
        self._offset = None if now is None else timedelta(0)
        self._scope = {"namespace": settings.namespace} if settings.namespace else {}
        self._runs = StartedRuns(http, self._scope)

    @property
    def schedule_facts(self) -> ScheduleFacts:
        """Constant properties of the server, see `SupportsSchedules.schedule_facts`."""
        return ScheduleFacts(
            creates_disabled=True, fires_missed=True, deletion_ends_runs=not self._can_orphan()
        )

    # -- reading

    def list_schedules(self) -> Sequence[LiveSchedule]:
        """Return all recurring runs, see `SupportsSchedules.list_schedules`.

        One more request reads the last runs of the schedules of kfgcp that are disabled.

        Raises:
            BadAnswer: the server cannot read one of them. It may be any schedule, so no schedule
                can be created safely.
        """
        items = self._http.pages(RECURRING_RUNS, self._scope, "recurringRuns", size=PAGE_SIZE)
        return self._read_all([check_recurring_run(item) for item in items])

    def read_schedule(self, ref: str) -> LiveSchedule | None:
        """Return a recurring run, None when it does not exist."""
        try:
            answer = check_recurring_run(self._http.get(_path(ref)))
        except NotFound:
            return None
        return self._read_all([answer])[0]

    def _read_all(self, answers: Sequence[RecurringRunAnswer]) -> list[LiveSchedule]:
        markers_by_id: dict[str, ScheduleMarkers] = {}
        disabled: list[str] = []
        for answer in answers:
            markers = parse_markers(answer.get("description"))
            if markers is None:
                continue
            ref = answer["recurring_run_id"]
            markers_by_id[ref] = markers
            if not _is_enabled(answer):
                disabled.append(ref)
        self._ids.remember(markers_by_id)
        recent = self._runs.recent(disabled)
        schedules: list[LiveSchedule] = []
        for answer in answers:
            ref = answer["recurring_run_id"]
            markers = markers_by_id.get(ref)
            schedules.append(self._read(answer, markers, recent.get(ref, RecentRuns())))
        return schedules

    def _read(
        self, answer: RecurringRunAnswer, markers: ScheduleMarkers | None, recent: RecentRuns
    ) -> LiveSchedule:
        created_at = read_moment(answer["created_at"])
        updated_at = read_moment(answer.get("updated_at") or answer["created_at"])
        enabled = _is_enabled(answer)
        owner = markers or NO_MARKERS
        experiment = self._experiments.name_in_list(answer.get("experiment_id") or "")
        fields = read_fields(answer, experiment)
        # An enabled recurring run starts what it has missed since its last run. The server changes
        # `updated_at` also when it reports a run (UpdateJob in storage/job_store.go).
        disabled_at = None if enabled else recent.last_due or updated_at
        return LiveSchedule(
            ref=answer["recurring_run_id"],
            project=owner.project,
            name=owner.name,
            display_name=answer.get("display_name") or "",
            enabled=enabled,
            fields=fields,
            timetable=read_timetable(answer, self._settings.schedule_time_zone),
            created_at=created_at,
            updated_at=updated_at,
            starts_at=read_start(answer, created_at),
            disabled_at=disabled_at,
            last_due=recent.last_due,
            applied=owner.applied,
            is_busy=not enabled and recent.has_active and not self._can_orphan(),
        )

    def fields_of(self, desired: DesiredSchedule) -> Mapping[str, JsonValue]:
        """Return the properties that a schedule must have, see `SupportsSchedules.fields_of`."""
        return read_fields(self._body(desired), desired.request.options.experiment)

    def _body(
        self,
        desired: DesiredSchedule,
        experiment_id: str = "",
        *,
        enabled: bool = False,
        starts_at: datetime | None = None,
    ) -> RecurringRunAnswer:
        """Return the body of a schedule after all checks that need no write."""
        if desired.time_param:
            self._require_schedule_time(desired)
        place = Place(experiment_id, enabled, starts_at, self._now())
        body = schedule_body(desired, self._settings, place)
        check_experiment_name(desired.request.options.experiment, self._server)
        config = body.get("runtime_config") or {}
        check_parameters(config.get("parameters") or {}, self._server)
        return body

    def _require_schedule_time(self, desired: DesiredSchedule) -> None:
        """Refuse a schedule with `time_param` on a server that would not fill in the due time.

        The controller formats only parameters of the Workflow, and the parameters of a compiled
        pipeline are not among them (OverrideParameters in common/util/workflow.go, Compile in
        v2/compiler/argocompiler/argo.go).
        """
        version = self._server.version
        if version is None or version >= FIRST_WITH_SCHEDULE_TIME:
            return
        raise Unsupported(
            f"The schedule {desired.name} has time_param, and {SERVICE} gives runs their due time"
            f" since 2.16. This server is {format_version(version)}.",
            hint="Upgrade the server, or remove time_param, and compute the time in the pipeline.",
        )

    # -- writing

    def prepare_runs(self, desired: DesiredSchedule) -> None:
        """Create the experiment of the runs, see `SupportsSchedules.prepare_runs`."""
        self._check_clock(self.clock_offset())
        self._experiments.ensure(desired.request.options.experiment)

    def create_schedule(
        self, desired: DesiredSchedule, *, enabled: bool, starts_at: datetime | None
    ) -> str:
        """Create a recurring run with the markers, and return its id.

        The server creates a second one when the request is repeated, so it is sent once.
        """
        # All checks come before the experiment is created.
        self._body(desired, enabled=enabled, starts_at=starts_at)
        self._check_clock(self.clock_offset())
        experiment_id = self._experiments.ensure(desired.request.options.experiment)
        body = self._body(desired, experiment_id, enabled=enabled, starts_at=starts_at)
        answer = self._http.post(RECURRING_RUNS, body=body, budget=WRITE_BUDGET)
        try:
            created = check_recurring_run(answer)
        except BadAnswer as error:
            # The answer does not say whether the server has created it.
            raise error.amended(unknown=True) from error
        ref = created["recurring_run_id"]
        if "pipeline_spec" in body:
            self._check_pipeline(ref, body["pipeline_spec"], desired.name)
        return ref

    def _check_pipeline(self, ref: str, sent: JsonObject, name: str) -> None:
        """Check that the server has exactly the pipeline in the body of the request.

        Raises:
            BadAnswer: the server dropped or changed a field of the pipeline.
        """
        stored = check_recurring_run(self._http.get(_path(ref))).get("pipeline_spec") or {}
        change = compare_documents(documents_of(sent), documents_of(stored))
        if change:
            raise BadAnswer(
                f"The service did not keep {redacted_line(change, limit=200)} in the pipeline of"
                f" the schedule {name}.",
                hint=f"See what it has: kfgcp schedule show {name}",
            )

    def clock_offset(self) -> timedelta:
        """Return how far the clock of the server is ahead, see `SupportsSchedules`."""
        if self._offset is None:
            params: dict[str, str | int] = {**self._scope, "page_size": 1}
            self._offset = measure_offset(self._http, RECURRING_RUNS, params, self._now)
        return self._offset

    def _check_clock(self, offset: timedelta) -> None:
        """Check that this machine and the server have about the same time.

        Raises:
            BackendError: the clocks differ by more than MAX_SKEW.
        """
        if abs(offset) <= MAX_SKEW:
            return
        seconds = abs(offset.total_seconds())
        raise BackendError(
            f"The clock of this machine differs from the clock of {SERVICE} by {seconds:.0f} s.",
            hint="Correct the clock, and repeat the command. Nothing was written.",
        )

    def update_schedule(
        self, live: LiveSchedule, desired: DesiredSchedule, fields: Sequence[str]
    ) -> None:
        """Raise an error, because the server has no update (recurring_run.proto)."""
        raise Unsupported(
            f"{SERVICE} cannot change {', '.join(fields)} of the schedule {desired.name}.",
            hint="Replace the schedule: kfgcp apply",
        )

    def enable_schedule(self, live: LiveSchedule, *, catch_up: bool) -> None:
        """Let a recurring run start runs again."""
        self._change_mode(live.ref, "enable")

    def disable_schedule(self, live: LiveSchedule) -> None:
        """Let a recurring run start no runs. Its active runs continue."""
        self._change_mode(live.ref, "disable")

    def _change_mode(self, ref: str, verb: str) -> None:
        """Enable or disable a recurring run.

        Raises:
            BackendError: `unknown` is set when the server must be read again: an answer was lost,
                or the server refused because of too many requests. Meanwhile, a due time may have
                come near.
        """
        path = f"{_path(ref)}:{verb}"
        try:
            self._http.post(path, body={}, repeatable=True, budget=WRITE_BUDGET)
        except Refused as refused:
            if not refused.passing:
                raise
            raise refused.amended(unknown=True) from None

    def delete_schedule(self, live: LiveSchedule) -> None:
        """Delete a recurring run. Do nothing when it does not exist.

        A recurring run owns the Workflows of its runs, and Kubernetes deletes them with it
        (SetOwnerReferences in common/util/workflow.go). Since 2.16, the server can leave them. On
        an older server, a recurring run whose runs are active is only disabled, and is deleted by a
        later apply.
        """
        params = {"propagation_policy": "ORPHAN"} if self._can_orphan() else {}
        with suppress(NotFound):
            if not self._can_orphan():
                if live.enabled:
                    self.disable_schedule(live)
                if self._runs.has_active(live.ref):
                    return
            self._http.delete(_path(live.ref), params=params, budget=WRITE_BUDGET)

    def _can_orphan(self) -> bool:
        version = self._server.version
        return version is not None and version >= FIRST_WITH_ORPHANS

    # -- starting the run of a due time

    def fire(self, desired: DesiredSchedule, due: datetime) -> FiredRun:
        """Start the run of a due time, see `SupportsSchedules.fire`.

        The run has a name that depends only on the schedule and the due time, and the labels of
        runs that kfgcp starts. It is looked up first by its name and labels, and then among the
        runs of all recurring runs of the schedule.
        """
        due = due.astimezone(UTC)
        labels = run_labels(desired.project, desired.name, due)
        name = f"{desired.name}-{labels[DUE]}"
        experiment = desired.request.options.experiment
        existing = self._find_fired(name, labels, experiment)
        if existing is None:
            self.list_schedules()
            ids = self._ids.of_schedule(project_label(desired.project), desired.name)
            existing = self._runs.find(ids, due)
        if existing is not None:
            is_active = not run_state(existing).final
            return FiredRun(existing["run_id"], is_new=False, is_active=is_active)
        request = desired.request
        params = dict(request.params)
        if desired.time_param:
            params[desired.time_param] = due.strftime("%Y-%m-%dT%H:%M:%SZ")
        options = request.options.changed(name=name, labels={**request.options.labels, **labels})
        run = self._start(replace(request, params=params, options=options))
        return FiredRun(run.run_id, is_new=True, is_active=True)

    def _find_fired(
        self, name: str, labels: Mapping[str, str], experiment: str
    ) -> RunAnswer | None:
        experiment_id = self._experiments.find_id(experiment)
        if experiment_id is None:
            return None
        for run in self._runs.named(name, experiment_id):
            labels_of_run = parse_description(run.get("description"))
            if all(labels_of_run.get(key) == value for key, value in labels.items()):
                return run
        return None


def _machine_time() -> datetime:
    return datetime.now(UTC)


def _path(ref: str) -> str:
    return f"{RECURRING_RUNS}/{quote(ref, safe='')}"


def _is_enabled(answer: RecurringRunAnswer) -> bool:
    return answer.get("mode") != DISABLED and answer.get("status") != "DISABLED"
