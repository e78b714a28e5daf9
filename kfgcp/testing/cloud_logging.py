"""Cloud Logging of a stand-in: what its runs leave there, and what clients write themselves.

`POST /v2/entries:list` and `POST /v2/entries:write`. Of the filter language: comparisons joined by
AND, OR and NOT, on the fields of an entry; text without a field, functions and the rest are
refused, so that no filter is half obeyed.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from kfgcp.testing.filters import (
    Call,
    Compare,
    FilterError,
    Leaf,
    Predicate,
    build_time_predicate,
    comparison,
    compile_filter,
)
from kfgcp.testing.google import (
    denied,
    format_time,
    invalid,
    json_body,
    list_page,
    micros,
    only_fields,
    stable_number,
)
from kfgcp.testing.log_entries import SEVERITIES, Entry
from kfgcp.testing.server import Request, Response, Route

DEFAULT_PAGE: Final = 50
MAX_PAGE: Final = 1000
_TEXT: Final = (
    "logName",
    "insertId",
    "textPayload",
    "trace",
    "spanId",
    "resource",
    "labels",
    "jsonPayload",
)


class CloudLogging:
    """The log entries of a project.

    Args:
        project: its id.
        number: its number.
        source: gives the entries of runs, all that a filter could want, from the filter and
            `payload`.

    `payload` is `json` for jsonPayload.message or `text` for textPayload, of plain lines of tasks.
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
        return [
            Route("POST", "/v2/entries:list", self.list_all),
            Route("POST", "/v2/entries:write", self.write),
        ]

    def list_all(self, request: Request, **_: str) -> Response:
        body = json_body(request)
        only_fields(
            body, ("resourceNames", "filter", "orderBy", "pageSize", "pageToken", "projectIds")
        )
        self._check_resources(body.get("resourceNames") or [])
        text, order = body.get("filter") or "", (body.get("orderBy") or "timestamp asc").strip()
        if order not in ("timestamp", "timestamp asc", "timestamp desc"):
            raise invalid(
                f'Invalid order_by: "{order}" is not timestamp asc or timestamp desc.', "order_by"
            )
        try:
            wanted = compile_filter(text, _leaf, alternatives=True)
        except FilterError as error:
            raise invalid(f"Unparsable filter: {error}.", "filter") from None
        sign = -1 if order.endswith("desc") else 1
        keyed = ((_key(entry, sign), entry) for entry in self._entries(text) if wanted(entry))
        found, token = list_page(
            sorted(keyed, key=lambda pair: pair[0]),
            lambda pair: pair[0],
            size=body.get("pageSize"),
            token=body.get("pageToken"),
            scope=f"{text}\n{order}",
            default=DEFAULT_PAGE,
            maximum=MAX_PAGE,
        )
        return Response(
            body={"entries": [entry for _, entry in found]}
            | ({"nextPageToken": token} if token else {})
        )

    def write(self, request: Request, **_: str) -> Response:
        body = json_body(request)
        only_fields(body, ("logName", "resource", "labels", "entries", "partialSuccess", "dryRun"))
        shared = {name: body[name] for name in ("logName", "resource") if name in body}
        made = [
            self._completed(shared | entry, body.get("labels") or {})
            for entry in body.get("entries") or ()
        ]
        if not body.get("dryRun"):
            with self._lock:
                self._written += made
        return Response()

    # -- entries

    def _entries(self, text: str) -> Iterator[Entry]:
        yield from list(self._written)
        yield from self._source(text, self.payload)

    def _labels(self, **more: str) -> dict[str, str]:
        return {"project_id": self._project, **more}

    def _completed(self, entry: Mapping[str, Any], labels: Mapping[str, str]) -> Entry:
        with self._lock:
            number = len(self._written)
        now = time.time()
        defaults = {
            "timestamp": format_time(now),
            "severity": "DEFAULT",
            "receiveTimestamp": format_time(now),
        }
        return {
            "insertId": str(stable_number("entry", number, now)),
            "resource": {"type": "global", "labels": self._labels()},
            **defaults,
            **entry,
            "labels": {**labels, **(entry.get("labels") or {})},
        }

    def _check_resources(self, names: list[str]) -> None:
        if not names:
            raise invalid("resource_names is required.", "resource_names")
        for name in names:
            if name.split("/")[:2] not in (
                ["projects", self._project],
                ["projects", str(self._number)],
            ):
                raise denied(f"Permission denied for {name} (or it may not exist).")


def _key(entry: Entry, sign: int) -> tuple[Any, ...]:
    return sign * micros(entry["timestamp"]), entry["insertId"]


def _leaf(node: Leaf) -> Predicate[Entry]:
    if isinstance(node, Call) or len(node.values) > 1:
        raise FilterError("functions and lists of values are not supported by the stand-in")
    if node.field == ("timestamp",) or node.field == ("receiveTimestamp",):
        name = node.field[0]
        return build_time_predicate(lambda entry: entry.get(name), node)
    if node.field == ("severity",):
        if node.value.upper() not in SEVERITIES:
            raise FilterError(f"there is no severity {node.value}")
        compare, level = comparison(node.op), SEVERITIES[node.value.upper()]
        return lambda entry: compare(SEVERITIES.get(entry["severity"], 0), level)
    if node.field[0] not in _TEXT or (
        len(node.field) == 1 and node.field[0] in ("resource", "labels", "jsonPayload")
    ):
        raise FilterError(f"the field {'.'.join(node.field)} is not supported by the stand-in")
    return _text(_getter(node.field), node)


def _getter(path: tuple[str, ...]) -> Callable[[Entry], Any]:
    def get(entry: Entry) -> Any:
        found: Any = entry
        for name in path:
            found = found.get(name) if isinstance(found, Mapping) else None
        return found

    return get


def _text(get: Callable[[Entry], Any], node: Compare) -> Predicate[Entry]:
    """Text is compared without regard to case, `:` looks for a part, `:*` for any value."""
    value = node.value.lower()
    if node.op == ":" and value == "*":
        return lambda entry: get(entry) is not None
    if node.op == ":":
        return lambda entry: value in str(get(entry) or "").lower()
    if node.op == "=":
        return lambda entry: get(entry) is not None and str(get(entry)).lower() == value
    if node.op == "!=":
        return lambda entry: str(get(entry)).lower() != value
    if node.op in ("=~", "!~"):
        try:
            pattern, wanted = re.compile(node.value), node.op == "=~"
        except re.error:
            raise FilterError(f"{node.value} is no regular expression") from None
        return lambda entry: bool(pattern.search(str(get(entry) or ""))) is wanted
    raise FilterError(f"{'.'.join(node.field)} does not support {node.op}")
