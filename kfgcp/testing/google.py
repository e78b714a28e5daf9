"""Read requests and write answers as Google's REST services do.

Errors have the JSON form of google.rpc.Status. Lists have pages as in AIP-158. Names of fields are
camelCase, and requests may use snake_case too (the JSON mapping of Protocol Buffers).
"""

from __future__ import annotations

import base64
import bisect
import hashlib
import json
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, TypeVar

from kfgcp.spec.json_values import JsonObject
from kfgcp.testing.server import Request, Response

T = TypeVar("T")

SortKey = tuple[Any, ...]
"""The key that a list is sorted by. Its items can be written as JSON."""

JsonBody = dict[str, Any]
"""A JSON object of a request or an answer. Unlike a JsonObject, it may be changed."""

# HTTP status -> the name of its usual code in google.rpc.Code.
_STATUSES: Final = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ALREADY_EXISTS",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
# Query parameters that every Google API takes, whatever the method is.
_SYSTEM_PARAMETERS: Final = frozenset(
    {
        "$alt",
        "alt",
        "$prettyPrint",
        "prettyPrint",
        "$fields",
        "fields",
        "key",
        "quotaUser",
        "$.xgafv",
        "access_token",
    }
)


class GoogleError(Exception):
    """An error that the stand-in answers.

    Args:
        code: the HTTP status.
        message: the text for the client.
        status: the name of the error in google.rpc.Code. By default, the usual name for `code`.
        details: messages such as google.rpc.BadRequest, as JSON with `@type`.
    """

    def __init__(
        self, code: int, message: str, status: str = "", details: Sequence[JsonObject] = ()
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status or _STATUSES.get(code, "UNKNOWN")
        self.details = list(details)

    @property
    def response(self) -> Response:
        """Return the error as an answer."""
        error: JsonBody = {"code": self.code, "message": self.message, "status": self.status}
        if self.details:
            error["details"] = self.details
        return Response(self.code, {"error": error})


def invalid(message: str, field: str = "") -> GoogleError:
    """Return the error 400 INVALID_ARGUMENT.

    Args:
        message: the text for the client.
        field: the path of the wrong field, such as `pipeline_job.labels`; empty without one.
    """
    violation = {"description": message}
    if field:
        violation["field"] = field
    bad_request = {
        "@type": "type.googleapis.com/google.rpc.BadRequest",
        "fieldViolations": [violation],
    }
    return GoogleError(400, message, details=[bad_request])


def wrong_state(message: str) -> GoogleError:
    """Return the error 400 FAILED_PRECONDITION."""
    return GoogleError(400, message, "FAILED_PRECONDITION")


def not_found(name: str) -> GoogleError:
    """Return the error 404 NOT_FOUND for a resource name."""
    return GoogleError(404, f"The resource {name} was not found.")


def denied(message: str) -> GoogleError:
    """Return the error 403 PERMISSION_DENIED."""
    return GoogleError(403, message)


def check_query(request: Request, allowed: Sequence[str]) -> dict[str, str]:
    """Return the query parameters by their camelCase names.

    Args:
        request: the request. It may have the names in snake_case too.
        allowed: the parameters of the method, in camelCase.

    Raises:
        GoogleError: 400, the query has a parameter that is not allowed.
    """
    values = {}
    for name, value in request.query.items():
        if name in _SYSTEM_PARAMETERS:
            continue
        camel_name = camel_case(name)
        if camel_name not in allowed:
            raise invalid(
                f'Invalid JSON payload received. Unknown name "{name}": Cannot bind query'
                " parameter."
            )
        values[camel_name] = value
    return values


def json_body(request: Request) -> JsonBody:
    """Return the body as a JSON object, {} when it is empty.

    Raises:
        GoogleError: 400, the body is not a JSON object.
    """
    if not request.body:
        return {}
    try:
        value = json.loads(request.body)
    except (ValueError, RecursionError):
        raise invalid("Invalid JSON payload received. The body is not JSON.") from None
    if not isinstance(value, dict):
        raise invalid("Invalid JSON payload received. Root element must be a message.")
    return value


def check_fields(body: JsonObject, allowed: Sequence[str]) -> None:
    """Check that a body has only allowed fields.

    Args:
        body: the body, with names in camelCase or snake_case.
        allowed: the names of the allowed fields, in camelCase.

    Raises:
        GoogleError: 400, the body has another field.
    """
    for name in body:
        if camel_case(name) not in allowed:
            raise invalid(
                f'Invalid JSON payload received. Unknown name "{name}": Cannot find field.', name
            )


def list_page(
    items: Sequence[T],
    key: Callable[[T], SortKey],
    *,
    size: str | int | None,
    token: str | None,
    scope: str,
    default: int,
    maximum: int,
) -> tuple[list[T], str]:
    """Return a page of sorted items, and the token of the next page.

    A token contains the sort key of the last item of a page. So an item that is added or deleted
    between two requests does not shift the next page.

    Args:
        items: the items, sorted by `key`.
        key: returns the sort key of an item. All keys are different, and can be written as JSON.
        size: the number of items that the client asks for. 0 and None mean `default`. A number
            above `maximum` means `maximum`.
        token: the token that the client sends, empty for the first page.
        scope: the filter and the order of the list. A token is only valid for the same scope.
        default: the number of items of a page without a size.
        maximum: the largest number of items of a page.

    Returns:
        The items, and a token that is empty on the last page.

    Raises:
        GoogleError: 400, the size is not a number, or the token belongs to another list.
    """
    # AIP-158: a client must not use a token with another filter or order.
    scope_digest = hashlib.sha256(scope.encode()).hexdigest()[:12]
    start = 0
    if token:
        last_key = _read_token(token, scope_digest)
        start = bisect.bisect_right(items, last_key, key=key)
    end = start + _page_size(size, default, maximum)
    page = list(items[start:end])
    if len(items) <= end:
        return page, ""
    text = json.dumps([scope_digest, key(page[-1])])
    return page, base64.urlsafe_b64encode(text.encode()).decode()


def page_body(field: str, items: Sequence[object], token: str) -> JsonBody:
    """Return the answer of a list method.

    Args:
        field: the name of the list in the answer.
        items: the items of the page.
        token: the token of the next page; empty on the last page.
    """
    body: JsonBody = {field: items}
    if token:
        body["nextPageToken"] = token
    return body


def _read_token(token: str, scope_digest: str) -> SortKey:
    """Return the sort key in a page token. Raise 400 if the token belongs to another list."""
    try:
        token_scope, last_key = json.loads(base64.urlsafe_b64decode(token))
    except ValueError:
        token_scope, last_key = "", []
    if token_scope != scope_digest:
        raise invalid("The page token is invalid.", "page_token")
    return tuple(last_key)


def _page_size(size: str | int | None, default: int, maximum: int) -> int:
    """Return the number of items of a page, see `list_page`."""
    try:
        number = int(size or 0)
    except ValueError:
        number = -1
    if number < 0:
        raise invalid("The page size must be a whole number of 0 or more.", "page_size")
    return min(number or default, maximum)


def camel_case(name: str) -> str:
    """Return a name in camelCase.

    Example:
        >>> camel_case("page_size")
        'pageSize'
    """
    return re.sub(r"_([a-z0-9])", lambda match: match.group(1).upper(), name)


def snake_case(name: str) -> str:
    """Return a name in snake_case.

    Example:
        >>> snake_case("pageSize")
        'page_size'
    """
    return re.sub(r"([A-Z])", lambda match: "_" + match.group(1).lower(), name)


# A cache, because lists compare the same times again and again.
@lru_cache(maxsize=1 << 16)
def micros(text: str | None) -> int:
    """Return the microseconds since 1970 of an RFC 3339 time, 0 without a time.

    Raises:
        ValueError: the text is not an RFC 3339 time.

    Example:
        >>> micros("1970-01-01T00:00:02.5Z")
        2500000
    """
    if not text:
        return 0
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(text)
    # Integers, because a float of seconds would lose microseconds.
    elapsed = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (elapsed.days * 86400 + elapsed.seconds) * 1_000_000 + elapsed.microseconds


def format_time(seconds: float) -> str:
    """Return a Unix time as RFC 3339 with microseconds, as Google writes most times.

    Example:
        >>> format_time(2.5)
        '1970-01-01T00:00:02.500000Z'
    """
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def stable_number(*parts: object) -> int:
    """Return a positive 63-bit number, which looks like an id of Google.

    The same parts always give the same number.
    """
    digest = hashlib.sha256("\0".join(map(str, parts)).encode()).digest()
    # The shift makes the highest bit 0, so the number fits an int64.
    number = int.from_bytes(digest[:8], "big") >> 1
    # With this bit, the number has 18 or 19 digits.
    return number | 1 << 59
