"""What can be read of tasks and artifacts in the API server of Kubeflow Pipelines 3.0.

The paths are `runs/ID/tasks`, `runs/ID/tasks/ID`, `artifacts`, `artifacts/ID` and `artifact_tasks`,
as recorded in tests/recorded/api-3.0-branch: tasks-list*.json, task-get*.json,
artifacts-list*.json, artifact-get.json, artifact-tasks-list.json. What drivers and launchers send,
POST and PATCH, is not there: the engine of the stand-in carries runs out.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final
from uuid import NAMESPACE_OID, uuid5

from kfgcp.testing.kubeflow_server.access import Access
from kfgcp.testing.kubeflow_server.errors import INVALID, NOT_FOUND, GatewayError, KfpError
from kfgcp.testing.kubeflow_server.lists import DEFAULT_PAGE, MAX_PAGE, answer
from kfgcp.testing.kubeflow_server.messages import query_of
from kfgcp.testing.kubeflow_server.records import Record
from kfgcp.testing.kubeflow_server.server_tasks import LogUri, artifacts_of, tasks_of
from kfgcp.testing.server import Request, Response, Route

FULL: Final = "FULL"
VIEWS: Final = ("DEFAULT", FULL)
"""GetRunRequest.ViewMode in run.proto of the branch."""
MAX_FULL_PAGE: Final = 100
"""Runs of a list with their tasks (defaultListRunsFullViewMaxPageSize in run_server.go)."""
_IDS: Final = ("run_ids", "task_ids", "artifact_ids")


class Tasks:
    """The tasks of a server's runs.

    Args:
        access: who may read them.
        find: gives the run of an id, None when there is none.
        runs: gives all runs, oldest first.
        log_uri: gives the artifact with the log of a task, empty when there is none.

    Attributes:
        lost: ids of runs whose tasks the server does not have, because an older server ran them.
    """

    def __init__(
        self,
        access: Access,
        find: Callable[[str], Record | None],
        runs: Callable[[], Sequence[Record]],
        log_uri: LogUri,
    ) -> None:
        self._access, self._find, self._runs, self._log_uri = access, find, runs, log_uri
        self.lost: set[str] = set()

    def routes(self, base: str) -> list[Route]:
        tasks, artifacts = base + "/runs/{run}/tasks", base + "/artifacts"
        return [
            Route("GET", tasks, self.list_tasks),
            Route("GET", tasks + "/{task}", self.get_task),
            Route("GET", artifacts, self.list_artifacts),
            Route("GET", artifacts + "/{artifact}", self.get_artifact),
            Route("GET", base + "/artifact_tasks", self.list_artifact_tasks),
        ]

    def fields(self, record: Record, *, full: bool) -> dict[str, Any]:
        """Return the fields of a run about its tasks. full: with the tasks themselves."""
        # The drivers make tasks once the Workflow runs (run-create.json, run-get-fresh-full.json).
        tasks = self._of(record) if record.state != "PENDING" else []
        if not tasks:
            return {}
        return {"task_count": len(tasks), "tasks": tasks} if full else {"task_count": len(tasks)}

    # -- methods of the service

    def list_tasks(self, request: Request, run: str) -> Response:
        query = query_of(request)
        tasks = self._of(self._allowed(run, "Failed to list tasks"))
        parent = query.get("parent_id", "")
        if parent:
            if parent not in [task["task_id"] for task in tasks]:
                raise _missing("task", parent, "Failed to get parent task for authorization")
            tasks = [task for task in tasks if task.get("parent_task_id") == parent]
        ordered = sorted(tasks, key=lambda task: (str(task["create_time"]), str(task["task_id"])))
        return _page("tasks", ordered, query)

    def get_task(self, request: Request, run: str, task: str) -> Response:
        around = "Failed to get task"
        record = self._allowed(run, around)
        for found in self._of(record):
            if found["task_id"] == task:
                return Response(body=found)
        raise _missing("task", task, around, f"Failed to fetch task {task}")

    def list_artifacts(self, request: Request) -> Response:
        query = query_of(request)
        namespace = self._access.place(query.get("namespace", ""))
        self._access.check(namespace, "list", "artifacts", "Failed to list artifacts")
        found: dict[str, dict[str, Any]] = {}
        for record in self._runs():
            if record.namespace == namespace:
                for _, _, _, artifact in self._artifacts(record):
                    # Runs can share an artifact. It is as the first of them has it, also when it is
                    # asked for alone.
                    found.setdefault(artifact["artifact_id"], artifact)
        return _page("artifacts", [found[key] for key in sorted(found)], query)

    def get_artifact(self, request: Request, artifact: str) -> Response:
        around = "Failed to get artifact"
        for record in self._runs():
            for _, _, _, found in self._artifacts(record):
                if found["artifact_id"] == artifact:
                    self._access.check(record.namespace, "get", "artifacts", around)
                    return Response(body=found)
        raise _missing("artifact", artifact, around)

    def list_artifact_tasks(self, request: Request) -> Response:
        query = query_of(request)
        around = "Failed to list artifact tasks"
        chosen = {name: query[name].split(",") for name in _IDS if query.get(name)}
        if not chosen:
            problem = "at least one of task_ids, run_ids, or artifact_ids is required"
            raise KfpError(INVALID, problem, around, "Invalid input error")
        links = []
        for record in self._runs():
            for side, task, group, artifact in self._artifacts(record):
                ids = {
                    "run_ids": record.id,
                    "task_ids": task["task_id"],
                    "artifact_ids": artifact["artifact_id"],
                }
                if all(ids[name] in values for name, values in chosen.items()):
                    self._access.check(record.namespace, "list", "artifacts", around)
                    links.append(_link(side, task, group, artifact))
        return _page("artifact_tasks", sorted(links, key=lambda link: str(link["id"])), query)

    # -- helpers

    def _of(self, record: Record) -> list[dict[str, Any]]:
        return [] if record.id in self.lost else tasks_of(record, self._log_uri)

    def _artifacts(
        self, record: Record
    ) -> Iterator[tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]]]:
        for task in self._of(record):
            for side, group, artifact in artifacts_of(task):
                yield side, task, group, artifact

    def _allowed(self, run: str, around: str) -> Record:
        record = self._find(run)
        if record is None:
            raise _missing("Run", run, around, f"Failed to fetch run {run}")
        self._access.check(record.namespace, "get", "runs", around)
        return record


def view_of(request: Request) -> bool:
    """Return whether a request wants the tasks of runs too.

    Raises:
        KfpError: the view is not one (run-get-view-unknown.json). The gateway refuses it, so there
            are no details.
    """
    view = query_of(request).get("view", "")
    if view and view not in VIEWS:
        raise GatewayError(INVALID, f'parsing field "view": "{view}" is not a valid value')
    return view == FULL


def limited_page(size: str) -> str:
    """Return the size of a page of runs with their tasks, as a query has it."""
    return str(min(int(size), MAX_FULL_PAGE)) if size.isdecimal() else size


def _missing(kind: str, name: str, *around: str) -> KfpError:
    return KfpError(NOT_FOUND, f"{kind} {name} not found", *around, "ResourceNotFoundError")


def _link(
    side: str, task: Mapping[str, Any], group: Mapping[str, Any], artifact: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what ties an artifact to a task."""
    identity = f"{task['task_id']}/{side}/{group['artifact_key']}/{artifact['artifact_id']}"
    link = {
        "id": str(uuid5(NAMESPACE_OID, identity)),
        "artifact_id": artifact["artifact_id"],
        "run_id": task["run_id"],
        "task_id": task["task_id"],
        "type": group["type"],
        "key": group["artifact_key"],
    }
    return {**link, "producer": group["producer"]} if "producer" in group else link


def _page(name: str, items: Sequence[Mapping[str, Any]], query: Mapping[str, str]) -> Response:
    """Return a page of a list. A token is the number of items before the page."""
    try:
        start = int(base64.b64decode(query.get("page_token", ""), validate=True) or 0)
        size = int(query.get("page_size", "") or 0)
    except ValueError:
        raise KfpError(INVALID, "Invalid page token or page size", "InvalidInputError") from None
    end = start + min(size if size > 0 else DEFAULT_PAGE, MAX_PAGE)
    token = base64.b64encode(str(end).encode()).decode() if end < len(items) else ""
    return Response(body=answer(name, items[start:end], len(items), token))
