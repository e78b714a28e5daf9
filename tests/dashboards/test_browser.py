"""The dashboard as people meet it: the real command, and a real Chromium that walks through it."""

import contextlib
import re
import socket
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from google.auth import crypt, jwt

from kfgcp import api
from kfgcp.model import Artifact, Cache, ErrorInfo, Metric, Run, RunState, Task, TaskKind, TaskState
from kfgcp.store.store import Store
from kfgcp_command import Command
from kfgcp_dashboard.access import IAP_HEADER, IAP_ISSUER
from patience import PAUSE, PROCESS, REQUEST, WaitFor, wait_for

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Dialog, Page, Request

ROW = 35
HEADER = 35


class Visit:
    """A tab of the browser on the dashboard, and what went wrong there."""

    def __init__(self, page: "Page", address: str) -> None:
        self.page = page
        self.address = address
        self.dialogs: list[str] = []
        self.strange: list[str] = []
        self.received = 0
        page.on("dialog", self._dialog)
        page.on("requestfinished", self._request)
        page.on("requestfailed", self._request)
        page.on("websocket", lambda connection: connection.on("framereceived", self._frame))

    def go(self, path: str = "/") -> "Visit":
        self.page.goto(self.address + path)
        return self.settle()

    def settle(self) -> "Visit":
        """Wait until the script is not running, and has not begun again shortly afterwards.

        A rerun begins some time after the click that asks for it, and nothing announces it. What a
        test checks next therefore waits for its own condition: `see`, `wait_for_query`.
        """
        idle = (
            "() => document.querySelector('[data-testid=stApp]')?.dataset.testScriptState ==="
            " 'notRunning'"
        )
        self.page.wait_for_function(idle)
        self.page.wait_for_timeout(300)
        self.page.wait_for_function(idle)
        return self

    @property
    def text(self) -> str:
        return self.page.inner_text("[data-testid=stApp]")

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.page.url).query)

    def press(self, name: str, role: Any = "button") -> "Visit":
        self.page.get_by_role(role, name=name, exact=True).first.click()
        return self.settle()

    def see(self, text: str | re.Pattern[str]) -> None:
        """Wait for a text."""
        self.page.get_by_text(text).first.wait_for()

    def wait_until(self, condition: Callable[[], bool], seconds: float = PROCESS) -> bool:
        """Wait for a condition. The browser's events are handled only while a call to it lasts, so
        wait there."""

        def look() -> bool:
            self.page.wait_for_timeout(PAUSE * 1000)
            return condition()

        return wait_for(look, seconds)

    def wait_for_query(self, **query: list[str]) -> None:
        """Wait until these parameters of the address have these values."""
        self.wait_until(lambda: query.items() <= self.query.items())

    def click_cell(self, row: int, x: int, effect: Callable[[], bool]) -> "Visit":
        """Click into a table, which is a canvas, until the click has its effect.

        The rows are drawn some time after the canvas is there, and nothing says when: a click
        before that is lost.

        Args:
            row: counted from 0.
            x: pixels from the left edge of the table.
            effect: whether the click was noticed.
        """
        table = self.page.locator("[data-testid=stDataFrame]").first
        table.locator("canvas").first.wait_for()

        def click() -> bool:
            box = table.bounding_box()
            assert box is not None
            cell_center = (box["x"] + x, box["y"] + HEADER + ROW * row + ROW / 2)
            self.page.mouse.move(*cell_center)
            self.page.mouse.click(*cell_center)
            with contextlib.suppress(AssertionError):
                return self.wait_until(effect, seconds=15)
            return False

        wait_for(click)
        return self.settle()

    def shows(self, text: str) -> bool:
        """Return whether a text is on the page now."""
        return self.page.get_by_text(text).first.is_visible()

    def _dialog(self, dialog: "Dialog") -> None:
        self.dialogs.append(dialog.message)
        dialog.dismiss()

    def _request(self, request: "Request") -> None:
        """One that the policy of a document stops is told as failed by `csp`: it has not left the
        browser."""
        if request.failure == "csp":
            return
        if not request.url.startswith(
            (self.address, "data:", "blob:", "about:", self.address.replace("http", "ws"))
        ):
            self.strange.append(request.url)

    def _frame(self, payload: Any) -> None:
        self.received += len(payload)


Open = Callable[..., Visit]


