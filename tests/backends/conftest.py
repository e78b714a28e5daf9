"""A server on loopback that answers as it is told, a clock that does not wait, and clients that use both."""

import contextlib
import http.server
import json
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from kfgcp.backends.auth import Token
from kfgcp.backends.http import Http

SECRET = "ya29.a0AfH6SMB-very_secret.token"  # noqa: S105


@dataclass(frozen=True)
class Asked:
    """A request as it arrived. headers: names in lower case."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def form(self) -> dict[str, str]:
        return dict(parse_qsl(self.body.decode()))


@dataclass(frozen=True)
class Reply:
    """What to answer. missing: bytes that are announced and never sent; silent: seconds without a word."""

    body: Any = field(default_factory=dict)
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    missing: int = 0
    hang_up: bool = False
    silent: bool = False


class Server:
    """Answers each request with the next reply of the queue. Whoever asks once more gets 418, and the test fails."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.unexpected: list[Asked] = []
        self.closing = threading.Event()
        self._queue: deque[Reply | Callable[[Asked], Reply]] = deque()
        self._always: Callable[[Asked], Reply] | None = None
        self._lock = threading.Lock()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer._answer(self)

            do_POST = do_PATCH = do_DELETE = do_PUT = do_CONNECT = do_GET  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_port}"

    def answers(self, *replies: Any) -> None:
        """Queues replies: values of JSON, `Reply`s, or functions that make a reply of the request."""
        self._queue.extend(each if isinstance(each, Reply) or callable(each) else Reply(each) for each in replies)

    def always(self, reply: Callable[[Asked], Reply]) -> None:
        """What is answered when the queue is empty."""
        self._always = reply

    @property
    def left(self) -> int:
        return len(self._queue)

    def _answer(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        url = urlsplit(handler.path)
        length = int(handler.headers.get("Content-Length") or 0)
        asked = Asked(
            handler.command,
            url.path,
            dict(parse_qsl(url.query)),
            {name.lower(): value for name, value in handler.headers.items()},
            handler.rfile.read(length),
        )
        with self._lock:
            self.asked.append(asked)
            reply = self._queue.popleft() if self._queue else self._always
        if reply is None:
            self.unexpected.append(asked)
            reply = Reply(status=418)
        if callable(reply):
            reply = reply(asked)
        with contextlib.suppress(OSError):
            self._send(handler, reply)

    def _send(self, handler: http.server.BaseHTTPRequestHandler, reply: Reply) -> None:
        if reply.silent:
            self.closing.wait(30)
        if reply.silent or reply.hang_up:
            handler.close_connection = True
            return
        body = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
        handler.send_response(reply.status)
        headers = {"Content-Type": "application/json", "Content-Length": str(len(body) + reply.missing)}
        for name, value in (headers | dict(reply.headers)).items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)
        handler.close_connection = handler.close_connection or bool(reply.missing)


@contextlib.contextmanager
def running() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.closing.set()
        server.http.shutdown()
        thread.join()
        server.http.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    with running() as started:
        yield started
    assert started.unexpected == []
    assert started.left == 0, "replies that nobody asked for"


@pytest.fixture
def another_server() -> Iterator[Server]:
    with running() as started:
        yield started
    assert started.unexpected == []
    assert started.left == 0, "replies that nobody asked for"


@pytest.fixture(scope="session")
def reply() -> type[Reply]:
    return Reply


class Clock:
    """Time that passes when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


class Tokens:
    """Gives `SECRET`, and after a refusal the next of its list."""

    mend = "Sign in again."

    def __init__(self, *more: str) -> None:
        self.values = [SECRET, *more]
        self.refused: list[Token | None] = []

    def get(self, refused: Token | None = None) -> Token:
        if refused is not None and refused.value == self.values[0]:
            self.refused.append(refused)
            if len(self.values) > 1:
                self.values.pop(0)
        return Token(self.values[0])


@pytest.fixture(scope="session")
def secret() -> str:
    """The token that `client` sends."""
    return SECRET


@pytest.fixture(scope="session")
def tokens() -> type[Tokens]:
    return Tokens


@pytest.fixture
def client(server: Server, clock: Clock) -> Iterator[Callable[..., Http]]:
    """Makes a client of the server that waits by the clock that does not wait; jitter is at its most."""
    made: list[Http] = []

    def make(base: str | None = None, source: Any = None, **settings: Any) -> Http:
        how: dict[str, Any] = {"service": "Vertex AI", "sleep": clock.sleep, "clock": clock, "jitter": lambda: 1.0}
        made.append(Http(base or server.url, source or Tokens(), **how | settings))
        return made[-1]

    yield make
    for each in made:
        each.close()
