"""The tasks of a run that Kubeflow Pipelines 3.0 keeps in its API server.

Servers up to 2.x keep the tasks of a run in ML Metadata. 3.0 has no ML Metadata: `GET
runs/ID?view=FULL` answers with `tasks[]` (tests/recorded/api-3.0-branch). This module returns them
as `Execution`s, like those of ML Metadata, so that the code behind them is the same for both. Where
the two differ, by the recordings and by the source of the branch (PipelineTask in
backend/api/v2beta1/run.proto, backend/src/v2/driver, launcher_v2.go):

- An iteration is not a task. The tasks of all iterations are children of the loop, with an
  `iteration_index`.
- A metric is an artifact of the type `Metric` with a name and a `number_value`. All metrics of an
  output have its key.
- Types have no prefix `system.`. A title that is not one of KFP's is in the metadata.
- A DAG whose tasks were all skipped is SKIPPED, one whose tasks were all cached is CACHED. An empty
  loop is SKIPPED.
- The pods of all attempts are there. The pod of the program is added when the program has ended.
- The order of tasks is undefined, and times are whole seconds.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from kfgcp.backends.kubeflow import mlmd
from kfgcp.backends.kubeflow.messages import read_task
from kfgcp.backends.kubeflow.metadata import LOG, Execution, StoredArtifact, shown_metadata
from kfgcp.backends.kubeflow.tree import NOT_TRIGGERED
from kfgcp.backends.run_values import METRICS
from kfgcp.errors import BadAnswer
from kfgcp.services.redact import redacted_line
from kfgcp.spec.graph import Dag, Graph, TaskDef
from kfgcp.spec.json_values import normalize_numbers

STATES: Final = {
    "RUNTIME_STATE_UNSPECIFIED": "UNKNOWN",
    "RUNNING": "RUNNING",
    "SUCCEEDED": "COMPLETE",
    "SKIPPED": NOT_TRIGGERED,
    "FAILED": "FAILED",
    "CACHED": "CACHED",
}
"""States of tasks, as ML Metadata calls them."""
TYPES: Final = {
    "ROOT": mlmd.DAG,
    "RUNTIME": mlmd.CONTAINER,
    "CONDITION_BRANCH": mlmd.DAG,
    "CONDITION": mlmd.DAG,
    "LOOP": mlmd.DAG,
    "EXIT_HANDLER": mlmd.DAG,
    "IMPORTER": mlmd.IMPORTER,
    "DAG": mlmd.DAG,
}
"""Types of tasks, as ML Metadata calls them."""
_METRIC: Final = "Metric"
_SCHEMA_TITLES: Final = {
    "TYPE_UNSPECIFIED": "system.Artifact",
    _METRIC: METRICS,
    "ClassificationMetric": "system.ClassificationMetrics",
    "SlicedClassificationMetric": "system.SlicedClassificationMetrics",
}
_TITLE_IN_METADATA: Final = "_kfp_schema_title"
_ITEM_TYPES: Final = ("ITERATOR_INPUT", "ITERATOR_INPUT_RAW")
_EXIT_STATUS: Final = re.compile(r"exit status \d+$")
"""What the launcher says when the program failed. The log of the program says more."""


def read_tasks(answers: Sequence[Any]) -> tuple[list[dict[str, Any]], str]:
    """Return the tasks that can be read, and a sentence about the first that cannot, empty when all
    can.

    Args:
        answers: `tasks[]` of a run.
    """
    tasks = []
    problem = ""
    for answer in answers:
        try:
            tasks.append(read_task(answer))
        except BadAnswer as error:
            problem = problem or error.message
    return tasks, problem


def executions_of(tasks: Sequence[Mapping[str, Any]], graph: Graph) -> list[Execution]:
    """Return the executions of a run, in the order they started.

    Args:
        tasks: as `read_tasks` returns them.
        graph: the pipeline. It decides the order of tasks that started in the same second.
    """
    ordered = sorted(
        tasks, key=lambda task: (_seconds(task.get("create_time")), _rank(task, graph))
    )
    numbers = {task["task_id"]: number for number, task in enumerate(ordered, 1)}
    children: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for task in ordered:
        children[task.get("parent_task_id") or ""].append(task)
    parents: dict[str, int] = {}
    iterations: list[Execution] = []
    for task in ordered:
        number, inside = numbers[task["task_id"]], children[task["task_id"]]
        if task.get("type") != "LOOP":
            parents.update((child["task_id"], number) for child in inside)
            continue
        params, items = _plain_iteration_params(task, graph), _items(task)
        for index, inner in _by_iteration(inside).items():
            execution = _iteration(task, index, inner, graph, params | items.get(index, {}))
            execution = replace(execution, id=len(ordered) + len(iterations) + 1, parent=number)
            parents.update((child["task_id"], execution.id) for child in inner)
            iterations.append(execution)
    executions = []
    for task in ordered:
        execution = _execution(task, graph, has_children=bool(children[task["task_id"]]))
        task_id = task["task_id"]
        executions.append(replace(execution, id=numbers[task_id], parent=parents.get(task_id, 0)))
    return executions + iterations


def _execution(task: Mapping[str, Any], graph: Graph, *, has_children: bool) -> Execution:
    """Return the execution of a task, without numbers of its own and of its parent."""
    task_type = TYPES.get(task.get("type") or "", mlmd.CONTAINER)
    is_group = task_type == mlmd.DAG
    state = _group_state(task, has_children=has_children) if is_group else _state(task)
    pods = [
        pod["name"]
        for pod in task.get("pods") or ()
        if pod.get("type") == "EXECUTOR" and pod.get("name")
    ]
    # Nothing but the driver ran when the driver failed. Its pod has the log. A group that failed
    # because of a task in it gives no reason.
    drivers = [
        pod["name"]
        for pod in task.get("pods") or ()
        if pod.get("type") == "DRIVER" and pod.get("name")
    ]
    error = _error(task)
    if not pods and state == "FAILED" and (error or not is_group):
        pods = drivers[-1:]
    inputs, outputs = task.get("inputs") or {}, task.get("outputs") or {}
    output_artifacts = _artifacts(outputs)
    logs = output_artifacts.pop(LOG, [])
    # The outputs of groups follow from their tasks, as those of ML Metadata do.
    return Execution(
        id=0,
        type=task_type,
        # The root must not be taken for a task of the pipeline that is called ROOT.
        task="" if task.get("type") == "ROOT" else task["name"],
        parent=0,
        iteration=None,
        state=state,
        params=_loop_params(task, graph) if task.get("type") == "LOOP" else _params(inputs),
        output_params={} if is_group else _params(outputs),
        started_at=_seconds(task.get("create_time")),
        ended_at=_seconds(task.get("end_time")),
        inputs=_artifacts(inputs),
        outputs={} if is_group else output_artifacts,
        pod=pods[-1] if pods else "",
        pods=tuple(pods),
        cached=state == "CACHED",
        iterations=(task.get("type_attributes") or {}).get("iteration_count"),
        logs=tuple(log.uri for log in logs),
        error=error,
        # A retry of the run sets the start of what it runs again (ResetTasksForRetry in
        # storage/task_store.go).
        is_reused=False,
    )


def _by_iteration(tasks: Sequence[Mapping[str, Any]]) -> dict[int, list[Mapping[str, Any]]]:
    """Return the tasks of a loop by the number of their iteration, in the order of the numbers."""
    by_iteration: dict[int, list[Mapping[str, Any]]] = defaultdict(list)
    for task in tasks:
        by_iteration[(task.get("type_attributes") or {}).get("iteration_index") or 0].append(task)
    return dict(sorted(by_iteration.items()))


def _iteration(
    loop: Mapping[str, Any],
    iteration: int,
    tasks: Sequence[Mapping[str, Any]],
    graph: Graph,
    params: Mapping[str, Any],
) -> Execution:
    """Return an execution for an iteration, which the server does not have, from its tasks and its
    inputs."""
    states = [_state(task) for task in tasks]
    dag = _dag_at(loop.get("scope_path") or "", graph)
    expected = len(dag.tasks) if dag is not None else 0
    is_complete = len(tasks) >= expected or _state(loop) != "RUNNING"
    ended = [_seconds(task.get("end_time")) for task in tasks]
    started = [_seconds(task.get("create_time")) for task in tasks]
    state = "RUNNING"
    if "RUNNING" not in states and "FAILED" in states:
        state = "FAILED"
    elif "RUNNING" not in states and is_complete:
        state = "COMPLETE"
    return Execution(
        id=0,
        type=mlmd.DAG,
        task=loop["name"],
        parent=0,
        iteration=iteration,
        state=state,
        params=params,
        output_params={},
        started_at=min(started),
        ended_at=max(ended) if state != "RUNNING" else 0.0,
    )


def _state(task: Mapping[str, Any]) -> str:
    return STATES.get(task.get("state") or "", "UNKNOWN")


def _group_state(task: Mapping[str, Any], *, has_children: bool) -> str:
    """Return the state of a DAG or a loop.

    The driver skips a group whose condition is false, and a loop without items (terminalDAGState in
    dag.go). Later the launcher calls a group SKIPPED or CACHED when all its tasks are
    (updateStatuses in kfpapi/api.go). For us a group that ran succeeded, whatever became of its
    tasks.
    """
    state = _state(task)
    is_empty_loop = (task.get("type_attributes") or {}).get("iteration_count") == 0
    if state == "CACHED" or (state == NOT_TRIGGERED and (has_children or is_empty_loop)):
        return "COMPLETE"
    return state


def _error(task: Mapping[str, Any]) -> str:
    """Return why a task failed, on one line, empty when the log of its program says more."""
    message = redacted_line((task.get("status_metadata") or {}).get("message") or "")
    return "" if _EXIT_STATUS.search(message) else message


def _params(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return inputs or outputs that are parameters."""
    return {
        parameter["parameter_key"]: normalize_numbers(parameter["value"])
        for parameter in values.get("parameters") or ()
        if parameter.get("parameter_key") and parameter.get("value") is not None
    }


