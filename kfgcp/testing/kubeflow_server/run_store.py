"""The runs that the server keeps, and the persistence agent that reports what became of them."""

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
        workflow_defaults: whether the nodes of new runs have a retry strategy. At first this is as
            in the server's release.
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
        """What the persistence agent reports by itself.

        `all`: each request sees the current state of each run. `states`: requests see the current
        states of runs but not their tasks, which arrive later on a real server. `nothing`: a test
        calls `report`.
        """
        return self._reporting

    @reporting.setter
    def reporting(self, reporting: str) -> None:
        if reporting not in REPORTING:
            raise UsageError(f'reporting must be "all", "states" or "nothing", not "{reporting}".')
        self._reporting = reporting

    @property
    def service_account(self) -> str:
        """The service account of runs whose request names none."""
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
            service_account: empty for the default account.
            recurring_run_id: the recurring run that starts this run, empty for none.
            run_id: empty for a new id.
        """
        with self._lock:
            self._count += 1
            record = RunRecord(
                id=run_id or self._creation.new_id(),
                number=self._count,
                name=name,
                description=description,
                experiment_id=experiment.id,
                namespace=experiment.namespace,
                service_account=service_account or self.service_account,
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
            )
            self._runs_by_id[record.id] = record
            self._runs_by_number[record.number] = record
            experiment.last_run = max(experiment.last_run, created)
            return record

    def remove(self, run_id: str) -> None:
        """Forget a run."""
        with self._lock:
            record = self._runs_by_id.pop(run_id, None)
            if record is not None:
                self._runs_by_number.pop(record.number, None)

    def all(self) -> list[RunRecord]:
        """Return the runs as they are reported now, the oldest first."""
        with self._lock:
            records = list(self._runs_by_id.values())
        for record in records:
            self.report_now(record)
        return records

    def find(self, run_id: str) -> RunRecord | None:
        """Return a run as it was last reported."""
        return self._runs_by_id.get(run_id)

    def by_number(self, number: int) -> RunRecord | None:
        """Return the run with a number, as it was last reported."""
        return self._runs_by_number.get(number)

    def archive_all(self, experiment_id: str) -> None:
        """Archive the runs of an experiment."""
        for record in self.all():
            if record.experiment_id == experiment_id:
                record.archived = True

    def report_now(self, record: RunRecord) -> None:
        """Let the persistence agent report a run, unless it reports only on request."""
        if self._reporting != REPORT_NOTHING:
            record.report(with_tasks=self._reporting == REPORT_ALL, watched=True)
