"""Convert the tasks in answers of servers of 3.0 to executions.

Servers of 3.0 have no ML Metadata. `GET runs/ID?view=FULL` answers with `tasks[]` (tests/recorded/
api-3.0-branch). This module converts these tasks to executions in the form of
`executions_from_mlmd`. The sources are the recordings and the code of the branch (PipelineTask in
backend/api/v2beta1/run.proto, backend/src/v2/driver, launcher_v2.go). The tasks differ from the
executions of ML Metadata in these points:

- An iteration is not a task. The tasks of all iterations are children of the loop, with an
  `iteration_index`.
- A metric is an artifact of the type `Metric` with a name and a `number_value`. All metrics of one
  output have the key of the output.
- The types of artifacts have no prefix `system.`. When KFP does not define the type, the schema
  title is in the metadata of the artifact.
- A DAG is SKIPPED when all its tasks were skipped, and CACHED when all its tasks were cached. A
  loop without items is SKIPPED.
- A task has the pods of all its attempts. The launcher adds the pod of the program when the program
  has ended.
- The order of tasks is not defined, and times are in whole seconds.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from kfgcp.backends.kubeflow import mlmd
from kfgcp.backends.kubeflow.execution import (
    EXECUTOR_LOGS,
    NOT_TRIGGERED,
    Execution,
    StoredArtifact,
    without_launcher_metadata,
)
from kfgcp.backends.kubeflow.messages import (
    ArtifactAnswer,
    ParameterAnswer,
    ProducerAnswer,
    TaskAnswer,
    TypeAttributes,
    ValuesAnswer,
    check_task,
)
from kfgcp.backends.kubeflow.times import read_seconds
from kfgcp.backends.run_values import METRICS
from kfgcp.backends.status import Status
from kfgcp.errors import BadAnswer
from kfgcp.services.redact import redacted_line
from kfgcp.spec.graph import Dag, Graph, TaskDef
from kfgcp.spec.json_values import normalize_numbers

# The states of executions in ML Metadata, by the states of tasks on a server of 3.0.
STATES: Final = {
    "RUNTIME_STATE_UNSPECIFIED": "UNKNOWN",
    "RUNNING": "RUNNING",
    "SUCCEEDED": "COMPLETE",
    "SKIPPED": NOT_TRIGGERED,
    "FAILED": "FAILED",
    "CACHED": "CACHED",
}
# The types of executions in ML Metadata, by the types of tasks on a server of 3.0.
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
_METRIC: Final = "Metric"
# The schema titles of artifact types that are not `system.TYPE`.
_SCHEMA_TITLES: Final = {
    "TYPE_UNSPECIFIED": "system.Artifact",
    _METRIC: METRICS,
    "ClassificationMetric": "system.ClassificationMetrics",
    "SlicedClassificationMetric": "system.SlicedClassificationMetrics",
}
# The key of the schema title in the metadata of an artifact whose type KFP does not define.
_TITLE_IN_METADATA: Final = "_kfp_schema_title"
# The types of the inputs of a loop that contain items.
_ITEM_TYPES: Final = ("ITERATOR_INPUT", "ITERATOR_INPUT_RAW")
# The end of the launcher's message when the program failed.
_EXIT_STATUS: Final = re.compile(r"exit status \d+$")


def check_tasks(answers: Sequence[object]) -> tuple[list[TaskAnswer], str]:
    """Return the tasks that can be read, and the message about the first task that cannot be read.

    The message is "" when all tasks can be read.

    Args:
        answers: the field `tasks` of a run.
    """
    tasks: list[TaskAnswer] = []
    problem = ""
    for answer in answers:
        try:
            tasks.append(check_task(answer))
        except BadAnswer as error:
            problem = problem or error.message
    return tasks, problem


def make_executions(tasks: Sequence[TaskAnswer], graph: Graph) -> list[Execution]:
    """Return the executions of a run in the order in which they started, iterations at the end.

    Args:
        tasks: the tasks as `check_tasks` returns them.
        graph: the pipeline. Tasks that started in the same second are in the order of the pipeline.
    """
    ordered_tasks = sorted(
        tasks, key=lambda task: (_read_start(task), _same_second_sort_key(task, graph))
    )
    number_by_id = {task["task_id"]: number for number, task in enumerate(ordered_tasks, 1)}
    children: dict[str, list[TaskAnswer]] = defaultdict(list)
    for task in ordered_tasks:
        children[task.get("parent_task_id") or ""].append(task)
    iterations, parent_by_id = _make_iterations(ordered_tasks, children, number_by_id, graph)
    executions: list[Execution] = []
    for task in ordered_tasks:
        task_id = task["task_id"]
        execution = _make_execution(task, graph, has_children=bool(children[task_id]))
        number = number_by_id[task_id]
        executions.append(replace(execution, id=number, parent=parent_by_id.get(task_id, 0)))
    return executions + iterations


def _make_iterations(
    ordered_tasks: Sequence[TaskAnswer],
    children: Mapping[str, list[TaskAnswer]],
    number_by_id: Mapping[str, int],
    graph: Graph,
) -> tuple[list[Execution], dict[str, int]]:
    """Return executions for the iterations of all loops, which the server does not have.

    Also return the number of each task's parent execution, by the id of the task. The parent of a
    task in a loop is the iteration of the task.
    """
    iterations: list[Execution] = []
    parent_by_id: dict[str, int] = {}
    for task in ordered_tasks:
        number = number_by_id[task["task_id"]]
        child_tasks = children[task["task_id"]]
        if task.get("type") != "LOOP":
            parent_by_id |= {child["task_id"]: number for child in child_tasks}
            continue
        # A loop may have thousands of iterations, so its items are read only once.
        shared_params = _shared_params(task, graph)
        items = _read_items(task)
        for index, tasks in _group_by_iteration(child_tasks).items():
            params = shared_params | items.get(index, {})
            iteration = _make_iteration(task, index, tasks, graph, params)
            # The numbers of iterations begin after the numbers of the tasks.
            iteration_number = len(ordered_tasks) + len(iterations) + 1
            iteration = replace(iteration, id=iteration_number, parent=number)
            parent_by_id |= {child["task_id"]: iteration_number for child in tasks}
            iterations.append(iteration)
    return iterations, parent_by_id


# -- tasks


def _make_execution(task: TaskAnswer, graph: Graph, *, has_children: bool) -> Execution:
    """Return the execution of a task. The caller sets `id` and `parent`, which are 0 here."""
    task_type = TYPES.get(task.get("type") or "", mlmd.CONTAINER)
    is_group = task_type == mlmd.DAG
    state = _read_group_state(task, has_children=has_children) if is_group else _read_state(task)
    error = _read_error(task)
    pods = _pods_of_type(task, "EXECUTOR")
    # When the driver failed, no other pod ran, and the pod of the driver has the log. When a group
    # failed without an error message, a task inside it failed, and the driver of the group
    # succeeded.
    if not pods and state == "FAILED" and (error or not is_group):
        pods = _pods_of_type(task, "DRIVER")[-1:]
    inputs = task.get("inputs") or ValuesAnswer()
    outputs = task.get("outputs") or ValuesAnswer()
    params = _loop_params(task, graph) if task.get("type") == "LOOP" else _read_params(inputs)
    output_artifacts = _read_artifacts(outputs)
    logs = output_artifacts.pop(EXECUTOR_LOGS, [])
    return Execution(
        id=0,
        type=task_type,
        # The task for the whole run has the type ROOT. Its name is not reliable, because any task
        # may have the same name.
        task="" if task.get("type") == "ROOT" else task["name"],
        parent=0,
        iteration=None,
        state=state,
        params=params,
        # `run_values.add_group_outputs` computes the outputs of a group from the outputs of its
        # tasks, for all servers.
        output_params={} if is_group else _read_params(outputs),
        started_at=_read_start(task),
        ended_at=_read_end(task),
        inputs=_read_artifacts(inputs),
        outputs={} if is_group else output_artifacts,
        pod=pods[-1] if pods else "",
        pods=tuple(pods),
        cached=state == "CACHED",
        iterations=_read_attributes(task).get("iteration_count"),
        logs=tuple(log.uri for log in logs),
        error=error,
        # A retry of the run sets a new start time for each task that runs again
        # (ResetTasksForRetry in storage/task_store.go).
        is_reused=False,
    )


def _pods_of_type(task: TaskAnswer, pod_type: str) -> list[str]:
    """Return the names of a task's pods of one type, from the first attempt to the last."""
    pods = [pod for pod in task.get("pods") or () if pod.get("type") == pod_type]
    return [pod["name"] for pod in pods if pod.get("name")]


