"""Lists: filters, orders and pages.

The source is filter.go, list.go and list_request_util.go of the server.

- `filter` is JSON. It is URL-decoded once more than the rest of the query. All its predicates must
  be true. Text is compared without regard to case, as MySQL does. In IS_SUBSTRING `_` and `%` are
  the wildcards of SQL's LIKE.
- Without `sort_by` the oldest items come first. Times have whole seconds, and equal items are
  sorted by their ids.
- A page has 20 items by default and at most 200, even when a request asks for more.
- A page token contains the first item of the next page, and the filter and the order of the list.
  The request for a later page may leave out the filter and the order. If it repeats one of the two,
  it must repeat both. A filter on a time, a number or a list cannot be repeated: the token stores
  numbers as floating point and lists without their type (runs-list-since-page-2-refused.json,
  runs-list-since-page-2-sort-by-refused.json, runs-list-in-page-2-refused.json).
"""

from __future__ import annotations

import base64
import binascii
import bisect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from kfgcp.spec.json_values import JsonObject
from kfgcp.testing.kubeflow_server.errors import INVALID, GatewayError, KfpError, invalid_input
from kfgcp.testing.kubeflow_server.filters import (
    Fields,
    build_filter,
    get_operation,
    parse_predicates,
)

T = TypeVar("T")

DEFAULT_PAGE: Final = 20
MAX_PAGE: Final = 200

_MISMATCH: Final = (
    "page token does not match the supplied sort by and/or filtering criteria. Either specify the"
    " same criteria or leave the latter empty if page token is specified"
)


@dataclass(frozen=True, slots=True)
class Listable:
    """A type of items that can be listed.

    Attributes:
        kind: the server's word for the type.
        fields: the fields of filters and orders; `created_at` is the default order.
        item_id: gives the id of an item.
        token_name: the words for page tokens in errors.
    """

    kind: str
    fields: Fields
    item_id: Callable[[Any], str]
    token_name: str = "page token"  # noqa: S105  # not a password


@dataclass(frozen=True, slots=True)
class _PageToken:
    """A page token.

    Attributes:
        order: the `sort_by` of the list.
        filter_text: the `filter` of the list.
        rank: the value and the id of the first item of the page.
    """

    order: str
    filter_text: str
    rank: tuple[str | int, str]

    def encode(self) -> str:
        text = json.dumps([self.order, self.filter_text, self.rank])
        return base64.b64encode(text.encode()).decode()


def list_page(
    items: Sequence[T], query: Mapping[str, str], listable: Listable
) -> tuple[list[T], int, str]:
    """Return a page of a list.

    Args:
        items: the items, in any order.
        query: filter, sort_by, page_size, page_token.
        listable: the type of the items.

    Returns:
        The items of the page, how many items the filter matches, and the token of the next page,
        which is empty when there is none.

    Raises:
        KfpError: a part of the query is invalid.
    """
    order = query.get("sort_by", "")
    filter_text = query.get("filter", "")
    size = _read_size(query.get("page_size", ""))
    first_rank = None
    if query.get("page_token"):
        token = _read_token(query["page_token"], listable.token_name)
        if order or filter_text:
            _check_repeated(order, filter_text, token, listable)
        order = token.order
        filter_text = token.filter_text
        first_rank = token.rank
    matches = build_filter(filter_text, listable.fields)
    get_value, is_descending = _read_order(order, listable)

    # Items are sorted by value and then by id, so the order of equal values is fixed.
    ranked = [((get_value(item), listable.item_id(item)), item) for item in items if matches(item)]
    ranked.sort(key=lambda rank_and_item: rank_and_item[0], reverse=is_descending)
    ranks = [rank for rank, _ in ranked]
    start = _find_start(ranks, first_rank, is_descending)
    end = start + size
    next_token = ""
    if end < len(ranked):
        next_token = _PageToken(order, filter_text, ranks[end]).encode()
    return [item for _, item in ranked[start:end]], len(ranked), next_token


