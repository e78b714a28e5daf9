"""A run of the server: what was asked for, what carries it out, and how it looks as JSON.

- A run is PENDING and has no `run_details` until the persistence agent reports it (run-create.json,
  run-get-fresh.json). The agent writes state and tasks one after the other: see `Runs.reporting`.
- `created_at`, `scheduled_at` and `finished_at` have whole seconds; `finished_at` of a run that
  goes on is 1970: the converter of the server writes the 0 of its table (run-get-running.json).
- A run has either `pipeline_spec` or `pipeline_version_reference`, never both.
- Lists and single runs are the same: the server reads the tasks with both.
- A terminated run ends FAILED, without an `error`. `state_history` has CANCELING when the agent has
  reported in between (cluster-2.17.0/sleepy-cancelled), else not (run-get-canceled.json); terminate
  itself does not write it (run_store.go).
- When the Workflow is gone nothing is reported any more: a terminated run stays CANCELING
  (run-get-canceling-forever.json).
- A run whose pipeline cannot be read has only its ids and `error` (run-get-not-converted.json).
- Not confirmed: that the names of workflows end in five letters or digits for every version.
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
from kfgcp.spec.load import Spec
from kfgcp.testing.engine_runs import Execution
from kfgcp.testing.google import micros
from kfgcp.testing.kubeflow_server import lists
from kfgcp.testing.kubeflow_server.errors import invalid
from kfgcp.testing.kubeflow_server.messages import UNFINISHED, stamp, whole_second, without_empty
from kfgcp.testing.kubeflow_server.uploads import document_of
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
_NUMBERING: Final = threading.Lock()
_REPORTING: Final = threading.Lock()
_UNREADABLE: Final = "Failed to parse the pipeline source"


@dataclass(slots=True)
class Reported:
    """What the persistence agent has written of a run.

    state: of the run, as the server calls it. finished: RFC 3339, None while it goes on. run: whose
    tasks are in `run_details`, None before the first report. history: (time, state), the oldest
    first.
    """

    state: str
    history: list[tuple[str, str]]
    finished: str | None = None
    run: Run | None = None


@dataclass(eq=False, slots=True)
class Record:
    """A run.

    Attributes:
        id: a UUID.
        number: its place in the order of creation, from 1.
        experiment: the id of its own.
        source: the field that names its pipeline.
        created: Unix time in seconds.
        workflow: the name of its Argo workflow.
        recurring: the id of the recurring run that started it.
        earlier: the tasks of the attempt before a retry.
        terminated: the state after a termination.
        workflow_defaults: whether every node of its Workflow has a retry strategy.
        workflow_gone: whether its Workflow was deleted from the cluster.
        unreadable: whether the server cannot read its pipeline.
        executions: paths of tasks -> a number that stays the same.
        reported: what the persistence agent has written.
    """

    id: str
    number: int
    name: str
    description: str
    experiment: str
    namespace: str
    service_account: str
    source: Mapping[str, Any]
    runtime_config: Mapping[str, Any]
    submission: Submission
    created: int
    workflow: str
    root: str
    execution: Execution
    terminated: str
    recurring: str = ""
    archived: bool = False
    terminating: bool = False
    workflow_defaults: bool = False
    workflow_gone: bool = False
    unreadable: bool = False
    earlier: tuple[Task, ...] = ()
    ended: Run | None = None
    executions: dict[str, int] = field(default_factory=dict)
    kept: dict[str, Any] = field(default_factory=dict)
    reported: Reported = field(init=False)

    @property
    def graph(self) -> Graph:
        return _graph(_Kept(self.submission.spec))

    def __post_init__(self) -> None:
        self.reported = Reported("PENDING", [(stamp(self.created), "PENDING")])

    @property
    def state(self) -> str:
        """The state as it was last reported or set, as the server calls it."""
        return self.reported.state

    @property
    def storage_state(self) -> str:
        return "ARCHIVED" if self.archived else "AVAILABLE"

    @property
    def finished(self) -> int:
        """Unix time in seconds as it was last reported, 0 while the run goes on."""
        finished = self.reported.finished
        return micros(finished) // 1_000_000 if finished else 0

    def run(self) -> Run:
        """Return the run as it is now, whatever was reported; kept once it has ended."""
        if self.ended is not None:
            return self.ended
        run = self.execution.run()
        if self.earlier:
            run = replace(run, tasks=_merged(run.tasks, self.earlier))
        if run.state.final:
            self.ended = run
        return run

    # -- the persistence agent

    def report(self, *, with_tasks: bool = True, watched: bool = False) -> None:
        """Write what the run has become, as the persistence agent does.

        Args:
            with_tasks: whether the tasks are written too: the agent writes the state first.
            watched: whether the agent has reported all the time, so that the history has every
                state.
        """
        reported = self.reported
        if self.workflow_gone or (reported.run is not None and reported.run is self.ended):
            return
        with _REPORTING:
            run = self.run()
            state = self._state_of(run.state)
            if watched:
                self._fill_history(run, state)
            self._enter(whole_second(run.ended_at or run.started_at or stamp(self.created)), state)
            reported.finished = run.ended_at
            if with_tasks:
                reported.run = run

    def terminate(self) -> None:
        """Write that the run is to end, and end what carries it out."""
        self.terminating = True
        self.reported.state = "CANCELING"
        self.execution.cancel()

    def retry(self, execution: Execution, at: str, *, keeps_history: bool) -> None:
        """Go on with another execution; what succeeded before stays as it was.

        Args:
            execution: the new one.
            at: the time now, in RFC 3339.
            keeps_history: whether the states before are kept.
        """
        self.earlier = self.run().tasks
        self.ended, self.terminating, self.execution = None, False, execution
        self.workflow_gone = (
            False  # the server makes the Workflow again when it is gone (resource_manager.go)
        )
        self.kept.clear()
        if not keeps_history:
            self.reported.history.clear()
        self._enter(at, "RUNNING")
        self.reported.finished = None

    def _state_of(self, state: RunState) -> str:
        if self.terminating and not state.final:
            return "CANCELING"
        return self.terminated if state is RunState.CANCELLED else STATES[state]

    def _fill_history(self, run: Run, state: str) -> None:
        """Add the states that the run had since the last report."""
        if run.started_at and state != "PENDING":
            if self.reported.history[-1][1] == "PENDING":
                self._enter(whole_second(run.started_at), "RUNNING")
            if run.state is RunState.CANCELLED:
                self._enter(whole_second(run.ended_at or run.started_at), "CANCELING")

    def _enter(self, at: str, state: str) -> None:
        """Set the state, which is added to the history when it is another one."""
        self.reported.state = state
        if not self.reported.history or self.reported.history[-1][1] != state:
            self.reported.history.append((at, state))

    # -- for the answers

    def execution_number(self, path: str) -> int:
        """Return a number for the task at a path, from 1, the same at every look."""
        with _NUMBERING:
            return self.executions.setdefault(path, len(self.executions) + 1)

    def view(self, details: Callable[[Record], list[dict[str, Any]]]) -> dict[str, Any]:
        """Return the run as JSON. details: gives its task details."""
        if self.unreadable:
            return self._unreadable_view()
        reported = self.reported
        task_details = details(self) if reported.run is not None else []
        history = [{"update_time": at, "state": state} for at, state in reported.history]
        return without_empty(
            {
                "experiment_id": self.experiment,
                "run_id": self.id,
                "display_name": self.name,
                "storage_state": self.storage_state,
                "description": self.description,
                **self.source,
                "runtime_config": without_empty(self.runtime_config),
                "service_account": self.service_account,
                "created_at": stamp(self.created),
                "scheduled_at": stamp(self.created),
                "finished_at": whole_second(reported.finished) if reported.finished else UNFINISHED,
                "state": reported.state,
                "run_details": without_empty({"task_details": task_details}),
                "recurring_run_id": self.recurring,
                "state_history": history,
            }
        )

    def _unreadable_view(self) -> dict[str, Any]:
        around = (
            "Failed to convert internal run representation to its API counterpart due to missing"
            " pipeline source"
        )
        error = invalid(_UNREADABLE, around).response(with_error=False).body
        return {"experiment_id": self.experiment, "run_id": self.id, "error": error}


def source_of(spec: Spec, reference: Mapping[str, str] | None) -> dict[str, Any]:
    """The field of a run that names its pipeline."""
    return (
        {"pipeline_version_reference": dict(reference)}
        if reference
        else {"pipeline_spec": document_of(spec)}
    )


FIELDS: Final[lists.Fields] = {
    **dict.fromkeys(("id", "run_id"), lambda item: item.id),
    **dict.fromkeys(("name", "display_name"), lambda item: item.name),
    **dict.fromkeys(("created_at", "scheduled_at"), lambda item: item.created),
    "finished_at": lambda item: item.finished,
    "description": lambda item: item.description,
    "storage_state": lambda item: item.storage_state,
    "namespace": lambda item: item.namespace,
    "experiment_id": lambda item: item.experiment,
    "state": lambda item: item.state,
    "recurring_run_id": lambda item: item.recurring,
}
"""What runs are filtered and sorted by (model/run.go)."""


def _merged(tasks: tuple[Task, ...], earlier: tuple[Task, ...]) -> tuple[Task, ...]:
    """Return the tasks of a retried run: those that succeeded before, and did not run again, are as
    they were."""
    before = {task.path: task for task in earlier if task.state.ok}
    now = {task.path: task for task in tasks}
    kept = [
        before[path] if path in before and task.cache is not None and task.cache.hit else task
        for path, task in now.items()
    ]
    return (*(task for path, task in before.items() if path not in now), *kept)


class _Kept:
    """A spec as an argument that is not hashed by its content."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec

    def __hash__(self) -> int:
        return id(self.spec)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Kept) and other.spec is self.spec


@lru_cache(maxsize=64)
def _graph(kept: _Kept) -> Graph:
    return graph.build(kept.spec.pipeline_spec, kept.spec.platform_spec)
