"""What Argo recorded of a run: a reader of `workflow.json` that shares no code with kfgcp.

The names of Argo's nodes say where a node stands. The program of a task in the second iteration of
a loop is

    W(0).root(0).for-loop-1(0).iteration-iterations(1:1)(0).iteration-item(0).say(0).executor(0)

which is the path `for-loop-1[1]/say`. `(0)` at the end of a part is the number of an attempt; it is
there when the template has a retry strategy, and the workflow defaults of KFP 2.17.0 give one to
every template. The other parts are those that KFP's compiler makes (dag.go, container.go and
importer.go below backend/src/v2/compiler/argocompiler):

- `K-driver` decides for the task K, `iteration-driver` for a loop, and `iteration-item-driver` for
  an iteration.
- `iteration-iterations(N:N)` is an iteration, and `iteration-item` holds its tasks.
- `D.onExit.K` is an exit task K, which stands beside the task D that it waits for.
- `K.executor` is the program of a task; a task without it is an importer or a group.

Values and artifacts are not in Argo's record. They come from `mlmd.json`, by the execution id that
Argo has of the group and the name of the task in it.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from json_types import JsonDict
from kfgcp.spec.json_values import JsonObject

ATTEMPT: Final = re.compile(r"\((\d+)\)$")
ITERATION: Final = re.compile(r"iteration-iterations\((\d+):")
KILLED: Final = "Step exceeded its deadline"
"""Argo's message of a pod that ended because the workflow was terminated."""
NO_VALUE: Final = ("executor-logs",)


@dataclass
class Expected:
    """A task as Argo recorded it.

    Attributes:
        kind: container, importer, dag or loop; None when nothing of it ran, so that Argo does not
            tell.
        state: as kfgcp calls it.
        attempts: pods that ran its program.
        earliest: RFC 3339 text with whole seconds; it did not start before.
        latest: it did not end after.
        driver_failed: its driver failed, so that ML Metadata does not know the task.
        driver_pod_number: what the name of its driver's pod ends in.
        inputs: values and addresses of artifacts, of what ran.
        outputs: likewise, of containers and importers that succeeded.
    """

    path: str
    kind: str | None
    state: str
    attempts: int = 0
    earliest: str = ""
    latest: str = ""
    driver_failed: bool = False
    driver_pod_number: str = ""
    inputs: dict[str, Any] = field(default_factory=dict)
    outputs: dict[str, Any] = field(default_factory=dict)


@dataclass
class Nodes:
    """Argo's nodes of one task, by what they do: each a list, the node of all attempts first."""

    driver: list[Mapping[str, Any]] = field(default_factory=list)
    body: list[Mapping[str, Any]] = field(default_factory=list)
    program: list[Mapping[str, Any]] = field(default_factory=list)
    is_loop: bool = False


def run_state(workflow: JsonObject) -> str:
    """Return the state of the run: one whose pods were killed was terminated."""
    if workflow["phase"] == "Succeeded":
        return "SUCCEEDED"
    messages = {node.get("message") for node in workflow["nodes"].values()}
    return "CANCELLED" if KILLED in messages else "FAILED"


def expected_tasks(workflow: JsonObject, metadata: JsonObject) -> dict[str, Expected]:
    """Return the tasks of a run by their paths.

    Args:
        workflow: the content of `workflow.json`.
        metadata: the content of `mlmd.json`.
    """
    nodes = _by_path(workflow)
    tasks = {path: _expected(path, node) for path, node in nodes.items() if path}
    values = _Values(metadata)
    for path, task in tasks.items():
        if task.state == "SKIPPED" or task.driver_failed:
            continue
        group = _group_of(path, tasks)
        execution = values.execution(_execution_id(nodes[group].driver), path.rpartition("/")[2])
        if task.kind in ("container", "importer"):
            task.inputs = values.inputs(execution)
            if task.state in ("SUCCEEDED", "CACHED"):
                task.outputs = values.outputs(execution)
    return tasks


def phases_of_attempts(workflow: JsonObject) -> dict[str, list[str]]:
    """Return the phases of the pods that ran tasks, by the path of the task.

    A task has one phase for each attempt, in the order of the attempts.
    """
    by_path = _by_path(workflow)
    pods = {path: _pods(nodes.program) for path, nodes in by_path.items()}
    return {path: [pod["phase"] for pod in attempts] for path, attempts in pods.items() if attempts}


def _by_path(workflow: JsonObject) -> dict[str, Nodes]:
    """Return the nodes by the path of their task. Nodes of the pipeline itself have the path ""."""
    plain_names = {_without_attempts(node["name"]) for node in workflow["nodes"].values()}
    nodes: dict[str, Nodes] = defaultdict(Nodes)
    for node in sorted(workflow["nodes"].values(), key=lambda node: node["name"]):
        plain_name = _without_attempts(node["name"])
        # The first part is the workflow, and the second is `root` or `root-driver`.
        parts = node["name"].split(".")
        last = ATTEMPT.sub("", parts[-1])
        if len(parts) == 1 or last in ("iteration-iterations", "iteration-item", "onExit"):
            continue
        if last == "executor":
            nodes[_path(parts[2:-1])].program.append(node)
        elif last == "iteration-driver":
            nodes[_path(parts[2:-1])].driver.append(node)
            nodes[_path(parts[2:-1])].is_loop = True
        elif last == "iteration-item-driver":
            nodes[_path(parts[2:-1])].driver.append(node)
        elif last.endswith("-driver") and plain_name.removesuffix("-driver") in plain_names:
            task = [*parts[:-1], last.removesuffix("-driver")]
            nodes[_path(task[2:])].driver.append(node)
        else:
            nodes[_path(parts[2:])].body.append(node)
    return dict(nodes)


