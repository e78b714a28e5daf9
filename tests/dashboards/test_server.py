"""`kfgcp dashboard`: where it listens, for whom, and what it says."""

import http.client
import re
import socket
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kfgcp.backends.registry import load_project
from kfgcp.cli.main import cli
from kfgcp.installation import install_hint
from kfgcp_command import Command
from kfgcp_dashboard import server
from patience import REQUEST, WaitFor

EVERYWHERE = "0.0.0.0"  # noqa: S104
IAP = "[dashboard]\niap_audience = '/projects/1/apps/x'\n"
LOGIN = "[auth]\nclient_id = 'x'\n"


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def occupied_port() -> Iterator[int]:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        yield int(holder.getsockname()[1])


def _healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(
            f"http://127.0.0.1:{port}/_stcore/health", timeout=REQUEST
        ) as answer:
            return bool(answer.read() == b"ok")
    except OSError:
        return False


def test_it_answers_on_this_machine_and_ends_with_the_signal(
    kfgcp: Command, port: int, eventually: WaitFor
) -> None:
    process = kfgcp.start("dashboard", "--port", str(port), "--no-browser")
    eventually(lambda: _healthy(port))
    listening = Path("/proc/net/tcp").read_text() if sys.platform == "linux" else ""
    process.terminate()
    ended = kfgcp.end(process)

    assert ended.code == 0
    assert ended.out.splitlines()[0] == f"http://127.0.0.1:{port}"
    assert ended.err.splitlines() == [
        "note: nobody has to sign in, so the dashboard answers on this machine only",
        "next: press Ctrl-C to stop the dashboard",
    ]
    if listening:
        assert re.search(rf"0100007F:{port:04X} 00000000:0000 0A", listening)
        assert not re.search(rf"00000000:{port:04X} 00000000:0000 0A", listening)


def test_another_address_needs_a_way_to_tell_who_looks(kfgcp: Command, port: int) -> None:
    refused = kfgcp("dashboard", "--host", EVERYWHERE, "--port", str(port))

    assert refused.code == 2
    assert (
        "cannot identify its visitors, so it answers on this machine only, not on 0.0.0.0"
        in refused.err
    )
    assert "iap_audience" in refused.err
    assert not _healthy(port)


@pytest.mark.parametrize("way", ["iap", "login"])
def test_with_one_it_answers_elsewhere_too(
    kfgcp: Command, home: Path, port: int, way: str, eventually: WaitFor
) -> None:
    if way == "iap":
        (home / "kfgcp.toml").write_text(IAP)
    else:
        (home / ".streamlit").mkdir()
        (home / ".streamlit" / "secrets.toml").write_text(LOGIN)

    process = kfgcp.start(
        "dashboard", "--host", EVERYWHERE, "--port", str(port), "--no-browser", "--read-only"
    )
    eventually(lambda: _healthy(port))
    process.terminate()
    ended = kfgcp.end(process)

    assert "note: the dashboard is read-only" in ended.err
    assert "this machine only" not in ended.err


@pytest.mark.parametrize("host", [EVERYWHERE, "0"])
def test_on_all_addresses_it_prints_and_opens_one_that_it_answers(
    kfgcp: Command, home: Path, port: int, host: str, eventually: WaitFor
) -> None:
    (home / "kfgcp.toml").write_text(IAP)
    browser = home / "browser"
    browser.write_text(
        f'#!/bin/sh\necho "$1" >"{home}/opened.part"; mv "{home}/opened.part" "{home}/opened"\n'
    )
    browser.chmod(0o755)

    screen = {"DISPLAY": ":0", "BROWSER": f"{browser} %s"}
    process = kfgcp.start("dashboard", "--host", host, "--port", str(port), env=screen)
    eventually(lambda: _healthy(port))
    eventually((home / "opened").exists)
    status = _status(port, "/", f"Host: localhost:{port}")
    process.terminate()

    assert (home / "opened").read_text() == f"http://localhost:{port}\n"
    assert kfgcp.end(process).out.splitlines()[0] == f"http://localhost:{port}"
    assert status == 200


def test_port_0_is_a_free_port_that_it_prints_and_answers(
    command: Command, home: Path, eventually: WaitFor
) -> None:
    program = (sys.executable, "-c", "import kfgcp; kfgcp.dashboard(port=0, browser=False)")
    process = command.start(program=program)
    printed = process.stdout.readline().strip()
    port = int(printed.removeprefix("http://127.0.0.1:"))

    assert port != 0
    eventually(lambda: _healthy(port))


