"""Serve many runs of Kubeflow Pipelines on loopback, as copies of recorded runs.

The runs were recorded on real servers. The recordings, and the server that answers with them, are
in the tests.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, urlsplit

SUPPORT: Final = Path(__file__).parents[1] / "tests" / "support"

# The path of the list of runs. A run is below this path.
RUNS_PATH: Final = "/apis/v2beta1/runs"

# The number of runs in a page when the request names none.
DEFAULT_PAGE_SIZE: Final = 20

# Status, content type and body of an answer.
Answer = tuple[int, str, bytes]

if TYPE_CHECKING:
    from recorded_runs import RecordedServer


@contextlib.contextmanager
def serve_copies(count: int) -> Iterator[str]:
    """Serve copies of the recorded runs, and yield the address of the server.

    Args:
        count: the number of copies. They are copies of all recorded runs in turn.
    """
    sys.path.insert(0, str(SUPPORT))
    try:
        import recorded_runs
    finally:
        sys.path.remove(str(SUPPORT))
    names = recorded_runs.names()
    service = recorded_runs.RecordedServer(names)
    recorded_answers = [recorded_runs.run_answer(name) for name in names]
    copies = _Copies(service, recorded_answers, count)
    service.answer = copies.answer  # type: ignore[method-assign]
    with recorded_runs.listen(service):
        yield service.url


class _Copies:
    """The answers for the copies. A copy has the ML Metadata of its recorded run.

    Args:
        service: answers for the recorded runs.
        recorded_answers: the JSON of the recorded runs.
        count: the number of copies.
    """

    def __init__(
        self, service: RecordedServer, recorded_answers: list[dict[str, Any]], count: int
    ) -> None:
        self._answer_recorded = service.answer
        # The id of a copy -> the id of its recorded run. Both are bytes, as in messages.
        self._recorded_ids: dict[bytes, bytes] = {}
        # (path, body of the request) -> the answer of the recorded server.
        self._cached_answers: dict[tuple[str, bytes], Answer] = {}
        # The id of a copy -> its JSON.
        self._bodies: dict[str, bytes] = {}
        newest = datetime(2026, 11, 29, 12, tzinfo=UTC)
        for number in range(count):
            run = recorded_answers[number % len(recorded_answers)]
            # The new id has the length of the recorded id. So one can replace the other inside a
            # message of ML Metadata, which contains the lengths of its texts.
            run_id = f"{number:08x}{run['run_id'][8:]}"
            created_at = (newest - timedelta(seconds=number)).isoformat()
            run_copy = {**run, "run_id": run_id, "created_at": created_at}
            self._recorded_ids[run_id.encode()] = run["run_id"].encode()
            self._bodies[run_id] = json.dumps(run_copy).encode()

    def answer(self, method: str, target: str, body: bytes) -> Answer:
        """Return the answer to a request, as `RecordedServer.answer` does."""
        url = urlsplit(target)
        if method == "GET" and url.path == RUNS_PATH:
            return 200, "application/json", self._page(dict(parse_qsl(url.query)))
        run_id = url.path.removeprefix(f"{RUNS_PATH}/")
        if run_id in self._bodies:
            return 200, "application/json", self._bodies[run_id]
        if url.path.endswith("GetContextByTypeAndName"):
            body = self._with_recorded_id(body)
        # All copies of a run send the same requests. The cache keeps this server from being the
        # slowest part of the measurement.
        key = (target, body)
        if key not in self._cached_answers:
            self._cached_answers[key] = self._answer_recorded(method, target, body)
        return self._cached_answers[key]

    def _with_recorded_id(self, body: bytes) -> bytes:
        """Return a message that names a copy, with the id of the recorded run instead."""
        for copy_id, recorded_id in self._recorded_ids.items():
            if copy_id in body:
                return body.replace(copy_id, recorded_id)
        return body

    def _page(self, query: dict[str, str]) -> bytes:
        """Return a page of the list of copies, as JSON. A page token is the index of a run."""
        start = int(query.get("page_token") or 0)
        end = start + int(query.get("page_size") or DEFAULT_PAGE_SIZE)
        runs = b",".join(list(self._bodies.values())[start:end])
        token = ""
        if end < len(self._bodies):
            token = f', "next_page_token": "{end}"'
        return b'{"runs": [' + runs + b"]" + token.encode() + b"}"
