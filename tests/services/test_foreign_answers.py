"""Answers that are not those of a service: broken JSON, pages of proxies, sign-ins, redirects."""

import gzip
from collections.abc import Callable

import pytest

from kfgcp.errors import AuthError, BackendError, BadAnswer, Unreachable
from kfgcp.services.client import ServiceClient
from kfgcp.services.responses import is_page
from kfgcp.services.transport import Response
from service_errors import (
    HTML,
    LOGIN,
    error_of_answer,
)
from service_fixtures import Reply, Server

Client = Callable[..., ServiceClient]


# -- answers that do not come from the service


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (rb'"\ud83d\ude00"', "\U0001f600"),
        (rb'"a\ud800b"', "a\ufffdb"),
        (rb'{"\udfff": ["\uD800"]}', {"\ufffd": ["\ufffd"]}),
        (b'"\xed\xa0\x80"', "\ufffd"),
        (b"1180591620717411303424", 2**70),
        (b"[1.5, -0.0, 1e308]", [1.5, -0.0, 1e308]),
    ],
)
def test_texts_are_unicode_and_numbers_are_exact(
    server: Server, client: Client, reply: type[Reply], text: bytes, value: object
) -> None:
    server.answers(reply(b'{"a": ' + text + b"}"))

    assert client().get("x") == {"a": value}


@pytest.mark.parametrize(
    ("body", "headers", "problem"),
    [
        (b"\xff\xfe\x00garbage", {}, "cannot be read as JSON: '\ufffd\ufffd garbage'"),
        (b'{"a": ', {}, "cannot be read as JSON: '{\"a\":'"),
        (b'{"a": ' + b"9" * 5000 + b"}", {}, "cannot be read as JSON"),
        (b"\n\nhello\nworld", {}, "cannot be read as JSON: 'hello'"),
        (b"[1, 2]", {}, "is JSON, but not an object: '[1, 2]'"),
        (b'"text"', {}, "is JSON, but not an object"),
        (b"null", {}, "is JSON, but not an object"),
        (b"ok", {"Content-Type": "text/plain"}, "is text/plain, not JSON: 'ok'"),
        (b'{"a": 1}', {"Content-Type": "text/plain"}, "is text/plain, not JSON"),
    ],
)
def test_an_answer_that_is_not_a_json_object(
    server: Server,
    client: Client,
    reply: type[Reply],
    body: bytes,
    headers: dict[str, str],
    problem: str,
) -> None:
    error = error_of_answer(server, client, reply(body, headers=headers))

    assert type(error) is BackendError
    assert error.message.startswith(f"The answer of Vertex AI to GET x {problem}")
    assert error.hint == "Is 127.0.0.1 the address of Vertex AI?"
    assert len(error.message) < 220


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"[" * 100_000, "it nests deeper than 200 levels"),
        (b'{"a": {"b": [1, NaN]}}', "a.b[1] is nan, a number that JSON cannot carry"),
        (b'{"a": -Infinity}', "a is -inf"),
        (b'{"a": 1e400}', "a is inf"),
        (b'{"a": 1' + b"0" * 400 + b"}", "a is a number of more than 308 digits"),
        (b'{"a": ' + b"[" * 201 + b"]" * 201 + b"}", "it nests deeper than 200 levels"),
    ],
)
def test_numbers_and_depths_that_json_cannot_carry_are_refused(
    server: Server, client: Client, reply: type[Reply], body: bytes, problem: str
) -> None:
    error = error_of_answer(server, client, reply(body))

    assert type(error) is BadAnswer
    assert error.message.startswith(f"The answer of Vertex AI to GET x cannot be used: {problem}")


@pytest.mark.parametrize(
    "kind", ["application/json; charset=UTF-8", "APPLICATION/JSON", "application/problem+json"]
)
def test_json_by_its_other_names(
    server: Server, client: Client, reply: type[Reply], kind: str
) -> None:
    server.answers(reply(b'{"a": "\xc3\xa9"}', headers={"Content-Type": kind}))

    assert client().get("x") == {"a": "é"}


def test_a_packed_answer(server: Server, client: Client, reply: type[Reply]) -> None:
    packed = {"Content-Encoding": "gzip"}
    server.answers(reply(gzip.compress(b'{"a": 1}'), headers=packed))

    assert client().get("x") == {"a": 1}
    error = error_of_answer(server, client, reply(b"not packed", headers=packed))
    assert error.message == "Vertex AI: 127.0.0.1 sent an answer that cannot be unpacked (GET x)."


