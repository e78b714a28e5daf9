"""Lists: predicates, order, pages; as filter.go, list.go and list_request_util.go of the server
have them.

- `filter` is JSON that is URL-decoded once more than the query itself; its predicates must all
  hold, and text is compared without regard to case, as MySQL does. In IS_SUBSTRING `_` and `%` are
  the wildcards of SQL's LIKE.
- Without `sort_by` the oldest come first; times have whole seconds, and what is equal is sorted by
  its id.
- A page has 20 items by default and 200 at most, whatever was asked for.
- A token stands for the item that the next page starts with, and has its filter and its order. A
  later page may leave both out. When it repeats one of them, it must repeat both. A filter on a
  time, a number or a list can never be repeated: in the token numbers have become floating point
  and lists have lost their type (runs-list-since-page-2-refused.json,
  runs-list-since-page-2-sort-by-refused.json, runs-list-in-page-2-refused.json).
"""

from __future__ import annotations

import base64
import binascii
import bisect
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar
from urllib.parse import unquote_plus

from kfgcp.testing.google import micros, snake_case
from kfgcp.testing.kubeflow_server.errors import INVALID, GatewayError, KfpError, invalid

T = TypeVar("T")
Get = Callable[[T], str | int]
Fields = Mapping[str, Callable[[Any], str | int]]
"""Name in filters and orders -> the value of an item: text, or a whole number such as a time in
seconds."""

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
    "EQUALS": lambda value, other: value == other,
    "NOT_EQUALS": lambda value, other: value != other,
    "GREATER_THAN": lambda value, other: value > other,
    "GREATER_THAN_EQUALS": lambda value, other: value >= other,
    "LESS_THAN": lambda value, other: value < other,
    "LESS_THAN_EQUALS": lambda value, other: value <= other,
}
_MISMATCH: Final = (
    "page token does not match the supplied sort by and/or filtering criteria. Either specify the"
    " same criteria or leave the latter empty if page token is specified"
)


@dataclass(frozen=True, slots=True)
class Listable:
    """What can be listed.

    kind: what the server calls it. key: the id of an item. token_name: what errors call page
    tokens.
    """

    kind: str
    fields: Fields
    key: Callable[[Any], str]
    token_name: str = "page token"  # noqa: S105  # not a password


def listed(
    items: Sequence[T], query: Mapping[str, str], listable: Listable
) -> tuple[list[T], int, str]:
    """Return a page, how many items there are in all, and the token of the next page, empty when
    there is none.

    Args:
        items: all of them.
        query: filter, sort_by, page_size, page_token.
        listable: what they are; `created_at` is the default order.

    Raises:
        KfpError: one of these is not understood.
    """
    fields, key = listable.fields, listable.key
    order, filter_text, start = query.get("sort_by", ""), query.get("filter", ""), None
    size = _size(query.get("page_size", ""))
    if token := query.get("page_token", ""):
        token_order, token_filter, start = _token(token, listable.token_name)
        if order or filter_text:
            _check_repeated(order, token_order, filter_text, token_filter, listable)
        order, filter_text = token_order, token_filter
    matches = _predicate(filter_text, fields)
    value, descending = _order(order, listable)
    ranked = [(value(item), key(item), item) for item in items if matches(item)]
    ranked.sort(key=lambda entry: entry[:2])
    if descending:
        ranked.reverse()
    first = 0
    if start is not None:
        ranks = [entry[:2] for entry in ranked]
        if descending:
            first = len(ranks) - bisect.bisect_right(ranks[::-1], start)
        else:
            first = bisect.bisect_left(ranks, start)
    end = first + size
    following = ""
    if end < len(ranked):
        text = json.dumps([order, filter_text, ranked[end][:2]])
        following = base64.b64encode(text.encode()).decode()
    return [entry[2] for entry in ranked[first:end]], len(ranked), following


def answer(name: str, views: Sequence[Any], total: int, token: str) -> dict[str, Any]:
    """Return the body of a list."""
    body: dict[str, Any] = {}
    if views:
        body[name] = list(views)
    if total:
        body["total_size"] = total
    if token:
        body["next_page_token"] = token
    return body


def _check_repeated(
    order: str, token_order: str, filter_text: str, token_filter: str, listable: Listable
) -> None:
    """Refuse an order and a filter that are not those of the token, or that can never be."""
    same_order = _order(order, listable) == _order(token_order, listable)
    predicates, token_predicates = _parsed(filter_text), _parsed(token_filter)
    _predicate(filter_text, listable.fields)
    grouped, token_grouped = (
        _grouped(predicates, listable.fields),
        _grouped(token_predicates, listable.fields),
    )
    if not same_order or grouped != token_grouped or not all(map(_is_repeatable, token_predicates)):
        raise invalid(_MISMATCH)


def _grouped(
    predicates: Sequence[Mapping[str, Any]], fields: Fields
) -> dict[tuple[str, int], list[Any]]:
    """Return the values by operation and column: names such as `name` and `display_name` are one
    column."""
    groups: dict[tuple[str, int], list[Any]] = {}
    for predicate in predicates:
        column = id(fields.get(predicate.get("key", "")))
        groups.setdefault((_operation(predicate), column), []).append(predicate.get("string_value"))
    return groups


