"""The cache of tasks: the outputs of successes, by the key of what they were made from."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from kfgcp.store.rows import CacheEntry, bound, cache_entry, cache_row
from kfgcp.store.writer import Writer

_DELETED = "null"
"""The outputs in the cache of a run that was deleted."""


class CachedOutputs(Writer):
    """The part of the index that is the cache of tasks."""

    def find_cached(self, pipeline: str, key: str) -> CacheEntry | None:
        """What an earlier success with this key put out; shared by the runs of one pipeline name."""
        known_run = (
            "COALESCE((SELECT run_id FROM runs WHERE run_id = cache.run_id),"
            " (SELECT run_id FROM uses WHERE made_by = cache.run_id AND made_task = cache.path LIMIT 1), '')"
        )
        query = f"SELECT *, {known_run} AS known_run FROM cache WHERE pipeline = ? AND key = ? AND outputs != ?"  # noqa: S608
        with self._failures():
            row = self._db.execute(query, bound(pipeline, key, _DELETED)).fetchone()
        return None if row is None else cache_entry(row)

    def earlier_parts(self, pipeline: str, task: str, run_id: str, limit: int) -> list[dict[str, Any]]:
        """Return what the keys of a task's successes in other runs were made of, newest first; of deleted runs too.

        Args:
            pipeline: the name of the pipeline.
            task: the path of the task without the numbers of iterations.
            run_id: the run whose own successes do not count.
            limit: at most this many.
        """
        query = (
            "SELECT parts FROM cache WHERE pipeline = ? AND task = ? AND run_id != ? ORDER BY stored_at DESC LIMIT ?"
        )
        with self._failures():
            rows = self._db.execute(query, (*bound(pipeline, task, run_id), limit)).fetchall()
        return [json.loads(row["parts"]) for row in rows]

    def deleted_run(self, pipeline: str, key: str) -> str | None:
        """Return the deleted run that had a success with this key, None when there is none."""
        query = "SELECT run_id FROM cache WHERE pipeline = ? AND key = ? AND outputs = ?"
        with self._failures():
            row = self._db.execute(query, bound(pipeline, key, _DELETED)).fetchone()
        return None if row is None else row["run_id"]

    def _add_cached(self, entries: Iterable[CacheEntry]) -> None:
        self._db.executemany(
            "INSERT OR REPLACE INTO cache (pipeline, key, task, run_id, path, attempt, stored_at, parts, outputs)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [cache_row(entry) for entry in entries],
        )

    def _delete_outputs(self, run_ids: Sequence[str]) -> None:
        """Delete the outputs of runs without a record, except those that another run uses."""
        self._db.executemany(
            "UPDATE cache SET outputs = ? WHERE run_id = ? AND NOT EXISTS (SELECT 1 FROM uses"
            " WHERE made_by = cache.run_id AND made_task = cache.path AND uses.attempt = cache.attempt)",
            [(_DELETED, run_id) for run_id in run_ids],
        )
