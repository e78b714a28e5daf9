"""The nodes of a run: its tasks, DAGs, loops and iterations.

The scheduler changes the nodes. The caller that executes the run reads them.
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

    A program that executes runs may use a subclass, to record more about each node. All nodes of a
    run have the same class.

    Attributes:
        path: the task path, "" for the pipeline itself.
        kind: the kind of the node, such as a container or a loop.
        component: the component that the node runs.
        parent: the DAG or loop that contains the node, None for the pipeline itself.
        task: the definition of the task, None for the pipeline itself.
        state: the current state.
        inputs: the values of the inputs. They are empty until the node has started.
        outputs: the values of the outputs. They are empty until the node has succeeded.
        attempts: how many attempts were started. The caller of the scheduler counts them.
        failures: how many attempts have failed.
        cache: whether the outputs come from an earlier run, and the reason. None when it is not
            known.
        error: why the node, or its last attempt, failed. None without a failure.
        ended_when_ready: how many attempts of the run had ended when the node became ready.
        unfinished_upstream: how many of the tasks that the node waits for have not ended.
        children: the tasks of a DAG by key, or the iterations of a loop by number.
        unfinished_children: how many children have not ended.
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
        """Return a new node inside this node. The caller adds it to `children`."""
        return type(self)(path, kind, component, self, task, inputs=inputs or Values())

    @property
    def is_exit(self) -> bool:
        """Whether the node is the exit task of a `dsl.ExitHandler`."""
        if self.task is None or not self.task.runs_always:
            return False
        # KFP compiles the body of an exit handler to a DAG `exit-handler-N`. The exit task waits
        # for this DAG.
        return any(key.startswith("exit-handler-") for key in self.task.upstream)


NodeT = TypeVar("NodeT", bound=Node)


def is_in_exit_task(node: Node) -> bool:
    """Return whether a node is an exit task or is inside one.

    An exit task also runs in a run that is cancelled.
    """
    return any(ancestor.is_exit for ancestor in lineage(node))


def lineage(node: NodeT) -> Iterator[NodeT]:
    """Yield a node, then the DAGs and loops that contain it, from the innermost to the pipeline."""
    ancestor: NodeT | None = node
    while ancestor is not None:
        yield ancestor
        ancestor = ancestor.parent


def retry_policy(node: Node) -> Retry | None:
    """Return the policy for extra attempts of a node, None for no extra attempts.

    A container without a policy of its own has the policy of the innermost nested pipeline with a
    policy that contains it, as recorded on Kubeflow 2.17.0. Other nodes, such as nested pipelines,
    loops and importers, have no extra attempts.
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
        # PipelineTaskFinalStatus has no state for skipped tasks, so they count as cancelled.
        state = "CANCELLED"
    status: dict[str, Any] = {
        "state": state,
        "pipelineTaskName": node.task.key if node.task else "",
        "pipelineJobResourceName": job_resource_name,
        # Kubeflow also sends {} without an error, and components with kfp 2.10 need it.
        "error": {},
    }
    if node.error is not None:
        status["error"] = {"code": 1, "message": node.error.message}
    return status


def collect_dag_outputs(dag: Dag, node: Node) -> Values:
    """Return the outputs of a DAG whose tasks have all ended. They are outputs of its tasks.

    Args:
        dag: the DAG.
        node: the node of the DAG.

    Raises:
        ValueProblem: an output is a `dsl.OneOf`, and none of its producers has succeeded.
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
    """Return the first producer of a DAG's output that has succeeded.

    Returns:
        The producer. None when the output has one producer, which was skipped.

    Raises:
        ValueProblem: the output has several producers (`dsl.OneOf`), and none has succeeded.
    """
    for producer in producers:
        if node.children[producer.task].state.ok:
            return producer
    # Without `dsl.OneOf`, the output of a skipped task has no value. With `dsl.OneOf`, the pipeline
    # promises a value.
    if len(producers) > 1:
        names = ", ".join(producer.task for producer in producers)
        raise ValueProblem(f"output '{name}' has no value: none of its producers ran ({names})")
    return None
