"""The JSON of the inputs, outputs and artifacts of tasks. `server_tasks` names the sources."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import NAMESPACE_OID, uuid5

from kfgcp.backends.kubeflow.execution import EXECUTOR_LOGS
from kfgcp.model import TaskKind
from kfgcp.spec.graph import Constant, Dag, FinalStatus, FromInput, FromTask, Iterator, TaskDef
from kfgcp.spec.json_values import JsonObject
from kfgcp.testing import paths
from kfgcp.testing.kubeflow_server.executions import ArtifactUris, TaskExecution
from kfgcp.testing.kubeflow_server.messages import drop_empty, format_time
from kfgcp.testing.kubeflow_server.records import RunRecord

# The types of tasks that are not groups.
LEAF_TYPES: Final = ("RUNTIME", "IMPORTER")
_TYPES_WITH_OUTPUTS: Final = ("RUNTIME", "IMPORTER", "DAG")

_METRICS: Final = "system.Metrics"
# The title of an artifact type -> the type on the server. An artifact with another title is an
# Artifact, with the title in its metadata.
_ARTIFACT_TYPES: Final = {
    "system.Artifact": "Artifact",
    "system.Model": "Model",
    "system.Dataset": "Dataset",
    "system.HTML": "HTML",
    "system.Markdown": "Markdown",
    "system.ClassificationMetrics": "ClassificationMetric",
    "system.SlicedClassificationMetrics": "SlicedClassificationMetric",
}

LogUri = Callable[[RunRecord, str], str]
"""Gives the URI of the artifact with the log of a task at a path, empty if there is none."""


@dataclass(frozen=True, slots=True)
class TaskPlace:
    """Where a task is in a run.

    Attributes:
        parent_path: the path of the parent task. The parent of a task directly in an iteration is
            the loop.
        iteration: the number of the innermost iteration around the task, None outside of loops.
        scope: the `scope_path`: the keys of the tasks from the root to the task.
    """

    parent_path: str
    iteration: int | None
    scope: str


class TaskValues:
    """A writer of the inputs and outputs of a run's tasks as JSON.

    Args:
        record: the run.
        executions: the executions of its tasks.
        log_uri: gives the URI of the artifact with a task's log, empty if there is none.
    """

    def __init__(
        self, record: RunRecord, executions: Sequence[TaskExecution], log_uri: LogUri
    ) -> None:
        self._record = record
        self._executions = executions
        self._log_uri = log_uri
        self._types_by_uri: dict[str, tuple[str, JsonObject]] = {}
        for artifact in record.current_run().artifacts:
            self._types_by_uri[artifact.uri] = (artifact.type, artifact.metadata)
        # The server stores an artifact once, with the name and the time from the task that created
        # it: the deepest task that has the artifact. Nested pipelines only pass artifacts on.
        self._origins: dict[str, tuple[str, int]] = {}
        for execution in sorted(executions, key=lambda item: -item.path.count("/")):
            for name, uri in execution.output_artifacts:
                self._origins.setdefault(uri, (name, execution.ended or execution.started))

    def format_inputs(self, execution: TaskExecution, definition: TaskDef | None) -> dict[str, Any]:
        """Return the `inputs` of a task.

        Args:
            execution: the execution of the task.
            definition: the task of the pipeline, None for the root DAG.
        """
        # importer_launcher.go creates the task of an importer without inputs.
        if execution.task is not None and execution.task.kind is TaskKind.IMPORTER:
            return {}
        loop = definition.iterator if definition is not None else None
        parameters = []
        for name, value in execution.inputs.items():
            # `_format_items` adds the items of a loop below.
            if loop is None or name != loop.item:
                source = self._format_source(execution, definition, name)
                parameters.append({"value": value, "parameter_key": name, **source})
        if definition is not None and loop is not None:
            parameters += self._format_items(execution, definition, loop)
        artifacts = []
        for name, uris in _group_by_name(execution.input_artifacts).items():
            title = execution.component.artifacts[name].type
            source = self._format_source(execution, definition, name)
            rows = self._format_artifacts(name, uris, title, execution.started)
            artifacts.append({"artifacts": rows, "artifact_key": name, **source})
        return drop_empty({"parameters": parameters, "artifacts": artifacts})

    def format_outputs(
        self, execution: TaskExecution, task_type: str, place: TaskPlace
    ) -> dict[str, Any]:
        """Return the `outputs` of a task.

        Args:
            execution: the execution of the task.
            task_type: the type of the task on the server.
            place: where the task is.
        """
        task = execution.task
        producer = {"task_name": execution.key}
        if task is None or not task.state.ok or task_type not in _TYPES_WITH_OUTPUTS:
            return drop_empty({"artifacts": self._format_log(execution, producer)})
        if place.iteration is not None:
            producer["iteration"] = str(place.iteration)
        parameters = []
        for name, value in task.outputs.items():
            if name in execution.component.output_params and value is not None:
                parameters.append(
                    {
                        "value": value,
                        "type": "OUTPUT",
                        "parameter_key": name,
                        "producer": producer,
                    }
                )
        artifacts = []
        for name, uris in _group_by_name(execution.output_artifacts).items():
            title = execution.component.output_artifacts[name].type
            rows = self._format_artifacts(name, uris, title, execution.ended)
            if rows:
                artifacts.append(_format_output(name, rows, producer))
        artifacts += self._format_log(execution, producer)
        return drop_empty({"parameters": parameters, "artifacts": artifacts})

    # -- inputs

    def _format_items(
        self, execution: TaskExecution, definition: TaskDef, loop: Iterator
    ) -> list[dict[str, Any]]:
        """Return the inputs for the items of a loop: one for each iteration, with the same key."""
        items = []
        for other in self._executions:
            is_iteration = other.iteration is not None and other.parent_path == execution.path
            if is_iteration and loop.item in other.inputs:
                producer = {"task_name": definition.key, "iteration": str(other.iteration)}
                items.append(
                    {
                        "value": other.inputs[loop.item],
                        "type": "ITERATOR_INPUT",
                        "parameter_key": loop.item,
                        "producer": producer,
                    }
                )
        return items

    def _format_source(
        self, execution: TaskExecution, definition: TaskDef | None, name: str
    ) -> dict[str, Any]:
        """Return the type of an input, and its producer if another task produces the input."""
        if definition is None:
            run_parameters = self._record.runtime_config.get("parameters") or {}
            if name in run_parameters:
                return {"type": "RUNTIME_VALUE_INPUT"}
            return {"type": "COMPONENT_DEFAULT_INPUT"}
        if definition.iterator is not None and name == definition.iterator.input:
            return {"type": "ITERATOR_INPUT"}
        binding = definition.params.get(name) or definition.artifacts.get(name)
        source = binding.source if binding is not None else None
        if isinstance(source, FromTask):
            dag = self._find_dag(execution.path)
            is_loop = dag is not None and dag.tasks[source.task].iterator is not None
            input_type = "COLLECTED_INPUTS" if is_loop else "TASK_OUTPUT_INPUT"
            return {"type": input_type, "producer": {"task_name": source.task}}
        if isinstance(source, FromInput):
            loop = self._find_loop(execution.path)
            is_item = loop is not None and loop.item == source.name
            return {"type": "ITERATOR_INPUT" if is_item else "COMPONENT_INPUT"}
        if isinstance(source, Constant):
            return {"type": "RUNTIME_VALUE_INPUT"}
        if isinstance(source, FinalStatus):
            return {"type": "TASK_FINAL_STATUS_OUTPUT"}
        return {"type": "COMPONENT_DEFAULT_INPUT"}

    def _find_dag(self, path: str) -> Dag | None:
        """Return the DAG that contains a task."""
        parent_path = paths.parent(path)
        if not parent_path:
            return self._record.graph.root.dag
        _, component = paths.find(self._record.graph, parent_path)
        return component.dag

    def _find_loop(self, path: str) -> Iterator | None:
        """Return the loop of a task that is directly in an iteration, None for another task."""
        parent_path = paths.parent(path)
        if not paths.iteration(parent_path):
            return None
        definition, _ = paths.find(self._record.graph, parent_path)
        return definition.iterator

    # -- artifacts

    def _format_log(
        self, execution: TaskExecution, producer: Mapping[str, str]
    ) -> list[dict[str, Any]]:
        """Return the output with the log of the last attempt, empty if there is no such log."""
        if not execution.pod or not execution.ended:
            return []
        uri = self._log_uri(self._record, execution.path)
        if not uri:
            return []
        artifact = _format_artifact(EXECUTOR_LOGS, uri, "system.Artifact", {}, execution.ended)
        return [_format_output(EXECUTOR_LOGS, [artifact], producer)]

    def _format_artifacts(
        self, name: str, uris: Sequence[str], title: str, created: int
    ) -> list[dict[str, Any]]:
        """Return the artifacts of an input or output.

        Args:
            name: the name of the input or output.
            uris: the URIs of the artifacts.
            title: the type of the artifacts in the definition of the component.
            created: the time of artifacts that no task of the run created, in milliseconds since
                1970.
        """
        artifacts: list[dict[str, Any]] = []
        for uri in uris:
            uri_title, metadata = self._types_by_uri.get(uri, (title, {}))
            uri_name, uri_created = self._origins.get(uri, (name, created))
            if uri_title == _METRICS:
                artifacts += _format_metrics(uri, metadata, uri_created)
            else:
                artifacts.append(_format_artifact(uri_name, uri, uri_title, metadata, uri_created))
        return artifacts


def find_place(path: str) -> TaskPlace:
    """Return the place of the task at a path. The path may contain iterations."""
    direct_parent = paths.parent(path)
    iteration_number = None
    ancestor = direct_parent
    while ancestor and iteration_number is None:
        iteration = paths.iteration(ancestor)
        if iteration is not None:
            iteration_number = iteration[1]
        ancestor = paths.parent(ancestor)
    # The parent of a task in an iteration is the loop.
    parent_iteration = paths.iteration(direct_parent)
    parent_path = parent_iteration[0] if parent_iteration else direct_parent
    keys = [paths.key(segment) for segment in path.split("/") if segment]
    return TaskPlace(parent_path, iteration_number, ".".join(["root", *keys]))


def _format_output(
    name: str, artifacts: list[dict[str, Any]], producer: Mapping[str, str]
) -> dict[str, Any]:
    return {
        "artifacts": artifacts,
        "type": "OUTPUT",
        "artifact_key": name,
        "producer": dict(producer),
    }


def _format_artifact(
    name: str, uri: str, title: str, metadata: JsonObject, created: int
) -> dict[str, Any]:
    artifact_type = _ARTIFACT_TYPES.get(title, "Artifact")
    all_metadata = dict(metadata)
    if title not in _ARTIFACT_TYPES:
        all_metadata["_kfp_schema_title"] = title
    has_file = not artifact_type.endswith("Metric")
    return drop_empty(
        {
            "artifact_id": str(uuid5(NAMESPACE_OID, uri)),
            "name": name,
            "type": artifact_type,
            "uri": uri if has_file else "",
            "metadata": all_metadata,
            "created_at": format_time(created // 1000),
        }
    )


def _format_metrics(uri: str, metadata: JsonObject, created: int) -> list[dict[str, Any]]:
    """Return the artifacts of a system.Metrics: the server stores one for each number."""
    metrics = []
    for name, value in metadata.items():
        # In Python a bool is also an int.
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            continue
        metrics.append(
            {
                "artifact_id": str(uuid5(NAMESPACE_OID, f"{uri}/{name}")),
                "name": name,
                "type": "Metric",
                "metadata": {name: value},
                "number_value": value,
                "created_at": format_time(created // 1000),
            }
        )
    return metrics


def _group_by_name(artifacts: ArtifactUris) -> dict[str, list[str]]:
    """Return the URIs by the name of the input or output."""
    uris_by_name: dict[str, list[str]] = defaultdict(list)
    for name, uri in artifacts:
        uris_by_name[name].append(uri)
    return dict(uris_by_name)
