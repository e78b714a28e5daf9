"""No server of a stand-in answers a request that a foreign web page may have sent."""

import http.client
import json
import socket
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest

from json_types import JsonDict
from kfgcp.testing import kubeflow, vertex
from patience import REQUEST

Send = Callable[..., int]

VERTEX = "/v1/projects/stand-in-project/locations/europe-west4/pipelineJobs"
KUBEFLOW = "/apis/v2beta1/runs"
SERVERS = {
    "vertex": VERTEX,
    "kubeflow": KUBEFLOW,
    "vertex storage": "/storage/v1/b",
    "kubeflow storage": "/b",
}


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """Return the `127.0.0.1:PORT` of a server, and a path that it answers with 200."""
    name, _, storage = request.param.partition(" ")
    start = {"vertex": vertex, "kubeflow": kubeflow}[name]
    with start(mode="instant", host_names=("proxy.acme.example",)) as env:
        url = env.storage_endpoint if storage else env.api_endpoint
        yield urlsplit(url).netloc, SERVERS[request.param]


def _status(address: str, head: str, body: bytes = b"") -> int:
    """Send a request unchanged, and return the status of the answer, 0 without an answer."""
    host, _, port = address.partition(":")
    with socket.create_connection((host, int(port)), timeout=REQUEST) as connection:
        connection.sendall(head.replace("\n", "\r\n").encode() + b"\r\n" + body)
        connection.shutdown(socket.SHUT_WR)
        line = connection.makefile("rb").readline()
    return int(line.split()[1]) if line else 0


def test_programs_are_served(server: tuple[str, str]) -> None:
    address, path = server
    port = address.partition(":")[2]

    for host in (address, f"LOCALHOST.:{port}", f"[::1]:{port}", "proxy.acme.example"):
        assert _status(address, f"GET {path} HTTP/1.1\nHost: {host}\nConnection: close\n") == 200
    assert _status(address, f"GET {path} HTTP/1.0\nHost: {address}\n") == 200
    assert (
        _status(
            address, f"GET http://{address}{path} HTTP/1.1\nHost: {address}\nConnection: close\n"
        )
        != 403
    )
    own = (
        f"Host: {address}\nOrigin: http://{address}\nSec-Fetch-Site: same-origin\nConnection: close"
    )
    assert _status(address, f"GET {path} HTTP/1.1\n{own}\n") == 200


FOREIGN = {
    "another name": "Host: evil.example",
    "another name with the port": "Host: evil.example:{port}",
    "another port": "Host: 127.0.0.1:1",
    "no port": "Host: 127.0.0.1",
    "no host": "Accept: */*",
    "two hosts": "Host: {address}\nHost: evil.example",
    "the same host twice": "Host: {address}\nHost: {address}",
    "a hidden host": "Host : evil.example",
    "another origin": "Host: {address}\nOrigin: http://evil.example",
    "another port of this machine": "Host: {address}\nOrigin: http://127.0.0.1:1",
    "another name of this machine": "Host: {address}\nOrigin: http://localhost:{port}",
    "no origin that can be named": "Host: {address}\nOrigin: null",
    "a rebound name": (
        "Host: evil.example:{port}\nOrigin: http://evil.example:{port}\nSec-Fetch-Site: same-origin"
    ),
    "another site": "Host: {address}\nSec-Fetch-Site: cross-site",
    "another port in the same site": "Host: {address}\nSec-Fetch-Site: same-site",
    "a link": (
        "Host: {address}\nSec-Fetch-Site: cross-site\nSec-Fetch-Mode: navigate\nSec-Fetch-Dest:"
        " document"
    ),
    "a websocket": (
        "Host: {address}\nOrigin: http://evil.example\nUpgrade: websocket\nConnection: Upgrade"
    ),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_what_a_foreign_page_may_have_sent_is_refused(server: tuple[str, str], kind: str) -> None:
    address, path = server
    head = FOREIGN[kind].format(address=address, port=address.partition(":")[2])

    for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"):
        assert _status(address, f"{method} {path} HTTP/1.1\n{head}\n") == 403
    assert _status(address, f"GET {path} HTTP/1.0\n{head}\n") == 403


def test_an_address_of_another_server_in_the_request_line_is_refused(
    server: tuple[str, str],
) -> None:
    address, path = server

    assert _status(address, f"GET http://evil.example{path} HTTP/1.1\nHost: {address}\n") == 403


def test_a_preflight_is_never_answered_with_consent(server: tuple[str, str]) -> None:
    address, path = server
    connection = http.client.HTTPConnection(address, timeout=REQUEST)
    preflight_headers = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}

    connection.request(
        "OPTIONS",
        path,
        headers=preflight_headers | {"Access-Control-Request-Headers": "content-type"},
    )
    answer = connection.getresponse()

    assert answer.status == 403
    assert not [name for name in answer.headers if name.lower().startswith("access-control")]
    connection.close()


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "text/plain; a=application/json",
        "application/x-www-form-urlencoded",
        "",
        "a/json",
    ],
)
@pytest.mark.parametrize("path", [VERTEX, KUBEFLOW])
def test_a_run_is_started_by_json_only(
    path: str,
    content_type: str,
    body_of: Callable[..., JsonDict],
    spec_of: Callable[[str], JsonDict],
) -> None:
    bodies = {
        VERTEX: body_of("echo"),
        KUBEFLOW: {"display_name": "x", "pipeline_spec": spec_of("echo")},
    }
    body = json.dumps(bodies[path]).encode()
    start = vertex if path is VERTEX else kubeflow
    with start(mode="instant") as env:
        address = urlsplit(env.api_endpoint).netloc

        def post(kind: str) -> int:
            head = (
                f"POST {path} HTTP/1.1\nHost: {address}\nContent-Length: {len(body)}\nConnection:"
                " close\n"
            )
            return _status(address, head + (f"Content-Type: {kind}\n" if kind else ""), body)

        assert post(content_type) == 403
        assert post("application/json") == 200
        assert post("Application/JSON ; charset=UTF-8") == 200


def test_what_is_refused_is_not_recorded() -> None:
    with vertex(mode="instant") as env:
        address = urlsplit(env.api_endpoint).netloc

        assert _status(address, f"GET {VERTEX} HTTP/1.1\nHost: evil.example\n") == 403
        assert len(env.requests) == 0
