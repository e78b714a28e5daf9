"""The units of a run as they stand in it: tasks, DAGs, loops and their iterations."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from kfgcp.model import Cache, ErrorInfo, TaskKind, TaskState
from kfgcp.semantics.values import ValueProblem, Values
from kfgcp.spec.graph import Component, Dag, FromTask, Retry, TaskDef
from kfgcp.store.rows import Origin


@dataclass(eq=False, slots=True)
class Node:
    """A task, DAG, loop or iteration of the run, at its path. What the engine stamps on it (times) is the engine's."""

    path: str
    kind: TaskKind
    component: Component
    parent: Node | None = None
    task: TaskDef | None = None
    state: TaskState = TaskState.PENDING
    inputs: Values = field(default_factory=Values)
    outputs: Values = field(default_factory=Values)
    attempts: int = 0
    failures: int = 0
    losses: int = 0
    made_from: dict[str, Any] = field(default_factory=dict)  # see `cache.note_inputs`
    unseen: str = ""  # why changes in its inputs cannot be seen; empty when they can
    recorded: bool = False  # its artifacts and metrics are in the store
    cache: Cache | None = None
    origin: Origin | None = None  # of a task that was not run: the attempt of another run that made its outputs
    error: ErrorInfo | None = None
    started_at: str | None = None
    ended_at: str | None = None
    attempt_started_at: str = ""  # when this engine started the last attempt
    ready_after: int = 0  # how many attempts of the run had ended when it became ready
    # of a task: upstream tasks that have not ended
    waiting: int = 0
    # of a DAG: its tasks by key; of a loop: its iterations by number; and how many of them have not ended
    children: dict[str, Node] = field(default_factory=dict)
    remaining: int = 0
    # of a loop: the iterations that have not been opened
    pending: deque[Node] = field(default_factory=deque)

    # it or what it depends on was asked to run again; something below it was
    rerun: bool = False
    spoiled: bool = False

    @property
    def must_run(self) -> bool:
        """Whether the results of an earlier run may not be used."""
        parent, task = self.parent, self.task
        if self.rerun or parent is None or task is None or self.path.endswith("]"):
            return self.rerun or (parent is not None and parent.must_run)
        if parent.must_run or any(parent.children[key].spoiled for key in task.upstream):
            self.spoil()
        return self.rerun

    def spoil(self) -> None:
        """What depends on this, or on a DAG that holds it, must run again too."""
        self.rerun = True
        for above in lineage(self):
            above.spoiled = True

    @property
    def is_exit(self) -> bool:
        """Whether it is the exit task of a `dsl.ExitHandler`, which KFP compiles to a DAG `exit-handler-N`."""
        task = self.task
        return task is not None and task.runs_always and any(key.startswith("exit-handler-") for key in task.upstream)


def in_exit_task(node: Node) -> bool:
    """Whether it is an exit task, or stands in one: it runs to its end in a run that is cancelled."""
    return any(above.is_exit for above in lineage(node))


def lineage(node: Node) -> Iterator[Node]:
    """The node and the DAGs and loops it stands in, outwards."""
    above: Node | None = node
    while above is not None:
        yield above
        above = above.parent


def retry_policy(node: Node) -> Retry | None:
    """Return the policy by which a container is tried again after a failure.

    A container without a policy of its own has that of the nearest nested pipeline around it, as recorded on Kubeflow
    2.17.0. A nested pipeline itself, a loop or an importer is not tried again as a whole.
    """
    if node.kind is not TaskKind.CONTAINER:
        return None
    policies = (above.task.retry for above in lineage(node) if above.task is not None)
    return next((policy for policy in policies if policy is not None), None)


def final_status(node: Node, job_resource_name: str) -> dict[str, Any]:
    """The PipelineTaskFinalStatus of a task that has ended, in its JSON form."""
    failed = "FAILED" if node.state is TaskState.FAILED else "CANCELLED"  # what was skipped too: it did not do its work
    state = "SUCCEEDED" if node.state.ok else failed
    status: dict[str, Any] = {
        "state": state,
        "pipelineTaskName": node.task.key if node.task else "",
        "pipelineJobResourceName": job_resource_name,
    }
    if node.error is not None:
        status["error"] = {"code": 1, "message": node.error.message}
    return status


def dag_outputs(dag: Dag, node: Node) -> Values:
    """The outputs of a DAG whose tasks have all ended, from those of its tasks.

    Raises:
        ValueProblem: none of the producers of a `dsl.OneOf` ran.
    """
    params, artifacts = {}, {}
    for name, producers in dag.param_outputs.items():
        found = _first(name, producers, node, lambda child, key: child.outputs.params.get(key))
        if found is not None:
            params[name] = found
    for name, producers in dag.artifact_outputs.items():
        found = _first(name, producers, node, lambda child, key: child.outputs.artifacts.get(key))
        if found is not None:
            artifacts[name] = found
    return Values(params, artifacts)


def _first(name: str, producers: tuple[FromTask, ...], node: Node, output: Callable[[Node, str], Any]) -> Any:
    """The output of the first producer that ran; with several producers, none is an error (dsl.OneOf)."""
    for producer in producers:
        child = node.children[producer.task]
        if child.state.ok:
            return output(child, producer.output)
    if len(producers) > 1:
        names = ", ".join(producer.task for producer in producers)
        raise ValueProblem(f"output '{name}' has no value: none of its producers ran ({names})")
    return None
