"""How a run of Kubeflow Pipelines becomes a `Run` of ours, with its tasks.

The answer of the server contains only a part of a run. These are the steps, each with its module:

1. `messages` checks the fields of the answer.
2. `names` adds what the answer names by an id: the experiment, and the spec of a pipeline version.
3. The executions tell what became of the tasks. A server of 3.0 has them in the answer
   (`executions_from_server`). Older ones have them in ML Metadata (`executions_from_mlmd`).
4. `tree` puts each task at its path in the pipeline. When there are no executions, the nodes of the
   workflow tell which tasks ran.
5. `progress` tells how far the run is, from its state and the history of its states.
6. `read_tasks` gives each task its state, its times and its values; `group_states` corrects the
   states of DAGs and loops after the end of the run.
7. `read_run` below puts the run together.
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
from kfgcp.backends.kubeflow.server_version import NO_TASKS, Server
from kfgcp.backends.kubeflow.states import run_state
from kfgcp.backends.kubeflow.times import read_time
from kfgcp.backends.kubeflow.tree import PlacedTask, place_tasks
from kfgcp.backends.run_values import (
    dag_outputs,
    error_info,
    find_first_failure,
    read_metrics,
    read_params,
)
from kfgcp.backends.service import FetchedRun, ServiceRecords
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
    """The place of a run.

    Attributes:
        host: the address of the server.
        env: the name of the environment.
    """

    host: str
    env: str


@dataclass(frozen=True, slots=True)
class RunSource:
    """What a run was read from.

    Attributes:
        answer: the answer of the server, with its spec.
        executions: of its tasks; none when they could not be read.
    """

    answer: RunAnswer
    executions: Sequence[Execution] = ()


class RunReader:
    """Reads the answers of one server as runs.

    Args:
        where: the server and the environment.
        place: what the `backend_ref` of each run begins with.
        namespace: of the runs, empty when none is set.
        experiments: has the names of experiments.
        versions: has the specs of pipeline versions.
        metadata: ML Metadata, which has the tasks of runs before 3.0.
        server: tells whether ML Metadata is needed.
        records: tells which runs kfgcp has cancelled.
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
    ) -> None:
        self._where = where
        self._place = place
        self._namespace = namespace
        self._experiments = experiments
        self._versions = versions
        self._metadata = metadata
        self._server = server
        self._records = records

    def read_created(self, answer: RunAnswer, experiment: str) -> Run:
        """Return the run of the answer to its creation, which contains its spec."""
        run, _ = self._read(RunSource(answer), experiment)
        return run

    def read_listed(self, item: object, *, ask: bool) -> FetchedRun:
        """Return a run of a list, without its tasks.

        Args:
            item: of the list.
            ask: whether to read the spec of its version from the server when it is not remembered.

        Raises:
            BadAnswer: the item is not a run.
        """
        answer = check_run(item)
        without_nodes = self._with_spec(answer, ask=ask).copy()
        without_nodes.pop("run_details", None)
        experiment = parse_description(answer.get("description")).get(EXPERIMENT)
        if not experiment:
            experiment = self._experiments.name_in_list(answer.get("experiment_id") or "")
        run, spec = self._read(RunSource(without_nodes), experiment)
        created_at = run.created_at or ""
        changed_at = max(run.ended_at or created_at, created_at)
        return FetchedRun(replace(run, tasks=()), changed_at, spec, answer)

    def read_with_tasks(self, answer: RunAnswer) -> tuple[FetchedRun, RunSource]:
        """Return a run with its tasks, and what it was read from.

        The tasks of a run that has ended have their values and artifacts.

        Args:
            answer: the run as `messages.check_run` returns it.
        """
        source, missing, note = self._read_source(self._with_spec(answer))
        run, spec = self._read(source, self._experiment_of(answer))
        # While a run is running, the next reading may find what is missing now.
        if not run_state(answer).final:
            missing = note = ""
        changed_at = run.ended_at or run.created_at or ""
        return FetchedRun(run, changed_at, spec, missing=missing, note=note), source

    # -- executions

    def _read_source(self, answer: RunAnswer) -> tuple[RunSource, str, str]:
        """Return what a run is read from, and two sentences about what could not be read.

        The first one is about an outage. The second one is about what the server does not have.
        Both are empty when nothing is missing.
        """
        if "tasks" in answer:
            executions, note = self._executions_of_server(answer)
            return RunSource(answer, executions), "", note
        state = run_state(answer)
        if state is RunState.PENDING:
            return RunSource(answer), "", ""
        run_id = answer["run_id"]
        try:
            # The artifacts take two more requests, and only the end of a run shows them.
            executions = self._metadata.read_executions(run_id, with_artifacts=state.final)
        except BackendError as error:
            missing, note = self._without_metadata(run_id, error)
            return RunSource(answer), missing, note
        note = ""
        if not executions and state.final:
            note = (
                f"Run {run_id} is shown without values and metrics: ML Metadata does not know it."
            )
        return RunSource(answer, executions), "", note

    def _executions_of_server(self, answer: RunAnswer) -> tuple[list[Execution], str]:
        """Return the executions that a server of 3.0 has, and a note about unreadable tasks."""
        tasks, problem = check_tasks(answer["tasks"])
        note = ""
        if problem:
            note = f"{self._title(answer['run_id'])} is shown without some of its tasks: {problem}"
        _, graph = read_pipeline(answer)
        if graph is None:
            return [], note
        return make_executions(tasks, graph), note

    def _without_metadata(self, run_id: str, error: BackendError) -> tuple[str, str]:
        """Return what to say about a run when ML Metadata does not answer.

        See `_read_source` for the two sentences. One of them is empty.
        """
        if self._server.keeps_tasks(self._namespace):
            return "", f"{self._title(run_id)} is shown without tasks: {NO_TASKS}"
        missing = (
            f"Runs of {self._where.env} are shown without values, metrics and artifacts:"
            f" {error.message}"
        )
        return missing, ""

    def _title(self, run_id: str) -> str:
        return f"Run {run_id} of {self._where.env}"

    # -- names

    def _with_spec(self, answer: RunAnswer, *, ask: bool = True) -> RunAnswer:
        """Return a run with its spec. A run that names a version does not contain the spec."""
        if answer.get("pipeline_spec"):
            return answer
        spec = self._versions.spec(answer, ask=ask)
        if spec is None:
            return answer
        with_spec = answer.copy()
        with_spec["pipeline_spec"] = spec
        return with_spec

    def _experiment_of(self, answer: RunAnswer) -> str:
        """Return the name of a run's experiment as it was submitted, which is what lists show.

        MySQL compares names without regard to case and trailing spaces, so a run of "default" may
        be in "Default".
        """
        name = self._experiments.name(answer.get("experiment_id") or "")
        submitted_name = parse_description(answer.get("description")).get(EXPERIMENT, "")
        return submitted_name if is_same_name(submitted_name, name) else name

    def _read(self, source: RunSource, experiment: str) -> tuple[Run, Mapping[str, Any] | None]:
        run, spec = read_run(
            source.answer,
            self._where,
            experiment=experiment,
            executions=source.executions,
            cancelled=self._is_recorded_as_cancelled(source.answer),
        )
        return replace(run, backend_ref=f"{self._place}{run.run_id}"), spec

    def _is_recorded_as_cancelled(self, answer: RunAnswer) -> bool:
        """Return whether kfgcp cancelled a run that the server calls FAILED.

        The server does not always say it (recorded: run-get-canceled.json of api-2.17.0).
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
    """Return the run of an answer, and its PipelineSpec when that can be read.

    Args:
        answer: the run as `messages.check_run` returns it, with its spec.
        where: the place of the run.
        experiment: the name of its experiment.
        executions: of its tasks. Without them the tasks are those of the workflow, without values.
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
    """Return the tasks of a run that are shown.

    Of a task without an execution or a node nothing is known before the end of the run: it may be
    skipped.
    """
    placed = place_tasks(answer, executions)
    if progress.has_ended:
        return list(placed)
    return [task for task in placed if task.execution or task.node or task.failed_driver]


def _pipeline_name(answer: RunAnswer, spec: Spec | None, labels: Mapping[str, str]) -> str:
    if spec is not None:
        return spec.name
    return labels.get("pipeline") or answer.get("display_name") or ""


def _read_labels(answer: RunAnswer, spec: Spec | None) -> dict[str, str]:
    """Return the labels of a run.

    A run that kfgcp submitted also has the labels that follow from its spec: they may have been
    left out of the description, which is short.
    """
    labels = parse_description(answer.get("description"))
    # This label is for lists, where the experiment has only its id.
    labels.pop(EXPERIMENT, None)
    if spec is None or SUBMISSION not in labels:
        return labels
    return {**pipeline_labels(spec.name, spec.version), **labels}


def _run_start(answer: RunAnswer, tasks: Sequence[Task]) -> str | None:
    starts = [task.started_at for task in tasks if task.started_at]
    return min(starts, default=read_time(answer.get("created_at")))


def _run_end(progress: Progress, tasks: Sequence[Task]) -> str | None:
    """Return when a run ended.

    The server has whole seconds, and a run does not end before its last task.
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

    It is the first failure of a task, else what the server says about the whole run.
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
