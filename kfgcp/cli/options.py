"""Options that several verbs share."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

import click

from kfgcp.errors import UsageError
from kfgcp.model import RunState, timestamp
from kfgcp.store.rows import RunFilter

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
run_argument = click.argument("run", default="latest", metavar="[RUN]")

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def filters(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that choose runs; `run_filter` turns their values into a RunFilter."""
    for option in reversed(
        [
            click.option("--pipeline", metavar="NAME", help="Only runs of this pipeline."),
            click.option("--experiment", metavar="NAME", help="Only runs of this experiment."),
            click.option("--env", metavar="NAME", help="Only runs of this environment."),
            click.option(
                "--state",
                "states",
                multiple=True,
                type=click.Choice([state.value for state in RunState], case_sensitive=False),
                help="Only runs in this state; may be given several times.",
            ),
            click.option("--label", "label", multiple=True, metavar="K=V", help="Only runs with this label."),
            click.option("--since", metavar="AGE", help="Only runs younger than 30m, 12h, 7d, 2w, or since a time."),
        ]
    ):
        command = option(command)
    return command


def run_filter(
    pipeline: str | None,
    experiment: str | None,
    env: str | None,
    states: tuple[str, ...],
    label: tuple[str, ...],
    since: str | None,
) -> RunFilter:
    return RunFilter(
        pipeline=pipeline,
        experiment=experiment,
        env=env,
        states=[RunState(state.upper()) for state in states],
        labels=labels(label),
        since=None if since is None else moment(since),
    )


def labels(pairs: tuple[str, ...]) -> dict[str, str]:
    """`K=V` texts as a dict."""
    found = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise UsageError(f"--label {pair!r} is not of the form K=V.")
        found[name] = value
    return found


def moment(text: str) -> str:
    """The time that `30m`, or an RFC 3339 text, means; as a timestamp."""
    try:
        given = datetime.fromisoformat(text)
    except ValueError:
        return timestamp(max(time.time() - age(text), 0))
    if given.tzinfo is None:
        raise UsageError(f"--since {text!r} has no time zone.", hint="Add Z for UTC: 2026-01-31T08:00:00Z")
    return timestamp(given.timestamp())


def age(text: str) -> float:
    """The seconds of `30m`, `12h`, `7d`."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw])", text)
    if match is None:
        raise UsageError(f"--since {text!r} is not an age.", hint="Write a number and a unit: 30m, 12h, 7d, 2w.")
    return float(match[1]) * _UNITS[match[2]]


def seconds(context: click.Context, parameter: click.Parameter, value: float | None) -> float | None:
    """The value of --timeout, when it is a number of seconds that can be waited for."""
    if value is not None and not 0 <= value <= threading.TIMEOUT_MAX:
        raise UsageError(f"--timeout {value:g} is not a number of seconds.", hint="Leave it out to wait for ever.")
    return value


timeout = click.option(
    "--timeout", type=float, callback=seconds, metavar="S", help="Cancel it after S seconds; exit 7."
)
