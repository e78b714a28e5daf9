"""Answers that no server should send: each ends a command with exit code 5 and one line that names
the service."""

import gzip
import json
import socket
import ssl
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from certificates import Certificates
from hostile_http import Connection, HostileServer, hostile_server
from kfgcp.backends.kubeflow import clients as kubeflow_clients
from kfgcp.backends.vertex import service as vertex_service
from kfgcp.services.client import ServiceClient

Fails = Callable[..., tuple[str, str]]
Mode = Callable[[Connection], None]

SECRET = "a-token-that-nobody-else-may-see"  # noqa: S105
SERVICES = {"vertex": "Vertex AI", "kubeflow": "Kubeflow Pipelines"}
LISTS = {"vertex": "pipelineJobs", "kubeflow": "runs"}
PAGE_TOKENS = {"vertex": "nextPageToken", "kubeflow": "next_page_token"}
LARGEST = 1_000_000
"""The limit for an answer in these tests, in bytes, in place of 100 MB."""
FIRST_LINE = b"HTTP/1.1 200 OK\r\n"
JSON = b"Content-Type: application/json\r\n"
HTML = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body>Log in</body></html>"
PROXY_VARIABLES = (
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
)


def raw(*parts: bytes) -> Mode:
    """Send these bytes and hang up."""
    return lambda connection: connection.send(b"".join(parts))


