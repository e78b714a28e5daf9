"""Addresses, sign-ins, certificates and namespaces that are wrong, at the real command line: a line
with the cause, and a hint."""

import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from certificates import Certificates
from kfgcp import testing
from kfgcp.testing import KubeflowStandIn
from kfgcp_command import Command
from service_fixtures import Reply, Server

TOKEN = "ya29.not-a-real-token"  # noqa: S105
HTML = {"Content-Type": "text/html; charset=utf-8"}
VERBS = ("run", "list")


def setting(key: str, value: str) -> dict[str, str]:
    return {f"KFGCP_ENV_CLOUD_{key.upper()}": value}


@pytest.fixture
def verb(request: pytest.FixtureRequest, pipeline: Callable[[str], Path]) -> tuple[str | Path, ...]:
    """The command that submits, or the one that lists."""
    return {"run": ("run", pipeline("echo")), "list": ("list", "--env", "cloud")}[request.param]


@pytest.fixture
def signed(home: Path) -> dict[str, str]:
    """Settings of a sign-in whose token must not show."""
    (home / "token").write_text(TOKEN)
    return setting("auth", "token-file") | setting("token_file", str(home / "token"))


def _ids(cluster: KubeflowStandIn) -> list[str]:
    return [record.id for record in cluster.runs.all()]


# -- something else at the address


@pytest.mark.parametrize("verb", VERBS, indirect=True)
@pytest.mark.parametrize(
    ("body", "headers", "cause", "mend"),
    [
        (
            b"<!doctype html><title>Grafana</title>",
            HTML,
            "with a web page, not with JSON: 'Grafana'.",
            "the address of",
        ),
        (
            b"ok",
            {"Content-Type": "text/plain"},
            "is text/plain, not JSON",
            "the address of Kubeflow Pipelines?",
        ),
        (b"[1, 2]", {}, "is JSON, but not an object", "the address of Kubeflow Pipelines?"),
        (
            b'{"experiments": {"a": 1}, "runs": {"a": 1}}',
            {},
            "' is not a list.",
            "the address of Kubeflow Pipelines?",
        ),
        (b"\x00\xff", {}, "cannot be read as JSON", "the address of Kubeflow Pipelines?"),
    ],
)
def test_a_host_that_is_something_else(
    cluster: KubeflowStandIn,
    fails: Callable[..., tuple[str, str]],
    nothing_was_started: Callable[..., None],
    server: Server,
    reply: type[Reply],
    verb: Any,
    body: bytes,
    headers: Any,
    cause: str,
    mend: str,
) -> None:
    """Whatever is asked for, it answers 200."""
    server.always(lambda asked: reply(body, headers=headers))

    error, hint = fails(5, *verb, env=setting("host", server.url))

    assert cause in error
    assert mend in hint
    assert [
        asked for asked in server.asked if asked.method == "POST" and asked.path.endswith("/runs")
    ] == []
    nothing_was_started()


def test_a_service_whose_json_means_something_else(
    cluster: KubeflowStandIn,
    fails: Callable[..., tuple[str, str]],
    nothing_was_started: Callable[..., None],
    server: Server,
    reply: type[Reply],
    pipeline: Callable[[str], Path],
) -> None:
    server.always(lambda asked: reply({"status": "success", "data": {}}))

    error, hint = fails(5, "run", pipeline("echo"), env=setting("host", server.url))

    assert "Kubeflow Pipelines answered with an experiment without experiment_id" in error
    assert "Check the address of the environment" in hint
    nothing_was_started()


