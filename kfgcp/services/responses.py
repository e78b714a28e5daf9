"""What a response says: the JSON object that was asked for, or one of our errors.

Errors are JSON in the form of Google's APIs (`{"error": {"code", "message", "status",
"details"}}`), or in that of grpc-gateway (`{"error", "code", "message", "details"}`), as in
Kubeflow Pipelines. A proxy or a sign-in in between answers with a page or with text.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from kfgcp.errors import (
    AuthError,
    BackendError,
    BadAnswer,
    IapRefused,
    NotFound,
    Refused,
    Unreachable,
)
from kfgcp.services.error_rules import ErrorBody, ErrorRules
from kfgcp.services.fields import HINT, nests_too_deep
from kfgcp.services.google_errors import GoogleErrors
from kfgcp.services.redact import redacted_line
from kfgcp.services.transport import Response
from kfgcp.spec.json_values import MAX_DEPTH, NotJsonError, check_json, format_place

CODES: Final = (
    *(
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
    ),
    *(
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
    ),
    *("INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED"),
)
"""Names of google.rpc.Code by number."""
_CODE_OF_STATUS: Final = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ALREADY_EXISTS",
    429: "RESOURCE_EXHAUSTED",
    501: "UNIMPLEMENTED",
}
_SIGN_IN: Final = re.compile(
    r"sign[ -]?in\b|log[ -]?in\b|accounts\.google\.com|type=.?password", re.IGNORECASE
)
_SIGN_IN_URL: Final = re.compile(
    r"^accounts\.|/(?:o?auth2?|dex|saml|sso|log[-_]?in|sign[-_]?in)\b", re.IGNORECASE
)
_WEB_PAGE: Final = re.compile(
    rb"\s*(?:<!--.*?-->\s*)?<(?:!doctype html|html|head|body)\b", re.IGNORECASE | re.DOTALL
)


_HALF: Final = re.compile("[\ud800-\udfff]")
_MAYBE_HALF: Final = re.compile(rb"\\u[dD][89a-fA-F]|\xed[\xa0-\xbf]")
"""What stands for one in the bytes of JSON, or for one of a pair."""


@dataclass(frozen=True, slots=True)
class RequestInfo:
    """A request, for messages.

    Attributes:
        service: the name of the service.
        method: of HTTP.
        path: below the address of the service.
        host: of the service.
        secrets: tokens that must not be shown.
        sign_in_hint: how to sign in again.
        retried: whether it was sent more than once.
        errors: what the errors of the service mean.
    """

    service: str
    method: str
    path: str
    host: str
    secrets: Sequence[str] = field(default=(), repr=False)
    sign_in_hint: str = ""
    retried: bool = False
    errors: ErrorRules = field(default=GoogleErrors(), repr=False)

    def __str__(self) -> str:
        return f"{self.method} {redacted_line(self.path, *self.secrets, limit=120)}"


def parse(response: Response, request: RequestInfo, *, may_be_empty: bool = True) -> dict[str, Any]:
    """Return the JSON object in the answer to a successful request.

    Args:
        answer: the response.
        call: the request.
        may_be_empty: whether an answer without a body is allowed. It is an empty object.

    Returns:
        The object.

    Raises:
        AuthError: it is a web page: most often a sign-in that comes with status 200.
        BackendError: it is something else.
    """
    if is_page(response):
        raise _page_instead_of_json(response, request)
    kind = (
        response.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    )
    if not response.body.strip():
        if may_be_empty:
            return {}
        raise BadAnswer(
            f"The answer of {request.service} to {request} is empty ({response.status}), not JSON.",
            hint=HINT,
        )
    problem = f"is {redacted_line(kind, limit=60)}, not JSON"
    if kind == "application/json" or kind.endswith("+json"):
        try:
            value = parse_json(response.body)
        except NotJsonError as unfit:
            field = redacted_line(format_place(unfit.place), limit=200) or "it"
            raise BadAnswer(
                f"The answer of {request.service} to {request} cannot be used: {field}"
                f" {unfit.problem}.",
                hint=HINT,
            ) from None
        except ValueError:
            problem = "cannot be read as JSON"
        else:
            if isinstance(value, dict):
                return value
            problem = "is JSON, but not an object"
    raise BackendError(
        f"The answer of {request.service} to {request} {problem}:"
        f" {title(response, *request.secrets)}.",
        hint=f"Is {request.host} the address of {request.service}?",
    )


def _page_instead_of_json(response: Response, request: RequestInfo) -> AuthError:
    """Return the error for a web page with status 2xx: most often that of a sign-in."""
    message = f"{request.service} answered {request} with a web page, not with JSON"
    page_title = title(response, *request.secrets)
    if wants_sign_in(response):
        hint = f"{request.sign_in_hint} Check the address ({request.host}) and the proxy, too."
        error = AuthError(f"{message}, as a sign-in does: {page_title}.", hint=hint.strip())
    else:
        hint = (
            f"Is {request.host} the address of {request.service}? Check the proxy, too. If it is a"
            " sign-in: "
        )
        error = AuthError(f"{message}: {page_title}.", hint=f"{hint}{request.sign_in_hint}".strip())
    error.is_of_gateway = True
    return error


_MAX_DIGITS: Final = sys.float_info.max_10_exp
"""Digits of an integer in an answer: frames and comparisons need it as a double."""


def parse_json(body: bytes) -> Any:
    """The value of a JSON text. Half of a surrogate pair becomes U+FFFD, as in the JSON of Go.

    Raises:
        ValueError: it is not JSON, or an object has a key twice.
        NotJsonError: it holds NaN or a number too large for a double, or it nests too deep.
    """
    too_large = False

    def real(digits: str) -> float:
        nonlocal too_large
        number = float(digits)
        too_large = too_large or not math.isfinite(number)
        return number

    def whole(digits: str) -> int:
        nonlocal too_large
        too_large = too_large or len(digits.lstrip("-")) > _MAX_DIGITS
        return int(digits)

    try:
        value = json.loads(
            body,
            parse_constant=real,
            parse_float=real,
            parse_int=whole,
            object_pairs_hook=_without_repeated_keys,
        )
    except RecursionError:
        raise NotJsonError((), f"nests deeper than {MAX_DEPTH} levels") from None
    if _MAYBE_HALF.search(body):
        value = _in_unicode(value)
    if too_large or nests_too_deep(value):
        check_json(value, max_digits=_MAX_DIGITS)
    return value


def _without_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the object, or refuse a repeated key: programs do not agree on which of its values
    counts."""
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError("an object has a key twice")
    return value


