"""Which task runs when: the rules of a PipelineSpec's control flow as a state machine.

The scheduler knows nothing of processes, files, clocks or the store. It is told that the run starts
and how each attempt ended; it answers with `ready` (tasks to launch) and `changed` (tasks whose
state is new), both drained by the engine. Given the same answers in the same order it does the
same.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Generic

from kfgcp.model import Cache, ErrorInfo, TaskKind, TaskState
from kfgcp.semantics import expressions, loops
from kfgcp.semantics import inputs as task_inputs
from kfgcp.semantics.nodes import (
    NodeT,
    collect_dag_outputs,
    final_status,
    is_in_exit_task,
    retry_policy,
)
from kfgcp.semantics.values import ValueProblem, Values
from kfgcp.spec.graph import Graph, kind_of


class Scheduler(Generic[NodeT]):
    """The state of one run.

    Args:
        graph: the pipeline.
        node_type: the class of its nodes.
        inputs: the root's values, complete and typed.
        constants: of a task path, the values of the placeholders of the job and task.
        fail_fast: launch nothing new after the first failure (`failure_policy = "fast"`), exit
            tasks excepted.
    """

    def __init__(
        self,
        graph: Graph,
        node_type: type[NodeT],
        inputs: Values,
        *,
        constants: Callable[[NodeT], Mapping[str, str]] = lambda node: {},
        fail_fast: bool = False,
    ) -> None:
        self.graph = graph
        self.root = node_type("", TaskKind.DAG, graph.root, inputs=inputs)
        self.ready: deque[NodeT] = deque()
        self.ended_attempts = 0  # how many were reported to have ended
        self.changed: dict[NodeT, None] = {}
        self.first_error: ErrorInfo | None = None
        self._constants = constants
        self._fail_fast = fail_fast
        self._cancelled = False
        self._forced = False
        self._unblocked: deque[NodeT] = deque()
        self._following: deque[NodeT] = deque()
        self._below: dict[int, dict[str, list[str]]] = {}

    # -- what the engine tells

    def start(self) -> None:
        self._open(self.root)
        self._advance()

    def record_success(self, node: NodeT, outputs: Values, cache: Cache | None = None) -> None:
        """An attempt put out its outputs; `cache` says so when they came from an earlier run."""
        node.outputs = outputs
        node.cache = cache or node.cache
        node.error = None
        self._settle(node, TaskState.CACHED if cache and cache.hit else TaskState.SUCCEEDED)
        self._advance()

    def record_failure(self, node: NodeT, error: ErrorInfo) -> float | None:
        """An attempt failed. The seconds to wait before the next attempt, None when it was the last
        one."""
        retry = retry_policy(node)
        node.failures += 1
        if retry is not None and node.failures <= retry.count and self._may_start(node):
            node.error = error
            node.state = TaskState.PENDING
            self.changed[node] = None
            return retry.wait(node.failures)
        self._fail(node, error)
        self._advance()
        return None

    def take_changed(self) -> list[NodeT]:
        """The nodes whose state is new since the last call, in the order of their changes."""
        changed, self.changed = list(self.changed), {}
        return changed

    def requeue(self, node: NodeT) -> None:
        """The wait before the next attempt is over."""
        node.ready_after = self.ended_attempts
        self.ready.append(node)
        self._advance()

    def record_earlier_failure(self, node: NodeT, error: ErrorInfo) -> None:
        """The task failed for good before the run was interrupted."""
        self._fail(node, error)
        self._advance()

    def record_cancellation(self, node: NodeT) -> None:
        """A running task was stopped because the run is being cancelled."""
        self._settle(node, TaskState.CANCELLED)
        self._advance()

    def cancel(self, *, force: bool = False) -> None:
        """Nothing new is launched but exit tasks, and with `force` not even these; what waits is
        CANCELLED."""
        self._cancelled = True
        self._forced = self._forced or force
        self._advance()

    @property
    def done(self) -> bool:
        return self.root.state.final

    @property
    def cancelled(self) -> bool:
        return self._cancelled

    # -- the rules

    @property
    def stopping(self) -> bool:
        """Whether nothing new may start, but exit tasks."""
        return self._cancelled or (self._fail_fast and self.first_error is not None)

    @property
    def _stopped_state(self) -> TaskState:
        """Of what is not started because the run is stopping."""
        return TaskState.CANCELLED if self._cancelled else TaskState.SKIPPED

    def _advance(self) -> None:
        """Handles every iteration that may start and every task whose upstream has ended, until
        none is left."""
        while self._following or self._unblocked or self._drop_waiting():
            if self._following:
                self._begin_iteration(self._following.popleft())
            elif self._unblocked:
                self._begin(self._unblocked.popleft())

    def _drop_waiting(self) -> bool:
        """Ends the tasks that wait to be launched and may not any more; whether there were any."""
        dropped = (
            [node for node in self.ready if not self._may_start(node)] if self.stopping else []
        )
        for node in dropped:
            self.ready.remove(node)
            failed_before = node.failures and not self._cancelled
            self._settle(node, TaskState.FAILED if failed_before else self._stopped_state)
        return bool(dropped)

    def _may_start(self, node: NodeT) -> bool:
        """Whether a node may start now: while the run is stopping, only exit tasks and what is in
        them."""
        if not self.stopping:
            return True
        return not self._forced and is_in_exit_task(node)

    def _begin_iteration(self, node: NodeT) -> None:
        if self._may_start(node):
            self._enter(node)
        else:
            self._settle(node, self._stopped_state)

    def _begin(self, node: NodeT) -> None:
        task, parent = node.task, node.parent
        assert task is not None
        assert parent is not None
        upstream = [parent.children[key].state for key in task.upstream]
        if not self._may_start(node):
            return self._settle(node, self._stopped_state)
        if not task.runs_always and not all(state.ok for state in upstream):
            return self._settle(node, TaskState.SKIPPED)
        constants = self._constants(node)
        try:
            node.inputs = task_inputs.resolve(
                task,
                node.component,
                parent.inputs,
                lambda key: parent.children[key].outputs,
                lambda key: final_status(
                    parent.children[key], constants.get("pipeline_job_resource_name", "")
                ),
                expressions.apply_selector,
                constants,
            )
            if task.condition and not expressions.evaluate_condition(task.condition, node.inputs):
                return self._settle(node, TaskState.SKIPPED)
            iterations = None
            if task.iterator is not None:
                iterations = loops.create_iterations(node, task.iterator, constants)
        except ValueProblem as problem:
            return self._fail(node, ErrorInfo(str(problem), node.path))
        if iterations is not None:
            return self._loop(node, iterations)
        self._enter(node)

    def _enter(self, node: NodeT) -> None:
        """A DAG is opened, a task waits to be launched."""
        if node.component.dag is not None:
            self._open(node)
        else:
            node.ready_after = self.ended_attempts
            self.ready.append(node)

    def _loop(self, node: NodeT, iterations: list[NodeT]) -> None:
        """Starts a loop: as many iterations as it may have at once; the others follow as these
        end."""
        node.state = TaskState.RUNNING
        self.changed[node] = None
        node.children = {str(number): iteration for number, iteration in enumerate(iterations)}
        node.pending.extend(iterations)
        node.remaining = len(iterations)
        assert node.task is not None
        assert node.task.iterator is not None
        for _ in range(min(node.task.iterator.limit or len(iterations), len(iterations))):
            self._following.append(node.pending.popleft())
        if not iterations:
            self._close(node)

    def _open(self, node: NodeT) -> None:
        """Starts a DAG: its tasks without upstream are unblocked."""
        dag = node.component.dag
        assert dag is not None
        node.inputs = task_inputs.add_defaults(node.inputs, node.component)
        node.state = TaskState.RUNNING
        self.changed[node] = None
        prefix = f"{node.path}/" if node.path else ""
        node.remaining = len(dag.tasks)
        for key, task in dag.tasks.items():
            component = self.graph.component(task)
            child = node.new_child(prefix + key, kind_of(task, component), component, task)
            child.waiting = len(task.upstream)
            node.children[key] = child
            if not task.upstream:
                self._unblocked.append(child)
        if not dag.tasks:
            self._close(node)

    def _settle(self, node: NodeT, state: TaskState) -> None:
        """A node has ended: unblocks what waited for it, and closes its DAG when it was the
        last."""
        while True:
            node.state = state
            self.changed[node] = None
            parent, task = node.parent, node.task
            if parent is None or task is None:
                return
            if parent.kind is TaskKind.LOOP:
                if parent.pending:
                    self._following.append(parent.pending.popleft())
            else:
                self._unblock_below(node, parent)
            parent.remaining -= 1
            if parent.remaining:
                return
            node, state = parent, self._close_state(parent)

    def _unblock_below(self, node: NodeT, parent: NodeT) -> None:
        assert node.task is not None
        for key in self._downstream(parent).get(node.task.key, ()):
            child = parent.children[key]
            child.waiting -= 1
            if child.waiting == 0:
                self._unblocked.append(child)

    def _fail(self, node: NodeT, error: ErrorInfo) -> None:
        node.error = error
        self.first_error = self.first_error or error
        self._settle(node, TaskState.FAILED)

    def _close(self, node: NodeT) -> None:
        self._settle(node, self._close_state(node))

    def _close_state(self, node: NodeT) -> TaskState:
        """How a DAG whose tasks have all ended has ended itself; its outputs are collected."""
        states = {child.state for child in node.children.values()}
        if TaskState.FAILED in states:
            failed = next(
                child for child in node.children.values() if child.state is TaskState.FAILED
            )
            node.error = failed.error
            return TaskState.FAILED
        if TaskState.CANCELLED in states:
            return TaskState.CANCELLED
        if node.kind is TaskKind.LOOP:
            node.outputs = loops.collect_outputs(node)
            return TaskState.SUCCEEDED
        dag = node.component.dag
        assert dag is not None
        try:
            node.outputs = collect_dag_outputs(dag, node)
        except ValueProblem as problem:
            node.error = ErrorInfo(str(problem), node.path or None)
            self.first_error = self.first_error or node.error
            return TaskState.FAILED
        return TaskState.SUCCEEDED

    def _downstream(self, dag_node: NodeT) -> Mapping[str, list[str]]:
        dag = dag_node.component.dag
        assert dag is not None
        below = self._below.get(id(dag))
        if below is None:
            below = self._below[id(dag)] = {}
            for key, task in dag.tasks.items():
                for upstream in task.upstream:
                    below.setdefault(upstream, []).append(key)
        return below
