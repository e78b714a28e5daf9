"""Convert a response to its JSON object, or to one of our errors.

An error of a service is JSON in one of these forms. Google's APIs send
`{"error": {"code", "message", "status", "details"}}`. Kubeflow Pipelines sends the form of
grpc-gateway: `{"error", "code", "message", "details"}`. Its uploads send `{"error_message",
"error_details"}` (recorded: pipeline-upload-bad.json). A registry of images sends `{"errors":
[{"code", "message"}]}` (distribution specification of the Open Container Initiative). A proxy or a
sign-in page in front of the service answers with HTML or with plain text.
"""

from __future__ import annotations

import re
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
from kfgcp.services.answer_json import parse_json
from kfgcp.services.error_rules import ErrorBody, ErrorRules
from kfgcp.services.fields import HINT
from kfgcp.services.google_errors import GoogleErrors
from kfgcp.services.redact import redacted_line
from kfgcp.services.transport import Response
from kfgcp.spec.json_values import NotJsonError, format_place

# The names of google.rpc.Code. The position of a name is the number of the code.
CODES: Final = (
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
)
# The google.rpc.Code for an HTTP status, when the response has no code.
_CODE_OF_STATUS: Final = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ALREADY_EXISTS",
    429: "RESOURCE_EXHAUSTED",
    501: "UNIMPLEMENTED",
}
# Texts in the page of a sign-in, and in the address of a sign-in.
_SIGN_IN: Final = re.compile(
    r"sign[ -]?in\b|log[ -]?in\b|accounts\.google\.com|type=.?password", re.IGNORECASE
)
_SIGN_IN_URL: Final = re.compile(
    r"^accounts\.|/(?:o?auth2?|dex|saml|sso|log[-_]?in|sign[-_]?in)\b", re.IGNORECASE
)
# The title of a page, and the beginning of a page.
_HEADING: Final = re.compile(r"<(title|h1)[^>]*>(.*?)</\1", re.IGNORECASE | re.DOTALL)
_WEB_PAGE: Final = re.compile(
    rb"\s*(?:<!--.*?-->\s*)?<(?:!doctype html|html|head|body)\b", re.IGNORECASE | re.DOTALL
)

# The title or the sign-in of a page must be within this many bytes.
_SEARCHED_BYTES: Final = 20_000

_ADDRESS_HINT: Final = (
    "Set host or api_endpoint in kfgcp.toml to the final address, and check the proxy."
)


