"""The one way to a remote service: signed in, tried again where that is safe; JSON or one of our errors comes back."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import urlsplit

from kfgcp.backends import wire
from kfgcp.backends.answers import Call, is_final, parse, refusal
from kfgcp.backends.auth import Token, TokenSource
from kfgcp.backends.fields import HINT
from kfgcp.backends.paging import GOOGLE, PageKeys, PageLimit, PageSize
from kfgcp.backends.patience import Clock, Patience
from kfgcp.backends.wire import Answer, NoAnswer, Wire
from kfgcp.config import CLUSTER_DOMAINS, LOOPBACK
from kfgcp.deadlines import REQUEST_SECONDS, within
from kfgcp.errors import AuthError, BackendError, BadAnswer, ConfigError, Unreachable, UsageError

AGAIN: Final = frozenset({429, 500, 502, 503, 504})
"""Statuses after which a request is sent again."""
CONNECT_RETRIES: Final = 2
"""Times more that a connection is tried: an address that nobody answers at is most often a wrong one."""


class Http:
    """A service at one address. Threads may share it.

    Requests are sent again after the statuses of `AGAIN` and when the connection fails, with exponential backoff and
    full jitter, or as Retry-After asks. One that must not be carried out twice is sent again only when it surely was
    not: after 429, and when no connection was made.
    """

    def __init__(
        self,
        base: str,
        tokens: TokenSource,
        *,
        service: str,
        paging: PageKeys = GOOGLE,
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
        """A client; nothing is imported or sent yet.

        Args:
            base: the part that all addresses begin with, https, or http for this machine and where `in_cluster` allows.
            service: its name in messages.
            paging: how the service is asked for the pages of a list.
            budget: seconds after the first try in which another try may begin.
            retries: how often a request is sent again at most.
            read_timeout: seconds to wait for the next bytes of an answer.
            seconds: how long a call may take, from the sign-in to the last byte, with all its tries. When an answer is
                read as it comes, this is how long the next piece may take.
            ca_file: certificates of the only authorities that are trusted.
            in_cluster: the tokens are for services of the cluster that this machine is in, to which http will do.

        Raises:
            ConfigError: a token must not be sent to this address.
        """
        self._base, self._host, self._loopback = _base(base, in_cluster)
        self._tokens = tokens
        self._service = service
        self._paging = paging
        self._budget = budget
        self._retries = retries
        self._timeout = (connect_timeout, read_timeout)
        self._seconds = seconds
        self._clock = Clock(sleep, clock, jitter)
        self._wire = Wire(ca_file, clock)

    def get(self, path: str, *, params: Mapping[str, Any] | None = None, **how: Any) -> dict[str, Any]:
        return self.send("GET", path, params=params, **how)

    def post(
        self, path: str, *, params: Mapping[str, Any] | None = None, body: Any = None, **how: Any
    ) -> dict[str, Any]:
        """Not sent a second time, unless `repeatable=True` says that twice does what once does."""
        return self.send("POST", path, params=params, body=body, **how)

    def patch(
        self, path: str, *, params: Mapping[str, Any] | None = None, body: Any = None, **how: Any
    ) -> dict[str, Any]:
        return self.send("PATCH", path, params=params, body=body, **how)

    def delete(self, path: str, *, params: Mapping[str, Any] | None = None, **how: Any) -> dict[str, Any]:
        return self.send("DELETE", path, params=params, **how)

    def send(
        self, method: str, path: str, *, params: Mapping[str, Any] | None = None, body: Any = None, **how: Any
    ) -> dict[str, Any]:
        """Return the JSON object in the answer of the service. It is empty when the answer to a change has no body.

        Args:
            method: of HTTP.
            path: below the base, quoted.
            params: of the query; those that are None are left out.
            body: a value for JSON, None for no body.
            how: `repeatable`, `budget`, `retries`, `read_timeout`, `seconds` as for `exchange`.

        Raises:
            Refused: the service answered 4xx, or Kubeflow Pipelines 500 to a bad request. NotFound: 404.
            AuthError: it did not accept the sign-in, or there is none.
            Unreachable: it did not answer in time, or something else did.
            BackendError: the answer is no JSON object.
            UsageError: the body cannot be written as JSON.
        """
        data = None if body is None else self._json(body)
        return self.exchange(method, path, params=params, data=data, **how).json(may_be_empty=method != "GET")

    def stream(self, path: str, *, params: Mapping[str, Any] | None = None, **how: Any) -> Generator[bytes]:
        """What a GET is answered with, piece by piece as it comes, however long it is.

        The iterator must be read to its end or closed. It raises Unreachable when the answer breaks off. Arguments and
        errors are those of `send`.
        """
        reply = self.exchange("GET", path, params=params, stream=True, **how)
        if reply.headers.get("content-type", "").startswith("text/html"):  # a sign-in, with status 200
            parse(replace(reply.answer, body=next(reply.chunks(), b"")), reply.call)
        return reply.chunks()

    def pages(
        self,
        path: str,
        params: Mapping[str, Any] | None,
        items: str,
        *,
        body: Mapping[str, Any] | None = None,
        size: int | None = 100,
        method: str = "GET",
        **how: Any,
    ) -> Iterator[Any]:
        """Yield all items of a list, page after page. A page is requested when it is needed.

        With the method POST, the body names the page. When a page is longer than kfgcp reads, it is asked for with half
        as many items. After short pages, the number grows again.

        Args:
            items: the key of the list in an answer; a page without it is empty.
            size: items a page at most; None leaves it to the service.

        Raises:
            BadAnswer: the service names more and more pages without new items, or the same page again.
            Unreachable: one item alone is longer than kfgcp reads, or `size` is None and a page is.
        """
        keys = self._paging
        query = dict(params or {})
        page_size = PageSize(size, wire.LARGEST)
        token = ""
        limit = PageLimit(self._service, f"{method} {path}", self._clock.now)
        while True:
            asked: dict[str, Any] = {}
            if page_size.items is not None:
                asked[keys.size] = page_size.items
            if token:
                asked[keys.token] = token
            try:
                if method == "GET":
                    page, length = self._page(method, path, params={**query, **asked}, **how)
                else:
                    data = self._json({**(body or {}), **asked})
                    page, length = self._page(method, path, params=params, data=data, **{"repeatable": True, **how})
            except Unreachable as error:
                if error.too_large and page_size.shrink():
                    continue
                raise
            page_size.grow_after(length)
            page_items = page.get(items)
            if page_items is None:
                page_items = []
            if not isinstance(page_items, list):
                raise BadAnswer(
                    f"{self._service} answered {method} {path} with '{items}' that is not a list.",
                    hint=f"Is {self._host} the address of {self._service}?",
                )
            yield from page_items
            token = page.get("nextPageToken") or page.get("next_page_token") or ""
            if not isinstance(token, str):
                raise BadAnswer(
                    f"{self._service} answered {method} {path} with a page token that is not text.", hint=HINT
                )
            if not token:
                return
            limit.check(json.dumps(page_items) if page_items else "", token)
            query = keys.of_later_pages(query)

    def _page(self, method: str, path: str, **how: Any) -> tuple[dict[str, Any], int]:
        """Return a page of a list, and the length of the answer in bytes; see `exchange`."""
        reply = self.exchange(method, path, **how)
        return reply.json(may_be_empty=False), len(reply.body)

    def exchange(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        data: bytes | None = None,
        content_type: str = "application/json",
        repeatable: bool | None = None,
        budget: float | None = None,
        retries: int | None = None,
        read_timeout: float | None = None,
        seconds: float | None = None,
        stream: bool = False,
    ) -> Reply:
        """The answer of status 2xx as it came; for what is not JSON. Errors are those of `send`.

        Args:
            repeatable: twice does what once does; None: yes but for POST.
            budget, retries, read_timeout, seconds: for this call, see `__init__`. retries=0 sends once.
            stream: the body is left to be read by `Reply.chunks`.
        """
        limit = self._seconds if seconds is None else min(seconds, self._seconds)
        patience = Patience(
            min(limit, self._budget if budget is None else budget),
            self._retries if retries is None else retries,
            self._clock,
        )
        with within(limit, self._clock.now):
            return self._try(
                method,
                path,
                patience,
                repeatable=method != "POST" if repeatable is None else repeatable,
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
        patience: Patience,
        *,
        repeatable: bool,
        params: Mapping[str, Any] | None,
        data: bytes | None,
        content_type: str,
        read_timeout: float,
        seconds: float,
        stream: bool,
    ) -> Reply:
        """Send a request until it is answered or refused, or until no time for another try is left."""
        call = Call(self._service, method, path.lstrip("/"), self._host, mend=self._tokens.mend)
        refused: Token | None = None
        denied: Answer | None = None
        unknown = False
        while True:
            token = self._token(refused, patience)
            if denied is not None and token == refused:  # there is no other
                raise refusal(denied, call)
            if token is not None and token.value not in call.secrets:
                call = replace(call, secrets=(*call.secrets, token.value))
            try:
                answer = self._wire.exchange(
                    method,
                    f"{self._base}/{call.path}",
                    params=params,
                    data=data,
                    headers=_headers(token, None if data is None else content_type),
                    sign=token.sign if token else None,
                    timeout=(self._timeout[0], patience.limit(read_timeout)),
                    seconds=seconds,
                    stream=stream,
                )
            except NoAnswer as failure:
                unknown = unknown or failure.sent
                again = not failure.final and (repeatable or not failure.sent)
                if not again or not patience.wait(most=None if failure.sent else CONNECT_RETRIES):
                    raise _told(_unreachable(failure, call, repeatable), patience, unknown) from None
                call = replace(call, retried=True)
                continue
            final = is_final(answer, call)
            unknown = unknown or (answer.status >= 500 and not final)
            if answer.status == 401 and token is not None and refused is None:
                refused, denied = token, answer
            elif (
                answer.status in AGAIN and not final and (repeatable or answer.status == 429) and patience.wait(answer)
            ):
                call = replace(call, retried=True)
            elif 200 <= answer.status < 300:
                return Reply(answer, call)
            else:
                raise _told(refusal(answer, call), patience, unknown)

    def close(self) -> None:
        """Ends the connections; a later call opens new ones."""
        self._wire.close()

    def _token(self, refused: Token | None, patience: Patience) -> Token | None:
        """The token to send; another one than `refused` when there is one."""
        while True:
            try:
                token = self._tokens.get(refused)
            except Unreachable as error:
                if not patience.wait(most=CONNECT_RETRIES):
                    raise patience.told(error) from None
                continue
            if token is None and not self._loopback:
                raise AuthError(
                    f"{self._service} at {self._host} is not spoken to without a sign-in.",
                    hint='auth = "anonymous" is for emulators on this machine.',
                )
            return token

    def _json(self, body: Any) -> bytes:
        try:
            return json.dumps(body, allow_nan=False, ensure_ascii=False).encode()  # of halves of characters it fails
        except (ValueError, TypeError, RecursionError) as error:
            raise UsageError(
                f"{self._service} is spoken to in JSON, which cannot say this: {error}.",
                hint="Give numbers that are finite, and texts in UTF-8.",
            ) from None


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer of success, and what it answers."""

    answer: Answer
    call: Call

    @property
    def body(self) -> bytes:
        return self.answer.body

    @property
    def headers(self) -> Mapping[str, str]:
        """Names in lower case."""
        return self.answer.headers

    def chunks(self) -> Generator[bytes]:
        """The body of an answer that is read as it comes."""
        try:
            yield from self.answer.chunks or ()
        except NoAnswer as failure:
            raise _unreachable(failure, self.call, repeatable=True) from None

    def json(self, *, may_be_empty: bool = True) -> dict[str, Any]:
        """The JSON object that it is; see `answers.parse`."""
        try:
            return parse(self.answer, self.call, may_be_empty=may_be_empty)
        except BackendError as error:
            error.unknown = True
            raise


