"""Cloud Logging of a stand-in: the entries of its runs, and the entries that clients write.

It answers `POST /v2/entries:list` and `POST /v2/entries:write`. Filters can have comparisons of the
fields of an entry, joined by AND, OR and NOT. Text without a field, functions and other parts of
the language get an error. If they were ignored, the answer would have entries that do not fit.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from kfgcp.spec.json_values import JsonObject
from kfgcp.testing.filters import (
    Call,
    Compare,
    FilterError,
    Leaf,
    Predicate,
    build_time_predicate,
    compile_filter,
    number_comparison,
    read_key,
)
from kfgcp.testing.google import (
    check_fields,
    denied,
    format_time,
    invalid,
    json_body,
    list_page,
    micros,
    page_body,
    stable_number,
)
from kfgcp.testing.log_entries import SEVERITIES, Entry
from kfgcp.testing.server import Request, Response, Route

# The reference of entries.list: 50 entries by default, 1,000 at most.
DEFAULT_PAGE: Final = 50
MAX_PAGE: Final = 1000
_LIST_FIELDS: Final = (
    "resourceNames",
    "filter",
    "orderBy",
    "pageSize",
    "pageToken",
    "projectIds",
)
_WRITE_FIELDS: Final = (
    "logName",
    "resource",
    "labels",
    "entries",
    "partialSuccess",
    "dryRun",
)
_TIME_FIELDS: Final = (("timestamp",), ("receiveTimestamp",))
# The fields of an entry that are compared as text.
_TEXT_FIELDS: Final = (
    "logName",
    "insertId",
    "textPayload",
    "trace",
    "spanId",
    "resource",
    "labels",
    "jsonPayload",
)
# The fields of `_TEXT_FIELDS` that are objects. A filter can only compare a field inside of them.
_OBJECT_FIELDS: Final = ("resource", "labels", "jsonPayload")


class CloudLogging:
    """The log entries of a project.

    Args:
        project: the id of the project.
        number: the number of the project.
        source: called with the text of a filter and with `payload`. It yields the entries of runs,
            and may leave out entries that do not fit the filter.

    Attributes:
        payload: the field of an entry for a plain line of a task: `json` means
            jsonPayload.message, `text` means textPayload.
    """

    def __init__(
        self, project: str, number: int, source: Callable[[str, str], Iterator[Entry]]
    ) -> None:
        self.payload = "json"
        self._project = project
        self._number = number
        self._source = source
        self._written: list[Entry] = []
        self._lock = threading.Lock()

    def routes(self) -> list[Route]:
        """Return the routes of the service."""
        return [
            Route("POST", "/v2/entries:list", self.list_all),
            Route("POST", "/v2/entries:write", self.write),
        ]

    def list_all(self, request: Request, **_: str) -> Response:
        """Answer entries.list."""
        body = json_body(request)
        check_fields(body, _LIST_FIELDS)
        self._check_resources(body.get("resourceNames") or [])
        filter_text = body.get("filter") or ""
        order = (body.get("orderBy") or "timestamp asc").strip()
        if order not in ("timestamp", "timestamp asc", "timestamp desc"):
            raise invalid(
                f'Invalid order_by: "{order}" is not timestamp asc or timestamp desc.', "order_by"
            )
        try:
            fits = compile_filter(filter_text, _compile_leaf, alternatives=True)
        except FilterError as error:
            raise invalid(f"Unparsable filter: {error}.", "filter") from None
        sign = -1 if order.endswith("desc") else 1

        def sort_key(entry: Entry) -> tuple[int, str]:
            # The reference of entries.list: entries of one time are in the order of insertId.
            return sign * micros(entry["timestamp"]), entry["insertId"]

        # `_list_entries` may also yield entries that do not fit the filter.
        entries = [entry for entry in self._list_entries(filter_text) if fits(entry)]
        page, token = list_page(
            sorted(entries, key=sort_key),
            sort_key,
            size=body.get("pageSize"),
            token=body.get("pageToken"),
            scope=f"{filter_text}\n{order}",
            default=DEFAULT_PAGE,
            maximum=MAX_PAGE,
        )
        return Response(body=page_body("entries", page, token))

    def write(self, request: Request, **_: str) -> Response:
        """Answer entries.write."""
        body = json_body(request)
        check_fields(body, _WRITE_FIELDS)
        # These fields of the request are the defaults for entries without such a field.
        defaults = {name: body[name] for name in ("logName", "resource") if name in body}
        labels = body.get("labels") or {}
        sent_entries = body.get("entries") or ()
        entries = [self._complete_entry(defaults | entry, labels) for entry in sent_entries]
        if not body.get("dryRun"):
            with self._lock:
                self._written += entries
        return Response()

    # -- entries

    def _list_entries(self, filter_text: str) -> Iterator[Entry]:
        """Yield the entries that clients wrote, then the entries of runs that may fit a filter."""
        yield from list(self._written)
        yield from self._source(filter_text, self.payload)

    def _complete_entry(self, entry: JsonObject, labels: JsonObject) -> Entry:
        """Return an entry with the fields that the service sets when a client leaves them out."""
        with self._lock:
            number = len(self._written)
        now = time.time()
        return {
            "insertId": str(stable_number("entry", number, now)),
            "resource": {"type": "global", "labels": {"project_id": self._project}},
            "timestamp": format_time(now),
            "severity": "DEFAULT",
            "receiveTimestamp": format_time(now),
            **entry,
            "labels": {**labels, **(entry.get("labels") or {})},
        }

    def _check_resources(self, names: list[str]) -> None:
        """Raise 403 for resources of other projects."""
        if not names:
            raise invalid("resource_names is required.", "resource_names")
        own_projects = (self._project, str(self._number))
        for name in names:
            # A name is `projects/PROJECT`, or `projects/PROJECT/` and the name of a view.
            collection, _, path = name.partition("/")
            project = path.partition("/")[0]
            if collection != "projects" or project not in own_projects:
                raise denied(f"Permission denied for {name} (or it may not exist).")


def _compile_leaf(node: Leaf) -> Predicate[Entry]:
    """Return the predicate of a comparison, see `compile_filter`."""
    if isinstance(node, Call) or len(node.values) > 1:
        raise FilterError("functions and lists of values are not supported by the stand-in")
    first_name = node.field[0]
    if node.field in _TIME_FIELDS:
        return build_time_predicate(read_key(first_name), node)
    if node.field == ("severity",):
        return _build_severity_predicate(node)
    is_whole_object = len(node.field) == 1 and first_name in _OBJECT_FIELDS
    if first_name not in _TEXT_FIELDS or is_whole_object:
        raise FilterError(f"the field {node.dotted_field} is not supported by the stand-in")
    return _build_text_predicate(_build_getter(node.field), node)


def _build_severity_predicate(node: Compare) -> Predicate[Entry]:
    severity = node.value.upper()
    if severity not in SEVERITIES:
        raise FilterError(f"there is no severity {node.value}")
    compare = number_comparison(node.op)
    level = SEVERITIES[severity]
    return lambda entry: compare(SEVERITIES.get(entry["severity"], 0), level)


def _build_getter(path: tuple[str, ...]) -> Callable[[Entry], object]:
    """Return a function that reads a field of an entry. Without the field, it returns None."""

    def get(entry: Entry) -> object:
        value: Any = entry
        for name in path:
            if not isinstance(value, Mapping):
                return None
            value = value.get(name)
        return value

    return get


def _build_text_predicate(get: Callable[[Entry], object], node: Compare) -> Predicate[Entry]:
    """Return the predicate of a comparison of text.

    As in the Logging query language, `:` searches for a part of the text, and `:*` tests that the
    field has a value. Upper and lower case only matter in regular expressions.
    """
    value = node.value.lower()
    if node.op == ":" and value == "*":
        return lambda entry: get(entry) is not None
    if node.op == ":":
        return lambda entry: value in str(get(entry) or "").lower()
    if node.op == "=":
        return lambda entry: get(entry) is not None and str(get(entry)).lower() == value
    if node.op == "!=":
        return lambda entry: str(get(entry)).lower() != value
    if node.op not in ("=~", "!~"):
        raise FilterError(f"{node.dotted_field} does not support {node.op}")
    try:
        pattern = re.compile(node.value)
    except re.error:
        raise FilterError(f"{node.value} is not a regular expression") from None
    if node.op == "=~":
        return lambda entry: bool(pattern.search(str(get(entry) or "")))
    return lambda entry: not pattern.search(str(get(entry) or ""))
