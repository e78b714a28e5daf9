"""A small HTTP server for stand-ins, with recorded requests and faults.

The server knows no service. A stand-in gives it a function from `Request` to `Response`. The server
handles a request in these steps:

1. It refuses the request if a foreign web page may have sent it.
2. It reads the request.
3. It takes the fault of the request from `Faults`, if there is one.
4. It records the request.
5. It calls the function and sends the answer, or it does what the fault says.

Each connection has a thread and stays open for further requests.
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
# The page of a proxy that asks for a sign-in, cut off in the middle.
_GARBAGE_BODY: Final = b"<html><head><title>Sign in</title></head><body>not what you asked for"


@dataclass(frozen=True, slots=True)
class Request:
    """A request of a client.

    path: decoded, without the query. query: the query parameters. A parameter that is repeated has
    its last value. headers: with names in lower case.
    """

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    @property
    def token(self) -> str | None:
        """Return the bearer token, None without one."""
        scheme, _, token = self.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            return None
        return token

    @property
    def content_type(self) -> str:
        """Return the type of the body in lower case, without parameters; empty without a type."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


@dataclass(frozen=True, slots=True)
class Response:
    """An answer. body: bytes, or a value that is sent as JSON."""

    status: int = 200
    body: Any = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)

    def encoded(self) -> bytes:
        """Return the bytes of the body."""
        if isinstance(self.body, bytes):
            return self.body
        return json.dumps(self.body, separators=(",", ":"), ensure_ascii=False).encode()


Handler = Callable[..., Response]


@dataclass(frozen=True, slots=True)
class Route:
    """A method, a template of paths, and the handler of the requests that fit both.

    Attributes:
        method: the HTTP method.
        template: the path. `{name}` in it stands for one segment without a colon.
        handler: called with the request, and with the segments by name.
        query: the query parameters that the handler understands.
    """

    method: str
    template: str
    handler: Handler
    query: Sequence[str] = ()