def _in_unicode(value: Any) -> Any:
    """The value without halves of surrogate pairs."""
    if isinstance(value, str):
        return _HALF.sub("\ufffd", value)
    if isinstance(value, list):
        return [_in_unicode(inner) for inner in value]
    if isinstance(value, dict):
        return {_HALF.sub("\ufffd", key): _in_unicode(inner) for key, inner in value.items()}
    return value


def error_for(response: Response, request: RequestInfo) -> BackendError:
    """Return the error for a response with a status other than 2xx."""
    status = response.status
    if "x-goog-iap-generated-response" in response.headers:
        return IapRefused(
            f"Identity-Aware Proxy, in front of {request.host}, did not accept the sign-in to"
            f" {request.service} ({status}).",
            hint=(
                'Set auth = "iap" and iap_client_id in the environment, and give your account the'
                " role roles/iap.httpsResourceAccessor."
            ),
        )
    gateway_error = _gateway_error(response, request)
    if gateway_error is not None:
        gateway_error.is_of_gateway = True
        return gateway_error
    error = read_error(response.body)
    text = redacted_line(_message(error, status, request), *request.secrets) or title(
        response, *request.secrets
    )
    code = error.code or _CODE_OF_STATUS.get(status, "")
    status_and_code = f"{status} {code}".strip()
    if status == 401:
        return AuthError(
            f"{request.service} did not accept the sign-in: {text} ({status_and_code}).",
            hint=request.sign_in_hint,
        )
    if status >= 500 and status != 501 and not is_final(response, request):
        return Unreachable(
            f"{request.service} failed to answer {request}: {text} ({status_and_code}).",
            hint=f"Try again later; {request.service} may have an outage.",
            status=status,
            told=bool(error.code),
        )
    kind = NotFound if status == 404 else Refused
    advice = request.errors.advice(status, error, text, path=request.path, host=request.host)
    return kind(
        f"{request.service} refused {request}: {text} ({status_and_code}).",
        hint=redacted_line(advice.text, *request.secrets, limit=600),
        status=status,
        reason=code,
        fields=error.fields,
        explanation=text,
        retried=request.retried,
        remedy=advice.remedy,
    )


def _gateway_error(response: Response, request: RequestInfo) -> BackendError | None:
    """Return the error of something in front of the service: a redirect, a proxy, or the page of a
    sign-in."""
    if 300 <= response.status < 400:
        return _redirect(response, request)
    if response.status in (407, 511) or (response.status in (401, 403) and is_page(response)):
        return _page_error(response, request)
    return None


def _message(error: ErrorBody, status: int, request: RequestInfo) -> str:
    """Return the message of an error with its violations: "Request contains an invalid argument."
    is not enough."""
    message = request.errors.cause(request.path, error.message) if status >= 500 else error.message
    new = [violation for violation in error.violations if violation not in message]
    if not new:
        return message
    return f"{message.rstrip('.')}: {'; '.join(new)}"