def _loop_params(loop: Mapping[str, Any], graph: Graph) -> dict[str, Any]:
    """Return the inputs of a loop as ML Metadata has them
    (tests/recorded/cluster-2.17.0/loop-nested).

    The list of the items is an input of the loop, or else it is under the name of the item.
    """
    params = _plain_params(loop)
    definition = _definition_at(loop.get("scope_path") or "", graph)
    iterator = definition.iterator if definition is not None else None
    if iterator is not None and iterator.input is None:
        items = [
            values[iterator.item]
            for _, values in sorted(_items(loop).items())
            if iterator.item in values
        ]
        params[iterator.item] = items
    return params


def _plain_iteration_params(loop: Mapping[str, Any], graph: Graph) -> dict[str, Any]:
    """Return the inputs that all iterations have: those of the loop without the list of the
    items."""
    params = _plain_params(loop)
    definition = _definition_at(loop.get("scope_path") or "", graph)
    if definition is not None and definition.iterator is not None:
        params.pop(definition.iterator.input or "", None)
    return params


def _plain_params(loop: Mapping[str, Any]) -> dict[str, Any]:
    """Return the inputs of a loop that are not items."""
    parameters = (loop.get("inputs") or {}).get("parameters") or ()
    return _params(
        {"parameters": [parameter for parameter in parameters if not _is_item(parameter, loop)]}
    )


