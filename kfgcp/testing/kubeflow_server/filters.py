"""The `filter` of lists, as in filter.go of the server: predicates that must all be true."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import unquote_plus

from kfgcp.spec.json_values import JsonObject
from kfgcp.testing.google import micros, snake_case
from kfgcp.testing.kubeflow_server.errors import KfpError, invalid_input

Fields = Mapping[str, Callable[[Any], str | int]]
"""The name of a field in filters and orders -> a function that gives the field's value of an item.

A value is text or an integer. Times are integers in seconds."""

Matcher = Callable[[Any], bool]
"""Returns whether an item matches."""

# Proto JSON accepts the number of an operation instead of its name, and kfp.Client sends numbers.
_OPERATIONS_BY_NUMBER: Final = {
    1: "EQUALS",
    2: "NOT_EQUALS",
    3: "GREATER_THAN",
    5: "GREATER_THAN_EQUALS",
    6: "LESS_THAN",
    7: "LESS_THAN_EQUALS",
    8: "IN",
    9: "IS_SUBSTRING",
}
_SCALAR_FIELDS: Final = ("int_value", "long_value", "string_value", "timestamp_value")
_LIST_FIELDS: Final = ("int_values", "long_values", "string_values")
_VALUE_FIELDS: Final = _SCALAR_FIELDS + _LIST_FIELDS
_PREDICATE_FIELDS: Final = frozenset(("operation", "key")) | frozenset(_VALUE_FIELDS)

_COMPARISONS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "EQUALS": lambda value, other: value == other,
    "NOT_EQUALS": lambda value, other: value != other,
    "GREATER_THAN": lambda value, other: value > other,
    "GREATER_THAN_EQUALS": lambda value, other: value >= other,
    "LESS_THAN": lambda value, other: value < other,
    "LESS_THAN_EQUALS": lambda value, other: value <= other,
}
# The wildcards of SQL's LIKE as regular expressions.
_LIKE_WILDCARDS: Final = {"_": ".", "%": ".*"}


def build_filter(text: str, fields: Fields) -> Matcher:
    """Return a function that tells whether an item matches a filter.

    Args:
        text: the `filter` of a query, empty to match every item.
        fields: the fields of the items.

    Raises:
        KfpError: the filter is invalid.
    """
    matchers = [_build_matcher(predicate, fields, text) for predicate in parse_predicates(text)]
    return lambda item: all(matches(item) for matches in matchers)


def parse_predicates(text: str) -> list[dict[str, Any]]:
    """Return the predicates of a filter, with names in snake_case.

    Raises:
        KfpError: the filter is not JSON, or not an object with predicates.
    """
    if not text:
        return []
    try:
        document = json.loads(unquote_plus(text))
    except ValueError:
        first_word = (text.split() or [""])[0]
        problem = f"proto: syntax error (line 1:1): invalid value {first_word}"
        raise _cannot_parse(text, problem) from None
    problem = 'proto: {"predicates": [...]} is expected'
    if not isinstance(document, dict) or not set(document) <= {"predicates"}:
        raise _cannot_parse(text, problem)
    predicates = document.get("predicates", [])
    if not isinstance(predicates, list):
        raise _cannot_parse(text, problem)
    parsed = []
    for predicate in predicates:
        if not isinstance(predicate, dict):
            raise _cannot_parse(text, problem)
        parsed.append({snake_case(name): value for name, value in predicate.items()})
    return parsed


def get_operation(predicate: JsonObject) -> str:
    """Return the name of a predicate's operation."""
    operation = predicate.get("operation", "OPERATION_UNSPECIFIED")
    return str(_OPERATIONS_BY_NUMBER.get(operation, operation))


def _cannot_parse(text: str, problem: str) -> KfpError:
    """Return the error for a filter that cannot be parsed (runs-list-filter-not-json.json)."""
    return invalid_input(f'failed to parse valid filter from "{text}": {problem}')


