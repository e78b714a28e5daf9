"""What every stand-in has: an address, the requests it got, knobs for what goes wrong, tokens."""

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
    """A service on this machine, for tests and by hand; use it with `with`."""

    def __init__(self, port: int = 0, host_names: Sequence[str] = ()) -> None:
        self._tokens: frozenset[str] | None = None
        self._good_until = float("inf")
        self._seen: set[str | None] = set()
        self._expired: frozenset[str | None] = frozenset()
        self._token_lock = threading.Lock()
        self._server = HttpServer(self._admit, self.refusal, port, host_names)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._server.close()

    # -- for the service

    @abstractmethod
    def handle(self, request: Request) -> Response:
        """The service's answer to a request whose token is good."""

    @abstractmethod
    def refusal(self, status: int, text: str) -> Response:
        """The service's error of that status."""

    def is_open(self, request: Request) -> bool:
        """Whether a request needs no token."""
        return False

    def takes_type(self, request: Request, content_type: str) -> bool:
        """Return whether a request may have a body of a type that is not JSON."""
        return False

    def unauthenticated(self) -> Response:
        """The answer to a request whose token is not good."""
        return self.refusal(401, "The access token is expired or unknown.")

    # -- where, and what was asked

    @property
    def api_endpoint(self) -> str:
        """`http://127.0.0.1:PORT`, without a slash at its end."""
        return self._server.url

    @property
    def requests(self) -> RequestLog:
        """What clients asked so far."""
        return self._server.requests

    # -- what goes wrong

    @property
    def latency(self) -> float:
        """Seconds that every request waits before anything is done."""
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
        """From now on a share of the requests fail, each with one of `kinds`; replaces what was set
        before.

        Args:
            rate: from 0 (none) to 1 (all).
            kinds: statuses as text, `reset`, `lost`, `late`, `garbage`; see `kfgcp.testing.faults`.
            seed: the same one makes the same requests fail, when they come in the same order.
            method: only requests of this method.
            path: only requests whose path is like this glob.
            retry_after: seconds for the header of that name in answers with a status.
        """
        self._server.faults.at_rate(rate, kinds, seed, method, path, retry_after)

    def fail_next(
        self,
        kind: str,
        times: int = 1,
        *,
        method: str | None = None,
        path: str = "*",
        retry_after: float | None = None,
    ) -> None:
        """The next matching requests fail so; arguments as of `faults`. Before a rate is looked
        at."""
        self._server.faults.next(kind, times, method, path, retry_after)

    @property
    def unused_faults(self) -> list[str]:
        """Faults of `fail_next` that no request has met, in words."""
        return self._server.faults.unused

    def offline(self, seconds: float | None = None) -> AbstractContextManager[None]:
        """Closes every connection from now on, for so many seconds, or until `online` or the end of
        a `with` block."""
        self._server.faults.go_offline(seconds)
        return self._server.faults.until_left()

    def online(self) -> None:
        """Serves again."""
        self._server.faults.go_online()

    # -- tokens

    def accept_tokens(self, *tokens: str, seconds: float | None = None) -> None:
        """Only these bearer tokens are good from now on; without any, every one is, and none too.

        Args:
            tokens: those that are good.
            seconds: for so long, None for ever.
        """
        with self._token_lock:
            self._tokens = frozenset(tokens) or None
            self._good_until = float("inf") if seconds is None else time.monotonic() + seconds
            self._expired = frozenset()

    def expire_tokens(self) -> None:
        """Tokens that were used so far are refused with 401 from now on, and requests without
        one."""
        with self._token_lock:
            self._expired = self._expired | frozenset(self._seen) | {None}

    def _admit(self, request: Request) -> Response:
        content_type = request.content_type
        if (
            request.body
            and content_type != "application/json"
            and not self.takes_type(request, content_type)
        ):
            # A web page may send other types to any server without asking it first.
            return self.refusal(
                403, f"The body needs the type application/json, not {content_type or 'none'}."
            )
        token = request.token
        with self._token_lock:
            self._seen.add(token)
            known = self._tokens is None or (
                token in self._tokens and time.monotonic() < self._good_until
            )
            good = (known and token not in self._expired) or self.is_open(request)
        return self.handle(request) if good else self.unauthenticated()
