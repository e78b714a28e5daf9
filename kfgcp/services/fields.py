"""Check that the fields of an answer have the types that the service documents.

A kind is a check of one value. `message` makes the kind of an object from the kinds of its fields:

    RUN = message({"run_id": text, "created_at": time, "labels": map_of(text)})
    run = read(answer, RUN, service="Kubeflow Pipelines", thing="a run")

`read` raises an error that names the wrong field. Code that uses a checked answer can rely on the
types. As in the JSON mapping of Protocol Buffers, a null field counts as missing. Fields that are
not in a message stay unchanged.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

from kfgcp.errors import BadAnswer
from kfgcp.model import timestamp
from kfgcp.services.redact import redacted_line
from kfgcp.spec.json_values import MAX_DEPTH, format_place

Place = tuple[str | int, ...]
"""The keys of objects and the positions in lists that lead to a value in an answer."""

Kind = Callable[[Any, Place], Any]
"""A check of a value at a place. It returns the value, or raises `Mismatch`."""

HINT: Final = (
    "Check the address of the environment, and whether a proxy changes answers. If neither is the"
    " cause, update kfgcp."
)
# The longest text of an int64 has 19 digits.
_WHOLE_NUMBER: Final = re.compile(r"-?[0-9]{1,19}")
# How many characters of a wrong value a message shows.
_MAX_SHOWN_VALUE: Final = 60
# How many characters of the name of an object or a field a message shows.
LONGEST_NAME: Final = 200

# The fields with the name or the id of an object, in Vertex AI, Kubeflow Pipelines (two fields) and
# Cloud Logging.
_NAME_FIELDS: Final = ("name", "run_id", "experiment_id", "insertId")


class Mismatch(Exception):
    """The error for a value that has the wrong type or is missing.

    Attributes:
        place: the place of the value in the answer.
        value: the wrong value.
        expected: the right type in words, such as "a whole number"; None for a missing value.
    """

    def __init__(self, place: Place, value: object, expected: str | None) -> None:
        super().__init__(expected)
        self.place = place
        self.value = value
        self.expected = expected


def read(answer: object, kind: Kind, *, service: str, thing: str) -> Any:
    """Check an answer, or an item in an answer, and return it without its null fields.

    Args:
        answer: the JSON value.
        kind: the check.
        service: the name of the service, for the message.
        thing: the name of the object, for the message, such as "a pipeline job".

    Raises:
        BadAnswer: a field has the wrong type or is missing. The message names the service and the
            field.
    """
    try:
        return kind(answer, ())
    except Mismatch as mismatch:
        problem = _describe(mismatch, answer, thing)
        raise BadAnswer(f"{service} answered {problem}.", hint=HINT) from None


def _describe(mismatch: Mismatch, answer: object, thing: str) -> str:
    """Return the problem as words that continue "SERVICE answered"."""
    field = redacted_line(format_place(mismatch.place), limit=LONGEST_NAME)
    value = _format_value(mismatch.value)
    if mismatch.expected is not None and not field:
        return f"with {value} instead of {thing}"
    identity = _identity(answer)
    if identity and mismatch.place:
        thing = f"{thing} {identity}"
    if mismatch.expected is None:
        return f"with {thing} without {field}"
    return f"with {thing} whose {field} is {value}, not {mismatch.expected}"


def text(value: object, place: Place) -> str:
    """Return the value if it is text."""
    if not isinstance(value, str):
        raise Mismatch(place, value, "text")
    return value


def required_text(value: object, place: Place) -> str:
    """Return the value if it is text with at least one character. Empty text counts as missing."""
    if value == "":
        raise Mismatch(place, value, None)
    return text(value, place)


def time(value: object, place: Place) -> str:
    """Return the value if it is a time of RFC 3339, or empty text, which means no time."""
    if not isinstance(value, str):
        raise Mismatch(place, value, "a time")
    if value and not _is_time(value):
        raise Mismatch(place, value, "a time")
    return value


@lru_cache(maxsize=4096)
def _is_time(value: str) -> bool:
    """Return whether a text is a time of RFC 3339."""
    # The results are cached, because later answers about a run contain most of its times again.
    try:
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        # `timestamp` fails for some times near the years 1 and 9999.
        timestamp(moment.timestamp())
    except (ValueError, OverflowError):
        return False
    return True


def whole_number(value: object, place: Place) -> int:
    """Return the value as an integer if it is an int64. In JSON an int64 is a number or text."""
    if isinstance(value, str) and _WHOLE_NUMBER.fullmatch(value):
        value = int(value)
    # In Python, True and False are integers.
    if isinstance(value, bool) or not isinstance(value, int):
        raise Mismatch(place, value, "a whole number of 64 bits")
    if not -(2**63) <= value < 2**63:
        raise Mismatch(place, value, "a whole number of 64 bits")
    return value


def count(value: object, place: Place) -> int:
    """Return the value as an integer if it is an int64 of 0 or more."""
    integer = whole_number(value, place)
    if integer < 0:
        raise Mismatch(place, value, "a number of 0 or more")
    return integer


def number(value: object, place: Place) -> float:
    """Return the value as a number if it is a double. In JSON it may be text, such as "NaN"."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            raise Mismatch(place, value, "a number") from None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Mismatch(place, value, "a number")
    return value


