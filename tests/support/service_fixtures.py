"""Fixtures of tests that send requests: a server with queued replies, a clock that does not wait,
clients, logins."""

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
from kfgcp.services.auth.tokens import Token
from kfgcp.services.client import ServiceClient
from patience import REQUEST

FAKE_KUBECTL = Path(__file__).with_name("fake_kubectl.py")
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
    """What to answer. missing: bytes that are announced and never sent; silent: seconds without a
    word."""

    body: Any = field(default_factory=dict)
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    missing: int = 0
    hang_up: bool = False
    silent: bool = False


class _HttpServer(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # the client has 5 seconds to connect, also when this process is busy


class Server:
    """Answers each request with the next reply of the queue. Whoever asks once more gets 418, and
    the test fails."""

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

        self.http = _HttpServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"

    def answers(self, *replies: Any) -> None:
        """Queues replies: values of JSON, `Reply`s, or functions that make a reply of the
        request."""
        self._queue.extend(
            each if isinstance(each, Reply) or callable(each) else Reply(each) for each in replies
        )

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
    """The token that `client` sends."""
    return SECRET


@pytest.fixture(scope="session")
def tokens() -> type[Tokens]:
    return Tokens


@pytest.fixture
def client(server: Server, clock: Clock) -> Iterator[Callable[..., ServiceClient]]:
    """Makes a client of the server that waits by the clock that does not wait; jitter is at its
    most."""
    made: list[ServiceClient] = []

    def make(base: str | None = None, source: Any = None, **settings: Any) -> ServiceClient:
        how: dict[str, Any] = {
            "service": "Vertex AI",
            "sleep": clock.sleep,
            "clock": clock,
            "jitter": lambda: 1.0,
        }
        made.append(ServiceClient(base or server.url, source or Tokens(), **how | settings))
        return made[-1]

    yield make
    for each in made:
        each.close()


# -- who is signed in to Google


@pytest.fixture
def nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is signed in, and there is no metadata server."""
    for name in [name for name in os.environ if name.startswith(("GOOGLE_", "CLOUDSDK_", "GCE_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path / "gcloud"))
    monkeypatch.setattr("google.auth.compute_engine._metadata._NO_GCE_CHECK", True)


@pytest.fixture
def sign_in(server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], Path]:
    """Writes what `gcloud auth application-default login` writes; `server` is where its tokens come
    from."""
    monkeypatch.setattr(
        "google.oauth2.credentials._GOOGLE_OAUTH2_TOKEN_ENDPOINT", f"{server.url}/token"
    )

    def write(content: Any) -> Path:
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
    server: Any, tmp_path: Path, private_key: str, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """The key of a service account, as GOOGLE_APPLICATION_CREDENTIALS names it."""
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
def metadata(server: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A metadata server."""
    host = server.url.removeprefix("http://")
    monkeypatch.setenv("GCE_METADATA_IP", host)
    monkeypatch.setattr("google.auth.compute_engine._metadata._GCE_METADATA_HOST", host)
    monkeypatch.setattr("google.auth.compute_engine._metadata._NO_GCE_CHECK", False)
    return server


@pytest.fixture(scope="session")
def id_token() -> Callable[..., str]:
    """Makes an id token, not signed: it ends after so many seconds."""

    def make(audience: str, seconds: float = 3600, **claims: Any) -> str:
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
    """The fake kubectl on the PATH, and what it was called with."""

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
        return [line.split()[1:] for line in self.log.read_text().splitlines()]

    @property
    def alive(self) -> list[int]:
        """The processes that run."""
        return [
            pid
            for pid in (int(line.split()[0]) for line in self.log.read_text().splitlines())
            if self._alive(pid)
        ]

    def tell(self, word: str) -> None:
        Path(f"{self.log}.{word}").touch()


@pytest.fixture
def kubectl(
    server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alive: Callable[[int], bool]
) -> Iterator[Kubectl]:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    monkeypatch.setenv("FAKE_LOG", str(folder / "log"))
    monkeypatch.setenv("FAKE_TARGET", server.url.rpartition(":")[2])
    monkeypatch.setattr(port_forward, "_port_forwards", {})
    yield Kubectl(folder, alive)
    for each in port_forward._port_forwards.values():
        each.close()
