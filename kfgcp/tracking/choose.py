"""Options that choose runs, as plain values. Python functions and the command line share them."""

from __future__ import annotations

import numbers
import re
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypedDict, Unpack

from kfgcp.errors import UsageError
from kfgcp.model import RunState, timestamp
from kfgcp.query import RunFilter
from kfgcp.store.search_tokens import UNITS


class Choice(TypedDict, total=False):
    """Which runs; all that is given must hold.

    experiment, pipeline, env: names. version: a digest or its beginning. state: one or several.
    label: texts `K=V`, or a dict. since, until: created then or later, and before then: a time, RFC
    3339 text, or an age such as `7d`. tag: all of them. text: stands in the id, name, pipeline,
    experiment, note or a tag.
    """

    experiment: str | None
    pipeline: str | None
    version: str | None
    env: str | None
    state: RunState | str | Sequence[RunState | str]
    label: str | Sequence[str] | Mapping[str, str]
    since: str | datetime | None
    until: str | datetime | None
    tag: str | Sequence[str]
    text: str | None


def choose(where: str | None = None, **chosen: Unpack[Choice]) -> RunFilter:
    """The filter of what is chosen; where: an expression, see `kfgcp.store.search_expressions`.

    Raises:
        UsageError: a state or a field is not known, a label is not of the form `K=V`, or a time
            cannot be read.
    """
    for name, value in chosen.items():
        _check(name, value)
    if where is not None and not isinstance(where, str):
        raise UsageError(f"The option where must be an expression, not {where!r}.")
    since, until = chosen.get("since"), chosen.get("until")
    label = chosen.get("label") or {}
    return RunFilter(
        pipeline=chosen.get("pipeline"),
        experiment=chosen.get("experiment"),
        env=chosen.get("env"),
        states=[_state(each) for each in as_list(chosen.get("state"))],
        labels=dict(label) if isinstance(label, Mapping) else parse_labels(as_list(label)),
        since=None if since is None else moment(since),
        where=where,
        version=chosen.get("version"),
        until=None if until is None else moment(until, "until"),
        tags=as_list(chosen.get("tag")),
        text=chosen.get("text"),
    )


def _check(name: str, value: Any) -> None:
    """Refuse an option that does not exist or has a wrong type. Ignoring it would choose all
    runs."""
    if name not in Choice.__annotations__:
        import difflib

        close = difflib.get_close_matches(name, Choice.__annotations__, n=1)
        suggestion = f"Did you mean {close[0]}? " if close else ""
        options = ", ".join(Choice.__annotations__)
        raise UsageError(
            f"Runs cannot be chosen by '{name}'.", hint=f"{suggestion}The options are {options}."
        )
    if value is None or isinstance(value, str):
        return
    if name in ("since", "until"):
        is_right, expected = isinstance(value, datetime), "a text or a datetime"
    elif name in ("state", "tag"):
        is_right, expected = _is_texts(value), "a text or a list of texts"
    elif name == "label":
        is_right, expected = (
            _is_texts(value) or _is_text_mapping(value),
            "a dict, K=V, or a list of K=V",
        )
    else:
        is_right, expected = False, "a text"
    if not is_right:
        raise UsageError(f"The option {name} must be {expected}, not {value!r}.")


def _is_texts(value: Any) -> bool:
    return isinstance(value, (list, tuple, set, frozenset)) and all(
        isinstance(item, str) for item in value
    )


def _is_text_mapping(value: Any) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(text, str) for pair in value.items() for text in pair
    )


def as_list(value: str | Sequence[str] | None) -> list[str]:
    """Return one text or several as a list."""
    if value is None:
        return []
    return [value] if isinstance(value, str) else [*value]


def parse_labels(pairs: Sequence[str], flag: str = "--label") -> dict[str, str]:
    """Return `K=V` texts as a dict.

    Args:
        pairs: the texts.
        flag: the flag on the command line, for errors.

    Raises:
        UsageError: a text is not of this form.
    """
    labels = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise UsageError(f"{flag} {pair!r} is not of the form K=V.")
        labels[name] = value
    return labels


def moment(text: str | datetime, what: str = "since") -> str:
    """The time that `30m` ago, an RFC 3339 text, or a time means; as a timestamp.

    Args:
        text: one of these; a `datetime` without a time zone is in UTC.
        what: the option it is for, which errors name.
    """
    if isinstance(text, datetime):
        return _timestamp(text if text.tzinfo else text.replace(tzinfo=UTC), what)
    try:
        given = datetime.fromisoformat(text)
    except ValueError:
        return timestamp(max(time.time() - _age(text, what), 0))
    if given.tzinfo is None:
        raise UsageError(
            f"--{what} {text!r} has no time zone.", hint="Add Z for UTC: 2026-01-31T08:00:00Z"
        )
    return _timestamp(given, what)


def _timestamp(given: datetime, what: str) -> str:
    try:
        return timestamp(given.timestamp())
    except (ValueError, OverflowError, OSError):  # in UTC it is before the year 1, or after 9999
        raise UsageError(f"--{what} {given.isoformat()} is out of range.") from None


def _age(text: str, what: str) -> float:
    """The seconds of `30m`, `12h`, `7d`."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw])", text)
    if match is None:
        raise UsageError(
            f"--{what} {text!r} is not an age.", hint="Write a number and a unit: 30m, 12h, 7d, 2w."
        )
    return float(match[1]) * UNITS[match[2]]


def _state(text: str) -> RunState:
    try:
        return RunState(text.upper())
    except ValueError:
        raise UsageError(
            f"There is no state '{text}'.", hint=f"States: {', '.join(RunState)}."
        ) from None


def check_timeout(timeout: float | None) -> None:
    """Check a timeout that a caller gave. A verb that starts a run checks it before.

    Raises:
        UsageError: it is not a number of seconds from 0, and not None.
    """
    if timeout is None:
        return
    is_number = isinstance(timeout, numbers.Real) and not isinstance(timeout, bool)
    # NaN, which is a float, is neither smaller nor larger than 0.
    if not (is_number and timeout >= 0):
        raise UsageError(
            f"The timeout must be a number of seconds, not {timeout!r}.",
            hint="None waits for ever.",
        )
