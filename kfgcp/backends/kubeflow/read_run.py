"""An answer of Kubeflow Pipelines as a run, with what the answer only names by an id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from kfgcp.backends.kubeflow import request as run_request
from kfgcp.backends.kubeflow.messages import read_run
from kfgcp.backends.kubeflow.metadata import Execution
from kfgcp.backends.kubeflow.names import Experiments, Versions, is_same_name
from kfgcp.backends.kubeflow.progress import progress_of
from kfgcp.backends.kubeflow.runs import Where, run_of
from kfgcp.backends.service import FetchedRun, ServiceRecords
from kfgcp.labels import EXPERIMENT
from kfgcp.model import Run, RunState


class RunReader:
    """Reads answers as runs.

    Args:
        where: the server and the environment.
        place: that of the service.
        experiments: knows the names of experiments.
        versions: knows the specs of versions.
        records: knows which runs were cancelled from here.
    """

    def __init__(
        self,
        where: Where,
        place: str,
        experiments: Experiments,
        versions: Versions,
        records: ServiceRecords,
    ) -> None:
        self._where = where
        self._place = place
        self._experiments = experiments
        self._versions = versions
        self._records = records

    def run(
        self, answer: Mapping[str, Any], experiment: str, executions: Sequence[Execution] = ()
    ) -> tuple[Run, Mapping[str, Any] | None]:
        """Return the run of an answer and its spec.

        Args:
            answer: with its spec.
            experiment: the name of its experiment.
            executions: what is known of its tasks besides.
        """
        run, spec = run_of(
            answer,
            self._where,
            experiment=experiment,
            executions=executions,
            cancelled=self._is_recorded_as_cancelled(answer),
        )
        return replace(run, backend_ref=f"{self._place}{run.run_id}"), spec

    def listed_run(self, answer: Any, *, ask: bool) -> FetchedRun:
        """Return a run of a list, without its tasks.

        Args:
            answer: the item of the list.
            ask: read the spec of its version from the server when it is not remembered.

        Raises:
            BadAnswer: the item is not a run.
        """
        run_answer = read_run(answer)
        with_spec = self.with_spec(run_answer, ask=ask)
        without_details = {key: value for key, value in with_spec.items() if key != "run_details"}
        experiment = run_request.labels_of(run_answer.get("description")).get(EXPERIMENT)
        if not experiment:
            experiment = self._experiments.name_in_list(run_answer.get("experiment_id") or "")
        run, spec = self.run(without_details, experiment)
        created_at = run.created_at or ""
        changed_at = max(run.ended_at or created_at, created_at)
        return FetchedRun(replace(run, tasks=()), changed_at, spec, run_answer)

    def with_spec(self, answer: Mapping[str, Any], *, ask: bool = True) -> Mapping[str, Any]:
        """Return a run with its spec. A run that names a version does not contain the spec."""
        if answer.get("pipeline_spec"):
            return answer
        spec = self._versions.spec(answer, ask=ask)
        return answer if spec is None else {**answer, "pipeline_spec": spec}

    def experiment_of(self, answer: Mapping[str, Any]) -> str:
        """Return the name of a run's experiment as it was submitted, which is what lists show.

        MySQL compares names without regard to case and trailing spaces, so a run of "default" may
        be in "Default".
        """
        name = self._experiments.name(str(answer.get("experiment_id") or ""))
        submitted_name = run_request.labels_of(answer.get("description")).get(EXPERIMENT, "")
        return submitted_name if is_same_name(submitted_name, name) else name

    def _is_recorded_as_cancelled(self, answer: Mapping[str, Any]) -> bool:
        """Return whether a run that the server calls FAILED is recorded as one that was cancelled.

        The server does not always say it (recorded: run-get-canceled.json of api-2.17.0).
        """
        progress = progress_of(answer)
        if progress.state is not RunState.FAILED:
            return False
        cancellation = self._records.cancellation(f"{self._place}{answer['run_id']}")
        if cancellation is None:
            return False
        return cancellation.holds_for(progress.ended_at, progress.retried_at)
