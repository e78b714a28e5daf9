"""What an answer over HTTP says: the JSON object that was asked for, or one of our errors.

Errors come as Google's JSON (`{"error": {"code", "message", "status", "details"}}`), as that of Kubeflow Pipelines
(`{"error", "code", "message", "details"}`), or as a page or text of something in between: a proxy, a sign-in.
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

from kfgcp.backends import kubeflow_errors
from kfgcp.backends.fields import HINT, nests_too_deep
from kfgcp.backends.hints import hint
from kfgcp.backends.secrecy import one_line
from kfgcp.backends.wire import Answer
from kfgcp.errors import AuthError, BackendError, BadAnswer, NotFound, Refused, Unreachable
from kfgcp.spec.documents import MAX_DEPTH, UnfitError, check_plain, dotted

CODES: Final = (
    *("OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS"),
    *("PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED"),
    *("INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED"),
)
"""Names of google.rpc.Code by number."""
_OF_STATUS: Final = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ALREADY_EXISTS",
    429: "RESOURCE_EXHAUSTED",
    501: "UNIMPLEMENTED",
}
_SIGN_IN: Final = re.compile(r"sign[ -]?in\b|log[ -]?in\b|accounts\.google\.com|type=.?password", re.IGNORECASE)
_SIGN_IN_URL: Final = re.compile(r"^accounts\.|/(?:o?auth2?|dex|saml|sso|log[-_]?in|sign[-_]?in)\b", re.IGNORECASE)
_WEB_PAGE: Final = re.compile(rb"\s*(?:<!--.*?-->\s*)?<(?:!doctype html|html|head|body)\b", re.IGNORECASE | re.DOTALL)


_HALF: Final = re.compile("[\ud800-\udfff]")
_MAYBE_HALF: Final = re.compile(rb"\\u[dD][89a-fA-F]|\xed[\xa0-\xbf]")
"""What stands for one in the bytes of JSON, or for one of a pair."""


@dataclass(frozen=True, slots=True)
class Call:
    """What was asked of whom, for messages. secrets: tokens that must not show; mend: how to sign in again."""

    service: str
    method: str
    path: str
    host: str
    secrets: Sequence[str] = field(default=(), repr=False)
    mend: str = ""
    retried: bool = False

    def __str__(self) -> str:
        return f"{self.method} {one_line(self.path, *self.secrets, limit=120)}"


@dataclass(frozen=True, slots=True)
class Said:
    """The error of an answer.

    code: google.rpc.Code. detail, facts: reason and metadata of its ErrorInfo. fields: the fields of the request that
    its BadRequest names. violations: the same, each with what is wrong with it.
    """

    message: str = ""
    code: str = ""
    detail: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    violations: Sequence[str] = ()
    fields: Sequence[str] = ()


def parse(answer: Answer, call: Call, *, may_be_empty: bool = True) -> dict[str, Any]:
    """Return the JSON object in the answer to a successful request.

    Args:
        answer: the answer.
        call: the request.
        may_be_empty: whether an answer without a body is allowed. It is an empty object.

    Returns:
        The object.

    Raises:
        AuthError: it is a web page: most often a sign-in that comes with status 200.
        BackendError: it is something else.
    """
    if is_page(answer):
        like, check = "", f"Is {call.host} the address of {call.service}? Check the proxy, too."
        if wants_sign_in(answer):
            like, check = ", as a sign-in does", f"Check the address ({call.host}) and the proxy, too."
        page = AuthError(
            f"{call.service} answered {call} with a web page, not with JSON{like}: {title(answer, *call.secrets)}.",
            hint=(f"{call.mend} {check}" if like else f"{check} If it is a sign-in: {call.mend}").strip(),
        )
        page.is_of_gateway = True
        raise page
    kind = answer.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if not answer.body.strip():
        if may_be_empty:
            return {}
        raise BadAnswer(f"The answer of {call.service} to {call} is empty ({answer.status}), not JSON.", hint=HINT)
    problem = f"is {one_line(kind, limit=60)}, not JSON"
    if kind == "application/json" or kind.endswith("+json"):
        try:
            value = parse_json(answer.body)
        except UnfitError as unfit:
            field = one_line(dotted(unfit.place), limit=200) or "it"
            raise BadAnswer(
                f"The answer of {call.service} to {call} cannot be used: {field} {unfit.problem}.", hint=HINT
            ) from None
        except ValueError:
            problem = "cannot be read as JSON"
        else:
            if isinstance(value, dict):
                return value
            problem = "is JSON, but not an object"
    raise BackendError(
        f"The answer of {call.service} to {call} {problem}: {title(answer, *call.secrets)}.",
        hint=f"Is {call.host} the address of {call.service}?",
    )


_MAX_DIGITS: Final = sys.float_info.max_10_exp
"""Digits of an integer in an answer: frames and comparisons need it as a double."""


def parse_json(body: bytes) -> Any:
    """The value of a JSON text. Half of a surrogate pair becomes U+FFFD, as in the JSON of Go.

    Raises:
        ValueError: it is not JSON, or an object has a key twice.
        UnfitError: it holds NaN, or a number that is too large for a double, or it nests too deep.
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
            body, parse_constant=real, parse_float=real, parse_int=whole, object_pairs_hook=_without_repeated_keys
        )
    except RecursionError:
        raise UnfitError((), f"nests deeper than {MAX_DEPTH} levels") from None
    if _MAYBE_HALF.search(body):
        value = _in_unicode(value)
    if too_large or nests_too_deep(value):
        check_plain(value, max_digits=_MAX_DIGITS)
    return value


