"""Download the input artifacts of tasks from buckets, and upload their output artifacts.

Transfers run in threads, so that the loop of the engine never waits for the network.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from kfgcp.bucket_settings import BucketSettings
from kfgcp.engine import bucket_copies
from kfgcp.engine.executors.base import Attempt
from kfgcp.machine import start_thread
from kfgcp.semantics.values import ArtifactValue, Values
from kfgcp.services.storage.problems import NothingStored, StorageProblem


@dataclass(frozen=True, slots=True)
class InputsCopied:
    """The event at the end of copying the inputs of an attempt to this machine.

    Attributes:
        attempt: the attempt.
        problem: why the copy failed, None when it succeeded.
    """

    attempt: Attempt
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class OutputsCopied:
    """The event at the end of copying the outputs of an attempt to their buckets.

    Attributes:
        attempt_id: the attempt.
        outputs: the outputs of the attempt. After a success, uploaded artifacts are marked as
            stored.
        problem: why the copy failed, None when it succeeded.
    """

    attempt_id: int
    outputs: Values
    problem: str | None = None


class Transfers:
    """The transfers of one run between buckets and the copies folder of the run.

    Args:
        emit: takes the event at the end of each transfer. It is called in the thread of the
            transfer.
        folder: the copies folder, see `kfgcp.engine.bucket_copies`.
        settings: the addresses of object stores, and their time limits.
    """

    def __init__(
        self,
        emit: Callable[[InputsCopied | OutputsCopied], None],
        folder: Path,
        settings: BucketSettings,
    ) -> None:
        self._emit = emit
        self._folder = folder
        self._settings = settings
        self._lock = threading.Lock()
        self._under_way: set[int] = set()

    def fetch(
        self, attempt: Attempt, uris: Sequence[str], optional: frozenset[str] = frozenset()
    ) -> None:
        """Start to download inputs of an attempt. At the end, emit `InputsCopied`.

        Args:
            attempt: the attempt.
            uris: what to download.
            optional: the URIs where nothing has to be stored.
        """
        self._start(
            attempt.id,
            lambda: self._fetch(attempt, uris, optional),
            lambda problem: InputsCopied(attempt, problem),
        )

    def store(self, attempt_id: int, outputs: Values, uris: Sequence[str]) -> None:
        """Start to upload outputs of an attempt. At the end, emit `OutputsCopied`."""
        self._start(
            attempt_id,
            lambda: self._store(attempt_id, outputs, uris),
            lambda problem: OutputsCopied(attempt_id, outputs, problem),
        )

    def abandon(self, attempt_id: int) -> bool:
        """Ignore the rest of the transfer of an attempt. Its end emits no event.

        Returns:
            True when a transfer of the attempt was still running.
        """
        with self._lock:
            is_under_way = attempt_id in self._under_way
            self._under_way.discard(attempt_id)
        return is_under_way

    def _start(
        self,
        attempt_id: int,
        transfer: Callable[[], InputsCopied | OutputsCopied],
        make_failure_event: Callable[[str], InputsCopied | OutputsCopied],
    ) -> None:
        """Run a transfer in a thread, and emit the event that it returns."""

        def run() -> None:
            event = transfer()
            # The event is emitted under the lock. So after `abandon` has returned True, no event
            # is emitted.
            with self._lock:
                if attempt_id in self._under_way:
                    self._under_way.remove(attempt_id)
                    self._emit(event)

        self._under_way.add(attempt_id)
        try:
            start_thread(run, "kfgcp-transfer")
        except OSError as error:
            self._under_way.remove(attempt_id)
            self._emit(make_failure_event(f"cannot be copied: {error.strerror}"))

    def _fetch(
        self, attempt: Attempt, uris: Sequence[str], optional: frozenset[str]
    ) -> InputsCopied:
        try:
            for uri in uris:
                self._download(uri, is_optional=uri in optional)
        except StorageProblem as problem:
            return InputsCopied(attempt, str(problem))
        return InputsCopied(attempt)

    def _download(self, uri: str, *, is_optional: bool) -> None:
        try:
            bucket_copies.download(uri, self._folder, self._settings)
        except NothingStored:
            if not is_optional:
                raise

    def _store(self, attempt_id: int, outputs: Values, uris: Sequence[str]) -> OutputsCopied:
        try:
            for uri in uris:
                bucket_copies.upload(uri, self._folder, self._settings)
        except StorageProblem as problem:
            return OutputsCopied(attempt_id, outputs, str(problem))
        # Later runs may use an artifact that is marked as stored, so the mark comes after the
        # upload.
        artifacts: dict[str, tuple[ArtifactValue, ...]] = {}
        for name, items in outputs.artifacts.items():
            artifacts[name] = tuple(
                replace(item, stored=item.stored or item.uri in uris) for item in items
            )
        return OutputsCopied(attempt_id, replace(outputs, artifacts=artifacts))
