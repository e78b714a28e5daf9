"""The dashboard as a process: Streamlit's server with the right settings, on loopback unless people sign in."""

from __future__ import annotations

import os
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from kfgcp import config
from kfgcp.errors import MissingExtra, UsageError
from kfgcp_dashboard import access

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


def serve(*, host: str = "127.0.0.1", port: int = 8501, read_only: bool = False, browser: bool = True) -> None:
    """Serves the dashboard of the current project until it is interrupted.

    Args:
        host: the address to listen on; anything but loopback needs a way to tell who looks.
        port: of it.
        read_only: nobody may launch, cancel, rerun or annotate.
        browser: open it, where there is one.

    Raises:
        UsageError: the port is taken, or it would show everything to everybody.
        MissingExtra: Streamlit is not installed.
    """
    project = config.load()
    setting = project.dashboard.get("read_only")
    options.read_only = read_only or (setting is not None and setting.value)
    signs_in = access.proves_identity(project, _secrets(project))
    if not access.is_loopback(host) and not signs_in:
        raise UsageError(
            f"The dashboard cannot tell who looks, so it answers on this machine only, not on {host}.",
            hint="Set iap_audience in [dashboard] of kfgcp.toml, or configure a login ([auth] in "
            f"{SECRETS}): docs/guides/dashboard.md",
        )
    _refuse_taken(host, port)
    try:
        from streamlit.web import bootstrap
    except ImportError:
        raise MissingExtra("The dashboard", "dashboard") from None
    _introduce(host, port, signs_in)
    flags = _flags(host, port, browser=browser, open_to_others=signs_in and not access.is_loopback(host))
    bootstrap.load_config_options(flags)
    bootstrap.run(str(APP), False, [], flags)


def _secrets(project: config.Project) -> dict[str, Any]:
    """The tables of Streamlit's secrets, read as it reads them, but without importing it."""
    import tomllib

    for folder in (Path.cwd(), Path.home()):
        try:
            return tomllib.loads((folder / SECRETS).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
    return {}


def _refuse_taken(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise UsageError(
                f"The dashboard cannot listen on {host}:{port}: {error.strerror}.",
                hint=f"Choose another port: kfgcp dashboard --port {port + 1 if port < 65535 else 8501}",
            ) from None


def _introduce(host: str, port: int, signs_in: bool) -> None:
    shown = f"[{host}]" if ":" in host else host
    print(f"http://{shown}:{port}", flush=True)
    if not signs_in:
        print("note: nobody signs in, so it answers on this machine only", file=sys.stderr)
    if options.read_only:
        print("note: read-only", file=sys.stderr)
    print("next: Ctrl-C ends it", file=sys.stderr, flush=True)


def _flags(host: str, port: int, *, browser: bool, open_to_others: bool) -> dict[str, Any]:
    """Settings of Streamlit, with `_` for the dots; they win over a config.toml of the user."""
    shown = browser and bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY") or sys.platform == "darwin")
    return {
        "server_address": host,
        "server_port": port,
        "server_headless": not shown,
        "server_showEmailPrompt": False,
        "server_fileWatcherType": "none",
        "server_runOnSave": False,
        "server_maxUploadSize": 1,
        "server_allowedHosts": [] if open_to_others else list(config.LOOPBACK),  # else any site could rebind its name
        "server_enableCORS": True,
        "server_enableXsrfProtection": True,
        "browser_gatherUsageStats": False,
        "client_showErrorDetails": "none",
        "client_showErrorLinks": False,
        "client_toolbarMode": "minimal",
        "runner_magicEnabled": False,
        "global_disableWidgetStateDuplicationWarning": True,  # address.py does that on purpose
        "logger_hideWelcomeMessage": True,
        "logger_level": "warning",
        "theme_base": str(THEME),
    }
