"""A request ends at its deadline, however slowly bytes come: looking up, connecting, sending,
headers and body."""

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import requests
from requests.adapters import HTTPAdapter

from certificates import Certificates
from hostile_http import TRICKLE_SECONDS, Connection, HostileServer, hostile_server
from kfgcp.config import Environment
from kfgcp.deadlines import (
    DeadlineError,
    MovingDeadline,
    call_within,
    current_deadline,
    obey,
    within,
)
from kfgcp.errors import Unreachable
from kfgcp.services.auth.sign_in import token_source
from kfgcp.services.auth.tokens import Anonymous
from kfgcp.services.client import ServiceClient
from kfgcp.services.transport import Transport, TransportError
from kfgcp.settings import Setting
from kfgcp.sockets import DeadlineAdapter, mount_deadlines
from patience import REQUEST, WaitFor
from service_fixtures import Clock, ReceivedRequest, Reply, Server

LONG = b"x" * 100_000
"""More bytes than a trickle sends before the test would be given up."""
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"

Serve = Callable[..., HostileServer]


@pytest.fixture
def serve() -> Iterator[Serve]:
    with ExitStack() as stack:
        yield lambda answer, **options: stack.enter_context(hostile_server(answer, **options))


def _http(base: str, **settings: Any) -> ServiceClient:
    return ServiceClient(base, Anonymous(), service="Vertex AI", **{"seconds": 1.0, **settings})


def _ends_at_its_deadline(call: Callable[[], object]) -> None:
    with pytest.raises(Unreachable) as caught:
        call()
    assert "did not send a whole answer within 1 s" in caught.value.message
    assert caught.value.message.startswith("Vertex AI")
    assert "request_seconds" in caught.value.hint


def trickle_status(connection: Connection) -> None:
    connection.trickle(b"HTTP/1.1 200 " + LONG)


def trickle_headers(connection: Connection) -> None:
    connection.send(HEAD)
    connection.trickle(b"X-Header: " + LONG)


def trickle_body(connection: Connection) -> None:
    connection.send(HEAD + b"Content-Length: 100000\r\n\r\n")
    connection.trickle(LONG)


def trickle_chunks(connection: Connection) -> None:
    connection.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    connection.trickle(b"1\r\n \r\n" * 10_000)


def trickle_until_the_end(connection: Connection) -> None:
    connection.send(HEAD + b"Connection: close\r\n\r\n")
    connection.trickle(LONG)


def trickle_error(connection: Connection) -> None:
    connection.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 100000\r\n\r\n")
    connection.trickle(LONG)


def continue_for_ever(connection: Connection) -> None:
    connection.trickle(b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000)


def say_nothing(connection: Connection) -> None:
    connection.hold()


TRICKLES = [
    trickle_status,
    trickle_headers,
    trickle_body,
    trickle_chunks,
    trickle_until_the_end,
    trickle_error,
    continue_for_ever,
    say_nothing,
]


@pytest.mark.parametrize("answer", TRICKLES, ids=lambda answer: answer.__name__)
def test_an_answer_that_trickles(serve: Serve, answer: Callable[[Connection], None]) -> None:
    server = serve(answer)

    _ends_at_its_deadline(lambda: _http(server.url).get("x"))


def test_a_request_that_nobody_reads(serve: Serve) -> None:
    """The body is larger than what the buffers of both sides take."""
    server = serve(say_nothing, reads_requests=False)

    _ends_at_its_deadline(
        lambda: _http(server.url).post("x", body="x" * 50_000_000, repeatable=True)
    )


def test_a_handshake_that_does_not_end(serve: Serve) -> None:
    """The client of TLS waits for a record of 16 KB."""
    server = serve(
        lambda connection: connection.trickle(b"\x16\x03\x03\x40\x00" + LONG), reads_requests=False
    )

    _ends_at_its_deadline(lambda: _http(server.url.replace("http://", "https://")).get("x"))


