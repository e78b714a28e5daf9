"""Pages in this process, projects with real stores, a small server of JSON."""

import http.server
import json
import runpy
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from kfgcp_dashboard import server, sync
from kfgcp_dashboard.links import PAGES


@pytest.fixture
def json_server() -> Iterator[Callable[[Mapping[str, Any]], str]]:
    """Serves a value as JSON on a free port; its address."""
    servers: list[http.server.HTTPServer] = []

    def serve(value: Mapping[str, Any]) -> str:
        class Answer(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(json.dumps(value).encode())

            def log_message(self, *_: object) -> None:
                pass

        serving = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        servers.append(serving)
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{serving.server_port}"

    yield serve
    for serving in servers:
        serving.shutdown()
        serving.server_close()


@pytest.fixture
def open_page(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., AppTest]]:
    """A page of the dashboard of the current project after its first run: the name of a view, and its address."""
    monkeypatch.setattr(server.options, "embedded", True)

    def open_(view: str, *, secrets: Mapping[str, Any] | None = None, **query: Any) -> AppTest:
        page = AppTest.from_file(str(server.APP), default_timeout=60)
        for key, value in query.items():
            page.query_params[key] = value
        for key, value in (secrets or {}).items():
            page.secrets[key] = value
        if view != "runs":
            page.switch_page(PAGES[view])
        return page.run()

    yield open_
    sync.end()


@pytest.fixture(scope="session")
def many_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state folder with 100,000 runs of 10 parameters and 5 metrics each."""
    home = tmp_path_factory.mktemp("many") / ".kfgcp"
    script = Path(__file__).with_name("many.py")
    runpy.run_path(str(script))["fill"](home, 100_000)
    return home