def _read_state(task: TaskAnswer) -> str:
    return STATES.get(task.get("state") or "", "UNKNOWN")


def _read_group_state(task: TaskAnswer, *, has_children: bool) -> str:
    """Return the state of a DAG or a loop.

    The driver skips a group whose condition is false, and a loop without items (terminalDAGState in
    dag.go). Later, the launcher sets a group to SKIPPED or CACHED when all its tasks are SKIPPED or
    CACHED (updateStatuses in kfpapi/api.go). For kfgcp, a group that ran is a success, even when
    all its tasks were skipped.
    """
    state = _read_state(task)
    is_empty_loop = _read_attributes(task).get("iteration_count") == 0
    if state == "CACHED" or (state == NOT_TRIGGERED and (has_children or is_empty_loop)):
        return "COMPLETE"
    return state


def _read_error(task: TaskAnswer) -> str:
    """Return why a task failed, on one line.

    Return "" when the message ends with an exit status, because then the log says more.
    """
    status = task.get("status_metadata") or Status()
    message = redacted_line(status.get("message") or "")
    return "" if _EXIT_STATUS.search(message) else message


def _read_start(task: TaskAnswer) -> float:
    return read_seconds(task.get("create_time"))


def _read_end(task: TaskAnswer) -> float:
    return read_seconds(task.get("end_time"))