def _headers(token: Token | None, content_type: str | None) -> dict[str, str]:
    """All but the token itself, which `Token.sign` adds."""
    headers = {"Accept": "application/json"}
    if content_type is not None:
        headers["Content-Type"] = content_type
    if token is not None and token.quota_project:
        headers["X-Goog-User-Project"] = token.quota_project
    return headers


def _told(error: BackendError, patience: Patience, unknown: bool) -> BackendError:
    error.unknown = unknown
    return patience.told(error)


def _unreachable(failure: NoAnswer, call: Call, repeatable: bool) -> Unreachable:
    doubt = "" if repeatable or not failure.sent else " It may have been carried out all the same."
    error = Unreachable(f"{call.service}: {call.host} {failure.what} ({call}).{doubt}", hint=failure.hint)
    error.too_large = failure.too_large
    return error


def _base(text: str, in_cluster: bool) -> tuple[str, str, bool]:
    """The base of addresses without a slash at its end, its host, and whether that is this machine."""
    try:
        url = urlsplit(text)
        host = url.hostname or ""
    except ValueError:
        host = ""
    if not host or url.scheme not in ("http", "https") or url.query or url.fragment or "@" in url.netloc:
        raise ConfigError("The address of a service is no plain URL.", hint="Write https://HOST or https://HOST:PORT.")
    if url.scheme == "http" and host not in LOOPBACK and not (in_cluster and host.endswith(CLUSTER_DOMAINS)):
        raise ConfigError(f"Plain http is allowed for this machine only, not for {host}.", hint=f"https://{host}")
    return text.rstrip("/"), host, host in LOOPBACK
