"""The client of one service.

It signs in, repeats requests where that is safe, and returns JSON or raises one of our errors.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, TypedDict, Unpack
from urllib.parse import urlsplit

from kfgcp.deadlines import REQUEST_SECONDS, within
from kfgcp.errors import AuthError, BackendError, BadAnswer, ConfigError, Unreachable, UsageError
from kfgcp.hosts import CLUSTER_DOMAINS, LOOPBACK
from kfgcp.services import transport
from kfgcp.services.auth.tokens import Token, TokenSource
from kfgcp.services.error_rules import ErrorRules
from kfgcp.services.fields import HINT
from kfgcp.services.google_errors import GoogleErrors
from kfgcp.services.paging import GOOGLE, PageKeys, PageLimit, PageSize
from kfgcp.services.responses import RequestInfo, error_for, is_permanent_failure, parse
from kfgcp.services.retry import Clock, Retries
from kfgcp.services.transport import QueryParams, Response, Transport, TransportError

# Statuses after which a request is sent again.
RETRIED_STATUSES: Final = frozenset({429, 500, 502, 503, 504})
# How often a connection is tried again. An address without an answer is most often a wrong one.
CONNECT_RETRIES: Final = 2


class CallOptions(TypedDict, total=False):
    """The options of one call, in place of those of the client.

    Attributes:
        repeatable: whether the request may be carried out twice; None for all methods but POST.
        budget: seconds after the first try in which another try may begin.
        retries: the most tries after the first one; 0 sends the request once.
        read_timeout: seconds to wait for the next bytes of a response.
        seconds: how long the call may take; see `ServiceClient`.
    """

    repeatable: bool | None
    budget: float | None
    retries: int | None
    read_timeout: float | None
    seconds: float | None


class ServiceClient:
    """A service at one address. Threads may share it.

    A request is sent again after `RETRIED_STATUSES` and when the connection fails. The waits are
    described in `retry`. A request that must not be carried out twice is sent again only when it
    certainly was not carried out: after 429, and when there was no connection.
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
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """Create a client. Nothing is imported or sent yet.

        Args:
            base: the address of the service. It is https, or http for this machine and where
                `in_cluster` allows it.
            tokens: where the tokens of the requests come from.
            service: its name in messages.
            paging: the parameters for the pages of a list.
            errors: the rules for its errors; None for those of Google.
            budget: seconds after the first try in which another try may begin.
            retries: the most tries after the first one.
            connect_timeout: seconds to connect in.
            read_timeout: seconds to wait for the next bytes of a response.
            seconds: how long a call may take, from the sign-in to the last byte, with all its
                tries. For a stream, this is how long the next piece may take.
            ca_file: certificates of the only authorities that are trusted.
            in_cluster: this machine is in the cluster of the service, so plain http is allowed.
            sleep: waits for a number of seconds.
            clock: the monotonic clock, in seconds.
            jitter: returns a random number between 0 and 1.

        Raises:
            ConfigError: a token must not be sent to this address.
        """
        self._base, self._host, self._loopback = _base(base, in_cluster)
        self._tokens = tokens
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
        """Send a GET; see `send`."""
        return self.send("GET", path, params=params, **options)

    def post(
        self,
        path: str,
        *,
        params: QueryParams | None = None,
        body: object = None,
        **options: Unpack[CallOptions],
    ) -> dict[str, Any]:
        """Send a POST; see `send`. It is sent a second time only with `repeatable=True`."""
        return self.send("POST", path, params=params, body=body, **options)

    def patch(
        self,
        path: str,
        *,
        params: QueryParams | None = None,
        body: object = None,
        **options: Unpack[CallOptions],
    ) -> dict[str, Any]:
        """Send a PATCH; see `send`."""
        return self.send("PATCH", path, params=params, body=body, **options)

    def delete(
        self, path: str, *, params: QueryParams | None = None, **options: Unpack[CallOptions]
    ) -> dict[str, Any]:
        """Send a DELETE; see `send`."""
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
        """Return the JSON object in the answer of the service.

        It is empty when the answer to a change has no body.

        Args:
            method: of HTTP.
            path: below the base, quoted.
            params: of the query; those that are None are left out.
            body: a value for JSON, None for no body.
            options: of this call.

        Raises:
            Refused: the service answered 4xx, or Kubeflow Pipelines 500 to a bad request. NotFound:
                404.
            AuthError: the service did not accept the sign-in, or there is none.
            Unreachable: the service did not answer in time, or something else answered.
            BackendError: the answer is not a JSON object.
            UsageError: the body cannot be written as JSON.
        """
        data = None if body is None else self._json(body)
        response = self.exchange(method, path, params=params, data=data, **options)
        return response.json(may_be_empty=method != "GET")

    def stream(
        self, path: str, *, params: QueryParams | None = None, **options: Unpack[CallOptions]
    ) -> Generator[bytes]:
        """Return the response to a GET piece by piece. It may have any length.

        The iterator must be read to its end or closed. It raises Unreachable when the answer breaks
        off. Arguments and errors are those of `send`.
        """
        response = self.exchange("GET", path, params=params, stream=True, **options)
        # The page of a sign-in may have status 200. Then `parse` raises an error.
        if response.headers.get("content-type", "").startswith("text/html"):
            parse(replace(response.response, body=next(response.chunks(), b"")), response.request)
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
        """Yield all items of a list, page after page. A page is requested when it is needed.

        With the method POST, the body names the page. A page that is longer than kfgcp reads is
        requested again with half as many items. After short pages, the number grows again.

        Args:
            path, params: see `send`.
            items: the key of the list in an answer; a page without it is empty.
            body: of a POST, without the page.
            size: the most items in a page; None leaves it to the service.
            method: GET or POST.
            options: of the call for each page.

        Raises:
            BadAnswer: the service names more and more pages without new items, or the same page
                again.
            Unreachable: one item alone is longer than kfgcp reads, or `size` is None and a page is.
        """
        keys = self._paging
        query = dict(params or {})
        page_size = PageSize(size, transport.LARGEST)
        token = ""
        limit = PageLimit(self._service, f"{method} {path}", self._clock.now)
        if method == "POST":
            # A POST that reads a list changes nothing.
            options.setdefault("repeatable", True)
        while True:
            page_params: dict[str, str | int] = {}
            if page_size.items is not None:
                page_params[keys.size] = page_size.items
            if token:
                page_params[keys.token] = token
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
            page_items = self._items(page, items, f"{method} {path}")
            yield from page_items
            token = self._next_token(page, f"{method} {path}")
            if not token:
                return
            limit.check(json.dumps(page_items) if page_items else "", token)
            query = keys.of_later_pages(query)

    def _items(self, page: Mapping[str, Any], key: str, request: str) -> list[Any]:
        page_items = page.get(key)
        if page_items is None:
            return []
        if not isinstance(page_items, list):
            raise BadAnswer(
                f"{self._service} answered {request} with '{key}' that is not a list.",
                hint=f"Is {self._host} the address of {self._service}?",
            )
        return page_items

    def _next_token(self, page: Mapping[str, Any], request: str) -> str:
        """Return the token of the next page, "" after the last one."""
        # Kubeflow Pipelines uses the second spelling.
        token = page.get("nextPageToken") or page.get("next_page_token") or ""
        if not isinstance(token, str):
            raise BadAnswer(
                f"{self._service} answered {request} with a page token that is not text.",
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
        repeatable: bool | None = None,
        budget: float | None = None,
        retries: int | None = None,
        read_timeout: float | None = None,
        seconds: float | None = None,
        stream: bool = False,
    ) -> ServiceResponse:
        """Return a response with status 2xx, for bodies that are not JSON.

        Args:
            method, path, params: see `send`, also for errors.
            data: the body.
            content_type: of the body.
            repeatable, budget, retries, read_timeout, seconds: see `CallOptions`.
            stream: do not read the body. `ServiceResponse.chunks` reads it.
        """
        limit = self._seconds if seconds is None else min(seconds, self._seconds)
        budget = self._budget if budget is None else budget
        retries = self._retries if retries is None else retries
        if repeatable is None:
            repeatable = method != "POST"
        tries = Retries(min(limit, budget), retries, self._clock)
        with within(limit, self._clock.now):
            return self._try(
                method,
                path,
                tries,
                repeatable=repeatable,
                params=params,
                data=data,
                content_type=content_type,
                read_timeout=read_timeout or self._timeout[1],
                seconds=limit,
                stream=stream,
            )

    def _try(
        self,
        method: str,
        path: str,
        tries: Retries,
        *,
        repeatable: bool,
        params: QueryParams | None,
        data: bytes | None,
        content_type: str,
        read_timeout: float,
        seconds: float,
        stream: bool,
    ) -> ServiceResponse:
        """Send a request, and send it again while that is safe and there is time."""
        request = RequestInfo(
            self._service,
            method,
            path.lstrip("/"),
            self._host,
            sign_in_hint=self._tokens.sign_in_hint,
            errors=self._errors,
        )
        headers_type = None if data is None else content_type
        refused_token: Token | None = None
        refusal: Response | None = None
        # Whether an earlier try may have been carried out although it failed.
        unknown = False
        while True:
            token = self._token(refused_token, tries)
            # There is no other token than the refused one.
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
                    headers=_headers(token, headers_type),
                    sign=token.sign if token else None,
                    timeout=(self._timeout[0], tries.read_timeout(read_timeout)),
                    seconds=seconds,
                    stream=stream,
                )
            except TransportError as failure:
                unknown = unknown or failure.sent
                can_retry = not failure.final and (repeatable or not failure.sent)
                if not can_retry or not tries.wait(most=None if failure.sent else CONNECT_RETRIES):
                    error = _unreachable(failure, request, repeatable)
                    raise tries.described(error.amended(unknown=unknown)) from None
                request = replace(request, retried=True)
                continue
            if 200 <= response.status < 300:
                return ServiceResponse(response, request)
            is_permanent = is_permanent_failure(response, request)
            unknown = unknown or (response.status >= 500 and not is_permanent)
            # A token may have been revoked. Another one is tried once, without a wait.
            if response.status == 401 and token is not None and refused_token is None:
                refused_token, refusal = token, response
                continue
            can_retry = (
                response.status in RETRIED_STATUSES
                and not is_permanent
                and (repeatable or response.status == 429)
            )
            if not can_retry or not tries.wait(response):
                raise tries.described(error_for(response, request).amended(unknown=unknown))
            request = replace(request, retried=True)

    def close(self) -> None:
        """End the connections. A later call opens new ones."""
        self._transport.close()

    def _token(self, refused: Token | None, tries: Retries) -> Token | None:
        """Return the token for the next try; another one than `refused` when there is one."""
        while True:
            try:
                token = self._tokens.get(refused)
            except Unreachable as error:
                if not tries.wait(most=CONNECT_RETRIES):
                    raise tries.described(error) from None
                continue
            if token is None and not self._loopback:
                raise AuthError(
                    f"{self._service} at {self._host} needs a sign-in.",
                    hint='auth = "anonymous" is for emulators on this machine.',
                )
            return token

    def _json(self, body: object) -> bytes:
        try:
            # `encode` refuses halves of surrogate pairs.
            return json.dumps(body, allow_nan=False, ensure_ascii=False).encode()
        except (ValueError, TypeError, RecursionError) as error:
            raise UsageError(
                f"The request to {self._service} cannot be written as JSON: {error}.",
                hint="Use finite numbers, and text that is valid UTF-8.",
            ) from None