def _read_attributes(task: TaskAnswer) -> TypeAttributes:
    return task.get("type_attributes") or TypeAttributes()


# -- loops


def _group_by_iteration(tasks: Sequence[TaskAnswer]) -> dict[int, list[TaskAnswer]]:
    """Return the tasks of each iteration of a loop, in the order of the iterations."""
    by_iteration: dict[int, list[TaskAnswer]] = defaultdict(list)
    for task in tasks:
        # The JSON of Protocol Buffers omits fields that are 0.
        by_iteration[_read_attributes(task).get("iteration_index") or 0].append(task)
    return dict(sorted(by_iteration.items()))


def _make_iteration(
    loop: TaskAnswer,
    iteration: int,
    tasks: Sequence[TaskAnswer],
    graph: Graph,
    params: Mapping[str, Any],
) -> Execution:
    """Return the execution of an iteration, from its tasks and its inputs."""
    state = _iteration_state(loop, tasks, graph)
    return Execution(
        id=0,
        type=mlmd.DAG,
        task=loop["name"],
        parent=0,
        iteration=iteration,
        state=state,
        params=params,
        output_params={},
        started_at=min(_read_start(task) for task in tasks),
        ended_at=0.0 if state == "RUNNING" else max(_read_end(task) for task in tasks),
    )


def _iteration_state(loop: TaskAnswer, tasks: Sequence[TaskAnswer], graph: Graph) -> str:
    """Return the state of an iteration, which follows from its tasks."""
    states = [_read_state(task) for task in tasks]
    if "RUNNING" in states:
        return "RUNNING"
    if "FAILED" in states:
        return "FAILED"
    # The answer does not contain tasks that have not started.
    dag = _dag_at(loop.get("scope_path") or "", graph)
    expected_count = len(dag.tasks) if dag is not None else 0
    is_complete = len(tasks) >= expected_count or _read_state(loop) != "RUNNING"
    return "COMPLETE" if is_complete else "RUNNING"


def _loop_params(loop: TaskAnswer, graph: Graph) -> dict[str, Any]:
    """Return the inputs of a loop as ML Metadata has them.

    When the list of items is not an input of the loop, ML Metadata has the list under the name of
    the item (tests/recorded/cluster-2.17.0/loop-nested).
    """
    params = _params_without_items(loop)
    definition = _definition_at(loop.get("scope_path") or "", graph)
    iterator = definition.iterator if definition is not None else None
    if iterator is not None and iterator.input is None:
        items: list[Any] = []
        for _, values in sorted(_read_items(loop).items()):
            if iterator.item in values:
                items.append(values[iterator.item])
        params[iterator.item] = items
    return params


def _shared_params(loop: TaskAnswer, graph: Graph) -> dict[str, Any]:
    """Return the inputs of the loop that all iterations share, without the list of items."""
    params = _params_without_items(loop)
    definition = _definition_at(loop.get("scope_path") or "", graph)
    if definition is not None and definition.iterator is not None:
        params.pop(definition.iterator.input or "", None)
    return params


def _params_without_items(loop: TaskAnswer) -> dict[str, Any]:
    """Return the inputs of a loop without the items of its iterations."""
    inputs = loop.get("inputs") or ValuesAnswer()
    parameters = inputs.get("parameters") or ()
    return _values_by_name([param for param in parameters if not _is_item(param, loop)])


