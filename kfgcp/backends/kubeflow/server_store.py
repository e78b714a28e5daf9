"""Artifacts in the object store that a server of Kubeflow Pipelines has by itself, `minio://` by
default.

That store is inside of the cluster, so this machine cannot reach it. The UI server reads it:
`/artifacts/get` answers with an object, of which `peek` is how many bytes from its beginning. It
unpacks what gzip packed. Of a folder it answers with a line of text, since 2.17
(frontend/server/handlers/artifacts.ts).
"""

from __future__ import annotations

from contextlib import closing
from typing import Final
from urllib.parse import urlsplit

from kfgcp.backends.kubeflow.addresses import Addresses
from kfgcp.backends.kubeflow.server_errors import is_without_object
from kfgcp.config import Environment
from kfgcp.deadlines import within
from kfgcp.errors import NotFound, Unreachable
from kfgcp.model import Run

SCHEME: Final = "minio"
DEFAULT_ROOT: Final = "minio://mlpipeline/v2/artifacts/"
GONE: Final = "It may have been deleted, or never written."


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
    return run.run_id in segments or (not env.get("namespace") and uri.startswith(DEFAULT_ROOT))


class ServerStore:
    """The store of a server.

    Args:
        ui: the UI server.
        namespace: where runs are, empty when none is set.
        seconds: how long a look may take.
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
        url = urlsplit(uri, allow_fragments=False)
        key = uri.removeprefix(f"{SCHEME}://{url.netloc}").lstrip("/")
        if not (url.netloc and key):
            raise NotFound(
                f"{uri} is not the address of an object.",
                hint=f"The form is {SCHEME}://BUCKET/KEY.",
            )
        params = {"source": SCHEME, "bucket": url.netloc, "key": key, "peek": str(size)}
        if self._namespace:
            params["namespace"] = self._namespace
        try:
            with within(self._seconds):
                return self._read(params, size)
        except NotFound as error:
            raise NotFound(
                f"{uri} does not exist.", hint=GONE, status=404, reason=error.reason
            ) from None
        except Unreachable as error:
            if is_without_object(error.message):
                raise NotFound(
                    f"{uri} does not exist.", hint=GONE, status=404, reason="NOT_FOUND"
                ) from None
            raise

    def _read(self, params: dict[str, str], size: int) -> bytes:
        content = bytearray()
        with closing(self._ui.stream("artifacts/get", params=params, retries=0)) as chunks:
            for chunk in chunks:
                content += chunk
                if len(content) >= size:
                    break
        return bytes(content[:size])
