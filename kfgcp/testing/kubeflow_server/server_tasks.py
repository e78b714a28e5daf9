"""The tasks of a run as a server of Kubeflow Pipelines 3.0 keeps them, instead of ML Metadata.

The shapes are those of tests/recorded/api-3.0-branch (run-get-*-full.json, tasks-list.json,
artifact-*.json). There the recorder sent the requests of drivers and launchers. Where the
recordings have nothing, the source of the branch counts: backend/src/v2/driver (dag.go,
container.go), component/launcher_v2.go and importer_launcher.go, and apiclient/kfpapi/api.go. From
there are the types of conditions, the inputs for the items of a loop, SKIPPED and CACHED groups,
the titles of artifacts in `_kfp_schema_title`, and that the pod of a program is added when it has
ended.

- Iterations are not tasks. A task in an iteration has its number; those right in it are children of
  the loop.
- What was killed stays RUNNING (run-get-terminated-ended.json).
- Groups other than nested pipelines have no outputs in the recordings. On a real server the
  launcher copies the outputs of tasks to them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import NAMESPACE_OID, uuid5

from kfgcp.backends.kubeflow.execution import EXECUTOR_LOGS
from kfgcp.model import RunState, TaskKind, TaskState
from kfgcp.spec.graph import Constant, Dag, FinalStatus, FromInput, FromTask, TaskDef
from kfgcp.spec.graph import Iterator as Loop
from kfgcp.testing import paths
from kfgcp.testing.kubeflow_server.executions import Unit, units
from kfgcp.testing.kubeflow_server.messages import stamp, without_empty
from kfgcp.testing.kubeflow_server.nodes import is_driver_failure, pods
from kfgcp.testing.kubeflow_server.records import Record

_RUNNING: Final = "RUNNING"
_STATES: Final = {
    TaskState.SUCCEEDED: "SUCCEEDED",
    TaskState.CACHED: "CACHED",
    TaskState.SKIPPED: "SKIPPED",
    TaskState.FAILED: "FAILED",
}
_ROOT_STATES: Final = {RunState.SUCCEEDED: "SUCCEEDED", RunState.FAILED: "FAILED"}
_LEAVES: Final = ("RUNTIME", "IMPORTER")
_GROUPS: Final = (TaskKind.DAG, TaskKind.LOOP)
_METRICS: Final = "system.Metrics"
_TYPES: Final = {
    "system.Artifact": "Artifact",
    "system.Model": "Model",
    "system.Dataset": "Dataset",
    "system.HTML": "HTML",
    "system.Markdown": "Markdown",
    "system.ClassificationMetrics": "ClassificationMetric",
    "system.SlicedClassificationMetrics": "SlicedClassificationMetric",
}
_FAILED: Final = "failed to execute component: exit status 1"
LogUri = Callable[[Record, str], str]


def tasks_of(record: Record, log_uri: LogUri) -> list[dict[str, Any]]:
    """Return the tasks of a run, in the order of their ids.

    Args:
        record: the run.
        log_uri: gives the artifact with the log of a task, empty when there is none.
    """
    kept: list[dict[str, Any]] | None = record.kept.get("server tasks")
    if kept is not None:
        return kept
    is_final = record.run().state.final
    tasks = sorted(_Tasks(record, log_uri).all(), key=lambda task: str(task["task_id"]))
    if is_final:
        record.kept["server tasks"] = tasks
    return tasks


def artifacts_of(task: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Yield the artifacts of a task: the side (inputs or outputs), what holds it, and the
    artifact."""
    for side in ("inputs", "outputs"):
        for group in task[side].get("artifacts", ()):
            for artifact in group["artifacts"]:
                yield side, group, artifact


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a unit is. around: the path of the task that it is a child of. iteration: None outside
    of loops."""

    around: str
    iteration: int | None
    scope: str


class _Tasks:
    """The tasks of one run."""

    def __init__(self, record: Record, log_uri: LogUri) -> None:
        self._record, self._log_uri = record, log_uri
        self._units = units(record, with_failed_drivers=True)
        self._types = {
            artifact.uri: (artifact.type, artifact.metadata) for artifact in record.run().artifacts
        }
        # An artifact is one row, with the name and the time of what made it. Nested pipelines only
        # pass it on.
        self._made: dict[str, tuple[str, int]] = {}
        for unit in sorted(self._units, key=lambda unit: -unit.path.count("/")):
            for name, uri in unit.output_artifacts:
                self._made.setdefault(uri, (name, unit.ended or unit.started))
        self._children: dict[str, list[Unit]] = defaultdict(list)
        for unit in self._units:
            if unit.path and unit.iteration is None:
                self._children[_place(unit.path).around].append(unit)
        self._pods: dict[str, list[tuple[int, str]]] = defaultdict(list)
        for name, node in pods(record):
            self._pods[node.path].append((node.attempt, name))

    def all(self) -> Iterator[dict[str, Any]]:
        for unit in self._units:
            if unit.iteration is None:
                yield self._task(unit)

    def _task(self, unit: Unit) -> dict[str, Any]:
        place = _place(unit.path)
        definition = paths.find(self._record.graph, unit.path)[0] if unit.path else None
        kind = _type(unit, definition)
        state = self._state(unit)
        started = stamp(unit.started // 1000)
        ended = (
            "" if state in (_RUNNING, "SKIPPED") else stamp((unit.ended or unit.started) // 1000)
        )
        history = [] if state == "SKIPPED" else [{"update_time": started, "state": _RUNNING}]
        if state != _RUNNING:
            history.append({"update_time": ended or started, "state": state})
        children = [
            {"task_id": self._id(child.path), "name": child.key}
            for child in self._children[unit.path]
        ]
        task = without_empty(
            {
                "name": unit.key or "ROOT",
                "display_name": _display_name(unit, kind) or self._record.name,
                "task_id": self._id(unit.path),
                "run_id": self._record.id,
                "pods": self._task_pods(unit, kind),
                "cache_fingerprint": unit.fingerprint if state != "CACHED" else "",
                "create_time": started,
                "end_time": ended,
                "state": state,
                "status_metadata": _status(unit, kind, state),
                "state_history": history,
                "type": kind,
                "type_attributes": _attributes(unit, kind, place),
                "parent_task_id": self._id(place.around) if unit.path else "",
                "child_tasks": sorted(children, key=lambda child: str(child["task_id"])),
                "scope_path": place.scope,
            }
        )
        return {
            **task,
            "inputs": self._inputs(unit, definition, place),
            "outputs": self._outputs(unit, kind, place),
        }

    def _id(self, path: str) -> str:
        return str(uuid5(NAMESPACE_OID, f"{self._record.id}/task/{path}"))

    def _state(self, unit: Unit) -> str:
        if unit.task is None:
            return _ROOT_STATES.get(unit.run.state, _RUNNING)
        state = _STATES.get(unit.task.state, _RUNNING)
        if unit.task.kind not in _GROUPS or state != "SUCCEEDED":
            return state
        # updateStatuses in kfpapi/api.go; a loop without items is skipped by its driver
        # (terminalDAGState in dag.go).
        states = {self._state(child) for child in self._children[unit.path]}
        if not states:
            return "SKIPPED" if unit.task.kind is TaskKind.LOOP else state
        return states.pop() if states in ({"SKIPPED"}, {"CACHED"}) else state

    def _task_pods(self, unit: Unit, kind: str) -> list[dict[str, str]]:
        path = unit.path
        found = []
        for attempt, name in self._pods[path]:
            is_driver = attempt == 0 and kind != "IMPORTER"
            if is_driver or self._has_ended(unit, attempt):
                found.append(
                    {
                        "name": name,
                        "uid": f"uid-{name}",
                        "type": "DRIVER" if is_driver else "EXECUTOR",
                    }
                )
        return found

    @staticmethod
    def _has_ended(unit: Unit, attempt: int) -> bool:
        """Return whether the program of an attempt has ended by itself: then its launcher adds its
        pod."""
        task = unit.task
        if task is None or task.state is TaskState.CACHED:
            return False
        return attempt < task.attempts or task.state in (TaskState.SUCCEEDED, TaskState.FAILED)

    # -- values

    def _inputs(self, unit: Unit, definition: TaskDef | None, place: _Place) -> dict[str, Any]:
        if unit.task is not None and unit.task.kind is TaskKind.IMPORTER:
            return {}  # importer_launcher.go makes the task without its inputs
        loop = definition.iterator if definition is not None else None
        parameters = [
            {"value": value, "parameter_key": name, **self._source(unit, definition, name)}
            for name, value in unit.inputs.items()
            if loop is None or name != loop.item
        ]
        if definition is not None and loop is not None:
            parameters += self._items(unit, definition, loop)
        artifacts = []
        for name, uris in _by_name(unit.input_artifacts).items():
            definition_type = unit.component.artifacts[name].type
            stored = [
                item
                for uri in uris
                for item in self._artifacts(name, uri, definition_type, unit.started)
            ]
            artifacts.append(
                {"artifacts": stored, "artifact_key": name, **self._source(unit, definition, name)}
            )
        return without_empty({"parameters": parameters, "artifacts": artifacts})

    def _items(self, unit: Unit, definition: TaskDef, loop: Loop) -> list[dict[str, Any]]:
        """Return the inputs for the items of a loop: one for each, all with the same key."""
        iterations = [
            each for each in self._units if each.iteration is not None and each.parent == unit.path
        ]
        return [
            {
                "value": iteration.inputs[loop.item],
                "type": "ITERATOR_INPUT",
                "parameter_key": loop.item,
                "producer": {"task_name": definition.key, "iteration": str(iteration.iteration)},
            }
            for iteration in iterations
            if loop.item in iteration.inputs
        ]

    def _source(self, unit: Unit, definition: TaskDef | None, name: str) -> dict[str, Any]:
        """Return the type of an input, and its producer where it is another task."""
        if definition is None:
            given = self._record.runtime_config.get("parameters") or {}
            return {"type": "RUNTIME_VALUE_INPUT" if name in given else "COMPONENT_DEFAULT_INPUT"}
        binding = definition.params.get(name) or definition.artifacts.get(name)
        source = binding.source if binding is not None else None
        if definition.iterator is not None and name == definition.iterator.input:
            return {"type": "ITERATOR_INPUT"}
        if isinstance(source, FromTask):
            dag = self._around(unit.path)
            is_loop = dag is not None and dag.tasks[source.task].iterator is not None
            kind = "COLLECTED_INPUTS" if is_loop else "TASK_OUTPUT_INPUT"
            return {"type": kind, "producer": {"task_name": source.task}}
        if isinstance(source, FromInput):
            loop = self._loop_around(unit.path)
            return {
                "type": "ITERATOR_INPUT" if loop and loop.item == source.name else "COMPONENT_INPUT"
            }
        if isinstance(source, Constant):
            return {"type": "RUNTIME_VALUE_INPUT"}
        return {
            "type": "TASK_FINAL_STATUS_OUTPUT"
            if isinstance(source, FinalStatus)
            else "COMPONENT_DEFAULT_INPUT"
        }

    def _around(self, path: str) -> Dag | None:
        parent = paths.parent(path)
        return (
            paths.find(self._record.graph, parent)[1] if parent else self._record.graph.root
        ).dag

    def _loop_around(self, path: str) -> Loop | None:
        parent = paths.parent(path)
        return (
            paths.find(self._record.graph, parent)[0].iterator if paths.iteration(parent) else None
        )

    def _outputs(self, unit: Unit, kind: str, place: _Place) -> dict[str, Any]:
        if unit.task is None or not unit.task.state.ok or kind not in (*_LEAVES, "DAG"):
            return self._log(unit, {"task_name": unit.key})
        producer = {"task_name": unit.key}
        if place.iteration is not None:
            producer["iteration"] = str(place.iteration)
        declared = unit.component.output_params
        parameters = [
            {"value": value, "type": "OUTPUT", "parameter_key": name, "producer": producer}
            for name, value in unit.task.outputs.items()
            if name in declared and value is not None
        ]
        artifacts = []
        for name, uris in _by_name(unit.output_artifacts).items():
            definition_type = unit.component.output_artifacts[name].type
            stored = [
                item
                for uri in uris
                for item in self._artifacts(name, uri, definition_type, unit.ended)
            ]
            if stored:
                artifacts.append(
                    {
                        "artifacts": stored,
                        "type": "OUTPUT",
                        "artifact_key": name,
                        "producer": producer,
                    }
                )
        log = self._log(unit, producer).get("artifacts", [])
        return without_empty({"parameters": parameters, "artifacts": [*artifacts, *log]})

    def _log(self, unit: Unit, producer: Mapping[str, str]) -> dict[str, Any]:
        """Return the artifact with what the last attempt of a task wrote, where launchers publish
        it."""
        uri = self._log_uri(self._record, unit.path) if unit.pod and unit.ended else ""
        if not uri:
            return {}
        artifact = _artifact(EXECUTOR_LOGS, uri, "system.Artifact", {}, unit.ended)
        return {
            "artifacts": [
                {
                    "artifacts": [artifact],
                    "type": "OUTPUT",
                    "artifact_key": EXECUTOR_LOGS,
                    "producer": dict(producer),
                }
            ]
        }

    def _artifacts(
        self, name: str, uri: str, definition_type: str, made: int
    ) -> list[dict[str, Any]]:
        """Return the artifacts that stand for one of the engine's: of metrics one for each
        scalar."""
        title, metadata = self._types.get(uri, (definition_type, {}))
        name, made = self._made.get(uri, (name, made))
        if title != _METRICS:
            return [_artifact(name, uri, title, metadata, made)]
        return [
            {
                "artifact_id": str(uuid5(NAMESPACE_OID, f"{uri}/{metric}")),
                "name": metric,
                "type": "Metric",
                "metadata": {metric: value},
                "number_value": value,
                "created_at": stamp(made // 1000),
            }
            for metric, value in metadata.items()
            if isinstance(value, (int, float)) and not isinstance(value, bool)
        ]


def _status(unit: Unit, kind: str, state: str) -> dict[str, str]:
    if unit.task is None or kind not in _LEAVES or state != "FAILED":
        return {}
    if is_driver_failure(unit.task) and unit.task.error is not None:
        return {
            "message": (
                f"driver.Container(runID={unit.run.run_id}) failed: {unit.task.error.message}"
            )
        }
    return {"message": _FAILED}


def _artifact(
    name: str, uri: str, title: str, metadata: Mapping[str, Any], made: int
) -> dict[str, Any]:
    kind = _TYPES.get(title, "Artifact")
    shown = dict(metadata) if title in _TYPES else {**metadata, "_kfp_schema_title": title}
    has_file = not kind.endswith("Metric")
    return without_empty(
        {
            "artifact_id": str(uuid5(NAMESPACE_OID, uri)),
            "name": name,
            "type": kind,
            "uri": uri if has_file else "",
            "metadata": shown,
            "created_at": stamp(made // 1000),
        }
    )


def _place(path: str) -> _Place:
    """Return where a task is, whose path may lead through iterations."""
    around = paths.parent(path)
    iteration = None
    inside = around
    while inside and iteration is None:
        found = paths.iteration(inside)
        iteration = found[1] if found else None
        inside = paths.parent(inside)
    found = paths.iteration(around)
    scope = ".".join(["root", *(paths.key(segment) for segment in path.split("/") if segment)])
    return _Place(found[0] if found else around, iteration, scope)


def _type(unit: Unit, definition: TaskDef | None) -> str:
    """Return the type of a task, by the rules of DAG() in driver/dag.go."""
    if definition is None or unit.task is None:
        return "ROOT"
    if unit.task.kind is TaskKind.LOOP:
        return "LOOP"
    if unit.task.kind is not TaskKind.DAG:
        return "IMPORTER" if unit.task.kind is TaskKind.IMPORTER else "RUNTIME"
    if definition.condition:
        return "CONDITION_BRANCH"
    is_condition = unit.key.startswith("condition") and not unit.key.startswith("condition-branch")
    return "CONDITION" if is_condition else "DAG"


def _display_name(unit: Unit, kind: str) -> str:
    names = {
        "LOOP": "Loop",
        "CONDITION_BRANCH": "Condition Branch",
        "CONDITION": "Condition",
        "ROOT": "",
    }
    return names.get(kind, unit.label)


def _attributes(unit: Unit, kind: str, place: _Place) -> dict[str, Any]:
    attributes: dict[str, Any] = {}
    if place.iteration is not None:
        attributes["iteration_index"] = str(place.iteration)
    if kind == "LOOP":
        attributes["iteration_count"] = str(unit.iterations or 0)
    if kind == "IMPORTER":
        attributes["download_to_workspace"] = False
    return attributes


def _by_name(pairs: tuple[tuple[str, str], ...]) -> dict[str, list[str]]:
    uris: dict[str, list[str]] = defaultdict(list)
    for name, uri in pairs:
        uris[name].append(uri)
    return dict(uris)
