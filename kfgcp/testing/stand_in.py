"""The base class of stand-ins: an address, recorded requests, faults on purpose, and tokens."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Self

from kfgcp.testing.requests import RequestLog
from kfgcp.testing.server import HttpServer, Request, Response


class StandIn(ABC):
    """A service on this machine, for tests and trials. Use it in a `with` block."""

    def __init__(self, port: int = 0, host_names: Sequence[str] = ()) -> None:
        self._tokens: frozenset[str] | None = None
        self._valid_until = float("inf")
        # None stands for requests without a token.
        self._used_tokens: set[str | None] = set()
        self._expired_tokens: frozenset[str | None] = frozenset()
        self._token_lock = threading.Lock()
        self._server = HttpServer(self._admit, self.refusal, port, host_names)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop serving."""
        self._server.close()

    # -- for the service

    @abstractmethod
    def handle(self, request: Request) -> Response:
        """Return the answer of the service to a request that `is_open` or has a valid token."""

    @abstractmethod
    def refusal(self, status: int, text: str) -> Response:
        """Return the error of the service for a status and a text."""

    def is_open(self, request: Request) -> bool:
        """Return whether a request needs no token."""
        return False

    def takes_type(self, request: Request, content_type: str) -> bool:
        """Return whether a request may have a body of a type that is not JSON."""
        return False

    def unauthenticated(self) -> Response:
        """Return the answer to a request whose token is not valid."""
        return self.refusal(401, "The access token is expired or unknown.")

    # -- address and requests

    @property
    def api_endpoint(self) -> str:
        """Return the address `http://127.0.0.1:PORT`, without a slash at the end."""
        return self._server.url

    @property
    def requests(self) -> RequestLog:
        """Return the requests so far."""
        return self._server.requests

    # -- faults

    @property
    def latency(self) -> float:
        """Return the seconds that every request waits before any work is done."""
        return self._server.faults.latency

    @latency.setter
    def latency(self, seconds: float) -> None:
        self._server.faults.latency = seconds

    def faults(
        self,
        rate: float,
        kinds: Sequence[str] = ("503", "429", "reset", "lost"),
        *,
        seed: int = 0,
        method: str | None = None,
        path: str = "*",
        retry_after: float | None = None,
    ) -> None:
        """Let a share of the requests fail from now on. Each call replaces the call before it.

        Args:
            rate: from 0 (none) to 1 (all).
            kinds: statuses as text, `reset`, `lost`, `late` or `garbage`, see
                `kfgcp.testing.faults`. Each request that fails gets one of them.
            seed: with the same seed, the same requests fail if they come in the same order.
            method: only requests with this method.
            path: only requests whose path fits this glob.
            retry_after: seconds for the header Retry-After of faults with a status, None for no
                header.

        Raises:
            UsageError: a kind does not exist.
        """
        self._server.faults.set_rate(rate, kinds, seed, method, path, retry_after)

    def fail_next(
        self,
        kind: str,
        times: int = 1,
        *,
        method: str | None = None,
        path: str = "*",
        retry_after: float | None = None,
    ) -> None:
        """Let the next requests that fit fail. These faults come before the faults of `faults`.

        Args:
            kind: one of the kinds of `faults`.
            times: the number of requests to fail.
            method: see `faults`.
            path: see `faults`.
            retry_after: see `faults`.

        Raises:
            UsageError: the kind does not exist.
        """
        self._server.faults.fail_next(kind, times, method, path, retry_after)

    @property
    def unused_faults(self) -> list[str]:
        """Return a text for each fault of `fail_next` that has not happened."""
        return self._server.faults.unused

    def offline(self, seconds: float | None = None) -> AbstractContextManager[None]:
        """Close every connection from now on, until `online` or the end of a `with` block.

        Args:
            seconds: the stand-in answers again after this time, None for never.
        """
        self._server.faults.go_offline(seconds)
        return self._server.faults.online_at_exit()

    def online(self) -> None:
        """Answer again after `offline`."""
        self._server.faults.go_online()

    # -- tokens

    def accept_tokens(self, *tokens: str, seconds: float | None = None) -> None:
        """Accept only these bearer tokens from now on.

        Args:
            tokens: the valid tokens. If there are none, every request is accepted, with or without
                a token.
            seconds: how long the tokens are valid, None for ever.
        """
        with self._token_lock:
            self._tokens = frozenset(tokens) or None
            self._valid_until = float("inf") if seconds is None else time.monotonic() + seconds
            self._expired_tokens = frozenset()

    def expire_tokens(self) -> None:
        """From now on, answer 401 to requests without a token and to every token used so far."""
        with self._token_lock:
            self._expired_tokens = self._expired_tokens | self._used_tokens | {None}

    def _admit(self, request: Request) -> Response:
        """Return the answer to a request, after a check of its content type and its token."""
        # Browsers let a web page send bodies of some other types to any server without a preflight
        # request (CORS).
        if not self._is_type_allowed(request):
            content_type = request.content_type or "none"
            return self.refusal(
                403, f"The Content-Type must be application/json, not {content_type}."
            )
        with self._token_lock:
            self._used_tokens.add(request.token)
            is_valid = self._is_token_valid(request.token)
        if is_valid or self.is_open(request):
            return self.handle(request)
        return self.unauthenticated()

    def _is_type_allowed(self, request: Request) -> bool:
        content_type = request.content_type
        if not request.body or content_type == "application/json":
            return True
        return self.takes_type(request, content_type)

    def _is_token_valid(self, token: str | None) -> bool:
        if token in self._expired_tokens:
            return False
        if self._tokens is None:
            return True
        return token in self._tokens and time.monotonic() < self._valid_until
