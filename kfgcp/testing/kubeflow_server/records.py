"""A run of the server: what was asked for, what carries it out, and how it looks as JSON.

- `created_at`, `scheduled_at` and `finished_at` have whole seconds; `finished_at` of a run that goes on is 1970: the
  converter of the server writes the 0 of its table.
- A run has either `pipeline_spec` or `pipeline_version_reference`, never both.
- Lists and single runs are the same: the server reads the tasks with both.
- Not confirmed: that a terminated run becomes CANCELED (`terminated_state` of the stand-in is there for that reason),
  that it has no `error`, and that the names of workflows end in five letters.
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
_TAKEN: Final = "taken from run "
_NUMBERING: Final = threading.Lock()


@dataclass(eq=False, slots=True)
class Record:
    """A run.

    id: a UUID. number: its place in the order of creation, from 1. experiment: the id of its own. source: the field
    that names its pipeline. created: Unix time in seconds. workflow: the name of its Argo workflow. recurring: the id
    of the recurring run that started it. earlier: the tasks of the attempt before a retry. terminated: the state after
    a termination. executions: paths of tasks -> a number that stays the same.
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
    earlier: tuple[Task, ...] = ()
    ended: Run | None = None
    executions: dict[str, int] = field(default_factory=dict)
    kept: dict[str, Any] = field(default_factory=dict)

    @property
    def graph(self) -> Graph:
        return _graph(_Kept(self.submission.spec))

    @property
    def state(self) -> str:
        """As the server calls it."""
        ended = self.ended
        return self._state(ended.state if ended is not None else self.execution.state)

    def _state(self, found: RunState) -> str:
        if self.terminating and not found.final:
            return "CANCELING"
        return self.terminated if found is RunState.CANCELLED else STATES[found]

    @property
    def storage_state(self) -> str:
        return "ARCHIVED" if self.archived else "AVAILABLE"

    @property
    def finished(self) -> int:
        """Unix time in seconds, 0 while it goes on."""
        if self.ended is None and not self.execution.state.final:
            return 0
        return micros(self.run().ended_at) // 1_000_000

    def run(self) -> Run:
        """As it is now; kept once it has ended."""
        if self.ended is not None:
            return self.ended
        run = self.execution.run()
        if self.earlier:
            run = replace(run, tasks=_merged(run.tasks, self.earlier))
        if run.state.final:
            self.ended = run
        return run

    def retry(self, execution: Execution) -> None:
        """Goes on with another execution; what succeeded before stays as it was."""
        self.earlier = self.run().tasks
        self.ended, self.terminating, self.execution = None, False, execution
        self.kept.clear()

    def execution_number(self, path: str) -> int:
        """A number for the task at a path, from 1, the same at every look."""
        with _NUMBERING:
            return self.executions.setdefault(path, len(self.executions) + 1)

    def view(self, details: Callable[[Record], list[dict[str, Any]]]) -> dict[str, Any]:
        """The run as JSON. details: gives its task details; asked for last, so that those of an ended run are final."""
        run = self.run()
        state = self._state(run.state)
        return without_empty(
            {
                "experiment_id": self.experiment,
                "run_id": self.id,
                "display_name": self.name,
                "storage_state": self.storage_state,
                "description": self.description,
                **self.source,
                "runtime_config": dict(self.runtime_config),
                "service_account": self.service_account,
                "created_at": stamp(self.created),
                "scheduled_at": stamp(self.created),
                "finished_at": whole_second(run.ended_at) if run.ended_at else UNFINISHED,
                "state": state,
                "run_details": without_empty({"task_details": details(self)}),
                "recurring_run_id": self.recurring,
                "state_history": _history(self.created, run, state),
            }
        )


def source_of(spec: Spec, reference: Mapping[str, str] | None) -> dict[str, Any]:
    """The field of a run that names its pipeline."""
    return {"pipeline_version_reference": dict(reference)} if reference else {"pipeline_spec": document_of(spec)}


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
    "pipeline_id": lambda item: item.source.get("pipeline_version_reference", {}).get("pipeline_id", ""),
}
"""What runs are filtered and sorted by."""


def _history(created: int, run: Run, state: str) -> list[dict[str, str]]:
    steps = [(stamp(created), "PENDING")]
    if run.started_at:
        steps.append((whole_second(run.started_at), "RUNNING"))
    if state not in ("PENDING", "RUNNING"):
        steps.append((whole_second(run.ended_at or run.started_at or stamp(created)), state))
    return [{"update_time": at, "state": step} for at, step in steps]


def _merged(tasks: tuple[Task, ...], earlier: tuple[Task, ...]) -> tuple[Task, ...]:
    """The tasks of a retried run: those that succeeded before are as they were."""
    before = {task.path: task for task in earlier if task.state.ok}
    now = {task.path: task for task in tasks}
    kept = [
        before[path] if path in before and task.cache is not None and task.cache.reason.startswith(_TAKEN) else task
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
