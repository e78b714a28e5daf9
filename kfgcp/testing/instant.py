"""Runs that are made up: nothing executes them, and they end after a given time.

A made-up run has the tasks of its pipeline:

- Every condition is true, except for the tasks in `Instant.skipped`.
- No task comes from the cache, except for the tasks in `Instant.cached`.
- The items of a loop come from the spec or the parameters. Without items, a loop has one iteration.
- Tasks after a failed or skipped task are skipped. The groups around a failed task fail too.
- Metrics come from `Instant.metrics`. Other outputs have a fixed value for their type.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from kfgcp.model import (
    Artifact,
    Cache,
    ErrorInfo,
    Metric,
    Run,
    RunState,
    Task,
    TaskKind,
    TaskState,
    timestamp,
)
from kfgcp.spec import graph
from kfgcp.spec.graph import Component, Constant, Dag, FromInput, FromTask, Graph, Importer, TaskDef
from kfgcp.spec.json_values import JsonObject
from kfgcp.testing.rules import Submission

METRICS: Final = "system.Metrics"
# The value of an output parameter by its type. The value of a STRING is the name of the output.
_OUTPUT_VALUES: Final = {
    "NUMBER_INTEGER": 1,
    "NUMBER_DOUBLE": 0.5,
    "BOOLEAN": True,
    "LIST": [],
    "STRUCT": {},
}
# The state of a run -> the state of its tasks. In runs of other states, tasks have succeeded.
_TASK_STATES: Final = {RunState.RUNNING: TaskState.RUNNING, RunState.CANCELLED: TaskState.CANCELLED}
# No task starts after a task in one of these states.
_BLOCKING: Final = (TaskState.FAILED, TaskState.SKIPPED)


@dataclass(slots=True)
class Instant:
    """The outcome of made-up runs. A run takes a copy when it is created.

    Attributes:
        seconds: the time from the creation of a run to its end.
        metrics: name -> value, in the metadata of every artifact of type system.Metrics.
        failing: task name -> message. The task fails in each of its attempts, and so the run fails.
        failing_drivers: task name -> message. The driver of the task fails, so that no container of
            the task starts.
        skipped: the names of tasks whose condition is false.
        cached: the names of tasks whose outputs come from the cache.
        log: the lines that each task writes. If it is empty, a task writes `PATH is made up`.
    """

    seconds: float = 0.0
    metrics: dict[str, float] = field(default_factory=dict)
    failing: dict[str, str] = field(default_factory=dict)
    failing_drivers: dict[str, str] = field(default_factory=dict)
    skipped: Collection[str] = ()
    cached: Collection[str] = ()
    log: Sequence[str] = ()


class InstantRun:
    """A made-up execution of a job.

    Args:
        submission: the pipeline and its parameters.
        run_id: the id of the run.
        root: the gs:// folder in the URIs of artifacts. No object is written.
        created: the time of creation, in seconds since 1970.
        outcome: the outcome of the run.
    """

    def __init__(
        self, submission: Submission, run_id: str, root: str, created: float, outcome: Instant
    ) -> None:
        self._submission = submission
        self._run_id = run_id
        self._root = f"{root.rstrip('/')}/{run_id}"
        self._created = created
        self._end = created + outcome.seconds
        self._outcome = outcome
        self._cancelled_at: float | None = None

    def cancel(self) -> None:
        """End the run with the state CANCELLED, unless it has ended."""
        if self._cancelled_at is None and time.time() < self._end:
            self._cancelled_at = time.time()

    def finish(self) -> None:
        """End the run now, as if its time was over. Do nothing if the run has ended."""
        self._end = min(self._end, time.time())

    def log(self, path: str, attempt: int, *, ended: bool) -> Iterator[str]:
        """Yield the lines of an attempt. An attempt that has not ended has no lines."""
        if not ended:
            return iter(())
        return iter(self._outcome.log or [f"{path} is made up"])

    @property
    def state(self) -> RunState:
        """Return the state as it is now."""
        if self._cancelled_at is not None:
            return RunState.CANCELLED
        if time.time() < self._end:
            return RunState.RUNNING
        if self._outcome.failing or self._outcome.failing_drivers:
            return RunState.FAILED
        return RunState.SUCCEEDED

    def summary(self) -> Run:
        """Return the run without its tasks."""
        state = self.state
        ended_at = None
        if state.final:
            ended_at = timestamp(self._cancelled_at or self._end)
        return Run(
            run_id=self._run_id,
            env="",
            backend="",
            pipeline=self._submission.spec.name,
            version="",
            state=state,
            name=self._run_id,
            created_at=timestamp(self._created),
            started_at=timestamp(self._created),
            ended_at=ended_at,
            params=self._submission.params,
        )

    def run(self) -> Run:
        """Return the run with its tasks, artifacts and metrics, as it is now."""
        run = self.summary()
        pipeline = graph.build(self._submission.spec.pipeline_spec)
        builder = _TaskBuilder(pipeline, run, self._root, self._outcome)
        outputs = builder.build_dag("", pipeline.root, dict(run.params))
        error = None
        if run.state is RunState.FAILED:
            task_errors = [task.error for task in builder.tasks if task.error]
            error = task_errors[0] if task_errors else None
        return replace(
            run,
            tasks=tuple(builder.tasks),
            artifacts=tuple(builder.artifacts),
            metrics=tuple(builder.metrics),
            outputs=outputs,
            error=error,
        )


class _TaskBuilder:
    """Makes up the tasks of a run.

    In `tasks`, a group (a loop or a nested pipeline) comes before the tasks inside of it.
    """

    def __init__(self, pipeline: Graph, run: Run, root: str, outcome: Instant) -> None:
        self._graph = pipeline
        self._run = run
        self._root = root
        self._outcome = outcome
        self.tasks: list[Task] = []
        self.artifacts: list[Artifact] = []
        self.metrics: list[Metric] = []

    def build_dag(self, path: str, component: Component, inputs: JsonObject) -> dict[str, Any]:
        """Add the tasks of a DAG, and return its outputs.

        Args:
            path: the path of the DAG, empty for the pipeline.
            component: the component of the DAG.
            inputs: the values of its inputs.
        """
        assert component.dag is not None
        outputs_by_task: dict[str, dict[str, Any]] = {}
        states: dict[str, TaskState] = {}
        for key, task in component.dag.tasks.items():
            task_path = f"{path}/{key}".strip("/")
            index = len(self.tasks)
            if key in self._outcome.skipped or not _can_start(task, states):
                self._add(task_path, self._task_kind(task), {}, TaskState.SKIPPED)
                outputs_by_task[key] = {}
            else:
                bindings = {**task.params, **task.artifacts}
                task_inputs = {
                    name: _read_source(binding.source, inputs, outputs_by_task)
                    for name, binding in bindings.items()
                }
                outputs_by_task[key] = self._build_task(task_path, task, task_inputs)
            # The task itself was added at `index`, before the tasks inside of it. The state of a
            # group depends on the states of these tasks, so it is only known now.
            states[key] = self.tasks[index].state
        return _dag_outputs(component.dag, outputs_by_task)

    def _task_kind(self, task: TaskDef) -> TaskKind:
        component = self._graph.component(task)
        if task.iterator is not None:
            return TaskKind.LOOP
        if isinstance(component.executor, Importer):
            return TaskKind.IMPORTER
        return _component_kind(component)

    def _build_task(self, path: str, task: TaskDef, inputs: dict[str, Any]) -> dict[str, Any]:
        """Add a task and the tasks inside of it, and return the outputs of the task."""
        component = self._graph.component(task)
        if task.iterator is None:
            return self._build_single(path, self._task_kind(task), task, component, inputs)
        index = self._add(path, TaskKind.LOOP, inputs)
        kind = _component_kind(component)
        iterations: list[dict[str, Any]] = []
        for number, item in enumerate(_loop_items(task, inputs)):
            iteration_path = f"{path}[{number}]"
            iteration_inputs = inputs | {task.iterator.item: item}
            iterations.append(
                self._build_single(iteration_path, kind, task, component, iteration_inputs)
            )
        # An output of a loop is the list of the outputs of its iterations. A loop always has at
        # least one iteration, see `_loop_items`.
        outputs: dict[str, Any] = {}
        for name in iterations[0]:
            outputs[name] = [iteration.get(name) for iteration in iterations]
        self._finish_group(index, outputs)
        return outputs

    def _build_single(
        self, path: str, kind: TaskKind, task: TaskDef, component: Component, inputs: dict[str, Any]
    ) -> dict[str, Any]:
        """Add a task that is not a loop, or one iteration of a loop. Return the outputs."""
        for name, param in component.params.items():
            if inputs.get(name) is None and param.has_default:
                inputs[name] = param.default
        index = self._add(path, kind, inputs)
        if component.dag is not None:
            outputs = self.build_dag(path, component, inputs)
            self._finish_group(index, outputs)
            return outputs
        added_task = self.tasks[index]
        has_failed_attempt = added_task.state is TaskState.FAILED and added_task.attempts > 0
        if has_failed_attempt and task.retry is not None:
            self.tasks[index] = replace(added_task, attempts=1 + task.retry.count)
        if not added_task.state.ok:
            return {}
        outputs = self._build_outputs(path, component)
        self.tasks[index] = replace(added_task, outputs=outputs)
        return outputs

    def _finish_group(self, index: int, outputs: JsonObject) -> None:
        """Set the outputs of a group, or its state FAILED if a task inside of it has failed."""
        group = self.tasks[index]
        states = {task.state for task in self.tasks[index + 1 :]}
        if group.state.ok and TaskState.FAILED in states:
            self.tasks[index] = replace(group, state=TaskState.FAILED)
        elif group.state.ok:
            self.tasks[index] = replace(group, outputs=outputs)

    def _add(
        self, path: str, kind: TaskKind, inputs: JsonObject, state: TaskState | None = None
    ) -> int:
        """Add a task and return its index.

        Args:
            path: the path of the task.
            kind: the kind of the task.
            inputs: the inputs of the task.
            state: the state of the task. None takes it from the run and from `Instant`.
        """
        name = path.rpartition("/")[2]
        if state is None:
            state = _TASK_STATES.get(self._run.state, TaskState.SUCCEEDED)
        message = None
        has_started = state is not TaskState.SKIPPED
        if state is TaskState.SUCCEEDED:
            driver_message = self._outcome.failing_drivers.get(name)
            message = driver_message or self._outcome.failing.get(name)
            has_started = driver_message is None
        cache = None
        if message is not None:
            state = TaskState.FAILED
        elif state is TaskState.SUCCEEDED and name in self._outcome.cached:
            state = TaskState.CACHED
            cache = Cache(True, "it is made up")
        # Only containers that run have attempts. A cache hit and a failed driver start none.
        has_attempt = kind is TaskKind.CONTAINER and cache is None and has_started
        self.tasks.append(
            Task(
                path=path,
                kind=kind,
                state=state,
                attempts=int(has_attempt),
                started_at=self._run.started_at,
                ended_at=self._run.ended_at,
                inputs={key: value for key, value in inputs.items() if value is not None},
                error=None if message is None else ErrorInfo(message, path),
                cache=cache,
            )
        )
        return len(self.tasks) - 1

    def _build_outputs(self, path: str, component: Component) -> dict[str, Any]:
        """Return the outputs of a container, and add its artifacts and metrics."""
        outputs: dict[str, Any] = {
            name: _OUTPUT_VALUES.get(param.type, name)
            for name, param in component.output_params.items()
        }
        for name, definition in component.output_artifacts.items():
            uri = f"{self._root}/{path}/{name}"
            metrics = self._outcome.metrics if definition.type == METRICS else {}
            self.artifacts.append(Artifact(path, name, definition.type, uri, dict(metrics)))
            self.metrics += [Metric(path, name, key, value) for key, value in metrics.items()]
            outputs[name] = uri
        return outputs


def _component_kind(component: Component) -> TaskKind:
    """Return the kind of a task with this component that is neither a loop nor an importer."""
    return TaskKind.CONTAINER if component.dag is None else TaskKind.DAG


def _read_source(
    source: object, inputs: JsonObject, outputs_by_task: Mapping[str, JsonObject]
) -> Any:
    """Return the value of an input of a task, None without a value."""
    if isinstance(source, Constant):
        return source.value
    if isinstance(source, FromInput):
        return inputs.get(source.name)
    if isinstance(source, FromTask):
        return outputs_by_task[source.task].get(source.output)
    return None


def _can_start(task: TaskDef, states: Mapping[str, TaskState]) -> bool:
    """Return whether a task starts, given the states of the tasks before it.

    A task does not start after a failed or skipped task, unless it is an exit handler or ignores
    failures.
    """
    if task.runs_always:
        return True
    return not any(states[key] in _BLOCKING for key in task.upstream)


def _dag_outputs(dag: Dag, outputs_by_task: Mapping[str, JsonObject]) -> dict[str, Any]:
    """Return the outputs of a DAG. An output has the value of its first producer with a value."""
    outputs: dict[str, Any] = {}
    for name, producers in {**dag.param_outputs, **dag.artifact_outputs}.items():
        for producer in producers:
            value = outputs_by_task[producer.task].get(producer.output)
            if value is not None:
                outputs[name] = value
                break
    return outputs


def _loop_items(task: TaskDef, inputs: JsonObject) -> list[Any]:
    """Return the items of a loop, or [None] if neither the spec nor the parameters have items."""
    assert task.iterator is not None
    if task.iterator.raw is not None:
        items = json.loads(task.iterator.raw)
    else:
        items = inputs.get(task.iterator.input or "")
    if not isinstance(items, list) or not items:
        return [None]
    return items