def _without_attempts(name: str) -> str:
    return ".".join(ATTEMPT.sub("", part) for part in name.split("."))


def _path(parts: list[str]) -> str:
    """Return the path in kfgcp of the parts of a name below the root."""
    path: list[str] = []
    for part in parts:
        if iteration := ITERATION.match(part):
            path[-1] += f"[{iteration[1]}]"
            continue
        name = ATTEMPT.sub("", part)
        if name == "onExit":
            path.pop()
        elif name != "iteration-item":
            path.append(name)
    return "/".join(path)


def _expected(path: str, nodes: Nodes) -> Expected:
    everything = [*nodes.driver, *nodes.body, *nodes.program]
    outcome = nodes.body[0]
    pods = [node for node in nodes.program or nodes.body if node["type"] == "Pod"]
    decisions = nodes.driver[0].get("outputs") or {} if nodes.driver else {}
    kind: str | None = "loop" if nodes.is_loop else "dag"
    if nodes.program:
        kind = "container"
    elif pods:
        kind = "importer"
    task = Expected(path, kind, "", earliest=min(node["startedAt"] for node in everything))
    task.latest = max(node["finishedAt"] for node in everything)
    if nodes.driver and nodes.driver[0]["phase"] == "Failed":
        task.driver_failed = True
        task.driver_pod_number = _pods(nodes.driver)[-1]["id"].rpartition("-")[2]
        task.state = "FAILED"
        task.kind = None
    elif outcome["phase"] in ("Omitted", "Skipped"):
        task.state = "SKIPPED"
        task.kind = None
    elif decisions.get("cached-decision") == "true":
        assert nodes.program[0]["phase"] == "Skipped"
        task.state = "CACHED"
    elif outcome["phase"] == "Succeeded":
        task.state = "SUCCEEDED"
    else:
        assert outcome["phase"] == "Failed"
        killed = any(node.get("message") == KILLED for node in pods)
        task.state = "CANCELLED" if killed else "FAILED"
    if kind in ("container", "importer") and not task.driver_failed:
        task.attempts = len(pods)
    return task


def _pods(nodes: list[JsonObject]) -> list[JsonObject]:
    return [node for node in nodes if node["type"] == "Pod"]


def _group_of(path: str, tasks: Mapping[str, Expected]) -> str:
    while path:
        path = path[: path.rindex("[")] if path.endswith("]") else path.rpartition("/")[0]
        if path in tasks:
            return path
    return ""


def _execution_id(driver: list[JsonObject]) -> str:
    return str(driver[0]["outputs"]["execution-id"])


class _Values:
    """Values and artifacts of ML Metadata, read from its JSON."""

    def __init__(self, metadata: JsonObject) -> None:
        self._executions = metadata["executions"]
        self._uris = {artifact["id"]: artifact["uri"] for artifact in metadata["artifacts"]}
        self._events = metadata["events"]

    def execution(self, group: str, name: str) -> JsonObject | None:
        """Return the last execution of a task in a group."""
        executions = [
            execution
            for execution in self._executions
            if _property(execution, "parent_dag_id") == group
            and _property(execution, "task_name") == name
        ]
        return executions[-1] if executions else None

    def inputs(self, execution: JsonObject | None) -> JsonDict:
        return self._values(execution, "inputs", "INPUT")

    def outputs(self, execution: JsonObject | None) -> JsonDict:
        return self._values(execution, "outputs", "OUTPUT")

    def _values(self, execution: JsonObject | None, name: str, event_type: str) -> JsonDict:
        assert execution is not None
        values = dict(_property(execution, name) or {})
        addresses: dict[str, list[tuple[int, str]]] = defaultdict(list)
        for event in self._events:
            if event["execution_id"] == execution["id"] and event["type"] == event_type:
                steps = event["path"]["steps"]
                key = next(step["key"] for step in steps if "key" in step)
                index = next((int(step["index"]) for step in steps if "index" in step), 0)
                addresses[key].append((index, self._uris[event["artifact_id"]]))
        for key, indexed_uris in addresses.items():
            # The launcher of 2.17.0 writes no index, so the order is that of the events.
            ordered = [uri for _, uri in sorted(indexed_uris, key=lambda item: item[0])]
            if key not in NO_VALUE:
                values[key] = ordered[0] if len(ordered) == 1 else ordered
        return values


def _property(execution: JsonObject, name: str) -> Any:
    stored = execution.get("custom_properties", {}).get(name)
    return next(iter(stored.values())) if stored else None
