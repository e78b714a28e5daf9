"""A real Chromium on the page of an attacker: it starts no run on a stand-in, and does not get into
the dashboard."""

import contextlib
import http.server
import json
import socket
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
import yaml

from kfgcp.testing import KubeflowStandIn, VertexStandIn, kubeflow, vertex
from kfgcp_command import Command
from kfgcp_dashboard.protection import HEADERS
from patience import REQUEST, WaitFor

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Playwright

REBOUND = "evil.example"
"""A name that leads to 127.0.0.1 in this browser, as the owner of a domain can make his own do."""

POST = """async ([url, type, body, mode]) => {
    try {
        const headers = {"Content-Type": type}
        const answer = await fetch(url, {method: "POST", mode, headers, body})
        return [answer.type, answer.status]
    } catch (error) { return ["failed", 0] }
}"""
OPEN_SOCKET = """url => new Promise(resolve => {
    const connection = new WebSocket(url, ["streamlit"])
    connection.onopen = () => resolve("open")
    connection.onerror = () => resolve("refused")
})"""


@pytest.fixture(scope="session")
def rebinding_browser(playwright: "Playwright") -> "Iterator[Browser]":
    rules = f"--host-resolver-rules=MAP {REBOUND} 127.0.0.1"
    started = playwright.chromium.launch(
        executable_path="/usr/bin/chromium", args=["--no-sandbox", rules]
    )
    yield started
    started.close()


@pytest.fixture
def page(rebinding_browser: "Browser") -> "Iterator[Page]":
    context = rebinding_browser.new_context()
    context.set_default_timeout(REQUEST * 1000)
    yield context.new_page()
    context.close()


@pytest.fixture
def serve_page() -> Iterator[Callable[[str], str]]:
    """Serves a page on a port of its own, which is another origin; its address."""
    servers: list[http.server.HTTPServer] = []

    def serve(body: str) -> str:
        class Answer(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "text/html")
                self.end_headers()
                self.wfile.write(f"<!DOCTYPE html><title>attacker</title>{body}".encode())

            def log_message(self, *_: object) -> None:
                pass

        servers.append(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}/"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


StandIn = VertexStandIn | KubeflowStandIn


@pytest.fixture(params=["vertex", "kubeflow"])
def stand_in(request: pytest.FixtureRequest) -> Iterator[StandIn]:
    start = {"vertex": vertex, "kubeflow": kubeflow}[request.param]
    with start(mode="instant") as env:
        yield env


@pytest.fixture
def submission(stand_in: StandIn, pipeline: Callable[[str], Path]) -> tuple[str, str]:
    """The path and the body of a request that starts a run."""
    spec = next(iter(yaml.safe_load_all(pipeline("echo").read_text())))
    if isinstance(stand_in, KubeflowStandIn):
        return "/apis/v2beta1/runs", json.dumps({"display_name": "attack", "pipeline_spec": spec})
    runtime = {"gcsOutputDirectory": stand_in.pipeline_root}
    parent = f"/v1/projects/{stand_in.project}/locations/{stand_in.location}"
    return f"{parent}/pipelineJobs", json.dumps({"pipelineSpec": spec, "runtimeConfig": runtime})


def _runs(stand_in: StandIn) -> int:
    return len(
        stand_in.jobs() if isinstance(stand_in, VertexStandIn) else list(stand_in.runs.all())
    )


@pytest.mark.parametrize("content_type", ["text/plain", "application/json"])
def test_a_page_of_another_origin_starts_no_run(
    page: "Page",
    stand_in: StandIn,
    submission: tuple[str, str],
    serve_page: Callable[[str], str],
    content_type: str,
) -> None:
    path, body = submission
    page.goto(serve_page(""))

    # In this mode the browser sends what it may send without asking, and shows nothing of the
    # answer.
    blind = page.evaluate(POST, [stand_in.api_endpoint + path, content_type, body, "no-cors"])
    asking = page.evaluate(POST, [stand_in.api_endpoint + path, content_type, body, "cors"])

    assert blind == ["opaque", 0]
    assert asking == ["failed", 0]
    assert _runs(stand_in) == len(stand_in.requests) == 0


