"""Options that several verbs share."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

import click

from kfgcp.errors import UsageError
from kfgcp.model import RunState
from kfgcp.query import RunFilter
from kfgcp.tracking.choose import choose
from kfgcp.workspace import Workspace

P = ParamSpec("P")
R = TypeVar("R")


def workspace(command: Callable[Concatenate[Workspace, P], R]) -> Callable[P, R]:
    """Give a command the workspace of the current folder, its first argument, and close it at the
    end."""

    @functools.wraps(command)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        with Workspace() as opened:
            return command(opened, *args, **kwargs)

    return call


as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
run_argument = click.argument("run", default="latest", metavar="[RUN]")


def filters(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that choose runs; `run_filter` turns their values into a RunFilter."""
    for option in reversed(
        [
            click.option(
                "--where",
                metavar="EXPR",
                help="Only runs of which this is true: 'params.lr < 0.1'.",
            ),
            click.option("--pipeline", metavar="NAME", help="Only runs of this pipeline."),
            click.option(
                "--version",
                metavar="DIGEST",
                help="Only runs of this version, or of one that begins so.",
            ),
            click.option("--experiment", metavar="NAME", help="Only runs of this experiment."),
            click.option("--env", metavar="NAME", help="Only runs of this environment."),
            click.option(
                "--state",
                multiple=True,
                type=click.Choice([state.value for state in RunState], case_sensitive=False),
                help="Only runs in this state; may be given several times.",
            ),
            click.option(
                "--label", multiple=True, metavar="K=V", help="Only runs with this label."
            ),
            click.option("--tag", multiple=True, metavar="TAG", help="Only runs with this tag."),
            click.option(
                "--text",
                metavar="TEXT",
                help="Only runs with this in their id, name, note or a tag.",
            ),
            click.option(
                "--since",
                metavar="AGE",
                help="Only runs younger than 30m, 12h, 7d, 2w, or since a time.",
            ),
            click.option(
                "--until", metavar="AGE", help="Only runs older than that, or before a time."
            ),
        ]
    ):
        command = option(command)
    return command


def run_filter(**chosen: Any) -> RunFilter:
    """The filter that the options of `filters` mean."""
    return choose(**chosen)


def seconds(
    context: click.Context, parameter: click.Parameter, value: float | None
) -> float | None:
    """The value of --timeout, when it is a number of seconds that can be waited for."""
    if value is not None and not 0 <= value <= threading.TIMEOUT_MAX:
        raise UsageError(
            f"--timeout {value:g} is not a number of seconds.",
            hint="Leave it out to wait for ever.",
        )
    return value


timeout = click.option(
    "--timeout",
    type=float,
    callback=seconds,
    metavar="S",
    help="Cancel it after S seconds; exit 7.",
)
