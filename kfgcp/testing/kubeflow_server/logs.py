"""The logs of pods: at the UI server, in its archive, and in Cloud Logging.

- `GET /k8s/pod/logs?podname=&podnamespace=` answers text. When the pod and its archived log are
  gone, the UI server answers 404 `pod not found`. UI servers before 2.14 answer 500 `Could not get
  main container logs: ...`. In multi-user mode podnamespace is required (pod-logs.ts of the public
  source).
- A UI server can be configured to read the archive itself. Then the client must send
  `createdat=YYYY-MM-DD` (workflow-helper.ts).
- `GET /artifacts/get?source=&bucket=&key=` answers an archived log. The form of the key is in the
  server's manifests (workflow-controller-configmap-patch.yaml), and changed in 2.15. The same path
  also answers the artifacts `executor-logs` of launchers that publish logs.
- On GKE the same lines are entries with `resource.type="k8s_container"`. An entry has the labels of
  the pod, with the prefix `k8s-pod/`. Not confirmed: the stream and the severity of a line in Cloud
  Logging.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from kfgcp.backends.kubeflow.execution import EXECUTOR_LOGS
from kfgcp.model import Task, TaskKind
from kfgcp.testing import log_entries
from kfgcp.testing.kubeflow_server.access import Access
from kfgcp.testing.kubeflow_server.errors import KfpError
from kfgcp.testing.kubeflow_server.messages import format_time
from kfgcp.testing.kubeflow_server.nodes import Node, is_driver_failure, pod_name
from kfgcp.testing.kubeflow_server.records import RunRecord
from kfgcp.testing.kubeflow_server.workflows import list_pods
from kfgcp.testing.log_entries import Entry
from kfgcp.testing.server import Request, Response, Route

PODS: Final = "pods"
ARCHIVE: Final = "archive"
GONE: Final = "gone"

# The bucket of the archive, as the manifests of the server name it.
BUCKET: Final = "mlpipeline"
# The namespace of pods in single-user mode.
NAMESPACE: Final = "kubeflow"

_RUN_ID_FILTER: Final = re.compile(r'"k8s-pod/pipeline/runid"\s*=\s*"([^"]+)"')
# A filter with one of these operators can also match entries of runs that it does not name.
_OTHER_OPERATORS: Final = re.compile(r"\b(OR|NOT)\b|!=")
_PUBLISHED_LOG: Final = re.compile(rf"/(?P<run>[0-9a-f-]{{36}})/(?P<path>.+)/{EXECUTOR_LOGS}$")
_POD_NAME: Final = re.compile(r"(.+)-((?:retry-)?system-[a-z-]+|exit-hook-.+)-\d+")

Pod = tuple[RunRecord, Node]
"""A run, and a node of its workflow that has a pod."""


class Logs:
    """The logs of a server's runs.

    Args:
        access: who may do what.
        project: the id of the Google Cloud project, for Cloud Logging.
        list_runs: gives all runs, the oldest first.
        modern: whether the server is 2.14 or newer.

    Attributes:
        kept: `pods` while the pods exist, `archive` when they are gone and their logs are in the
            archive, `gone` when both are gone.
        falls_back: whether the UI server itself reads the archive when a pod is gone.
        published: whether launchers create an artifact `executor-logs` with the log of a task's
            last attempt.
    """

    def __init__(
        self,
        access: Access,
        project: str,
        list_runs: Callable[[], Sequence[RunRecord]],
        modern: bool,
    ) -> None:
        self.kept = PODS
        self.falls_back = False
        self.published = False
        self._access = access
        self._project = project
        self._list_runs = list_runs
        self._modern = modern

    def routes(self) -> list[Route]:
        """Return the routes of the UI server."""
        return [
            Route("GET", "/k8s/pod/logs", self.get_pod_log),
            Route("GET", "/artifacts/get", self.get_archived_log),
        ]

    def get_pod_log(self, request: Request) -> Response:
        """Return the log of a pod."""
        name = request.query.get("podname", "")
        namespace = request.query.get("podnamespace", "")
        if not name:
            return _text_response(400, "podname argument is required")
        if self._access.multi_user and not namespace:
            return _text_response(422, "podnamespace argument is required")
        try:
            self._access.check(namespace, "get", "viewers")
        except KfpError:
            return _text_response(403, "Access denied to namespace")
        pod = self._find_readable_pod(name, request.query.get("createdat"))
        if pod is not None:
            return _text_response(200, self._read_log(*pod))
        if self._modern:
            return _text_response(404, "pod not found")
        problem = "Error: Unable to find pod log archive information from workflow status."
        return _text_response(500, f"Could not get main container logs: {problem}")

    def get_archived_log(self, request: Request) -> Response:
        """Return a log from the archive, or one that a launcher has published."""
        pod = self._find_archived_pod(request)
        if pod is None:
            bucket = request.query.get("bucket", "")
            return _text_response(500, f"Failed to get object in bucket {bucket}: NoSuchKey")
        return _text_response(200, self._read_log(*pod))

    def log_uri(self, record: RunRecord, path: str) -> str:
        """Return the URI of the artifact with a task's log, empty if launchers publish no logs."""
        if not self.published:
            return ""
        root = record.root.rstrip("/")
        return f"{root}/{record.graph.name}/{record.id}/{path}/{EXECUTOR_LOGS}"

    def entries(self, filter_text: str, payload: str) -> Iterator[Entry]:
        """Return the entries of Cloud Logging that a filter can match.

        Args:
            filter_text: the filter of the request. The caller applies it to the entries. This
                function uses it only to skip the logs of other runs.
            payload: `json` or `text`.
        """
        run_ids: set[str] = set()
        if not _OTHER_OPERATORS.search(filter_text):
            run_ids.update(_RUN_ID_FILTER.findall(filter_text))
        for record in self._list_runs():
            if not run_ids or record.id in run_ids:
                yield from self._list_run_entries(record, payload)

    # -- pods

    def _find_readable_pod(self, name: str, created_on: str | None) -> Pod | None:
        """Return the pod with a name if the UI server can read its log.

        Args:
            name: the name of the pod.
            created_on: the date of the run's creation, as the request has it. Only a pod whose log
                is in the archive needs it.
        """
        if self.kept == GONE or (self.kept == ARCHIVE and not self.falls_back):
            return None
        pod = self._find_pod(name)
        if pod is None or self.kept == PODS:
            return pod
        record, _ = pod
        return pod if created_on == _creation_date(record) else None

    def _find_archived_pod(self, request: Request) -> Pod | None:
        """Return the pod whose archived or published log a request reads."""
        key = request.query.get("key", "")
        published_log = _PUBLISHED_LOG.search(key) if self.published else None
        if published_log is not None:
            if request.query.get("source") != "gcs":
                return None
            return self._find_last_pod(published_log["run"], published_log["path"])
        if self.kept == GONE:
            return None
        name = key.removesuffix("/main.log").rpartition("/")[2]
        pod = self._find_pod(name)
        if pod is not None and _is_archived_at(request, *pod):
            return pod
        return None

    def _find_pod(self, name: str) -> Pod | None:
        if not _POD_NAME.fullmatch(name):
            return None
        for record in self._list_runs():
            if not name.startswith(record.workflow):
                continue
            for node_pod_name, node in list_pods(record):
                if node_pod_name == name:
                    return record, node
        return None

    def _find_last_pod(self, run_id: str, path: str) -> Pod | None:
        """Return the pod of the last attempt of a task."""
        for record in self._list_runs():
            if record.id != run_id:
                continue
            nodes = [node for _, node in list_pods(record) if node.path == path and node.attempt]
            return (record, nodes[-1]) if nodes else None
        return None

    def _read_log(self, record: RunRecord, node: Node) -> str:
        """Return the log of a driver, or of an attempt of a task."""
        task = _find_task(record, node.path)
        task_name = node.display_name.partition("(")[0].removesuffix("-driver")
        if task is not None and is_driver_failure(task) and task.error is not None:
            # The line has the form of tests/recorded/cluster-2.17.0/param-none/pod-logs.
            driver = (
                f"driver.Container(pipelineName={record.graph.name}, runID={record.id},"
                f' taskName="{task_name}")'
            )
            return (
                f"F1129 08:56:51.942993      14 main.go:127] KFP driver: {driver} failed:"
                f" {task.error.message}\n"
            )
        if task is None or not node.attempt:
            return f"driver of {task_name}\n"
        has_ended = task.state.final or node.attempt < task.attempts
        lines = record.execution.log(task.path, node.attempt, ended=has_ended)
        return "".join(f"{line}\n" for line in lines)

    # -- Cloud Logging

    def _list_run_entries(self, record: RunRecord, payload: str) -> Iterator[Entry]:
        pod_names: dict[tuple[str, int], str] = {}
        for name, node in list_pods(record):
            if node.attempt:
                pod_names[node.path, node.attempt] = name
        for task in record.current_run().tasks:
            if task.kind is not TaskKind.CONTAINER:
                continue
            for attempt in range(1, task.attempts + 1):
                pod = pod_names.get((task.path, attempt), "")
                yield from self._list_attempt_entries(record, task, attempt, pod, payload)

    def _list_attempt_entries(
        self, record: RunRecord, task: Task, attempt: int, pod: str, payload: str
    ) -> Iterator[Entry]:
        resource_labels = {
            "project_id": self._project,
            "location": "europe-west4",
            "cluster_name": "kubeflow",
            "namespace_name": record.namespace or NAMESPACE,
            "pod_name": pod,
            "container_name": "main",
        }
        entries = log_entries.read_attempt(record.execution, task, attempt, payload)
        for index, entry in enumerate(entries):
            yield {
                "insertId": f"{pod}-{index}",
                "logName": f"projects/{self._project}/logs/stdout",
                "resource": {"type": "k8s_container", "labels": resource_labels},
                "labels": _pod_labels(record),
                **entry,
            }


