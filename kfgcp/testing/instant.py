"""Runs that nothing carries out: they end when their time is over, with the tasks that the pipeline
has.

Every condition is true and no task is cached, unless `Instant` names it. A loop goes over the items
that are known from the spec and the parameters (one if they are not). What comes after a task that
failed or was skipped is not reached, and the groups around a failure fail. Metrics are those that
were asked for, other outputs are plain values of their type.
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
from kfgcp.testing.rules import Submission

_VALUES: Final = {
    "NUMBER_INTEGER": 1,
    "NUMBER_DOUBLE": 0.5,
    "BOOLEAN": True,
    "LIST": [],
    "STRUCT": {},
}
METRICS: Final = "system.Metrics"
_STATES: Final = {RunState.RUNNING: TaskState.RUNNING, RunState.CANCELLED: TaskState.CANCELLED}
_BLOCKING: Final = (TaskState.FAILED, TaskState.SKIPPED)
"""States of tasks after which nothing follows."""


@dataclass(slots=True)
class Instant:
    """How made-up jobs turn out; read when a job is created.

    seconds: from its creation to its end. metrics: name -> value, on every artifact of
    system.Metrics. failing: task name -> message of the task that fails, which the job then does
    too, after all attempts that the task has. failing_drivers: task name -> message of the task
    whose driver fails, so that nothing of it is started. skipped: names of tasks whose condition is
    false. cached: names of tasks that are taken from the cache. log: what each task writes, a line
    each; a line of its own when empty.
    """

    seconds: float = 0.0
    metrics: dict[str, float] = field(default_factory=dict)
    failing: dict[str, str] = field(default_factory=dict)
    failing_drivers: dict[str, str] = field(default_factory=dict)
    skipped: Collection[str] = ()
    cached: Collection[str] = ()
    log: Sequence[str] = ()


class InstantRun:
    """An execution. root: gs:// folder that artifacts pretend to be in. created: Unix time in
    seconds."""

    def __init__(
        self, submission: Submission, job: str, root: str, created: float, how: Instant
    ) -> None:
        self._submission = submission
        self._job = job
        self._root = f"{root.rstrip('/')}/{job}"
        self._created = created
        self._ends = created + how.seconds
        self._how = how
        self._cancelled_at: float | None = None

    def cancel(self) -> None:
        if self._cancelled_at is None and time.time() < self._ends:
            self._cancelled_at = time.time()

    def finish(self) -> None:
        """End the run now, as if its time was over. A run that has ended stays as it is."""
        self._ends = min(self._ends, time.time())

    def log(self, path: str, attempt: int, *, ended: bool) -> Iterator[str]:
        return iter((self._how.log or [f"{path} is made up"]) if ended else [])

    @property
    def state(self) -> RunState:
        if self._cancelled_at is not None:
            return RunState.CANCELLED
        if time.time() < self._ends:
            return RunState.RUNNING
        fails = self._how.failing or self._how.failing_drivers
        return RunState.FAILED if fails else RunState.SUCCEEDED

    def summary(self) -> Run:
        """The run without its tasks."""
        state, spec = self.state, self._submission.spec
        end = self._cancelled_at or self._ends
        return Run(
            run_id=self._job,
            env="",
            backend="",
            pipeline=spec.name,
            version="",
            state=state,
            name=self._job,
            created_at=timestamp(self._created),
            started_at=timestamp(self._created),
            ended_at=timestamp(end) if state.final else None,
            params=self._submission.params,
        )

    def run(self) -> Run:
        run = self.summary()
        pipeline = graph.build(self._submission.spec.pipeline_spec)
        maker = _Maker(pipeline, run, self._root, self._how)
        outputs = maker.dag("", pipeline.root, dict(run.params))
        error = next((task.error for task in maker.tasks if task.error), None)
        return replace(
            run,
            tasks=tuple(maker.tasks),
            artifacts=tuple(maker.artifacts),
            metrics=tuple(maker.metrics),
            outputs=outputs,
            error=error if run.state is RunState.FAILED else None,
        )


class _Maker:
    """Makes up the tasks of a run, those around others first."""

    def __init__(self, pipeline: Graph, run: Run, root: str, how: Instant) -> None:
        self._graph, self._run, self._root, self._how = pipeline, run, root, how
        self.tasks: list[Task] = []
        self.artifacts: list[Artifact] = []
        self.metrics: list[Metric] = []

    def dag(self, path: str, component: Component, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Make up the tasks of a DAG; its outputs."""
        assert component.dag is not None
        made: dict[str, dict[str, Any]] = {}
        states: dict[str, TaskState] = {}
        for key, task in component.dag.tasks.items():
            given = {
                name: _value(binding.source, inputs, made)
                for name, binding in {**task.params, **task.artifacts}.items()
            }
            below = len(self.tasks)
            inner = f"{path}/{key}".strip("/")
            if key in self._how.skipped or not _is_reached(task, states):
                made[key] = {}
                self._add(inner, self._kind(task), {}, TaskState.SKIPPED)
            else:
                made[key] = self._task(inner, task, given)
            states[key] = self.tasks[below].state
        return _outputs(component.dag, made)

    def _kind(self, task: TaskDef) -> TaskKind:
        component = self._graph.component(task)
        if task.iterator is not None:
            return TaskKind.LOOP
        if isinstance(component.executor, Importer):
            return TaskKind.IMPORTER
        return TaskKind.DAG if component.dag is not None else TaskKind.CONTAINER

    def _task(self, path: str, task: TaskDef, inputs: dict[str, Any]) -> dict[str, Any]:
        component = self._graph.component(task)
        if task.iterator is None:
            return self._unit(path, self._kind(task), task, component, inputs)
        at = self._add(path, TaskKind.LOOP, inputs)
        kind = TaskKind.DAG if component.dag is not None else TaskKind.CONTAINER
        rounds = []
        for number, item in enumerate(_items(task, inputs)):
            round_inputs = inputs | {task.iterator.item: item}
            rounds.append(self._unit(f"{path}[{number}]", kind, task, component, round_inputs))
        outputs = {
            name: [made.get(name) for made in rounds] for name in (rounds[0] if rounds else ())
        }
        self._end_group(at, outputs)
        return outputs

    def _unit(
        self, path: str, kind: TaskKind, task: TaskDef, component: Component, inputs: dict[str, Any]
    ) -> dict[str, Any]:
        for name, param in component.params.items():
            if inputs.get(name) is None and param.has_default:
                inputs[name] = param.default
        at = self._add(path, kind, inputs)
        if component.dag is not None:
            outputs = self.dag(path, component, inputs)
            self._end_group(at, outputs)
            return outputs
        if (
            self.tasks[at].state is TaskState.FAILED
            and self.tasks[at].attempts
            and task.retry is not None
        ):
            self.tasks[at] = replace(self.tasks[at], attempts=1 + task.retry.count)
        outputs = self._made(path, component)
        if self.tasks[at].state.ok:
            self.tasks[at] = replace(self.tasks[at], outputs=outputs)
        return outputs

    def _end_group(self, at: int, outputs: dict[str, Any]) -> None:
        """Give a loop or a nested pipeline its outputs, or its failure when a task in it failed."""
        group = self.tasks[at]
        states = {task.state for task in self.tasks[at + 1 :]}
        if group.state.ok and TaskState.FAILED in states:
            self.tasks[at] = replace(group, state=TaskState.FAILED)
        elif group.state.ok:
            self.tasks[at] = replace(group, outputs=outputs)

    def _add(
        self, path: str, kind: TaskKind, inputs: Mapping[str, Any], state: TaskState | None = None
    ) -> int:
        name = path.rpartition("/")[2]
        message = driver_message = None
        if state is None:
            state = _STATES.get(self._run.state, TaskState.SUCCEEDED)
        if state is TaskState.SUCCEEDED:
            driver_message = self._how.failing_drivers.get(name)
            message = driver_message or self._how.failing.get(name)
        if message is not None:
            state = TaskState.FAILED
        hit = state is TaskState.SUCCEEDED and name in self._how.cached
        started = driver_message is None and state is not TaskState.SKIPPED
        ran = kind is TaskKind.CONTAINER and not hit and started
        self.tasks.append(
            Task(
                path=path,
                kind=kind,
                state=TaskState.CACHED if hit else state,
                attempts=1 if ran else 0,
                started_at=self._run.started_at,
                ended_at=self._run.ended_at,
                inputs={name: value for name, value in inputs.items() if value is not None},
                error=ErrorInfo(message, path) if message is not None else None,
                cache=Cache(True, "it is made up") if hit else None,
            )
        )
        return len(self.tasks) - 1

    def _made(self, path: str, component: Component) -> dict[str, Any]:
        """What a container puts out."""
        if not self.tasks[-1].state.ok:
            return {}
        outputs: dict[str, Any] = {
            name: _VALUES.get(param.type, name) for name, param in component.output_params.items()
        }
        for name, definition in component.output_artifacts.items():
            uri = f"{self._root}/{path}/{name}"
            metadata = dict(self._how.metrics) if definition.type == METRICS else {}
            self.artifacts.append(Artifact(path, name, definition.type, uri, metadata))
            self.metrics += [Metric(path, name, key, value) for key, value in metadata.items()]
            outputs[name] = uri
        return outputs


def _value(source: Any, inputs: Mapping[str, Any], made: Mapping[str, Mapping[str, Any]]) -> Any:
    if isinstance(source, Constant):
        return source.value
    if isinstance(source, FromInput):
        return inputs.get(source.name)
    return made[source.task].get(source.output) if isinstance(source, FromTask) else None


def _is_reached(task: TaskDef, states: Mapping[str, TaskState]) -> bool:
    """Return whether a task starts: semantics.md, control flow."""
    return task.runs_always or not any(states[key] in _BLOCKING for key in task.upstream)


def _outputs(dag: Dag, made: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    outputs: dict[str, Any] = {}
    for name, producers in {**dag.param_outputs, **dag.artifact_outputs}.items():
        values = [made[producer.task].get(producer.output) for producer in producers]
        value = next((value for value in values if value is not None), None)
        if value is not None:
            outputs[name] = value
    return outputs


def _items(task: TaskDef, inputs: Mapping[str, Any]) -> list[Any]:
    assert task.iterator is not None
    items = (
        json.loads(task.iterator.raw)
        if task.iterator.raw is not None
        else inputs.get(task.iterator.input or "")
    )
    return items if isinstance(items, list) and items else [None]
