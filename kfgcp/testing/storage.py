"""Cloud Storage for stand-ins: the package gcp-storage-emulator, in this process and in memory.

It has its own port, because some of its paths are also paths of other services.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from functools import partial
from http.server import HTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from kfgcp.cross_site import CrossSiteGuard
from kfgcp.errors import MissingExtra
from kfgcp.testing.server import GuardedHandler, port_error


class Storage:
    """A server for buckets and objects, until it is closed.

    `google.cloud.storage` finds the server with the environment variable STORAGE_EMULATOR_HOST.

    Args:
        project_number: the project of the buckets.
        port: the port, 0 for a free one.
        host_names: more names in the Host header of allowed requests, see `kfgcp.cross_site`.

    Raises:
        MissingExtra: gcp-storage-emulator is not installed.
        UsageError: the port is taken.
    """

    def __init__(self, project_number: int, port: int = 0, host_names: Sequence[str] = ()) -> None:
        try:
            from gcp_storage_emulator.handlers.buckets import create_bucket
            from gcp_storage_emulator.server import RequestHandler
            from gcp_storage_emulator.storage import Storage as EmulatedStorage
        except ImportError:
            raise MissingExtra("The stand-in of Cloud Storage", "testing") from None

        self._create_bucket = create_bucket
        storage_class = _conditional_storage(EmulatedStorage)
        self._storage = storage_class(use_memory_fs=True, project_number=str(project_number))
        handler = partial(_guard_handler(RequestHandler, host_names), self._storage)
        try:
            self._http = HTTPServer(("127.0.0.1", port), handler)
        except OSError as error:
            raise port_error(port, error) from None
        self._thread = threading.Thread(
            target=self._http.serve_forever, args=(0.05,), name="stand-in-gcs", daemon=True
        )
        self._thread.start()

    @property
    def endpoint(self) -> str:
        """Return the address, `http://127.0.0.1:PORT`."""
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def has_bucket(self, name: str) -> bool:
        """Return whether a bucket exists."""
        return bool(self._storage.get_bucket(name))

    def make_bucket(self, name: str) -> None:
        """Create a bucket, unless it exists."""
        if not self.has_bucket(name):
            self._create_bucket(name, self._storage)

    def close(self) -> None:
        """Stop serving."""
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


class _ConditionNotMet(Exception):
    """The object has another generation than the request names."""


def _conditional_storage(storage_class: type) -> type:
    """Return a subclass of the emulated storage that checks the generation of an object."""

    class Conditional(storage_class):  # type: ignore[misc]
        # The generation that the object of the present request must have, "0" for no object, None
        # for any. The server handles one request after another, so no other request sees the value.
        expected_generation: str | None = None

        def create_file(
            self,
            bucket_name: str,
            file_name: str,
            content: bytes,
            file_obj: object,
            file_id: str | None = None,
        ) -> None:
            self._check_generation(bucket_name, file_name)
            super().create_file(bucket_name, file_name, content, file_obj, file_id)

        def get_file_obj(self, bucket_name: str, file_name: str) -> Any:
            file_obj = super().get_file_obj(bucket_name, file_name)
            self._check_generation(bucket_name, file_name)
            return file_obj

        def delete_file(self, bucket_name: str, file_name: str) -> None:
            if file_name in self.objects.get(bucket_name, {}):
                self._check_generation(bucket_name, file_name)
            super().delete_file(bucket_name, file_name)

        def _check_generation(self, bucket_name: str, file_name: str) -> None:
            stored = self.objects.get(bucket_name, {}).get(file_name)
            generation = "0" if stored is None else str(stored["generation"])
            if self.expected_generation not in (None, generation):
                raise _ConditionNotMet

    return Conditional


def _guard_handler(handler: Any, host_names: Sequence[str]) -> Any:
    """Return a subclass of a handler that refuses requests of foreign web pages.

    It also heeds the query parameter `ifGenerationMatch`, which the emulator ignores. A request
    succeeds only when the object has this generation, and with 0 only when it does not exist.
    Otherwise the answer is 412. Source: cloud.google.com/storage/docs/request-preconditions.

    The handler needs no lock, because the server handles one request after another.
    """

    class Guarded(GuardedHandler, handler):  # type: ignore[misc]
        # Seconds to wait for data of a client. The server handles one client at a time, so without
        # a limit a silent client would block all others.
        timeout = 30
        server: HTTPServer

        @property
        def guard(self) -> CrossSiteGuard:
            return CrossSiteGuard(self.server.server_port, host_names)

        def do_GET(self) -> None:  # noqa: N802 - a name of http.server
            self._check_condition(super().do_GET)

        def do_DELETE(self) -> None:  # noqa: N802 - a name of http.server
            self._check_condition(super().do_DELETE)

        def do_POST(self) -> None:  # noqa: N802 - a name of http.server
            self._check_condition(super().do_POST)

        def do_PUT(self) -> None:  # noqa: N802 - a name of http.server
            self._check_condition(super().do_PUT)

        def _check_condition(self, handle: Callable[[], None]) -> None:
            query = parse_qs(urlsplit(self.path).query)
            generations = query.get("ifGenerationMatch")
            self.storage.expected_generation = generations[0] if generations else None
            try:
                handle()
            except _ConditionNotMet:
                self._send_condition_not_met()
            finally:
                self.storage.expected_generation = None

        def _send_condition_not_met(self) -> None:
            message = "At least one of the pre-conditions you specified did not hold."
            reason = {"message": message, "domain": "global", "reason": "conditionNotMet"}
            body = {"error": {"code": 412, "message": message, "errors": [reason]}}
            data = json.dumps(body).encode()
            self.send_response(412)
            self.send_header("Content-Type", "application/json; charset=UTF-8")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            """Write no log."""

    return Guarded
