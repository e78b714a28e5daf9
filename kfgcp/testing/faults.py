"""Decide which requests fail on purpose: a share of all requests, or the next requests.

This module knows no service. The kind of a fault is a status as text (`503`), or one of these:
    reset    the connection is reset, and no work is done
    lost     the work is done, then the connection closes without an answer
    late     the connection closes without an answer, and the work is done a second later
    garbage  the work is done, and the answer is 200 with a page of HTML that is cut off
"""

from __future__ import annotations

import random
import re
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

from kfgcp.errors import UsageError

RESET: Final = "reset"
LOST: Final = "lost"
LATE: Final = "late"
LATE_SECONDS: Final = 1.0
GARBAGE: Final = "garbage"
_ERROR_STATUS: Final = re.compile(r"[45][0-9][0-9]")


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault of one request.

    Attributes:
        kind: see the docstring of this module.
        retry_after: seconds for the header Retry-After, None for an answer without the header.
    """

    kind: str
    retry_after: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in (RESET, LOST, LATE, GARBAGE) and self.status is None:
            raise UsageError(
                f"There is no fault '{self.kind}'.",
                hint="Use a status from 400 to 599, reset, lost, late or garbage.",
            )

    @property
    def status(self) -> int | None:
        """Return the HTTP status of the answer, None for `reset`, `lost`, `late` and `garbage`."""
        if _ERROR_STATUS.fullmatch(self.kind):
            return int(self.kind)
        return None


@dataclass(slots=True)
class FaultRule:
    """A fault, and the requests that may get it.

    Attributes:
        fault: the fault.
        times: the number of requests that still get the fault. A rule with a rate does not use it.
        method: the HTTP method of the requests, None for any.
        path: a glob for the paths of the requests.
    """

    fault: Fault
    times: int
    method: str | None
    path: str

    def matches(self, method: str, path: str) -> bool:
        """Return whether a request may get the fault."""
        return self.method in (None, method) and fnmatchcase(path, self.path)


class Faults:
    """The faults of a stand-in.

    Attributes:
        latency: seconds that every request waits before any work is done.
    """

    def __init__(self) -> None:
        self.latency = 0.0
        # With a fixed seed, a test has the same faults each time.
        self._random = random.Random(0)  # noqa: S311
        self._rate = 0.0
        self._rate_rules: list[FaultRule] = []
        self._next_rules: list[FaultRule] = []
        self._offline_until = 0.0
        self._lock = threading.Lock()

    def set_rate(
        self,
        rate: float,
        kinds: Sequence[str],
        seed: int,
        method: str | None,
        path: str,
        retry_after: float | None,
    ) -> None:
        """Let a share of the requests fail from now on, see `StandIn.faults`."""
        rules = [FaultRule(Fault(kind, retry_after), 0, method, path) for kind in kinds]
        with self._lock:
            self._rate = rate
            self._rate_rules = rules
            self._random = random.Random(seed)  # noqa: S311

    def fail_next(
        self, kind: str, times: int, method: str | None, path: str, retry_after: float | None
    ) -> None:
        """Let the next requests that fit fail, see `StandIn.fail_next`."""
        rule = FaultRule(Fault(kind, retry_after), times, method, path)
        with self._lock:
            self._next_rules.append(rule)

    @property
    def unused(self) -> list[str]:
        """Return a text for each fault of `fail_next` that has not happened."""
        with self._lock:
            return [
                f"{rule.fault.kind} ({rule.times} times, {rule.path})" for rule in self._next_rules
            ]

    def take_fault(self, method: str, path: str) -> Fault | None:
        """Return the fault of a request, None if the request does not fail.

        A fault of `fail_next` comes before a fault of `set_rate`. The oldest rule comes first.
        """
        with self._lock:
            for rule in self._next_rules:
                if rule.matches(method, path):
                    rule.times -= 1
                    if rule.times < 1:
                        self._next_rules.remove(rule)
                    return rule.fault
            # Draw a random number only for requests that may fail. Then other requests do not
            # change which requests fail with a seed.
            rules = [rule for rule in self._rate_rules if rule.matches(method, path)]
            if rules and self._random.random() < self._rate:
                return self._random.choice(rules).fault
            return None

    @property
    def is_offline(self) -> bool:
        """Return whether the stand-in closes new connections, and drops requests on open ones."""
        return time.monotonic() < self._offline_until

    def go_offline(self, seconds: float | None) -> None:
        """Go offline for some seconds. None means until `go_online`."""
        self._offline_until = float("inf") if seconds is None else time.monotonic() + seconds

    def go_online(self) -> None:
        """Answer again."""
        self._offline_until = 0.0

    @contextmanager
    def online_at_exit(self) -> Iterator[None]:
        """Return a context manager that calls `go_online` when its `with` block ends."""
        try:
            yield
        finally:
            self.go_online()
