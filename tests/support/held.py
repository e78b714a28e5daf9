"""Hold a request to a stand-in before or after its work, until a test releases it."""

from __future__ import annotations

import threading
from fnmatch import fnmatchcase

from kfgcp.testing.server import Request, Response
from kfgcp.testing.stand_in import StandIn
from patience import REQUEST


class HeldRequest:
    """Holds the next request with a method and a path that matches a glob.

    Args:
        stand_in: the service; one request at a time can be held.
        method: the HTTP method of the request.
        path: a glob for its path.
        after_work: hold the request after its work is done, not before.
    """

    def __init__(
        self, stand_in: StandIn, method: str, path: str, *, after_work: bool = False
    ) -> None:
        self._handle = stand_in.handle
        self._stand_in = stand_in
        self._method = method
        self._path = path
        self._after_work = after_work
        self._lock = threading.Lock()
        self._held = False
        self._released = threading.Event()
        self.reached = threading.Event()
        stand_in.handle = self._hold  # type: ignore[method-assign]

    def release(self) -> None:
        """Let the request continue."""
        self._released.set()
        self._stand_in.handle = self._handle  # type: ignore[method-assign]

    def _hold(self, request: Request) -> Response:
        if not self._is_first(request):
            return self._handle(request)
        if not self._after_work:
            self._stop()
        response = self._handle(request)
        if self._after_work:
            self._stop()
        return response

    def _is_first(self, request: Request) -> bool:
        if request.method != self._method or not fnmatchcase(request.path, self._path):
            return False
        with self._lock:
            first = not self._held
            self._held = True
            return first

    def _stop(self) -> None:
        self.reached.set()
        assert self._released.wait(REQUEST), "nobody has released the request"
