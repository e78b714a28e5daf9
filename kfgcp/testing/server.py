"""A small HTTP server for stand-ins: routes, requests that are recorded, faults on purpose. It
knows no service.

A stand-in gives it a function from `Request` to `Response`. The server reads the request, records
it, asks `Faults` whether this one is to go wrong, and answers. Each connection has a thread;
connections are kept alive. Before that it refuses what a foreign web page may have sent.
"""

from __future__ import annotations

import json
import logging
import re
import socket
import struct
import threading
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from kfgcp.cross_site import CrossSiteGuard
from kfgcp.errors import UsageError
from kfgcp.testing.faults import GARBAGE, LATE, LATE_SECONDS, LOST, RESET, Fault, Faults
from kfgcp.testing.requests import RequestLog

LOG = logging.getLogger(__name__)
_GARBAGE_BODY: Final = b"<html><head><title>Sign in</title></head><body>not what you asked for"


@dataclass(frozen=True, slots=True)
class Request:
    """What a client sent. `query` has the last value of each name; names of `headers` are lower
    case."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    @property
    def token(self) -> str | None:
        """The bearer token, None without one."""
        scheme, _, token = self.headers.get("authorization", "").partition(" ")
        return token if scheme.lower() == "bearer" and token else None

    @property
    def content_type(self) -> str:
        """The type of the body in lower case and without parameters, empty without one."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


@dataclass(frozen=True, slots=True)
class Response:
    """What is answered; `body` is sent as JSON unless it is bytes."""

    status: int = 200
    body: Any = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)

    def encoded(self) -> bytes:
        if isinstance(self.body, bytes):
            return self.body
        return json.dumps(self.body, separators=(",", ":"), ensure_ascii=False).encode()


Handler = Callable[..., Response]


@dataclass(frozen=True, slots=True)
class Route:
    """Requests of `method` to paths like `template`, whose `{name}` is one segment without colons,
    go to `handler`.

    The handler is called with the request and the segments by name. query: the parameters that it
    understands.
    """

    method: str
    template: str
    handler: Handler
    query: Sequence[str] = ()


