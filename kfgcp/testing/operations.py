"""Long-running operations: what a delete or a batch gives, done at once or after a moment."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Mapping
from typing import Any

from kfgcp.testing.google import GoogleError, format_time, not_found, stable_number
from kfgcp.testing.server import Request, Response, Route

_TYPES = "type.googleapis.com/google.cloud.aiplatform.v1."
EMPTY: Mapping[str, Any] = {"@type": "type.googleapis.com/google.protobuf.Empty"}


class Operations:
    """The operations of a location. seconds: how long each one takes; its work is done at once all
    the same."""

    def __init__(self, parent: str) -> None:
        self.seconds = 0.0
        self._parent = parent
        self._numbers = itertools.count(1)
        self._started: dict[str, tuple[float, str, Mapping[str, Any]]] = {}
        self._lock = threading.Lock()

    def routes(self, base: str) -> list[Route]:
        one = base + "/operations/{operation}"
        return [
            Route("GET", one, self.get),
            Route("GET", base + "/operations", self.list_all, ("filter", "pageSize", "pageToken")),
            Route("POST", one + ":cancel", self.cancel),
            Route("POST", one + ":wait", self.wait, ("timeout",)),
            Route("DELETE", one, self.delete),
        ]

    def start(self, kind: str, response: Mapping[str, Any] = EMPTY, message: str = "") -> Response:
        """The answer of a method whose work was done. kind: its metadata type. message: the
        response's type."""
        name = f"{self._parent}/operations/{stable_number(self._parent, next(self._numbers))}"
        typed = {"@type": _TYPES + message, **response} if message else response
        with self._lock:
            self._started[name] = (time.time(), kind, typed)
        return Response(body=self._view(name))

    def get(self, request: Request, operation: str, **_: str) -> Response:
        return Response(body=self._view(self._known(operation)))

    def list_all(self, request: Request, **_: str) -> Response:
        return Response(body={"operations": [self._view(name) for name in list(self._started)]})

    def wait(self, request: Request, operation: str, **_: str) -> Response:
        time.sleep(self.seconds)
        return Response(body=self._view(self._known(operation)))

    def cancel(self, request: Request, operation: str, **_: str) -> Response:
        self._known(operation)
        return Response()

    def delete(self, request: Request, operation: str, **_: str) -> Response:
        name = self._known(operation)
        if not self._view(name).get("done"):
            raise GoogleError(400, f"The operation {name} is not done.", "FAILED_PRECONDITION")
        with self._lock:
            self._started.pop(name, None)
        return Response()

    def _known(self, operation: str) -> str:
        name = f"{self._parent}/operations/{operation}"
        if name not in self._started:
            raise not_found(name)
        return name

    def _view(self, name: str) -> dict[str, Any]:
        at, kind, response = self._started[name]
        done = time.time() >= at + self.seconds
        ended = at + self.seconds if done else at
        times = {"createTime": format_time(at), "updateTime": format_time(ended)}
        found: dict[str, Any] = {
            "name": name,
            "metadata": {"@type": _TYPES + kind, "genericMetadata": times},
        }
        return found | ({"done": True, "response": dict(response)} if done else {})