def is_final(response: Response, request: RequestInfo) -> bool:
    """Return whether a response with status 500 refuses the request for good, as Kubeflow Pipelines
    does."""
    if response.status != 500:
        return False
    return request.errors.is_refusal(request.path, read_error(response.body).message)


def is_page(response: Response) -> bool:
    """Whether it is HTML, by its type or, when that is missing or wrong, by how it begins."""
    return response.headers.get("content-type", "").lower().startswith("text/html") or bool(
        _WEB_PAGE.match(response.body)
    )


def wants_sign_in(response: Response) -> bool:
    """Whether a web page asks for a sign-in."""
    return bool(_SIGN_IN.search(response.body[:20_000].decode("utf-8", "replace")))


def title(response: Response, *secrets: str) -> str:
    """The title of a page, else the first line with something on it, quoted."""
    text = response.body[:20_000].decode("utf-8", "replace")
    heading = (
        re.search(r"<(title|h1)[^>]*>(.*?)</\1", text, re.IGNORECASE | re.DOTALL)
        if is_page(response)
        else None
    )
    line = heading[2] if heading else next((line for line in text.splitlines() if line.strip()), "")
    return f"'{redacted_line(line, *secrets, limit=100)}'" if line.strip() else "nothing"


def read_error(body: bytes | str) -> ErrorBody:
    """The error that a body in JSON describes; an empty one when it is none."""
    try:
        data = parse_json(body if isinstance(body, bytes) else body.encode("utf-8", "replace"))
    except (ValueError, NotJsonError):
        return ErrorBody()
    if isinstance(data, list) and data:
        data = data[0]
    if not isinstance(data, dict):
        return ErrorBody()
    error = data.get("error")
    inner: Mapping[str, Any] = error if isinstance(error, dict) else data
    texts = [inner.get("message"), inner.get("error_description"), error]
    message = next((text for text in texts if isinstance(text, str) and text), "")
    code, number = inner.get("status"), inner.get("code")
    if not isinstance(code, str) or not re.fullmatch(r"[A-Z_]{2,40}", code):
        code = CODES[number] if isinstance(number, int) and 0 < number < len(CODES) else ""
    listed = inner.get("details")
    details = (
        [detail for detail in listed if isinstance(detail, dict)]
        if isinstance(listed, list)
        else []
    )
    named = [violation for detail in details for violation in _violations(detail)]
    fields = tuple(field for field, _ in named if field)
    violations = tuple(": ".join(filter(None, violation)) for violation in named)
    for detail in details:
        if isinstance(detail.get("reason"), str):
            facts = detail.get("metadata")
            facts = facts if isinstance(facts, dict) else {}
            texts_of_facts = {str(key): str(value) for key, value in facts.items()}
            return ErrorBody(message, code, detail["reason"], texts_of_facts, violations, fields)
    return ErrorBody(message, code, violations=violations, fields=fields)


def _violations(detail: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the fields that a google.rpc.BadRequest names, with what is wrong with each; either may
    be empty."""
    listed = detail.get("fieldViolations")
    for violation in listed if isinstance(listed, list) else []:
        if isinstance(violation, dict):
            field, description = violation.get("field"), violation.get("description")
            name = field if isinstance(field, str) else ""
            problem = description if isinstance(description, str) else ""
            if name or problem:
                yield name, problem


def _redirect(response: Response, request: RequestInfo) -> BackendError:
    place = response.headers.get("location", "")
    try:
        url = urlsplit(place)
        host = redacted_line(url.hostname or request.host, *request.secrets, limit=100)
    except ValueError:
        return Unreachable(
            f"{request.service} redirects to what is no address ({response.status}).", hint=_ADDRESS
        )
    if _SIGN_IN_URL.search((url.hostname or "") + url.path) or "client_id=" in url.query:
        return AuthError(
            f"{request.service} wants a sign-in at {host} instead of answering {request}"
            f" ({response.status}).",
            hint=request.sign_in_hint,
        )
    return Unreachable(
        f"{request.service}: {request.host} redirects {request} to {host} ({response.status}); "
        "tokens are not sent on to another address.",
        hint=_ADDRESS,
    )


_ADDRESS: Final = (
    "Let the environment name the final address, as host or api_endpoint, and check the proxy."
)


def _page_error(response: Response, request: RequestInfo) -> BackendError:
    """A page with an error that the service itself would have sent as JSON."""
    page = title(response, *request.secrets)
    if response.status in (401, 403) and wants_sign_in(response):
        return AuthError(
            f"A sign-in page came instead of an answer of {request.service} to {request}: {page}"
            f" ({response.status}).",
            hint=request.sign_in_hint,
        )
    return Unreachable(
        f"A proxy or gateway, not {request.service}, answered {request}: {page}"
        f" ({response.status}).",
        hint=f"Check HTTPS_PROXY and NO_PROXY, and that the network lets you reach {request.host}.",
    )