def test_a_proxy_that_trickles(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = serve(trickle_headers)
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)

    with pytest.raises(TransportError, match="did not send a whole answer within 1 s"):
        Transport().exchange("GET", "https://kfp.example/x", seconds=1)


def test_an_answer_over_tls_that_trickles(serve: Serve, certificates: Certificates) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.leaf, certificates.key)
    server = serve(trickle_body, tls=context)

    _ends_at_its_deadline(lambda: _http(server.url, ca_file=str(certificates.authority)).get("x"))


def test_a_name_that_is_not_looked_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_up = threading.Event()
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: looked_up.wait(REQUEST) and [])

    with pytest.raises(TransportError, match="did not send a whole answer within 1 s"):
        Transport().exchange("GET", "https://kfp.example/x", seconds=1)
    looked_up.set()


def test_all_tries_share_one_deadline(
    server: Server, client: Callable[..., ServiceClient], reply: type[Reply], clock: Clock
) -> None:
    """Waits of 1, 2 and 4 s are 7 s; 8 more would be too many for 10."""
    server.answers(*[reply(status=503)] * 4)

    with pytest.raises(Unreachable, match="Tried 4 times in 7 s"):
        client(seconds=10).get("x")
    assert clock.slept == [1, 2, 4]


def test_a_deadline_that_passes_during_the_answer(
    server: Server, client: Callable[..., ServiceClient], reply: type[Reply], clock: Clock
) -> None:
    """By the clock of the client: nothing waits. The answer is too long to be read at once."""

    def late(_: ReceivedRequest) -> Reply:
        clock.now += 121
        return reply({"text": "x" * 4_000_000})

    server.answers(late)

    with pytest.raises(Unreachable, match="did not send a whole answer within 120 s"):
        client().get("x")


