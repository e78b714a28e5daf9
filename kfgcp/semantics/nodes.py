"""The nodes of a run: its tasks, DAGs, loops and iterations.

The scheduler changes them, and whoever executes the run reads them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar

from kfgcp.model import Cache, ErrorInfo, TaskKind, TaskState
from kfgcp.semantics.values import ArtifactValue, ValueProblem, Values
from kfgcp.spec.graph import Component, Dag, FromTask, Retry, TaskDef


@dataclass(eq=False, slots=True)
class Node:
    """A task, DAG, loop or iteration of a run.

    Whoever executes a run may record more about each node in a subclass. All nodes of a run have
    the same class.

    Attributes:
        path: the task path.
        kind: what the node is.
        component: what it runs.
        parent: the DAG or loop that it is in, None for the pipeline itself.
        task: its definition, None for the pipeline itself.
        state: its state now.
        inputs: the values of its inputs, as soon as it has started.
        outputs: the values of its outputs, as soon as it has succeeded.
        attempts: how many attempts were started. The caller of the scheduler counts them.
        failures: how many of them failed.
        cache: whether its outputs come from an earlier run, and why.
        error: why it failed.
        ended_when_ready: how many attempts of the run had ended when it became ready.
        unfinished_upstream: how many of the tasks that it waits for have not ended.
        children: the tasks of a DAG by key, or the iterations of a loop by number.
        unfinished_children: how many of the children have not ended.
        unstarted_iterations: the iterations of a loop that have not started.
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
    ended_when_ready: int = 0
    unfinished_upstream: int = 0
    children: dict[str, Self] = field(default_factory=dict)
    unfinished_children: int = 0
    unstarted_iterations: deque[Self] = field(default_factory=deque)

    def new_child(
        self,
        path: str,
        kind: TaskKind,
        component: Component,
        task: TaskDef,
        inputs: Values | None = None,
    ) -> Self:
        """Return a new node inside this one. It is not in `children` yet."""
        return type(self)(path, kind, component, self, task, inputs=inputs or Values())

    @property
    def is_exit(self) -> bool:
        """Whether it is the exit task of a `dsl.ExitHandler`."""
        if self.task is None or not self.task.runs_always:
            return False
        # KFP compiles the handler to a DAG `exit-handler-N`, which its exit task waits for.
        return any(key.startswith("exit-handler-") for key in self.task.upstream)


NodeT = TypeVar("NodeT", bound=Node)


def is_in_exit_task(node: Node) -> bool:
    """Return whether a node is an exit task or is inside one.

    An exit task also runs in a run that is cancelled.
    """
    return any(ancestor.is_exit for ancestor in lineage(node))


def lineage(node: NodeT) -> Iterator[NodeT]:
    """Yield the node, then the DAGs and loops that it is in, the innermost first."""
    ancestor: NodeT | None = node
    while ancestor is not None:
        yield ancestor
        ancestor = ancestor.parent


def retry_policy(node: Node) -> Retry | None:
    """Return the policy for extra attempts of a node, None for no extra attempts.

    A container without a policy of its own has that of the nearest nested pipeline around it, as
    recorded on Kubeflow 2.17.0. A nested pipeline itself, a loop or an importer is not retried as a
    whole.
    """
    if node.kind is not TaskKind.CONTAINER:
        return None
    for ancestor in lineage(node):
        if ancestor.task is not None and ancestor.task.retry is not None:
            return ancestor.task.retry
    return None


def final_status(node: Node, job_resource_name: str) -> dict[str, Any]:
    """Return the PipelineTaskFinalStatus (KFP SDK) of a task that has ended, in its JSON form.

    Args:
        node: the node of the task.
        job_resource_name: the value of the placeholder pipeline_job_resource_name.
    """
    if node.state.ok:
        # Kubeflow 2.17.0 delivers COMPLETE. semantics.md keeps the documented SUCCEEDED.
        state = "SUCCEEDED"
    elif node.state is TaskState.FAILED:
        state = "FAILED"
    else:
        # A task that was skipped did not do its work, so it counts as cancelled.
        state = "CANCELLED"
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

    Args:
        dag: the DAG.
        node: its node.

    Raises:
        ValueProblem: none of the producers of a `dsl.OneOf` ran.
    """
    params: dict[str, Any] = {}
    for name, producers in dag.param_outputs.items():
        producer = _first_successful(name, producers, node)
        if producer is None:
            continue
        value = node.children[producer.task].outputs.params.get(producer.output)
        if value is not None:
            params[name] = value
    artifacts: dict[str, tuple[ArtifactValue, ...]] = {}
    for name, producers in dag.artifact_outputs.items():
        producer = _first_successful(name, producers, node)
        if producer is None:
            continue
        items = node.children[producer.task].outputs.artifacts.get(producer.output)
        if items is not None:
            artifacts[name] = items
    return Values(params, artifacts)


def _first_successful(name: str, producers: Sequence[FromTask], node: Node) -> FromTask | None:
    """Return the first producer of a DAG's output that ran, None without one.

    Raises:
        ValueProblem: there are several producers (`dsl.OneOf`), and none of them ran.
    """
    for producer in producers:
        if node.children[producer.task].state.ok:
            return producer
    # A DAG output of a skipped task has no value. Only `dsl.OneOf` promises that there is one.
    if len(producers) > 1:
        names = ", ".join(producer.task for producer in producers)
        raise ValueProblem(f"output '{name}' has no value: none of its producers ran ({names})")
    return None
