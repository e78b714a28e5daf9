"""Lists: predicates, order, pages; as filter.go and list.go of the server have them.

- `filter` is JSON that is URL-decoded once more than the query itself; its predicates must all hold, and text is
  compared without regard to case. Not confirmed: that every database does that.
- Without `sort_by` the oldest come first; times have whole seconds, and what is equal is sorted by its id.
- A page has 20 items by default and 200 at most, whatever was asked for.
- A token stands for the item that the next page starts with. It contains the filter and the order. A request with a
  token may leave out both, or repeat both; but a filter with a time, a number or IN must be left out: the server does
  not recognise it (recorded: runs-list-since-page-2-refused.json, runs-list-in-page-2-refused.json).
"""

from __future__ import annotations

import base64
import binascii
import bisect
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar
from urllib.parse import unquote_plus

from kfgcp.testing.google import micros, snake_case
from kfgcp.testing.kubeflow_server.errors import KfpError, invalid

T = TypeVar("T")
Get = Callable[[T], str | int]
Fields = Mapping[str, Callable[[Any], str | int]]
"""Name in filters and orders -> the value of an item: text, or a whole number such as a time in seconds."""

DEFAULT_PAGE: Final = 20
MAX_PAGE: Final = 200

_NUMBERS: Final = {
    1: "EQUALS",
    2: "NOT_EQUALS",
    3: "GREATER_THAN",
    5: "GREATER_THAN_EQUALS",
    6: "LESS_THAN",
    7: "LESS_THAN_EQUALS",
    8: "IN",
    9: "IS_SUBSTRING",
}
"""Of the operations: proto JSON takes them as well as the names, and kfp.Client sends them."""
_SCALARS: Final = ("int_value", "long_value", "string_value", "timestamp_value")
_LISTS: Final = ("int_values", "long_values", "string_values")
_COMPARE: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "EQUALS": lambda found, wanted: found == wanted,
    "NOT_EQUALS": lambda found, wanted: found != wanted,
    "GREATER_THAN": lambda found, wanted: found > wanted,
    "GREATER_THAN_EQUALS": lambda found, wanted: found >= wanted,
    "LESS_THAN": lambda found, wanted: found < wanted,
    "LESS_THAN_EQUALS": lambda found, wanted: found <= wanted,
}


def listed(
    items: Sequence[T], query: Mapping[str, str], fields: Fields, key: Callable[[T], str]
) -> tuple[list[T], int, str]:
    """A page, how many there are in all, and the token of the next page, empty when there is none.

    Args:
        items: all of them.
        query: filter, sort_by, page_size, page_token.
        fields: what they can be filtered and sorted by; `created_at` is the default.
        key: their id.

    Raises:
        KfpError: one of these is not understood.
    """
    order, filter_text, start = query.get("sort_by", ""), query.get("filter", ""), None
    if token := query.get("page_token", ""):
        its_order, its_filter, start = _token(token)
        if (order or filter_text) and not _matches_token(order, filter_text, its_order, its_filter):
            raise invalid(
                "page token does not match the supplied sort by and/or filtering criteria. Either specify the same "
                "criteria or leave the latter empty if page token is specified"
            )
        order, filter_text = its_order, its_filter
    wanted = _predicate(filter_text, fields)
    value, descending = _order(order, fields)
    found = sorted(((value(item), key(item), item) for item in items if wanted(item)), key=lambda entry: entry[:2])
    if descending:
        found.reverse()
    at = 0
    if start is not None:
        ranks = [entry[:2] for entry in found]
        place = (start[0], start[1])
        at = len(ranks) - bisect.bisect_right(ranks[::-1], place) if descending else bisect.bisect_left(ranks, place)
    end = at + _size(query.get("page_size", ""))
    following = ""
    if end < len(found):
        text = json.dumps([order, filter_text, found[end][:2]])
        following = base64.b64encode(text.encode()).decode()
    return [entry[2] for entry in found[at:end]], len(found), following


def answer(name: str, views: Sequence[Any], total: int, token: str) -> dict[str, Any]:
    """The body of a list."""
    found: dict[str, Any] = {name: list(views)} if views else {}
    return found | ({"total_size": total} if total else {}) | ({"next_page_token": token} if token else {})


def _token(text: str) -> tuple[str, str, tuple[str | int, str]]:
    try:
        order, filter_text, (value, key) = json.loads(base64.b64decode(text, validate=True))
    except (ValueError, TypeError, binascii.Error):
        raise KfpError(3, "Invalid package token", "InvalidInputError") from None
    return order, filter_text, (value, key)


