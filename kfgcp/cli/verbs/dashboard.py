"""Show the runs in the browser."""

from __future__ import annotations

import click

from kfgcp.cli import options
from kfgcp.workspace import Workspace


@click.command(epilog="Example: kfgcp dashboard --port 8600 --no-browser")
@click.option(
    "--port",
    default=8501,
    type=click.IntRange(1, 65535),
    show_default=True,
    help="The port to listen on.",
)
@click.option(
    "--host", default="127.0.0.1", metavar="H", show_default=True, help="The address to listen on."
)
@click.option("--read-only", is_flag=True, help="Nobody can start, cancel, rerun or annotate runs.")
@click.option("--no-browser", is_flag=True, help="Do not open a browser.")
@options.workspace
def command(workspace: Workspace, port: int, host: str, read_only: bool, no_browser: bool) -> None:
    """Show the runs in the browser.

    Prints the address of the dashboard, and serves it until Ctrl-C. In the background, the
    dashboard asks all backends for new runs and changes.

    When --host is an address that other machines can reach, the dashboard needs a sign-in: see
    docs/guides/dashboard.md.
    """
    workspace.dashboard(host=host, port=port, read_only=read_only, browser=not no_browser)
