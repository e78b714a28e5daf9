"""`kfgcp dashboard`: where it listens, for whom, and what it says."""

import re
import socket
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kfgcp.cli.main import cli
from kfgcp_dashboard import server
from patience import REQUEST

EVERYWHERE = "0.0.0.0"  # noqa: S104
IAP = "[dashboard]\niap_audience = '/projects/1/apps/x'\n"
LOGIN = "[auth]\nclient_id = 'x'\n"


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        yield int(holder.getsockname()[1])


def _healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=REQUEST) as answer:
            return bool(answer.read() == b"ok")
    except OSError:
        return False


def test_it_answers_on_this_machine_and_ends_with_the_signal(kfgcp: Any, port: int, eventually: Any) -> None:
    process = kfgcp.start("dashboard", "--port", str(port), "--no-browser")
    eventually(lambda: _healthy(port))
    listening = Path("/proc/net/tcp").read_text() if sys.platform == "linux" else ""
    process.terminate()
    ended = kfgcp.end(process)

    assert ended.code == 0
    assert ended.out.splitlines()[0] == f"http://127.0.0.1:{port}"
    assert ended.err == "note: nobody signs in, so it answers on this machine only\nnext: Ctrl-C ends it\n"
    if listening:
        assert re.search(rf"0100007F:{port:04X} 00000000:0000 0A", listening)
        assert not re.search(rf"00000000:{port:04X} 00000000:0000 0A", listening)


def test_another_address_needs_a_way_to_tell_who_looks(kfgcp: Any, port: int) -> None:
    refused = kfgcp("dashboard", "--host", EVERYWHERE, "--port", str(port))

    assert refused.code == 2
    assert "cannot tell who looks, so it answers on this machine only, not on 0.0.0.0" in refused.err
    assert "iap_audience" in refused.err
    assert not _healthy(port)


@pytest.mark.parametrize("way", ["iap", "login"])
def test_with_one_it_answers_elsewhere_too(kfgcp: Any, home: Path, port: int, way: str, eventually: Any) -> None:
    if way == "iap":
        (home / "kfgcp.toml").write_text(IAP)
    else:
        (home / ".streamlit").mkdir()
        (home / ".streamlit" / "secrets.toml").write_text(LOGIN)

    process = kfgcp.start("dashboard", "--host", EVERYWHERE, "--port", str(port), "--no-browser", "--read-only")
    eventually(lambda: _healthy(port))
    process.terminate()
    ended = kfgcp.end(process)

    assert ended.out.splitlines()[0] == f"http://0.0.0.0:{port}"
    assert "note: read-only" in ended.err
    assert "this machine only" not in ended.err


def test_a_port_that_is_taken_is_said(kfgcp: Any, taken: int) -> None:
    refused = kfgcp("dashboard", "--port", str(taken))

    assert refused.code == 2
    assert f"cannot listen on 127.0.0.1:{taken}" in refused.err
    assert "--port" in refused.err


def test_without_streamlit_it_says_what_to_install(kfgcp: Any, tmp_path: Path, port: int) -> None:
    (tmp_path / "without").mkdir()
    (tmp_path / "without" / "streamlit.py").write_text("raise ImportError('not installed')")

    refused = kfgcp("dashboard", "--port", str(port), env={"PYTHONPATH": str(tmp_path / "without")})

    assert refused.code == 8
    assert "pip install 'kfgcp[dashboard]'" in refused.err


def test_the_server_accepts_only_names_of_this_machine(kfgcp: Any, port: int, eventually: Any) -> None:
    """A page elsewhere could give its name this address, and would then be of the same origin."""
    kfgcp.start("dashboard", "--port", str(port), "--no-browser")
    eventually(lambda: _healthy(port))

    with socket.create_connection(("127.0.0.1", port), timeout=REQUEST) as connection:
        connection.sendall(
            b"GET /_stcore/stream HTTP/1.1\r\nHost: evil.example\r\nOrigin: http://evil.example\r\n"
            b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        status = connection.recv(4096).split(b"\r\n")[0]

    assert b" 403 " in status or b" 400 " in status


def test_streamlit_knows_every_setting() -> None:
    from streamlit import config

    known = {
        re.sub(r"[A-Z]", lambda letter: letter[0], name).replace(".", "_") for name in config._config_options_template
    }
    flags = server._flags("127.0.0.1", 1, browser=True, open_to_others=False)

    assert set(flags) <= known
    assert flags["browser_gatherUsageStats"] is False
    assert flags["client_showErrorDetails"] == "none"


def test_no_folder_beside_the_app_is_served_past_it() -> None:
    """Streamlit runs what lies in `pages` by itself: nobody would be asked who they are."""
    assert not (server.APP.parent / "pages").exists()


def test_the_theme_has_one_accent_a_mode(tmp_path: Path) -> None:
    import tomllib

    theme = tomllib.loads(server.THEME.read_text())["theme"]

    assert theme["light"]["primaryColor"] == theme["light"]["chartCategoricalColors"][0]
    assert theme["dark"]["primaryColor"] == theme["dark"]["chartCategoricalColors"][0]


def test_the_command_has_the_options_of_its_function() -> None:
    command: Any = cli.get_command(cli.make_context("kfgcp", ["dashboard"], resilient_parsing=True), "dashboard")

    assert [parameter.name for parameter in command.params] == ["port", "host", "read_only", "no_browser"]
    assert isinstance(command.callback, Callable)  # type: ignore[arg-type]