def format_page(name: str, items: Sequence[JsonObject], total: int, token: str) -> dict[str, Any]:
    """Return the body of the answer to a list.

    Args:
        name: the field with the items.
        items: the items of the page as JSON.
        total: how many items the list has.
        token: the token of the next page, empty when there is none.
    """
    body: dict[str, Any] = {}
    if items:
        body[name] = list(items)
    if total:
        body["total_size"] = total
    if token:
        body["next_page_token"] = token
    return body


def _read_size(text: str) -> int:
    try:
        size = int(text or 0)
    except ValueError:
        problem = f'strconv.ParseInt: parsing "{text}": invalid syntax'
        raise GatewayError(
            INVALID, f"type mismatch, parameter: page_size, error: {problem}"
        ) from None
    if size < 0:
        raise invalid_input(f"The page size should be greater than 0. Got {size}")
    return min(size or DEFAULT_PAGE, MAX_PAGE)


def _read_token(text: str, token_name: str) -> _PageToken:
    try:
        order, filter_text, (value, item_id) = json.loads(base64.b64decode(text, validate=True))
    except (ValueError, TypeError, binascii.Error) as error:
        raise KfpError(
            INVALID, f"Invalid {token_name}", "InvalidInputError", cause=str(error)
        ) from None
    return _PageToken(order, filter_text, (value, item_id))


def _check_repeated(order: str, filter_text: str, token: _PageToken, listable: Listable) -> None:
    """Refuse an order or a filter that differs from the order or the filter of the token."""
    has_same_order = _read_order(order, listable) == _read_order(token.order, listable)
    predicates = parse_predicates(filter_text)
    token_predicates = parse_predicates(token.filter_text)
    # An invalid filter gets its own error instead of the mismatch below.
    build_filter(filter_text, listable.fields)
    values = _group_values(predicates, listable.fields)
    token_values = _group_values(token_predicates, listable.fields)
    # Only text keeps its type in a token, so only a filter on text can equal the one in the token.
    has_only_text = all(item.get("string_value") is not None for item in token_predicates)
    if not has_same_order or values != token_values or not has_only_text:
        raise invalid_input(_MISMATCH)


def _group_values(
    predicates: Sequence[JsonObject], fields: Fields
) -> dict[tuple[str, int], list[Any]]:
    """Return the text values of predicates by operation and column.

    `name` and `display_name` are the same column: both have the same function in `fields`.
    """
    values: dict[tuple[str, int], list[Any]] = {}
    for predicate in predicates:
        column_id = id(fields.get(predicate.get("key", "")))
        key = (get_operation(predicate), column_id)
        values.setdefault(key, []).append(predicate.get("string_value"))
    return values


def _read_order(text: str, listable: Listable) -> tuple[Callable[[Any], str | int], bool]:
    """Return the function that gives the value to sort by, and whether the order is descending."""
    words = text.lower().split()
    has_wrong_direction = len(words) == 2 and words[1] not in ("asc", "desc")
    if len(words) > 2 or has_wrong_direction:
        raise invalid_input(
            f'Received invalid sort by format "{text}". Supported format: "field_name", "field_name'
            ' desc", or "field_name asc"'
        )
    name = words[0] if words else "created_at"
    if name not in listable.fields:
        raise invalid_input(f'Invalid sorting field: "{name}" on listable type {listable.kind}')
    return listable.fields[name], words[1:] == ["desc"]


def _find_start(
    ranks: list[tuple[str | int, str]],
    first_rank: tuple[str | int, str] | None,
    is_descending: bool,
) -> int:
    """Return the index of the first item of a page.

    The item in a token may have been deleted. Then the page begins with the next item.

    Args:
        ranks: the ranks of the items, sorted.
        first_rank: the rank from the token, None for the first page.
        is_descending: whether the ranks are sorted in descending order.
    """
    if first_rank is None:
        return 0
    if is_descending:
        return len(ranks) - bisect.bisect_right(ranks[::-1], first_rank)
    return bisect.bisect_left(ranks, first_rank)
