"""Requests to a remote service: what is sent, what is sent again, and how long it is tried."""

import json
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest

from kfgcp.errors import (
    AuthError,
    BackendError,
    ConfigError,
    NotFound,
    Refused,
    Unreachable,
    UsageError,
)
from kfgcp.services.auth.tokens import Token
from kfgcp.services.client import ServiceClient
from patience import REQUEST
from service_fixtures import Clock, ReceivedRequest, Reply, Server, Tokens

Client = Callable[..., ServiceClient]


def _busy(reply: type[Reply], status: int = 503, **headers: str) -> Reply:
    return reply(
        {"error": {"code": status, "message": "busy", "status": "UNAVAILABLE"}}, status, headers
    )


def test_a_request_carries_its_token_parameters_and_body(
    server: Server, client: Client, secret: str
) -> None:
    server.answers({"name": "made"})

    answer = client().post("v1/jobs", params={"id": "a b", "mask": None}, body={"x": [1, "é"]})

    assert answer == {"name": "made"}
    (asked,) = server.asked
    assert (asked.method, asked.path, asked.query) == ("POST", "/v1/jobs", {"id": "a b"})
    assert asked.json == {"x": [1, "é"]}
    assert asked.headers["authorization"] == f"Bearer {secret}"
    assert asked.headers["content-type"] == "application/json"


def test_the_verbs(server: Server, client: Client) -> None:
    server.answers(*({"n": n} for n in range(4)))
    http = client(f"{server.url}/base/")

    answers = [
        http.get("/a"),
        http.post("a", body={}),
        http.patch("a", body={"b": 1}),
        http.delete("a"),
    ]

    assert answers == [{"n": n} for n in range(4)]
    assert [(asked.method, asked.path, asked.body) for asked in server.asked] == [
        ("GET", "/base/a", b""),
        ("POST", "/base/a", b"{}"),
        ("PATCH", "/base/a", b'{"b": 1}'),
        ("DELETE", "/base/a", b""),
    ]


def test_an_empty_answer_is_an_empty_object(
    server: Server, client: Client, reply: type[Reply]
) -> None:
    server.answers(reply(b""), reply(b"", 204, {"Content-Type": "text/plain"}))

    assert [client().delete("x"), client().delete("x")] == [{}, {}]


def test_the_answer_as_it_came(server: Server, client: Client, reply: type[Reply]) -> None:
    server.answers(reply(b"\x00line\n", headers={"Content-Type": "text/plain"}))

    answer = client().exchange("GET", "logs")

    assert (answer.body, answer.headers["content-type"]) == (b"\x00line\n", "text/plain")


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_it_is_tried_again_with_growing_waits(
    server: Server, client: Client, reply: type[Reply], clock: Clock, status: int
) -> None:
    server.answers(*[_busy(reply, status)] * 4, {"ok": True})

    assert client().get("x") == {"ok": True}
    assert clock.slept == [1, 2, 4, 8]


def test_waits_are_jittered_from_nothing_to_the_whole(
    server: Server, client: Client, reply: type[Reply], clock: Clock
) -> None:
    server.answers(*[_busy(reply)] * 3, {})
    shares = iter([0.0, 0.5, 0.25])

    client(jitter=lambda: next(shares)).get("x")

    assert clock.slept == [0, 1, 1]


@pytest.mark.parametrize("status", [400, 403, 404, 405, 408, 409, 412, 413, 422, 499, 501])
def test_other_refusals_are_final(
    server: Server, client: Client, reply: type[Reply], clock: Clock, status: int
) -> None:
    server.answers(_busy(reply, status))

    with pytest.raises(Refused) as caught:
        client().get("x")

    assert (caught.value.status, caught.value.reason, caught.value.retried) == (
        status,
        "UNAVAILABLE",
        False,
    )
    assert clock.slept == []


def test_retry_after_in_seconds(
    server: Server, client: Client, reply: type[Reply], clock: Clock
) -> None:
    server.answers(
        _busy(reply, 429, **{"Retry-After": "17"}), _busy(reply, 503, **{"Retry-After": "0"}), {}
    )

    client().get("x")

    assert clock.slept == [17, 2]