def _is_item(parameter: Mapping[str, Any], loop: Mapping[str, Any]) -> bool:
    """Return whether an input of a loop is the item of one iteration.

    The driver adds an input for each item, all with the same key. Their producer is the loop
    itself, with the number of the iteration (resolveParameterIterator in
    driver/resolver/parameters.go).
    """
    producer = parameter.get("producer") or {}
    is_from_loop = (
        producer.get("task_name") == loop["name"] and producer.get("iteration") is not None
    )
    return is_from_loop and parameter.get("type") in _ITEM_TYPES


def _items(loop: Mapping[str, Any]) -> dict[int, dict[str, Any]]:
    """Return the item of each iteration, by the name of the input."""
    items: dict[int, dict[str, Any]] = defaultdict(dict)
    for parameter in (loop.get("inputs") or {}).get("parameters") or ():
        if _is_item(parameter, loop):
            items[parameter["producer"]["iteration"]] |= _params({"parameters": [parameter]})
    return items


def _artifacts(values: Mapping[str, Any]) -> dict[str, list[StoredArtifact]]:
    """Return inputs or outputs that are artifacts. The metrics of one output are one artifact."""
    artifacts: dict[str, list[StoredArtifact]] = {}
    for group in values.get("artifacts") or ():
        if not group.get("artifact_key"):
            continue
        stored = artifacts.setdefault(group["artifact_key"], [])
        metrics: dict[str, Any] = {}
        for artifact in group.get("artifacts") or ():
            if artifact.get("type") == _METRIC:
                metrics |= _metric(artifact)
            else:
                stored.append(_artifact(artifact))
        if metrics:
            stored.append(StoredArtifact(METRICS, "", metrics))
    return {key: stored for key, stored in artifacts.items() if stored}


