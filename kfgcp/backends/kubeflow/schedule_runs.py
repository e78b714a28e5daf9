"""Find the runs that recurring runs have started.

The controller starts a run as a Workflow, and the server records it when the persistence agent
reports it (ReportWorkflowResource in resource_manager.go). Such a run has no description, and so
none of the labels of kfgcp. It has the id of its recurring run, and its due time in `scheduled_at`
(ScheduledAtInSecOr0 in common/util/workflow.go). kfgcp remembers the ids of its recurring runs, so
it also finds the runs of those that were deleted. On another machine, `schedule_origins` tells the
schedule of such a run.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Final

from kfgcp.backends.kubeflow import filters
from kfgcp.backends.kubeflow.messages import RunAnswer, check_run
from kfgcp.backends.kubeflow.names import API
from kfgcp.backends.kubeflow.schedule_markers import ScheduleMarkers, parse_markers
from kfgcp.backends.kubeflow.schedule_messages import check_recurring_run
from kfgcp.backends.kubeflow.schedule_origins import Origins
from kfgcp.backends.kubeflow.states import run_state
from kfgcp.backends.kubeflow.times import read_moment
from kfgcp.backends.schedule_labels import UNKNOWN_DUE, due_label
from kfgcp.backends.service import ServiceRecords
from kfgcp.errors import BackendError, BadAnswer
from kfgcp.labels import DUE, OTHER_SCHEDULES, PROJECT, SCHEDULE
from kfgcp.model import timestamp
from kfgcp.services.client import ServiceClient

RUNS: Final = f"{API}/runs"
RECURRING_RUNS: Final = f"{API}/recurringruns"
PAGE_SIZE: Final = 100

# How many runs are read to find the last runs of recurring runs. It is one page.
MAX_RECENT: Final = PAGE_SIZE

# The word for the recurring runs of kfgcp in `ServiceRecords`. It is in the database, so it cannot
# change.
_MARKERS_BY_ID: Final = "recurring run"


@dataclass(frozen=True, slots=True)
class RecentRuns:
    """The last runs of a recurring run.

    Attributes:
        last_due: the due time of the last one, None without a run.
        has_active: whether one of them has not ended.
    """

    last_due: datetime | None = None
    has_active: bool = False


class RecurringRunIds:
    """The ids of the recurring runs of kfgcp, also of those that were deleted.

    Args:
        http: the client of the pipelines API.
        scope: the namespace as a parameter of lists, empty when none is set.
        records: keeps the ids from one command to the next.
        place: identifies the service in the records.
        origins: tells the schedule of a run whose recurring run was deleted by another machine.
    """

    def __init__(
        self,
        http: ServiceClient,
        scope: Mapping[str, str],
        records: ServiceRecords,
        place: str,
        origins: Origins,
    ) -> None:
        self._http = http
        self._scope = dict(scope)
        self._records = records
        self._place = place
        self._origins = origins
        self._lock = threading.RLock()
        self._remembered: dict[str, str] | None = None
        self._has_listed = False

    def remember(self, markers_by_id: Mapping[str, ScheduleMarkers]) -> None:
        """Remember recurring runs with their markers."""
        self._remember({ref: _format(markers) for ref, markers in markers_by_id.items()})

    def of_schedule(self, project: str, name: str) -> list[str]:
        """Return the ids of the recurring runs of a schedule.

        Args:
            project: the name of the project as the value of a label.
            name: the name of the schedule.
        """
        text = json.dumps([project, name])
        with self._lock:
            return [ref for ref, other in self._load().items() if other == text]

    def labels(self, run: RunAnswer) -> dict[str, str]:
        """Return the labels that a run has because a schedule of kfgcp started it.

        When the recurring run of the run is not remembered, all recurring runs are listed once.
        When it does not exist any more, the label of the due time is UNKNOWN_DUE, unless the run
        certainly belongs to the schedule.
        """
        recurring_run_id = run.get("recurring_run_id") or ""
        due = _due_of(run)
        if not recurring_run_id or due is None:
            return {}
        with self._lock:
            text = self._load().get(recurring_run_id)
            if text is None and not self._has_listed:
                self._list()
                text = self._load().get(recurring_run_id)
            if text is None:
                return self._derive(run, recurring_run_id, due)
        # The text is empty for a recurring run of others.
        if not text:
            return {}
        project, name = json.loads(text)
        return {PROJECT: project, SCHEDULE: name, DUE: due_label(due)}

    def _derive(self, run: RunAnswer, recurring_run_id: str, due: datetime) -> dict[str, str]:
        """Return the labels of a run whose recurring run does not exist any more."""
        schedules = self._origins.schedules_of(run)
        if not schedules:
            return {}
        project = self._origins.project_of(run)
        if project not in ("", self._origins.project):
            return {}
        labels = {PROJECT: self._origins.project, SCHEDULE: schedules[0]}
        if len(schedules) > 1:
            # Names that share 25 characters, for example. A backfill of each of them must stop.
            return {**labels, DUE: UNKNOWN_DUE, OTHER_SCHEDULES: " ".join(schedules[1:])}
        if not project:
            return {**labels, DUE: UNKNOWN_DUE}
        self._remember({recurring_run_id: json.dumps([project, schedules[0]])})
        return {**labels, DUE: due_label(due)}

    def _load(self) -> dict[str, str]:
        if self._remembered is None:
            self._remembered = dict(self._records.names(self._place, _MARKERS_BY_ID))
        return self._remembered

    def _list(self) -> None:
        """Remember all recurring runs on the server.

        A description never changes. So a recurring run of others never becomes one of kfgcp.
        """
        self._has_listed = True
        texts: dict[str, str] = {}
        try:
            for item in self._http.pages(RECURRING_RUNS, self._scope, "recurringRuns"):
                answer = check_recurring_run(item)
                markers = parse_markers(answer.get("description"))
                text = "" if markers is None else _format(markers)
                texts[answer["recurring_run_id"]] = text
        except BackendError:
            # Without the list, runs have fewer labels. That must not hide the runs.
            return
        self._remember(texts)

    def _remember(self, texts: Mapping[str, str]) -> None:
        with self._lock:
            remembered = self._load()
            new = {ref: text for ref, text in texts.items() if remembered.get(ref) != text}
            if new:
                remembered.update(new)
                self._records.remember_names(self._place, _MARKERS_BY_ID, new)


class StartedRuns:
    """The runs that recurring runs have started.

    Args:
        http: the client of the pipelines API.
        scope: the namespace as a parameter of lists, empty when none is set.
    """

    def __init__(self, http: ServiceClient, scope: Mapping[str, str]) -> None:
        self._http = http
        self._scope = dict(scope)

    def recent(self, recurring_run_ids: Sequence[str]) -> dict[str, RecentRuns]:
        """Return the last runs of recurring runs, with one request.

        A recurring run is left out when its last run is not among the last MAX_RECENT runs of all.
        """
        if not recurring_run_ids:
            return {}
        # The keys of the filter and of the order are in runAPIToModelFieldMap (model/run.go).
        runs = self._list(
            [filters.one_of("recurring_run_id", recurring_run_ids)], "scheduled_at desc"
        )
        runs_by_ref: dict[str, RecentRuns] = {}
        for run in islice(runs, MAX_RECENT):
            ref = run.get("recurring_run_id") or ""
            before = runs_by_ref.get(ref, RecentRuns())
            due = before.last_due or _due_of(run)
            is_active = not run_state(run).final
            runs_by_ref[ref] = RecentRuns(due, before.has_active or is_active)
        return runs_by_ref

    def has_active(self, recurring_run_id: str) -> bool:
        """Return whether a run of a recurring run has not ended."""
        predicates = [filters.predicate("recurring_run_id", "EQUALS", recurring_run_id)]
        runs = self._list(predicates + filters.unfinished(), "created_at desc")
        return any(not run_state(run).final for run in runs)

    def find(self, recurring_run_ids: Collection[str], due: datetime) -> RunAnswer | None:
        """Return the run of a due time, None when no recurring run has started it."""
        if not recurring_run_ids:
            return None
        predicates = [
            filters.one_of("recurring_run_id", sorted(recurring_run_ids)),
            filters.created_since(timestamp(due.timestamp())),
        ]
        for run in self._list(predicates, "created_at asc"):
            if _due_of(run) == due:
                return run
        return None

    def named(self, name: str, experiment_id: str) -> Iterator[RunAnswer]:
        """Yield the runs with a name in an experiment, the oldest first.

        MySQL ignores case when it compares names, so the names are compared again.
        """
        predicates = [filters.predicate("display_name", "EQUALS", name)]
        for run in self._list(predicates, "created_at asc", experiment_id):
            if run.get("display_name") == name:
                yield run

    def _list(
        self, predicates: Sequence[filters.Predicate], sort_by: str, experiment_id: str = ""
    ) -> Iterator[RunAnswer]:
        """Yield the runs that match. Leave out runs that the server cannot read."""
        params = {**self._scope, "sort_by": sort_by, "filter": filters.format_filter(predicates)}
        if experiment_id:
            params["experiment_id"] = experiment_id
        for item in self._http.pages(RUNS, params, "runs", size=PAGE_SIZE):
            try:
                yield check_run(item)
            except BadAnswer:
                continue


def _format(markers: ScheduleMarkers) -> str:
    return json.dumps([markers.project, markers.name])


def _due_of(run: RunAnswer) -> datetime | None:
    """Return the due time of a run, None when the server does not have it."""
    text = run.get("scheduled_at")
    return read_moment(text) if text else None
