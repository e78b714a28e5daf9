"""`run_details.task_details`: what the API answers about the nodes of a run's workflow.

The public source of the server confirms:

- The list has one item for every node, in the order of the nodes' ids. This includes drivers and
  the nodes that wrap other nodes, see `workflows`.
- The converter fills run_id, task_id, display_name, the times in whole seconds, state,
  state_history and child_tasks, which has the ids of the next nodes. The API also has `pod_name`,
  `execution_id`, `parent_task_id`, `error`, `inputs` and `outputs`, but the server does not fill
  them for nodes. Users of the server also report that pod_name and error are empty. With
  `full_details` the stand-in fills pod_name, execution_id and parent_task_id.
- If a later run can reuse an execution, the launcher records another task for it (CreateTaskV1).
  This task has an execution_id and no name (cluster-2.17.0/hello).
- `end_time` of a node that has not ended is 0001, the zero time of Argo.

A node that was not reached has no state, because the API has no state OMITTED
(run-get-failed.json). `state_history` has only the states that the persistence agent has seen, so
it can differ between two runs of the same pipeline. A client should show only the nodes that stand
for a task (`X` in `workflows`). It should not need this list at all, because ML Metadata has all
tasks and their results.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import NAMESPACE_OID, uuid5

from kfgcp.model import Run, Task, TaskKind, TaskState
from kfgcp.testing import paths
from kfgcp.testing.kubeflow_server.messages import (
    ZERO_TIME,
    cut_fraction,
    drop_empty,
    format_time,
)
from kfgcp.testing.kubeflow_server.nodes import OMITTED, Node, node_id, pod_name
from kfgcp.testing.kubeflow_server.records import RunRecord
from kfgcp.testing.kubeflow_server.workflows import build_nodes


def format_task_details(
    record: RunRecord, run: Run, *, full: bool, execution_ids: Mapping[str, int]
) -> list[dict[str, Any]]:
    """Return the task details of a run.

    Args:
        record: the run.
        run: the run as it was last reported.
        full: whether to fill the fields that the API has and the server leaves empty.
        execution_ids: path of a task -> id of its execution.
    """
    ordered_nodes = sorted(
        build_nodes(record, run), key=lambda node: node_id(record.workflow, node)
    )
    details = [_format_node(record, node, full, execution_ids) for node in ordered_nodes]
    details += [
        _format_cached_task(record, task, execution_ids)
        for task in run.tasks
        if _is_reusable(record, task)
    ]
    return details


def _format_node(
    record: RunRecord, node: Node, full: bool, execution_ids: Mapping[str, int]
) -> dict[str, Any]:
    created = format_time(record.created)
    start = cut_fraction(node.start) if node.start else created
    end = cut_fraction(node.end) if node.end else ZERO_TIME
    history = []
    for time, state in _list_states(node, start, end):
        history.append(drop_empty({"update_time": time, "state": state}))
    detail = {
        "run_id": record.id,
        "task_id": _task_id(record, node.name),
        "display_name": node.display_name,
        "create_time": created,
        "start_time": start,
        "end_time": end,
        "state": node.state,
        "state_history": history,
        "child_tasks": [{"pod_name": node_id(record.workflow, child)} for child in node.children],
    }
    if full:
        detail |= _format_extra_fields(record, node, execution_ids)
    return drop_empty(detail)


def _list_states(node: Node, start: str, end: str) -> list[tuple[str, str]]:
    """Return the states that the persistence agent has seen, with their times."""
    if node.state == "RUNNING":
        return [(start, "PENDING"), (start, "RUNNING")]
    last_state = (end if node.end else start, node.state)
    if node.state in ("SKIPPED", "PENDING", OMITTED):
        return [last_state]
    return [(start, "PENDING"), (start, "RUNNING"), last_state]


def _format_extra_fields(
    record: RunRecord, node: Node, execution_ids: Mapping[str, int]
) -> dict[str, str]:
    """Return the fields that the API has and the server leaves empty."""
    parent_name = node.name.rpartition(".")[0]
    parent_id = _task_id(record, parent_name) if parent_name else ""
    execution_id = None
    if node.main or node.attempt:
        execution_id = execution_ids.get(node.path)
    return {
        "pod_name": pod_name(record.workflow, node),
        "parent_task_id": parent_id,
        "execution_id": str(execution_id) if execution_id else "",
    }


def _is_reusable(record: RunRecord, task: Task) -> bool:
    """Return whether a later run may reuse the execution of a task."""
    if task.kind is not TaskKind.CONTAINER or task.state is not TaskState.SUCCEEDED:
        return False
    return paths.find(record.graph, task.path)[0].cache


def _format_cached_task(
    record: RunRecord, task: Task, execution_ids: Mapping[str, int]
) -> dict[str, Any]:
    """Return the task that a launcher records for an execution that can be reused."""
    start = cut_fraction(task.started_at or "")
    return {
        "run_id": record.id,
        "task_id": _task_id(record, f"cache:{task.path}"),
        "create_time": start,
        "start_time": start,
        "end_time": cut_fraction(task.ended_at or ""),
        "execution_id": str(execution_ids.get(task.path, 0)),
    }


def _task_id(record: RunRecord, name: str) -> str:
    return str(uuid5(NAMESPACE_OID, f"{record.id}/{name}"))