@pytest.fixture
def visit(kfgcp: Command, home: Path, browser: "Browser", eventually: WaitFor) -> Iterator[Open]:
    """Starts the dashboard of the current project and opens a tab on it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    contexts: list[Any] = []

    def healthy() -> bool:
        url = f"http://127.0.0.1:{port}/_stcore/health"
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=REQUEST) as answer:
            return bool(answer.read() == b"ok")
        return False

    def open_(*options: str, **context: Any) -> Visit:
        if not contexts:
            kfgcp.start("dashboard", "--port", str(port), "--no-browser", *options)
        contexts.append(browser.new_context(viewport={"width": 1440, "height": 1000}, **context))
        contexts[-1].set_default_timeout(REQUEST * 1000)
        visit = Visit(contexts[-1].new_page(), address)
        eventually(healthy)
        return visit

    yield open_
    for context in contexts:
        context.close()


@pytest.fixture
def two_runs(home: Path, pipeline: Callable[[str], Path]) -> list[Run]:
    """Two runs of a pipeline that says something, of which the second is the newer one."""
    (home / "echo.yaml").write_bytes(pipeline("echo").read_bytes())
    return [
        api.run("echo.yaml", params={"text": text}, name=text).snapshot
        for text in ("first", "second")
    ]


def test_the_main_way(visit: Open, two_runs: list[Run], store: Store, eventually: WaitFor) -> None:
    """Open, filter, pick two runs, compare, open one, read its log, launch one and see it finish,
    reload the link."""
    tab = visit().go()
    tab.see("1 to 2 of 2")

    tab.page.get_by_placeholder("a name, a tag").fill("params.text = second")
    tab.page.keyboard.press("Enter")
    tab.see("1 to 1 of 1")
    tab.page.wait_for_url("**where=**")
    assert tab.query == {"where": ["params.text = second"]}
    tab.go(f"/?where={'state = SUCCEEDED'}")
    tab.see("1 to 2 of 2")

    tab.click_cell(0, 16, lambda: tab.shows("1 selected"))
    tab.click_cell(1, 16, lambda: tab.shows("2 selected"))
    tab.wait_for_query(pick=[two_runs[1].run_id, two_runs[0].run_id])
    tab.press("Compare 2")
    tab.page.wait_for_url("**/compare?**")
    tab.see("Differences")
    assert urlsplit(tab.page.url).path == "/compare"
    assert tab.query["run"] == [two_runs[1].run_id, two_runs[0].run_id]

    tab.go("/")
    tab.click_cell(0, 69, lambda: "/run?" in tab.page.url)
    assert (urlsplit(tab.page.url).path, tab.query["run"]) == ("/run", [two_runs[1].run_id])
    tab.see("second")
    tab.press("Logs", "tab")
    tab.see(re.compile("say │ second"))
    tab.wait_for_query(tab=["Logs"])

    tab.go("/launch?pipeline=echo.yaml&p.text=third&name=launched")
    tab.press("Launch")
    tab.see("Launch this run?")
    tab.press("Launch now")
    tab.see("launched")
    tab.see("✓ succeeded")
    launched = store.page()[0]
    assert (launched.name, launched.state, launched.outputs) == (
        "launched",
        RunState.SUCCEEDED,
        {"Output": "third"},
    )

    link = tab.page.url
    again = visit().page
    again.goto(link)
    again.get_by_text("launched").first.wait_for()
    assert tab.dialogs == tab.strange == []


def test_a_run_is_cancelled_and_repeated(
    visit: Open, home: Path, pipeline: Callable[[str], Path], store: Store, eventually: WaitFor
) -> None:
    run = api.submit(str(pipeline("sleeps")), params={"seconds": 600.0}, name="long")
    eventually(lambda: any(task.state is TaskState.RUNNING for task in store.tasks(run.run_id)))
    tab = visit().go(f"/run?run={run.run_id}")
    tab.see("running")

    tab.press("Cancel")
    tab.see("The results of its finished tasks are kept.")
    tab.press("Cancel the run")
    tab.see("cancelled")  # without anybody pressing anything
    tab.press("Rerun")
    tab.press("Rerun now")

    eventually(lambda: store.count() == 2)
    again = next(listed_run for listed_run in store.page() if listed_run.run_id != run.run_id)
    eventually(lambda: again.run_id in tab.page.url)
    api.cancel(again.run_id)


def test_a_log_follows_its_task(visit: Open, home: Path, store: Store, eventually: WaitFor) -> None:
    gate = home / "go on"
    (home / "waits.py").write_text(WAITS)
    run = api.submit("waits.py", params={"gate": str(gate)}, cache=False)
    tab = visit().go(f"/run?run={run.run_id}&tab=Logs")
    tab.see("before the gate")
    tab.see("following")

    gate.touch()
    tab.see("behind the gate")
    tab.see("✓ succeeded")


WAITS = """
from kfp import dsl

