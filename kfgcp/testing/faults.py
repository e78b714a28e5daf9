"""What goes wrong on purpose: at a rate, or once by a script. It knows no service.

A kind is a status as text (`503`), or
    reset    the connection is reset; nothing was done
    lost     the work is done, then the connection is closed without an answer
    late     the connection is closed without an answer, and the work is done a second later
    garbage  the work is done, the answer is 200 with a page of HTML that breaks off
"""

from __future__ import annotations

import random
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


@dataclass(frozen=True, slots=True)
class Fault:
    """kind: see above. retry_after: seconds for the header of that name, None without it."""

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
        """The status to answer, None for the other kinds."""
        return (
            int(self.kind)
            if len(self.kind) == 3 and self.kind.isdigit() and self.kind[0] in "45"
            else None
        )


@dataclass(slots=True)
class Script:
    """A fault for the next `times` requests of `method` to a path like the glob `path`."""

    fault: Fault
    times: int
    method: str | None
    path: str

    def matches(self, method: str, path: str) -> bool:
        return self.method in (None, method) and fnmatchcase(path, self.path)


class Faults:
    """Decides for each request. latency: seconds that every request waits before anything is
    done."""

    def __init__(self) -> None:
        self.latency = 0.0
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
        """From now on a share `rate` of the matching requests fail, each with one of `kinds`;
        replaces the last one."""
        rated = [Script(Fault(kind, retry_after), 0, method, path) for kind in kinds]
        with self._lock:
            self._rate, self._rated, self._random = rate, rated, random.Random(seed)  # noqa: S311

    def next(
        self, kind: str, times: int, method: str | None, path: str, retry_after: float | None
    ) -> None:
        """The next `times` matching requests fail so; scripts are used up in the order they were
        given."""
        script = Script(Fault(kind, retry_after), times, method, path)
        with self._lock:
            self._scripts.append(script)

    @property
    def unused(self) -> list[str]:
        """Scripted faults that no request has met, in words."""
        with self._lock:
            return [
                f"{script.fault.kind} ({script.times} times, {script.path})"
                for script in self._scripts
            ]

    def take(self, method: str, path: str) -> Fault | None:
        """The fault for this request, None when it goes well."""
        with self._lock:
            for script in self._scripts:
                if script.matches(method, path):
                    script.times -= 1
                    if script.times < 1:
                        self._scripts.remove(script)
                    return script.fault
            rated = [script for script in self._rated if script.matches(method, path)]
            if rated and self._random.random() < self._rate:
                return self._random.choice(rated).fault
            return None

    @property
    def is_offline(self) -> bool:
        """Whether connections are closed as soon as they are opened, and requests on open ones
        dropped."""
        return time.monotonic() < self._offline_until

    def go_offline(self, seconds: float | None) -> None:
        """For so many seconds, None until `go_online`."""
        self._offline_until = float("inf") if seconds is None else time.monotonic() + seconds

    def go_online(self) -> None:
        self._offline_until = 0.0

    @contextmanager
    def until_left(self) -> Iterator[None]:
        """Online again when the block is left."""
        try:
            yield
        finally:
            self.go_online()
