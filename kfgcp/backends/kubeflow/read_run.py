"""Convert a run of Kubeflow Pipelines to a `Run` with its tasks.

The answer of the server contains only a part of a run. These are the steps, each with its module:

1. `messages` checks the fields of the answer.
2. The answer has only the ids of the experiment and of the pipeline version. `names` looks up the
   name of the experiment and the spec of the version.
3. Executions are the server's records of tasks. A server of 3.0 has them in the answer
   (`executions_from_server`). An older server has them in ML Metadata (`executions_from_mlmd`).
4. `tree` puts each task at its path in the pipeline. When executions cannot be read, the nodes of
   the workflow show which tasks ran.
5. `progress` derives the state and the times of the run from the history of its states.
6. `read_tasks` gives each task its state, its times and its values. `group_states` corrects the
   states of DAGs and loops after the end of the run.
7. `read_run` below creates the `Run`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from kfgcp.backends.kubeflow.execution import Execution
from kfgcp.backends.kubeflow.executions_from_mlmd import Metadata
from kfgcp.backends.kubeflow.executions_from_server import check_tasks, make_executions
from kfgcp.backends.kubeflow.messages import (
    NodeAnswer,
    RunAnswer,
    RuntimeConfigAnswer,
    check_run,
    read_pipeline,
    workflow_nodes,
)
from kfgcp.backends.kubeflow.names import Experiments, Versions, is_same_name
from kfgcp.backends.kubeflow.pod_attempts import AttemptPods
from kfgcp.backends.kubeflow.progress import Progress, read_progress
from kfgcp.backends.kubeflow.read_tasks import read_artifacts, read_tasks
from kfgcp.backends.kubeflow.request import parse_description
from kfgcp.backends.kubeflow.schedule_runs import RecurringRunIds
from kfgcp.backends.kubeflow.server_version import NO_TASKS, Server
from kfgcp.backends.kubeflow.states import run_state
from kfgcp.backends.kubeflow.times import read_time
from kfgcp.backends.kubeflow.tree import PlacedTask, place_tasks
from kfgcp.backends.run_values import (
    dag_outputs,
    find_first_failure,
    read_metrics,
    read_params,
)
from kfgcp.backends.service import FetchedRun, ServiceRecords
from kfgcp.backends.status import error_info
from kfgcp.errors import BackendError
from kfgcp.labels import EXPERIMENT, SUBMISSION, pipeline_labels
from kfgcp.model import ErrorInfo, ErrorKind, Run, RunState, Task
from kfgcp.spec.graph import Graph
from kfgcp.spec.json_values import normalize_numbers
from kfgcp.spec.load import Spec

RUN_FAILED: Final = "Kubeflow Pipelines gives no reason"
PIPELINE_NOT_STARTED: Final = (
    "the pipeline could not be started; the log of its pod root-driver says why"
)


@dataclass(frozen=True, slots=True)
class Where:
    """The server and the environment of a run.

    Attributes:
        host: the address of the server.
        env: the name of the environment.
    """

    host: str
    env: str


@dataclass(frozen=True, slots=True)
class RunSource:
    """The data that a run is made from.

    Attributes:
        answer: the answer of the server, with the spec.
        executions: the executions of the tasks, empty when they could not be read.
        missing: a sentence that says which data an outage hides, "" when there was no outage.
        note: a sentence that says which data the server does not have, "" when it has everything.
    """

    answer: RunAnswer
    executions: Sequence[Execution] = ()
    missing: str = ""
    note: str = ""


class RunReader:
    """Reads the answers of one server as runs.

    Args:
        where: the server and the environment.
        place: the beginning of the `backend_ref` of each run.
        namespace: the namespace of the runs, "" when none is set.
        experiments: returns the names of experiments.
        versions: returns the specs of pipeline versions.
        metadata: ML Metadata, which has the executions on servers before 3.0.
        server: knows whether the server uses ML Metadata.
        records: knows which runs kfgcp has cancelled.
        recurring_run_ids: knows the schedules whose recurring runs have started runs.
    """

    def __init__(
        self,
        where: Where,
        place: str,
        namespace: str,
        *,
        experiments: Experiments,
        versions: Versions,
        metadata: Metadata,
        server: Server,
        records: ServiceRecords,
        recurring_run_ids: RecurringRunIds,
    ) -> None:
        self._where = where
        self._place = place
        self._namespace = namespace
        self._experiments = experiments
        self._versions = versions
        self._metadata = metadata
        self._server = server
        self._records = records
        self._recurring_run_ids = recurring_run_ids

    def read_created(self, answer: RunAnswer, experiment: str) -> Run:
        """Return a run from the answer to its creation, which contains the spec."""
        run, _ = self._read(RunSource(answer), experiment)
        return run

    def read_listed(self, item: object, *, read_specs: bool) -> FetchedRun:
        """Return a run of a list, without its tasks.

        Args:
            item: an item of the list.
            read_specs: read the spec of a pipeline version from the server when it is not recorded.

        Raises:
            BadAnswer: the item is not a run.
        """
        answer = check_run(item)
        without_nodes = self._with_spec(answer, read_specs=read_specs).copy()
        without_nodes.pop("run_details", None)
        experiment = parse_description(answer.get("description")).get(EXPERIMENT)
        if not experiment:
            experiment = self._experiments.name_in_list(answer.get("experiment_id") or "")
        run, spec = self._read(RunSource(without_nodes), experiment)
        created_at = run.created_at or ""
        changed_at = max(run.ended_at or created_at, created_at)
        return FetchedRun(replace(run, tasks=()), changed_at, spec, answer)

    def read_with_tasks(self, answer: RunAnswer) -> tuple[FetchedRun, RunSource]:
        """Return a run with its tasks, and the data that it was made from.

        The values and artifacts of tasks are read only when the run has ended.

        Args:
            answer: the run as `messages.check_run` returns it.
        """
        source = self._read_source(self._with_spec(answer))
        run, spec = self._read(source, self._experiment_of(answer))
        changed_at = run.ended_at or run.created_at or ""
        fetched = FetchedRun(run, changed_at, spec)
        # An unfinished run is read again, so the user does not need to know what is missing.
        if run_state(answer).final:
            fetched = replace(fetched, missing=source.missing, note=source.note)
        return fetched, source

    # -- executions

    def _read_source(self, answer: RunAnswer) -> RunSource:
        """Return the answer of a run with the executions of its tasks."""
        if "tasks" in answer:
            return self._read_server_tasks(answer)
        state = run_state(answer)
        if state is RunState.PENDING:
            return RunSource(answer)
        run_id = answer["run_id"]
        try:
            # Reading artifacts costs two more requests, so it waits for the end of the run.
            executions = self._metadata.read_executions(run_id, with_artifacts=state.final)
        except BackendError as error:
            return self._without_metadata(answer, error)
        note = ""
        if not executions and state.final:
            note = (
                f"kfgcp shows run {run_id} without values and metrics, because ML Metadata does"
                " not know the run."
            )
        return RunSource(answer, executions, note=note)

    def _read_server_tasks(self, answer: RunAnswer) -> RunSource:
        """Return the answer of a server of 3.0 with the executions that it contains."""
        tasks, problem = check_tasks(answer["tasks"])
        note = ""
        if problem:
            note = f"{self._title(answer['run_id'])} is shown without some of its tasks: {problem}"
        _, graph = read_pipeline(answer)
        executions = make_executions(tasks, graph) if graph is not None else []
        return RunSource(answer, executions, note=note)

    def _without_metadata(self, answer: RunAnswer, error: BackendError) -> RunSource:
        """Return the answer of a run without executions, because ML Metadata does not answer."""
        # A server of 3.0 has no ML Metadata, so another reading would not find more.
        if self._server.keeps_tasks(self._namespace):
            title = self._title(answer["run_id"])
            return RunSource(answer, note=f"{title} is shown without tasks: {NO_TASKS}")
        missing = (
            f"Runs of {self._where.env} are shown without values, metrics and artifacts:"
            f" {error.message}"
        )
        return RunSource(answer, missing=missing)

    def _title(self, run_id: str) -> str:
        """Return the beginning of a sentence about a run."""
        return f"Run {run_id} of {self._where.env}"

    # -- names

    def _with_spec(self, answer: RunAnswer, *, read_specs: bool = True) -> RunAnswer:
        """Return the answer of a run with its spec, when the spec can be read.

        The answer of a run that was started from a pipeline version contains only the version.
        """
        if answer.get("pipeline_spec"):
            return answer
        spec = self._versions.spec(answer, read_specs=read_specs)
        if spec is None:
            return answer
        with_spec = answer.copy()
        with_spec["pipeline_spec"] = spec
        return with_spec

    def _experiment_of(self, answer: RunAnswer) -> str:
        """Return the name of a run's experiment. The name as it was submitted comes first.

        MySQL ignores case and trailing spaces when it compares names. So a run that was submitted
        to "default" may be in the experiment "Default". Lists show the submitted name, too.
        """
        name = self._experiments.name(answer.get("experiment_id") or "")
        submitted_name = parse_description(answer.get("description")).get(EXPERIMENT, "")
        return submitted_name if is_same_name(submitted_name, name) else name

    def _read(self, source: RunSource, experiment: str) -> tuple[Run, Mapping[str, Any] | None]:
        """Return a run with its `backend_ref`, and its PipelineSpec when it can be read."""
        run, spec = read_run(
            source.answer,
            self._where,
            experiment=experiment,
            executions=source.executions,
            cancelled=self._is_recorded_as_cancelled(source.answer),
        )
        labels = {**run.labels, **self._recurring_run_ids.labels(source.answer)}
        return replace(run, backend_ref=f"{self._place}{run.run_id}", labels=labels), spec

    def _is_recorded_as_cancelled(self, answer: RunAnswer) -> bool:
        """Return whether kfgcp cancelled a run that has the state FAILED on the server.

        The answer does not always show that a run was cancelled (recorded: run-get-canceled.json of
        api-2.17.0).
        """
        progress = read_progress(answer)
        if progress.state is not RunState.FAILED:
            return False
        cancellation = self._records.cancellation(f"{self._place}{answer['run_id']}")
        if cancellation is None:
            return False
        return cancellation.holds_for(progress.ended_at, progress.retried_at)


def read_run(
    answer: RunAnswer,
    where: Where,
    *,
    experiment: str = "",
    executions: Sequence[Execution] = (),
    cancelled: bool = False,
) -> tuple[Run, Mapping[str, Any] | None]:
    """Return the run of an answer, and its PipelineSpec when it can be read.

    Args:
        answer: the run as `messages.check_run` returns it, with its spec.
        where: the server and the environment of the run.
        experiment: the name of the run's experiment.
        executions: the executions of the tasks. Without executions, the tasks come from the nodes
            of the workflow, and have no values.
        cancelled: whether kfgcp recorded that it cancelled the run.
    """
    spec, graph = read_pipeline(answer)
    progress = read_progress(answer, cancelled=cancelled)
    placed = _visible_tasks(answer, executions, progress)
    tasks = read_tasks(placed, progress, AttemptPods(workflow_nodes(answer)))
    artifacts = tuple(read_artifacts(placed))
    labels = _read_labels(answer, spec)
    outputs: dict[str, Any] = {}
    if graph is not None and progress.state is RunState.SUCCEEDED:
        outputs = _read_outputs(graph, tasks)
    error = None
    if progress.state is RunState.FAILED:
        error = _read_error(answer, tasks)
    runtime_config = answer.get("runtime_config") or RuntimeConfigAnswer()
    run_id = answer["run_id"]
    run = Run(
        run_id=run_id,
        env=where.env,
        backend="kubeflow",
        backend_ref=run_id,
        url=f"{where.host}/#/runs/details/{run_id}",
        pipeline=_pipeline_name(answer, spec, labels),
        version=spec.version if spec is not None else "",
        experiment=experiment or "default",
        name=answer.get("display_name") or run_id,
        labels=labels,
        state=progress.state,
        created_at=read_time(answer.get("created_at")),
        started_at=_run_start(answer, tasks),
        ended_at=_run_end(progress, tasks),
        params=read_params(normalize_numbers(runtime_config.get("parameters") or {}), spec),
        outputs=outputs,
        metrics=tuple(read_metrics(artifacts)),
        artifacts=artifacts,
        tasks=tuple(tasks),
        error=error,
    )
    return run, spec.pipeline_spec if spec is not None else None


def _visible_tasks(
    answer: RunAnswer, executions: Sequence[Execution], progress: Progress
) -> list[PlacedTask]:
    """Return the tasks that a run shows.

    A task without an execution or a node may start later, or may be skipped. So it is shown only
    after the end of the run.
    """
    placed = place_tasks(answer, executions)
    if progress.has_ended:
        return list(placed)
    return [task for task in placed if task.execution or task.node or task.failed_driver]


def _pipeline_name(answer: RunAnswer, spec: Spec | None, labels: Mapping[str, str]) -> str:
    """Return the name of the pipeline: from the spec, a label, or the name of the run."""
    if spec is not None:
        return spec.name
    return labels.get("pipeline") or answer.get("display_name") or ""


def _read_labels(answer: RunAnswer, spec: Spec | None) -> dict[str, str]:
    """Return the labels of a run.

    A run that kfgcp submitted also has the labels that follow from its spec. The description is
    short, so these labels may be missing there.
    """
    labels = parse_description(answer.get("description"))
    # This label is only for lists, which have the id of an experiment but not the name.
    labels.pop(EXPERIMENT, None)
    if spec is None or SUBMISSION not in labels:
        return labels
    return {**pipeline_labels(spec.name, spec.version), **labels}


def _run_start(answer: RunAnswer, tasks: Sequence[Task]) -> str | None:
    """Return the start of the first task, or the creation of the run when no task has started."""
    starts = [task.started_at for task in tasks if task.started_at]
    return min(starts, default=read_time(answer.get("created_at")))


def _run_end(progress: Progress, tasks: Sequence[Task]) -> str | None:
    """Return when a run ended.

    The server rounds the end of a run to whole seconds, which may be before the end of the last
    task. Then the end of the last task counts.
    """
    if not progress.has_ended:
        return None
    ends = [task.ended_at for task in tasks if task.ended_at]
    if progress.ended_at:
        ends.append(progress.ended_at)
    return max(ends, default=None)


def _read_outputs(graph: Graph, tasks: Sequence[Task]) -> dict[str, Any]:
    return dag_outputs(graph.root, {task.path: task for task in tasks})


def _read_error(answer: RunAnswer, tasks: Sequence[Task]) -> ErrorInfo:
    """Return the error of a failed run.

    It is the error of the task that failed first. When no task has an error, it is the error that
    the server has for the whole run.
    """
    failure = find_first_failure(tasks)
    if failure is not None:
        return failure
    if any(_is_failed_root_driver(node) for node in workflow_nodes(answer)):
        return error_info(answer.get("error"), PIPELINE_NOT_STARTED, kind=ErrorKind.LOG_UNREAD)
    return error_info(answer.get("error"), RUN_FAILED)


def _is_failed_root_driver(node: NodeAnswer) -> bool:
    # The number of an attempt follows the name: `root-driver(0)`.
    name = (node.get("display_name") or "").partition("(")[0]
    return node.get("state") == "FAILED" and name == "root-driver"