class Router:
    """Finds the route of a request."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._routes = [(route, _pattern(route.template)) for route in routes]

    def find(self, request: Request) -> tuple[Route, dict[str, str]] | None:
        """The route and the segments by name, None when there is none."""
        for route, pattern in self._routes:
            if route.method == request.method and (match := pattern.fullmatch(request.path)):
                return route, match.groupdict()
        return None


def _pattern(template: str) -> re.Pattern[str]:
    parts = re.split(r"\{(\w+)\}", template)
    return re.compile(
        "".join(
            f"(?P<{part}>[^/:]+)" if index % 2 else re.escape(part)
            for index, part in enumerate(parts)
        )
    )


class HttpServer:
    """Serves on 127.0.0.1 until it is closed.

    Args:
        handle: gives the answer; what it raises becomes a 500.
        refuse: makes the service's error for a status and a text, for faults and crashes.
        port: 0 for a free one.
        host_names: further names that lead to it, see `kfgcp.cross_site`.

    Raises:
        UsageError: the port is taken.
    """

    def __init__(
        self,
        handle: Callable[[Request], Response],
        refuse: Callable[[int, str], Response],
        port: int = 0,
        host_names: Sequence[str] = (),
    ) -> None:
        self.faults = Faults()
        self.requests = RequestLog()
        self._handle = handle
        self._refuse = refuse
        self._open: set[socket.socket] = set()
        self._stopped = threading.Event()
        self.dropped = 0
        # What a late request waits for between its connection's end and its work. Our own tests
        # replace it by a condition, so that they do not depend on the time.
        self.before_late_work: Callable[[], object] = lambda: self.wait(LATE_SECONDS)
        try:
            self._http = _Http(("127.0.0.1", port), self)
        except OSError as error:
            raise unusable(port, error) from None
        self.guard = CrossSiteGuard(self._http.server_address[1], host_names)
        self._thread = threading.Thread(
            target=self._http.serve_forever, args=(0.05,), name="stand-in", daemon=True
        )
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def close(self) -> None:
        """Stops serving and closes every connection."""
        self._stopped.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()
        for connection in list(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    # -- for the handler

    def opened(self, connection: socket.socket) -> None:
        self._open.add(connection)

    def closed(self, connection: socket.socket) -> None:
        self._open.discard(connection)

    def drops(self) -> bool:
        """Return whether a connection or request has to be dropped, and count it in `dropped`."""
        offline = self.faults.is_offline
        self.dropped += offline
        return offline

    def answer(self, request: Request, fault: Fault | None) -> Response:
        """The answer, or the error that a fault asks for."""
        if fault is not None and fault.status is not None:
            headers = {} if fault.retry_after is None else {"Retry-After": f"{fault.retry_after:g}"}
            refused = self._refuse(fault.status, "The stand-in fails this request on purpose.")
            return Response(fault.status, refused.body, headers)
        try:
            response = self._handle(request)
        except Exception as error:
            LOG.exception("%s %s", request.method, request.path)
            return self._refuse(500, f"The stand-in failed inside: {type(error).__name__}: {error}")
        if fault is not None and fault.kind == GARBAGE:
            return Response(200, _GARBAGE_BODY, {"Content-Type": "text/html"})
        return response

    def wait(self, seconds: float) -> None:
        """Waits, but not longer than the server lives."""
        if seconds > 0:
            self._stopped.wait(seconds)


def unusable(port: int, error: OSError) -> UsageError:
    """The error that a port cannot be used."""
    return UsageError(
        f"Port {port} of this machine cannot be used: {error.strerror}.",
        hint="Choose another one, or 0.",
    )


class GuardedHandler(BaseHTTPRequestHandler):
    """Answers 403 to requests that a foreign web page may have sent, before their methods are
    called."""

    @property
    @abstractmethod
    def guard(self) -> CrossSiteGuard:
        """Tells which requests are refused."""

    def parse_request(self) -> bool:
        if not super().parse_request():
            return False
        reason = self.guard.refusal(self.command, self.headers.items(), self.path)
        if reason is None:
            return True
        self.close_connection = True  # the body was not read
        text = f"{reason}\n".encode()
        self.send_response(403)
        self.send_header("Content-Type", "text/plain; charset=UTF-8")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Content-Length", str(len(text)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(text)
        return False


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 1024  # a client may open a connection for each of a thousand runs at once

    def __init__(self, address: tuple[str, int], owner: HttpServer) -> None:
        self.owner = owner
        super().__init__(address, _Handler)

    def verify_request(self, request: Any, client_address: Any) -> bool:
        return not self.owner.drops()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no error of ours."""


class _Handler(GuardedHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Http

    @property
    def guard(self) -> CrossSiteGuard:
        return self.server.owner.guard

    def setup(self) -> None:
        super().setup()
        self.server.owner.opened(self.connection)

    def finish(self) -> None:
        self.server.owner.closed(self.connection)
        with suppress(OSError):
            super().finish()

    def _serve(self) -> None:
        owner = self.server.owner
        request = self._read()
        if owner.drops():
            return self._drop()
        fault = owner.faults.take(request.method, request.path)
        entry = owner.requests.add(
            request.method, request.path, request.query, request.headers, request.body
        )
        entry.fault = fault.kind if fault else None
        owner.wait(owner.faults.latency)
        if fault is not None and fault.kind == RESET:
            return self._reset()
        if fault is not None and fault.kind == LATE:
            self.connection.shutdown(socket.SHUT_RDWR)
            owner.before_late_work()
        response = owner.answer(request, fault)
        if fault is not None and fault.kind in (LOST, LATE):
            owner.requests.done(entry)
            return self._drop()
        entry.status = response.status
        owner.requests.done(entry)
        self._send(response)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815

    def _read(self) -> Request:
        url = urlsplit(self.path)
        size = int(self.headers.get("Content-Length") or 0)
        return Request(
            method=self.command,
            path=unquote(url.path),
            query=dict(parse_qsl(url.query, keep_blank_values=True)),
            headers={name.lower(): value for name, value in self.headers.items()},
            body=self.rfile.read(size) if size else b"",
        )

    def _send(self, response: Response) -> None:
        data = response.encoded()
        self.send_response(response.status)
        for name, value in {
            "Content-Type": "application/json; charset=UTF-8",
            **response.headers,
        }.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _drop(self) -> None:
        """Closes the connection without an answer."""
        self.close_connection = True

    def _reset(self) -> None:
        """Closes it so that the client's system reports a reset."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are recorded instead."""
