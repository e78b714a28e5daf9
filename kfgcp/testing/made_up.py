"""Runs that nothing carries out: they end when their time is over, with the tasks that the pipeline has.

Every condition is true, a loop goes over the items that are known from the spec and the parameters (one if they are
not), and no task is cached. Metrics are those that were asked for, other outputs are plain values of their type.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from kfgcp.model import Artifact, ErrorInfo, Metric, Run, RunState, Task, TaskKind, TaskState, timestamp
from kfgcp.spec import graph
from kfgcp.spec.graph import Component, Constant, Dag, FromInput, FromTask, Graph, TaskDef
from kfgcp.testing.rules import Submission

_VALUES: Final = {"NUMBER_INTEGER": 1, "NUMBER_DOUBLE": 0.5, "BOOLEAN": True, "LIST": [], "STRUCT": {}}
METRICS: Final = "system.Metrics"


@dataclass(slots=True)
class Instant:
    """How made-up jobs turn out; read when a job is created.

    seconds: from its creation to its end. metrics: name -> value, on every artifact of system.Metrics. failing: task
    name -> message of the task that fails, which the job then does too. log: what each task writes, a line each; a
    line of its own when empty.
    """

    seconds: float = 0.0
    metrics: dict[str, float] = field(default_factory=dict)
    failing: dict[str, str] = field(default_factory=dict)
    log: Sequence[str] = ()


class MadeUpRun:
    """An execution. root: gs:// folder that artifacts pretend to be in. created: Unix time in seconds."""

    def __init__(self, submission: Submission, job: str, root: str, created: float, how: Instant) -> None:
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
        return RunState.FAILED if self._how.failing else RunState.SUCCEEDED

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
        if run.state is RunState.CANCELLED:
            return run
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
        """Makes up the tasks of a DAG; its outputs."""
        assert component.dag is not None
        made: dict[str, dict[str, Any]] = {}
        for key, task in component.dag.tasks.items():
            given = {
                name: _value(binding.source, inputs, made)
                for name, binding in {**task.params, **task.artifacts}.items()
            }
            made[key] = self._task(f"{path}/{key}".strip("/"), task, given)
        return _outputs(component.dag, made)

    def _task(self, path: str, task: TaskDef, inputs: dict[str, Any]) -> dict[str, Any]:
        component = self._graph.component(task)
        if task.iterator is None:
            return self._unit(path, component, inputs)
        at = self._add(path, TaskKind.LOOP, inputs)
        rounds = []
        for number, item in enumerate(_items(task, inputs)):
            rounds.append(self._unit(f"{path}[{number}]", component, inputs | {task.iterator.item: item}))
        outputs = {name: [made.get(name) for made in rounds] for name in (rounds[0] if rounds else ())}
        self.tasks[at] = replace(self.tasks[at], outputs=outputs)
        return outputs

    def _unit(self, path: str, component: Component, inputs: dict[str, Any]) -> dict[str, Any]:
        for name, param in component.params.items():
            if inputs.get(name) is None and param.has_default:
                inputs[name] = param.default
        at = self._add(path, TaskKind.DAG if component.dag is not None else TaskKind.CONTAINER, inputs)
        outputs = self.dag(path, component, inputs) if component.dag is not None else self._made(path, component)
        if self.tasks[at].state.ok:
            self.tasks[at] = replace(self.tasks[at], outputs=outputs)
        return outputs

    def _add(self, path: str, kind: TaskKind, inputs: Mapping[str, Any]) -> int:
        state = TaskState.SUCCEEDED if self._run.state.final else TaskState.RUNNING
        message = self._how.failing.get(path.rpartition("/")[2]) if self._run.state.final else None
        if message is not None:
            state = TaskState.FAILED
        self.tasks.append(
            Task(
                path=path,
                kind=kind,
                state=state,
                attempts=1 if kind is TaskKind.CONTAINER else 0,
                started_at=self._run.started_at,
                ended_at=self._run.ended_at,
                inputs={name: value for name, value in inputs.items() if value is not None},
                error=ErrorInfo(message, path) if message is not None else None,
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


def _outputs(dag: Dag, made: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    found = {}
    for name, producers in {**dag.param_outputs, **dag.artifact_outputs}.items():
        values = [made[producer.task].get(producer.output) for producer in producers]
        if values and values[0] is not None:
            found[name] = values[0]
    return found


def _items(task: TaskDef, inputs: Mapping[str, Any]) -> list[Any]:
    assert task.iterator is not None
    items = json.loads(task.iterator.raw) if task.iterator.raw is not None else inputs.get(task.iterator.input or "")
    return items if isinstance(items, list) and items else [None]