@dsl.component(base_image="python:3.11")
def wait(gate: str):
    import os, time

    print("before the gate", flush=True)
    while not os.path.exists(gate):
        time.sleep(0.05)
    print("behind the gate", flush=True)

@dsl.pipeline(name="waits")
def waits(gate: str):
    wait(gate=gate)
"""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_both_themes_are_readable(visit: Open, two_runs: list[Run], theme: Any) -> None:
    tab = visit(color_scheme=theme).go("/")
    tab.see("1 to 2 of 2")

    background, ink = tab.page.evaluate(
        "() => { const s = getComputedStyle(document.querySelector('[data-testid=stApp]'));"
        " return [s.backgroundColor, s.color] }"
    )
    assert _contrast(background, ink) > 7
    assert (_luminance(background) < 0.5) is (theme == "dark")


def _luminance(colour: str) -> float:
    """Relative luminance, WCAG 2."""
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _contrast(one: str, other: str) -> float:
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


BOMB = (
    "<img src=x"
    " onerror=\"alert('html')\"><script>alert('script')</script>"
    "[link](javascript:alert('link')):red[colour]"
    " :smile: $x^2$ **bold** <b>tag</b> ![i](https://evil.example/i.png)"
)


def test_nothing_of_a_run_is_carried_out(
    visit: Open, home: Path, store: Store, make_run: Callable[..., Run]
) -> None:
    folder = home / ".kfgcp" / "artifacts"
    folder.mkdir(parents=True)
    document = folder / "report.html"
    document.write_text(
        "<p id=inside>report</p><script>alert('artifact')</script><img src=x"
        " onerror=alert('image')><iframe src='javascript:alert(1)'></iframe><form"
        " action='https://evil.example'><button>go</button></form><img"
        " src='https://evil.example/leak.png'><link rel=stylesheet"
        " href='https://evil.example/x.css'>"
        "<style>body{background:url(https://evil.example/bg.png)}</style><meta"
        " http-equiv=refresh content='0;url=https://evil.example'>"
    )
    at = "2026-01-02T03:04:05.000Z"
    error = ErrorInfo(BOMB, task=BOMB, log_tail=(BOMB,))
    for number in (1, 2):
        store.add_run(
            make_run(
                f"bomb{number:08d}",
                name=BOMB,
                tags=(BOMB,),
                pipeline=BOMB,
                experiment=BOMB,
                version=f"sha256:{number:064x}",
                state=RunState.FAILED,
                created_at=at,
                started_at=at,
                ended_at=at,
                url="javascript:alert('url')",
                params={BOMB: BOMB, "lr": number},
                outputs={BOMB: BOMB},
                labels={BOMB: BOMB},
                metrics=(Metric(BOMB, BOMB, BOMB, float(number)), Metric("t", "m", "score", 1.0)),
                artifacts=(
                    Artifact("t", "report", "system.HTML", f"file://{document}"),
                    Artifact(BOMB, BOMB, BOMB, f"javascript:alert({number})", {BOMB: BOMB}),
                ),
                tasks=(
                    Task(
                        BOMB,
                        TaskKind.CONTAINER,
                        TaskState.FAILED,
                        1,
                        Cache(False, BOMB),
                        at,
                        at,
                        {BOMB: BOMB},
                        {},
                        error,
                    ),
                    Task("loop", TaskKind.LOOP, TaskState.SUCCEEDED, 0, None, at, at),
                ),
                error=error,
            )
        )
        store.note(f"bomb{number:08d}", BOMB)
    tab = visit()
    paths = [
        "/",
        f"/?where={BOMB[:20]}",
        "/compare?run=bomb00000001&run=bomb00000002",
        *(
            f"/run?run=bomb00000001&tab={name}"
            for name in ("Overview", "Tasks", "Timeline", "Artifacts", "Logs")
        ),
        "/run?run=bomb00000001&tab=Artifacts&artifact=t/report",
        "/trends",
        "/versions",
        "/launch",
        "/health",
        "/run?run=%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E",
    ]
    for path in paths:
        tab.go(path)
        tab.page.wait_for_timeout(400)
        assert "Traceback" not in tab.text
        assert (
            tab.page.locator("[data-testid=stApp] :is(b, strong):has-text('bold'), .katex").count()
            == 0
        )
        assert (
            tab.page.locator(
                "a[href^='javascript'], a[href*='evil.example'], img[src*='evil']"
            ).count()
            == 0
        )
    frame = (
        tab.go("/run?run=bomb00000001&tab=Artifacts&artifact=t/report")
        .page.frame_locator("iframe")
        .first
    )
    frame.frame_locator("iframe[sandbox='']").locator("#inside").wait_for()

    assert tab.dialogs == []
    assert tab.strange == []


def test_without_an_assertion_no_page_shows_anything(
    visit: Open, home: Path, two_runs: list[Run]
) -> None:
    """Each page is the first one of a visit, which Streamlit could serve in another way."""
    (home / "kfgcp.toml").write_text("[dashboard]\niap_audience = '/projects/1/apps/x'\n")
    for path in ("/", "/run", "/compare", "/launch", "/trends", "/versions", "/health"):
        tab = visit().go(path)

        tab.see("No access")
        assert "second" not in tab.text
        assert tab.page.locator("[data-testid=stDataFrame]").count() == 0


def test_a_forged_header_of_a_proxy_is_not_believed(
    visit: Open, home: Path, two_runs: list[Run]
) -> None:
    (home / "kfgcp.toml").write_text(
        "[dashboard]\niap_audience = '/projects/1/apps/x'\nallow = ['*']\n"
    )
    forged = {
        "x-goog-authenticated-user-email": "accounts.google.com:ann@acme.example",
        "x-goog-iap-jwt-assertion": "eyJhbGciOiJub25lIn0.eyJlbWFpbCI6ImFubkBhY21lLmV4YW1wbGUifQ.",
    }
    tab = visit(extra_http_headers=forged).go("/")

    tab.see("No access")


def test_a_signed_assertion_lets_people_in_and_the_list_says_what_they_may_do(
    visit: Open, home: Path, two_runs: list[Run], json_server: Callable[..., str]
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    pem = (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    private = key.private_bytes(
        pem[0], serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    keys = json_server({"k": key.public_key().public_bytes(*pem).decode()})
    (home / "kfgcp.toml").write_text(
        f"[dashboard]\niap_audience = '/projects/1/apps/x'\niap_keys_url = '{keys}'\nallow ="
        " ['ann@acme.example']\n"
    )
    for who, disabled in (("ann@acme.example", False), ("bob@acme.example", True)):
        now = int(time.time())
        claims = {
            "iss": IAP_ISSUER,
            "aud": "/projects/1/apps/x",
            "iat": now,
            "exp": now + 3600,
            "email": who,
        }
        assertion = jwt.encode(crypt.ES256Signer.from_string(private, "k"), claims).decode()
        tab = visit(extra_http_headers={IAP_HEADER: assertion}).go(f"/run?run={two_runs[0].run_id}")

        tab.see("✓ succeeded")
        tab.see(who)
        assert tab.page.get_by_role("button", name="Rerun").is_disabled() is disabled


def test_a_backend_that_is_down_is_a_banner_and_the_rest_works(
    visit: Open, home: Path, two_runs: list[Run]
) -> None:
    (home / "kfgcp.toml").write_text(
        '[env.dev]\nbackend = "kubeflow"\nhost = "http://127.0.0.1:9"\nauth = "anonymous"\n'
    )
    tab = visit().go("/")
    tab.see("1 to 2 of 2")
    tab.see("not reached")
    tab.go("/")

    tab.see(re.compile("dev cannot be read"))
    tab.see("1 to 2 of 2")


def test_with_many_runs_a_page_is_small(visit: Open, home: Path, many_runs: Path) -> None:
    """10 parameters and 5 metrics each: at most 1 MB a page."""
    (home / ".kfgcp").rmdir() if (home / ".kfgcp").exists() else None
    (home / ".kfgcp").symlink_to(many_runs)
    tab = visit()
    for path in (
        "/",
        "/?where=metrics.metric_0 > 0.9 and params.param_1 < 0.1",
        "/trends",
        "/versions",
    ):
        tab.go("/health")
        tab.received = 0
        tab.go(path)
        assert tab.received < 1_000_000
    tab.go("/")
    tab.see("1 to 50 of 30,000")
