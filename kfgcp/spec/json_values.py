"""JSON values: which values JSON can carry, and which numbers are integers."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from typing import Any

MAX_DEPTH = 200
MAX_DIGITS = 4300
"""Digits of an integer. Python does not convert longer ones to and from text."""

EXACT_DOUBLES = 2**53
"""Below it, every integer is a double of its own."""

_FIRST_WITH_EXPONENT = 1e21

Place = tuple[str | int, ...]


class NotJsonError(Exception):
    """JSON cannot carry the value at `place`; `problem` continues a sentence that starts with the
    place."""

    def __init__(self, place: Place, problem: str) -> None:
        super().__init__(problem)
        self.place = place
        self.problem = problem


def check_json(
    value: Any, *, budget: int = 2**62, max_depth: int = MAX_DEPTH, max_digits: int = MAX_DIGITS
) -> None:
    """Check that JSON can carry a value.

    Args:
        value: the value, however deep or circular.
        budget: how many nodes and characters it may have when every alias is written out.
        max_depth: how deep lists and mappings may nest.
        max_digits: how many digits an integer may have.

    Raises:
        NotJsonError: at the first place that does not fit.
    """
    too_large = 10**max_digits
    stack: list[tuple[Any, int, Any]] = [(value, 0, None)]
    while stack:
        item, depth, place = stack.pop()
        budget -= 1
        if isinstance(item, str):
            budget -= len(item)
            if not (item.isascii() or _encodes(item)):
                raise NotJsonError(_unwind(place), "holds characters that are not Unicode text")
        elif isinstance(item, dict):
            if depth >= max_depth:
                raise NotJsonError((), f"nests deeper than {max_depth} levels")
            for key, child in item.items():
                if not isinstance(key, str):
                    raise NotJsonError(_unwind(place), f"has the key {key!r}; keys must be text")
                budget -= len(key)
                stack.append((child, depth + 1, (place, key)))
        elif isinstance(item, list):
            if depth >= max_depth:
                raise NotJsonError((), f"nests deeper than {max_depth} levels")
            stack += [(child, depth + 1, (place, index)) for index, child in enumerate(item)]
        elif isinstance(item, float):
            if not math.isfinite(item):
                raise NotJsonError(_unwind(place), f"is {item}, a number that JSON cannot carry")
        elif isinstance(item, int):
            if abs(item) >= too_large:
                raise NotJsonError(_unwind(place), f"is a number of more than {max_digits} digits")
        elif item is not None:
            raise NotJsonError(
                _unwind(place), f"is of type {type(item).__name__}, which JSON cannot carry"
            )
        if budget < 0:
            raise NotJsonError((), "has aliases that multiply into too much")


def normalize_numbers(value: Any) -> Any:
    """Return a JSON value whose integral floats are integers, inside lists and mappings too.

    A compiled spec has every number as a double, so it holds 1700000000000000000 as `1.7e+18`.
    Floats of 1e21 and more stay: proto JSON writes smaller ones with all their digits and these
    with an exponent, and that is how they reach a component on Kubeflow.
    """
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) < _FIRST_WITH_EXPONENT else value
    if isinstance(value, dict):
        return {key: normalize_numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [normalize_numbers(item) for item in value]
    return value


def normalize_parameter(kind: str, value: Any) -> Any:
    """Return a JSON value whose numbers are integers or floats as a parameterType has them.

    An integral float of any size is the integer of a NUMBER_INTEGER; the doubles of a NUMBER_DOUBLE
    that may not stand for one integer, from 2**53 on, are floats.
    """
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if is_number and kind == "NUMBER_INTEGER" and isinstance(value, float) and value.is_integer():
        return int(value)
    if is_number and kind == "NUMBER_DOUBLE" and abs(value) >= EXACT_DOUBLES:
        try:
            return float(value)
        except OverflowError:
            return value
    return normalize_numbers(value)


def format_place(place: Sequence[str | int]) -> str:
    """Return a place as text: `root.dag.tasks.train.dependentTasks[0]`."""
    text = ""
    for step in place:
        if isinstance(step, int):
            text += f"[{step}]"
        elif re.fullmatch(r"[\w-]+", step):
            text += f".{step}" if text else step
        else:
            text += f"[{json.dumps(step, ensure_ascii=False)}]"
    return text


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _unwind(place: Any) -> Place:
    """Return the place that linked pairs of `check_json` mean."""
    steps: list[str | int] = []
    while place is not None:
        place, step = place
        steps.append(step)
    return tuple(reversed(steps))
