"""Bodies and queries: names in snake_case, as proto JSON also takes them in camelCase; times in
whole seconds.

Empty fields are left out of answers. Newer servers may send them; a client should not tell the two
apart.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from kfgcp.testing.google import snake_case
from kfgcp.testing.kubeflow_server.errors import INVALID, GatewayError
from kfgcp.testing.server import Request

UNFINISHED: Final = "1970-01-01T00:00:00Z"
"""`finished_at` of a run that has not ended, `last_run_created_at` of an experiment without
runs."""
NEVER: Final = "0001-01-01T00:00:00Z"
"""`end_time` of a node that has not ended."""


def body_of(request: Request, fields: Sequence[str], *, lenient: bool = False) -> dict[str, Any]:
    """Return the JSON object of a request with these fields; null ones are left out.

    Args:
        request: whose body it is.
        fields: those that the message has.
        lenient: whether other fields are left out instead of refused, as before 2.14.

    Raises:
        GatewayError: INVALID (run-create-not-json.json).
    """
    try:
        body = json.loads(request.body or b"{}")
        json.dumps(body, ensure_ascii=False).encode()  # proto JSON has no halves of surrogate pairs
    except (ValueError, RecursionError):
        raise GatewayError(INVALID, _syntax_error(request.body)) from None
    if not isinstance(body, dict):
        raise GatewayError(INVALID, "proto: syntax error (line 1:1): unexpected token")
    return only(body, fields, lenient=lenient)


def only(
    data: Mapping[str, Any], fields: Sequence[str], *, lenient: bool = False
) -> dict[str, Any]:
    """Return the mapping with names in snake_case; arguments as of `body_of`.

    Raises:
        GatewayError: INVALID, there are other fields (run-create-unknown-body-field.json).
    """
    read = {snake_case(name): value for name, value in data.items() if value is not None}
    if not lenient:
        for name in read:
            if name not in fields:
                raise GatewayError(INVALID, f'proto: (line 1:25): unknown field "{name}"')
    return {name: value for name, value in read.items() if name in fields}


def text_of(body: Mapping[str, Any], name: str) -> str:
    """Return a field of text, empty without one.

    Raises:
        GatewayError: INVALID, it is something else.
    """
    value = body.get(name, "")
    if not isinstance(value, str):
        shown = json.dumps(value)[:60]
        raise GatewayError(
            INVALID, f"proto: (line 1:25): invalid value for string field {name}: {shown}"
        )
    return value


def query_of(request: Request) -> dict[str, str]:
    """Return the query by names in snake_case; unknown ones are not refused."""
    return {snake_case(name): value for name, value in request.query.items()}


def stamp(seconds: float) -> str:
    """Return a time in RFC 3339, without a fraction."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def whole_second(text: str) -> str:
    """Return an RFC 3339 time in UTC without its fraction."""
    return text[:19] + "Z"


def without_empty(data: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in data.items() if value not in (None, {}, [], "")}


def _syntax_error(body: bytes) -> str:
    """Return the message of Go's JSON decoder, which reads a body before proto JSON does."""
    text = body.decode(errors="replace").lstrip()
    if text.startswith("{") and text[1:].lstrip():
        letter = text[1:].lstrip()[0]
        return f"invalid character '{letter}' looking for beginning of object key string"
    letter = text[:1]
    return f"invalid character '{letter}' looking for beginning of value"
