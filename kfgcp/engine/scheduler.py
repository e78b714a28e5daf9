"""Which task runs when: the rules of a PipelineSpec's control flow as a state machine.

The scheduler knows nothing of processes, files, clocks or the store. It is told that the run starts and how each
attempt ended; it answers with `ready` (tasks to launch) and `changed` (tasks whose state is new), both drained by the
engine. Given the same answers in the same order it does the same.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from kfgcp.engine import inputs as task_inputs
from kfgcp.engine.values import ValueProblem, Values
from kfgcp.model import Cache, ErrorInfo, TaskKind, TaskState
from kfgcp.spec.graph import Component, Dag, FromTask, Graph, Importer, TaskDef


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
    cache: Cache | None = None
    error: ErrorInfo | None = None
    started_at: str | None = None
    ended_at: str | None = None
    # of a task: upstream tasks that have not ended
    waiting: int = 0
    # of a DAG: its tasks by key, and how many have not ended
    children: dict[str, Node] = field(default_factory=dict)
    remaining: int = 0

    @property
    def name(self) -> str:
        return self.task.label if self.task is not None else ""


class Scheduler:
    """The state of one run.

    Args:
        graph: the pipeline.
        inputs: the root's values, complete and typed.
        constants: of a task path, the values of the placeholders of the job and task.
        fail_fast: launch nothing new after the first failure (`failure_policy = "fast"`), exit tasks excepted.
    """

    def __init__(
        self,
        graph: Graph,
        inputs: Values,
        *,
        constants: Callable[[Node], Mapping[str, str]] = lambda node: {},
        fail_fast: bool = False,
    ) -> None:
        self.graph = graph
        self.root = Node("", TaskKind.DAG, graph.root, inputs=inputs)
        self.ready: deque[Node] = deque()
        self.changed: dict[Node, None] = {}
        self.first_error: ErrorInfo | None = None
        self._constants = constants
        self._fail_fast = fail_fast
        self._cancelled = False
        self._unblocked: deque[Node] = deque()
        self._below: dict[int, dict[str, list[str]]] = {}

    # -- what the engine tells

    def start(self) -> None:
        self._open(self.root)
        self._advance()

    def succeeded(self, node: Node, outputs: Values, cache: Cache | None = None) -> None:
        """An attempt put out its outputs; `cache` says so when they came from an earlier run."""
        node.outputs = outputs
        node.cache = cache or node.cache
        self._settle(node, TaskState.CACHED if cache and cache.hit else TaskState.SUCCEEDED)
        self._advance()

    def failed(self, node: Node, error: ErrorInfo) -> float | None:
        """An attempt failed. The seconds to wait before the next attempt, None when it was the last one."""
        retry = node.task.retry if node.task is not None else None
        if retry is not None and node.attempts <= retry.count and not self._stopping:
            node.error = error
            return min(retry.backoff * retry.factor ** (node.attempts - 1), retry.longest)
        self._fail(node, error)
        self._advance()
        return None

    def retry(self, node: Node) -> None:
        """The wait before the next attempt is over."""
        self.ready.append(node)

    def stopped(self, node: Node) -> None:
        """A running task was stopped because the run is being cancelled."""
        self._settle(node, TaskState.CANCELLED)
        self._advance()

    def cancel(self) -> None:
        """Nothing new is launched but exit tasks; tasks that wait to be launched are CANCELLED."""
        self._cancelled = True
        waiting, self.ready = list(self.ready), deque()
        for node in waiting:
            self._settle(node, TaskState.CANCELLED)
        self._advance()

    @property
    def done(self) -> bool:
        return self.root.state.final

    @property
    def cancelled(self) -> bool:
        return self._cancelled

    # -- the rules

    @property
    def _stopping(self) -> bool:
        return self._cancelled or (self._fail_fast and self.first_error is not None)

    def _advance(self) -> None:
        """Handles every task whose upstream has ended, until there is none left."""
        while self._unblocked:
            node = self._unblocked.popleft()
            if not node.state.final:
                self._begin(node)

    def _begin(self, node: Node) -> None:
        task, parent = node.task, node.parent
        assert task is not None
        assert parent is not None
        upstream = [parent.children[key].state for key in task.upstream]
        if not task.runs_always:
            if self._stopping:
                state = TaskState.CANCELLED if self._cancelled else TaskState.SKIPPED
                return self._settle(node, state)
            if not all(state.ok for state in upstream):
                return self._settle(node, TaskState.SKIPPED)
        try:
            node.inputs = task_inputs.resolve(
                task,
                node.component,
                parent.inputs,
                lambda key: parent.children[key].outputs,
                lambda key: final_status(parent.children[key]),
                _no_selector,
                self._constants(node),
            )
        except ValueProblem as problem:
            return self._fail(node, ErrorInfo(str(problem), node.path))
        if node.component.dag is not None:
            return self._open(node)
        self.ready.append(node)

    def _open(self, node: Node) -> None:
        """Starts a DAG: its tasks without upstream are unblocked."""
        dag = node.component.dag
        assert dag is not None
        node.inputs = task_inputs.with_defaults(node.inputs, node.component)
        node.state = TaskState.RUNNING
        self.changed[node] = None
        prefix = f"{node.path}/" if node.path else ""
        node.remaining = len(dag.tasks)
        for key, task in dag.tasks.items():
            component = self.graph.component(task)
            child = Node(prefix + key, _kind(component), component, node, task, waiting=len(task.upstream))
            node.children[key] = child
            if not task.upstream:
                self._unblocked.append(child)
        if not dag.tasks:
            self._close(node)

    def _settle(self, node: Node, state: TaskState) -> None:
        """A node has ended: unblocks what waited for it, and closes its DAG when it was the last."""
        while True:
            node.state = state
            self.changed[node] = None
            parent, task = node.parent, node.task
            if parent is None or task is None:
                return
            for key in self._downstream(parent).get(task.key, ()):
                child = parent.children[key]
                child.waiting -= 1
                if child.waiting == 0:
                    self._unblocked.append(child)
            parent.remaining -= 1
            if parent.remaining:
                return
            node, state = parent, self._close_state(parent)

    def _fail(self, node: Node, error: ErrorInfo) -> None:
        node.error = error
        self.first_error = self.first_error or error
        self._settle(node, TaskState.FAILED)

    def _close(self, node: Node) -> None:
        self._settle(node, self._close_state(node))

    def _close_state(self, node: Node) -> TaskState:
        """How a DAG whose tasks have all ended has ended itself; its outputs are collected."""
        states = {child.state for child in node.children.values()}
        if TaskState.FAILED in states:
            failed = next(child for child in node.children.values() if child.state is TaskState.FAILED)
            node.error = failed.error
            return TaskState.FAILED
        if TaskState.CANCELLED in states:
            return TaskState.CANCELLED
        dag = node.component.dag
        assert dag is not None
        try:
            node.outputs = _dag_outputs(dag, node)
        except ValueProblem as problem:
            node.error = ErrorInfo(str(problem), node.path or None)
            self.first_error = self.first_error or node.error
            return TaskState.FAILED
        return TaskState.SUCCEEDED

    def _downstream(self, dag_node: Node) -> Mapping[str, list[str]]:
        dag = dag_node.component.dag
        assert dag is not None
        below = self._below.get(id(dag))
        if below is None:
            below = self._below[id(dag)] = {}
            for key, task in dag.tasks.items():
                for upstream in task.upstream:
                    below.setdefault(upstream, []).append(key)
        return below


def walk(node: Node) -> Iterator[Node]:
    """The node and everything below it."""
    stack = [node]
    while stack:
        node = stack.pop()
        yield node
        stack.extend(reversed(node.children.values()))


def final_status(node: Node) -> dict[str, Any]:
    """The PipelineTaskFinalStatus of a task that has ended, in its JSON form."""
    state = "SUCCEEDED" if node.state.ok else node.state.value
    status: dict[str, Any] = {"state": state, "pipelineTaskName": node.task.key if node.task else ""}
    if node.error is not None:
        status["error"] = {"code": 1, "message": node.error.message}
    return status


def _dag_outputs(dag: Dag, node: Node) -> Values:
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


def _kind(component: Component) -> TaskKind:
    if component.dag is not None:
        return TaskKind.DAG
    return TaskKind.IMPORTER if isinstance(component.executor, Importer) else TaskKind.CONTAINER


def _no_selector(expression: str, value: Any) -> Any:
    raise ValueProblem(f"the expression {expression!r} over an input cannot be evaluated by this engine yet")
