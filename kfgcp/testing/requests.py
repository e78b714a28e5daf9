"""What clients asked of a stand-in, in order, for tests that say «exactly one create»."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any


@dataclass(slots=True)
class RecordedRequest:
    """A request.

    number: from 0. at: Unix time in seconds. headers: without `authorization`. body: JSON as a
    value, other bytes as they are, None without one. status: of the answer, None while there is
    none and when none was sent. fault: the kind of fault that befell it, None without one. seconds:
    until it was handled.
    """

    number: int
    at: float
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any
    status: int | None = None
    fault: str | None = None
    seconds: float | None = None

    def matches(self, method: str | None, path: str) -> bool:
        return method in (None, self.method) and fnmatchcase(self.path, path)


@dataclass(slots=True)
class RequestLog:
    """The requests so far; it can be iterated and indexed. watcher: called with each one that was
    handled."""

    watcher: Callable[[RecordedRequest], None] | None = None
    _entries: list[RecordedRequest] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[RecordedRequest]:
        return iter(list(self._entries))

    def __getitem__(self, index: int) -> RecordedRequest:
        return self._entries[index]

    def select(
        self, method: str | None = None, path: str = "*", *, since: int = 0
    ) -> list[RecordedRequest]:
        """Requests of a method whose path is like a glob, from number `since` on, in order."""
        return [entry for entry in self if entry.number >= since and entry.matches(method, path)]

    def count(self, method: str | None = None, path: str = "*", *, since: int = 0) -> int:
        """How many requests `select` gives; `since=len(log)` before an action counts those that it
        causes."""
        return len(self.select(method, path, since=since))

    def add(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        body: bytes,
    ) -> RecordedRequest:
        """Records a request."""
        kept = {name: value for name, value in headers.items() if name != "authorization"}
        with self._lock:
            entry = RecordedRequest(
                len(self._entries), time.time(), method, path, dict(query), kept, _value(body)
            )
            self._entries.append(entry)
        return entry

    def done(self, entry: RecordedRequest) -> None:
        """The request was handled, whether or not its answer is sent."""
        entry.seconds = time.time() - entry.at
        if self.watcher is not None:
            self.watcher(entry)


def _value(body: bytes) -> Any:
    if not body:
        return None
    try:
        return json.loads(body)
    except ValueError:
        return body
