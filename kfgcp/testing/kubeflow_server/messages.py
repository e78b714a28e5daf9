"""Bodies and queries: names in snake_case, as proto JSON also takes them in camelCase; times in whole seconds.

Empty fields are left out of answers. Newer servers may send them; a client should not tell the two apart.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from kfgcp.testing.google import snake_case
from kfgcp.testing.kubeflow_server.errors import INVALID, KfpError
from kfgcp.testing.server import Request

UNFINISHED: Final = "1970-01-01T00:00:00Z"
"""`finished_at` of a run that has not ended."""
NEVER: Final = "0001-01-01T00:00:00Z"
"""`end_time` of a node that has not ended."""


def body_of(request: Request, fields: Sequence[str]) -> dict[str, Any]:
    """The JSON object of a request, with these fields and no others; null ones are left out.

    Raises:
        KfpError: INVALID.
    """
    try:
        found = json.loads(request.body or b"{}")
        json.dumps(found, ensure_ascii=False).encode()  # proto JSON has no halves of surrogate pairs
    except (ValueError, RecursionError):
        raise KfpError(INVALID, "proto: syntax error: the body is not JSON") from None
    if not isinstance(found, dict):
        raise KfpError(INVALID, "proto: syntax error: unexpected token, an object is expected")
    return only(found, fields)


def only(found: Mapping[str, Any], fields: Sequence[str]) -> dict[str, Any]:
    """The mapping with names in snake_case, refused when it has others than these."""
    read = {snake_case(name): value for name, value in found.items() if value is not None}
    for name in read:
        if name not in fields:
            raise KfpError(INVALID, f'proto: (line 1:2): unknown field "{name}"')
    return read


def text_of(body: Mapping[str, Any], name: str) -> str:
    """A field of text, empty without one.

    Raises:
        KfpError: INVALID, it is something else.
    """
    value = body.get(name, "")
    if not isinstance(value, str):
        raise KfpError(INVALID, f"proto: invalid value for string field {name}: {json.dumps(value)[:60]}")
    return value


def query_of(request: Request) -> dict[str, str]:
    """The query by names in snake_case; unknown ones are not refused."""
    return {snake_case(name): value for name, value in request.query.items()}


def stamp(seconds: float) -> str:
    """A time in RFC 3339, without a fraction."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def whole_second(text: str) -> str:
    """An RFC 3339 time in UTC without its fraction."""
    return text[:19] + "Z"


def without_empty(data: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in data.items() if value not in (None, {}, [], "")}