@dataclass(frozen=True, slots=True)
class RequestInfo:
    """The description of a request in messages.

    Attributes:
        service: the name of the service.
        method: the HTTP method.
        path: the path below the address of the service.
        host: the host of the service.
        secrets: the tokens that a message must not contain.
        sign_in_hint: the hint how to sign in again.
        retried: the request was sent more than once.
        errors: the rules for the errors of the service.
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
    """Return the JSON object in the body of a response with status 2xx.

    Args:
        response: the response.
        request: the request, for messages.
        may_be_empty: True returns {} for a response without a body, False raises BadAnswer.

    Raises:
        AuthError: the body is a web page. Most often it is a sign-in page with status 200.
        BackendError: the body is not a JSON object.
    """
    if is_page(response):
        raise _unexpected_page(response, request, "JSON")
    if not response.body.strip():
        if may_be_empty:
            return {}
        raise BadAnswer(
            f"The answer of {request.service} to {request} is empty ({response.status}), not JSON.",
            hint=HINT,
        )
    content_type = response.headers.get("content-type", "application/json")
    media_type = content_type.partition(";")[0].strip().lower()
    problem = f"is {redacted_line(media_type, limit=60)}, not JSON"
    if media_type == "application/json" or media_type.endswith("+json"):
        try:
            value = parse_json(response.body)
        except NotJsonError as error:
            place = redacted_line(format_place(error.place), limit=200) or "it"
            raise BadAnswer(
                f"The answer of {request.service} to {request} cannot be used: {place}"
                f" {error.problem}.",
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


def parse_text(response: Response, request: RequestInfo) -> str:
    """Return the text in the body of a response with status 2xx.

    Args:
        response: the response.
        request: the request, for messages.

    Raises:
        AuthError: the body is a web page. Most often it is a sign-in page with status 200.
        BadAnswer: the body is not UTF-8.
    """
    if is_page(response):
        raise _unexpected_page(response, request, "a file")
    try:
        return response.body.decode()
    except UnicodeDecodeError:
        raise BadAnswer(
            f"The answer of {request.service} to {request} is not UTF-8 text.", hint=HINT
        ) from None


def _unexpected_page(response: Response, request: RequestInfo, expected: str) -> AuthError:
    """Return the error for a web page with status 2xx. Most often it is a sign-in page.

    Args:
        response: the response.
        request: the request.
        expected: what the service should have sent, in words.
    """
    message = f"{request.service} answered {request} with a web page, not with {expected}"
    page_title = title(response, *request.secrets)
    if wants_sign_in(response):
        message = f"{message}; it looks like a sign-in page"
        hint = f"{request.sign_in_hint} Check the address ({request.host}) and the proxy, too."
    else:
        hint = (
            f"Is {request.host} the address of {request.service}? Check the proxy, too. If the"
            f" page asks for a sign-in: {request.sign_in_hint}"
        )
    error = AuthError(f"{message}: {page_title}.", hint=hint.strip())
    error.is_of_gateway = True
    return error


def error_for(response: Response, request: RequestInfo) -> BackendError:
    """Return the error for a response whose status is not 2xx."""
    status = response.status
    # Identity-Aware Proxy sets this header on the responses that it writes itself.
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
    text = redacted_line(_message(error, status, request), *request.secrets)
    if not text:
        text = title(response, *request.secrets)
    code = error.code or _CODE_OF_STATUS.get(status, "")
    status_and_code = f"{status} {code}".strip()
    if status == 401:
        return AuthError(
            f"{request.service} did not accept the sign-in: {text} ({status_and_code}).",
            hint=request.sign_in_hint,
        )
    if status >= 500 and status != 501 and not is_permanent_failure(response, request):
        return Unreachable(
            f"{request.service} failed to answer {request}: {text} ({status_and_code}).",
            hint=f"Try again later; {request.service} may have an outage.",
            status=status,
            from_service=bool(error.code),
        )
    advice = request.errors.advice(status, error, text, path=request.path, host=request.host)
    error_type = NotFound if status == 404 else Refused
    return error_type(
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
    """Return the error when a proxy, a gateway or a sign-in page answered.

    Return None when the service itself answered.
    """
    status = response.status
    if 300 <= status < 400:
        return _redirect_error(response, request)
    # Only proxies send 407 and 511. A service itself never sends a web page.
    if status in (407, 511) or (status in (401, 403) and is_page(response)):
        return _page_error(response, request)
    return None


def _message(error: ErrorBody, status: int, request: RequestInfo) -> str:
    """Return the message of an error, with the violations that it does not mention itself."""
    message = error.message
    if status >= 500:
        message = request.errors.cause(request.path, message)
    # The message alone may be as general as "Request contains an invalid argument."
    other_violations = [violation for violation in error.violations if violation not in message]
    if not other_violations:
        return message
    return f"{message.rstrip('.')}: {'; '.join(other_violations)}"


def is_permanent_failure(response: Response, request: RequestInfo) -> bool:
    """Return whether a response with status 500 is a refusal, so that a retry would fail, too."""
    # Kubeflow Pipelines refuses some bad requests with status 500.
    if response.status != 500:
        return False
    return request.errors.is_refusal(request.path, read_error(response.body).message)


def is_page(response: Response) -> bool:
    """Return whether a response is a web page, by its content type or else by its first tag."""
    content_type = response.headers.get("content-type", "").lower()
    return content_type.startswith("text/html") or _WEB_PAGE.match(response.body) is not None


def wants_sign_in(response: Response) -> bool:
    """Return whether a web page asks for a sign-in."""
    return _SIGN_IN.search(_beginning(response)) is not None


def title(response: Response, *secrets: str) -> str:
    """Return the title of a web page in quotation marks, or else the first line with text.

    Return the word "nothing" for an empty response. The result has none of the secrets.
    """
    text = _beginning(response)
    heading = _HEADING.search(text) if is_page(response) else None
    line = heading[2] if heading else _first_line(text)
    if not line.strip():
        return "nothing"
    return f"'{redacted_line(line, *secrets, limit=100)}'"


def _first_line(text: str) -> str:
    """Return the first line that is not blank, "" without one."""
    for line in text.splitlines():
        if line.strip():
            return line
    return ""


def _beginning(response: Response) -> str:
    """Return the first _SEARCHED_BYTES of a body as text."""
    return response.body[:_SEARCHED_BYTES].decode("utf-8", "replace")


def read_error(body: bytes | str) -> ErrorBody:
    """Return the error in the JSON of a body, an empty ErrorBody when the body has no error."""
    content = body if isinstance(body, bytes) else body.encode("utf-8", "replace")
    try:
        data = parse_json(content)
    except (ValueError, NotJsonError):
        return ErrorBody()
    # Some APIs of Google send a list with one error.
    if isinstance(data, list) and data:
        data = data[0]
    if not isinstance(data, dict):
        return ErrorBody()
    error = data.get("error")
    # The fields of a google.rpc.Status are inside `error` in the answers of Google's APIs. In the
    # answers of grpc-gateway they are beside `error`, and `error` is a text.
    rpc_status: Mapping[str, Any] = error if isinstance(error, dict) else data
    details = _details(rpc_status)
    violations: list[str] = []
    fields: list[str] = []
    for detail in details:
        for field_name, problem in _violations(detail):
            parts = [part for part in (field_name, problem) if part]
            violations.append(": ".join(parts))
            if field_name:
                fields.append(field_name)
    reason, metadata = _error_info(details)
    message = _first_text(
        rpc_status.get("message"),
        rpc_status.get("error_description"),
        data.get("error_message"),
        error,
        _registry_message(data),
    )
    return ErrorBody(
        message=message,
        code=_code_name(rpc_status),
        reason=reason,
        metadata=metadata,
        violations=tuple(violations),
        fields=tuple(fields),
    )


def _registry_message(data: Mapping[str, object]) -> str:
    """Return the message of a registry's first error, "" when it has none."""
    errors = data.get("errors")
    if not isinstance(errors, list) or not errors or not isinstance(errors[0], dict):
        return ""
    # The message is optional in the specification, and the code is not.
    return _first_text(errors[0].get("message"), errors[0].get("code"))


