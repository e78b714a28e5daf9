"""Cloud Storage for stand-ins: the package gcp-storage-emulator in this process, in memory, on a
port of its own."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import partial
from http.server import HTTPServer
from typing import Any

from kfgcp.cross_site import CrossSiteGuard
from kfgcp.errors import MissingExtra
from kfgcp.testing.server import GuardedHandler, unusable


class Storage:
    """Buckets and objects until it is closed; `google.cloud.storage` finds it by
    STORAGE_EMULATOR_HOST.

    Args:
        project_number: whose buckets they are.
        port: 0 for a free one.
        host_names: further names that lead to it, see `kfgcp.cross_site`.

    Raises:
        MissingExtra: gcp-storage-emulator is not installed.
        UsageError: the port is taken.
    """

    def __init__(self, project_number: int, port: int = 0, host_names: Sequence[str] = ()) -> None:
        try:
            from gcp_storage_emulator.handlers.buckets import create_bucket
            from gcp_storage_emulator.server import RequestHandler
            from gcp_storage_emulator.storage import Storage as Emulated
        except ImportError:
            raise MissingExtra("The stand-in of Cloud Storage", "testing") from None

        self._create = create_bucket
        self._storage = Emulated(use_memory_fs=True, project_number=str(project_number))
        try:
            self._http = HTTPServer(
                ("127.0.0.1", port), partial(_handler(RequestHandler, host_names), self._storage)
            )
        except OSError as error:
            raise unusable(port, error) from None
        self._thread = threading.Thread(
            target=self._http.serve_forever, args=(0.05,), name="stand-in-gcs", daemon=True
        )
        self._thread.start()

    @property
    def endpoint(self) -> str:
        """`http://127.0.0.1:PORT`."""
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def has_bucket(self, name: str) -> bool:
        return bool(self._storage.get_bucket(name))

    def make_bucket(self, name: str) -> None:
        """Makes a bucket unless there is one of that name."""
        if not self.has_bucket(name):
            self._create(name, self._storage)

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


def _handler(handler: Any, host_names: Sequence[str]) -> Any:
    """Return a guarded handler. Its requests need no lock, because the server handles one after
    another."""

    class Guarded(GuardedHandler, handler):  # type: ignore[misc]
        timeout = 30
        server: HTTPServer

        @property
        def guard(self) -> CrossSiteGuard:
            return CrossSiteGuard(self.server.server_port, host_names)

        def log_message(self, format: str, *args: Any) -> None:
            """Not logged."""

    return Guarded
