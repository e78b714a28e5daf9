"""A run of the server: its request, its execution, and its JSON in answers.

- A run is PENDING and has no `run_details` until the persistence agent reports it (run-create.json,
  run-get-fresh.json). The agent writes the state first and the tasks after it: see
  `RunStore.reporting`.
- `created_at`, `scheduled_at` and `finished_at` have whole seconds. `finished_at` of a run that has
  not ended is 1970, because the server's converter writes the 0 of its table
  (run-get-running.json).
- A run has either `pipeline_spec` or `pipeline_version_reference`, never both.
- A list answers each run with the same fields as the answer for a single run, including its tasks.
- A terminated run ends FAILED, without an `error`. The method terminate does not write to
  `state_history` (run_store.go). So the history has CANCELING only if the agent reports the run
  before its end, as in cluster-2.17.0/sleepy-cancelled. run-get-canceled.json does not have it.
- After the Workflow is deleted, the agent reports nothing. A terminated run then stays CANCELING
  (run-get-canceling-forever.json).
- If the server cannot read the pipeline of a run, it answers only the ids of the run and `error`
  (run-get-not-converted.json).
- Not confirmed: in every version the name of a workflow ends in five letters or digits.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Final

from kfgcp.model import Run, RunState, Task
from kfgcp.spec import graph
from kfgcp.spec.graph import Graph
from kfgcp.spec.json_values import JsonObject
from kfgcp.spec.load import Spec
from kfgcp.testing.engine_runs import Execution
from kfgcp.testing.google import micros
from kfgcp.testing.kubeflow_server.errors import invalid_input
from kfgcp.testing.kubeflow_server.filters import Fields
from kfgcp.testing.kubeflow_server.messages import (
    UNIX_EPOCH,
    cut_fraction,
    drop_empty,
    format_time,
)
from kfgcp.testing.kubeflow_server.uploads import format_spec
from kfgcp.testing.rules import Submission

STATES: Final[Mapping[RunState, str]] = {
    RunState.PENDING: "PENDING",
    RunState.RUNNING: "RUNNING",
    RunState.SUCCEEDED: "SUCCEEDED",
    RunState.FAILED: "FAILED",
    RunState.CANCELLING: "CANCELING",
    RunState.CANCELLED: "CANCELED",
    RunState.PAUSED: "PAUSED",
}
# Each request runs in a thread. Two requests must not give a task two numbers, and two reports must
# not mix their states.
_NUMBERING: Final = threading.Lock()
_REPORTING: Final = threading.Lock()


@dataclass(slots=True)
class Report:
    """The data that the persistence agent has written about a run.

    Attributes:
        state: the state of the run, in the server's words.
        history: the states with their times, the oldest first: (time, state).
        finished: RFC 3339, None while the run has not ended.
        run: the run whose tasks are in `run_details`, None before the first report.
    """

    state: str
    history: list[tuple[str, str]]
    finished: str | None = None
    run: Run | None = None


@dataclass(eq=False, slots=True)
class RunRecord:
    """A run of the server.

    Attributes:
        id: a UUID.
        number: the place of the run in the order of creation, from 1.
        experiment_id: the id of its experiment.
        source: the field of the answer that names the pipeline.
        created: Unix time in seconds.
        workflow: the name of its Argo workflow.
        terminated_state: the final state of the run if it is terminated.
        recurring_run_id: the id of the recurring run that started this run, empty for none.
        scheduled: its due time, Unix time in seconds. It is `created` without a recurring run.
        workflow_defaults: whether every node of its Workflow has a retry strategy.
        workflow_gone: whether its Workflow was deleted from the cluster.
        unreadable: whether the server cannot read its pipeline.
        earlier_tasks: the tasks as they were before a retry.
        final_run: the run after its end, None before its end.
        execution_numbers: path of a task -> its number, which does not change.
        cache: parts of answers that do not change after the end of the run.
        reported: the data that the persistence agent has written.
    """

    id: str
    number: int
    name: str
    description: str
    experiment_id: str
    namespace: str
    service_account: str
    source: JsonObject
    runtime_config: JsonObject
    submission: Submission
    created: int
    workflow: str
    root: str
    execution: Execution
    terminated_state: str
    recurring_run_id: str = ""
    scheduled: int = 0
    archived: bool = False
    terminating: bool = False
    workflow_defaults: bool = False
    workflow_gone: bool = False
    unreadable: bool = False
    earlier_tasks: tuple[Task, ...] = ()
    final_run: Run | None = None
    execution_numbers: dict[str, int] = field(default_factory=dict)
    cache: dict[str, Any] = field(default_factory=dict)
    reported: Report = field(init=False)

    def __post_init__(self) -> None:
        self.reported = Report("PENDING", [(format_time(self.created), "PENDING")])

    @property
    def graph(self) -> Graph:
        """The graph of the pipeline."""
        return _build_graph(_SpecByIdentity(self.submission.spec))

    @property
    def state(self) -> str:
        """The state that was last reported or set, in the server's words."""
        return self.reported.state

    @property
    def storage_state(self) -> str:
        """Whether the run is archived, in the server's words."""
        return "ARCHIVED" if self.archived else "AVAILABLE"

    @property
    def finished(self) -> int:
        """The reported end, Unix time in seconds; 0 while the run has not ended."""
        finished = self.reported.finished
        return micros(finished) // 1_000_000 if finished else 0

    def current_run(self) -> Run:
        """Return the run as it is now. The persistence agent may not have reported it yet."""
        if self.final_run is not None:
            return self.final_run
        run = self.execution.run()
        if self.earlier_tasks:
            run = replace(run, tasks=_merge_tasks(run.tasks, self.earlier_tasks))
        if run.state.final:
            self.final_run = run
        return run

    # -- the persistence agent

    def report(self, *, with_tasks: bool = True, watched: bool = False) -> None:
        """Write the current state of the run, as the persistence agent does.

        Args:
            with_tasks: whether the agent also writes the tasks. A real agent writes them later than
                the state.
            watched: whether the agent has watched the run all the time, so that the history has
                every state.
        """
        reported = self.reported
        is_complete = reported.run is not None and reported.run is self.final_run
        if self.workflow_gone or is_complete:
            return
        with _REPORTING:
            run = self.current_run()
            state = self._server_state(run.state)
            if watched:
                self._fill_history(run, state)
            changed_at = run.ended_at or run.started_at or format_time(self.created)
            self._set_state(cut_fraction(changed_at), state)
            reported.finished = run.ended_at
            if with_tasks:
                reported.run = run

    def terminate(self) -> None:
        """Mark the run as terminating, and cancel its execution."""
        self.terminating = True
        self.reported.state = "CANCELING"
        self.execution.cancel()

    def retry(self, execution: Execution, now: str, *, keeps_history: bool) -> None:
        """Continue the run with a new execution. Tasks that succeeded before keep their results.

        Args:
            execution: the new execution.
            now: the time, in RFC 3339.
            keeps_history: whether the history keeps the earlier states.
        """
        self.earlier_tasks = self.current_run().tasks
        self.final_run = None
        self.terminating = False
        self.execution = execution
        # The server creates the Workflow again when it is gone (resource_manager.go).
        self.workflow_gone = False
        self.cache.clear()
        if not keeps_history:
            self.reported.history.clear()
        self._set_state(now, "RUNNING")
        self.reported.finished = None

    def _server_state(self, state: RunState) -> str:
        if self.terminating and not state.final:
            return "CANCELING"
        if state is RunState.CANCELLED:
            return self.terminated_state
        return STATES[state]

    def _fill_history(self, run: Run, state: str) -> None:
        """Add the states that the run had after the last report."""
        if not run.started_at or state == "PENDING":
            return
        if self.reported.history[-1][1] == "PENDING":
            self._set_state(cut_fraction(run.started_at), "RUNNING")
        if run.state is RunState.CANCELLED:
            self._set_state(cut_fraction(run.ended_at or run.started_at), "CANCELING")

    def _set_state(self, time: str, state: str) -> None:
        """Set the state, and add it to the history if it differs from the last state there."""
        self.reported.state = state
        history = self.reported.history
        if not history or history[-1][1] != state:
            history.append((time, state))

    # -- answers

    def execution_number(self, path: str) -> int:
        """Return the number of the task at a path, from 1. The first call for a path sets it."""
        with _NUMBERING:
            return self.execution_numbers.setdefault(path, len(self.execution_numbers) + 1)

    def to_json(
        self, get_task_details: Callable[[RunRecord], list[dict[str, Any]]]
    ) -> dict[str, Any]:
        """Return the run as JSON.

        Args:
            get_task_details: gives the task details of the run.
        """
        if self.unreadable:
            return self._unreadable_json()
        reported = self.reported
        task_details: list[dict[str, Any]] = []
        if reported.run is not None:
            task_details = get_task_details(self)
        history = [{"update_time": time, "state": state} for time, state in reported.history]
        created_at = format_time(self.created)
        return drop_empty(
            {
                "experiment_id": self.experiment_id,
                "run_id": self.id,
                "display_name": self.name,
                "storage_state": self.storage_state,
                "description": self.description,
                **self.source,
                "runtime_config": drop_empty(self.runtime_config),
                "service_account": self.service_account,
                "created_at": created_at,
                "scheduled_at": format_time(self.scheduled or self.created),
                "finished_at": cut_fraction(reported.finished) if reported.finished else UNIX_EPOCH,
                "state": reported.state,
                "run_details": drop_empty({"task_details": task_details}),
                "recurring_run_id": self.recurring_run_id,
                "state_history": history,
            }
        )

    def _unreadable_json(self) -> dict[str, Any]:
        context = (
            "Failed to convert internal run representation to its API counterpart due to missing"
            " pipeline source"
        )
        error = invalid_input("Failed to parse the pipeline source", context)
        body = error.response(with_error=False).body
        return {"experiment_id": self.experiment_id, "run_id": self.id, "error": body}


