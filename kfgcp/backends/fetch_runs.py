"""Fetch runs with their tasks from a service. A run that was deleted is None.

Several threads call these functions at the same time.
"""

from __future__ import annotations

from kfgcp.backends.service import CanFetchListed, FetchedRun, RunService
from kfgcp.errors import NotFound


def fetch_listed(service: RunService, listed: FetchedRun) -> FetchedRun | None:
    """Return a run of a list with its tasks, None when it was deleted after it was listed."""
    if not isinstance(service, CanFetchListed):
        return fetch_unless_deleted(service, listed.run.backend_ref or "")
    try:
        return service.fetch_listed(listed)
    except NotFound:
        return None


def fetch_unless_deleted(service: RunService, backend_ref: str) -> FetchedRun | None:
    """Return a run with its tasks, None when it was deleted."""
    try:
        return service.fetch(backend_ref)
    except NotFound:
        return None
