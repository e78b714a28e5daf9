"""Keep the cache of tasks: the outputs of successful tasks, by a key of their inputs and code.

A row of the table `cache` is called deleted when its run and its outputs were deleted.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, Final

from kfgcp.store.rows import (
    CacheEntry,
    DeletedSuccess,
    SqlValue,
    cache_entry_row,
    read_cache_entry,
    sql_values,
)
from kfgcp.store.writer import Writer

# A recorded run that has the success of a row: the run that produced it, or a run whose task was
# cached from it. "" when there is no record of these runs.
_KNOWN_RUN: Final = (
    "COALESCE((SELECT run_id FROM runs WHERE run_id = cache.run_id),"
    " (SELECT run_id FROM uses WHERE made_by = cache.run_id AND made_task = cache.path"
    " AND uses.attempt = cache.attempt AND cached LIMIT 1), '') AS known_run"
)

# Successes of the same time are ordered by the primary key, so that always the same one is newest.
_NEWEST_FIRST: Final = " ORDER BY stored_at DESC, run_id DESC, path DESC LIMIT 1"

# Delete the outputs of a run that no other run uses. This changes the computed column `deleted`,
# which means outputs = 'null', see migrations/0011_successes.sql.
_DELETE_OUTPUTS: Final = """
    UPDATE cache SET outputs = 'null'
    WHERE run_id = ? AND NOT EXISTS (
      SELECT 1 FROM uses
      WHERE made_by = cache.run_id AND made_task = cache.path AND uses.attempt = cache.attempt
    )
"""

# Remove the deleted rows with a key of the run, but keep the newest row of each key.
_DELETE_OLDER: Final = """
    DELETE FROM cache
    WHERE deleted
      AND (pipeline, key) IN (SELECT pipeline, key FROM cache WHERE run_id = ?)
      AND (stored_at, run_id, path) < (
        SELECT stored_at, run_id, path FROM cache AS newest
        WHERE newest.pipeline = cache.pipeline AND newest.key = cache.key
        ORDER BY stored_at DESC, run_id DESC, path DESC LIMIT 1
      )
"""

# Remove the deleted rows of the run if another row with the same key is not deleted.
_DELETE_REPLACED: Final = """
    DELETE FROM cache
    WHERE run_id = ? AND deleted AND EXISTS (
      SELECT 1 FROM cache AS kept
      WHERE kept.pipeline = cache.pipeline AND kept.key = cache.key AND NOT kept.deleted
    )
"""


class CachedOutputs(Writer):
    """The part of the index that is the cache of tasks.

    Each success has a row. When a run is deleted and no other run uses its files, the row stays,
    but without the outputs. With this row, kfgcp can explain why a task is not cached any more.
    """

    def find_cached(
        self, pipeline: str, key: str, *, other_than: str = "", older_than: CacheEntry | None = None
    ) -> CacheEntry | None:
        """Return the newest success with a key whose outputs are kept, None when there is none.

        Args:
            pipeline: the name of the pipeline. All its runs share their successes.
            key: the digest of the code and the inputs that the outputs were computed from.
            other_than: the id of a run whose own successes do not count, "" for none.
            older_than: a success with this key. Only older successes count, None for all.
        """
        query = (
            f"SELECT *, {_KNOWN_RUN} FROM cache"  # noqa: S608
            " WHERE pipeline = ? AND key = ? AND NOT deleted AND run_id != ?"
        )
        values: list[SqlValue] = [pipeline, key, other_than]
        if older_than is not None:
            query += " AND (stored_at, run_id, path) < (?, ?, ?)"
            values += [older_than.stored_at, older_than.origin.run_id, older_than.origin.path]
        with self._convert_errors():
            row = self._db.execute(query + _NEWEST_FIRST, sql_values(*values)).fetchone()
        return None if row is None else read_cache_entry(row)

    def earlier_parts(
        self, pipeline: str, task: str, run_id: str, limit: int
    ) -> list[dict[str, Any]]:
        """Return the parts of the keys of a task's successes in other runs, newest first.

        Successes of deleted runs are included.

        Args:
            pipeline: the name of the pipeline.
            task: the path of the task without the numbers of iterations.
            run_id: the run whose own successes do not count.
            limit: at most this many.
        """
        query = (
            "SELECT parts FROM cache WHERE pipeline = ? AND task = ? AND run_id != ? ORDER BY"
            " stored_at DESC LIMIT ?"
        )
        with self._convert_errors():
            rows = self._db.execute(query, sql_values(pipeline, task, run_id, limit)).fetchall()
        return [json.loads(row["parts"]) for row in rows]

    def find_deleted(self, pipeline: str, key: str) -> DeletedSuccess | None:
        """Return the newest success with a key whose run was deleted, None when there is none."""
        query = (
            "SELECT run_id, has_files FROM cache WHERE pipeline = ? AND key = ? AND deleted"  # noqa: S608
            + _NEWEST_FIRST
        )
        with self._convert_errors():
            row = self._db.execute(query, sql_values(pipeline, key)).fetchone()
        return None if row is None else DeletedSuccess(row["run_id"], bool(row["has_files"]))

    def _add_cached(self, entries: Iterable[CacheEntry]) -> None:
        self._db.executemany(
            "INSERT OR REPLACE INTO cache"
            " (pipeline, key, stored_at, run_id, path, attempt, task, parts, outputs, has_files)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [cache_entry_row(entry) for entry in entries],
        )

    def _delete_outputs(self, run_ids: Sequence[str]) -> None:
        """Delete the outputs of runs without a record, except outputs that another run uses.

        Of the deleted rows with the same key, only the newest stays. When a row with the key still
        has outputs, no deleted row stays.
        """
        for run_id in run_ids:
            # The first statement sets `deleted`, which the other two statements test.
            for statement in (_DELETE_OUTPUTS, _DELETE_OLDER, _DELETE_REPLACED):
                self._db.execute(statement, (run_id,))
