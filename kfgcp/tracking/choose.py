"""Options that choose runs, as plain values. Python functions and the command line share them."""

from __future__ import annotations

import numbers
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TypedDict, Unpack

from kfgcp.errors import UsageError
from kfgcp.model import RunState, timestamp
from kfgcp.query import RunFilter
from kfgcp.store.search_tokens import UNITS


class Choice(TypedDict, total=False):
    """The options that choose runs. A run must match every option that is given.

    Attributes:
        experiment: the name of its experiment.
        pipeline: the name of its pipeline.
        version: the digest of its version, or the beginning of the digest.
        env: the name of its environment.
        state: its state, or a list of states.
        label: a dict, a text `K=V`, or a list of such texts.
        since: created at this time or later: a time, RFC 3339 text, or an age such as `7d`.
        until: created before this time, in the same form.
        tag: a tag, or a list of tags that it must have.
        text: a text that its id, name, pipeline, experiment, note or one of its tags contains.
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


def choose(where: str | None = None, **choice: Unpack[Choice]) -> RunFilter:
    """Return the filter for the options.

    Args:
        where: an expression, see `kfgcp.store.search_expressions`.
        choice: the options.

    Raises:
        UsageError: an option or a state does not exist, a label is not of the form `K=V`, or a time
            cannot be read.

    Example:
        >>> choose(pipeline="churn", label="team=growth").labels
        {'team': 'growth'}
    """
    for name, value in choice.items():
        _check_option(name, value)
    if where is not None and not isinstance(where, str):
        raise UsageError(f"The option `where` must be an expression, not {where!r}.")
    label = choice.get("label") or {}
    labels = dict(label) if isinstance(label, Mapping) else parse_labels(as_list(label))
    states = [_parse_state(state) for state in as_list(choice.get("state"))]
    return RunFilter(
        pipeline=choice.get("pipeline"),
        experiment=choice.get("experiment"),
        env=choice.get("env"),
        states=states,
        labels=labels,
        since=_parse_moment(choice.get("since"), "since"),
        where=where,
        version=choice.get("version"),
        until=_parse_moment(choice.get("until"), "until"),
        tags=as_list(choice.get("tag")),
        text=choice.get("text"),
    )


def _check_option(name: str, value: object) -> None:
    """Refuse an option that does not exist or has a wrong type.

    A filter without the option would choose more runs than the caller asked for.
    """
    if name not in Choice.__annotations__:
        _refuse_option(name)
    if value is None or isinstance(value, str):
        return
    if name in ("since", "until"):
        is_right = isinstance(value, datetime)
        expected = "a text or a datetime"
    elif name in ("state", "tag"):
        is_right = _is_text_collection(value)
        expected = "a text or a list of texts"
    elif name == "label":
        is_right = _is_text_collection(value) or _is_text_mapping(value)
        expected = "a dict, K=V, or a list of K=V"
    else:
        is_right = False
        expected = "a text"
    if not is_right:
        raise UsageError(f"The option `{name}` must be {expected}, not {value!r}.")


def _refuse_option(name: str) -> None:
    # Only errors need difflib, and start-up time counts.
    import difflib

    options = list(Choice.__annotations__)
    close = difflib.get_close_matches(name, options, n=1)
    suggestion = f"Did you mean {close[0]}? " if close else ""
    raise UsageError(
        f"Runs cannot be chosen by '{name}'.",
        hint=f"{suggestion}The options are {', '.join(options)}.",
    )


def _is_text_collection(value: object) -> bool:
    return isinstance(value, (list, tuple, set, frozenset)) and _are_texts(value)


def _is_text_mapping(value: object) -> bool:
    return isinstance(value, Mapping) and _are_texts(value) and _are_texts(value.values())


def _are_texts(values: Iterable[object]) -> bool:
    return all(isinstance(value, str) for value in values)


def as_list(value: str | Sequence[str] | None) -> list[str]:
    """Return one text or several texts as a list. None is an empty list."""
    if value is None:
        return []
    return [value] if isinstance(value, str) else list(value)


def parse_labels(pairs: Sequence[str], flag: str = "--label") -> dict[str, str]:
    """Return `K=V` texts as a dict.

    Args:
        pairs: the texts.
        flag: the flag on the command line, for errors.

    Raises:
        UsageError: a text is not of this form.

    Example:
        >>> parse_labels(["team=growth", "note=a=b"])
        {'team': 'growth', 'note': 'a=b'}
    """
    labels = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise UsageError(f"{flag} {pair!r} does not have the form K=V.")
        labels[name] = value
    return labels


def _parse_moment(text: str | datetime | None, option: str) -> str | None:
    return None if text is None else moment(text, option)


def moment(text: str | datetime, option: str = "since") -> str:
    """Return a time as RFC 3339 text in UTC.

    Args:
        text: an age such as `30m`, RFC 3339 text, or a `datetime`. A `datetime` without a time zone
            is in UTC.
        option: the name of the option, for errors.

    Raises:
        UsageError: the text is not a time, has no time zone, or is out of range.

    Example:
        >>> moment("2026-01-31T09:00:00+01:00")
        '2026-01-31T08:00:00.000Z'
    """
    if isinstance(text, datetime):
        return _format_time(text if text.tzinfo else text.replace(tzinfo=UTC), option)
    try:
        time_point = datetime.fromisoformat(text)
    except ValueError:
        return timestamp(max(time.time() - _parse_age(text, option), 0))
    if time_point.tzinfo is None:
        raise UsageError(
            f"--{option} {text!r} has no time zone.", hint="Add Z for UTC: 2026-01-31T08:00:00Z"
        )
    return _format_time(time_point, option)


def _format_time(time_point: datetime, option: str) -> str:
    try:
        return timestamp(time_point.timestamp())
    except (ValueError, OverflowError, OSError):
        # In UTC, the time is before the year 1 or after the year 9999.
        raise UsageError(f"--{option} {time_point.isoformat()} is out of range.") from None


def _parse_age(text: str, option: str) -> float:
    """Return the seconds of an age: `30m`, `12h`, `7d`."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw])", text)
    if match is None:
        raise UsageError(
            f"--{option} {text!r} is neither an age nor a time.",
            hint="Write an age such as 30m, 12h, 7d, 2w, or a time: 2026-01-31T08:00:00Z",
        )
    return float(match[1]) * UNITS[match[2]]


def _parse_state(text: str) -> RunState:
    try:
        return RunState(text.upper())
    except ValueError:
        raise UsageError(
            f"There is no state '{text}'.", hint=f"States: {', '.join(RunState)}."
        ) from None


def check_timeout(timeout: float | None) -> None:
    """Check the timeout that a caller gave. Call this before a run is started.

    Raises:
        UsageError: the timeout is neither None nor a number of seconds from 0.
    """
    if timeout is None:
        return
    is_number = isinstance(timeout, numbers.Real) and not isinstance(timeout, bool)
    # `not >=` instead of `<`: NaN is neither smaller nor larger than 0.
    if not (is_number and timeout >= 0):
        raise UsageError(
            f"The timeout must be a number of seconds, not {timeout!r}.",
            hint="To wait without a limit, use None.",
        )