def _build_matcher(predicate: JsonObject, fields: Fields, text: str) -> Matcher:
    """Return a function that tells whether an item matches a predicate.

    Args:
        predicate: the predicate.
        fields: the fields of the items.
        text: the whole filter, for errors.
    """
    unknown_fields = set(predicate) - _PREDICATE_FIELDS
    if unknown_fields:
        field = min(unknown_fields)
        raise _cannot_parse(text, f'proto: (line 1:17): unknown field "{field}"')
    operation = get_operation(predicate)
    name = predicate.get("key", "")
    value_fields = [field for field in _VALUE_FIELDS if predicate.get(field) is not None]
    if not name:
        raise invalid_input(f"Predicate key cannot be empty for operation {operation}")
    if name not in fields:
        raise invalid_input(f'no support for filtering on unrecognized field "{name}"')
    if len(value_fields) != 1:
        raise invalid_input(f"Predicate on {name} must have one value, it has {len(value_fields)}")
    value_field = value_fields[0]
    value = predicate[value_field]
    get_value = fields[name]
    if operation == "IN":
        return _build_in(get_value, value_field, value, text)
    if value_field in _LIST_FIELDS:
        raise invalid_input(f"cannot use scalar operator {operation} on array type {value_field}")
    if operation == "IS_SUBSTRING":
        return _build_is_substring(get_value, value_field, value)
    if operation not in _COMPARISONS:
        raise invalid_input(f"invalid predicate operation: {operation}")
    compare = _COMPARISONS[operation]
    predicate_value = _convert_value(value_field, value, text)
    return lambda item: _compare(compare, _fold_case(get_value(item)), predicate_value)


def _build_in(
    get_value: Callable[[Any], str | int], value_field: str, value: object, text: str
) -> Matcher:
    if value_field in _SCALAR_FIELDS:
        raise invalid_input(f"cannot use IN operator with scalar type {value_field}")
    values = value.get("values", []) if isinstance(value, dict) else []
    # The items of `string_values` have the type of `string_value`.
    item_field = value_field.removesuffix("s")
    allowed_values = {_convert_value(item_field, item, text) for item in values}
    return lambda item: _fold_case(get_value(item)) in allowed_values


def _build_is_substring(
    get_value: Callable[[Any], str | int], value_field: str, value: object
) -> Matcher:
    if value_field != "string_value":
        raise invalid_input(
            f"cannot use non string value type {value_field} with operator IS_SUBSTRING"
        )
    pattern = _compile_like(str(value))
    return lambda item: pattern.search(str(get_value(item))) is not None


def _compile_like(text: str) -> re.Pattern[str]:
    """Return the regular expression for a pattern of SQL's LIKE.

    `_` is any character and `%` any text. After a backslash they are ordinary characters.
    """
    parts = []
    is_escaped = False
    for letter in text:
        if letter == "\\" and not is_escaped:
            is_escaped = True
            continue
        if letter in _LIKE_WILDCARDS and not is_escaped:
            parts.append(_LIKE_WILDCARDS[letter])
        else:
            parts.append(re.escape(letter))
        is_escaped = False
    return re.compile("".join(parts), re.IGNORECASE | re.DOTALL)


def _compare(compare: Callable[[Any, Any], bool], value: str | int, other: str | int) -> bool:
    # MySQL also compares a text with a number. Here both become text.
    if type(value) is not type(other):
        return compare(str(value), str(other))
    return compare(value, other)


def _fold_case(value: str | int) -> str | int:
    return value.lower() if isinstance(value, str) else value


def _convert_value(value_field: str, value: Any, text: str) -> str | int:
    """Convert the value of a predicate to the type of `Fields`, with text in lower case."""
    try:
        if value_field == "timestamp_value":
            return micros(value) // 1_000_000
        if value_field == "string_value":
            return str(value).lower()
        return int(value)
    except (ValueError, TypeError, AttributeError):
        raise _cannot_parse(text, f"proto: invalid {value_field}: {value}") from None
