"""Options that several verbs share."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec, TypeVar, Unpack

import click

from kfgcp.errors import UsageError
from kfgcp.model import RunState
from kfgcp.query import RunFilter
from kfgcp.tracking.choose import Choice, choose
from kfgcp.workspace import Workspace

P = ParamSpec("P")
R = TypeVar("R")


def workspace(command: Callable[Concatenate[Workspace, P], R]) -> Callable[P, R]:
    """Give a command the workspace of the current folder as its first argument.

    The workspace is closed when the command ends.
    """

    @functools.wraps(command)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        with Workspace() as workspace:
            return command(workspace, *args, **kwargs)

    return call


class FilterOptions(Choice, total=False):
    """The values of the options of `filters`."""

    where: str | None


def filters(command: Callable[P, R]) -> Callable[P, R]:
    """Give a command the options that choose runs. `run_filter` makes a filter of their values."""
    # click shows the options in the reverse order of the decorators.
    for option in reversed(_FILTERS):
        command = option(command)
    return command


def run_filter(**values: Unpack[FilterOptions]) -> RunFilter:
    """Return the filter for the values of the options that `filters` adds."""
    return choose(**values)


@dataclass(frozen=True, slots=True)
class StartOptions:
    """The values of the options of each verb that starts a run.

    Attributes:
        detach: return without waiting for the end of the run.
        timeout: seconds after which the run is cancelled; None for no limit.
        as_json: print the run as JSON.
    """

    detach: bool
    timeout: float | None
    as_json: bool


def start_options(command: Callable[..., R]) -> Callable[..., R]:
    """Give a command --detach, --timeout and --json as its argument `start_options`."""

    @_detach
    @_timeout
    @as_json
    @functools.wraps(command)
    def call(*args: Any, detach: bool, timeout: float | None, as_json: bool, **kwargs: Any) -> R:
        values = StartOptions(detach, timeout, as_json)
        return command(*args, start_options=values, **kwargs)

    return call


def seconds(
    context: click.Context, parameter: click.Parameter, value: float | None
) -> float | None:
    """Return the value of --timeout.

    Raises:
        UsageError: a thread cannot wait for this number of seconds.
    """
    # NaN fails every comparison, so this condition refuses it too.
    if value is not None and not 0 <= value <= threading.TIMEOUT_MAX:
        raise UsageError(
            f"--timeout must be 0 or more seconds, not {value:g}.",
            hint="To wait without a limit, leave out --timeout.",
        )
    return value


as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
run_argument = click.argument("run", default="latest", metavar="[RUN]")
_detach = click.option(
    "--detach", is_flag=True, help="Return at once. The run continues in the background."
)
_timeout = click.option(
    "--timeout",
    type=float,
    callback=seconds,
    metavar="S",
    help="Cancel the run after S seconds, and exit with 7.",
)

_FILTERS = (
    click.option(
        "--where",
        metavar="EXPR",
        help="Only runs that match the expression, such as 'params.lr < 0.1'.",
    ),
    click.option("--pipeline", metavar="NAME", help="Only runs of the pipeline NAME."),
    click.option(
        "--version",
        metavar="DIGEST",
        help="Only runs whose version begins with DIGEST.",
    ),
    click.option("--experiment", metavar="NAME", help="Only runs of the experiment NAME."),
    click.option("--env", metavar="NAME", help="Only runs of the environment NAME."),
    click.option(
        "--state",
        multiple=True,
        type=click.Choice([state.value for state in RunState], case_sensitive=False),
        help="Only runs in this state; may be given several times.",
    ),
    click.option("--label", multiple=True, metavar="K=V", help="Only runs with the label K=V."),
    click.option("--tag", multiple=True, metavar="TAG", help="Only runs with the tag TAG."),
    click.option(
        "--text",
        metavar="TEXT",
        help="Only runs whose id, name, pipeline, experiment, note or tags contain TEXT.",
    ),
    click.option(
        "--since",
        metavar="AGE|TIME",
        help="Only runs created at this time or later, such as 7d (7 days ago) or"
        " 2026-01-31T08:00:00Z.",
    ),
    click.option(
        "--until",
        metavar="AGE|TIME",
        help="Only runs created before this time, such as 7d (7 days ago) or 2026-01-31T08:00:00Z.",
    ),
)
