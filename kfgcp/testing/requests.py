"""Record the requests to a stand-in, so that a test can check which requests were sent."""

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
    """A request to a stand-in.

    Attributes:
        number: from 0, in the order of arrival.
        at: Unix time in seconds.
        method: the HTTP method.
        path: without the query, and decoded.
        query: the query parameters. A parameter that is repeated has its last value.
        headers: with names in lower case, and without `authorization`.
        body: the value of a JSON body, the bytes of any other body, None without a body.
        status: the HTTP status of the answer. None while the answer is not ready, and when a fault
            closed the connection without an answer.
        fault: the kind of the fault of this request, None without one.
        seconds: how long the stand-in worked on the request, None until it is finished.
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
        """Return whether the method is the same (None for any), and the path fits a glob."""
        return method in (None, self.method) and fnmatchcase(self.path, path)


@dataclass(slots=True)
class RequestLog:
    """The requests so far. It can be iterated and indexed like a list.

    Attributes:
        watcher: a function that is called with each request when its answer is ready.
    """

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
        """Return requests in order.

        Args:
            method: only requests with this method, None for any.
            path: only requests whose path fits this glob.
            since: only requests with this number or a higher one.
        """
        return [entry for entry in self if entry.number >= since and entry.matches(method, path)]

    def count(self, method: str | None = None, path: str = "*", *, since: int = 0) -> int:
        """Return how many requests `select` returns.

        To count the requests of an action, pass the length of the log before the action as `since`.
        """
        return len(self.select(method, path, since=since))

    def add(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        body: bytes,
    ) -> RecordedRequest:
        """Record a request that has arrived, and return the record."""
        # A token must not get into the output of a test.
        safe_headers = {name: value for name, value in headers.items() if name != "authorization"}
        body_value = _read_body(body)
        with self._lock:
            entry = RecordedRequest(
                len(self._entries), time.time(), method, path, dict(query), safe_headers, body_value
            )
            self._entries.append(entry)
        return entry

    def finish(self, entry: RecordedRequest) -> None:
        """Record that the work of a request is finished, with or without an answer."""
        entry.seconds = time.time() - entry.at
        if self.watcher is not None:
            self.watcher(entry)


def _read_body(body: bytes) -> Any:
    """Return the value of a JSON body, other bytes unchanged, None for an empty body."""
    if not body:
        return None
    try:
        return json.loads(body)
    except ValueError:
        return body
