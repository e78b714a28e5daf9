"""The methods of the API server of Kubeflow Pipelines 3.0 that read tasks and artifacts.

The paths are `runs/ID/tasks`, `runs/ID/tasks/ID`, `artifacts`, `artifacts/ID` and `artifact_tasks`,
as in the recordings tests/recorded/api-3.0-branch: tasks-list*.json, task-get*.json,
artifacts-list*.json, artifact-get.json, artifact-tasks-list.json. The methods that drivers and
launchers use, POST and PATCH, do not exist here, because the engine of the stand-in executes runs.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import NAMESPACE_OID, uuid5

from kfgcp.spec.json_values import JsonObject
from kfgcp.testing.kubeflow_server.access import Access
from kfgcp.testing.kubeflow_server.errors import (
    INVALID,
    GatewayError,
    KfpError,
    invalid_input,
    not_found,
)
from kfgcp.testing.kubeflow_server.lists import DEFAULT_PAGE, MAX_PAGE, format_page
from kfgcp.testing.kubeflow_server.messages import read_query
from kfgcp.testing.kubeflow_server.records import RunRecord
from kfgcp.testing.kubeflow_server.server_tasks import format_tasks, iterate_artifacts
from kfgcp.testing.kubeflow_server.server_values import LogUri
from kfgcp.testing.server import Request, Response, Route

FULL: Final = "FULL"
# GetRunRequest.ViewMode in run.proto of the branch.
VIEWS: Final = ("DEFAULT", FULL)
# The limit of a page of runs with their tasks (defaultListRunsFullViewMaxPageSize in
# run_server.go).
MAX_FULL_PAGE: Final = 100
_ID_FILTERS: Final = ("run_ids", "task_ids", "artifact_ids")


@dataclass(frozen=True, slots=True)
class _TaskArtifact:
    """An artifact of a task.

    Attributes:
        task: the task.
        side: `inputs` or `outputs`.
        group: the input or the output that has the artifact.
        artifact: the artifact.
    """

    task: JsonObject
    side: str
    group: JsonObject
    artifact: JsonObject

    def format_link(self) -> dict[str, Any]:
        """Return the `artifact_task`, which connects the artifact and the task."""
        task_id = self.task["task_id"]
        artifact_id = self.artifact["artifact_id"]
        key = self.group["artifact_key"]
        link = {
            "id": str(uuid5(NAMESPACE_OID, f"{task_id}/{self.side}/{key}/{artifact_id}")),
            "artifact_id": artifact_id,
            "run_id": self.task["run_id"],
            "task_id": task_id,
            "type": self.group["type"],
            "key": key,
        }
        if "producer" in self.group:
            link["producer"] = self.group["producer"]
        return link


class Tasks:
    """The tasks of a server's runs.

    Args:
        access: who may do what.
        find_run: gives the run with an id, None when there is none.
        list_runs: gives all runs, the oldest first.
        log_uri: gives the URI of the artifact with a task's log, empty if there is none.

    Attributes:
        lost: ids of runs whose tasks the server does not have, because an older server ran them.
    """

    def __init__(
        self,
        access: Access,
        find_run: Callable[[str], RunRecord | None],
        list_runs: Callable[[], Sequence[RunRecord]],
        log_uri: LogUri,
    ) -> None:
        self._access = access
        self._find_run = find_run
        self._list_runs = list_runs
        self._log_uri = log_uri
        self.lost: set[str] = set()

    def routes(self, base: str) -> list[Route]:
        """Return the routes of the API below a path."""
        tasks = base + "/runs/{run_id}/tasks"
        artifacts = f"{base}/artifacts"
        return [
            Route("GET", tasks, self.list_tasks),
            Route("GET", tasks + "/{task_id}", self.get_task),
            Route("GET", artifacts, self.list_artifacts),
            Route("GET", artifacts + "/{artifact_id}", self.get_artifact),
            Route("GET", f"{base}/artifact_tasks", self.list_artifact_tasks),
        ]

    def format_fields(self, record: RunRecord, *, full: bool) -> dict[str, Any]:
        """Return the fields of a run about its tasks.

        Args:
            record: the run.
            full: whether to include the tasks and not only the number of tasks.
        """
        # The drivers create tasks after the Workflow has started (run-create.json,
        # run-get-fresh-full.json).
        if record.state == "PENDING":
            return {}
        tasks = self._get_tasks(record)
        if not tasks:
            return {}
        if full:
            return {"task_count": len(tasks), "tasks": tasks}
        return {"task_count": len(tasks)}

    # -- methods of the API

    def list_tasks(self, request: Request, run_id: str) -> Response:
        """Return a page of the tasks of a run."""
        query = read_query(request)
        tasks = self._get_tasks(self._get_allowed(run_id, "Failed to list tasks"))
        parent_id = query.get("parent_id", "")
        if parent_id:
            if parent_id not in [task["task_id"] for task in tasks]:
                context = "Failed to get parent task for authorization"
                raise not_found("task", parent_id, context)
            tasks = [task for task in tasks if task.get("parent_task_id") == parent_id]
        ordered = sorted(tasks, key=lambda task: (str(task["create_time"]), str(task["task_id"])))
        return _format_page("tasks", ordered, query)

    def get_task(self, request: Request, run_id: str, task_id: str) -> Response:
        """Return a task of a run."""
        context = "Failed to get task"
        record = self._get_allowed(run_id, context)
        for run_task in self._get_tasks(record):
            if run_task["task_id"] == task_id:
                return Response(body=run_task)
        raise not_found("task", task_id, context, f"Failed to fetch task {task_id}")

    def list_artifacts(self, request: Request) -> Response:
        """Return a page of the artifacts in a namespace."""
        query = read_query(request)
        namespace = self._access.normalize_namespace(query.get("namespace", ""))
        self._access.check(namespace, "list", "artifacts", "Failed to list artifacts")
        artifacts_by_id: dict[str, JsonObject] = {}
        for record in self._list_runs():
            if record.namespace != namespace:
                continue
            for item in self._iterate_artifacts(record):
                # Runs can share an artifact, each with another name or time. The first run wins,
                # here and in `get_artifact`.
                artifacts_by_id.setdefault(item.artifact["artifact_id"], item.artifact)
        ordered = [artifacts_by_id[artifact_id] for artifact_id in sorted(artifacts_by_id)]
        return _format_page("artifacts", ordered, query)

    def get_artifact(self, request: Request, artifact_id: str) -> Response:
        """Return an artifact."""
        context = "Failed to get artifact"
        for record in self._list_runs():
            for item in self._iterate_artifacts(record):
                if item.artifact["artifact_id"] == artifact_id:
                    self._access.check(record.namespace, "get", "artifacts", context)
                    return Response(body=item.artifact)
        raise not_found("artifact", artifact_id, context)

    def list_artifact_tasks(self, request: Request) -> Response:
        """Return a page of the links between artifacts and tasks."""
        query = read_query(request)
        context = "Failed to list artifact tasks"
        filters = {name: query[name].split(",") for name in _ID_FILTERS if query.get(name)}
        if not filters:
            problem = "at least one of task_ids, run_ids, or artifact_ids is required"
            raise invalid_input(problem, context)
        links = []
        for record in self._list_runs():
            for item in self._iterate_artifacts(record):
                if _matches(record, item, filters):
                    self._access.check(record.namespace, "list", "artifacts", context)
                    links.append(item.format_link())
        links.sort(key=lambda link: str(link["id"]))
        return _format_page("artifact_tasks", links, query)

    # -- helpers

    def _get_tasks(self, record: RunRecord) -> list[dict[str, Any]]:
        if record.id in self.lost:
            return []
        return format_tasks(record, self._log_uri)

    def _iterate_artifacts(self, record: RunRecord) -> Iterator[_TaskArtifact]:
        for task in self._get_tasks(record):
            for side, group, artifact in iterate_artifacts(task):
                yield _TaskArtifact(task, side, group, artifact)

    def _get_allowed(self, run_id: str, context: str) -> RunRecord:
        """Return a run if it exists and the caller may use it.

        Raises:
            KfpError: NOT_FOUND or PERMISSION_DENIED.
        """
        record = self._find_run(run_id)
        if record is None:
            raise not_found("Run", run_id, context, f"Failed to fetch run {run_id}")
        self._access.check(record.namespace, "get", "runs", context)
        return record


def wants_tasks(request: Request) -> bool:
    """Return whether a request for runs wants their tasks too.

    Raises:
        GatewayError: INVALID, the view is unknown (run-get-view-unknown.json).
    """
    view = read_query(request).get("view", "")
    if view and view not in VIEWS:
        raise GatewayError(INVALID, f'parsing field "view": "{view}" is not a valid value')
    return view == FULL


def limit_page_size(size: str) -> str:
    """Return the size for a page of runs with their tasks.

    Args:
        size: the size in the query. A value that is not a number is returned unchanged.
    """
    if not size.isdecimal():
        return size
    return str(min(int(size), MAX_FULL_PAGE))


def _matches(record: RunRecord, item: _TaskArtifact, filters: Mapping[str, Sequence[str]]) -> bool:
    """Return whether each filter contains the id of the run, the task or the artifact."""
    ids = {
        "run_ids": record.id,
        "task_ids": item.task["task_id"],
        "artifact_ids": item.artifact["artifact_id"],
    }
    return all(ids[name] in allowed_ids for name, allowed_ids in filters.items())


def _format_page(name: str, items: Sequence[JsonObject], query: Mapping[str, str]) -> Response:
    """Return a page of a list. The page token is the number of items before the page."""
    try:
        start = int(base64.b64decode(query.get("page_token", ""), validate=True) or 0)
        size = int(query.get("page_size", "") or 0)
    except ValueError:
        raise KfpError(INVALID, "Invalid page token or page size", "InvalidInputError") from None
    if size <= 0:
        size = DEFAULT_PAGE
    end = start + min(size, MAX_PAGE)
    token = ""
    if end < len(items):
        token = base64.b64encode(str(end).encode()).decode()
    return Response(body=format_page(name, items[start:end], len(items), token))
