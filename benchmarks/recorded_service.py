"""A Kubeflow Pipelines on loopback with many runs, each a copy of one that was recorded on a real
server.

The recordings and the server that answers with them are those of the tests.
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
LIST: Final = "/apis/v2beta1/runs"

if TYPE_CHECKING:
    from recorded_runs import RecordedServer


@contextlib.contextmanager
def serve_copies(count: int) -> Iterator[str]:
    """Serve copies of the recorded runs, all of them in turn, and yield the address.

    Args:
        count: how many runs there are.
    """
    sys.path.insert(0, str(SUPPORT))
    try:
        import recorded_runs
    finally:
        sys.path.remove(str(SUPPORT))
    names = recorded_runs.names()
    service = recorded_runs.RecordedServer(names)
    copies = _Copies(service, [recorded_runs.run_answer(name) for name in names], count)
    service.answer = copies.answer  # type: ignore[method-assign]
    with recorded_runs.listen(service):
        yield service.url


class _Copies:
    """Answers for the copies; ML Metadata of a copy is that of the recorded run.

    Args:
        service: answers for the recorded runs.
        recorded: their answers.
        count: how many copies there are.
    """

    def __init__(self, service: RecordedServer, recorded: list[dict[str, Any]], count: int) -> None:
        self._answer = service.answer
        self._recorded_id: dict[bytes, bytes] = {}
        self._known: dict[tuple[str, bytes], tuple[int, str, bytes]] = {}
        self._bodies: dict[str, bytes] = {}
        newest = datetime(2026, 11, 29, 12, tzinfo=UTC)
        for number in range(count):
            run = recorded[number % len(recorded)]
            # Of the same length, so that it can take the place of the other one in a message of ML
            # Metadata.
            run_id = f"{number:08x}{run['run_id'][8:]}"
            created_at = (newest - timedelta(seconds=number)).isoformat()
            self._recorded_id[run_id.encode()] = run["run_id"].encode()
            self._bodies[run_id] = json.dumps(
                {**run, "run_id": run_id, "created_at": created_at}
            ).encode()

    def answer(self, method: str, target: str, body: bytes) -> tuple[int, str, bytes]:
        """Return status, content type and body of an answer."""
        url = urlsplit(target)
        if method == "GET" and url.path == LIST:
            return 200, "application/json", self._page(dict(parse_qsl(url.query)))
        run_id = url.path.removeprefix(f"{LIST}/")
        if run_id in self._bodies:
            return 200, "application/json", self._bodies[run_id]
        if url.path.endswith("GetContextByTypeAndName"):
            for copy_id, recorded_id in self._recorded_id.items():
                if copy_id in body:
                    body = body.replace(copy_id, recorded_id)
                    break
        # The same messages are asked for again for each copy. The service should not be the slowest
        # part.
        key = (target, body)
        if key not in self._known:
            self._known[key] = self._answer(method, target, body)
        return self._known[key]

    def _page(self, query: dict[str, str]) -> bytes:
        start = int(query.get("page_token") or 0)
        end = start + int(query.get("page_size") or 20)
        runs = b",".join(list(self._bodies.values())[start:end])
        token = f', "next_page_token": "{end}"' if end < len(self._bodies) else ""
        return b'{"runs": [' + runs + b"]" + token.encode() + b"}"
