"""`run_details.task_details`: what the API tells of the nodes of a run's workflow.

Confirmed by the public source of the server:
- There is one for every node, sorted by the nodes' ids: drivers and nodes around others too, see
  `nodes`.
- The converter fills run_id, task_id, display_name, the times in whole seconds, state,
  state_history and child_tasks, which names the nodes that come next by their ids. `pod_name`,
  `execution_id`, `parent_task_id`, `error`, `inputs` and `outputs` are in the API, but nothing
  fills them for nodes; users of the server report the same of pod_name and error. `full_details` of
  the stand-in fills the first three.
- The launcher records an execution that may be reused with a task of its own (CreateTaskV1), which
  has an execution_id and no name; all tasks of a run are listed.
- `end_time` of a node that goes on is 0001: Argo's zero time.

What is not reached has no state (run-get-failed.json): OMITTED is none of the API's. Rows of
launchers have only an execution_id (cluster-2.17.0/hello). A state_history has the states that the
persistence agent has seen, so that its steps differ from run to run. A client should show no node
but those that stand for a task, `X`, and should be able to do without this list altogether: what
tasks are there, and how they ended, is in ML Metadata.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import NAMESPACE_OID, uuid5

from kfgcp.model import Run, Task, TaskKind, TaskState
from kfgcp.testing import paths
from kfgcp.testing.kubeflow_server.messages import NEVER, stamp, whole_second, without_empty
from kfgcp.testing.kubeflow_server.nodes import OMITTED, Node, node_id, nodes, pod_name
from kfgcp.testing.kubeflow_server.records import Record


def task_details(
    record: Record, run: Run, *, full: bool, executions: Mapping[str, int]
) -> list[dict[str, Any]]:
    """Return the task details of a run.

    Args:
        record: the run.
        run: as it was last reported.
        full: whether to fill what the API has but the server leaves empty.
        executions: path -> id.
    """
    ordered = sorted(nodes(record, run), key=lambda node: node_id(record.workflow, node))
    details = [_detail(record, node, full, executions) for node in ordered]
    return details + [
        _cache_row(record, task, executions) for task in run.tasks if _is_kept(record, task)
    ]


def _detail(
    record: Record, node: Node, full: bool, executions: Mapping[str, int]
) -> dict[str, Any]:
    start = whole_second(node.start) if node.start else stamp(record.created)
    end = whole_second(node.end) if node.end else NEVER
    states = [(start, "PENDING"), (start, "RUNNING"), (end if node.end else start, node.state)]
    if node.state in ("SKIPPED", "PENDING", OMITTED):
        states = states[2:]
    elif node.state == "RUNNING":
        states = states[:2]
    detail = {
        "run_id": record.id,
        "task_id": _task_id(record, node.name),
        "display_name": node.display,
        "create_time": stamp(record.created),
        "start_time": start,
        "end_time": end,
        "state": node.state,
        "state_history": [
            without_empty({"update_time": at, "state": state}) for at, state in states
        ],
        "child_tasks": [{"pod_name": node_id(record.workflow, child)} for child in node.children],
    }
    if full:
        parent = node.name.rpartition(".")[0]
        execution = executions.get(node.path) if node.main or node.attempt else None
        detail |= {
            "pod_name": pod_name(record.workflow, node),
            "parent_task_id": _task_id(record, parent) if parent else "",
            "execution_id": str(execution) if execution else "",
        }
    return without_empty(detail)


def _is_kept(record: Record, task: Task) -> bool:
    """Whether a later run may reuse the task."""
    if task.kind is not TaskKind.CONTAINER or task.state is not TaskState.SUCCEEDED:
        return False
    return paths.find(record.graph, task.path)[0].cache


def _cache_row(record: Record, task: Task, executions: Mapping[str, int]) -> dict[str, Any]:
    start, end = whole_second(task.started_at or ""), whole_second(task.ended_at or "")
    return {
        "run_id": record.id,
        "task_id": _task_id(record, f"cache:{task.path}"),
        "create_time": start,
        "start_time": start,
        "end_time": end,
        "execution_id": str(executions.get(task.path, 0)),
    }


def _task_id(record: Record, name: str) -> str:
    return str(uuid5(NAMESPACE_OID, f"{record.id}/{name}"))