def test_a_port_in_use_is_reported(kfgcp: Command, occupied_port: int) -> None:
    refused = kfgcp("dashboard", "--port", str(occupied_port))

    assert refused.code == 2
    assert f"cannot listen on 127.0.0.1:{occupied_port}" in refused.err
    assert "--port" in refused.err


def test_without_streamlit_it_says_what_to_install(
    kfgcp: Command, tmp_path: Path, port: int
) -> None:
    (tmp_path / "without").mkdir()
    (tmp_path / "without" / "streamlit.py").write_text("raise ImportError('not installed')")

    refused = kfgcp("dashboard", "--port", str(port), env={"PYTHONPATH": str(tmp_path / "without")})

    assert refused.code == 8
    assert install_hint("dashboard") in refused.err


def _status(port: int, path: str, *headers: str) -> int:
    """Send a request with these headers and no others; the status of the answer, 0 when there is
    none."""
    with socket.create_connection(("127.0.0.1", port), timeout=REQUEST) as connection:
        connection.sendall("\r\n".join([f"GET {path} HTTP/1.1", *headers, "", ""]).encode())
        line = connection.makefile("rb").readline()
    return int(line.split()[1]) if line else 0


UPGRADE = (
    *("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"),
    *("Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", "Sec-WebSocket-Protocol: streamlit"),
)
STREAM = "/_stcore/stream"


def test_pages_and_socket_are_for_names_and_origins_of_the_dashboard(
    kfgcp: Command, home: Path, port: int, eventually: WaitFor
) -> None:
    (home / "kfgcp.toml").write_text('[dashboard]\nhost_names = ["dash.acme.example"]\n')
    kfgcp.start("dashboard", "--port", str(port), "--no-browser")
    eventually(lambda: _healthy(port))
    own, named = f"Host: 127.0.0.1:{port}", "Host: dash.acme.example"

    for host, origin in ((own, f"http://127.0.0.1:{port}"), (named, "https://dash.acme.example")):
        assert _status(port, "/", host) == 200
        assert _status(port, STREAM, host, *UPGRADE) == 101
        assert _status(port, STREAM, host, f"Origin: {origin}", *UPGRADE) == 101
    for refused in (
        ("Host: evil.example",),
        (f"Host: evil.example:{port}", f"Origin: http://evil.example:{port}"),
        (own, "Host: evil.example"),
        (own, "Origin: http://evil.example"),
        (own, "Origin: http://127.0.0.1:1"),
        (own, f"Origin: http://localhost:{port}"),
        (own, "Origin: null"),
        (own, "Sec-Fetch-Site: same-site"),
        (named, "Origin: https://evil.example"),
        (named, "Origin: https://dash.acme.example:3000"),
        (own, "Origin: http://dash.acme.example:3000"),
    ):
        for path in ("/", "/media/x", "/_stcore/health", "/_stcore/host-config"):
            assert _status(port, path, *refused) in (400, 403)
        assert _status(port, STREAM, *refused, *UPGRADE) in (400, 403)
    assert _status(port, f"http://evil.example:{port}/", own) == 403
    assert _status(port, "/") == 400


@pytest.mark.parametrize(
    ("host", "authority"), [("192.0.2.2", "192.0.2.2:8615"), ("2001:db8::2", "[2001:db8::2]:8615")]
)
def test_the_address_it_listens_on_is_a_name_for_its_own_port_only(
    home: Path, host: str, authority: str
) -> None:
    (home / "kfgcp.toml").write_text('[dashboard]\nhost_names = ["dash.acme.example"]\n')

    assert server.host_names(load_project(), host, 8615) == ["dash.acme.example", authority]