def _without_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the object, or refuse a repeated key: programs do not agree on which of its values counts."""
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


def refusal(answer: Answer, call: Call) -> BackendError:
    """The error that an answer with another status than 2xx is."""
    status = answer.status
    if "x-goog-iap-generated-response" in answer.headers:
        return AuthError(
            f"Identity-Aware Proxy, in front of {call.host}, did not accept the sign-in to {call.service} ({status}).",
            hint='Let the environment have auth = "iap" and iap_client_id, and your account the role '
            "roles/iap.httpsResourceAccessor.",
        )
    if 300 <= status < 400:
        redirect = _redirect(answer, call)
        redirect.is_of_gateway = True
        return redirect
    if status in (407, 511) or (is_page(answer) and status in (401, 403)):
        page = _in_between(answer, call)
        page.is_of_gateway = True
        return page
    said = read_error(answer.body)
    message = said.message
    of_kubeflow = call.path.startswith(kubeflow_errors.PATHS)
    if of_kubeflow and status >= 500:
        message = kubeflow_errors.cause(message)
    # "Request contains an invalid argument." says nothing without them.
    new = [violation for violation in said.violations if violation not in message]
    if new:
        message = f"{message.rstrip('.')}: {'; '.join(new)}"
    text = one_line(message, *call.secrets) or title(answer, *call.secrets)
    code = said.code or _OF_STATUS.get(status, "")
    named = f"{status} {code}".strip()
    if status == 401:
        return AuthError(f"{call.service} did not accept the sign-in: {text} ({named}).", hint=call.mend)
    if status >= 500 and status != 501 and not is_final(answer, call):
        return Unreachable(
            f"{call.service} failed to answer {call}: {text} ({named}).",
            hint=f"Try again later; {call.service} may have an outage.",
            status=status,
            told=bool(said.code),
        )
    kind = NotFound if status == 404 else Refused
    meaning = said.message if of_kubeflow else text
    advice = hint(status, meaning, said.detail, said.facts, call.path, call.host)
    return kind(
        f"{call.service} refused {call}: {text} ({named}).",
        hint=one_line(advice, *call.secrets, limit=600),
        status=status,
        reason=code,
        fields=said.fields,
        explanation=text,
        retried=call.retried,
    )


def is_final(answer: Answer, call: Call) -> bool:
    """Return whether an answer with status 500 refuses the request for good, as Kubeflow Pipelines does."""
    kubeflow = answer.status == 500 and call.path.startswith(kubeflow_errors.PATHS)
    return kubeflow and kubeflow_errors.is_refusal(read_error(answer.body).message)


def is_page(answer: Answer) -> bool:
    """Whether it is HTML, by its type or, when that is missing or wrong, by how it begins."""
    return answer.headers.get("content-type", "").lower().startswith("text/html") or bool(_WEB_PAGE.match(answer.body))


def wants_sign_in(answer: Answer) -> bool:
    """Whether a web page asks for a sign-in."""
    return bool(_SIGN_IN.search(answer.body[:20_000].decode("utf-8", "replace")))


def title(answer: Answer, *secrets: str) -> str:
    """The title of a page, else the first line with something on it, quoted."""
    text = answer.body[:20_000].decode("utf-8", "replace")
    heading = re.search(r"<(title|h1)[^>]*>(.*?)</\1", text, re.IGNORECASE | re.DOTALL) if is_page(answer) else None
    line = heading[2] if heading else next((line for line in text.splitlines() if line.strip()), "")
    return f"'{one_line(line, *secrets, limit=100)}'" if line.strip() else "nothing"


def read_error(body: bytes | str) -> Said:
    """The error that a body in JSON describes; an empty one when it is none."""
    try:
        data = parse_json(body if isinstance(body, bytes) else body.encode("utf-8", "replace"))
    except (ValueError, UnfitError):
        return Said()
    if isinstance(data, list) and data:
        data = data[0]
    if not isinstance(data, dict):
        return Said()
    error = data.get("error")
    inner: Mapping[str, Any] = error if isinstance(error, dict) else data
    texts = [inner.get("message"), inner.get("error_description"), error]
    message = next((text for text in texts if isinstance(text, str) and text), "")
    code, number = inner.get("status"), inner.get("code")
    if not isinstance(code, str) or not re.fullmatch(r"[A-Z_]{2,40}", code):
        code = CODES[number] if isinstance(number, int) and 0 < number < len(CODES) else ""
    listed = inner.get("details")
    details = [detail for detail in listed if isinstance(detail, dict)] if isinstance(listed, list) else []
    named = [violation for detail in details for violation in _violations(detail)]
    fields = tuple(field for field, _ in named if field)
    violations = tuple(": ".join(filter(None, violation)) for violation in named)
    for detail in details:
        if isinstance(detail.get("reason"), str):
            facts = detail.get("metadata")
            facts = facts if isinstance(facts, dict) else {}
            texts_of_facts = {str(key): str(value) for key, value in facts.items()}
            return Said(message, code, detail["reason"], texts_of_facts, violations, fields)
    return Said(message, code, violations=violations, fields=fields)


def _violations(detail: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the fields that a google.rpc.BadRequest names, with what is wrong with each; either may be empty."""
    listed = detail.get("fieldViolations")
    for violation in listed if isinstance(listed, list) else []:
        if isinstance(violation, dict):
            field, description = violation.get("field"), violation.get("description")
            name = field if isinstance(field, str) else ""
            problem = description if isinstance(description, str) else ""
            if name or problem:
                yield name, problem