def test_getting_a_token_is_part_of_the_request(
    serve: Serve, nobody: None, sign_in: Callable[[object], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = serve(trickle_body)
    monkeypatch.setattr(
        "google.oauth2.credentials._GOOGLE_OAUTH2_TOKEN_ENDPOINT", f"{tokens.url}/token"
    )
    sign_in(
        {"type": "authorized_user", "client_id": "c", "client_secret": "s", "refresh_token": "r"}
    )
    http = ServiceClient(
        "https://kfp.example",
        token_source(Environment("dev", "vertex")),
        service="Vertex AI",
        seconds=1,
    )

    with pytest.raises(
        Unreachable, match="Google's sign-in service did not send a whole answer within 1 s"
    ):
        http.get("x")


def test_getting_a_token_for_a_proxy_is_part_of_the_request(
    serve: Serve, nobody: None, sign_in: Callable[[object], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = serve(trickle_headers)
    monkeypatch.setattr("kfgcp.services.auth.iap.TOKEN_ADDRESS", f"{tokens.url}/token")
    sign_in(
        {"type": "authorized_user", "client_id": "c", "client_secret": "s", "refresh_token": "r"}
    )
    settings = {"auth": "iap", "iap_client_id": "client"}
    env = Environment(
        "gke", "kubeflow", {key: Setting(value, "test") for key, value in settings.items()}
    )
    http = ServiceClient(
        "https://kfp.example", token_source(env), service="Kubeflow Pipelines", seconds=1
    )

    with pytest.raises(
        Unreachable, match="Google's sign-in service did not send a whole answer within 1 s"
    ):
        http.get("x")


# -- streams


def test_a_stream_may_take_longer_than_a_request(serve: Serve, clock: Clock) -> None:
    """Each piece comes in time by the client's clock, all together do not; and each is there as
    soon as it comes."""

    def answer(connection: Connection) -> None:
        connection.send(STREAM)
        for _ in range(5):
            connection.send(b"5\r\nline\n\r\n")
            assert read.acquire(timeout=REQUEST)
        connection.send(b"0\r\n\r\n")

    read = threading.Semaphore(0)
    pieces = _http(serve(answer).url, seconds=100, clock=clock).stream("log")
    lines = []
    for piece in pieces:
        lines.append(piece)
        clock.now += 90
        read.release()

    assert b"".join(lines) == b"line\n" * 5


def test_a_stream_that_stops(serve: Serve) -> None:
    def answer(connection: Connection) -> None:
        connection.send(STREAM + b"5\r\nline\n\r\n")
        connection.hold()

    pieces = _http(serve(answer).url).stream("log")

    assert next(pieces) == b"line\n"
    _ends_at_its_deadline(lambda: next(pieces))


def test_bytes_that_are_not_content_are_not_progress(serve: Serve) -> None:
    def answer(connection: Connection) -> None:
        connection.send(STREAM)
        connection.trickle(b"5;" + LONG)

    pieces = _http(serve(answer).url).stream("log")

    _ends_at_its_deadline(lambda: next(pieces))


# -- the mechanism


def test_the_earlier_of_two_deadlines_holds(clock: Clock) -> None:
    with within(10, clock) as outer, within(20, clock) as inner:
        assert inner is outer
    with within(10, clock) as outer, within(5, clock) as inner:
        assert current_deadline() is inner
        assert inner.seconds_left == 5
        clock.now += 5
        assert (inner.has_passed, outer.has_passed) == (True, False)
    assert current_deadline() is None


def test_a_result_that_comes_too_late_is_discarded(eventually: WaitFor) -> None:
    go_on = threading.Event()
    discarded: list[str] = []

    def slow() -> str:
        assert go_on.wait(REQUEST)
        return "late"

    with pytest.raises(DeadlineError):
        call_within(0, slow, discard=discarded.append)
    go_on.set()

    eventually(lambda: discarded == ["late"])


def test_a_call_in_time_returns_or_raises() -> None:
    assert call_within(REQUEST, lambda: 5) == 5
    with pytest.raises(ZeroDivisionError):
        call_within(REQUEST, lambda: 1 // 0)


def test_request_seconds_of_an_environment() -> None:
    assert Environment("dev", "vertex").request_seconds == 120
    assert (
        Environment("dev", "vertex", {"request_seconds": Setting(7, "test")}).request_seconds == 7
    )


def test_a_session_with_deadlines_repeats_as_often_as_before() -> None:
    session = requests.Session()
    session.mount("https://", HTTPAdapter(max_retries=3))

    mount_deadlines(session)

    adapters = [session.get_adapter(f"{scheme}://kfp.example") for scheme in ("https", "http")]
    assert [adapter.max_retries.total for adapter in adapters] == [3, 0]
    assert all(isinstance(adapter, DeadlineAdapter) for adapter in adapters)


def test_a_request_may_take_longer_than_usual_when_the_caller_says_so(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The usual time is for callers that say nothing."""
    monkeypatch.setattr("kfgcp.sockets.REQUEST_SECONDS", TRICKLE_SECONDS)

    def answer_slowly(connection: Connection) -> None:
        connection.trickle(b"HTTP/1.1 200 OK\r\n")
        connection.send(b"Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")

    assert _http(serve(answer_slowly).url, seconds=REQUEST).get("x") == {}


def test_a_deadline_that_moves_with_each_whole_piece() -> None:
    now = [0.0]
    deadline = MovingDeadline(10, piece_bytes=100, clock=lambda: now[0])

    now[0] = 8.0
    deadline.count(99)
    assert deadline.seconds_left == 2
    deadline.count(1)
    assert deadline.seconds_left == 10
    now[0] = 18.0
    assert deadline.has_passed


def test_the_earlier_of_two_deadlines_is_obeyed() -> None:
    outer = MovingDeadline(5, piece_bytes=1)
    with obey(outer), within(60) as inner:
        assert inner is outer
        with within(1) as innermost:
            assert innermost.seconds == 1