def test_retry_after_as_a_date(
    server: Server,
    client: Client,
    reply: type[Reply],
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    monkeypatch.setattr("kfgcp.services.retry.time", SimpleNamespace(time=now.timestamp))
    then = now + timedelta(seconds=30)
    past = now - timedelta(days=1)
    for when in (then, past):
        server.answers(_busy(reply, 503, **{"Retry-After": format_datetime(when, usegmt=True)}))
    server.answers({})

    client().get("x")

    assert clock.slept == [30, 2]


@pytest.mark.parametrize(
    "value", ["soon", "-5", "1e3", "\u0661", "Mon, 99 Foo 2026 99:99:99 GMT", ""]
)
def test_a_retry_after_that_makes_no_sense_is_ignored(
    server: Server, client: Client, reply: type[Reply], clock: Clock, value: str
) -> None:
    server.answers(_busy(reply, 503, **{"Retry-After": value.encode().decode("latin-1")}), {})

    client().get("x")

    assert clock.slept == [1]


def test_a_wait_beyond_the_budget_ends_it_at_once(
    server: Server, client: Client, reply: type[Reply], clock: Clock
) -> None:
    server.answers(_busy(reply, 503, **{"Retry-After": "3600"}))

    with pytest.raises(Unreachable) as caught:
        client().get("x")

    assert caught.value.message == "Vertex AI failed to answer GET x: busy (503 UNAVAILABLE)."
    assert caught.value.hint.startswith("The service asks to wait 3600 s. ")
    assert clock.slept == []


def test_a_wait_that_is_over_is_not_mentioned(
    server: Server, client: Client, reply: type[Reply]
) -> None:
    server.answers(_busy(reply, 503, **{"Retry-After": "5"}), _busy(reply, 404))

    with pytest.raises(NotFound) as caught:
        client().get("x")

    assert caught.value.hint == "Check the id, and that 127.0.0.1 is the right address."
    assert caught.value.retried


def test_the_budget_bounds_all_tries(
    server: Server, client: Client, reply: type[Reply], clock: Clock
) -> None:
    """Waits of 1, 2, 4, 8 and 16 s are 31 s; 32 more would be too many for 60."""
    server.answers(*[_busy(reply)] * 6)

    with pytest.raises(Unreachable) as caught:
        client().get("x")

    assert clock.slept == [1, 2, 4, 8, 16]
    assert caught.value.message.endswith("busy (503 UNAVAILABLE). Tried 6 times in 31 s.")
    assert str(caught.value) == caught.value.message


def test_budget_and_retries_of_one_call(
    server: Server, client: Client, reply: type[Reply], clock: Clock
) -> None:
    http = client(budget=2.5)
    server.answers(*[_busy(reply)] * (2 + 1 + 1 + 3))

    for how in ({}, {"budget": 0}, {"retries": 0}, {"budget": 100, "retries": 2}):
        with pytest.raises(Unreachable):
            http.get("x", **how)

    assert clock.slept == [1, 1, 2]


def test_no_budget_is_one_try_even_without_jitter(
    server: Server, client: Client, reply: type[Reply]
) -> None:
    server.answers(_busy(reply))

    with pytest.raises(Unreachable):
        client(budget=0, jitter=lambda: 0.0).get("x")


def test_the_time_that_answers_take_counts(
    server: Server, client: Client, reply: type[Reply], clock: Clock
) -> None:
    def slow(_: ReceivedRequest) -> Reply:
        clock.now += 40
        return _busy(reply)

    server.answers(slow, slow)

    with pytest.raises(Unreachable, match="Tried 2 times in 81 s"):
        client().get("x")


@pytest.mark.parametrize(("status", "tries"), [(429, 2), (500, 1), (502, 1), (503, 1), (504, 1)])
def test_a_post_is_sent_again_only_when_it_was_not_carried_out(
    server: Server, client: Client, reply: type[Reply], status: int, tries: int
) -> None:
    server.answers(*[_busy(reply, status)] * tries)

    with pytest.raises(BackendError):
        client(retries=1).post("jobs", body={})


def test_a_post_that_may_be_repeated(server: Server, client: Client, reply: type[Reply]) -> None:
    server.answers(_busy(reply), reply(hang_up=True), {"name": "made"})

    assert client().post("jobs", body={"a": 1}, repeatable=True) == {"name": "made"}
    assert [asked.json for asked in server.asked] == [{"a": 1}] * 3


def test_a_conflict_after_a_retry_says_so(
    server: Server, client: Client, reply: type[Reply]
) -> None:
    conflict = reply({"error": {"code": 409, "message": "exists", "status": "ALREADY_EXISTS"}}, 409)
    server.answers(reply(hang_up=True), conflict, conflict)

    with pytest.raises(Refused) as after:
        client().post("jobs", body={}, repeatable=True)
    with pytest.raises(Refused) as first:
        client().post("jobs", body={}, repeatable=True)

    assert (after.value.status, after.value.reason, after.value.retried) == (
        409,
        "ALREADY_EXISTS",
        True,
    )
    assert first.value.retried is False


def test_a_connection_that_ends_without_an_answer(
    server: Server, client: Client, reply: type[Reply], clock: Clock
) -> None:
    server.answers(reply(hang_up=True), {"ok": 1}, reply(hang_up=True))

    assert client().get("x") == {"ok": 1}
    with pytest.raises(Unreachable) as caught:
        client().post("jobs", body={})

    assert (
        caught.value.message
        == "Vertex AI: 127.0.0.1 closed the connection without an answer (POST jobs). The service"
        " may have carried out the request nevertheless."
    )


def test_an_answer_that_breaks_off_is_asked_for_again(
    server: Server, client: Client, reply: type[Reply]
) -> None:
    server.answers(
        reply({"half": 1}, missing=500), {"whole": 1}, *[reply({"half": 1}, missing=1)] * 2
    )

    assert client().get("x") == {"whole": 1}
    with pytest.raises(
        Unreachable,
        match=r"ended the connection in the middle of its answer \(GET x\)\. Tried 2"
        r" times",
    ):
        client(retries=1).get("x")


def test_a_chunk_that_breaks_off(server: Server, client: Client, reply: type[Reply]) -> None:
    chunked = {"Transfer-Encoding": "chunked", "Content-Length": "0"}
    server.answers(reply(b'ff\r\n{"a"', headers=chunked | {"Connection": "close"}), {"ok": 1})

    assert client().get("x") == {"ok": 1}


def test_a_server_that_says_nothing(server: Server, client: Client, reply: type[Reply]) -> None:
    server.answers(reply(silent=True), {"ok": 1}, reply(silent=True))

    def wait_longer(_: float) -> None:
        # The first try meets the limit. The second one has as long as a slow machine needs.
        http._timeout = (5, REQUEST)

    http = client(read_timeout=0.2, sleep=wait_longer)
    assert http.get("x") == {"ok": 1}
    with pytest.raises(Unreachable, match=r"127.0.0.1 did not answer within 0.2 s \(GET x\)"):
        client().get("x", read_timeout=0.2, retries=0)


def test_a_refused_token_is_renewed_once(
    server: Server, client: Client, reply: type[Reply], tokens: type[Tokens], secret: str
) -> None:
    source = tokens("second")
    server.answers(reply(status=401), {"ok": 1}, reply(status=401))
    http = client(source=source)

    assert http.get("x") == {"ok": 1}
    assert [asked.headers["authorization"] for asked in server.asked] == [
        f"Bearer {secret}",
        "Bearer second",
    ]
    with pytest.raises(AuthError) as caught:
        http.get("x")  # there is no third

    assert caught.value.hint == "Sign in again."
    assert len(source.refused) == 2


def test_a_token_that_is_refused_again_is_an_error(
    server: Server, client: Client, reply: type[Reply], tokens: type[Tokens]
) -> None:
    denied = reply(
        {"error": {"code": 401, "message": "Bad token.", "status": "UNAUTHENTICATED"}}, 401
    )
    server.answers(denied, denied)

    with pytest.raises(AuthError) as caught:
        client(source=tokens("second", "third")).post("x")

    assert (
        caught.value.message
        == "Vertex AI did not accept the sign-in: Bad token. (401 UNAUTHENTICATED)."
    )


def test_a_service_of_tokens_that_fails_is_tried_again(
    server: Server, client: Client, tokens: type[Tokens], clock: Clock
) -> None:
    class Flaky(tokens):  # type: ignore[misc]
        failures = 2

        def get(self, refused: Token | None = None) -> Token:
            self.failures -= 1
            if self.failures >= 0:
                raise Unreachable("No tokens today.", hint="Wait.")
            return super().get(refused)

    server.answers({"ok": 1})
    assert client(source=Flaky()).get("x") == {"ok": 1}
    assert clock.slept == [1, 2]

    broken = Flaky()
    broken.failures = 9
    with pytest.raises(Unreachable, match=r"No tokens today\. Tried 3 times"):
        client(source=broken).get("x")


def test_eight_threads_share_a_client(server: Server, client: Client, reply: type[Reply]) -> None:
    gate = threading.Barrier(8, timeout=REQUEST)

    def together(asked: ReceivedRequest) -> Reply:
        gate.wait()
        return reply({"path": asked.path})

    server.always(together)
    http = client()

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: http.get(f"n/{n}"), range(16)))

    assert answers == [{"path": f"/n/{n}"} for n in range(16)]


