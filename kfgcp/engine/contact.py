"""Check within seconds whether an object store can be reached, before a task uses it.

The client libraries of Google and Amazon repeat a failed request for one to two minutes. That is
right in the middle of a long transfer. It is wrong at the start, where it only delays the message
that the network is down. So one small request is sent first, once, and never repeated.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from kfgcp.deadlines import DeadlineError, call_within

LIMIT_SECONDS: Final = 8.0
"""How long signing in and the first request may take together, even when a name server, a proxy or
a sign-in hangs."""

CONNECT_SECONDS: Final = 3.0
READ_SECONDS: Final = 4.0
GOOD_FOR_SECONDS: Final = 60.0
"""A store that answered is not checked again for this long."""

BAD_FOR_SECONDS: Final = 5.0
"""A store that did not answer is not checked again for this long, so that the next task does not
wait as well."""

METADATA_SECONDS: Final = 2.0
"""How long Google's metadata server may take to answer. It is where machines at Google get their
tokens."""


class NoAnswerError(Exception):
    """A store did not answer in time."""


@dataclass(frozen=True, slots=True)
class _Outcome:
    """The result of a check.

    Attributes:
        checked_at: the time of the check, in seconds of the clock.
        error: None when the store answered.
    """

    checked_at: float
    error: Exception | None


class Contacts:
    """Checks of whether stores answer. The results are remembered for a while.

    Args:
        clock: monotonic, in seconds.
        limit: how long one check may take, in seconds.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, limit: float = LIMIT_SECONDS
    ) -> None:
        self._clock = clock
        self._limit = limit
        self._outcomes: dict[str, _Outcome] = {}

    def ensure(self, store: str, send_request: Callable[[], None]) -> None:
        """Return when a store answers.

        Args:
            store: the name of the store.
            send_request: signs in and sends one request to the store. It raises an error when no
                answer comes.

        Raises:
            NoAnswerError: no answer came within the limit.
            Exception: the error of `send_request`, from this check or from one a moment ago.
        """
        outcome = self._outcomes.get(store)
        if outcome is None or self._is_old(outcome):
            error = self._check(send_request)
            outcome = _Outcome(self._clock(), error)
            self._outcomes[store] = outcome
        if outcome.error is not None:
            raise outcome.error

    def _is_old(self, outcome: _Outcome) -> bool:
        limit = GOOD_FOR_SECONDS if outcome.error is None else BAD_FOR_SECONDS
        return self._clock() - outcome.checked_at > limit

    def _check(self, send_request: Callable[[], None]) -> Exception | None:
        """Return the error of the request, None when it was answered."""
        try:
            call_within(self._limit, send_request)
        except DeadlineError:
            return NoAnswerError(
                f"no answer within {self._limit:g} s; check the network and the proxy"
            )
        except Exception as error:
            return error
        return None


def google_credentials() -> tuple[Any, str | None]:
    """Return the Google credentials of this machine and their project.

    One request is sent to the metadata server. google.auth sends three, with growing pauses, and
    needs up to 13 s when nothing answers at the address of that server.

    Returns:
        (None, None) when there are no credentials.
    """
    import google.auth
    import requests
    from google.auth.exceptions import DefaultCredentialsError, TransportError
    from google.auth.transport.requests import Request

    from kfgcp.sockets import mount_deadlines

    class FailFastRequest(Request):
        """A sender of requests that gives up at the first failure.

        After that, every request fails at once with the same error.
        """

        failure: Exception | None = None

        def __call__(
            self,
            url: str,
            method: str = "GET",
            body: Any = None,
            headers: Any = None,
            timeout: Any = None,
            **options: Any,
        ) -> Any:
            if self.failure is not None:
                raise self.failure
            send: Any = super().__call__
            try:
                return send(url, method, body, headers, METADATA_SECONDS, **options)
            except TransportError as error:
                self.failure = error
                raise

    session = requests.Session()
    mount_deadlines(session)
    try:
        credentials, project = google.auth.default(request=FailFastRequest(session))
    except DefaultCredentialsError:
        return None, None
    return credentials, project