def _metric(artifact: Mapping[str, Any]) -> dict[str, Any]:
    name = artifact.get("name") or ""
    value = artifact.get("number_value", (artifact.get("metadata") or {}).get(name))
    return {name: normalize_numbers(value)} if name and value is not None else {}


def _artifact(artifact: Mapping[str, Any]) -> StoredArtifact:
    metadata = shown_metadata(artifact.get("metadata") or {})
    kind = artifact.get("type") or "TYPE_UNSPECIFIED"
    title = metadata.pop(_TITLE_IN_METADATA, None) or _SCHEMA_TITLES.get(kind, f"system.{kind}")
    return StoredArtifact(str(title), artifact.get("uri") or "", normalize_numbers(metadata))


def _seconds(text: str | None) -> float:
    """Return Unix time, 0 for none. The server has 1970 or the year 1 for a time that is not
    there."""
    if not text:
        return 0.0
    moment = datetime.fromisoformat(text)
    return max((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp(), 0.0)


def _rank(task: Mapping[str, Any], graph: Graph) -> tuple[int, int, int]:
    """Return what sorts tasks of the same second: outer ones first, then as the pipeline orders
    them."""
    names = (task.get("scope_path") or "").split(".")
    dag = _dag_at(".".join(names[:-1]), graph)
    order = list(dag.tasks) if dag is not None else []
    place = order.index(task["name"]) if task["name"] in order else len(order)
    return len(names), (task.get("type_attributes") or {}).get("iteration_index") or 0, place


def _dag_at(scope_path: str, graph: Graph) -> Dag | None:
    """Return the DAG at a scope path such as `root.for-loop-4`, None when the pipeline has none
    there."""
    if "." not in scope_path:
        return graph.root.dag
    definition = _definition_at(scope_path, graph)
    return graph.component(definition).dag if definition is not None else None


def _definition_at(scope_path: str, graph: Graph) -> TaskDef | None:
    """Return the task at a scope path, None for that of the pipeline itself and for what the
    pipeline does not have."""
    dag = graph.root.dag
    definition = None
    for name in scope_path.split(".")[1:]:
        definition = dag.tasks.get(name) if dag is not None else None
        if definition is None:
            return None
        dag = graph.component(definition).dag
    return definition