def anything(value: object, place: Place) -> object:
    """Return the value unchanged: the kind of a field that other code checks."""
    return value


def truth(value: object, place: Place) -> bool:
    """Return the value if it is true or false."""
    if not isinstance(value, bool):
        raise Mismatch(place, value, "true or false")
    return value


def mapping(value: object, place: Place) -> dict[str, Any]:
    """Return the value if it is an object with any fields, also null fields."""
    if not isinstance(value, dict):
        raise Mismatch(place, value, "an object")
    return value


def message(fields: Mapping[str, Kind], *, required: tuple[str, ...] = ()) -> Kind:
    """Return the kind of an object with these fields. The check leaves out null fields.

    Args:
        fields: the kind of each field.
        required: the names of the fields that the object must have.
    """

    def check(value: object, place: Place) -> dict[str, Any]:
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
    """Return the kind of an object whose values all have one kind. It leaves out null values."""

    def check(value: object, place: Place) -> dict[str, Any]:
        items = mapping(value, place).items()
        return {name: kind(item, (*place, name)) for name, item in items if item is not None}

    return check


def list_of(kind: Kind) -> Kind:
    """Return the kind of a list whose items all have one kind."""

    def check(value: object, place: Place) -> list[Any]:
        if not isinstance(value, list):
            raise Mismatch(place, value, "a list")
        return [kind(item, (*place, index)) for index, item in enumerate(value)]

    return check


def nests_too_deep(value: object) -> bool:
    """Return whether lists and objects are nested more than `MAX_DEPTH` levels deep."""
    # This is a loop because a recursive function would fail for a value with very many levels.
    level = [value]
    for _ in range(MAX_DEPTH):
        next_level: list[object] = []
        for item in level:
            next_level += _containers_in(item)
        if not next_level:
            return False
        level = next_level
    return True


def _containers_in(value: object) -> list[object]:
    """Return the lists and objects that are directly in a list or an object."""
    items: Iterable[object] = ()
    if isinstance(value, dict):
        items = value.values()
    elif isinstance(value, list):
        items = value
    return [item for item in items if isinstance(item, (dict, list))]


def _identity(answer: object) -> str:
    """Return the name or the id of the object in an answer, "" when the answer has neither."""
    if not isinstance(answer, Mapping):
        return ""
    for field in _NAME_FIELDS:
        name = answer.get(field)
        if isinstance(name, str) and name:
            return redacted_line(name, limit=LONGEST_NAME)
    return ""


def _format_value(value: object) -> str:
    """Return a wrong value in the form for a message."""
    if isinstance(value, list):
        return "a list"
    if isinstance(value, dict):
        return "an object"
    if value is None:
        return "null"
    # JSON writes true and false in lower case.
    text = repr(value) if isinstance(value, str) else str(value).lower()
    return redacted_line(text, limit=_MAX_SHOWN_VALUE)
