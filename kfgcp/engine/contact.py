"""The first request to an object store: does it answer within seconds?

Google's and Amazon's clients try again for one to two minutes when there is no network. That is right in the middle of
a long transfer, and wrong before the first one, because the user waits to learn that the network is down. So one small
request comes first. It is sent once and never repeated.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from kfgcp.machine import start_thread

LIMIT_SECONDS: Final = 8.0
"""How long the sign-in and the first request may take together, also when a name server, a proxy or a token hangs."""

CONNECT_SECONDS: Final = 3.0
READ_SECONDS: Final = 4.0
GOOD_FOR_SECONDS: Final = 60.0
"""A store that answered is not asked again for this time."""

BAD_FOR_SECONDS: Final = 5.0
"""A store that did not answer is not asked again for this time, so that the next task does not wait too."""

METADATA_SECONDS: Final = 2.0
"""How long Google's metadata server may take to answer. It gives tokens to machines at Google."""


class NoAnswerError(Exception):
    """A store did not answer in time."""


@dataclass(frozen=True, slots=True)
class _Outcome:
    at: float
    error: Exception | None


class Contacts:
    """Checks that stores answer, and remembers the outcome for a while.

    Args:
        clock: monotonic, in seconds.
        limit: how long one check may take, in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, limit: float = LIMIT_SECONDS) -> None:
        self._clock = clock
        self._limit = limit
        self._outcomes: dict[str, _Outcome] = {}

    def ensure(self, store: str, ask: Callable[[], None]) -> None:
        """Return when a store answers.

        Args:
            store: the name of the store.
            ask: signs in and sends one request; it raises when there is no answer.

        Raises:
            NoAnswerError: there was no answer within the limit.
            Exception: what `ask` raised, now or a moment ago.
        """
        known = self._outcomes.get(store)
        if known is not None and not self._is_old(known):
            if known.error is not None:
                raise known.error
            return
        error = self._ask(ask)
        self._outcomes[store] = _Outcome(self._clock(), error)
        if error is not None:
            raise error

    def _is_old(self, outcome: _Outcome) -> bool:
        limit = GOOD_FOR_SECONDS if outcome.error is None else BAD_FOR_SECONDS
        return self._clock() - outcome.at > limit

    def _ask(self, ask: Callable[[], None]) -> Exception | None:
        """Ask in a thread, and abandon it after the limit: name lookups and sign-ins cannot be interrupted."""
        answers: queue.SimpleQueue[Exception | None] = queue.SimpleQueue()

        def run() -> None:
            try:
                ask()
                answers.put(None)
            except Exception as error:
                answers.put(error)

        start_thread(run, "kfgcp-contact")
        try:
            return answers.get(timeout=self._limit)
        except queue.Empty:
            return NoAnswerError(f"no answer within {self._limit:g} s; check the network and the proxy")


def google_credentials() -> tuple[Any, str | None]:
    """Return the Google credentials of this machine and their project; (None, None) when there are none.

    The metadata server is asked once. google.auth asks it three times with growing pauses, which takes up to 13 s
    when nothing answers at its address.
    """
    import google.auth
    from google.auth.exceptions import DefaultCredentialsError, TransportError
    from google.auth.transport.requests import Request

    class Once(Request):
        """Sends until the first failure; after that every request fails at once."""

        failure: Exception | None = None

        def __call__(
            self, url: str, method: str = "GET", body: Any = None, headers: Any = None, timeout: Any = None, **more: Any
        ) -> Any:
            if self.failure is not None:
                raise self.failure
            send: Any = super().__call__
            try:
                return send(url, method, body, headers, METADATA_SECONDS, **more)
            except TransportError as error:
                self.failure = error
                raise

    try:
        credentials, project = google.auth.default(request=Once())
    except DefaultCredentialsError:
        return None, None
    return credentials, project
