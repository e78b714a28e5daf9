"""Read the bodies and the queries of requests, and format times and fields for answers.

Requests may name fields and query parameters in snake_case or in camelCase, as in proto JSON.
Answers have names in snake_case and times in whole seconds. Answers leave out empty fields. Newer
servers may send empty fields, so clients should not depend on the difference.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from kfgcp.spec.json_values import JsonObject
from kfgcp.testing.google import snake_case
from kfgcp.testing.kubeflow_server.errors import INVALID, GatewayError
from kfgcp.testing.server import Request

# The server's tables store 0 for "no time yet". So this time is `finished_at` of a run that has not
# ended, and `last_run_created_at` of an experiment without runs.
UNIX_EPOCH: Final = "1970-01-01T00:00:00Z"
# The zero time of Go, which is `end_time` of a node that has not ended.
ZERO_TIME: Final = "0001-01-01T00:00:00Z"

# How many characters of a wrong value an error shows.
_MAX_SHOWN_CHARACTERS: Final = 60


def read_body(
    request: Request, field_names: Sequence[str], *, lenient: bool = False
) -> dict[str, Any]:
    """Return the JSON object of a request, with names in snake_case and without null fields.

    Args:
        request: the request.
        field_names: the fields of the message.
        lenient: whether to drop unknown fields instead of refusing them, as servers before 2.14 do.

    Raises:
        GatewayError: INVALID, the body is not a JSON object (run-create-not-json.json) or has an
            unknown field.
    """
    try:
        body = json.loads(request.body or b"{}")
        # Python's JSON reader accepts half of a surrogate pair, but proto JSON does not. To encode
        # it as UTF-8 raises a ValueError.
        json.dumps(body, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise GatewayError(INVALID, _describe_syntax_error(request.body)) from None
    if not isinstance(body, dict):
        raise GatewayError(INVALID, "proto: syntax error (line 1:1): unexpected token")
    return read_fields(body, field_names, lenient=lenient)


def read_fields(
    data: JsonObject, field_names: Sequence[str], *, lenient: bool = False
) -> dict[str, Any]:
    """Return a message inside a body, with names in snake_case and without null fields.

    Args:
        data: the JSON object.
        field_names: the fields of the message.
        lenient: whether to drop unknown fields instead of refusing them, as servers before 2.14 do.

    Raises:
        GatewayError: INVALID, the object has an unknown field (run-create-unknown-body-field.json).
    """
    fields: dict[str, Any] = {}
    for original_name, value in data.items():
        name = snake_case(original_name)
        if value is None:
            continue
        if name in field_names:
            fields[name] = value
        elif not lenient:
            raise GatewayError(INVALID, f'proto: (line 1:25): unknown field "{name}"')
    return fields


def read_text(body: JsonObject, name: str) -> str:
    """Return a text field, empty when it is missing.

    Raises:
        GatewayError: INVALID, the value is not text.
    """
    value = body.get(name, "")
    if not isinstance(value, str):
        shown_value = json.dumps(value)[:_MAX_SHOWN_CHARACTERS]
        raise GatewayError(
            INVALID, f"proto: (line 1:25): invalid value for string field {name}: {shown_value}"
        )
    return value


def read_query(request: Request) -> dict[str, str]:
    """Return the query with names in snake_case. Unknown parameters are allowed."""
    return {snake_case(name): value for name, value in request.query.items()}


def format_time(seconds: float) -> str:
    """Return a Unix time in RFC 3339, without a fraction."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def cut_fraction(time: str) -> str:
    """Return an RFC 3339 time in UTC without its fraction of a second."""
    return time[:19] + "Z"


def drop_empty(data: JsonObject) -> dict[str, Any]:
    """Return an object without the fields that are null or empty."""
    return {key: value for key, value in data.items() if value not in (None, {}, [], "")}


def _describe_syntax_error(body: bytes) -> str:
    """Return the message of Go's JSON decoder, which reads a body before proto JSON reads it."""
    text = body.decode(errors="replace").lstrip()
    if text.startswith("{") and text[1:].lstrip():
        letter = text[1:].lstrip()[0]
        return f"invalid character '{letter}' looking for beginning of object key string"
    letter = text[:1]
    return f"invalid character '{letter}' looking for beginning of value"
