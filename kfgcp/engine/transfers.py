"""What tasks read from buckets and write to them, copied in threads so that the engine's loop goes
on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from kfgcp.bucket_settings import BucketSettings
from kfgcp.engine import bucket_copies
from kfgcp.engine.executors.base import Attempt
from kfgcp.machine import start_thread
from kfgcp.semantics.values import Values
from kfgcp.services.storage.problems import StorageProblem


@dataclass(frozen=True, slots=True)
class Fetched:
    """What an attempt reads is here, or why it is not."""

    attempt: Attempt
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Stored:
    """What an attempt wrote is in its bucket, or why it is not."""

    attempt_id: int
    outputs: Values
    problem: str | None = None


class Transfers:
    """Copies between buckets and a folder of the run.

    Args:
        emit: takes the end of each transfer, from another thread.
        folder: where the copies are, see `kfgcp.engine.bucket_copies`.
        settings: where buckets are.
    """

    def __init__(
        self, emit: Callable[[Fetched | Stored], None], folder: Path, settings: BucketSettings
    ) -> None:
        self._emit = emit
        self._folder = folder
        self._settings = settings
        self._lock = threading.Lock()
        self._under_way: set[int] = set()

    def fetch(self, attempt: Attempt, uris: Sequence[str]) -> None:
        self._start(
            attempt.id,
            lambda: self._fetch(attempt, uris),
            lambda problem: Fetched(attempt, problem),
        )

    def store(self, attempt_id: int, outputs: Values, uris: Sequence[str]) -> None:
        self._start(
            attempt_id,
            lambda: self._store(attempt_id, outputs, uris),
            lambda problem: Stored(attempt_id, outputs, problem),
        )

    def abandon(self, attempt_id: int) -> bool:
        """Waits no longer for an attempt's transfer, whose end is not emitted any more; False when
        there is none."""
        with self._lock:
            there = attempt_id in self._under_way
            self._under_way.discard(attempt_id)
        return there

    def _start(
        self,
        attempt_id: int,
        transfer: Callable[[], Fetched | Stored],
        failed: Callable[[str], Fetched | Stored],
    ) -> None:
        def run() -> None:
            event = transfer()
            with self._lock:
                if attempt_id in self._under_way:
                    self._under_way.remove(attempt_id)
                    self._emit(event)

        self._under_way.add(attempt_id)
        try:
            start_thread(run, "kfgcp-transfer")
        except OSError as error:
            self._under_way.remove(attempt_id)
            self._emit(failed(f"cannot be copied: {error.strerror}"))

    def _fetch(self, attempt: Attempt, uris: Sequence[str]) -> Fetched:
        try:
            for uri in uris:
                bucket_copies.download(uri, self._folder, self._settings)
        except StorageProblem as problem:
            return Fetched(attempt, str(problem))
        return Fetched(attempt)

    def _store(self, attempt_id: int, outputs: Values, uris: Sequence[str]) -> Stored:
        try:
            for uri in uris:
                bucket_copies.upload(uri, self._folder, self._settings)
        except StorageProblem as problem:
            return Stored(attempt_id, outputs, str(problem))
        artifacts = {
            name: tuple(replace(item, stored=item.stored or item.uri in uris) for item in items)
            for name, items in outputs.artifacts.items()
        }
        return Stored(attempt_id, replace(outputs, artifacts=artifacts))