def test_an_answer_without_end_is_cut_off(
    server: Server, client: Client, reply: type[Reply], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kfgcp.services.transport.LARGEST", 1_000_000)

    error = error_of_answer(
        server, client, reply(gzip.compress(b" " * 2_000_000), headers={"Content-Encoding": "gzip"})
    )

    assert error.message == "Vertex AI: 127.0.0.1 sent more than 1 MB (GET x)."


@pytest.mark.parametrize("headers", [HTML, {}, {"Content-Type": "text/plain"}])
def test_a_sign_in_page_with_status_200(
    server: Server, client: Client, reply: type[Reply], headers: dict[str, str]
) -> None:
    error = error_of_answer(server, client, reply(LOGIN, headers=headers))

    assert isinstance(error, AuthError)
    assert (
        error.message
        == "Vertex AI answered GET x with a web page, not with JSON; it looks like a sign-in page:"
        " 'Sign in - Google Accounts'."
    )
    assert error.hint == "Sign in again. Check the address (127.0.0.1) and the proxy, too."


@pytest.mark.parametrize("status", [401, 403])
def test_a_sign_in_page_with_an_error(
    server: Server, client: Client, reply: type[Reply], status: int
) -> None:
    error = error_of_answer(server, client, reply(LOGIN, status, HTML))

    assert isinstance(error, AuthError)
    assert (
        error.message
        == "A sign-in page, not Vertex AI, answered GET x: 'Sign in - Google Accounts'"
        f" ({status})."
    )
    assert error.hint == "Sign in again."


@pytest.mark.parametrize(
    ("location", "host"),
    [
        (
            "https://accounts.google.com/o/oauth2/v2/auth?client_id=1&state=hush",
            "accounts.google.com",
        ),
        ("/dex/auth?client_id=kubeflow", "127.0.0.1"),
        ("https://idp.example/login", "idp.example"),
        ("https://idp.example/x?client_id=5", "idp.example"),
    ],
)
def test_a_redirect_to_a_sign_in(
    server: Server, client: Client, reply: type[Reply], location: str, host: str
) -> None:
    error = error_of_answer(server, client, reply(b"", 302, {"Location": location}))

    assert isinstance(error, AuthError)
    assert error.message == (
        f"Vertex AI did not answer GET x, but redirects to a sign-in at {host} (302)."
    )
    assert len(server.asked) == 1


def test_a_token_does_not_follow_a_redirect(
    server: Server, another_server: Server, client: Client, reply: type[Reply]
) -> None:
    for status in (301, 302, 303, 307, 308):
        error = error_of_answer(
            server, client, reply(b"", status, {"Location": f"{another_server.url}/x"})
        )

        assert isinstance(error, Unreachable)
        assert "redirects GET x to 127.0.0.1" in error.message
    assert another_server.asked == []


@pytest.mark.parametrize("location", ["", "https://[::1", "?"])
def test_a_redirect_to_nowhere(
    server: Server, client: Client, reply: type[Reply], location: str
) -> None:
    assert isinstance(
        error_of_answer(server, client, reply(b"", 302, {"Location": location})), Unreachable
    )


@pytest.mark.parametrize("status", [302, 401, 403])
def test_identity_aware_proxy(
    server: Server, client: Client, reply: type[Reply], status: int
) -> None:
    headers = HTML | {
        "X-Goog-IAP-Generated-Response": "true",
        "Location": "https://accounts.google.com/x",
    }
    server.answers(*[reply(b"no", status, headers)])

    with pytest.raises(AuthError) as caught:
        client().get("x")

    assert (
        caught.value.message
        == "Identity-Aware Proxy, in front of 127.0.0.1, did not accept the sign-in to Vertex AI"
        f" ({status})."
    )
    assert 'auth = "iap"' in caught.value.hint


@pytest.mark.parametrize("status", [403, 407, 502, 511])
def test_the_page_of_a_proxy(
    server: Server, client: Client, reply: type[Reply], status: int
) -> None:
    page = b"<html><head><title>Blocked by ACME</title></head><body>Category: cloud</body></html>"

    error = error_of_answer(server, client, reply(page, status, HTML))

    assert isinstance(error, Unreachable)
    assert "'Blocked by ACME'" in error.message
    assert str(status) in error.message
    if status != 502:
        assert error.message.startswith("A proxy or gateway, not Vertex AI, answered GET x")
        assert error.hint.startswith("Check HTTPS_PROXY and NO_PROXY")


@pytest.mark.parametrize(
    ("body", "page"),
    [
        (b"\n <!doctype HTML><p>", True),
        (b"<!-- saved -->\n<html lang=en>", True),
        (b"<body>", True),
        (b"<?xml version='1.0'?><Error/>", False),
        (b"<htmlish>", False),
        (b'{"a": "<html>"}', False),
        (b"", False),
    ],
)
def test_what_a_page_is(body: bytes, page: bool) -> None:
    assert is_page(Response(200, {"content-type": "application/json"}, body)) is page
