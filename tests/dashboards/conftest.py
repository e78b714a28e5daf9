"""Fixtures for the tests of the dashboard: pages in this process, real stores, a JSON server."""

import fcntl
import http.server
import json
import os
import runpy
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from streamlit.testing.v1 import AppTest

from kfgcp import api
from kfgcp.model import Metric, Run, RunState
from kfgcp.spec.json_values import JsonObject
from kfgcp.store.store import Store
from kfgcp_dashboard import server, sync
from kfgcp_dashboard.links import PAGES
from patience import REQUEST

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Playwright

CHROMIUM = Path("/usr/bin/chromium")
MANY_RUNS = 30_000


@pytest.fixture(scope="session")
def playwright() -> "Iterator[Playwright]":
    """Return the library that starts browsers. A process can have only one."""
    if not CHROMIUM.exists():
        pytest.skip("no /usr/bin/chromium (Debian: apt-get install chromium)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        yield started


@pytest.fixture(scope="session")
def browser(playwright: "Playwright") -> "Iterator[Browser]":
    started = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
    yield started
    started.close()


@pytest.fixture
def json_server() -> Iterator[Callable[[JsonObject], str]]:
    """Return a function that serves a value as JSON on a free port and returns the address."""
    servers: list[http.server.HTTPServer] = []

    def serve(value: JsonObject) -> str:
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
    """Return a function that draws a view of the dashboard of the current project.

    Its keyword arguments are the query of the address.
    """
    monkeypatch.setattr(server.options, "embedded", True)

    def open_(view: str, *, secrets: JsonObject | None = None, **query: Any) -> AppTest:
        page = AppTest.from_file(str(server.APP), default_timeout=REQUEST)
        for key, value in query.items():
            page.query_params[key] = value
        for key, value in (secrets or {}).items():
            page.secrets[key] = value
        if view != "runs":
            page.switch_page(PAGES[view])
        return page.run()

    yield open_
    sync.stop_all()


@pytest.fixture(scope="session")
def many_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a state folder with MANY_RUNS runs of 10 parameters and 5 metrics each.

    The first worker makes the folder for all workers. With 100,000 runs, benchmarks/dashboard.py
    measures the pages.
    """
    base = tmp_path_factory.getbasetemp()
    is_worker = "PYTEST_XDIST_WORKER" in os.environ
    folder = (base.parent if is_worker else base) / "many-runs"
    folder.mkdir(exist_ok=True)
    home, complete = folder / ".kfgcp", folder / "done"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not complete.exists():
            script = Path(__file__).with_name("many.py")
            runpy.run_path(str(script))["fill"](home, MANY_RUNS)
            complete.touch()
    return home


@pytest.fixture
def several(store: Store, make_run: Callable[..., Run]) -> list[str]:
    """Store 120 runs in two pipelines and two environments. Every tenth run has failed.

    Return their ids.
    """
    for number in range(120):
        store.add_run(
            make_run(
                f"run{number:09d}",
                name=f"name-{number}",
                pipeline="train" if number % 2 else "score",
                env="local" if number % 3 else "dev",
                experiment=f"exp-{number % 4}",
                state=RunState.SUCCEEDED if number % 10 else RunState.FAILED,
                created_at=f"2026-01-01T{number // 60:02d}:{number % 60:02d}:00.000Z",
                params={"lr": number / 100, "model": "abc"[number % 3]},
                metrics=(Metric("evaluate", "m", "accuracy", 1 - number / 1000),),
            )
        )
    store.note("run000000007", "the Lucky one")
    store.tag("run000000009", ["keep"])
    return [run.run_id for run in store.page()]


@pytest.fixture
def failed(home: Path, pipeline: Callable[[str], Path]) -> Run:
    return api.run(str(pipeline("one_fails")), check=False).snapshot
