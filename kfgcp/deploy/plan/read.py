"""Read from the services what a plan compares, with several requests at the same time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self, TypeVar

from kfgcp.backends.schedules import LiveSchedule, SupportsSchedules
from kfgcp.backends.versions import RegisteredVersion, SupportsVersions
from kfgcp.deploy.plan.pipelines import LivePipeline, is_pending
from kfgcp.deploy.versions.push import Push, find_entry
from kfgcp.errors import BackendError

Result = TypeVar("Result")

READERS: Final = 16
"""The most requests at the same time."""


class ServiceReader:
    """Reads the services of an environment in threads. Use it in a `with` block.

    A read starts at once, and its result is waited for later. Meanwhile, pipelines compile.

    Args:
        registry: the registry, None when the plan needs none.
        schedules: the schedules of the service, None when the service has none.
    """

    def __init__(
        self, registry: SupportsVersions | None, schedules: SupportsSchedules | None
    ) -> None:
        self._registry = registry
        self._pool = ThreadPoolExecutor(READERS, thread_name_prefix="kfgcp-plan")
        self._names: Future[Sequence[str]] | None = None
        self._schedules: Future[Sequence[LiveSchedule]] | None = None
        self._entries: dict[str, Future[Sequence[RegisteredVersion] | None]] = {}
        if registry is not None:
            self._names = self._pool.submit(registry.list_pipelines)
        if schedules is not None:
            self._schedules = self._pool.submit(schedules.list_schedules)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._pool.shutdown(cancel_futures=True)

    def start_read(self, read: Callable[[], Result]) -> Future[Result]:
        """Start another read. Its result has to be waited for before the `with` block ends.

        Args:
            read: the function that reads.
        """
        return self._pool.submit(read)

    def start_pipeline(self, name: str) -> None:
        """Start to read the versions of a pipeline, unless that read has started.

        A pipeline that the registry does not have costs no request.

        Args:
            name: its name in the registry.
        """
        registry, names = self._registry, self._names
        if registry is None or names is None:
            raise ValueError("this plan has no registry")

        def read_entries() -> Sequence[RegisteredVersion] | None:
            # The read of the names began first, so it has a thread already.
            return registry.list_versions(name) if name in names.result() else None

        if name not in self._entries:
            self._entries[name] = self._pool.submit(read_entries)

    def pipelines(self, pushes: Mapping[str, Sequence[Push]]) -> dict[str, PipelineReading]:
        """Wait for all pipelines, and return those that the registry has by name.

        Args:
            pushes: what is about to be pushed, by the names of pipelines in the registry.

        Raises:
            ConfigError: the environment has no registry, or one of another format.
            BackendError: the registry refuses or cannot be reached.
        """
        registry = self._registry
        if registry is None:
            return {}
        # A comparison reads the text of a changed pipeline, so comparisons run in threads too.
        readings: dict[str, Future[PipelineReading]] = {}
        for name, listing in self._entries.items():
            entries = listing.result()
            if entries is not None:
                readings[name] = self._pool.submit(
                    _read_pipeline, registry, entries, pushes.get(name, ())
                )
        return {name: reading.result() for name, reading in readings.items()}

    def pipeline_names(self) -> Sequence[str]:
        """Wait for the names of all pipelines in the registry."""
        return () if self._names is None else self._names.result()

    def schedules(self) -> Sequence[LiveSchedule]:
        """Wait for all schedules of the service."""
        return () if self._schedules is None else self._schedules.result()


@dataclass(frozen=True, slots=True)
class PipelineReading:
    """What a registry has under the name of a pipeline.

    Attributes:
        entries: the versions, the newest first.
        live: what the registry has of each push, in the order of the pushes.
    """

    entries: tuple[RegisteredVersion, ...] = ()
    live: tuple[LivePipeline, ...] = ()


def _read_pipeline(
    registry: SupportsVersions, entries: Sequence[RegisteredVersion], pushes: Sequence[Push]
) -> PipelineReading:
    live: list[LivePipeline] = []
    for push in pushes:
        entry, has_text = find_entry(registry, push, entries)
        newest_text = ""
        if entry is None and entries:
            newest_text = _read_text(registry, entries[0])
        live.append(LivePipeline(entry, has_text, newest_text))
    return PipelineReading(tuple(entries), tuple(live))


def _read_text(registry: SupportsVersions, entry: RegisteredVersion) -> str:
    """Return the text of an entry, "" when it cannot be read. A plan is possible without it."""
    try:
        return registry.read_text(entry)
    except BackendError:
        return ""


@dataclass(slots=True)
class RegistryAfterPush:
    """A registry as it is after the pushes of a plan, for `find_version` and `read_spec`.

    Args:
        registry: the address of the registry.
        source: reads the texts of entries.
        names: the names of all pipelines in the registry.
        entries: name -> its entries after the pushes.
        pushes: the text of each entry that a plan pushes, by the digest of the text.
    """

    registry: str
    source: SupportsVersions
    names: Sequence[str]
    entries: Mapping[str, Sequence[RegisteredVersion]]
    pushes: Mapping[str, Push] = field(default_factory=dict)

    def list_versions(self, pipeline: str) -> Sequence[RegisteredVersion]:
        """Return the versions of a pipeline that the plan has read, the newest first."""
        return self.entries.get(pipeline, ())

    def list_pipelines(self) -> Sequence[str]:
        """Return the names of the pipelines, sorted."""
        return sorted(set(self.names) | self.entries.keys())

    def read(self, version: RegisteredVersion) -> tuple[RegisteredVersion, str]:
        """Return an entry with all digits of its version, and its text."""
        if is_pending(version):
            return version, self.pushes[version.text_digest].upload.text
        return self.source.read(version)
