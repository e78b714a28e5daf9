"""The records of services, in the store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from kfgcp.store.rows import Cancellation
from kfgcp.store.store import Store


class StoreRecords:
    """The records of a service, in the store. See `ServiceRecords`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def names(self, place: str, kind: str) -> dict[str, str]:
        """Return the remembered names of one kind, by the ids of what has these names."""
        return self._store.names(place, kind)

    def remember_names(
        self, place: str, kind: str, names: Mapping[str, str], *, gone: Iterable[str] = ()
    ) -> None:
        """Remember names, and forget those of the ids that are `gone`.

        Do nothing when the store is read-only.
        """
        if self._store.writable:
            self._store.set_names(place, kind, names, gone=gone)

    def spec(self, version: str) -> dict[str, Any] | None:
        """Return the PipelineSpec of a version, None when it was not recorded."""
        return self._store.spec(version)

    def cancellation(self, backend_ref: str) -> Cancellation | None:
        """Return what is recorded about cancelling a run."""
        return self._store.cancellation(backend_ref)

    def complete_since(self, place: str) -> str | None:
        """Return the time since which all runs are recorded, None when runs were never listed."""
        observed = self._store.observed(place)
        return None if observed is None else observed.created_since
