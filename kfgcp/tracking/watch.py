"""Follows a run of any backend from this process, without owning it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from kfgcp.backends.base import LogFilter, Pace
from kfgcp.tracking.follow import Update, follow
from kfgcp.tracking.handle import RunHandle
from kfgcp.tracking.poll import Poller

CHECK_SECONDS: Final = 1.0
"""Seconds between two looks at the backend, at least."""


def watch(handle: RunHandle, logs: bool | LogFilter, notice: Callable[[str], None]) -> Iterator[Update]:
    """Yield what changes in a run until it has ended, see `kfgcp.Workspace.watch`.

    The backend is that of the thread that takes the first update.
    """
    log_filter = logs if isinstance(logs, LogFilter) else LogFilter()
    tail = handle.tail(log_filter) if logs else None
    backend = handle.backend
    pace = Pace(max(CHECK_SECONDS, backend.pace.shortest), backend.pace.longest)
    poller = Poller(backend, handle.ref, pace=pace, notice=notice)
    yield from follow(handle.workspace.store, handle.run_id, tail, check=poller.look, notice=notice)
