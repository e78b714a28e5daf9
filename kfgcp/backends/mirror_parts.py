"""The capabilities of a `Mirror` that depend on its service.

Each part of a mirror implements one Protocol of `kfgcp.backends.base`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from kfgcp.backends.base import (
    LogFilter,
    LogLine,
    LogTail,
    RunRef,
    SupportsArtifacts,
    SupportsLogs,
    SupportsNative,
    SupportsPreview,
    SupportsRetry,
)
from kfgcp.backends.locks import SupportsLock
from kfgcp.backends.schedules import FindsOtherSchedulers, SupportsSchedules
from kfgcp.backends.service import (
    CanRetry,
    HasLocks,
    HasLogs,
    HasNativeClient,
    HasRegistry,
    HasSchedules,
    RunService,
)
from kfgcp.backends.versions import SupportsVersions
from kfgcp.errors import UsageError
from kfgcp.model import Run, RunState


class MirroredRuns(Protocol):
    """The methods of a `Mirror` that its parts use."""

    def backend_ref(self, ref: RunRef) -> str:
        """Return the service's own name of a run."""

    def get(self, ref: RunRef) -> Run:
        """Return a run as it is now."""

    def has_recorded_end(self, ref: RunRef) -> bool:
        """Return whether the store has a run as one that has ended."""

    def reopen_record(self, ref: RunRef) -> None:
        """Record that a run continues."""


def find_part(mirror: MirroredRuns, service: RunService, protocol: type) -> object | None:
    """Return the part of a mirror that implements a Protocol, None when its service does not."""
    if protocol is SupportsLogs and isinstance(service, HasLogs):
        return MirrorLogs(mirror, service)
    if protocol is SupportsRetry and isinstance(service, CanRetry):
        return MirrorRetry(mirror, service)
    if protocol is SupportsNative and isinstance(service, HasNativeClient):
        return MirrorNative(mirror, service)
    if protocol is SupportsVersions and isinstance(service, HasRegistry):
        return service.versions()
    if protocol is SupportsSchedules and isinstance(service, HasSchedules):
        return service.schedules()
    if protocol is SupportsLock and isinstance(service, HasLocks):
        return service.locks()
    # These Protocols name no run, so a service can implement them itself.
    own_protocols = (SupportsArtifacts, SupportsPreview, FindsOtherSchedulers)
    if protocol in own_protocols and isinstance(service, protocol):
        return service
    return None


class MirrorLogs:
    """The logs of the runs of a mirror, see `SupportsLogs`."""

    def __init__(self, mirror: MirroredRuns, service: HasLogs) -> None:
        self._mirror = mirror
        self._service = service

    def logs(self, ref: RunRef, log_filter: LogFilter) -> Iterator[LogLine]:
        """Return the lines that were written until now."""
        return self._service.logs(self._mirror.backend_ref(ref), log_filter)

    def tail(self, ref: RunRef, log_filter: LogFilter) -> LogTail:
        """Return a reader of the lines of a run that has not ended."""
        return self._service.tail(self._mirror.backend_ref(ref), log_filter)


class MirrorNative:
    """Returns the runs of a mirror as objects of the official client, see `SupportsNative`."""

    def __init__(self, mirror: MirroredRuns, service: HasNativeClient) -> None:
        self._mirror = mirror
        self._service = service

    def native(self, ref: RunRef) -> Any:
        """Return the run as an object of the official client."""
        return self._service.native(self._mirror.backend_ref(ref))


class MirrorRetry:
    """Continues the runs of a mirror, see `SupportsRetry`."""

    def __init__(self, mirror: MirroredRuns, service: CanRetry) -> None:
        self._mirror = mirror
        self._service = service

    def retry(self, ref: RunRef) -> RunState:
        """Continue a run that failed or was cancelled, and record that it continues."""
        state_before = self._service.retry(self._mirror.backend_ref(ref))
        if state_before is RunState.SUCCEEDED:
            raise UsageError(
                f"Run {ref.run_id} has succeeded.",
                hint=f"Start a new run: kfgcp rerun {ref.run_id}",
            )
        if not state_before.final:
            # The run has ended only in the record when somebody else continued it.
            if self._mirror.has_recorded_end(ref):
                self._mirror.reopen_record(ref)
            raise UsageError(
                f"Run {ref.run_id} is {state_before}.",
                hint=f"Follow the run: kfgcp watch {ref.run_id}",
            )
        self._mirror.reopen_record(ref)
        return self._mirror.get(ref).state
