"""Read the log of a pod: from the pod itself, from the launcher's copy, or from Argo's archive.

- `/k8s/pod/logs` of the UI server has the log while the pod exists. After that, a UI server that is
  configured for it reads the archive, and needs the day of the run for that
  (frontend/server/workflow-helper.ts). But it expects another form of pod names, so it finds
  neither the logs of drivers nor the logs of repeated attempts.
- A launcher copies the output of the program in each attempt to the artifact `executor-logs`, since
  2.16 `executor-logs-0`, `executor-logs-1`, ... (backend/src/v2/component/launcher_v2.go).
- Argo archives the whole log of every pod, including the pods of drivers. The keys are in
  manifests/kustomize/third-party/argo/base/workflow-controller-configmap-patch.yaml.

`/artifacts/get` of the UI server reads the copy and the archive.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, Protocol
from urllib.parse import urlsplit

from kfgcp.errors import Refused, Unreachable

# The bucket of Argo's archive, unless the server is configured otherwise.
BUCKET: Final = "mlpipeline"

# Where pods run when no namespace is set.
NAMESPACE: Final = "kubeflow"

# The schemes of artifacts, and the names of these schemes in the UI server.
SOURCES: Final = {"gs": "gcs", "s3": "s3", "minio": "minio"}

# The forms of the keys in the archive: since 2.16, and before 2.16.
_ARCHIVE_KEYS: Final = (
    "private-artifacts/{namespace}/{workflow}/{day}/{pod}/main.log",
    "artifacts/{workflow}/{day}/{pod}/main.log",
)

# After this many requests without a log, the server most likely has no archive.
_MAX_MISSES: Final = 3

# The status of servers before 2.14 when a pod does not exist. On newer servers, the pod is still
# starting.
_NO_POD: Final = 500

# The statuses when the UI server does not allow the request. 422 means that the namespace is
# missing in the request.
_REFUSED: Final = (400, 403, 422)


class Streams(Protocol):
    """A client that reads an answer piece by piece."""

    def stream(self, path: str, *, params: dict[str, str], retries: int) -> Iterator[bytes]:
        """Return the pieces of the answer to a GET, see `ServiceClient.stream`."""


class LogSource(Enum):
    """A place that may have the log of a pod."""

    POD = auto()
    COPY = auto()
    ARCHIVE = auto()


class NotKept(Exception):
    """The error of a source that does not have a log.

    Its text is "" or a part of a sentence that says why, such as "its pod is gone".
    """


@dataclass(frozen=True, slots=True)
class Pod:
    """The pod of an attempt.

    Attributes:
        name: the name of the pod, "" when it is not known.
        has_ended: whether the log of the pod is complete.
        copy: the URI of the launcher's copy of the log, "" without a copy.
    """

    name: str
    has_ended: bool
    copy: str = ""


@dataclass(frozen=True, slots=True)
class RunInfo:
    """The properties of a run that requests to the UI server contain.

    Attributes:
        run_id: the id of the run.
        day: the day on which the run was created, `YYYY-MM-DD`.
        workflow: the name of the run's Argo workflow, "" when it is not known.
        namespace: the namespace of the pods, "" when none is set.
        bucket: the bucket of the run's artifacts in the server's own store.
    """

    run_id: str
    day: str
    workflow: str
    namespace: str
    bucket: str = BUCKET


class PodLogs:
    """Reads the logs of the pods of one run. Threads may share this object.

    Args:
        ui: the client of the UI server.
        run: the properties of the run.
        raises_outages: whether to raise an error when the UI server cannot be reached. Otherwise
            the UI server counts as a source that does not have the log.
    """

    def __init__(self, ui: Streams, run: RunInfo, *, raises_outages: bool) -> None:
        self._ui = ui
        self._run = run
        self._raises_outages = raises_outages
        self._archive_keys = list(_ARCHIVE_KEYS)
        self._misses = 0

    def read(self, source: LogSource, pod: Pod) -> Iterator[bytes]:
        """Return the pieces of the log of a pod.

        Raises:
            NotKept: the source does not have the log.
            BackendError: the UI server does not answer, or does not accept the sign-in.
        """
        if source is LogSource.POD:
            return self._read_pod(pod)
        if source is LogSource.COPY:
            return self._read_copy(pod)
        return self._read_archive(pod)

    def _read_pod(self, pod: Pod) -> Iterator[bytes]:
        if not pod.name:
            raise NotKept("its pod does not exist any more")
        params = {"podname": pod.name, "runid": self._run.run_id, "createdat": self._run.day}
        if self._run.namespace:
            params["podnamespace"] = self._run.namespace
        # The log of a running pod is read again soon, so a retry is not necessary.
        retries = int(pod.has_ended)
        try:
            return self._ui.stream("k8s/pod/logs", params=params, retries=retries)
        except (Refused, Unreachable) as error:
            is_outage = isinstance(error, Unreachable) and error.status != _NO_POD
            if is_outage and self._raises_outages:
                raise
            status = error.status or "no answer"
            if status in _REFUSED:
                raise NotKept(
                    f"the log of pod {pod.name} cannot be read: {error.message.rstrip('.')}"
                ) from error
            raise NotKept(
                f"its pod {pod.name} does not exist any more, and the archive has no log ({status})"
            ) from error

    def _read_copy(self, pod: Pod) -> Iterator[bytes]:
        url = urlsplit(pod.copy)
        if url.scheme not in SOURCES:
            raise NotKept("")
        source = SOURCES[url.scheme]
        try:
            return self._read_artifact(source, url.netloc, url.path.lstrip("/"), retries=1)
        except (Refused, Unreachable) as error:
            raise NotKept(f"{pod.copy} cannot be read ({error.status or 'no answer'})") from error

    def _read_archive(self, pod: Pod) -> Iterator[bytes]:
        """Return the archived log.

        The first log that is found shows the form of all keys in this archive.
        """
        if not (pod.name and pod.has_ended and self._run.workflow):
            raise NotKept("")
        for key_format in self._archive_keys:
            if self._misses >= _MAX_MISSES:
                break
            key = key_format.format(
                namespace=self._run.namespace or NAMESPACE,
                workflow=self._run.workflow,
                day=self._run.day.replace("-", "/"),
                pod=pod.name,
            )
            try:
                chunks = self._read_artifact("minio", self._run.bucket, key, retries=0)
            except (Refused, Unreachable):
                self._misses += 1
                continue
            self._archive_keys = [key_format]
            self._misses = 0
            return chunks
        raise NotKept("")

    def _read_artifact(
        self, source: str, bucket: str, key: str, *, retries: int
    ) -> Iterator[bytes]:
        params = {"source": source, "bucket": bucket, "key": key}
        if self._run.namespace:
            params["namespace"] = self._run.namespace
        return self._ui.stream("artifacts/get", params=params, retries=retries)
