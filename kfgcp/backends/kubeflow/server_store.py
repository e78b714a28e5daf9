"""Artifacts in the object store of the server itself, `minio://` by default.

That store is inside the cluster, so this machine cannot reach it. The UI server reads it:
`/artifacts/get` answers with an object, or with the first `peek` bytes of it. It unpacks what gzip
packed. For a folder it answers with a line of text, since 2.17
(frontend/server/handlers/artifacts.ts).
"""

from __future__ import annotations

from contextlib import closing
from typing import Final
from urllib.parse import urlsplit

from kfgcp.backends.kubeflow.addresses import Addresses
from kfgcp.backends.kubeflow.server_errors import is_without_object
from kfgcp.backends.kubeflow.settings import KubeflowSettings
from kfgcp.config import Environment
from kfgcp.deadlines import within
from kfgcp.errors import NotFound, Unreachable
from kfgcp.model import Run

SCHEME: Final = "minio"
DEFAULT_ROOT: Final = "minio://mlpipeline/v2/artifacts/"


def is_artifact_of(env: Environment, run: Run, uri: str) -> bool:
    """Return whether an address is in the server's own store, at a place that belongs to a run.

    These are the folders that are named after the run. Where all runs share a namespace, it is also
    what is below the server's default root.

    Args:
        env: the environment of the run.
        run: has the artifact.
        uri: of the artifact.
    """
    segments = uri.split("/")
    if segments[0] != f"{SCHEME}:" or ".." in segments:
        return False
    if run.run_id in segments:
        return True
    shares_namespace = not KubeflowSettings.of(env.settings).namespace
    return shares_namespace and uri.startswith(DEFAULT_ROOT)


class ServerStore:
    """The store of a server.

    Args:
        ui: the UI server.
        namespace: where runs are, empty when none is set.
        seconds: how long one reading may take.
    """

    def __init__(self, ui: Addresses, namespace: str, seconds: float) -> None:
        self._ui = ui
        self._namespace = namespace
        self._seconds = seconds

    def beginning(self, uri: str, size: int) -> bytes:
        """Return at most the first `size` bytes of an object.

        Args:
            uri: `minio://BUCKET/KEY`.
            size: more than 0.

        Raises:
            NotFound: there is no such object.
            BackendError: it may not be read, or the UI server does not answer.
        """
        # A key may contain "#" and "?".
        bucket = urlsplit(uri, allow_fragments=False).netloc
        key = uri.removeprefix(f"{SCHEME}://{bucket}").lstrip("/")
        if not bucket or not key:
            raise NotFound(
                f"{uri} is not the address of an object.",
                hint=f"The form is {SCHEME}://BUCKET/KEY.",
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
            if is_without_object(error.message):
                raise _no_object(uri, "NOT_FOUND") from None
            raise

    def _read(self, params: dict[str, str], size: int) -> bytes:
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
        hint="It may have been deleted, or never written.",
        status=404,
        reason=reason,
    )