# -- what is not sent

IN_CLUSTER = "http://ml-pipeline-ui.kubeflow.svc"


def test_requests_inside_a_cluster_use_plain_http_and_no_proxy(
    server: Server, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its name leads to the server of the test; a proxy would see the token."""
    port = urlsplit(server.url).port
    look_up = socket.getaddrinfo

    def inside(host: str, *arguments: Any, **options: Any) -> Any:
        return look_up(
            "127.0.0.1" if host == "ml-pipeline-ui.kubeflow.svc" else host, *arguments, **options
        )

    monkeypatch.setattr(socket, "getaddrinfo", inside)
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    server.answers({"runs": []})

    assert client(f"{IN_CLUSTER}:{port}", in_cluster=True).get("apis/v2beta1/runs") == {"runs": []}

    (asked,) = server.asked
    assert asked.headers["host"] == f"ml-pipeline-ui.kubeflow.svc:{port}"
    assert asked.headers["authorization"].startswith("Bearer ")


@pytest.mark.parametrize(
    ("base", "in_cluster"), [(IN_CLUSTER, False), ("http://kfp.svc.evil.example", True)]
)
def test_other_services_are_not(client: Client, base: str, in_cluster: bool) -> None:
    with pytest.raises(ConfigError, match="Plain http is allowed for this machine only"):
        client(base, in_cluster=in_cluster)


@pytest.mark.parametrize(
    ("base", "message"),
    [
        ("http://kfp.example", "Plain http is allowed for this machine only, not for kfp.example."),
        ("http://127.0.0.1.evil.example:80", "Plain http is allowed for this machine only"),
        ("https://ada:pw@kfp.example", "The address of a service is not a plain URL."),
        ("https://kfp.example/?x=1", "The address of a service is not a plain URL."),
        ("ftp://kfp.example", "The address of a service is not a plain URL."),
        ("kfp.example", "The address of a service is not a plain URL."),
        ("https://[::1", "The address of a service is not a plain URL."),
    ],
)
def test_addresses_that_get_no_token(client: Client, base: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        client(base)

    assert caught.value.message.startswith(message)
    assert "pw" not in caught.value.message


@pytest.mark.parametrize(
    "body",
    [
        {"lr": float("nan")},
        {"x": float("inf")},
        {"x": {1, 2}},
        {"x": object()},
        {"x": "half of one: \udc80"},
    ],
)
def test_what_json_cannot_say_is_not_sent(client: Client, body: object) -> None:
    with pytest.raises(UsageError, match="The request to Vertex AI cannot be written as JSON"):
        client().post("x", body=body)


def test_not_found_is_a_refusal(server: Server, client: Client, reply: type[Reply]) -> None:
    server.answers(reply(b"404 page not found\n", 404, {"Content-Type": "text/plain"}))

    with pytest.raises(NotFound) as caught:
        client().get("apis/v2beta1/tasks")

    assert caught.value.message == (
        "Vertex AI refused GET apis/v2beta1/tasks: '404 page not found' (404 NOT_FOUND)."
    )
    assert json.dumps([caught.value.status, caught.value.reason]) == '[404, "NOT_FOUND"]'
