"""The runs that the server keeps, and the persistence agent that reports their states and tasks."""

from __future__ import annotations

import threading
from typing import Final

from kfgcp.errors import UsageError
from kfgcp.spec.json_values import JsonObject
from kfgcp.testing.engine_runs import Execution
from kfgcp.testing.kubeflow_server.access import Access
from kfgcp.testing.kubeflow_server.creation import Creation
from kfgcp.testing.kubeflow_server.experiments import Experiment
from kfgcp.testing.kubeflow_server.records import RunRecord
from kfgcp.testing.kubeflow_server.run_requests import make_workflow_name
from kfgcp.testing.rules import Submission

REPORT_ALL: Final = "all"
REPORT_STATES: Final = "states"
REPORT_NOTHING: Final = "nothing"
REPORTING: Final = (REPORT_ALL, REPORT_STATES, REPORT_NOTHING)

# The accounts that the manifests of Kubeflow create.
_SERVICE_ACCOUNT: Final = "pipeline-runner"
_MULTI_USER_ACCOUNT: Final = "default-editor"


class RunStore:
    """The runs of a server.

    Args:
        access: who may do what.
        creation: gives ids and times, and the version of the server.

    Attributes:
        terminated_state: the final state of a terminated run.
        workflow_defaults: whether the nodes of new runs have a retry strategy. By default, this
            depends on the release of the server.
    """

    def __init__(self, access: Access, creation: Creation) -> None:
        self.terminated_state = "FAILED"
        self.workflow_defaults = creation.version.has_workflow_defaults
        self._reporting = REPORT_ALL
        self._access = access
        self._creation = creation
        self._runs_by_id: dict[str, RunRecord] = {}
        self._runs_by_number: dict[int, RunRecord] = {}
        self._count = 0
        self._lock = threading.RLock()

    @property
    def reporting(self) -> str:
        """How much the persistence agent reports without a call of `report`.

        `all`: each request sees the current state and the current tasks of each run. `states`:
        requests see the current states, but not the tasks, which a real agent reports later.
        `nothing`: requests see only what a test reports with `report`.
        """
        return self._reporting

    @reporting.setter
    def reporting(self, reporting: str) -> None:
        if reporting not in REPORTING:
            raise UsageError(f'reporting must be "all", "states" or "nothing", not "{reporting}".')
        self._reporting = reporting

    @property
    def service_account(self) -> str:
        """The service account of a run whose request does not name one."""
        return _MULTI_USER_ACCOUNT if self._access.multi_user else _SERVICE_ACCOUNT

    def report(self, run_id: str) -> None:
        """Report a run now, as the persistence agent does."""
        self._runs_by_id[run_id].report()

    def add(
        self,
        submission: Submission,
        execution: Execution,
        *,
        created: int,
        name: str,
        experiment: Experiment,
        source: JsonObject,
        runtime_config: JsonObject,
        root: str,
        description: str = "",
        service_account: str = "",
        recurring_run_id: str = "",
        scheduled: int = 0,
        run_id: str = "",
    ) -> RunRecord:
        """Add a run whose execution has begun.

        Args:
            submission: the pipeline with its parameters.
            execution: the execution by the engine.
            created: Unix time in seconds.
            name: the name to show.
            experiment: the experiment of the run.
            source: the field of the answer that names the pipeline.
            runtime_config: the field of the answer with the parameters.
            root: the pipeline root.
            description: the text to show.
            service_account: the account of the run, empty for the default account.
            recurring_run_id: the id of the recurring run that starts this run, empty for none.
            scheduled: its due time, Unix time in seconds, 0 for the time of its creation.
            run_id: the id of the run, empty for a new id.
        """
        # The persistence agent records a run that was started at a due time without its account.
        if not scheduled:
            service_account = service_account or self.service_account
        with self._lock:
            self._count += 1
            record = RunRecord(
                id=run_id or self._creation.new_id(),
                number=self._count,
                name=name,
                description=description,
                experiment_id=experiment.id,
                namespace=experiment.namespace,
                service_account=service_account,
                source=source,
                runtime_config=runtime_config,
                submission=submission,
                created=created,
                workflow=make_workflow_name(submission.spec),
                root=root,
                execution=execution,
                terminated_state=self.terminated_state,
                workflow_defaults=self.workflow_defaults,
                recurring_run_id=recurring_run_id,
                scheduled=scheduled,
            )
            self._runs_by_id[record.id] = record
            self._runs_by_number[record.number] = record
            experiment.last_run = max(experiment.last_run, created)
            return record

    def remove(self, run_id: str) -> None:
        """Remove a run. Do nothing if it does not exist."""
        with self._lock:
            record = self._runs_by_id.pop(run_id, None)
            if record is not None:
                self._runs_by_number.pop(record.number, None)

    def all(self) -> list[RunRecord]:
        """Let the persistence agent report the runs, and return them, the oldest first."""
        with self._lock:
            records = list(self._runs_by_id.values())
        for record in records:
            self.report_automatically(record)
        return records

    def find(self, run_id: str) -> RunRecord | None:
        """Return a run as it was last reported, None if it does not exist."""
        return self._runs_by_id.get(run_id)

    def find_by_number(self, number: int) -> RunRecord | None:
        """Return the run with a number, as it was last reported, None if it does not exist."""
        return self._runs_by_number.get(number)

    def archive_all(self, experiment_id: str) -> None:
        """Archive the runs of an experiment."""
        for record in self.all():
            if record.experiment_id == experiment_id:
                record.archived = True

    def report_automatically(self, record: RunRecord) -> None:
        """Let the persistence agent report a run if `reporting` allows it."""
        if self._reporting != REPORT_NOTHING:
            record.report(with_tasks=self._reporting == REPORT_ALL, watched=True)
