"""Fixtures for tests that send requests: a server with queued replies, a clock, clients, logins."""

import base64
import contextlib
import http.server
import json
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from kfgcp.services.auth import port_forward
from kfgcp.services.auth.tokens import Token, TokenSource
from kfgcp.services.client import ServiceClient
from patience import REQUEST

FAKE_KUBECTL = Path(__file__).with_name("fake_kubectl.py")
SECRET = "ya29.a0AfH6SMB-very_secret.token"  # noqa: S105


@dataclass(frozen=True)
class ReceivedRequest:
    """A request that the server received. The names of its headers are in lower case."""

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
    """The answer to a request.

    Attributes:
        body: bytes, or a value that is sent as JSON.
        missing: how many bytes Content-Length promises and the server never sends.
        hang_up: close the connection without an answer.
        silent: send nothing until the test ends, then close the connection.
    """

    body: object = field(default_factory=dict)
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    missing: int = 0
    hang_up: bool = False
    silent: bool = False


class _HttpServer(http.server.ThreadingHTTPServer):
    daemon_threads = True
    # The client gives up connecting after 5 seconds, even if this process is busy.
    request_queue_size = 128


class Server:
    """A server that answers each request with the next reply of a queue.

    A request without a reply gets the status 418, and the test fails.
    """

    def __init__(self) -> None:
        self.asked: list[ReceivedRequest] = []
        self.unexpected: list[ReceivedRequest] = []
        self.closing = threading.Event()
        self._queue: deque[Reply | Callable[[ReceivedRequest], Reply]] = deque()
        self._always: Callable[[ReceivedRequest], Reply] | None = None
        self._lock = threading.Lock()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer._answer(self)

            do_HEAD = do_POST = do_PATCH = do_DELETE = do_PUT = do_CONNECT = do_GET  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        self.http = _HttpServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"

    def answers(self, *replies: object) -> None:
        """Queue replies: JSON values, `Reply` objects, or functions from a request to a reply."""
        for reply in replies:
            is_ready = isinstance(reply, Reply) or callable(reply)
            self._queue.append(reply if is_ready else Reply(reply))

    def always(self, reply: Callable[[ReceivedRequest], Reply]) -> None:
        """Set the function that answers when the queue is empty."""
        self._always = reply

    @property
    def left(self) -> int:
        """Return how many replies are still in the queue."""
        return len(self._queue)

    def _answer(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        url = urlsplit(handler.path)
        length = int(handler.headers.get("Content-Length") or 0)
        asked = ReceivedRequest(
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
            self.closing.wait(REQUEST)
        if reply.silent or reply.hang_up:
            handler.close_connection = True
            return
        body = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
        handler.send_response(reply.status)
        headers = {
            "Content-Type": "application/json",
            "Content-Length": str(len(body) + reply.missing),
        }
        for name, value in (headers | dict(reply.headers)).items():
            handler.send_header(name, value)
        handler.end_headers()
        if handler.command != "HEAD":
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
    """A clock that only `sleep` moves. Its unit is the second."""

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
    """A source of tokens that gives `SECRET`, and the next of its tokens after each refusal."""

    sign_in_hint = "Sign in again."

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
    """Return the token that `client` sends."""
    return SECRET


@pytest.fixture(scope="session")
def tokens() -> type[Tokens]:
    return Tokens


@pytest.fixture
def client(server: Server, clock: Clock) -> Iterator[Callable[..., ServiceClient]]:
    """Return a function that makes a client of the server.

    The client sleeps on the fixture `clock`, and its jitter is at the maximum.
    """
    clients: list[ServiceClient] = []

    def make(
        base: str | None = None, source: TokenSource | None = None, **settings: Any
    ) -> ServiceClient:
        defaults: dict[str, Any] = {
            "service": "Vertex AI",
            "sleep": clock.sleep,
            "clock": clock,
            "jitter": lambda: 1.0,
        }
        client = ServiceClient(base or server.url, source or Tokens(), **defaults | settings)
        clients.append(client)
        return client

    yield make
    for client in clients:
        client.close()


# -- logins to Google


@pytest.fixture
def nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove every Google login, and the metadata server."""
    for name in [name for name in os.environ if name.startswith(("GOOGLE_", "CLOUDSDK_", "GCE_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path / "gcloud"))
    monkeypatch.setattr("google.auth.compute_engine._metadata._NO_GCE_CHECK", True)


@pytest.fixture
def sign_in(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[object], Path]:
    """Return a function that writes the file of `gcloud auth application-default login`.

    `server` issues the tokens of this login.
    """
    monkeypatch.setattr(
        "google.oauth2.credentials._GOOGLE_OAUTH2_TOKEN_ENDPOINT", f"{server.url}/token"
    )

    def write(content: object) -> Path:
        file = tmp_path / "gcloud" / "application_default_credentials.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(content if isinstance(content, str) else json.dumps(content))
        return file

    return write


@pytest.fixture(scope="session")
def private_key() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(
        serialization.Encoding.PEM, form, serialization.NoEncryption()
    ).decode()


@pytest.fixture
def key_file(
    server: Server, tmp_path: Path, private_key: str, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """Return the key file of a service account, which GOOGLE_APPLICATION_CREDENTIALS names."""
    key = {
        "type": "service_account",
        "client_email": "runner@acme.iam.gserviceaccount.com",
        "private_key": private_key,
        "private_key_id": "k",
    }
    file = tmp_path / "key.json"
    file.write_text(json.dumps(key | {"project_id": "acme", "token_uri": f"{server.url}/token"}))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    return file


@pytest.fixture
def metadata(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """Let `server` be the metadata server of this machine, and return it."""
    host = server.url.removeprefix("http://")
    monkeypatch.setenv("GCE_METADATA_IP", host)
    monkeypatch.setattr("google.auth.compute_engine._metadata._GCE_METADATA_HOST", host)
    monkeypatch.setattr("google.auth.compute_engine._metadata._NO_GCE_CHECK", False)
    return server


@pytest.fixture(scope="session")
def id_token() -> Callable[..., str]:
    """Return a function that makes an unsigned id token, which expires after `seconds`."""

    def make(audience: str, seconds: float = 3600, **claims: object) -> str:
        payload = {
            "aud": audience,
            "exp": time.time() + seconds,
            "email": "ada@acme.example",
        } | claims
        parts = [json.dumps(part).encode() for part in ({"alg": "RS256", "typ": "JWT"}, payload)]
        return ".".join(
            base64.urlsafe_b64encode(part).decode().rstrip("=") for part in [*parts, b"signature"]
        )

    return make


# -- kubectl


class Kubectl:
    """The fake kubectl on the PATH.

    Attributes:
        log: the file in which each process writes its id and its arguments.
    """

    def __init__(self, folder: Path, alive: Callable[[int], bool]) -> None:
        self._alive = alive
        self.log = folder / "log"
        self.log.touch()
        self.folder = folder
        program = folder / "kubectl"
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{FAKE_KUBECTL}" "$@"\n')
        program.chmod(0o755)

    @property
    def calls(self) -> list[list[str]]:
        """Return the arguments of each call."""
        return [line.split()[1:] for line in self.log.read_text().splitlines()]

    @property
    def alive(self) -> list[int]:
        """Return the ids of the processes that still run."""
        return [
            pid
            for pid in (int(line.split()[0]) for line in self.log.read_text().splitlines())
            if self._alive(pid)
        ]

    def tell(self, word: str) -> None:
        """Send a command of `fake_kubectl.py` to the running process."""
        Path(f"{self.log}.{word}").touch()


@pytest.fixture
def kubectl(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alive: Callable[[int], bool]
) -> Iterator[Kubectl]:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    monkeypatch.setenv("FAKE_LOG", str(folder / "log"))
    monkeypatch.setenv("FAKE_TARGET", server.url.rpartition(":")[2])
    monkeypatch.setattr(port_forward, "_port_forwards", {})
    yield Kubectl(folder, alive)
    for forward in port_forward._port_forwards.values():
        forward.close()
