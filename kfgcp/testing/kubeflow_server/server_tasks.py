"""The tasks of a run as a server of Kubeflow Pipelines 3.0 keeps them, instead of ML Metadata.

The JSON has the form of the recordings in tests/recorded/api-3.0-branch (run-get-*-full.json,
tasks-list.json, artifact-*.json). No driver or launcher ran for these recordings: the recorder
itself sent the requests that they send.

- Iterations are not tasks. A task inside an iteration has the number of the iteration. If it is
  directly in the iteration, its parent is the loop.
- A task that was killed stays RUNNING (run-get-terminated-ended.json).
- Groups other than nested pipelines have no outputs in the recordings. On a real server the
  launcher copies the outputs of tasks to their groups.

Some parts are not in the recordings. They follow the source of the branch: backend/src/v2/driver
(dag.go, container.go), component/launcher_v2.go and importer_launcher.go, and
apiclient/kfpapi/api.go:

- the types of conditions;
- the inputs for the items of a loop;
- the groups that are SKIPPED or CACHED;
- the titles of artifacts in `_kfp_schema_title`;
- the launcher adds its pod to the task after the program has ended.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any, Final
from uuid import NAMESPACE_OID, uuid5

from kfgcp.model import RunState, TaskKind, TaskState
from kfgcp.spec.graph import TaskDef
from kfgcp.spec.json_values import JsonObject
from kfgcp.testing import paths
from kfgcp.testing.kubeflow_server.executions import TaskExecution, list_executions
from kfgcp.testing.kubeflow_server.messages import drop_empty, format_time
from kfgcp.testing.kubeflow_server.nodes import is_driver_failure
from kfgcp.testing.kubeflow_server.records import RunRecord
from kfgcp.testing.kubeflow_server.server_values import (
    LEAF_TYPES,
    LogUri,
    TaskPlace,
    TaskValues,
    find_place,
)
from kfgcp.testing.kubeflow_server.workflows import list_pods

_RUNNING: Final = "RUNNING"
_SKIPPED: Final = "SKIPPED"
_TASK_STATES: Final = {
    TaskState.SUCCEEDED: "SUCCEEDED",
    TaskState.CACHED: "CACHED",
    TaskState.SKIPPED: _SKIPPED,
    TaskState.FAILED: "FAILED",
}
_ROOT_STATES: Final = {RunState.SUCCEEDED: "SUCCEEDED", RunState.FAILED: "FAILED"}
_GROUP_KINDS: Final = (TaskKind.DAG, TaskKind.LOOP)
# The names that the server shows for groups, instead of the labels of their tasks. The server shows
# the name of the run for the root.
_GROUP_NAMES: Final = {
    "LOOP": "Loop",
    "CONDITION_BRANCH": "Condition Branch",
    "CONDITION": "Condition",
    "ROOT": "",
}
_PROGRAM_FAILED: Final = "failed to execute component: exit status 1"


def format_tasks(record: RunRecord, log_uri: LogUri) -> list[dict[str, Any]]:
    """Return the tasks of a run as JSON, in the order of their ids.

    Args:
        record: the run.
        log_uri: gives the URI of the artifact with a task's log, empty if there is none.
    """
    cache_key = "server tasks"
    cached: list[dict[str, Any]] | None = record.cache.get(cache_key)
    if cached is not None:
        return cached
    # Read the state of the run before its tasks. Tasks that were read before the end of the run are
    # out of date at its end, so they must not be in the cache.
    is_final = record.current_run().state.final
    tasks = _TaskFormatter(record, log_uri).format_all()
    ordered = sorted(tasks, key=lambda task: str(task["task_id"]))
    if is_final:
        record.cache[cache_key] = ordered
    return ordered


def iterate_artifacts(task: JsonObject) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Yield the artifacts of a task.

    Yields:
        `inputs` or `outputs`, the input or the output that has the artifact, and the artifact.
    """
    for side in ("inputs", "outputs"):
        for group in task[side].get("artifacts", ()):
            for artifact in group["artifacts"]:
                yield side, group, artifact