def format_source(spec: Spec, reference: Mapping[str, str] | None) -> dict[str, Any]:
    """Return the field of a run that names its pipeline.

    Args:
        spec: the pipeline.
        reference: the ids of an uploaded pipeline and its version, None for a pipeline that the
            request of the run contains.
    """
    if reference:
        return {"pipeline_version_reference": dict(reference)}
    return {"pipeline_spec": format_spec(spec)}


# The fields of filters and orders (model/run.go).
RUN_FIELDS: Final[Fields] = {
    **dict.fromkeys(("id", "run_id"), lambda record: record.id),
    **dict.fromkeys(("name", "display_name"), lambda record: record.name),
    "created_at": lambda record: record.created,
    "scheduled_at": lambda record: record.scheduled or record.created,
    "finished_at": lambda record: record.finished,
    "description": lambda record: record.description,
    "storage_state": lambda record: record.storage_state,
    "namespace": lambda record: record.namespace,
    "experiment_id": lambda record: record.experiment_id,
    "state": lambda record: record.state,
    "recurring_run_id": lambda record: record.recurring_run_id,
}


def _merge_tasks(tasks: tuple[Task, ...], earlier_tasks: tuple[Task, ...]) -> tuple[Task, ...]:
    """Return the tasks of a retried run.

    A task that succeeded before and did not run again stays as it was before the retry.
    """
    succeeded_tasks = {task.path: task for task in earlier_tasks if task.state.ok}
    paths = {task.path for task in tasks}
    merged = [task for path, task in succeeded_tasks.items() if path not in paths]
    for task in tasks:
        was_reused = task.cache is not None and task.cache.hit
        merged.append(succeeded_tasks.get(task.path, task) if was_reused else task)
    return tuple(merged)


class _SpecByIdentity:
    """A spec as a key of the cache below. It compares identities: to hash the content is slow."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec

    def __hash__(self) -> int:
        return id(self.spec)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _SpecByIdentity) and other.spec is self.spec


@lru_cache(maxsize=64)
def _build_graph(key: _SpecByIdentity) -> Graph:
    return graph.build(key.spec.pipeline_spec, key.spec.platform_spec)