def test_a_form_of_another_origin_starts_no_run(
    page: "Page", stand_in: StandIn, submission: tuple[str, str], serve_page: Callable[[str], str]
) -> None:
    """A form of text can be written so that its body is JSON: `{"a": "=", ...}`."""
    path, body = submission
    field = body[:-1].replace("&", "&amp;").replace("'", "&#39;")
    page.goto(
        serve_page(
            f"<form method=post enctype=text/plain action='{stand_in.api_endpoint}{path}'><input"
            f" name='{field}, &quot;x&quot;: &quot;' value='&quot;}}'><button>go</button></form>"
        )
    )

    with page.expect_navigation() as navigation:
        page.get_by_role("button").click()

    answer = navigation.value
    assert answer is not None
    assert answer.status == 403
    assert _runs(stand_in) == 0


def test_a_page_whose_name_is_rebound_starts_no_run(
    page: "Page", stand_in: StandIn, submission: tuple[str, str]
) -> None:
    path, body = submission
    address = f"http://{REBOUND}:{urlsplit(stand_in.api_endpoint).port}"
    answer = page.goto(address + path)
    assert answer is not None

    sent = page.evaluate(POST, [path, "application/json", body, "same-origin"])

    assert (answer.status, sent) == (403, ["basic", 403])
    assert _runs(stand_in) == 0


def test_a_page_of_the_same_origin_starts_a_run(
    page: "Page", stand_in: StandIn, submission: tuple[str, str]
) -> None:
    """So the other tests attack in a way that works."""
    path, body = submission
    page.goto(stand_in.api_endpoint + path)

    assert page.evaluate(POST, [path, "application/json", body, "same-origin"]) == ["basic", 200]
    assert _runs(stand_in) == 1


@pytest.fixture
def dashboard(kfgcp: Command, home: Path, eventually: WaitFor) -> str:
    """The `127.0.0.1:PORT` of a dashboard."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"

    def is_healthy() -> bool:
        url = f"http://{address}/_stcore/health"
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=REQUEST) as answer:
            return bool(answer.read() == b"ok")
        return False

    kfgcp.start("dashboard", "--port", address.partition(":")[2], "--no-browser")
    eventually(is_healthy)
    return address


def test_the_socket_of_the_dashboard_is_for_its_own_pages(
    page: "Page", dashboard: str, serve_page: Callable[[str], str]
) -> None:
    url = f"ws://{dashboard}/_stcore/stream"
    page.goto(serve_page(""))
    assert page.evaluate(OPEN_SOCKET, url) == "refused"

    rebound = f"{REBOUND}:{dashboard.partition(':')[2]}"
    answer = page.goto(f"http://{rebound}/")
    assert answer is not None
    assert answer.status == 403
    assert page.evaluate(OPEN_SOCKET, f"ws://{rebound}/_stcore/stream") == "refused"

    page.goto(f"http://{dashboard}/")
    assert page.evaluate(OPEN_SOCKET, url) == "open"


def test_the_dashboard_is_not_shown_in_a_frame_but_opens_by_a_link(
    page: "Page", dashboard: str, serve_page: Callable[[str], str]
) -> None:
    url = f"http://{dashboard}/"
    with page.expect_response(url) as framed:
        page.goto(serve_page(f"<a href='{url}'>link</a><iframe src='{url}'></iframe>"))
    assert framed.value.status == 403

    with page.expect_response(url) as response:
        page.get_by_role("link").click()

    assert response.value.status == 200
    sent = response.value.headers
    assert {name: sent[name.lower()] for name in HEADERS} == {
        "Content-Security-Policy": "frame-ancestors 'none'",
        "X-Frame-Options": "DENY",
        "X-Content-Type-Options": "nosniff",
    }
    page.locator("[data-testid=stApp]").wait_for()
