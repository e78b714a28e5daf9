"""The dashboard as a process: Streamlit with the right settings, on loopback unless people sign in.

The application of Streamlit runs inside `kfgcp_dashboard.protection.Protection`.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import webbrowser
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

from kfgcp import config
from kfgcp.cross_site import CrossSiteGuard
from kfgcp.errors import MissingExtra, UsageError
from kfgcp.workspace import Workspace
from kfgcp_dashboard import access, data
from kfgcp_dashboard.protection import Protection

APP: Final = Path(__file__).with_name("app.py")
THEME: Final = Path(__file__).parent / "theme" / "theme.toml"
ICON: Final = THEME.with_name("icon.svg")
LOGO: Final = THEME.with_name("logo.svg")
SECRETS: Final = ".streamlit/secrets.toml"


@dataclass
class Options:
    """How this process was started; what the pages ask.

    read_only: nobody may do anything but look. embedded: there is no server, as in tests of pages.
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
        host: the address to listen on; anything but loopback needs a way to tell who looks.
        port: the port to listen on, 0 for a free one.
        read_only: nobody may launch, cancel, rerun or annotate.
        browser: open it, where there is one.

    Raises:
        UsageError: the port is taken, or it would show everything to everybody.
        MissingExtra: Streamlit is not installed.
    """
    project = workspace.project
    data.show_project_of(workspace)
    setting = project.dashboard.get("read_only")
    options.read_only = read_only or (setting is not None and setting.value)
    signs_in = access.can_identify_visitors(project, _secrets(project))
    if not access.is_loopback(host) and not signs_in:
        raise UsageError(
            "The dashboard cannot tell who looks, so it answers on this machine only, not on"
            f" {host}.",
            hint=(
                "Set iap_audience in [dashboard] of kfgcp.toml, or configure a login ([auth] in "
                f"{SECRETS}): docs/guides/dashboard.md"
            ),
        )
    with _listen(host, port) as listener:
        try:
            import uvicorn
            from streamlit.web import bootstrap
        except ImportError:
            raise MissingExtra("The dashboard", "dashboard") from None
        address, port = listener.getsockname()[:2]
        # Nobody can open an address that means all addresses, such as 0.0.0.0.
        name = None if ip_address(address).is_unspecified else host
        names = host_names(project, name, port)
        url = f"http://{_authority(name or 'localhost', port)}"
        _introduce(url, names, signs_in)
        bootstrap.load_config_options(_flags(host, port))
        guard = CrossSiteGuard(port, names, allow_links=True)
        settings = uvicorn.Config(
            _application(guard),
            log_level="warning",
            access_log=False,
            use_colors=False,
            # Streamlit's default: it costs more time than it saves here
            ws_per_message_deflate=False,
        )
        if browser and _has_screen():
            threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()
        for number in (signal.SIGINT, signal.SIGTERM):
            # uvicorn ends at both signals and then raises the signal again, which must not kill
            # this process.
            signal.signal(number, lambda *_: None)
        uvicorn.Server(settings).run(sockets=[listener])


def host_names(project: config.Project, host: str | None, port: int) -> list[str]:
    """Return the names that lead to the dashboard, besides `localhost` and loopback addresses.

    Args:
        project: has the setting `host_names`.
        host: the address that the dashboard listens on, which is one of the names; None when it
            listens on all.
        port: the port that the dashboard listens on. Other ports of `host` are other servers.
    """
    setting = project.dashboard.get("host_names")
    names = [] if setting is None else list(setting.value)
    if host is not None:
        names.append(_authority(host, port))
    return names


def _application(guard: CrossSiteGuard) -> Any:
    from starlette.middleware import Middleware
    from streamlit.starlette import App

    return App(APP, middleware=[Middleware(Protection, guard=guard)])


def _secrets(project: config.Project) -> dict[str, Any]:
    """The tables of Streamlit's secrets, read as it reads them, but without importing it."""
    import tomllib

    for folder in (Path.cwd(), Path.home()):
        try:
            return tomllib.loads((folder / SECRETS).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
    return {}


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=1024)
    except OSError as error:
        raise UsageError(
            f"The dashboard cannot listen on {host}:{port}: {error.strerror}.",
            hint=(
                f"Choose another port: kfgcp dashboard --port {port + 1 if port < 65535 else 8501}"
            ),
        ) from None


def _authority(host: str, port: int) -> str:
    if ":" in host:
        return f"[{host}]:{port}"
    return f"{host}:{port}"


def _introduce(url: str, names: Sequence[str], signs_in: bool) -> None:
    print(url, flush=True)
    if not names:
        print(
            f"note: the only name of the dashboard is {url.removeprefix('http://')}; "
            f"to add names, set host_names in [dashboard] of {config.FILE_NAME}",
            file=sys.stderr,
        )
    if not signs_in:
        print("note: nobody signs in, so it answers on this machine only", file=sys.stderr)
    if options.read_only:
        print("note: read-only", file=sys.stderr)
    print("next: Ctrl-C ends it", file=sys.stderr, flush=True)


def _has_screen() -> bool:
    return bool(
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY") or sys.platform == "darwin"
    )


def _flags(host: str, port: int) -> dict[str, Any]:
    """Settings of Streamlit, with `_` for the dots; they win over a config.toml of the user."""
    return {
        "server_address": host,
        "server_port": port,
        "server_headless": True,
        "server_showEmailPrompt": False,
        "server_fileWatcherType": "none",
        "server_runOnSave": False,
        "server_maxUploadSize": 1,
        "server_allowedHosts": [],  # protection.py knows the ports too
        "server_enableCORS": True,  # without it every answer allows every origin; see protection.py
        "server_enableXsrfProtection": True,
        "browser_gatherUsageStats": False,
        "client_showErrorDetails": "none",
        "client_showErrorLinks": False,
        "client_toolbarMode": "minimal",
        # Streamlit's own export and copying write formulas as they are; `elements.download` does
        # not.
        "client_disableDataExport": True,
        "runner_magicEnabled": False,
        "global_disableWidgetStateDuplicationWarning": True,  # address.py does that on purpose
        "logger_hideWelcomeMessage": True,
        "logger_level": "warning",
        "theme_base": str(THEME),
    }
