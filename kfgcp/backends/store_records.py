"""Keep the data of services in the store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from kfgcp.store.rows import Cancellation
from kfgcp.store.store import Store


class StoreRecords:
    """Implements `ServiceRecords` with the store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def names(self, place: str, kind: str) -> dict[str, str]:
        """Return the remembered names of one kind, by id."""
        return self._store.names(place, kind)

    def remember_names(
        self, place: str, kind: str, names: Mapping[str, str], *, gone: Iterable[str] = ()
    ) -> None:
        """Remember names by id, and forget the ids in `gone`.

        Do nothing when the store is read-only.
        """
        if self._store.writable:
            self._store.set_names(place, kind, names, gone=gone)

    def spec(self, version: str) -> dict[str, Any] | None:
        """Return the PipelineSpec of a version, None when the spec is not recorded."""
        return self._store.spec(version)

    def cancellation(self, backend_ref: str) -> Cancellation | None:
        """Return the record of the cancellation of a run, None when the run is not recorded."""
        return self._store.cancellation(backend_ref)

    def complete_since(self, place: str) -> str | None:
        """Return the time since which all runs are recorded, None when they were never listed."""
        observed = self._store.observed(place)
        return None if observed is None else observed.created_since