def answer(body: bytes, status: str = "200 OK", **headers: str) -> Mode:
    """Send a well-formed answer."""
    lines = {"Content-Type": "application/json", "Content-Length": str(len(body))}
    lines |= {name.replace("_", "-"): value for name, value in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return raw(f"HTTP/1.1 {status}\r\n{head}\r\n".encode("latin-1"), body)


def chunked(*parts: bytes) -> Mode:
    return raw(FIRST_LINE, JSON, b"Transfer-Encoding: chunked\r\n\r\n", *parts)


def endless(data: bytes, *headers: bytes) -> Mode:
    """Send the data again and again after the headers."""

    def mode(connection: Connection) -> None:
        connection.send(FIRST_LINE + JSON + b"".join(headers) + b"\r\n")
        connection.send_for_ever(data)

    return mode


def packed(body: bytes, encoding: str = "gzip") -> Mode:
    return answer(body, Content_Encoding=encoding)


def bomb(size: int) -> bytes:
    return gzip.compress(b'{"a": "' + b" " * size + b'"}')


# -- what is sent, and a part of the error

HOSTILE: dict[str, tuple[Mode, str]] = {
    # the connection
    "hangs_up": (lambda connection: None, "closed the connection without an answer"),
    "resets": (lambda connection: connection.reset(), "closed the connection without an answer"),
    "resets_in_the_body": (
        lambda connection: (
            connection.send(FIRST_LINE + JSON + b'Content-Length: 50\r\n\r\n{"'),
            connection.reset(),
        ),
        "ended the connection in the middle of its answer",
    ),
    # the first line and the headers
    "is_not_http": (raw(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"), "sent an answer that is not HTTP"),
    "speaks_http_0_9": (raw(b'{"runs": []}'), "sent an answer that is not HTTP"),
    "has_a_wrong_version": (raw(b"HTTP/9.9 200 OK\r\n\r\n{}"), ""),
    "has_a_status_of_letters": (
        raw(b"HTTP/1.1 abc OK\r\n\r\n{}"),
        "sent an answer that is not HTTP",
    ),
    "has_the_status_999": (answer(b"{}", "999 Odd"), "failed to answer"),
    "has_the_status_099": (raw(b"HTTP/1.1 099 Odd\r\n\r\n"), ""),
    "has_a_long_first_line": (
        raw(b"HTTP/1.1 200 ", b"x" * 100_000, b"\r\n\r\n{}"),
        "a line that is too long",
    ),
    "has_a_header_of_1_mb": (
        raw(FIRST_LINE, b"X-Long: ", b"x" * 1_000_000, b"\r\n\r\n{}"),
        "a line that is too long",
    ),
    "has_5000_headers": (raw(FIRST_LINE, b"X-A: b\r\n" * 5000, b"\r\n{}"), "too many headers"),
    "has_two_lengths": (
        raw(FIRST_LINE, JSON, b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}"),
        "headers that contradict each other",
    ),
    # the length of the body
    "promises_more_than_it_sends": (
        raw(FIRST_LINE, JSON, b"Content-Length: 100\r\n\r\n", b"{}"),
        "ended the connection in the middle of its answer",
    ),
    "promises_less_than_it_sends": (
        raw(FIRST_LINE, JSON, b"Content-Length: 5\r\n\r\n", b'{"runs": []}'),
        "cannot be read as JSON",
    ),
    "has_a_negative_length": (
        raw(FIRST_LINE, JSON, b"Content-Length: -5\r\n\r\n", b'{"a'),
        "cannot be read as JSON",
    ),
    "has_a_length_of_letters": (
        raw(FIRST_LINE, JSON, b"Content-Length: abc\r\n\r\n", b'{"a'),
        "cannot be read as",
    ),
    "promises_3_gb": (endless(b" " * 65536, b"Content-Length: 3000000000\r\n"), "sent more than"),
    "never_ends": (endless(b" " * 65536, b"Connection: close\r\n"), "sent more than"),
    "never_ends_in_chunks": (
        endless(b"8\r\n        \r\n" * 999, b"Transfer-Encoding: chunked\r\n"),
        "sent more than",
    ),
    # chunks
    "has_a_chunk_size_of_letters": (
        chunked(b"xyz\r\n{}\r\n0\r\n\r\n"),
        "ended the connection in the middle of its answer",
    ),
    "has_a_negative_chunk_size": (chunked(b"-5\r\n{}\r\n0\r\n\r\n"), ""),
    "has_a_huge_chunk_size": (
        chunked(b"f" * 30 + b"\r\n{}"),
        "ended the connection in the middle of its answer",
    ),
    "has_no_last_chunk": (
        chunked(b"2\r\n{}\r\n"),
        "ended the connection in the middle of its answer",
    ),
    "has_a_long_chunk_size": (chunked(b"0" * 200_000), "a line that is too long"),
    # the encoding of the body
    "claims_to_be_gzip": (packed(b'{"runs": []}'), "sent an answer that cannot be unpacked"),
    "is_half_a_gzip": (
        packed(gzip.compress(b'{"runs": []}' * 99)[:20]),
        "ended the connection in the middle of its answer",
    ),
    "is_half_a_deflate": (
        packed(zlib.compress(b"{}")[:-4], "deflate"),
        "ended the connection in the middle of its answer",
    ),
    "is_a_gzip_bomb": (packed(bomb(50_000_000)), "sent more than"),
    "is_a_gzip_bomb_in_a_gzip": (
        packed(gzip.compress(bomb(50_000_000)), "gzip, gzip"),
        "unknown encoding: gzip, gzip",
    ),
    "is_in_brotli": (
        packed(b"\x0b\x01\x80{}\x03", "br"),
        "sent an answer in an unknown encoding: br",
    ),
    # the JSON
    "is_204": (raw(b"HTTP/1.1 204 No Content\r\n\r\n"), "is empty (204), not JSON"),
    "is_empty": (answer(b""), "is empty (200), not JSON"),
    "is_not_utf_8": (answer(b'{"a": "\xff\xfe"}'), "cannot be read as JSON"),
    "has_a_nul_byte": (answer(b'{"a": "\x00"}'), "cannot be read as JSON"),
    "ends_in_a_nul_byte": (answer(b'{"a": 1}\x00'), "cannot be read as JSON"),
    "nests_deep_lists": (answer(b'{"a": ' + b"[" * 100_000), "nests deeper than"),
    "nests_deep_objects": (answer(b'{"a": ' * 400 + b"1" + b"}" * 400), "nests deeper than"),
    "has_1e999": (answer(b'{"a": 1e999}'), "cannot be used: a"),
    "has_nan": (answer(b'{"a": NaN}'), "cannot be used: a"),
    "has_minus_infinity": (answer(b'{"a": [-Infinity]}'), "cannot be used: a[0]"),
    "has_5000_digits": (answer(b'{"a": ' + b"9" * 5000 + b"}"), "cannot be read as JSON"),
    "has_a_key_twice": (answer(b'{"a": 1, "a": 2}'), "cannot be read as JSON"),
    "is_a_list": (answer(b"[]"), "is JSON, but not an object"),
    "is_null": (answer(b"null"), "is JSON, but not an object"),
    "is_two_values": (answer(b"{}{}"), "cannot be read as JSON"),
    "is_xml": (answer(b"<a/>", Content_Type="application/xml"), "is application/xml, not JSON"),
    # something in between
    "is_a_sign_in_page": (answer(HTML, Content_Type="text/html"), "with a web page, not with JSON"),
    "is_a_page_of_a_proxy": (
        answer(HTML, "403 Forbidden", Content_Type="text/html"),
        "A sign-in page, not ",
    ),
    "is_407": (answer(b"", "407 Proxy Authentication Required"), "A proxy or gateway, not"),
    "is_401": (answer(b"{}", "401 Unauthorized"), "did not accept the sign-in"),
    "is_a_bad_redirect": (
        answer(b"", "302 Found", Location="http://[::1"),
        "redirects to an address that is not valid",
    ),
    "is_a_redirect_without_a_place": (answer(b"", "301 Moved Permanently"), "redirects"),
    "is_a_redirect_with_3_gb": (
        lambda connection: (
            connection.send(
                b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 3000000000\r\n\r\n"
            ),
            connection.send_for_ever(b" " * 65536),
        ),
        "sent more than",
    ),
    "is_an_error_with_a_bomb": (
        answer(bomb(50_000_000), "400 Bad Request", Content_Encoding="gzip"),
        "sent more than",
    ),
}


@pytest.fixture
def serve() -> Iterator[Callable[..., HostileServer]]:
    with ExitStack() as stack:
        yield lambda mode, **options: stack.enter_context(hostile_server(mode, **options))


@pytest.fixture(params=sorted(SERVICES))
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A backend that sends each request once."""
    for name in PROXY_VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setattr("kfgcp.services.transport.LARGEST", LARGEST)
    for module in (vertex_service, kubeflow_clients):
        monkeypatch.setattr(module, "ServiceClient", partial(ServiceClient, retries=0))
    return str(request.param)


@pytest.fixture
def refused(home: Path, backend: str, fails: Fails) -> Callable[..., str]:
    """Run a command on an environment at an address; return its error, which names the service."""

    def run(address: str, *arguments: str, env: Mapping[str, str] | None = None) -> str:
        key = "api_endpoint" if backend == "vertex" else "host"
        settings = {"backend": backend, key: address, "auth": "token-file", "token_file": "token"}
        if backend == "vertex":
            settings |= {
                "project": "acme",
                "location": "europe-west4",
                "pipeline_root": "gs://acme/runs",
            }
        lines = [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
        (home / "kfgcp.toml").write_text("[env.cloud]\n" + "\n".join(lines))
        (home / "token").write_text(SECRET)
        error, hint = fails(5, *(arguments or ("list", "--env", "cloud")), env=dict(env or {}))
        assert SERVICES[backend] in error
        assert SECRET not in error + hint
        return error

    return run


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_answer(
    refused: Callable[..., str], serve: Callable[..., HostileServer], name: str
) -> None:
    mode, part = HOSTILE[name]

    assert part in refused(serve(mode).url)


@pytest.mark.parametrize(
    "arguments", [("show", "some-run"), ("logs", "some-run"), ("cancel", "some-run")]
)
@pytest.mark.parametrize(
    "name", ["hangs_up", "is_not_http", "promises_3_gb", "is_a_gzip_bomb", "nests_deep_lists"]
)
def test_a_hostile_answer_to_another_command(
    refused: Callable[..., str],
    serve: Callable[..., HostileServer],
    name: str,
    arguments: tuple[str, ...],
) -> None:
    mode, part = HOSTILE[name]

    assert part in refused(serve(mode).url, *arguments)


# -- time


@pytest.mark.parametrize("verb", ["list", "show", "logs", "run"])
def test_one_byte_after_the_other(
    refused: Callable[..., str],
    serve: Callable[..., HostileServer],
    verb: str,
    pipeline: Callable[[str], Path],
) -> None:
    def mode(connection: Connection) -> None:
        connection.send(FIRST_LINE + JSON + b"Content-Length: 100000\r\n\r\n")
        connection.trickle(b" " * 100_000)

    arguments = {
        "list": ("list", "--env", "cloud"),
        "show": ("show", "some-run"),
        "logs": ("logs", "some-run"),
        "run": ("run", str(pipeline("echo")), "--env", "cloud"),
    }
    env = {"KFGCP_ENV_CLOUD_REQUEST_SECONDS": "1"}

    assert "did not send a whole answer within 1 s" in refused(
        serve(mode).url, *arguments[verb], env=env
    )


# -- lists


def pages(backend: str, *answers: tuple[str, Any]) -> Mode:
    """Answer the first requests, each of them on a connection of its own; the last answer is
    repeated."""

    def mode(connection: Connection) -> None:
        status, value = answers[min(connection.number, len(answers) - 1)]
        answer(json.dumps(value).encode(), status, Connection="close")(connection)

    return mode


def test_a_page_token_that_comes_again(
    refused: Callable[..., str], serve: Callable[..., HostileServer], backend: str
) -> None:
    page = {LISTS[backend]: [], PAGE_TOKENS[backend]: "again"}

    assert "sent the same page token twice" in refused(serve(pages(backend, ("200 OK", page))).url)


def test_a_token_that_is_revoked_between_two_pages(
    refused: Callable[..., str], serve: Callable[..., HostileServer], backend: str
) -> None:
    page = {LISTS[backend]: [], PAGE_TOKENS[backend]: "next"}
    server = serve(pages(backend, ("200 OK", page), ("401 Unauthorized", {})))

    assert "did not accept the sign-in" in refused(server.url)


@pytest.mark.parametrize("token", [5, ["a"], {"a": 1}])
def test_a_page_token_that_is_not_text(
    refused: Callable[..., str], serve: Callable[..., HostileServer], backend: str, token: object
) -> None:
    page = {LISTS[backend]: [], PAGE_TOKENS[backend]: token}

    assert "the page token is not text" in refused(serve(pages(backend, ("200 OK", page))).url)


@pytest.mark.parametrize("items", [{"a": 1}, "text", 5])
def test_a_list_that_is_not_a_list(
    refused: Callable[..., str], serve: Callable[..., HostileServer], backend: str, items: Any
) -> None:
    page = {LISTS[backend]: items}

    assert "' is not a list." in refused(serve(pages(backend, ("200 OK", page))).url)


# -- other hosts


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    "place", ["http://127.0.0.1:{port}/x", "//127.0.0.1:{port}/", "http://localhost:{port}/?a=b"]
)
def test_no_token_follows_a_redirect(
    refused: Callable[..., str], serve: Callable[..., HostileServer], status: int, place: str
) -> None:
    """To another port, and to another name; nothing at all is sent there."""
    other = serve(answer(b"{}"), reads_requests=False)
    first = serve(
        answer(b"", f"{status} Moved", Location=place.format(port=other.port), Set_Cookie="a=b")
    )

    assert "kfgcp does not send tokens to another host" in refused(first.url)
    assert SECRET.encode() in first.requests[0]
    assert other.connections == 0


def test_no_token_follows_a_redirect_from_https_to_http(
    refused: Callable[..., str],
    serve: Callable[..., HostileServer],
    certificates: Certificates,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificates.authority))
    other = serve(answer(b"{}"), reads_requests=False)
    first = serve(
        answer(b"", "302 Found", Location=f"{other.url}/x"),
        tls=_context(certificates.leaf, certificates),
    )

    assert "kfgcp does not send tokens to another host" in refused(first.url)
    assert other.connections == 0


PROXY_ANSWERS: dict[str, tuple[Mode, str]] = {
    "a page": (answer(HTML, "200 OK", Content_Type="text/html"), ""),
    "a page that refuses": (
        answer(HTML, "403 Forbidden", Content_Type="text/html"),
        "a proxy that blocks",
    ),
    "a sign-in": (
        answer(HTML, "407 Proxy Authentication Required"),
        "a proxy that asks for a sign-in",
    ),
    "a redirect": (
        answer(b"", "302 Found", Location="http://127.0.0.1/"),
        "a proxy that blocks",
    ),
    "nothing": (lambda connection: None, ""),
    "no HTTP": (raw(b"\x05\x00\r\n\r\n"), ""),
    "headers without an end": (raw(b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n" * 5000), ""),
}


@pytest.mark.parametrize("name", PROXY_ANSWERS)
def test_a_proxy_with_a_wrong_answer_gets_no_token(
    refused: Callable[..., str],
    serve: Callable[..., HostileServer],
    name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mode, part = PROXY_ANSWERS[name]
    proxy = serve(mode)
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)

    assert part in refused("https://kfp.example")
    assert proxy.requests[0].startswith(b"CONNECT kfp.example:443 HTTP/1")
    assert SECRET.encode() not in b"".join(proxy.requests)


# -- certificates


def _context(certificate: Path, certificates: Any) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificates.key)
    return context


@pytest.mark.parametrize(
    ("name", "trusted", "part"),
    [
        (
            "leaf",
            False,
            "has a certificate that is not trusted: unable to get local issuer certificate",
        ),
        ("expired", True, "has a certificate that is not trusted: certificate has expired"),
        ("elsewhere", True, "has a certificate that is not trusted: IP address mismatch"),
    ],
)
def test_a_certificate_that_is_not_valid(
    refused: Callable[..., str],
    serve: Callable[..., HostileServer],
    certificates: Certificates,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    trusted: bool,
    part: str,
) -> None:
    server = serve(answer(b"{}"), tls=_context(getattr(certificates, name), certificates))
    if trusted:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificates.authority))

    assert part in refused(server.url)
    assert server.requests == []


@pytest.mark.parametrize(
    "rest", [b"", b"\x15\x03\x03\x00\x02\x02\x2d", b"}" * 99], ids=["ends", "alert", "in clear"]
)
def test_encryption_that_ends_in_the_body(
    refused: Callable[..., str],
    serve: Callable[..., HostileServer],
    certificates: Certificates,
    monkeypatch: pytest.MonkeyPatch,
    rest: bytes,
) -> None:
    """The connection ends, an alert comes that a certificate has expired (RFC 8446, 6.2), or bytes
    in clear."""

    def mode(connection: Connection) -> None:
        connection.send(FIRST_LINE + JSON + b"Content-Length: 100\r\n\r\n{")
        socket.socket.sendall(socket.socket(fileno=connection.socket.detach()), rest)

    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificates.authority))
    server = serve(mode, tls=_context(certificates.leaf, certificates))

    assert "ended the connection in the middle of its answer" in refused(server.url)