@pytest.mark.parametrize("verb", VERBS, indirect=True)
@pytest.mark.parametrize(
    ("status", "body", "cause", "mend"),
    [
        (502, b"<html><title>502 Bad Gateway</title></html>", "'502 Bad Gateway'", "outage"),
        (
            407,
            b"<html><h1>Proxy sign-in</h1></html>",
            "A proxy or gateway, not Kubeflow Pipelines",
            "HTTPS_PROXY",
        ),
        (
            403,
            b"<html><title>Blocked by policy</title></html>",
            "A proxy or gateway, not",
            "HTTPS_PROXY",
        ),
        (
            401,
            b"<html><title>Sign in</title></html>",
            "A sign-in page, not ",
            "Write a new token",
        ),
        (200, b"<html><title>Log in to Dex</title></html>", "'Log in to Dex'", "Write a new token"),
        (404, b"<html><title>404 Not Found</title></html>", "404", "is the right address"),
    ],
)
def test_a_page_of_a_proxy_or_a_sign_in(
    cluster: KubeflowStandIn,
    fails: Callable[..., tuple[str, str]],
    nothing_was_started: Callable[..., None],
    server: Server,
    reply: type[Reply],
    signed: dict[str, str],
    verb: Any,
    status: int,
    body: bytes,
    cause: str,
    mend: str,
) -> None:
    headers = HTML | ({"Retry-After": "99"} if status == 502 else {})
    server.always(lambda asked: reply(body, status=status, headers=headers))

    error, hint = fails(5, *verb, env=setting("host", server.url) | signed)

    assert cause in error
    assert mend in hint
    assert TOKEN not in error + hint
    nothing_was_started()


@pytest.mark.parametrize("verb", VERBS, indirect=True)
@pytest.mark.parametrize("kind", ["401", "redirect", "page"])
def test_a_token_that_has_expired(
    cluster: KubeflowStandIn,
    fails: Callable[..., tuple[str, str]],
    nothing_was_started: Callable[..., None],
    signed: dict[str, str],
    verb: Any,
    kind: str,
) -> None:
    cluster.accept_tokens("another")
    cluster.sign_in = kind

    error, hint = fails(5, *verb, env=signed)

    assert any(
        reason in error
        for reason in (
            "did not accept the sign-in",
            "redirects to a sign-in",
            "looks like a sign-in page",
        )
    )
    assert "Write a new token to" in hint
    assert TOKEN not in error + hint
    nothing_was_started(_ids(cluster))


# -- the network


@pytest.mark.parametrize("verb", VERBS, indirect=True)
def test_an_unknown_host(
    cluster: KubeflowStandIn,
    fails: Callable[..., tuple[str, str]],
    nothing_was_started: Callable[..., None],
    signed: dict[str, str],
    verb: Any,
) -> None:
    error, hint = fails(5, *verb, env=setting("host", "https://kfp.invalid") | signed)

    assert "kfp.invalid cannot be found: its name is unknown" in error
    assert hint
    nothing_was_started()


def test_nobody_at_the_address(
    cluster: KubeflowStandIn,
    fails: Callable[..., tuple[str, str]],
    nothing_was_started: Callable[..., None],
    pipeline: Callable[[str], Path],
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    error, hint = fails(5, "run", pipeline("echo"), env=setting("host", f"http://127.0.0.1:{port}"))

    assert "127.0.0.1 refuses the connection" in error
    assert hint == "Check the address, and that the server is running."
    nothing_was_started()


@pytest.fixture
def tls(server: Server, reply: type[Reply], certificates: Certificates) -> Callable[[Path], str]:
    """Makes the answering server one of https with a certificate; its address then."""

    def wrap(certificate: Path) -> str:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, certificates.key)
        server.http.socket = context.wrap_socket(server.http.socket, server_side=True)
        server.http.handle_error = lambda *_: (
            None
        )  # a client that goes away is what the tests are about
        server.always(lambda asked: reply({}))
        return str(server.url.replace("http://", "https://"))

    return wrap