class _TaskFormatter:
    """A writer of the tasks of a run as JSON."""

    def __init__(self, record: RunRecord, log_uri: LogUri) -> None:
        self._record = record
        self._executions = list_executions(record, with_failed_drivers=True)
        self._values = TaskValues(record, self._executions, log_uri)
        self._children: dict[str, list[TaskExecution]] = defaultdict(list)
        for execution in self._executions:
            if execution.path and execution.iteration is None:
                parent_path = find_place(execution.path).parent_path
                self._children[parent_path].append(execution)
        self._pods: dict[str, list[tuple[int, str]]] = defaultdict(list)
        for name, node in list_pods(record):
            self._pods[node.path].append((node.attempt, name))

    def format_all(self) -> Iterator[dict[str, Any]]:
        """Yield the tasks, without iterations."""
        for execution in self._executions:
            if execution.iteration is None:
                yield self._format(execution)

    def _format(self, execution: TaskExecution) -> dict[str, Any]:
        place = find_place(execution.path)
        definition = None
        if execution.path:
            definition, _ = paths.find(self._record.graph, execution.path)
        task_type = _task_type(execution, definition)
        state = self._task_state(execution)
        created = format_time(execution.started // 1000)
        ended = ""
        if state not in (_RUNNING, _SKIPPED):
            ended = format_time((execution.ended or execution.started) // 1000)
        name = _GROUP_NAMES.get(task_type, execution.label)
        fingerprint = execution.fingerprint if state != "CACHED" else ""
        parent_id = self._task_id(place.parent_path) if execution.path else ""
        task = drop_empty(
            {
                "name": execution.key or "ROOT",
                "display_name": name or self._record.name,
                "task_id": self._task_id(execution.path),
                "run_id": self._record.id,
                "pods": self._format_pods(execution, task_type),
                "cache_fingerprint": fingerprint,
                "create_time": created,
                "end_time": ended,
                "state": state,
                "status_metadata": _format_status(execution, task_type, state),
                "state_history": _format_history(state, created, ended),
                "type": task_type,
                "type_attributes": _format_attributes(execution, task_type, place),
                "parent_task_id": parent_id,
                "child_tasks": self._format_children(execution),
                "scope_path": place.scope,
            }
        )
        task["inputs"] = self._values.format_inputs(execution, definition)
        task["outputs"] = self._values.format_outputs(execution, task_type, place)
        return task

    def _task_id(self, path: str) -> str:
        return str(uuid5(NAMESPACE_OID, f"{self._record.id}/task/{path}"))

    def _format_children(self, execution: TaskExecution) -> list[dict[str, str]]:
        children = [
            {"task_id": self._task_id(child.path), "name": child.key}
            for child in self._children[execution.path]
        ]
        return sorted(children, key=lambda child: child["task_id"])

    def _task_state(self, execution: TaskExecution) -> str:
        task = execution.task
        if task is None:
            return _ROOT_STATES.get(execution.run.state, _RUNNING)
        state = _TASK_STATES.get(task.state, _RUNNING)
        if task.kind not in _GROUP_KINDS or state != "SUCCEEDED":
            return state
        # A group has the state of its tasks when all are SKIPPED or all are CACHED (updateStatuses
        # in kfpapi/api.go).
        child_states = {self._task_state(child) for child in self._children[execution.path]}
        if child_states in ({_SKIPPED}, {"CACHED"}):
            return child_states.pop()
        # The driver skips a loop without items (terminalDAGState in dag.go).
        if not child_states and task.kind is TaskKind.LOOP:
            return _SKIPPED
        return state

    def _format_pods(self, execution: TaskExecution, task_type: str) -> list[dict[str, str]]:
        pods = []
        for attempt, name in self._pods[execution.path]:
            # A pod without an attempt is a driver, except the pod of an importer.
            is_driver = attempt == 0 and task_type != "IMPORTER"
            if is_driver or _has_ended(execution, attempt):
                pod_type = "DRIVER" if is_driver else "EXECUTOR"
                pods.append({"name": name, "uid": f"uid-{name}", "type": pod_type})
        return pods


def _has_ended(execution: TaskExecution, attempt: int) -> bool:
    """Return whether the program of an attempt has ended by itself, and was not killed.

    The launcher adds its pod to the task when the program has ended.
    """
    task = execution.task
    if task is None or task.state is TaskState.CACHED:
        return False
    return attempt < task.attempts or task.state in (TaskState.SUCCEEDED, TaskState.FAILED)


def _task_type(execution: TaskExecution, definition: TaskDef | None) -> str:
    """Return the type of a task, by the rules of DAG() in driver/dag.go."""
    task = execution.task
    if definition is None or task is None:
        return "ROOT"
    if task.kind is TaskKind.LOOP:
        return "LOOP"
    if task.kind is TaskKind.IMPORTER:
        return "IMPORTER"
    if task.kind is not TaskKind.DAG:
        return "RUNTIME"
    if definition.condition:
        return "CONDITION_BRANCH"
    # Only the key of the task tells a condition from a nested pipeline.
    key = execution.key
    if key.startswith("condition") and not key.startswith("condition-branch"):
        return "CONDITION"
    return "DAG"


def _format_history(state: str, created: str, ended: str) -> list[dict[str, str]]:
    history = []
    if state != _SKIPPED:
        history.append({"update_time": created, "state": _RUNNING})
    if state != _RUNNING:
        history.append({"update_time": ended or created, "state": state})
    return history


def _format_status(execution: TaskExecution, task_type: str, state: str) -> dict[str, str]:
    """Return the reason why a task failed, empty for a task that did not fail."""
    task = execution.task
    if task is None or task_type not in LEAF_TYPES or state != "FAILED":
        return {}
    if is_driver_failure(task) and task.error is not None:
        run_id = execution.run.run_id
        return {"message": f"driver.Container(runID={run_id}) failed: {task.error.message}"}
    return {"message": _PROGRAM_FAILED}


def _format_attributes(
    execution: TaskExecution, task_type: str, place: TaskPlace
) -> dict[str, str | bool]:
    attributes: dict[str, str | bool] = {}
    if place.iteration is not None:
        attributes["iteration_index"] = str(place.iteration)
    if task_type == "LOOP":
        attributes["iteration_count"] = str(execution.iteration_count or 0)
    if task_type == "IMPORTER":
        attributes["download_to_workspace"] = False
    return attributes
