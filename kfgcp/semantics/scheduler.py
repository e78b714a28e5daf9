"""Which task runs when: the control flow of a PipelineSpec as a state machine.

The rules are those of semantics.md, Control flow. The scheduler has no processes, files, clocks or
store. The engine reports that the run starts and how each attempt ended. It then takes two results:
`ready`, the tasks to launch, and `changed`, the tasks whose state is new. The same reports in the
same order give the same results.
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
from kfgcp.spec.graph import Graph, task_kind


class Scheduler(Generic[NodeT]):
    """The state of one run.

    Args:
        graph: the pipeline.
        node_type: the class of its nodes.
        inputs: the values of the root's inputs, complete and of the declared types.
        constants: returns the values of the placeholders of the job and task, for a node.
        fail_fast: launch nothing new after the first failure (`failure_policy = "fast"`), except
            for exit tasks.

    Attributes:
        graph: the pipeline.
        root: the node of the pipeline itself.
        ready: the tasks to launch, in this order. The caller removes them.
        ended_attempts: how many attempts of the run have ended. The caller counts them.
        changed: the nodes whose state is new since the last `take_changed`, in order of change.
        first_error: the first failure of the run, None without one.

    Example:
        >>> from kfgcp.semantics.nodes import Node
        >>> from kfgcp.spec.graph import build
        >>> graph = build({
        ...     "pipelineInfo": {"name": "hello"},
        ...     "root": {"dag": {"tasks": {"say": {"componentRef": {"name": "comp-say"}}}}},
        ...     "components": {"comp-say": {"executorLabel": "exec-say"}},
        ...     "deploymentSpec": {
        ...         "executors": {"exec-say": {"container": {"image": "python:3.12"}}}
        ...     },
        ... })
        >>> scheduler = Scheduler(graph, Node, Values())
        >>> scheduler.start()
        >>> task = scheduler.ready.popleft()
        >>> scheduler.record_success(task, Values())
        >>> scheduler.root.state.value
        'SUCCEEDED'
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
        self.ended_attempts = 0
        # A dictionary instead of a set: it keeps the order.
        self.changed: dict[NodeT, None] = {}
        self.first_error: ErrorInfo | None = None
        self._constants = constants
        self._fail_fast = fail_fast
        self._cancelled = False
        self._forced = False
        # Tasks whose upstream has ended, and iterations that may start.
        self._unblocked: deque[NodeT] = deque()
        self._next_iterations: deque[NodeT] = deque()
        # For each DAG the tasks that wait for a task, by its key. The key is the id() of the DAG,
        # which `graph` keeps alive.
        self._downstream_keys: dict[int, dict[str, list[str]]] = {}

    # -- what the engine reports

    def start(self) -> None:
        """Start the run."""
        self._open_dag(self.root)
        self._advance()

    def record_success(self, node: NodeT, outputs: Values, cache: Cache | None = None) -> None:
        """Record that a task has succeeded.

        Args:
            node: the task.
            outputs: its outputs.
            cache: whether they came from an earlier run, None to keep what the node says.
        """
        node.outputs = outputs
        node.cache = cache or node.cache
        node.error = None
        self._settle(node, TaskState.CACHED if cache and cache.hit else TaskState.SUCCEEDED)
        self._advance()

    def record_failure(self, node: NodeT, error: ErrorInfo) -> float | None:
        """Record that an attempt has failed.

        Args:
            node: the task.
            error: why it failed.

        Returns:
            The seconds to wait before the next attempt, after which the caller calls `requeue`.
            None when it was the last attempt.
        """
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

    def record_earlier_failure(self, node: NodeT, error: ErrorInfo) -> None:
        """Record that a task had failed for good before the run was interrupted."""
        self._fail(node, error)
        self._advance()

    def record_cancellation(self, node: NodeT) -> None:
        """Record that a running task was stopped because the run is being cancelled."""
        self._settle(node, TaskState.CANCELLED)
        self._advance()

    def requeue(self, node: NodeT) -> None:
        """Make a task ready again: the wait before its next attempt is over."""
        node.ready_after = self.ended_attempts
        self.ready.append(node)
        self._advance()

    def cancel(self, *, force: bool = False) -> None:
        """Cancel the run: launch nothing new except for exit tasks.

        Args:
            force: launch no exit tasks either.
        """
        self._cancelled = True
        self._forced = self._forced or force
        self._advance()

    # -- what the engine reads

    def take_changed(self) -> list[NodeT]:
        """Return the nodes whose state is new since the last call, in the order of change."""
        changed = list(self.changed)
        self.changed = {}
        return changed

    @property
    def done(self) -> bool:
        """Whether the run has ended."""
        return self.root.state.final

    @property
    def cancelled(self) -> bool:
        """Whether the run is being cancelled."""
        return self._cancelled

    @property
    def stopping(self) -> bool:
        """Whether nothing new may start except for exit tasks."""
        return self._cancelled or (self._fail_fast and self.first_error is not None)

    # -- the rules

    def _advance(self) -> None:
        """Handle all tasks and iterations that can start, until none is left.

        A loop instead of recursion: a chain of skipped tasks may be longer than Python's stack.
        """
        while True:
            # This order is fixed: the same reports must give the same results.
            if self._next_iterations:
                self._begin_iteration(self._next_iterations.popleft())
            elif self._unblocked:
                self._begin(self._unblocked.popleft())
            elif not self._drop_waiting():
                return

    def _drop_waiting(self) -> bool:
        """End the ready tasks that may not start any more. Return whether there were any."""
        if not self.stopping:
            return False
        dropped = [node for node in self.ready if not self._may_start(node)]
        for node in dropped:
            self.ready.remove(node)
            # A task that waits for another attempt after a failure has failed.
            has_failed = node.failures and not self._cancelled
            self._settle(node, TaskState.FAILED if has_failed else self._stopped_state)
        return bool(dropped)

    def _may_start(self, node: NodeT) -> bool:
        """Return whether a node may start now.

        While the run is stopping, only exit tasks and the nodes inside them may.
        """
        if not self.stopping:
            return True
        return not self._forced and is_in_exit_task(node)

    @property
    def _stopped_state(self) -> TaskState:
        """The state of a node that does not start because the run is stopping."""
        return TaskState.CANCELLED if self._cancelled else TaskState.SKIPPED

    def _begin_iteration(self, node: NodeT) -> None:
        if self._may_start(node):
            self._enter(node)
        else:
            self._settle(node, self._stopped_state)

    def _begin(self, node: NodeT) -> None:
        """Start a task whose upstream has ended, or end it without starting."""
        task = node.task
        parent = node.parent
        assert task is not None
        assert parent is not None
        if not self._may_start(node):
            return self._settle(node, self._stopped_state)
        upstream = [parent.children[key].state for key in task.upstream]
        if not task.runs_always and not all(state.ok for state in upstream):
            return self._settle(node, TaskState.SKIPPED)
        iterations: list[NodeT] | None = None
        constants = self._constants(node)
        try:
            node.inputs = self._resolve_inputs(node, constants)
            # The condition reads the inputs, so it comes after them, and before the items.
            if task.condition and not expressions.evaluate_condition(task.condition, node.inputs):
                return self._settle(node, TaskState.SKIPPED)
            if task.iterator is not None:
                iterations = loops.create_iterations(node, task.iterator, constants)
        except ValueProblem as problem:
            return self._fail(node, ErrorInfo(str(problem), node.path))
        if iterations is None:
            self._enter(node)
        else:
            self._open_loop(node, iterations)

    def _resolve_inputs(self, node: NodeT, constants: Mapping[str, str]) -> Values:
        task = node.task
        parent = node.parent
        assert task is not None
        assert parent is not None
        job_resource_name = constants.get("pipeline_job_resource_name", "")
        return task_inputs.resolve(
            task,
            node.component,
            parent.inputs,
            outputs=lambda key: parent.children[key].outputs,
            status=lambda key: final_status(parent.children[key], job_resource_name),
            select=expressions.apply_selector,
            constants=constants,
        )

    def _enter(self, node: NodeT) -> None:
        """Open a DAG, or make a task ready."""
        if node.component.dag is not None:
            self._open_dag(node)
        else:
            node.ready_after = self.ended_attempts
            self.ready.append(node)

    def _open_loop(self, node: NodeT, iterations: list[NodeT]) -> None:
        """Start as many iterations as may run at once. The others follow as these end."""
        assert node.task is not None
        assert node.task.iterator is not None
        node.state = TaskState.RUNNING
        self.changed[node] = None
        node.children = {str(number): iteration for number, iteration in enumerate(iterations)}
        node.pending.extend(iterations)
        node.remaining = len(iterations)
        # pipeline_spec.proto, IteratorPolicy.parallelism_limit: 0 is no limit.
        limit = node.task.iterator.limit or len(iterations)
        for _ in range(min(limit, len(iterations))):
            self._next_iterations.append(node.pending.popleft())
        # A loop without items is valid and has ended.
        if not iterations:
            self._close(node)

    def _open_dag(self, node: NodeT) -> None:
        """Create the nodes of a DAG's tasks, and unblock those without upstream."""
        dag = node.component.dag
        assert dag is not None
        node.inputs = task_inputs.add_defaults(node.inputs, node.component)
        node.state = TaskState.RUNNING
        self.changed[node] = None
        prefix = f"{node.path}/" if node.path else ""
        node.remaining = len(dag.tasks)
        for key, task in dag.tasks.items():
            component = self.graph.component(task)
            child = node.new_child(prefix + key, task_kind(task, component), component, task)
            child.waiting = len(task.upstream)
            node.children[key] = child
            if not task.upstream:
                self._unblocked.append(child)
        if not dag.tasks:
            self._close(node)

    def _settle(self, node: NodeT, state: TaskState) -> None:
        """End a node, unblock the tasks that waited for it, and close its DAG if it was the last.

        A loop instead of recursion, because closing a DAG may close the DAG around it.
        """
        while True:
            node.state = state
            self.changed[node] = None
            parent = node.parent
            if parent is None or node.task is None:
                return
            if parent.kind is not TaskKind.LOOP:
                self._unblock_downstream(node, parent)
            elif parent.pending:
                self._next_iterations.append(parent.pending.popleft())
            parent.remaining -= 1
            if parent.remaining:
                return
            node = parent
            state = self._close_state(parent)

    def _unblock_downstream(self, node: NodeT, parent: NodeT) -> None:
        assert node.task is not None
        for key in self._downstream(parent).get(node.task.key, ()):
            child = parent.children[key]
            child.waiting -= 1
            if child.waiting == 0:
                self._unblocked.append(child)

    def _downstream(self, dag_node: NodeT) -> Mapping[str, list[str]]:
        """Return the keys of the tasks that wait for a task of a DAG, by its key."""
        dag = dag_node.component.dag
        assert dag is not None
        # Computed once for a DAG: the iterations of a loop share it.
        downstream = self._downstream_keys.get(id(dag))
        if downstream is None:
            downstream = {}
            for key, task in dag.tasks.items():
                for upstream in task.upstream:
                    downstream.setdefault(upstream, []).append(key)
            self._downstream_keys[id(dag)] = downstream
        return downstream

    def _fail(self, node: NodeT, error: ErrorInfo) -> None:
        node.error = error
        self.first_error = self.first_error or error
        self._settle(node, TaskState.FAILED)

    def _close(self, node: NodeT) -> None:
        self._settle(node, self._close_state(node))

    def _close_state(self, node: NodeT) -> TaskState:
        """Collect the outputs of a DAG or loop whose tasks have all ended, and return its state."""
        states = {child.state for child in node.children.values()}
        if TaskState.FAILED in states:
            # The run is FAILED when something inside failed, whatever an exit task does after it.
            for child in node.children.values():
                if child.state is TaskState.FAILED:
                    node.error = child.error
                    break
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
