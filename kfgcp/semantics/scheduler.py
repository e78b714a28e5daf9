"""Decide when each task runs: the control flow of a PipelineSpec as a state machine.

semantics.md, Control flow, has the rules. The scheduler uses no processes, files, clocks or store.
Its caller, such as the engine, reports the start of the run and the end of each attempt. Then the
caller reads `ready`, the tasks to launch, and `changed`, the nodes with a new state. The same
reports in the same order always give the same results.
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
    """The scheduler of one run.

    Args:
        graph: the pipeline.
        node_type: the class of the nodes of the run.
        inputs: the inputs of the pipeline, complete and with the declared types.
        constants: returns the values of the placeholders of the job and the task, for a node.
        fail_fast: after the first failure, launch no more tasks except exit tasks
            (`failure_policy = "fast"`).

    Attributes:
        graph: the pipeline.
        root: the node of the pipeline itself.
        ready: the tasks to launch, in this order. The caller removes the tasks that it launches.
        ended_attempts: how many attempts of the run have ended. The caller counts them.
        changed: the nodes whose state has changed since the last `take_changed`, in the order of
            the changes.
        first_error: the first failure of the run, None when nothing has failed.

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
        # A dict instead of a set, because it keeps the order.
        self.changed: dict[NodeT, None] = {}
        self.first_error: ErrorInfo | None = None
        self._constants = constants
        self._fail_fast = fail_fast
        self._cancelled = False
        self._forced = False
        # Tasks whose upstream tasks have all ended.
        self._unblocked: deque[NodeT] = deque()
        # Iterations that may start.
        self._next_iterations: deque[NodeT] = deque()
        # id() of a DAG -> key of a task -> keys of the tasks that wait for this task. The id stays
        # valid, because `graph` keeps the DAG alive.
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
            cache: whether the outputs come from an earlier run, and the reason. None keeps
                `node.cache`.
        """
        node.outputs = outputs
        node.cache = cache or node.cache
        node.error = None
        is_cached = cache is not None and cache.hit
        self._end(node, TaskState.CACHED if is_cached else TaskState.SUCCEEDED)
        self._advance()

    def record_failure(self, node: NodeT, error: ErrorInfo) -> float | None:
        """Record that an attempt has failed.

        Args:
            node: the task.
            error: why the attempt failed.

        Returns:
            The seconds to wait before the next attempt. After this time, the caller calls
            `requeue`. None when it was the last attempt, so the task has failed.
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
        """Record that a task had failed, in its last attempt, before the run was interrupted."""
        self._fail(node, error)
        self._advance()

    def record_cancellation(self, node: NodeT) -> None:
        """Record that a running task was stopped because the run is being cancelled."""
        self._end(node, TaskState.CANCELLED)
        self._advance()

    def requeue(self, node: NodeT) -> None:
        """Make a task ready for its next attempt, or end it when the run is stopping."""
        node.ended_when_ready = self.ended_attempts
        self.ready.append(node)
        self._advance()

    def cancel(self, *, force: bool = False) -> None:
        """Cancel the run: launch no more tasks except exit tasks.

        Args:
            force: launch no exit tasks either.
        """
        self._cancelled = True
        self._forced = self._forced or force
        self._advance()

    # -- what the engine reads

    def take_changed(self) -> list[NodeT]:
        """Return the nodes that have changed since the last call, in the order of the changes."""
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
        """Whether no more tasks may start, except exit tasks."""
        return self._cancelled or (self._fail_fast and self.first_error is not None)

    # -- the rules

    def _advance(self) -> None:
        """Handle all tasks and iterations that can start, and the tasks that these unblock."""
        # This is a loop and not a recursion, because a chain of skipped tasks may be longer than
        # Python's stack.
        while True:
            # The order of the branches is fixed, so that the same reports give the same results.
            if self._next_iterations:
                self._begin_iteration(self._next_iterations.popleft())
            elif self._unblocked:
                self._begin_task(self._unblocked.popleft())
            elif not self._end_ready_tasks():
                return

    def _end_ready_tasks(self) -> bool:
        """End the ready tasks that may not start any more. Return whether there were any."""
        if not self.stopping:
            return False
        nodes = [node for node in self.ready if not self._may_start(node)]
        for node in nodes:
            self.ready.remove(node)
            # A task that would get another attempt after a failure ends as failed.
            has_failed = node.failures and not self._cancelled
            self._end(node, TaskState.FAILED if has_failed else self._stopped_state)
        return bool(nodes)

    def _may_start(self, node: NodeT) -> bool:
        """Return whether a node may start now.

        While the run is stopping, only exit tasks and the nodes inside them may start.
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
            self._open_or_queue(node)
        else:
            self._end(node, self._stopped_state)

    def _begin_task(self, node: NodeT) -> None:
        """Start a task whose upstream tasks have ended, or end it when it cannot start."""
        task = node.task
        parent = node.parent
        assert task is not None
        assert parent is not None
        if not self._may_start(node):
            return self._end(node, self._stopped_state)
        upstream_succeeded = all(parent.children[key].state.ok for key in task.upstream)
        if not task.runs_always and not upstream_succeeded:
            return self._end(node, TaskState.SKIPPED)
        iterations: list[NodeT] | None = None
        constants = self._constants(node)
        try:
            node.inputs = self._resolve_inputs(node, constants)
            # The condition reads the inputs. It comes before the items, because a loop whose
            # condition is false is skipped even if its items are not valid.
            if task.condition and not expressions.evaluate_condition(task.condition, node.inputs):
                return self._end(node, TaskState.SKIPPED)
            if task.iterator is not None:
                iterations = loops.create_iterations(node, task.iterator, constants)
        except ValueProblem as problem:
            return self._fail(node, ErrorInfo(str(problem), node.path))
        if iterations is None:
            self._open_or_queue(node)
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

    def _open_or_queue(self, node: NodeT) -> None:
        """Open a node that is a DAG, or add any other node to the ready tasks."""
        if node.component.dag is not None:
            self._open_dag(node)
        else:
            node.ended_when_ready = self.ended_attempts
            self.ready.append(node)

    def _open_loop(self, node: NodeT, iterations: list[NodeT]) -> None:
        """Start as many iterations of a loop as may run at the same time.

        Each time an iteration ends, `_end` starts the next one.
        """
        assert node.task is not None
        assert node.task.iterator is not None
        node.state = TaskState.RUNNING
        self.changed[node] = None
        node.children = {str(number): iteration for number, iteration in enumerate(iterations)}
        node.unstarted_iterations.extend(iterations)
        node.unfinished_children = len(iterations)
        # pipeline_spec.proto, IteratorPolicy.parallelism_limit: 0 means that any number may run.
        limit = node.task.iterator.limit or len(iterations)
        for _ in range(min(limit, len(iterations))):
            self._next_iterations.append(node.unstarted_iterations.popleft())
        # A loop without items is valid, and ends at once.
        if not iterations:
            self._close(node)

    def _open_dag(self, node: NodeT) -> None:
        """Create the nodes of a DAG's tasks, and unblock the tasks without upstream tasks."""
        dag = node.component.dag
        assert dag is not None
        node.inputs = task_inputs.add_defaults(node.inputs, node.component)
        node.state = TaskState.RUNNING
        self.changed[node] = None
        prefix = f"{node.path}/" if node.path else ""
        node.unfinished_children = len(dag.tasks)
        for key, task in dag.tasks.items():
            component = self.graph.component(task)
            child = node.new_child(prefix + key, task_kind(task, component), component, task)
            child.unfinished_upstream = len(task.upstream)
            node.children[key] = child
            if not task.upstream:
                self._unblocked.append(child)
        if not dag.tasks:
            self._close(node)

    def _end(self, node: NodeT, state: TaskState) -> None:
        """End a node with its final state, and unblock the tasks that wait for it.

        If all children of its DAG or loop have ended now, end the DAG or loop too.
        """
        # This is a loop and not a recursion, because the end of a DAG may end the DAG around it.
        while True:
            node.state = state
            self.changed[node] = None
            parent = node.parent
            if parent is None or node.task is None:
                return
            if parent.kind is not TaskKind.LOOP:
                self._unblock_downstream(node, parent)
            elif parent.unstarted_iterations:
                self._next_iterations.append(parent.unstarted_iterations.popleft())
            parent.unfinished_children -= 1
            if parent.unfinished_children:
                return
            node = parent
            state = self._collect_result(parent)

    def _unblock_downstream(self, node: NodeT, parent: NodeT) -> None:
        """Unblock the tasks of the same DAG that waited only for this task."""
        assert node.task is not None
        for key in self._downstream(parent).get(node.task.key, ()):
            child = parent.children[key]
            child.unfinished_upstream -= 1
            if child.unfinished_upstream == 0:
                self._unblocked.append(child)

    def _downstream(self, dag_node: NodeT) -> Mapping[str, list[str]]:
        """Return, for the key of each task of a DAG, the keys of the tasks that wait for it."""
        dag = dag_node.component.dag
        assert dag is not None
        # This is computed once for each DAG, because all iterations of a loop have the same DAG.
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
        self._end(node, TaskState.FAILED)

    def _close(self, node: NodeT) -> None:
        """End a DAG or loop that has no children."""
        self._end(node, self._collect_result(node))

    def _collect_result(self, node: NodeT) -> TaskState:
        """Set the outputs or the error of a DAG or loop whose children have all ended.

        Returns:
            The final state of the DAG or loop.
        """
        states = {child.state for child in node.children.values()}
        if TaskState.FAILED in states:
            # A run fails when a task inside fails, also when its exit task succeeds afterwards.
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
