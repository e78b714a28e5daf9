"""Run small test servers that answer like Vertex AI and Kubeflow."""

from __future__ import annotations

import shlex
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Final

import click

from kfgcp.cli import output

if TYPE_CHECKING:
    from kfgcp.testing.requests import RecordedRequest
    from kfgcp.testing.running import RunningStandIn

_LATENCY = click.option(
    "--latency",
    default=0.0,
    type=click.FloatRange(min=0),
    metavar="S",
    help="Answer each request after S seconds.",
)
_INSTANT = click.option(
    "--instant", is_flag=True, help="Invent results instead of running pipelines."
)
_PORT: Final = click.IntRange(0, 65535)
_STORAGE_PORT = click.option(
    "--storage-port", default=0, type=_PORT, help="The port of Cloud Storage; 0: any free port."
)
_ENV = click.option(
    "--env",
    metavar="NAME",
    help="Print variables that lead an environment of kfgcp.toml to the stand-in.",
)
_HOST_NAMES = click.option(
    "--host-name",
    "host_names",
    multiple=True,
    metavar="NAME",
    help="Also accept requests whose Host header is NAME or NAME:PORT; may be given several times.",
)


@click.group(epilog="Example: kfgcp testing vertex --port 8080")
def command() -> None:
    """Run small test servers that answer like Vertex AI and Kubeflow.

    Such a server is called a stand-in. It runs on this machine, and needs no account and no
    cluster.
    """


@command.command(
    short_help="A test server for Vertex AI Pipelines.",
    epilog="Example: kfgcp testing vertex --port 8080 --storage-port 8081",
)
@click.option(
    "--port",
    default=0,
    type=_PORT,
    help="The port of Vertex AI and Cloud Logging; 0: any free port.",
)
@_STORAGE_PORT
@_ENV
@_HOST_NAMES
@_LATENCY
@_INSTANT
def vertex(
    port: int,
    storage_port: int,
    env: str | None,
    host_names: tuple[str, ...],
    latency: float,
    instant: bool,
) -> None:
    """Run a stand-in of Vertex AI Pipelines, Cloud Logging and Cloud Storage until Ctrl-C.

    Prints an environment for kfgcp.toml and the variables to set. With --env, prints variables
    only: the environment of this name then uses the stand-in. Requests are shown on stderr.
    Submitted pipelines run on this machine. The stand-in forgets them when it ends. It keeps
    schedules, but never starts their runs by itself.
    """
    import kfgcp.testing

    with (
        _stop_on_signals() as stop,
        kfgcp.testing.vertex(
            mode=_mode(instant), port=port, storage_port=storage_port, host_names=host_names
        ) as stand_in,
    ):
        _serve(stand_in, stop, latency, env)


@command.command(
    short_help="A test server for Kubeflow Pipelines.",
    epilog="Example: kfgcp testing kubeflow --port 8080 --namespace team-a",
)
@click.option(
    "--port",
    default=0,
    type=_PORT,
    help="The port of the server and Cloud Logging; 0: any free port.",
)
@_STORAGE_PORT
@_ENV
@click.option(
    "--namespace",
    multiple=True,
    metavar="NAME",
    help="Use multi-user mode with the namespace NAME; may be given several times.",
)
@click.option(
    "--server-version",
    default="2.17.0",
    metavar="V",
    show_default=True,
    help="The version of Kubeflow Pipelines to imitate.",
)
@_HOST_NAMES
@_LATENCY
@_INSTANT
def kubeflow(
    port: int,
    storage_port: int,
    env: str | None,
    namespace: tuple[str, ...],
    server_version: str,
    host_names: tuple[str, ...],
    latency: float,
    instant: bool,
) -> None:
    """Run a stand-in of a Kubeflow Pipelines API server and Cloud Storage until Ctrl-C.

    Prints an environment for kfgcp.toml and the variables to set. With --env, prints variables
    only: the environment of this name then uses the stand-in. Requests are shown on stderr.
    Submitted pipelines run on this machine. The stand-in forgets them when it ends. It keeps
    schedules, but never starts their runs by itself.
    """
    import kfgcp.testing

    with (
        _stop_on_signals() as stop,
        kfgcp.testing.kubeflow(
            multi_user=bool(namespace),
            namespaces=namespace,
            version=server_version,
            mode=_mode(instant),
            port=port,
            storage_port=storage_port,
            host_names=host_names,
        ) as stand_in,
    ):
        _serve(stand_in, stop, latency, env)


def _mode(instant: bool) -> str:
    return "instant" if instant else "engine"


@contextmanager
def _stop_on_signals() -> Iterator[threading.Event]:
    """Yield an event that Ctrl-C and SIGTERM set."""
    stop = threading.Event()

    def set_event(number: int, frame: FrameType | None) -> None:
        stop.set()

    numbers = (signal.SIGINT, signal.SIGTERM)
    handlers_before = [signal.signal(number, set_event) for number in numbers]
    try:
        yield stop
    finally:
        for number, handler in zip(numbers, handlers_before, strict=True):
            signal.signal(number, handler)


def _serve(
    stand_in: RunningStandIn, stop: threading.Event, latency: float, env: str | None
) -> None:
    """Print the settings for clients, and then each request until the event is set."""
    stand_in.latency = latency
    stand_in.requests.watcher = _print_request
    if env is None:
        _print_settings(stand_in)
    else:
        _print_variables(stand_in.environ_of(env))
    sys.stdout.flush()
    name = env or "stand-in"
    output.hint(f"kfgcp run PIPELINE --env {name}   (Ctrl-C ends the stand-in)")
    stop.wait()


def _print_settings(stand_in: RunningStandIn) -> None:
    click.echo("# kfgcp.toml")
    click.echo(stand_in.toml())
    click.echo("# shell")
    # The variables of kfgcp itself are in the table for kfgcp.toml.
    variables = stand_in.environ
    _print_variables({name: variables[name] for name in variables if not _is_of_kfgcp(name)})


def _is_of_kfgcp(variable: str) -> bool:
    return variable.startswith("KFGCP_")


def _print_variables(variables: Mapping[str, str]) -> None:
    for name, value in variables.items():
        click.echo(f"export {name}={shlex.quote(value)}")


def _print_request(request: RecordedRequest) -> None:
    clock_time = time.strftime("%H:%M:%S", time.localtime(request.at))
    result = request.fault if request.status is None else request.status
    milliseconds = (request.seconds or 0) * 1000
    click.echo(
        f"{clock_time} {request.method} {output.plain(request.path)} {result}"
        f" {milliseconds:.0f} ms",
        err=True,
    )