@dataclass(frozen=True, slots=True)
class ServiceResponse:
    """A response with status 2xx, and its request."""

    response: Response
    request: RequestInfo

    @property
    def body(self) -> bytes:
        """The whole body; empty for a stream."""
        return self.response.body

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers; their names are in lower case."""
        return self.response.headers

    def chunks(self) -> Generator[bytes]:
        """Yield the body of a stream, piece by piece."""
        try:
            yield from self.response.chunks or ()
        except TransportError as failure:
            raise _unreachable(failure, self.request, repeatable=True) from None

    def json(self, *, may_be_empty: bool = True) -> dict[str, Any]:
        """Return the JSON object in the body; see `responses.parse`."""
        try:
            return parse(self.response, self.request, may_be_empty=may_be_empty)
        except BackendError as error:
            # The request was carried out, although its answer cannot be used.
            raise error.amended(unknown=True) from None


def _headers(token: Token | None, content_type: str | None) -> dict[str, str]:
    """Return all headers except the token, which `Token.sign` adds."""
    headers = {"Accept": "application/json"}
    if content_type is not None:
        headers["Content-Type"] = content_type
    if token is not None and token.quota_project:
        headers["X-Goog-User-Project"] = token.quota_project
    return headers


def _unreachable(failure: TransportError, request: RequestInfo, repeatable: bool) -> Unreachable:
    message = f"{request.service}: {request.host} {failure.problem} ({request})."
    if failure.sent and not repeatable:
        message += " The request may have been carried out nevertheless."
    error = Unreachable(message, hint=failure.hint)
    error.too_large = failure.too_large
    return error


def _base(text: str, in_cluster: bool) -> tuple[str, str, bool]:
    """Return an address without a slash at its end, its host, and whether that is this machine."""
    try:
        url = urlsplit(text)
        host = url.hostname or ""
    except ValueError:
        host = ""
    is_web = bool(host) and url.scheme in ("http", "https")
    if not is_web or url.query or url.fragment or "@" in url.netloc:
        raise ConfigError(
            "The address of a service is not a plain URL.",
            hint="Write https://HOST or https://HOST:PORT.",
        )
    # Everybody on the way can read plain http, also the token.
    is_private = host in LOOPBACK or (in_cluster and host.endswith(CLUSTER_DOMAINS))
    if url.scheme == "http" and not is_private:
        raise ConfigError(
            f"Plain http is allowed for this machine only, not for {host}.", hint=f"https://{host}"
        )
    return text.rstrip("/"), host, host in LOOPBACK