def _matches_token(order: str, filter_text: str, its_order: str, its_filter: str) -> bool:
    """Return whether the server finds that order and filter are those of a page token (`Options.Matches` in list.go).

    The filter in the token was written as JSON and read again. Then numbers and lists have other types than in a filter
    of the request, so they are not equal.
    """
    if (order or "created_at") != (its_order or "created_at") or filter_text != its_filter:
        return False
    return not any(kind in filter_text for kind in ("timestamp_value", "int_value", "long_value", "_values"))


def _size(text: str) -> int:
    try:
        size = int(text or 0)
    except ValueError:
        raise KfpError(3, f'type mismatch, parameter: page_size, error: parsing "{text}": invalid syntax') from None
    if size < 0:
        raise invalid(f"The page size should be greater than 0. Got {size}")
    return min(size or DEFAULT_PAGE, MAX_PAGE)


def _order(text: str, fields: Fields) -> tuple[Callable[[Any], str | int], bool]:
    words = text.lower().split()
    if len(words) > 2 or (len(words) == 2 and words[1] not in ("asc", "desc")):
        raise invalid(
            f'Received invalid sort by format "{text}". Supported format: "field_name", "field_name desc", or '
            '"field_name asc"'
        )
    name = words[0] if words else "created_at"
    if name not in fields:
        raise invalid(f'Invalid sorting field: "{name}" on listable type')
    return fields[name], words[1:] == ["desc"]


def _predicate(text: str, fields: Fields) -> Callable[[Any], bool]:
    if not text:
        return lambda item: True
    try:
        found = json.loads(unquote_plus(text))
    except ValueError:
        raise KfpError(3, "Failed to parse filter: it is not JSON", "Invalid input error") from None
    predicates = found.get("predicates", []) if isinstance(found, dict) and set(found) <= {"predicates"} else None
    if not isinstance(predicates, list) or not all(isinstance(each, dict) for each in predicates):
        raise KfpError(3, 'Failed to parse filter: {"predicates": [...]} is expected', "Invalid input error")
    checks = [_check({snake_case(name): value for name, value in each.items()}, fields) for each in predicates]
    return lambda item: all(check(item) for check in checks)


def _check(predicate: Mapping[str, Any], fields: Fields) -> Callable[[Any], bool]:
    if unknown := set(predicate) - {"operation", "key", *_SCALARS, *_LISTS}:
        raise KfpError(3, f'Failed to parse filter: unknown field "{min(unknown)}"', "Invalid input error")
    operation, name = predicate.get("operation", "OPERATION_UNSPECIFIED"), predicate.get("key", "")
    operation = _NUMBERS.get(operation, operation)
    given = [kind for kind in (*_SCALARS, *_LISTS) if predicate.get(kind) is not None]
    if not name:
        raise invalid(f"Predicate key cannot be empty for operation {operation}")
    if name not in fields:
        raise invalid(f'no support for filtering on unrecognized field "{name}"')
    if len(given) != 1:
        raise invalid(f"Predicate on {name} must have one value, it has {len(given)}")
    kind, get = given[0], fields[name]
    value = predicate[kind]
    if operation == "IN":
        if kind in _SCALARS:
            raise invalid(f"cannot use IN operator with scalar type {kind}")
        values = value.get("values", []) if isinstance(value, dict) else []
        wanted = {_value(kind.removesuffix("s"), each) for each in values}
        return lambda item: _plain(get(item)) in wanted
    if kind in _LISTS:
        raise invalid(f"cannot use scalar operator {operation} on array type {kind}")
    if operation == "IS_SUBSTRING":
        if kind != "string_value":
            raise invalid(f"cannot use non string value type {kind} with operator {operation}")
        part = str(value).lower()
        return lambda item: part in str(get(item)).lower()
    if operation not in _COMPARE:
        raise invalid(f"invalid predicate operation: {operation}")
    compare, other = _COMPARE[operation], _value(kind, value)
    return lambda item: _compared(compare, _plain(get(item)), other)


def _compared(compare: Callable[[Any, Any], bool], found: str | int, wanted: str | int) -> bool:
    return compare(found, wanted) if type(found) is type(wanted) else compare(str(found), str(wanted))


def _plain(value: str | int) -> str | int:
    return value.lower() if isinstance(value, str) else value


def _value(kind: str, value: Any) -> str | int:
    """The value of a predicate in the form of a field's."""
    try:
        if kind == "timestamp_value":
            return micros(value) // 1_000_000
        return str(value).lower() if kind == "string_value" else int(value)
    except (ValueError, TypeError, AttributeError):
        raise KfpError(3, f"Failed to parse filter: invalid {kind}: {value}", "Invalid input error") from None