def _redirect(answer: Answer, call: Call) -> BackendError:
    place = answer.headers.get("location", "")
    try:
        url = urlsplit(place)
        host = one_line(url.hostname or call.host, *call.secrets, limit=100)
    except ValueError:
        return Unreachable(f"{call.service} redirects to what is no address ({answer.status}).", hint=_ADDRESS)
    if _SIGN_IN_URL.search((url.hostname or "") + url.path) or "client_id=" in url.query:
        return AuthError(
            f"{call.service} wants a sign-in at {host} instead of answering {call} ({answer.status}).", hint=call.mend
        )
    return Unreachable(
        f"{call.service}: {call.host} redirects {call} to {host} ({answer.status}); "
        "tokens are not sent on to another address.",
        hint=_ADDRESS,
    )


_ADDRESS: Final = "Let the environment name the final address, as host or api_endpoint, and check the proxy."


def _in_between(answer: Answer, call: Call) -> BackendError:
    """A page with an error that the service itself would have sent as JSON."""
    page = title(answer, *call.secrets)
    if answer.status in (401, 403) and wants_sign_in(answer):
        return AuthError(
            f"A sign-in page came instead of an answer of {call.service} to {call}: {page} ({answer.status}).",
            hint=call.mend,
        )
    return Unreachable(
        f"A proxy or gateway, not {call.service}, answered {call}: {page} ({answer.status}).",
        hint=f"Check HTTPS_PROXY and NO_PROXY, and that the network lets you reach {call.host}.",
    )