class Router:
    """Finds the route of a request. The first route that fits wins."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._routes = [(route, _compile_template(route.template)) for route in routes]

    def find(self, request: Request) -> tuple[Route, dict[str, str]] | None:
        """Return the route and the segments by name, None without a route."""
        for route, pattern in self._routes:
            if route.method != request.method:
                continue
            match = pattern.fullmatch(request.path)
            if match:
                return route, match.groupdict()
        return None


def _compile_template(template: str) -> re.Pattern[str]:
    """Return the pattern of the paths that a template stands for."""
    # `re.split` returns the texts between the names at even indexes, and the names at odd indexes.
    parts = re.split(r"\{(\w+)\}", template)
    pattern = ""
    for index, part in enumerate(parts):
        if index % 2:
            pattern += f"(?P<{part}>[^/:]+)"
        else:
            pattern += re.escape(part)
    return re.compile(pattern)


class HttpServer:
    """An HTTP server on 127.0.0.1, until it is closed.

    Args:
        handle: returns the answer to a request. An exception becomes the status 500.
        refuse: returns the error of the service for a status and a text.
        port: the port, 0 for a free one.
        host_names: more names in the Host header of allowed requests, see `kfgcp.cross_site`.

    Attributes:
        faults: decides which requests fail.
        requests: the requests so far.
        dropped: the number of connections and requests that were dropped while the server was
            offline.

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
        self._open_connections: set[socket.socket] = set()
        self._stopped = threading.Event()
        self.dropped = 0
        # For a request with the fault `late`, called after its connection is closed and before its
        # work is done. Our own tests wait for a condition here instead of a time.
        self.before_late_work: Callable[[], object] = lambda: self.wait(LATE_SECONDS)
        try:
            self._http = _Http(("127.0.0.1", port), self)
        except OSError as error:
            raise port_error(port, error) from None
        self.guard = CrossSiteGuard(self._http.server_address[1], host_names)
        self._thread = threading.Thread(
            # The argument is the time between two polls in seconds. `close` waits for the next
            # poll, and would be slow with the default of 0.5.
            target=self._http.serve_forever,
            args=(0.05,),
            name="stand-in",
            daemon=True,
        )
        self._thread.start()

    @property
    def url(self) -> str:
        """Return the address, `http://127.0.0.1:PORT`."""
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def close(self) -> None:
        """Stop serving, and close every connection."""
        self._stopped.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()
        # Each open connection has a thread that waits for further requests. The thread ends when
        # its connection is closed.
        for connection in list(self._open_connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    # -- for the handler

    def add_connection(self, connection: socket.socket) -> None:
        """Record a connection that opens."""
        self._open_connections.add(connection)

    def remove_connection(self, connection: socket.socket) -> None:
        """Record that a connection closes."""
        self._open_connections.discard(connection)

    def must_drop(self) -> bool:
        """Return whether to drop a new connection or request. Count it in `dropped` if so."""
        if not self.faults.is_offline:
            return False
        self.dropped += 1
        return True

    def answer(self, request: Request, fault: Fault | None) -> Response:
        """Return the answer of the service, or the answer that a fault puts in its place."""
        if fault is not None and fault.status is not None:
            headers = {} if fault.retry_after is None else {"Retry-After": f"{fault.retry_after:g}"}
            refused = self._refuse(fault.status, "The stand-in fails this request on purpose.")
            return Response(fault.status, refused.body, headers)
        try:
            response = self._handle(request)
        except Exception as error:
            LOG.exception("%s %s", request.method, request.path)
            problem = f"{type(error).__name__}: {error}"
            return self._refuse(500, f"The stand-in has a bug. This request raised {problem}")
        if fault is not None and fault.kind == GARBAGE:
            return Response(200, _GARBAGE_BODY, {"Content-Type": "text/html"})
        return response

    def wait(self, seconds: float) -> None:
        """Wait for some seconds, or until the server closes."""
        if seconds > 0:
            self._stopped.wait(seconds)


def port_error(port: int, error: OSError) -> UsageError:
    """Return the error for a port that cannot be used."""
    return UsageError(
        f"Port {port} of this machine cannot be used: {error.strerror}.",
        hint="Use another port, or 0 for a free one.",
    )


class GuardedHandler(BaseHTTPRequestHandler):
    """A handler that answers 403 to requests that a foreign web page may have sent."""

    @property
    @abstractmethod
    def guard(self) -> CrossSiteGuard:
        """Return the guard that knows which requests to refuse."""

    def parse_request(self) -> bool:
        """Read the first line and the headers, and return whether to handle the request.

        The server calls this method before a method such as `do_GET`, which may read the body.
        """
        if not super().parse_request():
            return False
        reason = self.guard.refusal(self.command, self.headers.items(), self.path)
        if reason is None:
            return True
        # The body stays unread. On the same connection, the server would take it for a request.
        self.close_connection = True
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
    # A client may open a connection for each of a thousand runs at once.
    request_queue_size = 1024

    def __init__(self, address: tuple[str, int], owner: HttpServer) -> None:
        self.owner = owner
        super().__init__(address, _Handler)

    def verify_request(self, request: Any, client_address: Any) -> bool:
        return not self.owner.must_drop()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore that a client has closed its connection."""


class _Handler(GuardedHandler):
    # With 1.0, each request would need a new connection.
    protocol_version = "HTTP/1.1"
    # Headers and body are two packets. The second one must not wait for an acknowledgement.
    disable_nagle_algorithm = True
    server: _Http

    @property
    def guard(self) -> CrossSiteGuard:
        return self.server.owner.guard

    def setup(self) -> None:
        super().setup()
        self.server.owner.add_connection(self.connection)

    def finish(self) -> None:
        self.server.owner.remove_connection(self.connection)
        with suppress(OSError):
            super().finish()

    def _serve(self) -> None:
        """Answer a request, or do what its fault says."""
        owner = self.server.owner
        request = self._read()
        # The server may have gone offline since the connection was opened.
        if owner.must_drop():
            return self._drop()
        fault = owner.faults.take_fault(request.method, request.path)
        entry = owner.requests.add(
            request.method, request.path, request.query, request.headers, request.body
        )
        kind = None if fault is None else fault.kind
        entry.fault = kind
        owner.wait(owner.faults.latency)
        if kind == RESET:
            return self._reset()
        if kind == LATE:
            self.connection.shutdown(socket.SHUT_RDWR)
            owner.before_late_work()
        response = owner.answer(request, fault)
        if kind in (LOST, LATE):
            owner.requests.finish(entry)
            return self._drop()
        # Record the status before the answer is sent. A test may look at the requests as soon as it
        # has the answer.
        entry.status = response.status
        owner.requests.finish(entry)
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
        headers = {"Content-Type": "application/json; charset=UTF-8", **response.headers}
        self.send_response(response.status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _drop(self) -> None:
        """Close the connection without an answer."""
        self.close_connection = True

    def _reset(self) -> None:
        """Close the connection with a TCP reset."""
        # With a linger time of 0 seconds, the system sends RST instead of FIN.
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def log_message(self, format: str, *args: Any) -> None:
        """Write no log: requests are recorded."""
