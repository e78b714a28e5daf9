"""Run stand-ins of services on this machine."""

from __future__ import annotations

import shlex
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

import click

from kfgcp.cli import output

if TYPE_CHECKING:
    from kfgcp.testing.requests import RecordedRequest
    from kfgcp.testing.running import RunningStandIn


LATENCY = click.option(
    "--latency",
    default=0.0,
    type=click.FloatRange(min=0),
    metavar="S",
    help="Seconds that each request waits.",
)
INSTANT = click.option(
    "--instant", is_flag=True, help="Make the results of runs up instead of running them."
)
PORT = click.IntRange(0, 65535)
HOST_NAMES = click.option(
    "--host-name",
    "host_names",
    multiple=True,
    metavar="NAME",
    help="Another name that leads here, or NAME:PORT; repeat for several.",
)


@click.group(epilog="Example: kfgcp testing vertex --port 8080")
def command() -> None:
    """Run stand-ins of services on this machine."""


@command.command(epilog="Example: kfgcp testing vertex --port 8080 --storage-port 8081")
@click.option(
    "--port", default=0, type=PORT, help="Of Vertex AI and Cloud Logging; 0 for a free one."
)
@click.option("--storage-port", default=0, type=PORT, help="Of Cloud Storage; 0 for a free one.")
@HOST_NAMES
@LATENCY
@INSTANT
def vertex(
    port: int, storage_port: int, host_names: tuple[str, ...], latency: float, instant: bool
) -> None:
    """Run a stand-in of Vertex AI Pipelines, Cloud Logging and Cloud Storage until Ctrl-C.

    Prints an environment for kfgcp.toml and the variables to set; requests are shown on stderr.
    What is submitted runs on this machine. Nothing is kept when it ends.
    """
    import kfgcp.testing

    with (
        _stoppable() as stopped,
        kfgcp.testing.vertex(
            mode=_mode(instant), port=port, storage_port=storage_port, host_names=host_names
        ) as env,
    ):
        _serve(env, stopped, latency)


@command.command(epilog="Example: kfgcp testing kubeflow --port 8080 --namespace team-a")
@click.option(
    "--port", default=0, type=PORT, help="Of the server and Cloud Logging; 0 for a free one."
)
@click.option("--storage-port", default=0, type=PORT, help="Of Cloud Storage; 0 for a free one.")
@click.option(
    "--namespace",
    multiple=True,
    metavar="NAME",
    help="Multi-user mode; repeat for each that you may use.",
)
@click.option(
    "--server-version", default="2.17.0", metavar="V", show_default=True, help="Of the server."
)
@HOST_NAMES
@LATENCY
@INSTANT
def kubeflow(
    port: int,
    storage_port: int,
    namespace: tuple[str, ...],
    server_version: str,
    host_names: tuple[str, ...],
    latency: float,
    instant: bool,
) -> None:
    """Run a stand-in of a Kubeflow Pipelines API server and Cloud Storage until Ctrl-C.

    Prints an environment for kfgcp.toml and the variables to set; requests are shown on stderr.
    What is submitted runs on this machine. Nothing is kept when it ends.
    """
    import kfgcp.testing

    with (
        _stoppable() as stopped,
        kfgcp.testing.kubeflow(
            multi_user=bool(namespace),
            namespaces=namespace,
            version=server_version,
            mode=_mode(instant),
            port=port,
            storage_port=storage_port,
            host_names=host_names,
        ) as env,
    ):
        _serve(env, stopped, latency)


def _mode(instant: bool) -> str:
    return "instant" if instant else "engine"


def _serve(env: RunningStandIn, stopped: threading.Event, latency: float) -> None:
    env.latency = latency
    env.requests.watcher = _show
    _introduce(env)
    while not stopped.wait(3600):
        pass


def _introduce(env: RunningStandIn) -> None:
    click.echo("# kfgcp.toml")
    click.echo(env.toml())
    click.echo("# shell")
    for name, value in env.environ.items():
        if not name.startswith("KFGCP_"):
            click.echo(f"export {name}={shlex.quote(value)}")
    sys.stdout.flush()
    output.hint("kfgcp run PIPELINE --env stand-in   (Ctrl-C ends the stand-in)")


def _show(entry: RecordedRequest) -> None:
    at = time.strftime("%H:%M:%S", time.localtime(entry.at))
    ended = entry.fault if entry.status is None else entry.status
    click.echo(
        f"{at} {entry.method} {output.plain(entry.path)} {ended}"
        f" {(entry.seconds or 0) * 1000:.0f} ms",
        err=True,
    )


@contextmanager
def _stoppable() -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set."""
    stopped = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        stopped.set()

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, stop) for number in numbers]
    try:
        yield stopped
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