def test_behind_a_proxy_that_rewrites_host_the_socket_opens(
    kfgcp: Command, port: int, eventually: WaitFor
) -> None:
    """nginx sends the address of the server behind it as `Host`, unless it is told to keep the
    browser's."""
    with socket.create_server(("127.0.0.1", 0)) as internet:
        proxy = f"http://127.0.0.1:{internet.getsockname()[1]}"
        proxies = {"http_proxy": proxy, "https_proxy": proxy, "no_proxy": ""}
        names = {"KFGCP_DASHBOARD_HOST_NAMES": "dash.acme.example,forwarded.acme.example:8443"}
        process = kfgcp.start(
            "dashboard", "--port", str(port), "--no-browser", env={**proxies, **names}
        )
        eventually(lambda: _healthy(port))

        for host in (f"localhost:{port}", "dash.acme.example:443", "dash.acme.example"):
            for origin in ("https://dash.acme.example", "https://forwarded.acme.example:8443"):
                assert _status(port, "/", f"Host: {host}", f"Origin: {origin}") == 200
                assert _status(port, STREAM, f"Host: {host}", f"Origin: {origin}", *UPGRADE) == 101
            for origin in (
                "https://evil.example",
                "https://dash.acme.example:3000",
                "https://forwarded.acme.example",
            ):
                assert _status(port, STREAM, f"Host: {host}", f"Origin: {origin}", *UPGRADE) == 403

        process.terminate()
        kfgcp.end(process)
        internet.setblocking(False)
        with pytest.raises(BlockingIOError):
            internet.accept()  # nobody asked the internet for anything


def test_every_answer_has_protective_headers(
    kfgcp: Command, home: Path, port: int, eventually: WaitFor
) -> None:
    (home / ".streamlit").mkdir()
    # Streamlit answers with `Access-Control-Allow-Origin: *` below /app/static then.
    (home / ".streamlit" / "config.toml").write_text("[server]\nenableStaticServing = true\n")
    kfgcp.start("dashboard", "--port", str(port), "--no-browser")
    eventually(lambda: _healthy(port))

    upload = "/_stcore/upload_file/session/file"
    for method, path in (
        ("GET", "/"),
        ("GET", "/run?run=x"),
        ("GET", "/_stcore/health"),
        ("GET", "/static/none.js"),
        ("OPTIONS", upload),
        ("OPTIONS", "/_stcore/health"),
        ("OPTIONS", "/app/static/x.txt"),
    ):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=REQUEST)
        connection.request(method, path)
        headers = connection.getresponse().headers
        connection.close()
        assert not [name for name in headers if name.lower().startswith("access-control-")]
        assert headers.get_all("Content-Security-Policy") == ["frame-ancestors 'none'"]
        assert headers.get_all("X-Frame-Options") == ["DENY"]
        assert headers.get_all("X-Content-Type-Options") == ["nosniff"]


def test_on_all_addresses_it_says_when_no_name_leads_there(
    kfgcp: Command, home: Path, port: int, eventually: WaitFor
) -> None:
    (home / "kfgcp.toml").write_text(IAP)
    process = kfgcp.start("dashboard", "--host", EVERYWHERE, "--port", str(port), "--no-browser")
    eventually(lambda: _healthy(port))
    process.terminate()

    note = (
        f"note: the dashboard answers only at localhost:{port}; to allow other host names, set"
        " host_names in [dashboard]"
    )
    assert note in kfgcp.end(process).err


def test_streamlit_knows_every_setting() -> None:
    from streamlit.config import _config_options_template

    option_names = {
        re.sub(r"[A-Z]", lambda letter: letter[0], name).replace(".", "_")
        for name in _config_options_template
    }
    flags = server._streamlit_options("127.0.0.1", 1)

    assert set(flags) <= option_names
    assert flags["browser_gatherUsageStats"] is False
    assert flags["client_showErrorDetails"] == "none"
    assert flags["client_disableDataExport"] is True  # it would export formulas


def test_no_folder_beside_the_app_is_served_past_it() -> None:
    """Streamlit runs what lies in `pages` by itself: nobody would be asked who they are."""
    assert not (server.APP.parent / "pages").exists()


def test_the_theme_has_one_accent_a_mode(tmp_path: Path) -> None:
    import tomllib

    theme = tomllib.loads(server.THEME.read_text())["theme"]

    assert theme["light"]["primaryColor"] == theme["light"]["chartCategoricalColors"][0]
    assert theme["dark"]["primaryColor"] == theme["dark"]["chartCategoricalColors"][0]


def test_the_command_has_the_options_of_its_function() -> None:
    command: Any = cli.get_command(
        cli.make_context("kfgcp", ["dashboard"], resilient_parsing=True), "dashboard"
    )

    assert [parameter.name for parameter in command.params] == [
        "port",
        "host",
        "read_only",
        "no_browser",
    ]
    assert isinstance(command.callback, Callable)  # type: ignore[arg-type]
