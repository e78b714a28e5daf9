"""The client of one service.

It signs in, repeats requests where that is safe, and returns JSON or raises one of our errors.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final, TypedDict, Unpack
from urllib.parse import urlsplit

from kfgcp.deadlines import REQUEST_SECONDS, within
from kfgcp.errors import AuthError, BadAnswer, ConfigError, Unreachable, UsageError
from kfgcp.hosts import CLUSTER_DOMAINS, LOOPBACK
from kfgcp.services import transport
from kfgcp.services.auth.tokens import Token, TokenSource
from kfgcp.services.error_rules import ErrorRules
from kfgcp.services.fields import HINT
from kfgcp.services.google_errors import GoogleErrors
from kfgcp.services.paging import GOOGLE, PageKeys, PageLimit, PageSize
from kfgcp.services.responses import RequestInfo, error_for, is_permanent_failure, parse
from kfgcp.services.retry import Clock, Retries
from kfgcp.services.service_response import ServiceResponse, unreachable_error
from kfgcp.services.transport import QueryParams, Response, Transport, TransportError

# The HTTP statuses after which a request is sent again.
RETRIED_STATUSES: Final = frozenset({429, 500, 502, 503, 504})
# The most retries when a server does not accept the connection. This limit is low, because most
# often the address is wrong, and the user should soon see the error.
CONNECT_RETRIES: Final = 2


class CallOptions(TypedDict, total=False):
    """The options of one call. They replace the values that the client was created with.

    Attributes:
        repeatable: the service may carry out the request twice without harm. None means False for
            a POST, and True for all other methods.
        budget: another try may begin within this many seconds after the first try.
        retries: the most tries after the first try; 0 sends the request once.
        read_timeout: seconds to wait for the next bytes of a response.
        seconds: how long the whole call may take; see `ServiceClient`.
    """

    repeatable: bool | None
    budget: float | None
    retries: int | None
    read_timeout: float | None
    seconds: float | None


class ServiceClient:
    """A client of a service at one address. Threads may share it.

    The client sends a request again when the connection fails, and after one of the
    RETRIED_STATUSES. `retry` decides how long it waits. A request that is not `repeatable` is sent
    again only when the service certainly did not carry it out: after status 429, and when there was
    no connection.
    """

    def __init__(
        self,
        base: str,
        tokens: TokenSource,
        *,
        service: str,
        paging: PageKeys = GOOGLE,
        errors: ErrorRules | None = None,
        budget: float = 60,
        retries: int = 8,
        connect_timeout: float = 5,
        read_timeout: float = 60,
        seconds: float = REQUEST_SECONDS,
        ca_file: str | None = None,
        in_cluster: bool = False,
        needs_token: bool = True,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """Create a client. The first call imports `requests` and connects, not this method.

        Args:
            base: the address of the service. It must be https, except for this machine and with
                `in_cluster`.
            tokens: the source of the tokens for the requests.
            service: the name of the service in messages.
            paging: the names of the parameters for the pages of a list.
            errors: the rules for the errors of the service; None for the rules of Google's APIs.
            budget: another try may begin within this many seconds after the first try.
            retries: the most tries after the first try.
            connect_timeout: seconds to wait for a connection.
            read_timeout: seconds to wait for the next bytes of a response.
            seconds: how long a call may take with all its tries, from the sign-in to the last byte.
                For a stream, how long the next piece may take.
            ca_file: a file with certificates. They replace all others: the client trusts only them.
            in_cluster: this machine is in the cluster of the service, so plain http is allowed.
            needs_token: whether a request without a token is refused, except to this machine.
            sleep: waits for a number of seconds.
            clock: a monotonic clock, in seconds.
            jitter: returns a random number between 0 and 1.

        Raises:
            ConfigError: the address is not a URL, or a token would be sent without encryption.
        """
        self._base, self._host, is_loopback = _check_base(base, in_cluster)
        self._tokens = tokens
        self._needs_token = needs_token and not is_loopback
        self._service = service
        self._paging = paging
        self._errors = errors or GoogleErrors()
        self._budget = budget
        self._retries = retries
        self._timeout = (connect_timeout, read_timeout)
        self._seconds = seconds
        self._clock = Clock(sleep, clock, jitter)
        self._transport = Transport(ca_file, clock)

    def get(
        self, path: str, *, params: QueryParams | None = None, **options: Unpack[CallOptions]
    ) -> dict[str, Any]:
        """Send a GET, and return the JSON object in the answer, see `send`."""
        return self.send("GET", path, params=params, **options)

    def post(
        self,
        path: str,
        *,
        params: QueryParams | None = None,
        body: object = None,
        **options: Unpack[CallOptions],
    ) -> dict[str, Any]:
        """Send a POST, and return the JSON object in the answer, see `send`.

        After most failures, a POST is sent again only with `repeatable=True`.
        """
        return self.send("POST", path, params=params, body=body, **options)

    def patch(
        self,
        path: str,
        *,
        params: QueryParams | None = None,
        body: object = None,
        **options: Unpack[CallOptions],
    ) -> dict[str, Any]:
        """Send a PATCH, and return the JSON object in the answer, see `send`."""
        return self.send("PATCH", path, params=params, body=body, **options)

    def delete(
        self, path: str, *, params: QueryParams | None = None, **options: Unpack[CallOptions]
    ) -> dict[str, Any]:
        """Send a DELETE, and return the JSON object in the answer, see `send`."""
        return self.send("DELETE", path, params=params, **options)

    def send(
        self,
        method: str,
        path: str,
        *,
        params: QueryParams | None = None,
        body: object = None,
        **options: Unpack[CallOptions],
    ) -> dict[str, Any]:
        """Send a request, and return the JSON object in the answer.

        The answer to a GET must have a body. For other methods, the result is {} without a body.

        Args:
            method: the HTTP method.
            path: the path below the address of the service, quoted for a URL.
            params: the parameters of the query. Those with the value None are left out.
            body: a value that becomes the JSON of the request; None for no body.
            options: options for this call only.

        Raises:
            NotFound: the service answered 404.
            Refused: the service answered another status 4xx. Or Kubeflow Pipelines answered 500 to
                a bad request.
            AuthError: the service did not accept the sign-in, or the user is not signed in.
            Unreachable: the service did not answer in time, or a proxy answered in its place.
            BackendError: the answer is not a JSON object.
            UsageError: the body cannot be written as JSON.
        """
        data = None if body is None else self._json(body)
        response = self.exchange(method, path, params=params, data=data, **options)
        return response.json(may_be_empty=method != "GET")

    def stream(
        self, path: str, *, params: QueryParams | None = None, **options: Unpack[CallOptions]
    ) -> Generator[bytes]:
        """Send a GET, and return the body of the answer piece by piece. It may have any length.

        The caller must read the iterator to its end or close it. The iterator raises Unreachable
        when the answer breaks off. For the arguments and other errors see `send`.
        """
        response = self.exchange("GET", path, params=params, stream=True, **options)
        # A sign-in page may come with status 200. `parse` raises the right error for such a page.
        if response.headers.get("content-type", "").startswith("text/html"):
            first_piece = next(response.chunks(), b"")
            parse(replace(response.response, body=first_piece), response.request)
        return response.chunks()

    def pages(
        self,
        path: str,
        params: QueryParams | None,
        items: str,
        *,
        body: Mapping[str, object] | None = None,
        size: int | None = 100,
        method: str = "GET",
        **options: Unpack[CallOptions],
    ) -> Iterator[Any]:
        """Yield all items of a list, page after page. Each page is requested when it is needed.

        When a page is longer than kfgcp reads, the page is requested again with half as many items.
        After short pages, the number of items grows again.

        Args:
            path: see `send`.
            params: see `send`. The parameters of the page are added: for a GET to the query, and
                for a POST to the body.
            items: the key of the list in an answer. A page without the key is empty.
            body: the body of a POST.
            size: the most items in a page; None lets the service choose.
            method: GET or POST.
            options: options for the request of each page.

        Raises:
            BadAnswer: the list has no end: a page comes again, or too many pages have no new items.
            Unreachable: a page is longer than kfgcp reads, and a smaller page cannot be requested:
                the page has one item, or `size` is None.
        """
        request = f"{method} {path}"
        keys = self._paging
        query = dict(params or {})
        page_size = PageSize(size, transport.LARGEST)
        page_limit = PageLimit(self._service, request, self._clock.now)
        page_token = ""
        if method == "POST":
            # The POST of a list only reads.
            options.setdefault("repeatable", True)
        while True:
            page_params: dict[str, str | int] = {}
            if page_size.items is not None:
                page_params[keys.size] = page_size.items
            if page_token:
                page_params[keys.token] = page_token
            try:
                if method == "GET":
                    response = self.exchange(method, path, params=query | page_params, **options)
                else:
                    data = self._json({**(body or {}), **page_params})
                    response = self.exchange(method, path, params=params, data=data, **options)
                page = response.json(may_be_empty=False)
            except Unreachable as error:
                if error.too_large and page_size.shrink():
                    continue
                raise
            page_size.grow_after(len(response.body))
            page_items = self._read_items(page, items, request)
            yield from page_items
            page_token = self._read_next_token(page, request)
            if not page_token:
                return
            page_limit.check(json.dumps(page_items) if page_items else "", page_token)
            query = keys.params_of_later_pages(query)

    def _read_items(self, page: Mapping[str, Any], key: str, request: str) -> list[Any]:
        """Return the items of a page. request: the method and the path, for messages."""
        page_items = page.get(key)
        if page_items is None:
            return []
        if not isinstance(page_items, list):
            raise BadAnswer(
                f"In the answer of {self._service} to {request}, '{key}' is not a list.",
                hint=f"Is {self._host} the address of {self._service}?",
            )
        return page_items

    def _read_next_token(self, page: Mapping[str, Any], request: str) -> str:
        """Return the token of the next page, "" when this page is the last."""
        # Google's APIs have the first name, and Kubeflow Pipelines has the second name.
        token = page.get("nextPageToken") or page.get("next_page_token") or ""
        if not isinstance(token, str):
            raise BadAnswer(
                f"In the answer of {self._service} to {request}, the page token is not text.",
                hint=HINT,
            )
        return token

    def exchange(
        self,
        method: str,
        path: str,
        *,
        params: QueryParams | None = None,
        data: bytes | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
        repeatable: bool | None = None,
        budget: float | None = None,
        retries: int | None = None,
        read_timeout: float | None = None,
        seconds: float | None = None,
        stream: bool = False,
    ) -> ServiceResponse:
        """Send a request whose body is bytes, and return a response with status 2xx.

        Args:
            method, path, params: see `send`. For the errors, see `send`, too.
            data: the body of the request.
            content_type: the media type of the body.
            accept: the media types that the answer may have.
            repeatable, budget, retries, read_timeout, seconds: see `CallOptions`.
            stream: True does not read the body of the response; `ServiceResponse.chunks` then
                reads it.
        """
        call_seconds = self._seconds if seconds is None else min(seconds, self._seconds)
        budget = self._budget if budget is None else budget
        retries = self._retries if retries is None else retries
        if repeatable is None:
            repeatable = method != "POST"
        tries = Retries(min(call_seconds, budget), retries, self._clock)
        with within(call_seconds, self._clock.now):
            return self._send_with_retries(
                method,
                path,
                tries,
                repeatable=repeatable,
                params=params,
                data=data,
                content_type=content_type,
                accept=accept,
                read_timeout=read_timeout or self._timeout[1],
                seconds=call_seconds,
                stream=stream,
            )

    def _send_with_retries(
        self,
        method: str,
        path: str,
        tries: Retries,
        *,
        repeatable: bool,
        params: QueryParams | None,
        data: bytes | None,
        content_type: str,
        accept: str,
        read_timeout: float,
        seconds: float,
        stream: bool,
    ) -> ServiceResponse:
        """Send a request, and send it again after failures while this is safe and time is left."""
        request = RequestInfo(
            self._service,
            method,
            path.lstrip("/"),
            self._host,
            sign_in_hint=self._tokens.sign_in_hint,
            errors=self._errors,
        )
        header_type = None if data is None else content_type
        # The token that the service refused with status 401, and the response with this status.
        refused_token: Token | None = None
        refusal: Response | None = None
        # True when the service may have carried out the request in a try that failed.
        may_be_done = False
        while True:
            token = self._get_token(refused_token, tries)
            # The source of tokens has no other token than the refused one.
            if refusal is not None and token == refused_token:
                raise error_for(refusal, request)
            if token is not None and token.value not in request.secrets:
                request = replace(request, secrets=(*request.secrets, token.value))
            try:
                response = self._transport.exchange(
                    method,
                    f"{self._base}/{request.path}",
                    params=params,
                    data=data,
                    headers=_headers(token, header_type, accept),
                    sign=token.sign if token else None,
                    timeout=(self._timeout[0], tries.read_timeout(read_timeout)),
                    seconds=seconds,
                    stream=stream,
                )
            except TransportError as failure:
                may_be_done = may_be_done or failure.sent
                can_retry = not failure.final and (repeatable or not failure.sent)
                max_retries = None if failure.sent else CONNECT_RETRIES
                if not can_retry or not tries.wait_for_next(max_retries=max_retries):
                    error = unreachable_error(failure, request, repeatable)
                    raise tries.describe(error.amended(unknown=may_be_done)) from None
                request = replace(request, retried=True)
                continue
            if 200 <= response.status < 300:
                return ServiceResponse(response, request)
            is_permanent = is_permanent_failure(response, request)
            may_be_done = may_be_done or (response.status >= 500 and not is_permanent)
            # The token may have been revoked. So one try follows at once with another token.
            if response.status == 401 and token is not None and refused_token is None:
                refused_token, refusal = token, response
                continue
            # After 429, the service certainly did not carry out the request.
            is_safe = repeatable or response.status == 429
            can_retry = is_safe and response.status in RETRIED_STATUSES and not is_permanent
            if not can_retry or not tries.wait_for_next(response):
                response_error = error_for(response, request).amended(unknown=may_be_done)
                raise tries.describe(response_error)
            request = replace(request, retried=True)

    def close(self) -> None:
        """Close the connections. A later call opens new connections."""
        self._transport.close()

    def _get_token(self, refused: Token | None, tries: Retries) -> Token | None:
        """Return the token for the next try, see `TokenSource.get`."""
        while True:
            try:
                token = self._tokens.get(refused)
            except Unreachable as error:
                if not tries.wait_for_next(max_retries=CONNECT_RETRIES):
                    raise tries.describe(error) from None
                continue
            if token is None and self._needs_token:
                raise AuthError(
                    f"{self._service} at {self._host} needs a sign-in.",
                    hint='auth = "anonymous" is for emulators on this machine.',
                )
            return token

    def _json(self, body: object) -> bytes:
        """Return a body as JSON.

        Raises:
            UsageError: JSON has no form for the body.
        """
        try:
            # With ensure_ascii=False, `encode` refuses surrogates without a partner.
            return json.dumps(body, allow_nan=False, ensure_ascii=False).encode()
        except (ValueError, TypeError, RecursionError) as error:
            raise UsageError(
                f"The request to {self._service} cannot be written as JSON: {error}.",
                hint="Use finite numbers, and text that is valid UTF-8.",
            ) from None


def _headers(token: Token | None, content_type: str | None, accept: str) -> dict[str, str]:
    """Return the headers of a request. `Token.sign` later adds the header with the token."""
    headers = {"Accept": accept}
    if content_type is not None:
        headers["Content-Type"] = content_type
    if token is not None and token.quota_project:
        headers["X-Goog-User-Project"] = token.quota_project
    return headers


def _check_base(base: str, in_cluster: bool) -> tuple[str, str, bool]:
    """Check the address of a service.

    Returns:
        The address without a slash at its end, the host in it, and True if the host is this
        machine.

    Raises:
        ConfigError: see `ServiceClient.__init__`.
    """
    try:
        url = urlsplit(base)
        host = url.hostname or ""
    except ValueError:
        host = ""
    is_web = bool(host) and url.scheme in ("http", "https")
    if not is_web or url.query or url.fragment or "@" in url.netloc:
        raise ConfigError(
            "The address of a service is not a plain URL.",
            hint="Write https://HOST or https://HOST:PORT.",
        )
    # Every machine on the way can read plain http, and so the token.
    is_private = host in LOOPBACK or (in_cluster and host.endswith(CLUSTER_DOMAINS))
    if url.scheme == "http" and not is_private:
        raise ConfigError(
            f"Plain http is allowed for this machine only, not for {host}.",
            hint=f"Write https://{host}.",
        )
    return base.rstrip("/"), host, host in LOOPBACK
