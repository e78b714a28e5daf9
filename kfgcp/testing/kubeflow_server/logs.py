"""What pods have written: at the UI server while they last, and in Cloud Logging.

`GET /k8s/pod/logs?podname=&podnamespace=` answers text. When the pod and its archive are gone the
UI server says 404 `pod not found`, older ones 500 `Could not get main container logs: ...`; in
multi-user mode podnamespace must be given (pod-logs.ts of its public source). A UI server that is
set up for it reads the archive itself, for which it must be told `createdat=YYYY-MM-DD`
(workflow-helper.ts). `GET /artifacts/get?source=&bucket=&key=` has the archive, with the keys of
the servers' manifests (workflow-controller-configmap-patch.yaml; another one since 2.16), and the
artifacts `executor-logs` of launchers that publish logs. On GKE the same lines are entries of
`resource.type="k8s_container"`; their labels are those of the pod after `k8s-pod/`. Not confirmed:
which stream and severity a line has there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from kfgcp.backends.kubeflow.execution import EXECUTOR_LOGS
from kfgcp.model import TaskKind
from kfgcp.testing import log_entries
from kfgcp.testing.kubeflow_server.access import Access
from kfgcp.testing.kubeflow_server.errors import KfpError
from kfgcp.testing.kubeflow_server.messages import stamp
from kfgcp.testing.kubeflow_server.nodes import Node, is_driver_failure, pod_name, pods
from kfgcp.testing.kubeflow_server.records import Record
from kfgcp.testing.log_entries import Entry
from kfgcp.testing.server import Request, Response, Route

PODS: Final = "pods"
ARCHIVE: Final = "archive"
GONE: Final = "gone"
BUCKET: Final = "mlpipeline"
"""Of the archive."""
NAMESPACE: Final = "kubeflow"
"""Where pods run in single-user mode."""
_RUN_ID: Final = re.compile(r'"k8s-pod/pipeline/runid"\s*=\s*"([^"]+)"')
_PUBLISHED: Final = re.compile(rf"/(?P<run>[0-9a-f-]{{36}})/(?P<path>.+)/{EXECUTOR_LOGS}$")
_POD: Final = re.compile(r"(.+)-((?:retry-)?system-[a-z-]+|exit-hook-.+)-\d+")


class Logs:
    """The logs of a server's runs.

    Args:
        access: who may read them.
        project: the id of the Google Cloud project, for Cloud Logging.
        runs: gives the runs.
        modern: whether the server is 2.14 or newer.

    Attributes:
        kept: `pods` while pods last, `archive` when they are gone and were archived, `gone`.
        falls_back: whether the UI server looks into the archive for a pod that is gone.
        published: whether launchers make an artifact `executor-logs` of the log of a task's last
            attempt.
    """

    def __init__(
        self, access: Access, project: str, runs: Callable[[], Sequence[Record]], modern: bool
    ) -> None:
        self.kept = PODS
        self.falls_back = self.published = False
        self._access, self._project, self._runs, self._modern = access, project, runs, modern

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/k8s/pod/logs", self.of_pod),
            Route("GET", "/artifacts/get", self.of_archive),
        ]

    def of_pod(self, request: Request) -> Response:
        name, namespace = request.query.get("podname", ""), request.query.get("podnamespace", "")
        if not name:
            return _text(400, "podname argument is required")
        if self._access.multi_user and not namespace:
            return _text(422, "podnamespace argument is required")
        try:
            self._access.check(namespace, "get", "viewers")
        except KfpError:
            return _text(403, "Access denied to namespace")
        found = (
            self._find(name)
            if self.kept == PODS or (self.kept == ARCHIVE and self.falls_back)
            else None
        )
        if (
            found is not None
            and self.kept == ARCHIVE
            and request.query.get("createdat") != stamp(found[0].created)[:10]
        ):
            found = None
        if found is not None:
            return _text(200, self._lines(*found))
        if self._modern:
            return _text(404, "pod not found")
        problem = "Error: Unable to find pod log archive information from workflow status."
        return _text(500, f"Could not get main container logs: {problem}")

    def of_archive(self, request: Request) -> Response:
        key = request.query.get("key", "")
        name = key.removesuffix("/main.log").rpartition("/")[2]
        found = self._find(name) if self.kept != GONE else None
        if found is not None and not _is_archived_at(request, *found):
            found = None
        if self.published and (match := _PUBLISHED.search(key)) is not None:
            source = request.query.get("source")
            found = self._last(match["run"], match["path"]) if source == "gcs" else None
        if found is None:
            return _text(
                500, f"Failed to get object in bucket {request.query.get('bucket', '')}: NoSuchKey"
            )
        return _text(200, self._lines(*found))

    def uri(self, record: Record, path: str) -> str:
        """The artifact with the log of a task, empty when there is none."""
        return (
            f"{record.root.rstrip('/')}/{record.graph.name}/{record.id}/{path}/{EXECUTOR_LOGS}"
            if self.published
            else ""
        )

    def entries(self, text: str, form: str) -> Iterator[Entry]:
        """The entries of Cloud Logging that a filter could want."""
        wanted = set(_RUN_ID.findall(text)) if not re.search(r"\b(OR|NOT)\b|!=", text) else set()
        for record in self._runs():
            if not wanted or record.id in wanted:
                yield from self._of_run(record, form)

    def _of_run(self, record: Record, form: str) -> Iterator[Entry]:
        names = {(node.path, node.attempt): name for name, node in pods(record) if node.attempt}
        namespace = record.namespace or NAMESPACE
        for task in record.run().tasks:
            for attempt in range(1, task.attempts + 1) if task.kind is TaskKind.CONTAINER else ():
                pod = names.get((task.path, attempt), "")
                labels = {
                    "project_id": self._project,
                    "location": "europe-west4",
                    "cluster_name": "kubeflow",
                    "namespace_name": namespace,
                    "pod_name": pod,
                    "container_name": "main",
                }
                for index, entry in enumerate(
                    log_entries.read_attempt(record.execution, task, attempt, form)
                ):
                    yield {
                        "insertId": f"{pod}-{index}",
                        "logName": f"projects/{self._project}/logs/stdout",
                        "resource": {"type": "k8s_container", "labels": labels},
                        "labels": _pod_labels(record),
                        **entry,
                    }

    def _find(self, name: str) -> tuple[Record, Node] | None:
        match = _POD.fullmatch(name)
        for record in self._runs() if match else ():
            if name.startswith(record.workflow):
                node = next((node for pod, node in pods(record) if pod == name), None)
                if node is not None:
                    return record, node
        return None

    def _last(self, run: str, path: str) -> tuple[Record, Node] | None:
        """The pod of the last attempt of a task."""
        record = next((record for record in self._runs() if record.id == run), None)
        found = (
            [node for _, node in pods(record) if node.path == path and node.attempt]
            if record is not None
            else []
        )
        return (record, found[-1]) if record is not None and found else None

    def _lines(self, record: Record, node: Node) -> str:
        task = next((task for task in record.run().tasks if task.path == node.path), None)
        name = node.display.partition("(")[0].removesuffix("-driver")
        if task is not None and is_driver_failure(task) and task.error is not None:
            # The form is that of tests/recorded/cluster-2.17.0/param-none/pod-logs.
            driver = (
                f"driver.Container(pipelineName={record.graph.name}, runID={record.id},"
                f' taskName="{name}")'
            )
            return (
                f"F1129 08:56:51.942993      14 main.go:127] KFP driver: {driver} failed:"
                f" {task.error.message}\n"
            )
        if task is None or not node.attempt:
            return f"driver of {name}\n"
        ended = task.state.final or node.attempt < task.attempts
        return "".join(
            f"{line}\n" for line in record.execution.log(task.path, node.attempt, ended=ended)
        )


def _is_archived_at(request: Request, record: Record, node: Node) -> bool:
    """Return whether a request names the place of a pod's log in the archive."""
    if (request.query.get("source"), request.query.get("bucket")) != ("minio", BUCKET):
        return False
    day = stamp(record.created)[:10].replace("-", "/")
    place = f"{record.workflow}/{day}/{pod_name(record.workflow, node)}/main.log"
    namespace = record.namespace or NAMESPACE
    return request.query.get("key") in (
        f"private-artifacts/{namespace}/{place}",
        f"artifacts/{place}",
    )


def _pod_labels(record: Record) -> dict[str, Any]:
    return {
        "k8s-pod/pipeline/runid": record.id,
        "k8s-pod/pipelines_kubeflow_org/v2_component": "true",
        "k8s-pod/workflows_argoproj_io/workflow": record.workflow,
    }


def _text(status: int, text: str) -> Response:
    return Response(status, text.encode(), {"Content-Type": "text/plain; charset=utf-8"})
