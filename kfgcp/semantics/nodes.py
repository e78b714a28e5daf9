"""The nodes of a run: its tasks, DAGs, loops and iterations."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar

from kfgcp.model import Cache, ErrorInfo, TaskKind, TaskState
from kfgcp.semantics.values import ValueProblem, Values
from kfgcp.spec.graph import Component, Dag, FromTask, Retry, TaskDef


@dataclass(eq=False, slots=True)
class Node:
    """A task, DAG, loop or iteration of a run.

    Whoever executes a run may record more about each node in a subclass. All nodes of a run are of
    one class.

    Attributes:
        path: the task path.
        kind: what the node is.
        component: what it runs.
        parent: the DAG or loop that it is in, None for the pipeline itself.
        task: its definition, None for the pipeline itself.
        state: its state now.
        inputs: its values, as soon as it has started.
        outputs: its values, as soon as it has succeeded.
        attempts: how many attempts were started. The caller of the scheduler counts them.
        failures: how many of them failed.
        cache: whether its outputs come from an earlier run, and why.
        error: why it failed.
        ready_after: how many attempts of the run had ended when it became ready.
        waiting: of a task, how many of the tasks that it waits for have not ended.
        children: of a DAG, its tasks by key; of a loop, its iterations by number.
        remaining: how many of the children have not ended.
        pending: of a loop, the iterations that have not started.
    """

    path: str
    kind: TaskKind
    component: Component
    parent: Self | None = None
    task: TaskDef | None = None
    state: TaskState = TaskState.PENDING
    inputs: Values = field(default_factory=Values)
    outputs: Values = field(default_factory=Values)
    attempts: int = 0
    failures: int = 0
    cache: Cache | None = None
    error: ErrorInfo | None = None
    ready_after: int = 0
    waiting: int = 0
    children: dict[str, Self] = field(default_factory=dict)
    remaining: int = 0
    pending: deque[Self] = field(default_factory=deque)

    def new_child(
        self,
        path: str,
        kind: TaskKind,
        component: Component,
        task: TaskDef,
        inputs: Values | None = None,
    ) -> Self:
        """Return a new node that is in this one. It is not among `children` yet."""
        return type(self)(path, kind, component, self, task, inputs=inputs or Values())

    @property
    def is_exit(self) -> bool:
        """Whether it is the exit task of a `dsl.ExitHandler`, which KFP compiles to a DAG
        `exit-handler-N`."""
        task = self.task
        return (
            task is not None
            and task.runs_always
            and any(key.startswith("exit-handler-") for key in task.upstream)
        )


NodeT = TypeVar("NodeT", bound=Node)


def is_in_exit_task(node: Node) -> bool:
    """Return whether a node is an exit task or is in one. Such a node also runs in a run that is
    cancelled."""
    return any(above.is_exit for above in lineage(node))


def lineage(node: NodeT) -> Iterator[NodeT]:
    """Yield the node, then the DAGs and loops that it is in, the innermost first."""
    above: NodeT | None = node
    while above is not None:
        yield above
        above = above.parent


def retry_policy(node: Node) -> Retry | None:
    """Return the policy by which a container is tried again after a failure.

    A container without a policy of its own has that of the nearest nested pipeline around it, as
    recorded on Kubeflow 2.17.0. A nested pipeline itself, a loop or an importer is not tried again
    as a whole.
    """
    if node.kind is not TaskKind.CONTAINER:
        return None
    policies = (above.task.retry for above in lineage(node) if above.task is not None)
    return next((policy for policy in policies if policy is not None), None)


def final_status(node: Node, job_resource_name: str) -> dict[str, Any]:
    """Return the PipelineTaskFinalStatus of a task that has ended, in its JSON form."""
    # A task that was skipped did not do its work, so it counts as cancelled.
    failed = "FAILED" if node.state is TaskState.FAILED else "CANCELLED"
    state = "SUCCEEDED" if node.state.ok else failed
    status: dict[str, Any] = {
        "state": state,
        "pipelineTaskName": node.task.key if node.task else "",
        "pipelineJobResourceName": job_resource_name,
    }
    if node.error is not None:
        status["error"] = {"code": 1, "message": node.error.message}
    return status


def collect_dag_outputs(dag: Dag, node: Node) -> Values:
    """Return the outputs of a DAG whose tasks have all ended. They are outputs of its tasks.

    Raises:
        ValueProblem: none of the producers of a `dsl.OneOf` ran.
    """
    params, artifacts = {}, {}
    for name, producers in dag.param_outputs.items():
        value = _first(name, producers, node, lambda child, key: child.outputs.params.get(key))
        if value is not None:
            params[name] = value
    for name, producers in dag.artifact_outputs.items():
        items = _first(name, producers, node, lambda child, key: child.outputs.artifacts.get(key))
        if items is not None:
            artifacts[name] = items
    return Values(params, artifacts)


def _first(
    name: str, producers: tuple[FromTask, ...], node: Node, output: Callable[[Node, str], Any]
) -> Any:
    """Return the output of the first producer that ran, None without one.

    Raises:
        ValueProblem: there are several producers (`dsl.OneOf`), and none of them ran.
    """
    for producer in producers:
        child = node.children[producer.task]
        if child.state.ok:
            return output(child, producer.output)
    if len(producers) > 1:
        names = ", ".join(producer.task for producer in producers)
        raise ValueProblem(f"output '{name}' has no value: none of its producers ran ({names})")
    return None
