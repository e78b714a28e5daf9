"""Read artifacts from the server's own object store, which is `minio://` by default.

The store is inside the cluster, so this machine cannot reach it. The UI server can reach it: its
route `/artifacts/get` answers with an object, or with the first `peek` bytes of an object. The UI
server decompresses objects that are compressed with gzip. Since 2.17, it answers with a line of
text for a folder (frontend/server/handlers/artifacts.ts).
"""

from __future__ import annotations

from contextlib import closing
from typing import Final
from urllib.parse import urlsplit

from kfgcp.backends.kubeflow.addresses import Addresses
from kfgcp.backends.kubeflow.server_errors import says_object_is_missing
from kfgcp.backends.kubeflow.settings import KubeflowSettings
from kfgcp.config import Environment
from kfgcp.deadlines import within
from kfgcp.errors import NotFound, Unreachable
from kfgcp.model import Run

SCHEME: Final = "minio"
DEFAULT_ROOT: Final = "minio://mlpipeline/v2/artifacts/"


def is_artifact_of(env: Environment, run: Run, uri: str) -> bool:
    """Return whether an address is in the server's own store, at a place that belongs to a run.

    A folder with the name of a run belongs to that run. When all runs share a namespace, the
    server's default root belongs to all runs.

    Args:
        env: the environment of the run.
        run: the run.
        uri: the address of the artifact.
    """
    segments = uri.split("/")
    if segments[0] != f"{SCHEME}:" or ".." in segments:
        return False
    if run.run_id in segments:
        return True
    shares_namespace = not KubeflowSettings.of(env.settings).namespace
    return shares_namespace and uri.startswith(DEFAULT_ROOT)


class ServerStore:
    """The object store of a server.

    Args:
        ui: the client of the UI server.
        namespace: the namespace of the runs, "" when none is set.
        seconds: the time limit of one reading.
    """

    def __init__(self, ui: Addresses, namespace: str, seconds: float) -> None:
        self._ui = ui
        self._namespace = namespace
        self._seconds = seconds

    def beginning(self, uri: str, size: int) -> bytes:
        """Return at most the first `size` bytes of an object.

        Args:
            uri: the address of the object, `minio://BUCKET/KEY`.
            size: a number greater than 0.

        Raises:
            NotFound: the object does not exist.
            BackendError: access to the object is denied, or the UI server does not answer.
        """
        # A key may contain "#" and "?".
        bucket = urlsplit(uri, allow_fragments=False).netloc
        key = uri.removeprefix(f"{SCHEME}://{bucket}").lstrip("/")
        if not bucket or not key:
            raise NotFound(
                f"{uri} is not the address of an object.",
                hint=f"Write {SCHEME}://BUCKET/KEY.",
            )
        params = {"source": SCHEME, "bucket": bucket, "key": key, "peek": str(size)}
        if self._namespace:
            params["namespace"] = self._namespace
        try:
            with within(self._seconds):
                return self._read(params, size)
        except NotFound as error:
            raise _no_object(uri, error.reason) from None
        except Unreachable as error:
            if says_object_is_missing(error.message):
                raise _no_object(uri, "NOT_FOUND") from None
            raise

    def _read(self, params: dict[str, str], size: int) -> bytes:
        """Return the first `size` bytes of the answer to a request."""
        content = bytearray()
        with closing(self._ui.stream("artifacts/get", params=params, retries=0)) as chunks:
            for chunk in chunks:
                content += chunk
                # Older servers do not know `peek`, and send the whole object.
                if len(content) >= size:
                    break
        return bytes(content[:size])


def _no_object(uri: str, reason: str) -> NotFound:
    return NotFound(
        f"{uri} does not exist.",
        hint="The file may have been deleted, or was never written.",
        status=404,
        reason=reason,
    )