def test_a_certificate_of_a_private_authority(
    cluster: KubeflowStandIn,
    fails: Callable[..., tuple[str, str]],
    kfgcp: Command,
    tls: Callable[[Path], str],
    certificates: Certificates,
    signed: dict[str, str],
) -> None:
    env = signed | setting("host", tls(certificates.leaf))

    error, hint = fails(5, "list", "--env", "cloud", env=env)

    assert "127.0.0.1 has a certificate that is not trusted" in error
    assert "ca_file in [env.NAME] of kfgcp.toml" in hint
    done = kfgcp(
        "list", "--env", "cloud", env=env | setting("ca_file", str(certificates.authority))
    )
    assert (done.code, "No runs" in done.err) == (0, True), done.err


@pytest.mark.parametrize(("which", "cause"), [("expired", "expired"), ("elsewhere", "mismatch")])
def test_a_certificate_that_is_not_good_any_more_or_for_another_host(
    cluster: KubeflowStandIn,
    fails: Callable[..., tuple[str, str]],
    nothing_was_started: Callable[..., None],
    tls: Callable[[Path], str],
    certificates: Certificates,
    signed: dict[str, str],
    pipeline: Callable[[str], Path],
    which: str,
    cause: str,
) -> None:
    """The authority is trusted."""
    env = signed | setting("ca_file", str(certificates.authority))

    error, hint = fails(
        5, "run", pipeline("echo"), env=env | setting("host", tls(getattr(certificates, which)))
    )

    assert "127.0.0.1 has a certificate that is not trusted" in error
    assert cause in error
    assert hint
    nothing_was_started()


@pytest.mark.parametrize(
    ("key", "value", "cause", "mend"),
    [
        ("ca_file", "/no/such/ca.pem", "cannot be read: No such file", "ca_file in [env.cloud]"),
        ("host", "kfp.acme.example", "host is 'kfp.acme.example', not a URL", "https://HOST"),
        ("host", "http://kfp.acme.example", "plain http", "http"),
        ("auth", "magic", "auth is 'magic'", "Set auth to one of"),
    ],
)
def test_a_setting_that_cannot_be_right(
    cluster: KubeflowStandIn,
    fails: Callable[..., tuple[str, str]],
    nothing_was_started: Callable[..., None],
    pipeline: Callable[[str], Path],
    key: str,
    value: str,
    cause: str,
    mend: str,
) -> None:
    error, hint = fails(2, "run", pipeline("echo"), env=setting(key, value))

    assert cause in error
    assert mend in hint
    assert len(cluster.requests) == 0
    nothing_was_started()


# -- namespaces


@pytest.fixture
def shared(home: Path) -> Iterator[KubeflowStandIn]:
    """A server that knows users; ours may use the namespaces team-a and team-b."""
    with testing.kubeflow(mode="instant", multi_user=True) as env:
        (home / "kfgcp.toml").write_text(env.toml("cloud"))
        yield env


@pytest.mark.parametrize("verb", VERBS, indirect=True)
def test_a_namespace_without_rights(
    shared: KubeflowStandIn,
    fails: Callable[..., tuple[str, str]],
    nothing_was_started: Callable[..., None],
    verb: Any,
) -> None:
    error, hint = fails(5, *verb, env=setting("namespace", "team-z"))

    assert "403 PERMISSION_DENIED" in error
    assert "Namespace:team-z" in error
    assert "the role kubeflow-edit in the namespace team-z" in hint
    nothing_was_started(_ids(shared))


@pytest.mark.parametrize("verb", VERBS, indirect=True)
def test_a_namespace_that_is_missing(
    shared: KubeflowStandIn,
    home: Path,
    fails: Callable[..., tuple[str, str]],
    nothing_was_started: Callable[..., None],
    verb: Any,
) -> None:
    text = "".join(
        line for line in (home / "kfgcp.toml").open() if not line.startswith("namespace")
    )
    (home / "kfgcp.toml").write_text(text)

    error, hint = fails(5, *verb)

    assert "empty namespace in multi-user mode" in error
    assert (
        hint == "Set namespace in the environment of kfgcp.toml: this server is in multi-user mode."
    )
    nothing_was_started(_ids(shared))