def _read_items(loop: TaskAnswer) -> dict[int, dict[str, Any]]:
    """Return the inputs that contain the items, by the number of the iteration and by name."""
    items: dict[int, dict[str, Any]] = defaultdict(dict)
    inputs = loop.get("inputs") or ValuesAnswer()
    for parameter in inputs.get("parameters") or ():
        if _is_item(parameter, loop):
            items[parameter["producer"]["iteration"]] |= _values_by_name([parameter])
    return items


def _is_item(parameter: ParameterAnswer, loop: TaskAnswer) -> bool:
    """Return whether an input of a loop is the item of one iteration.

    The driver adds an input for each item, and all these inputs have the same key. The producer of
    such an input is the loop itself, with the number of the iteration (resolveParameterIterator in
    driver/resolver/parameters.go).
    """
    if parameter.get("type") not in _ITEM_TYPES:
        return False
    producer = parameter.get("producer") or ProducerAnswer()
    return producer.get("task_name") == loop["name"] and producer.get("iteration") is not None


# -- values


def _read_params(values: ValuesAnswer) -> dict[str, Any]:
    """Return the parameters among the inputs or outputs of a task, by name."""
    return _values_by_name(values.get("parameters") or ())


def _values_by_name(parameters: Sequence[ParameterAnswer]) -> dict[str, Any]:
    by_name: dict[str, Any] = {}
    for parameter in parameters:
        name = parameter.get("parameter_key")
        value = parameter.get("value")
        if name and value is not None:
            by_name[name] = normalize_numbers(value)
    return by_name


def _read_artifacts(values: ValuesAnswer) -> dict[str, list[StoredArtifact]]:
    """Return the artifacts among the inputs or outputs of a task, by name.

    The metrics of one output become one artifact.
    """
    by_name: dict[str, list[StoredArtifact]] = defaultdict(list)
    for entry in values.get("artifacts") or ():
        name = entry.get("artifact_key")
        if not name:
            continue
        metrics: dict[str, Any] = {}
        for artifact in entry.get("artifacts") or ():
            if artifact.get("type") == _METRIC:
                metrics |= _read_metric(artifact)
            else:
                by_name[name].append(_make_artifact(artifact))
        if metrics:
            by_name[name].append(StoredArtifact(METRICS, "", metrics))
    return dict(by_name)


def _read_metric(artifact: ArtifactAnswer) -> dict[str, Any]:
    """Return the name and the value of a metric as a dict, empty when one of them is missing."""
    name = artifact.get("name") or ""
    metadata = artifact.get("metadata") or {}
    value = artifact.get("number_value", metadata.get(name))
    return {name: normalize_numbers(value)} if name and value is not None else {}


def _make_artifact(artifact: ArtifactAnswer) -> StoredArtifact:
    metadata = without_launcher_metadata(artifact.get("metadata") or {})
    artifact_type = artifact.get("type") or "TYPE_UNSPECIFIED"
    title = metadata.pop(_TITLE_IN_METADATA, None)
    if not title:
        title = _SCHEMA_TITLES.get(artifact_type, f"system.{artifact_type}")
    return StoredArtifact(str(title), artifact.get("uri") or "", normalize_numbers(metadata))


# -- places in the pipeline


def _same_second_sort_key(task: TaskAnswer, graph: Graph) -> tuple[int, int, int]:
    """Return the sort key of a task among tasks that started in the same second.

    Tasks of outer DAGs come first. Within a DAG, tasks of earlier iterations come first. Within an
    iteration, tasks are in the order of the pipeline.
    """
    names = (task.get("scope_path") or "").split(".")
    dag = _dag_at(".".join(names[:-1]), graph)
    keys = list(dag.tasks) if dag is not None else []
    place = keys.index(task["name"]) if task["name"] in keys else len(keys)
    return len(names), _read_attributes(task).get("iteration_index") or 0, place


def _dag_at(scope_path: str, graph: Graph) -> Dag | None:
    """Return the DAG at a scope path such as `root.for-loop-4`, None when there is no such DAG."""
    if "." not in scope_path:
        return graph.root.dag
    definition = _definition_at(scope_path, graph)
    return graph.component(definition).dag if definition is not None else None


def _definition_at(scope_path: str, graph: Graph) -> TaskDef | None:
    """Return the task at a scope path, such as `root.for-loop-4.double`.

    Return None for `root`, and for a path that the pipeline does not have.
    """
    dag = graph.root.dag
    definition = None
    for name in scope_path.split(".")[1:]:
        definition = dag.tasks.get(name) if dag is not None else None
        if definition is None:
            return None
        dag = graph.component(definition).dag
    return definition
