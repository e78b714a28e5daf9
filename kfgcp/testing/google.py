"""How Google's REST services speak: their errors as JSON, their list pages, their JSON bodies."""

from __future__ import annotations

import base64
import bisect
import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, TypeVar

from kfgcp.testing.server import Request, Response

T = TypeVar("T")

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
_SYSTEM_PARAMETERS: Final = frozenset(
    (
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
    )
)


class GoogleError(Exception):
    """An error that is answered. code: of HTTP. status: name of the canonical code."""

    def __init__(
        self, code: int, message: str, status: str = "", details: Sequence[Mapping[str, Any]] = ()
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status or _STATUSES.get(code, "UNKNOWN")
        self.details = list(details)

    @property
    def response(self) -> Response:
        error: dict[str, Any] = {"code": self.code, "message": self.message, "status": self.status}
        if self.details:
            error["details"] = self.details
        return Response(self.code, {"error": error})


def invalid(message: str, field: str = "") -> GoogleError:
    """400 INVALID_ARGUMENT; `field` names what is wrong: `pipeline_job.labels`."""
    violation = {"description": message, **({"field": field} if field else {})}
    kind = "type.googleapis.com/google.rpc.BadRequest"
    return GoogleError(400, message, details=[{"@type": kind, "fieldViolations": [violation]}])


def wrong_state(message: str) -> GoogleError:
    """400 FAILED_PRECONDITION."""
    return GoogleError(400, message, "FAILED_PRECONDITION")


def not_found(name: str) -> GoogleError:
    return GoogleError(404, f"The resource {name} was not found.")


def denied(message: str) -> GoogleError:
    return GoogleError(403, message)


def check_query(request: Request, known: Sequence[str]) -> dict[str, str]:
    """The query's parameters by the names in `known`, which are camelCase; snake_case is understood
    too.

    Raises:
        GoogleError: 400, there is another one.
    """
    values = {}
    for name, value in request.query.items():
        if name in _SYSTEM_PARAMETERS:
            continue
        camel = camel_case(name)
        if camel not in known:
            raise invalid(
                f'Invalid JSON payload received. Unknown name "{name}": Cannot bind query'
                " parameter."
            )
        values[camel] = value
    return values


def json_body(request: Request) -> dict[str, Any]:
    """The body as a JSON object, {} when it is empty.

    Raises:
        GoogleError: 400.
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


def only_fields(body: Mapping[str, Any], known: Sequence[str]) -> None:
    """Refuses a body with other fields than these."""
    for name in body:
        if camel_case(name) not in known:
            raise invalid(
                f'Invalid JSON payload received. Unknown name "{name}": Cannot find field.', name
            )


def page(
    items: Sequence[T],
    key: Callable[[T], tuple[Any, ...]],
    *,
    size: str | int | None,
    token: str | None,
    scope: str,
    default: int,
    most: int,
) -> tuple[list[T], str]:
    """A page of sorted items and the token of the next one, empty when there is none.

    A token stands for a place in the order, so that what is added or deleted meanwhile shifts
    nothing.

    Args:
        items: sorted by `key`, whose values are all different and JSON.
        key: the sort key.
        size: what the client asked for; 0 and None mean `default`, more than `most` means `most`.
        token: the client's page token, empty for the first page.
        scope: what the token belongs to: the filter, the order.
        default: see size.
        most: see size.

    Raises:
        GoogleError: 400, the size is none or the token is not one of this list.
    """
    start = 0
    mark = hashlib.sha256(scope.encode()).hexdigest()[:12]
    if token:
        try:
            seen, after = json.loads(base64.urlsafe_b64decode(token))
        except ValueError:
            seen, after = "", []
        if seen != mark:
            raise invalid("The page token is invalid.", "page_token")
        start = bisect.bisect_right(items, tuple(after), key=key)
    end = start + _size(size, default, most)
    found = list(items[start:end])
    more = len(items) > end
    text = json.dumps([mark, key(found[-1])]) if more else ""
    return found, base64.urlsafe_b64encode(text.encode()).decode()


def _size(size: str | int | None, default: int, most: int) -> int:
    try:
        number = int(size or 0)
    except ValueError:
        number = -1
    if number < 0:
        raise invalid("The page size is not a whole number from 0 on.", "page_size")
    return min(number or default, most)


def camel_case(name: str) -> str:
    """`page_size` as `pageSize`."""
    return re.sub(r"_([a-z0-9])", lambda match: match.group(1).upper(), name)


def snake_case(name: str) -> str:
    """`pageSize` as `page_size`."""
    return re.sub(r"([A-Z])", lambda match: "_" + match.group(1).lower(), name)


@lru_cache(maxsize=1 << 16)  # lists compare the same times again and again
def micros(text: str | None) -> int:
    """Microseconds since 1970 of an RFC 3339 time, 0 without one.

    Raises:
        ValueError: it is not such a time.
    """
    if not text:
        return 0
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(text)
    gone = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (gone.days * 86400 + gone.seconds) * 1_000_000 + gone.microseconds


def time_text(seconds: float) -> str:
    """RFC 3339 with microseconds, as Google writes most times."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def number_of(*parts: object) -> int:
    """A positive 63-bit number that is always the same for the same parts: the form of Google's
    ids."""
    digest = hashlib.sha256("\0".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1 | 1 << 59
