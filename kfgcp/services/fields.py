"""Check that the fields of an answer have the types that the service documents; an error names the
wrong field.

    RUN = message({"run_id": text, "created_at": time, "labels": map_of(text), "tasks":
    list_of(message({...}))}) run = read(answer, RUN, service="Kubeflow Pipelines", thing="a run")

Code that reads a checked answer relies on the types. As in the JSON mapping of Protocol Buffers, a
null field counts as missing. Fields that a message does not name are passed on unchanged.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

from kfgcp.errors import BadAnswer
from kfgcp.model import timestamp
from kfgcp.services.redact import redacted_line
from kfgcp.spec.json_values import MAX_DEPTH, format_place

Place = tuple[str | int, ...]
Kind = Callable[[Any, Place], Any]
"""A check: returns the value, or raises `Mismatch`. Its second argument is the place of the value
in the answer."""

HINT: Final = "Does a proxy change answers, and is the address of the environment right? If not, update kfgcp."
_WHOLE_NUMBER: Final = re.compile(r"-?[0-9]{1,19}")
_SHOWN: Final = 60
"""The longest wrong value that a message shows, in characters."""
LONGEST_NAME: Final = 200
"""The longest name of an object or a field that a message shows, in characters."""


class Mismatch(Exception):
    """A value is not of its kind.

    Attributes:
        place: the place of the value in the answer.
        value: the wrong value.
        expected: what it should be, in words; None when it is missing.
    """

    def __init__(self, place: Place, value: Any, expected: str | None) -> None:
        super().__init__(expected)
        self.place, self.value, self.expected = place, value, expected


def read(answer: Any, kind: Kind, *, service: str, thing: str) -> Any:
    """Return the checked value of an answer, or of an item of one.

    Args:
        answer: the JSON value.
        kind: what it should be.
        service: the name of the service, for the message.
        thing: what the value describes, such as "a pipeline job".

    Raises:
        BadAnswer: a field is not of its kind; the message names the service and the field.
    """
    try:
        return kind(answer, ())
    except Mismatch as mismatch:
        identity = _identity(answer)
        which = f" {identity}" if identity and mismatch.place else ""
        field = redacted_line(format_place(mismatch.place), limit=LONGEST_NAME)
        if mismatch.expected is None:
            problem = f"with {thing}{which} without {field}"
        elif not field:
            problem = f"with {_shown(mismatch.value)} instead of {thing}"
        else:
            problem = (
                f"with {thing}{which} whose {field} is {_shown(mismatch.value)}, not"
                f" {mismatch.expected}"
            )
        raise BadAnswer(f"{service} answered {problem}.", hint=HINT) from None


def text(value: Any, place: Place) -> str:
    """Return the value if it is text."""
    if not isinstance(value, str):
        raise Mismatch(place, value, "text")
    return value


def required_text(value: Any, place: Place) -> str:
    """Return the value if it is text and not empty; empty text counts as missing."""
    if value == "":
        raise Mismatch(place, value, None)
    return text(value, place)


def time(value: Any, place: Place) -> str:
    """Return the value if it is a time of RFC 3339, or empty text for no time."""
    if not isinstance(value, str):
        raise Mismatch(place, value, "a time")
    if value and not _is_time(value):
        raise Mismatch(place, value, "a time")
    return value


@lru_cache(maxsize=4096)
def _is_time(value: str) -> bool:
    """Return whether a text is a time of RFC 3339; a run repeats most of its times."""
    try:
        moment = datetime.fromisoformat(value)
        timestamp((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError):
        return False
    return True


def whole_number(value: Any, place: Place) -> int:
    """Return the integer of an int64, which is text or a number in JSON."""
    if isinstance(value, str) and _WHOLE_NUMBER.fullmatch(value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not -(2**63) <= value < 2**63:
        raise Mismatch(place, value, "a whole number of 64 bits")
    return value


def count(value: Any, place: Place) -> int:
    """Return the integer of an int64 that is not negative."""
    found = whole_number(value, place)
    if found < 0:
        raise Mismatch(place, value, "a number of 0 or more")
    return found


def number(value: Any, place: Place) -> float:
    """Return the number of a double, which may be text in JSON: "NaN", "Infinity", or the number
    itself."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            raise Mismatch(place, value, "a number") from None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Mismatch(place, value, "a number")
    return value


def anything(value: Any, place: Place) -> Any:
    """Return the value as it is, for what is read by itself later."""
    return value


def truth(value: Any, place: Place) -> bool:
    """Return the value if it is true or false."""
    if not isinstance(value, bool):
        raise Mismatch(place, value, "true or false")
    return value


def mapping(value: Any, place: Place) -> dict[str, Any]:
    """Return the value if it is an object; its values may be anything, also null."""
    if not isinstance(value, dict):
        raise Mismatch(place, value, "an object")
    return value


def message(fields: Mapping[str, Kind], *, required: tuple[str, ...] = ()) -> Kind:
    """Return the kind of an object with these fields, of which only the `required` ones must be
    present."""

    def check(value: Any, place: Place) -> dict[str, Any]:
        checked = dict(mapping(value, place))
        for name, kind in fields.items():
            item = checked.get(name)
            if item is not None:
                checked[name] = kind(item, (*place, name))
            elif name in required:
                raise Mismatch((*place, name), None, None)
            else:
                checked.pop(name, None)
        return checked

    return check


def map_of(kind: Kind) -> Kind:
    """Return the kind of an object whose values are all of one kind; values that are null are left
    out."""

    def check(value: Any, place: Place) -> dict[str, Any]:
        items = mapping(value, place).items()
        return {name: kind(item, (*place, name)) for name, item in items if item is not None}

    return check


def list_of(kind: Kind) -> Kind:
    """Return the kind of a list whose items are all of one kind."""

    def check(value: Any, place: Place) -> list[Any]:
        if not isinstance(value, list):
            raise Mismatch(place, value, "a list")
        return [kind(item, (*place, number)) for number, item in enumerate(value)]

    return check


def nests_too_deep(value: Any) -> bool:
    """Return whether lists and objects are nested more than `MAX_DEPTH` levels deep."""
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            inner for item in level for inner in _inside(item) if isinstance(inner, (dict, list))
        ]
        if not level:
            return False
    return True


def _inside(value: Any) -> Any:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _identity(answer: Any) -> str:
    """Return the service's name or id of the object, empty when the answer has none."""
    if not isinstance(answer, Mapping):
        return ""
    names = (answer.get(key) for key in ("name", "run_id", "experiment_id", "insertId"))
    return next(
        (
            redacted_line(name, limit=LONGEST_NAME)
            for name in names
            if isinstance(name, str) and name
        ),
        "",
    )


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return "a list"
    if isinstance(value, dict):
        return "an object"
    if value is None:
        return "null"
    return redacted_line(
        repr(value) if isinstance(value, str) else str(value).lower(), limit=_SHOWN
    )
