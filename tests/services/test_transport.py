"""The network itself: hosts that are not there, certificates, proxies, and what must not be sent by
accident."""

import datetime
import ipaddress
import os
import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from certificates import Certificates
from kfgcp.errors import Unreachable
from kfgcp.services.client import ServiceClient
from patience import REQUEST
from service_fixtures import Clock, Reply, Server

Client = Callable[..., ServiceClient]
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.fixture(autouse=True)
def plain_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy, certificates or ~/.netrc of whoever runs the tests."""
    for name in [
        *PROXIES,
        *map(str.lower, PROXIES),
        "REQUESTS_CA_BUNDLE",
        "CURL_CA_BUNDLE",
        "NETRC",
    ]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def _error(http: ServiceClient, **how: Any) -> Unreachable:
    with pytest.raises(Unreachable) as caught:
        http.get("x", **how)
    assert "\n" not in caught.value.message + caught.value.hint
    return caught.value


def test_a_host_that_is_unknown(client: Client, clock: Clock) -> None:
    """`.invalid` never resolves (RFC 6761). It is tried three times, not for a minute."""
    error = _error(client("https://europe-west99-aiplatform.invalid"))

    assert error.message == (
        "Vertex AI: europe-west99-aiplatform.invalid cannot be found: its name is unknown (GET x). "
        "Tried 3 times in 3 s."
    )
    assert error.hint.startswith("Check the name.")
    assert "HTTPS_PROXY, and NO_PROXY" in error.hint
    assert clock.slept == [1, 2]


def test_a_post_to_a_host_that_is_unknown_is_tried_again(client: Client, clock: Clock) -> None:
    """Nothing was sent."""
    with pytest.raises(Unreachable) as caught:
        client("https://kfp.invalid").post("x", body={})

    assert clock.slept == [1, 2]
    assert "carried out" not in caught.value.message


def test_a_connection_that_is_refused(client: Client) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # bound, but nobody listens
        error = _error(client(f"http://127.0.0.1:{free.getsockname()[1]}"))

    assert (
        error.message
        == "Vertex AI: 127.0.0.1 refuses the connection (GET x). Tried 3 times in 3 s."
    )


def test_a_server_that_comes_up_meanwhile(client: Client) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"ok": 1}')

        thread = threading.Thread(target=answer)

        def sleep(_: float) -> None:
            listener.listen()
            thread.start()

        assert client(f"http://127.0.0.1:{listener.getsockname()[1]}", sleep=sleep).get("x") == {
            "ok": 1
        }
        thread.join(REQUEST)


def test_bytes_that_are_not_http(client: Client) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            for _ in range(2):
                connection, _ = listener.accept()
                with connection:
                    connection.recv(65536)
                    connection.sendall(b"\x16\x03\x01 hello\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        error = _error(client(f"http://127.0.0.1:{listener.getsockname()[1]}", retries=1))
        thread.join(REQUEST)

    assert "127.0.0.1 sent an answer that is not HTTP" in error.message


def test_netrc_does_not_replace_the_token(
    server: Server, client: Client, tmp_path: Path, secret: str
) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login ada password pw\n")
    (tmp_path / ".netrc").chmod(0o600)
    server.answers({})

    client().get("x")

    assert server.asked[0].headers["authorization"] == f"Bearer {secret}"


def test_cookies_are_not_kept(server: Server, client: Client, reply: type[Reply]) -> None:
    server.answers(reply({}, headers={"Set-Cookie": "session=1; Path=/"}), {})
    http = client()

    http.get("x")
    http.get("x")

    assert "cookie" not in server.asked[1].headers


def test_connections_are_kept(server: Server, client: Client) -> None:
    ports = []
    original = server.http.process_request

    def process(request: socket.socket, address: tuple[str, int]) -> None:
        ports.append(address[1])
        original(request, address)

    server.http.process_request = process
    server.answers(*[{}] * 5)
    http = client()

    for _ in range(5):
        http.get("x")

    assert len(ports) == 1


# -- proxies


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_requests_to_this_machine_use_no_proxy(
    server: Server,
    another_server: Server,
    client: Client,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    monkeypatch.setenv(name, another_server.url)
    server.answers({"ok": 1})

    assert client().get("x") == {"ok": 1}
    assert another_server.asked == []


def test_https_goes_through_the_proxy(
    another_server: Server,
    client: Client,
    monkeypatch: pytest.MonkeyPatch,
    reply: type[Reply],
    secret: str,
) -> None:
    """The proxy sees the name of the host and no token; its own password does not show."""
    monkeypatch.setenv("HTTPS_PROXY", another_server.url.replace("//", "//ada:hush@"))
    another_server.answers(reply(b"<html>no</html>", 403), reply(status=407))
    http = client("https://kfp.example", retries=0)

    blocked, unsigned = _error(http), _error(http)

    assert blocked.message == (
        "Vertex AI: kfp.example is behind a proxy that blocks the request (GET x)."
    )
    assert blocked.hint == "Check HTTPS_PROXY, or list the host in NO_PROXY."
    assert (
        unsigned.message
        == "Vertex AI: kfp.example is behind a proxy that asks for a sign-in (GET x)."
    )
    assert "hush" not in blocked.message + unsigned.message
    for asked in another_server.asked:
        assert asked.method == "CONNECT"
        assert secret not in str(asked)


def test_a_proxy_that_requires_a_sign_in_is_not_asked_again(
    another_server: Server, client: Client, monkeypatch: pytest.MonkeyPatch, reply: type[Reply]
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", another_server.url)
    another_server.answers(reply(status=407))

    _error(client("https://kfp.example"))


def test_no_proxy(another_server: Server, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", another_server.url)
    monkeypatch.setenv("NO_PROXY", "kfp.invalid")

    assert "its name is unknown" in _error(client("https://kfp.invalid", retries=0)).message


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "ALL_PROXY"])
def test_this_machine_is_reached_without_a_proxy_and_without_a_change_of_the_environment(
    server: Server, client: Client, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    """`requests` can be told to set `no_proxy` for a moment. Threads that do so at once get in each
    other's way."""
    monkeypatch.setenv(variable, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    during: list[str | None] = []

    def bypass(host: str) -> bool:
        during.append(os.environ.get("no_proxy"))
        return False

    monkeypatch.setattr("requests.utils.proxy_bypass", bypass)
    server.answers({"ok": 1})

    assert client(retries=0).get("x") == {"ok": 1}
    assert during == [None]


# -- TLS


@pytest.fixture
def tls(server: Server, tmp_path: Path) -> Path:
    """Lets the server speak TLS, with a certificate of its own for localhost; the file with it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file, key_file = tmp_path / "ca.pem", tmp_path / "key.pem"
    file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.PKCS8
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    )
    _serve_tls(server, file, key_file)
    return file


def _serve_tls(server: Server, certificate: Path, key: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.http.socket = context.wrap_socket(server.http.socket, server_side=True)
    server.http.handle_error = lambda *_: (
        None
    )  # a client that goes away is what the tests are about
    server.url = server.url.replace("http://", "https://")


def test_a_certificate_of_ones_own(
    server: Server, client: Client, tls: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tls))
    server.answers({"ok": 1})

    assert client().get("x") == {"ok": 1}


@pytest.fixture
def authority(server: Server, certificates: Certificates) -> Path:
    """Makes the server one of https whose certificate is from a private authority; the file with
    that one's own."""
    _serve_tls(server, certificates.leaf, certificates.key)
    authority: Path = certificates.authority
    return authority


def test_a_private_authority(
    server: Server, client: Client, authority: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file of the environment wins over that of the variable."""
    server.answers({"ok": 1})
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/no/such/ca.pem")

    assert client(ca_file=str(authority)).get("x") == {"ok": 1}


def test_a_private_authority_that_is_not_named(client: Client, authority: Path) -> None:
    error = _error(client())

    assert "127.0.0.1 has a certificate that is not trusted: " in error.message
    assert (
        error.hint
        == "If your company has its own certificates, set the variable REQUESTS_CA_BUNDLE to the"
        " file with them. For the backend kubeflow, ca_file in [env.NAME] of kfgcp.toml does the"
        " same."
    )


def test_a_certificate_that_is_not_trusted(client: Client, tls: Path, clock: Clock) -> None:
    error = _error(client())

    assert (
        error.message
        == "Vertex AI: 127.0.0.1 has a certificate that is not trusted: self-signed certificate"
        " (GET x)."
    )
    assert "REQUESTS_CA_BUNDLE" in error.hint
    assert clock.slept == []


def test_a_file_with_certificates_that_is_not_there(
    client: Client, tls: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/no/such/ca.pem")

    error = _error(client())

    assert error.message == (
        "Vertex AI: 127.0.0.1 cannot be reached, because the file of CA certificates does not"
        " exist (GET x)."
    )


def test_https_to_a_server_without_tls(server: Server, client: Client) -> None:
    error = _error(client(server.url.replace("http://", "https://"), retries=0))

    assert error.message == "Vertex AI: 127.0.0.1 could not agree on TLS (GET x)."
    assert server.asked == []
