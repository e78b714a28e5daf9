"""A proxy in front of a stand-in. It changes the answers that it is told to change, and hands on
the others."""

from __future__ import annotations

import http.client
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

from answer_mutations import Mutated, WireAnswer
from kfgcp.backends.kubeflow import mlmd
from patience import REQUEST

IDS = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}|(?<=pipelineJobs/)[^/:]+|[0-9a-f]{10,}")
KEPT_HEADERS = ("content-type", "grpc-status", "grpc-message", "location", "x-message")

Change = Callable[[WireAnswer], Mutated]


def kind_of(method: str, target: str) -> str:
    """Return what requests of one kind have in common: `GET
    /v1/projects/p/locations/l/pipelineJobs/*`."""
    return f"{method} {IDS.sub('*', unquote(urlsplit(target).path))}"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        """Print nothing: a client may close its connection, and its output is what the tests look
        at."""


class MutatingProxy:
    """Serves on 127.0.0.1 until it is closed.

    Args:
        target: `http://127.0.0.1:PORT` of the stand-in.

    Attributes:
        kinds: of the requests since the last `clear`, each once, in the order in which they came.
        changes: made since the last `clear`, in words.
    """

    def __init__(self, target: str) -> None:
        self.kinds: list[str] = []
        self.changes: list[str] = []
        self._target = urlsplit(target).netloc
        self._planned: dict[str, list[Change]] = {}
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True
            timeout = REQUEST

            def do_GET(self) -> None:
                outer._serve(self)

            do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_GET  # noqa: N815

            def log_message(self, *_: object) -> None:
                """Changes are recorded instead."""

        self._http = _Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}"

    def clear(self) -> None:
        """Forget what was planned and recorded."""
        with self._lock:
            self.kinds, self.changes, self._planned = [], [], {}

    def plan(self, kind: str, change: Change) -> None:
        """Change the next answer to a request of that kind."""
        with self._lock:
            self._planned.setdefault(kind, []).append(change)

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        answer = self._ask(handler, body)
        kind = kind_of(handler.command, handler.path)
        with self._lock:
            if kind not in self.kinds:
                self.kinds.append(kind)
            planned = self._planned.get(kind)
            change = planned.pop(0) if planned else None
        if change is not None:
            mutated = change(answer)
            self.changes.append(
                f"{handler.command} {unquote(handler.path)[:200]}: {mutated.change}"
            )
            answer = mutated.answer
        with suppress(OSError):
            self._send(handler, answer)

    def _ask(self, handler: BaseHTTPRequestHandler, body: bytes) -> WireAnswer:
        connection = http.client.HTTPConnection(self._target, timeout=REQUEST)
        hidden = ("host", "connection", "accept-encoding")
        headers = {
            name: value for name, value in handler.headers.items() if name.lower() not in hidden
        }
        try:
            connection.request(handler.command, handler.path, body or None, headers)
            response = connection.getresponse()
            lowercase_headers = {name.lower(): value for name, value in response.headers.items()}
            kept_headers = {
                name: value for name, value in lowercase_headers.items() if name in KEPT_HEADERS
            }
            if mlmd.SERVICE in handler.path:
                kept_headers["x-message"] = f"{handler.path.rpartition('/')[2]}Response"
            return WireAnswer(response.status, kept_headers, response.read())
        finally:
            connection.close()

    def _send(self, handler: BaseHTTPRequestHandler, answer: WireAnswer) -> None:
        handler.send_response(answer.status)
        for name, value in answer.headers.items():
            handler.send_header(name, value)
        has_body = answer.status != http.client.NO_CONTENT and handler.command != "HEAD"
        if answer.status != http.client.NO_CONTENT:
            handler.send_header("Content-Length", str(len(answer.body)))
        handler.end_headers()
        if has_body:
            handler.wfile.write(answer.body)


@contextmanager
def proxy_of(target: str) -> Iterator[MutatingProxy]:
    """Give a proxy in front of an address."""
    proxy = MutatingProxy(target)
    try:
        yield proxy
    finally:
        proxy.close()
