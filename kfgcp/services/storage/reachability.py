"""Check within seconds that an object store can be reached, before a task uses the store.

The client libraries of Google and Amazon repeat a failed request for one to two minutes. The
repeats help during a long transfer. Before the transfer, they only delay the message that the
network is down. So this module first sends one small request, and does not repeat it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from kfgcp.deadlines import DeadlineError, call_within

# How long the sign-in and the first request may take together, also when a name server, a proxy or
# the sign-in hangs. The limit must be more than CONNECT_SECONDS and READ_SECONDS together.
LIMIT_SECONDS: Final = 8.0
CONNECT_SECONDS: Final = 3.0
READ_SECONDS: Final = 4.0

# For this time after a successful check, the store is not checked again.
SUCCESS_VALID_SECONDS: Final = 60.0

# For this time after a failed check, the store is not checked again, and each task fails at once.
FAILURE_VALID_SECONDS: Final = 5.0


class NoAnswerError(Exception):
    """The error for a store that did not answer in time."""


@dataclass(frozen=True, slots=True)
class _CheckResult:
    """The result of a check.

    Attributes:
        checked_at: when the check ended, in seconds of the clock.
        error: the error of the check, None when the store answered.
    """

    checked_at: float
    error: Exception | None


class ReachabilityChecks:
    """The checks of several stores. Each result is valid for some seconds.

    Args:
        clock: a monotonic clock, in seconds.
        limit: how long one check may take, in seconds.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, limit: float = LIMIT_SECONDS
    ) -> None:
        self._clock = clock
        self._limit = limit
        self._results: dict[str, _CheckResult] = {}

    def ensure_reachable(self, store: str, send_request: Callable[[], None]) -> None:
        """Check that a store answers, unless a recent result is still valid.

        Args:
            store: a name that is different for each store.
            send_request: signs in and sends one request to the store. It raises an error when the
                store does not answer.

        Raises:
            NoAnswerError: the store did not answer within the limit.
            Exception: the error of `send_request`, from this check or from an earlier check whose
                result is still valid.
        """
        result = self._results.get(store)
        if result is None or self._is_outdated(result):
            error = self._check(send_request)
            result = _CheckResult(self._clock(), error)
            self._results[store] = result
        if result.error is not None:
            raise result.error

    def _is_outdated(self, result: _CheckResult) -> bool:
        valid_for = SUCCESS_VALID_SECONDS if result.error is None else FAILURE_VALID_SECONDS
        return self._clock() - result.checked_at > valid_for

    def _check(self, send_request: Callable[[], None]) -> Exception | None:
        """Send the request, and return its error, None when the store answered."""
        try:
            call_within(self._limit, send_request)
        except DeadlineError:
            return NoAnswerError(
                f"no answer within {self._limit:g} s; check the network and the proxy"
            )
        except Exception as error:
            return error
        return None
