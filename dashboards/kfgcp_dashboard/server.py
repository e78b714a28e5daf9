"""Start the dashboard as a process: Streamlit with the right settings.

It listens on loopback only, unless people have to sign in. The application of Streamlit runs inside
`kfgcp_dashboard.protection.Protection`.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import tomllib
import webbrowser
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

from kfgcp import MissingExtra, Project, UsageError, Workspace
from kfgcp.config import FILE_NAME
from kfgcp.cross_site import CrossSiteGuard
from kfgcp_dashboard import access, data
from kfgcp_dashboard.protection import Application, Protection

APP: Final = Path(__file__).with_name("app.py")
THEME: Final = Path(__file__).parent / "theme" / "theme.toml"
ICON: Final = THEME.with_name("icon.svg")
LOGO: Final = THEME.with_name("logo.svg")
SECRETS: Final = ".streamlit/secrets.toml"

# Connections that wait while the server is busy. A browser opens several for one page.
_BACKLOG: Final = 1024
_LAST_PORT: Final = 65535
_DEFAULT_PORT: Final = 8501


@dataclass
class Options:
    """How this process was started. The pages read it.

    Attributes:
        read_only: nobody may change anything.
        embedded: there is no server, as in tests of pages.
    """

    read_only: bool = False
    embedded: bool = False


options = Options()


def serve(
    workspace: Workspace,
    *,
    host: str = "127.0.0.1",
    port: int = 8501,
    read_only: bool = False,
    browser: bool = True,
) -> None:
    """Serve the dashboard of a project until it is interrupted.

    Args:
        workspace: the project.
        host: the address to listen on. Every address except loopback needs a way to identify
            visitors.
        port: the port to listen on, 0 for a free one.
        read_only: nobody may launch, cancel, rerun or annotate.
        browser: open the dashboard in a browser, if there is one.

    Raises:
        UsageError: the port is in use, or everybody could see the dashboard.
        MissingExtra: Streamlit is not installed.
    """
    project = workspace.project
    data.set_workspace(workspace)
    options.read_only = read_only or bool(access.read_setting(project, "read_only"))
    signs_in = access.can_identify_visitors(project, _read_secrets())
    if not access.is_loopback(host) and not signs_in:
        raise _no_sign_in(host)
    with _listen(host, port) as listener:
        # The port comes before the import, which takes a second: most often the port is in use.
        try:
            import uvicorn
            from streamlit.web import bootstrap
        except ImportError:
            raise MissingExtra("The dashboard", "dashboard") from None
        address, port = listener.getsockname()[:2]
        # A browser cannot open an address that means all addresses, such as 0.0.0.0.
        own_name = None if ip_address(address).is_unspecified else host
        names = host_names(project, own_name, port)
        url = f"http://{_authority(own_name or 'localhost', port)}"
        _print_introduction(url, names, signs_in)
        # Streamlit reads its options when the application is made, so they come first.
        bootstrap.load_config_options(_streamlit_options(host, port))
        config = uvicorn.Config(
            _make_application(CrossSiteGuard(port, names, allow_links=True)),
            log_level="warning",
            access_log=False,
            use_colors=False,
            # As Streamlit does by default (`server.enableWebsocketCompression`): compression
            # costs more time than it saves here.
            ws_per_message_deflate=False,
        )
        if browser and _has_screen():
            threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()
        _ignore_signals()
        uvicorn.Server(config).run(sockets=[listener])


def _no_sign_in(host: str) -> UsageError:
    return UsageError(
        "The dashboard cannot identify its visitors, so it answers on this machine only, not on"
        f" {host}.",
        hint=(
            "Set iap_audience in [dashboard] of kfgcp.toml, or configure a login ([auth] in "
            f"{SECRETS}): docs/guides/dashboard.md"
        ),
    )


def host_names(project: Project, host: str | None, port: int) -> list[str]:
    """Return the names that lead to the dashboard, besides `localhost` and loopback addresses.

    Args:
        project: has the setting `host_names`.
        host: the address that the dashboard listens on, which is one of the names; None when it
            listens on all.
        port: the port that the dashboard listens on. Other ports of `host` are other servers.
    """
    names = list(access.read_setting(project, "host_names") or ())
    if host is not None:
        names.append(_authority(host, port))
    return names


def _read_secrets() -> Mapping[str, object]:
    """Return Streamlit's secrets. They come from the same files as in Streamlit.

    Streamlit is not imported yet: an import takes a second, and an error should not wait for it.
    """
    for folder in (Path.cwd(), Path.home()):
        try:
            return tomllib.loads((folder / SECRETS).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
    return {}


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        other_port = port + 1 if port < _LAST_PORT else _DEFAULT_PORT
        raise UsageError(
            f"The dashboard cannot listen on {host}:{port}: {error.strerror}.",
            hint=f"Choose another port: kfgcp dashboard --port {other_port}",
        ) from None


def _authority(host: str, port: int) -> str:
    # An IPv6 address has colons itself.
    if ":" in host:
        return f"[{host}]:{port}"
    return f"{host}:{port}"


def _print_introduction(url: str, names: Sequence[str], signs_in: bool) -> None:
    """Print the address on stdout, for programs too, and notes on stderr."""
    print(url, flush=True)
    if not names:
        print(
            f"note: the dashboard answers only at {url.removeprefix('http://')}; "
            f"to allow other host names, set host_names in [dashboard] of {FILE_NAME}",
            file=sys.stderr,
        )
    if not signs_in:
        print(
            "note: nobody has to sign in, so the dashboard answers on this machine only",
            file=sys.stderr,
        )
    if options.read_only:
        print("note: the dashboard is read-only", file=sys.stderr)
    print("next: press Ctrl-C to stop the dashboard", file=sys.stderr, flush=True)


def _make_application(guard: CrossSiteGuard) -> Application:
    from starlette.middleware import Middleware
    from streamlit.starlette import App

    application: Application = App(APP, middleware=[Middleware(Protection, guard=guard)])
    return application


def _has_screen() -> bool:
    if sys.platform == "darwin":
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _ignore_signals() -> None:
    """Ignore the signals that end the server.

    uvicorn installs its own handlers, ends at both signals, puts the old handlers back, and raises
    the signal again (`uvicorn.Server.capture_signals`). That must not kill this process, or its
    exit code would not be 0.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)


def _streamlit_options(host: str, port: int) -> dict[str, Any]:
    """Return the options of Streamlit, with `_` for the dots.

    They override a config.toml of the user, which is for other applications.
    """
    return {
        "server_address": host,
        "server_port": port,
        "server_headless": True,
        "server_showEmailPrompt": False,
        "server_fileWatcherType": "none",
        "server_runOnSave": False,
        "server_maxUploadSize": 1,
        # protection.py checks the names, with their ports.
        "server_allowedHosts": [],
        # Without it, each response allows every origin; see protection.py.
        "server_enableCORS": True,
        "server_enableXsrfProtection": True,
        "browser_gatherUsageStats": False,
        # Tracebacks can hold secrets; `elements.catch_errors` shows errors in words.
        "client_showErrorDetails": "none",
        "client_showErrorLinks": False,
        "client_toolbarMode": "minimal",
        # Streamlit exports and copies formulas as they are. `elements.to_csv` does not.
        "client_disableDataExport": True,
        # Otherwise Streamlit shows the value of each expression that stands alone.
        "runner_magicEnabled": False,
        # address.py sets the values of widgets that also have a default.
        "global_disableWidgetStateDuplicationWarning": True,
        "logger_hideWelcomeMessage": True,
        "logger_level": "warning",
        "theme_base": str(THEME),
    }
