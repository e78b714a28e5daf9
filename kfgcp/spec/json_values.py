"""JSON values: which values JSON can carry, and which of its numbers are integers.

JSON (RFC 8259) has one type of number, and a compiled pipeline is written through Protocol Buffers,
whose `Value` holds every number as a double. So `2.0` in a spec usually means the integer 2.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

# Readers of JSON values recurse, and Python raises RecursionError at 1,000 nested calls.
MAX_DEPTH: Final = 200

# Python converts no longer integers to and from text: `sys.int_info.default_max_str_digits`.
MAX_DIGITS: Final = 4300

# Below 2**53 each integer has a double of its own. From 2**53 on, several integers share a double.
EXACT_DOUBLES: Final = 2**53

# Proto JSON writes doubles below 1e21 with all their digits, and larger ones with an exponent.
_FIRST_WITH_EXPONENT: Final = 1e21

JsonObject = Mapping[str, Any]
"""A JSON object, such as a PipelineSpec or a part of it. Code that reads a field knows its type."""

Place = tuple[str | int, ...]
"""The keys and list indexes that lead to a value inside a document."""

_LinkedPlace = tuple[Any, str | int] | None
"""A place as linked pairs `(parent, step)`, which are cheap to extend. None is the document."""


class NotJsonError(Exception):
    """A value that JSON cannot carry.

    Attributes:
        place: where the value is.
        problem: the end of a sentence that starts with the place.
    """

    def __init__(self, place: Place, problem: str) -> None:
        super().__init__(problem)
        self.place = place
        self.problem = problem


def check_json(
    value: object, *, budget: int = 2**62, max_depth: int = MAX_DEPTH, max_digits: int = MAX_DIGITS
) -> None:
    """Check that JSON can carry a value.

    Args:
        value: the value. It may be very deep, or contain itself.
        budget: how many values and characters it may have when every YAML alias is written out.
        max_depth: how deep lists and mappings may nest.
        max_digits: how many digits an integer may have.

    Raises:
        NotJsonError: JSON cannot carry it. The error names the first such place.

    Example:
        >>> check_json({"rates": [0.1, 1]})
        >>> check_json({"rates": [0.1, float("nan")]})
        Traceback (most recent call last):
        ...
        kfgcp.spec.json_values.NotJsonError: is nan, a number that JSON cannot carry
    """
    too_large = 10**max_digits
    # This list is the stack of the traversal. A recursive function could exhaust Python's stack.
    stack: list[tuple[object, int, _LinkedPlace]] = [(value, 0, None)]
    while stack:
        item, depth, place = stack.pop()
        budget -= 1
        if isinstance(item, str):
            budget -= len(item)
            if not (item.isascii() or _is_unicode(item)):
                raise NotJsonError(_unlink(place), "holds characters that are not Unicode text")
        elif isinstance(item, dict):
            _check_depth(depth, max_depth)
            for key, child in item.items():
                if not isinstance(key, str):
                    raise NotJsonError(_unlink(place), f"has the key {key!r}; keys must be text")
                budget -= len(key)
                stack.append((child, depth + 1, (place, key)))
        elif isinstance(item, list):
            _check_depth(depth, max_depth)
            for index, child in enumerate(item):
                stack.append((child, depth + 1, (place, index)))
        elif isinstance(item, float):
            if not math.isfinite(item):
                raise NotJsonError(_unlink(place), f"is {item}, a number that JSON cannot carry")
        elif isinstance(item, int):
            if abs(item) >= too_large:
                raise NotJsonError(_unlink(place), f"is a number of more than {max_digits} digits")
        elif item is not None:
            type_name = type(item).__name__
            raise NotJsonError(_unlink(place), f"is of type {type_name}, which JSON cannot carry")
        # An alias can contain aliases, so a short YAML text can stand for billions of values.
        if budget < 0:
            raise NotJsonError((), "has YAML aliases that stand for too many values")


def normalize_numbers(value: Any) -> Any:
    """Return a JSON value with integers instead of integral floats, inside lists and mappings too.

    A compiled spec has every number as a double, so it holds 1700000000000000000 as `1.7e+18`.
    Floats of 1e21 and more stay floats, as in a component on Kubeflow: proto JSON writes these with
    an exponent, and smaller ones with all their digits.

    Example:
        >>> normalize_numbers({"epochs": 3.0, "rate": 0.1, "rows": [1.7e18]})
        {'epochs': 3, 'rate': 0.1, 'rows': [1700000000000000000]}
    """
    if isinstance(value, float):
        if value.is_integer() and abs(value) < _FIRST_WITH_EXPONENT:
            return int(value)
        return value
    if isinstance(value, dict):
        return {key: normalize_numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [normalize_numbers(item) for item in value]
    return value


def normalize_parameter(parameter_type: str, value: Any) -> Any:
    """Return the JSON value of a parameter, with integers or floats as its parameterType needs.

    In a NUMBER_INTEGER, an integral float of any size becomes an integer. In a NUMBER_DOUBLE, a
    number from 2**53 on becomes a float, because several integers share its double.

    Example:
        >>> normalize_parameter("NUMBER_INTEGER", 1e22)
        10000000000000000000000
        >>> normalize_parameter("NUMBER_DOUBLE", 2**60)
        1.152921504606847e+18
    """
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return normalize_numbers(value)
    if parameter_type == "NUMBER_INTEGER" and isinstance(value, float) and value.is_integer():
        return int(value)
    if parameter_type == "NUMBER_DOUBLE" and abs(value) >= EXACT_DOUBLES:
        try:
            return float(value)
        except OverflowError:
            return value
    return normalize_numbers(value)


def format_place(place: Sequence[str | int]) -> str:
    """Return a place as text.

    Example:
        >>> format_place(("root", "dag", "tasks", "train", "dependentTasks", 0))
        'root.dag.tasks.train.dependentTasks[0]'
        >>> format_place(("labels", "a b"))
        'labels["a b"]'
    """
    text = ""
    for step in place:
        if isinstance(step, int):
            text += f"[{step}]"
        elif not re.fullmatch(r"[\w-]+", step):
            text += f"[{json.dumps(step, ensure_ascii=False)}]"
        elif text:
            text += f".{step}"
        else:
            text = step
    return text


def _check_depth(depth: int, max_depth: int) -> None:
    if depth >= max_depth:
        raise NotJsonError((), f"nests deeper than {max_depth} levels")


def _is_unicode(text: str) -> bool:
    """Return whether a text has no lone surrogates, which UTF-8 cannot encode."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _unlink(place: _LinkedPlace) -> Place:
    """Return the place for the linked pairs of `check_json`."""
    steps: list[str | int] = []
    while place is not None:
        place, step = place
        steps.append(step)
    return tuple(reversed(steps))
