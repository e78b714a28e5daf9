"""The executions of a run's tasks, as ML Metadata keeps them.

The docstring of `metadata_store` lists which parts the source of the server confirms.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from kfgcp.backends.kubeflow import mlmd
from kfgcp.model import Run, Task, TaskKind, TaskState
from kfgcp.spec.graph import Component, Container, TaskDef
from kfgcp.spec.json_values import JsonObject
from kfgcp.testing import paths
from kfgcp.testing.google import micros
from kfgcp.testing.kubeflow_server.nodes import is_driver_failure, is_reached
from kfgcp.testing.kubeflow_server.records import RunRecord
from kfgcp.testing.kubeflow_server.workflows import list_pods

# Tasks of all other kinds have executions of the type DAG.
_EXECUTION_TYPES: Final = {TaskKind.CONTAINER: mlmd.CONTAINER, TaskKind.IMPORTER: mlmd.IMPORTER}

# The execution of a task in another state is RUNNING. Not confirmed: the execution of a container
# that was killed is also RUNNING.
_EXECUTION_STATES: Final = {
    TaskState.SUCCEEDED: "COMPLETE",
    TaskState.CACHED: "CACHED",
    TaskState.SKIPPED: "CANCELED",
    TaskState.FAILED: "FAILED",
}

ArtifactUris = tuple[tuple[str, str], ...]
"""Artifacts of a task as pairs (name of the input or output, URI)."""


@dataclass(frozen=True, slots=True)
class TaskExecution:
    """The execution of a task whose driver has run, or of the root DAG.

    Attributes:
        path: the path of the task, empty for the root DAG.
        key: the key of the task in its DAG.
        label: the name that the server shows.
        execution_type: the type of the execution in ML Metadata.
        task: the task, None for the root DAG.
        component: the component of the task in the pipeline.
        run: the run that contains the task.
        started: milliseconds since 1970.
        ended: milliseconds since 1970, 0 while it has not ended.
        inputs: the input parameters.
        outputs: the output parameters of a container that has succeeded, None for another task.
        iteration: the number of an iteration, from 0, None for a task that is not an iteration.
        iteration_count: how many iterations a loop has, None for another task.
        input_artifacts: the input artifacts of the task.
        output_artifacts: the output artifacts of a container or an importer.
        pod: the pod of the last attempt, empty before the first attempt.
        fingerprint: the key in the cache, empty for a task that is not cached.
    """

    path: str
    key: str
    label: str
    execution_type: str
    task: Task | None
    component: Component
    run: Run
    started: int
    ended: int
    inputs: JsonObject
    outputs: JsonObject | None
    input_artifacts: ArtifactUris = ()
    output_artifacts: ArtifactUris = ()
    iteration: int | None = None
    iteration_count: int | None = None
    pod: str = ""
    fingerprint: str = ""

    @property
    def parent_path(self) -> str:
        """The path of the DAG that contains the task."""
        return paths.parent(self.path)

    @property
    def is_cached(self) -> bool:
        """Whether the task has the results of an earlier execution."""
        return self.task is not None and self.task.state is TaskState.CACHED

    @property
    def has_succeeded(self) -> bool:
        """Whether the task itself has run and succeeded."""
        return self.task is not None and self.task.state is TaskState.SUCCEEDED

    @property
    def task_count(self) -> int:
        """The number of tasks in a DAG, 0 for another task."""
        return len(self.component.dag.tasks) if self.component.dag is not None else 0

    @property
    def image(self) -> str:
        """The image of a container, empty for another task."""
        executor = self.component.executor
        return executor.image if isinstance(executor, Container) else ""

    @property
    def producers(self) -> dict[str, str]:
        """Output parameter of a DAG -> the tasks that produce it, as JSON."""
        if self.component.dag is None:
            return {}
        producers = {}
        for name, outputs in self.component.dag.param_outputs.items():
            selectors = [
                {"producerSubtask": output.task, "outputParameterKey": output.output}
                for output in outputs
            ]
            # Several producers are the branches of a condition.
            if len(selectors) == 1:
                source: dict[str, Any] = {"valueFromParameter": selectors[0]}
            else:
                source = {"valueFromOneof": {"parameterSelectors": selectors}}
            producers[name] = json.dumps(source)
        return producers

    def last_known_state(self, modern: bool) -> str:
        """Return the `last_known_state`.

        Args:
            modern: whether the server is 2.14 or newer. In older servers DAGs stay RUNNING.
        """
        # The root DAG stays RUNNING in every version.
        if self.task is None:
            return "RUNNING"
        is_dag = self.execution_type == mlmd.DAG
        if is_dag and not modern and self.task.state is not TaskState.SKIPPED:
            return "RUNNING"
        return _EXECUTION_STATES.get(self.task.state, "RUNNING")

    def describe_artifact(self, name: str, uri: str) -> tuple[str, JsonObject]:
        """Return the type and the metadata of an output artifact."""
        for artifact in self.run.artifacts:
            if artifact.uri == uri:
                return artifact.type, artifact.metadata
        definition = self.component.output_artifacts.get(name)
        return (definition.type if definition else "system.Artifact"), {}


def list_executions(record: RunRecord, *, with_failed_drivers: bool = False) -> list[TaskExecution]:
    """Return the executions of a run: the root DAG first, then the tasks in the order of the run.

    Args:
        record: the run.
        with_failed_drivers: whether to add the tasks whose driver failed. ML Metadata has no
            executions for these tasks.
    """
    cache_key = f"executions {with_failed_drivers}"
    cached: list[TaskExecution] | None = record.cache.get(cache_key)
    if cached is not None:
        return cached
    run = record.current_run()
    if run.started_at is None:
        return []
    reader = _ExecutionReader(record, run)
    executions = [reader.read_root()]
    for task in run.tasks:
        is_failed_driver = is_driver_failure(task)
        if (with_failed_drivers or not is_failed_driver) and reader.is_reached(task):
            executions.append(reader.read_task(task))
    # This call gives each new execution the next number. The number is part of the id in ML
    # Metadata, so it must follow this order and never change.
    for execution in executions:
        record.execution_number(execution.path)
    if run.state.final:
        record.cache[cache_key] = executions
    return executions


class _ExecutionReader:
    """Makes executions of the tasks of a run."""

    def __init__(self, record: RunRecord, run: Run) -> None:
        self._graph = record.graph
        self._run = run
        self._tasks_by_path = {task.path: task for task in run.tasks}
        self._pods = {(node.path, node.attempt): name for name, node in list_pods(record)}
        self._iteration_counts: dict[str, int] = {}
        for path in self._tasks_by_path:
            iteration = paths.iteration(path)
            if iteration is not None:
                loop_path = iteration[0]
                count = self._iteration_counts.get(loop_path, 0)
                self._iteration_counts[loop_path] = count + 1

    def read_root(self) -> TaskExecution:
        """Return the execution of the root DAG."""
        return TaskExecution(
            path="",
            key="",
            label="",
            execution_type=mlmd.DAG,
            task=None,
            component=self._graph.root,
            run=self._run,
            started=_millis(self._run.started_at),
            ended=_millis(self._run.ended_at),
            inputs=_drop_none(self._run.params),
            outputs=None,
        )

    def is_reached(self, task: Task) -> bool:
        """Return whether the driver of a task has run."""
        # The run contains an iteration only after the driver of the iteration has run.
        if paths.iteration(task.path):
            return True
        definition, _ = paths.find(self._graph, task.path)
        return is_reached(task, definition, paths.parent(task.path), self._tasks_by_path)

    def read_task(self, task: Task) -> TaskExecution:
        """Return the execution of a task."""
        definition, component = paths.find(self._graph, task.path)
        execution_type = _EXECUTION_TYPES.get(task.kind, mlmd.DAG)
        inputs = _drop_keys(task.inputs, component.artifacts)
        outputs = None
        if execution_type == mlmd.CONTAINER and task.state.ok:
            outputs = _drop_keys(task.outputs, component.output_artifacts)
        # In ML Metadata only containers and importers have output artifacts.
        output_artifacts: ArtifactUris = ()
        if execution_type != mlmd.DAG:
            output_artifacts = _list_artifacts(task.outputs, component.output_artifacts)
        iteration = paths.iteration(task.path)
        return TaskExecution(
            path=task.path,
            key=definition.key,
            label=definition.label,
            execution_type=execution_type,
            task=task,
            component=component,
            run=self._run,
            started=_millis(task.started_at or task.ended_at or self._run.started_at),
            ended=_millis(task.ended_at),
            inputs=_drop_none(inputs),
            outputs=outputs,
            input_artifacts=_list_artifacts(task.inputs, component.artifacts),
            output_artifacts=output_artifacts,
            iteration=iteration[1] if iteration else None,
            iteration_count=self._count_iterations(task),
            pod=self._find_pod(task, component),
            fingerprint=_make_fingerprint(definition, component, inputs),
        )

    def _count_iterations(self, task: Task) -> int | None:
        if task.kind is not TaskKind.LOOP or task.state is TaskState.SKIPPED:
            return None
        return self._iteration_counts.get(task.path, 0)

    def _find_pod(self, task: Task, component: Component) -> str:
        if not isinstance(component.executor, Container) or not task.attempts:
            return ""
        return self._pods.get((task.path, task.attempts), "")


def _drop_keys(values: JsonObject, keys: JsonObject) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in keys}


def _drop_none(values: JsonObject) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _list_artifacts(values: JsonObject, names: Mapping[str, object]) -> ArtifactUris:
    """Return the artifacts among the inputs or outputs of a task. A list is several artifacts."""
    artifacts: list[tuple[str, str]] = []
    for name, value in values.items():
        if name not in names:
            continue
        uris = value if isinstance(value, list) else [value]
        artifacts += [(name, uri) for uri in uris if uri]
    return tuple(artifacts)


def _make_fingerprint(definition: TaskDef, component: Component, inputs: JsonObject) -> str:
    """Return the key of a task in the cache, empty for a task that is not cached.

    Not confirmed: which values a real server hashes.
    """
    if not definition.cache or not isinstance(component.executor, Container):
        return ""
    if definition.cache_key:
        return definition.cache_key
    executor = component.executor
    hashed_values = [executor.image, executor.command, executor.args, inputs]
    text = json.dumps(hashed_values, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _millis(time: str | None) -> int:
    return micros(time) // 1000
