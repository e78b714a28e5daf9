"""Decide which requests fail on purpose: at a rate, or by a script. It knows no service.

The kind of a fault is a status as text (`503`), or one of these:
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

    kind: see the text of this module. retry_after: seconds for the header Retry-After, None without
    the header.
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
        """Return the status to answer, None for the other kinds."""
        if _ERROR_STATUS.fullmatch(self.kind):
            return int(self.kind)
        return None


@dataclass(slots=True)
class Script:
    """A fault for the next requests that fit.

    times: how many requests. method: None for any. path: a glob.
    """

    fault: Fault
    times: int
    method: str | None
    path: str

    def matches(self, method: str, path: str) -> bool:
        """Return whether a request fits."""
        return self.method in (None, method) and fnmatchcase(path, self.path)


class Faults:
    """The faults of a stand-in.

    Attributes:
        latency: seconds that every request waits before any work is done.
    """

    def __init__(self) -> None:
        self.latency = 0.0
        # A seed makes the faults of a test the same each time.
        self._random = random.Random(0)  # noqa: S311
        self._rate = 0.0
        self._rated: list[Script] = []
        self._scripts: list[Script] = []
        self._offline_until = 0.0
        self._lock = threading.Lock()

    def at_rate(
        self,
        rate: float,
        kinds: Sequence[str],
        seed: int,
        method: str | None,
        path: str,
        retry_after: float | None,
    ) -> None:
        """Let a share of the requests fail from now on. This replaces the last call.

        The arguments are those of `StandIn.faults`.
        """
        rated = [Script(Fault(kind, retry_after), 0, method, path) for kind in kinds]
        with self._lock:
            self._rate = rate
            self._rated = rated
            self._random = random.Random(seed)  # noqa: S311

    def next(
        self, kind: str, times: int, method: str | None, path: str, retry_after: float | None
    ) -> None:
        """Let the next `times` requests that fit fail. The oldest script comes first."""
        script = Script(Fault(kind, retry_after), times, method, path)
        with self._lock:
            self._scripts.append(script)

    @property
    def unused(self) -> list[str]:
        """Return a text for each scripted fault that has not happened."""
        with self._lock:
            return [
                f"{script.fault.kind} ({script.times} times, {script.path})"
                for script in self._scripts
            ]

    def take(self, method: str, path: str) -> Fault | None:
        """Return the fault for a request, None without one. A script comes before a rate."""
        with self._lock:
            for script in self._scripts:
                if script.matches(method, path):
                    script.times -= 1
                    if script.times < 1:
                        self._scripts.remove(script)
                    return script.fault
            # No random number for other requests: the same seed lets the same requests fail.
            rated = [script for script in self._rated if script.matches(method, path)]
            if rated and self._random.random() < self._rate:
                return self._random.choice(rated).fault
            return None

    @property
    def is_offline(self) -> bool:
        """Return whether the stand-in closes new connections, and drops requests on open ones."""
        return time.monotonic() < self._offline_until

    def go_offline(self, seconds: float | None) -> None:
        """Go offline. seconds: for how long, None until `go_online`."""
        self._offline_until = float("inf") if seconds is None else time.monotonic() + seconds

    def go_online(self) -> None:
        """Answer again."""
        self._offline_until = 0.0

    @contextmanager
    def until_left(self) -> Iterator[None]:
        """Go online at the end of a `with` block."""
        try:
            yield
        finally:
            self.go_online()