def _is_repeatable(predicate: Mapping[str, Any]) -> bool:
    return predicate.get("string_value") is not None


def _token(text: str, name: str) -> tuple[str, str, tuple[str | int, str]]:
    try:
        order, filter_text, (value, key) = json.loads(base64.b64decode(text, validate=True))
    except (ValueError, TypeError, binascii.Error) as error:
        raise KfpError(INVALID, f"Invalid {name}", "InvalidInputError", cause=str(error)) from None
    return order, filter_text, (value, key)


def _size(text: str) -> int:
    try:
        size = int(text or 0)
    except ValueError:
        problem = f'strconv.ParseInt: parsing "{text}": invalid syntax'
        raise GatewayError(
            INVALID, f"type mismatch, parameter: page_size, error: {problem}"
        ) from None
    if size < 0:
        raise invalid(f"The page size should be greater than 0. Got {size}")
    return min(size or DEFAULT_PAGE, MAX_PAGE)


def _order(text: str, listable: Listable) -> tuple[Callable[[Any], str | int], bool]:
    words = text.lower().split()
    if len(words) > 2 or (len(words) == 2 and words[1] not in ("asc", "desc")):
        raise invalid(
            f'Received invalid sort by format "{text}". Supported format: "field_name", "field_name'
            ' desc", or "field_name asc"'
        )
    name = words[0] if words else "created_at"
    if name not in listable.fields:
        raise invalid(f'Invalid sorting field: "{name}" on listable type {listable.kind}')
    return listable.fields[name], words[1:] == ["desc"]


def _parsed(text: str) -> list[dict[str, Any]]:
    """Return the predicates of a filter with names in snake_case."""
    if not text:
        return []
    try:
        data = json.loads(unquote_plus(text))
    except ValueError:
        word = (text.split() or [""])[0]
        raise _unparsed(text, f"proto: syntax error (line 1:1): invalid value {word}") from None
    if not isinstance(data, dict) or not set(data) <= {"predicates"}:
        raise _unparsed(text, 'proto: {"predicates": [...]} is expected')
    predicates = data.get("predicates", [])
    if not isinstance(predicates, list) or not all(isinstance(item, dict) for item in predicates):
        raise _unparsed(text, 'proto: {"predicates": [...]} is expected')
    return [{snake_case(name): value for name, value in item.items()} for item in predicates]


def _unparsed(text: str, problem: str) -> KfpError:
    """Return the error of a filter that is not one (runs-list-filter-not-json.json)."""
    return invalid(f'failed to parse valid filter from "{text}": {problem}')


def _predicate(text: str, fields: Fields) -> Callable[[Any], bool]:
    checks = [_check(predicate, fields, text) for predicate in _parsed(text)]
    return lambda item: all(check(item) for check in checks)


def _operation(predicate: Mapping[str, Any]) -> str:
    operation = predicate.get("operation", "OPERATION_UNSPECIFIED")
    return str(_NUMBERS.get(operation, operation))


def _check(predicate: Mapping[str, Any], fields: Fields, text: str) -> Callable[[Any], bool]:
    if unknown := set(predicate) - {"operation", "key", *_SCALARS, *_LISTS}:
        raise _unparsed(text, f'proto: (line 1:17): unknown field "{min(unknown)}"')
    operation, name = _operation(predicate), predicate.get("key", "")
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
        allowed = {_value(kind.removesuffix("s"), item, text) for item in values}
        return lambda item: _plain(get(item)) in allowed
    if kind in _LISTS:
        raise invalid(f"cannot use scalar operator {operation} on array type {kind}")
    if operation == "IS_SUBSTRING":
        if kind != "string_value":
            raise invalid(f"cannot use non string value type {kind} with operator {operation}")
        pattern = _like(str(value))
        return lambda item: pattern.search(str(get(item))) is not None
    if operation not in _COMPARE:
        raise invalid(f"invalid predicate operation: {operation}")
    compare, other = _COMPARE[operation], _value(kind, value, text)
    return lambda item: _compared(compare, _plain(get(item)), other)


def _like(text: str) -> re.Pattern[str]:
    """Return the pattern of SQL's LIKE: `_` is any character, `%` any text, a backslash takes their
    meaning away."""
    parts = []
    escaped = False
    for letter in text:
        if not escaped and letter == "\\":
            escaped = True
            continue
        wildcard = {"_": ".", "%": ".*"}.get(letter)
        parts.append(re.escape(letter) if escaped or wildcard is None else wildcard)
        escaped = False
    return re.compile("".join(parts), re.IGNORECASE | re.DOTALL)


def _compared(compare: Callable[[Any, Any], bool], value: str | int, other: str | int) -> bool:
    if type(value) is type(other):
        return compare(value, other)
    return compare(str(value), str(other))


def _plain(value: str | int) -> str | int:
    return value.lower() if isinstance(value, str) else value


def _value(kind: str, value: Any, text: str) -> str | int:
    """Return the value of a predicate in the form of a field's."""
    try:
        if kind == "timestamp_value":
            return micros(value) // 1_000_000
        return str(value).lower() if kind == "string_value" else int(value)
    except (ValueError, TypeError, AttributeError):
        raise _unparsed(text, f"proto: invalid {kind}: {value}") from None