def _find_task(record: RunRecord, path: str) -> Task | None:
    for task in record.current_run().tasks:
        if task.path == path:
            return task
    return None


def _creation_date(record: RunRecord) -> str:
    """Return the date of a run's creation, `YYYY-MM-DD`."""
    return format_time(record.created)[:10]


def _is_archived_at(request: Request, record: RunRecord, node: Node) -> bool:
    """Return whether a request names the place of a pod's log in the archive."""
    if request.query.get("source") != "minio" or request.query.get("bucket") != BUCKET:
        return False
    date = _creation_date(record).replace("-", "/")
    log_path = f"{record.workflow}/{date}/{pod_name(record.workflow, node)}/main.log"
    namespace = record.namespace or NAMESPACE
    # The key since 2.15, and the key of older servers.
    keys = (f"private-artifacts/{namespace}/{log_path}", f"artifacts/{log_path}")
    return request.query.get("key") in keys


def _pod_labels(record: RunRecord) -> dict[str, str]:
    return {
        "k8s-pod/pipeline/runid": record.id,
        "k8s-pod/pipelines_kubeflow_org/v2_component": "true",
        "k8s-pod/workflows_argoproj_io/workflow": record.workflow,
    }


def _text_response(status: int, text: str) -> Response:
    return Response(status, text.encode(), {"Content-Type": "text/plain; charset=utf-8"})
