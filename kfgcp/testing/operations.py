"""Long-running operations of a stand-in: the answers of deletes and batches.

The work of an operation is done when the operation starts. But its `done` becomes true only after
`Operations.seconds`. The stand-in answers the methods of google.longrunning.Operations.
"""

from __future__ import annotations

import itertools
import threading
import time
from typing import Final, NamedTuple

from kfgcp.spec.json_values import JsonObject
from kfgcp.testing.google import JsonBody, format_time, not_found, stable_number, wrong_state
from kfgcp.testing.server import Request, Response, Route

_TYPE_PREFIX: Final = "type.googleapis.com/google.cloud.aiplatform.v1."
EMPTY: Final[JsonObject] = {"@type": "type.googleapis.com/google.protobuf.Empty"}


class _Operation(NamedTuple):
    """An operation.

    started: seconds since 1970. metadata: the constant part of its metadata. has_times: whether
    the metadata has times, as in all methods of Vertex AI.
    """

    started: float
    metadata: JsonObject
    has_times: bool
    response: JsonObject


class Operations:
    """The operations of a location.

    Attributes:
        seconds: the time from the start of an operation until clients see that it is done.
    """

    def __init__(self, parent: str) -> None:
        self.seconds = 0.0
        self._parent = parent
        self._numbers = itertools.count(1)
        self._operations: dict[str, _Operation] = {}
        self._lock = threading.Lock()

    def routes(self, base: str) -> list[Route]:
        """Return the routes of the service. base: the path of a location."""
        collection = base + "/operations"
        operation = collection + "/{operation}"
        return [
            Route("GET", operation, self.get),
            Route("GET", collection, self.list_all, ("filter", "pageSize", "pageToken")),
            Route("POST", operation + ":cancel", self.cancel),
            Route("POST", operation + ":wait", self.wait, ("timeout",)),
            Route("DELETE", operation, self.delete),
        ]

    def start(
        self,
        metadata_type: str = "",
        response: JsonObject = EMPTY,
        response_type: str = "",
        metadata: JsonObject | None = None,
    ) -> Response:
        """Add an operation, and return the answer of the method that starts it.

        Args:
            metadata_type: the type of the metadata in aiplatform_v1.
            response: the result of the operation as JSON.
            response_type: the type of `response` in aiplatform_v1; empty if `response` has `@type`.
            metadata: the metadata of a method of another service. It replaces `metadata_type`.
        """
        number = stable_number(self._parent, next(self._numbers))
        name = f"{self._parent}/operations/{number}"
        if response_type:
            response = {"@type": _TYPE_PREFIX + response_type, **response}
        has_times = metadata is None
        if metadata is None:
            metadata = {"@type": _TYPE_PREFIX + metadata_type}
        with self._lock:
            self._operations[name] = _Operation(time.time(), metadata, has_times, response)
        return Response(body=self._view(name))

    def get(self, request: Request, operation: str, **_: str) -> Response:
        """Answer GetOperation."""
        return Response(body=self._view(self._look_up(operation)))

    def list_all(self, request: Request, **_: str) -> Response:
        """Answer ListOperations."""
        return Response(body={"operations": [self._view(name) for name in list(self._operations)]})

    def wait(self, request: Request, operation: str, **_: str) -> Response:
        """Answer WaitOperation."""
        time.sleep(self.seconds)
        return Response(body=self._view(self._look_up(operation)))

    def cancel(self, request: Request, operation: str, **_: str) -> Response:
        """Answer CancelOperation. It has no effect, because the work is done already."""
        self._look_up(operation)
        return Response()

    def delete(self, request: Request, operation: str, **_: str) -> Response:
        """Answer DeleteOperation."""
        name = self._look_up(operation)
        if not self._view(name).get("done"):
            raise wrong_state(f"The operation {name} is not done.")
        with self._lock:
            self._operations.pop(name, None)
        return Response()

    def _look_up(self, operation: str) -> str:
        """Return the resource name of an operation, or raise 404."""
        name = f"{self._parent}/operations/{operation}"
        if name not in self._operations:
            raise not_found(name)
        return name

    def _view(self, name: str) -> JsonBody:
        """Return an operation as JSON."""
        operation = self._operations[name]
        end = operation.started + self.seconds
        is_done = time.time() >= end
        times = {
            "createTime": format_time(operation.started),
            "updateTime": format_time(end if is_done else operation.started),
        }
        metadata = dict(operation.metadata)
        if operation.has_times:
            metadata["genericMetadata"] = times
        view: JsonBody = {"name": name, "metadata": metadata}
        if is_done:
            view["done"] = True
            view["response"] = dict(operation.response)
        return view