def _first_text(*values: object) -> str:
    """Return the first value that is a text with characters, "" without one."""
    for value in values:
        if isinstance(value, str) and value:
            return value
    return ""


def _code_name(rpc_status: Mapping[str, Any]) -> str:
    """Return the name of the google.rpc.Code of an error, "" when the error has none."""
    name = rpc_status.get("status")
    if isinstance(name, str) and re.fullmatch(r"[A-Z_]{2,40}", name):
        return name
    # In the field `code`, grpc-gateway sends the number of the code, and Google's APIs send the
    # HTTP status, which is larger than the number of any code.
    number = rpc_status.get("code")
    if isinstance(number, int) and 0 < number < len(CODES):
        return CODES[number]
    return ""


def _details(rpc_status: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the details of an error that are objects, such as a google.rpc.ErrorInfo."""
    details = rpc_status.get("details")
    if not isinstance(details, list):
        return []
    return [detail for detail in details if isinstance(detail, dict)]


def _error_info(details: Sequence[Mapping[str, Any]]) -> tuple[str, dict[str, str]]:
    """Return the reason and the metadata in the google.rpc.ErrorInfo, ("", {}) without one."""
    for detail in details:
        reason = detail.get("reason")
        if isinstance(reason, str):
            metadata = detail.get("metadata")
            if not isinstance(metadata, dict):
                return reason, {}
            return reason, {str(key): str(value) for key, value in metadata.items()}
    return "", {}


def _violations(detail: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield each field in a google.rpc.BadRequest and its problem. One of the two may be ""."""
    violations = detail.get("fieldViolations")
    if not isinstance(violations, list):
        return
    for violation in violations:
        if not isinstance(violation, dict):
            continue
        name = _first_text(violation.get("field"))
        problem = _first_text(violation.get("description"))
        if name or problem:
            yield name, problem


def _redirect_error(response: Response, request: RequestInfo) -> BackendError:
    """Return the error for a redirect.

    kfgcp does not follow redirects, because the token would go to another address.
    """
    location = response.headers.get("location", "")
    try:
        url = urlsplit(location)
        host = redacted_line(url.hostname or request.host, *request.secrets, limit=100)
    except ValueError:
        return Unreachable(
            f"{request.service} redirects to an address that is not valid ({response.status}).",
            hint=_ADDRESS_HINT,
        )
    if _SIGN_IN_URL.search((url.hostname or "") + url.path) or "client_id=" in url.query:
        return AuthError(
            f"{request.service} did not answer {request}, but redirects to a sign-in at {host}"
            f" ({response.status}).",
            hint=request.sign_in_hint,
        )
    return Unreachable(
        f"{request.service}: {request.host} redirects {request} to {host} ({response.status}), but"
        " kfgcp does not send tokens to another host.",
        hint=_ADDRESS_HINT,
    )


def _page_error(response: Response, request: RequestInfo) -> BackendError:
    """Return the error for the response of a proxy, or for a sign-in page."""
    page_title = title(response, *request.secrets)
    if response.status in (401, 403) and wants_sign_in(response):
        return AuthError(
            f"A sign-in page, not {request.service}, answered {request}: {page_title}"
            f" ({response.status}).",
            hint=request.sign_in_hint,
        )
    return Unreachable(
        f"A proxy or gateway, not {request.service}, answered {request}: {page_title}"
        f" ({response.status}).",
        hint=f"Check HTTPS_PROXY and NO_PROXY, and whether your network can reach {request.host}.",
    )
