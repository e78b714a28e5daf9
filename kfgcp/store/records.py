"""Read single facts about recorded runs for the engine and for the mirrors of services."""

from __future__ import annotations

import json
from typing import Any

from kfgcp.model import RunState
from kfgcp.store.reader import Reader
from kfgcp.store.request import StoredRequest
from kfgcp.store.rows import (
    Cancellation,
    EndedRun,
    Observed,
    Outcome,
    ReadLevel,
    fetch_value,
    sql_values,
)


class RunRecords(Reader):
    """The part of the index that reads facts about runs which a `Run` does not contain."""

    def spec(self, version: str) -> dict[str, Any] | None:
        """Return the PipelineSpec of a version, None when it is not recorded."""
        with self._convert_errors():
            row = self._db.execute(
                "SELECT pipeline_spec FROM specs WHERE version = ?", (version,)
            ).fetchone()
            if row is None:
                return None
            pipeline_spec: dict[str, Any] = json.loads(row["pipeline_spec"])
            return pipeline_spec

    def versions(self, prefix: str) -> list[str]:
        """Return at most 6 versions that begin with a prefix and whose PipelineSpec is recorded.

        The caller needs one version. When there are more, its error shows a few of them.
        """
        with self._convert_errors():
            rows = self._db.execute(
                "SELECT version FROM specs WHERE substr(version, 1, length(:prefix)) = :prefix"
                " ORDER BY version LIMIT 6",
                {"prefix": sql_values(prefix)[0]},
            )
            return [row["version"] for row in rows]

    def request(self, run_id: str) -> StoredRequest | None:
        """Return how a run was submitted, None when it was not submitted from here.

        Raises:
            UsageError: there is no such run.
            StateError: a newer version of kfgcp recorded it in another form.
        """
        with self._convert_errors():
            cursor = self._db.execute("SELECT request FROM runs WHERE run_id = ?", (run_id,))
            stored = json.loads(fetch_value(cursor, run_id))
        return StoredRequest.from_dict(stored) if stored else None

    def rev(self, run_id: str) -> int:
        """Return a number that grows with each change of a run.

        Raises:
            UsageError: there is no such run.
        """
        with self._convert_errors():
            cursor = self._db.execute("SELECT rev FROM runs WHERE run_id = ?", (run_id,))
            return int(fetch_value(cursor, run_id))

    def cancel_requests(self, run_id: str) -> int:
        """Return how often the cancelling of a run was requested, 0 when there is no such run."""
        with self._convert_errors():
            row = self._db.execute(
                "SELECT cancel_requests FROM runs WHERE run_id = ?", (run_id,)
            ).fetchone()
        return 0 if row is None else row["cancel_requests"]

    def cancellation(self, backend_ref: str) -> Cancellation | None:
        """Return the record of the cancelling of a run of a remote backend.

        Args:
            backend_ref: the name of the run on its backend.

        Returns:
            The record, None when there is no such run.
        """
        with self._convert_errors():
            row = self._db.execute(
                "SELECT state, ended_at, cancel_requested_at FROM runs WHERE backend_ref = ?",
                sql_values(backend_ref),
            ).fetchone()
        if row is None:
            return None
        return Cancellation(
            RunState(row["state"]), row["ended_at"] or "", row["cancel_requested_at"] or ""
        )

    def read_level(self, run_id: str) -> ReadLevel:
        """Return how much of a run was read.

        Raises:
            UsageError: there is no such run.
        """
        with self._convert_errors():
            cursor = self._db.execute("SELECT read FROM runs WHERE run_id = ?", (run_id,))
            return ReadLevel(fetch_value(cursor, run_id))

    def refs(self, run_id: str) -> tuple[str, str] | None:
        """Return the environment and the backend_ref of a run, None when there is no such run.

        The backend_ref is the name of the run on its backend, "" when it has none.
        """
        with self._convert_errors():
            row = self._db.execute(
                "SELECT env, backend_ref FROM runs WHERE run_id = ?", sql_values(run_id)
            ).fetchone()
        return None if row is None else (row["env"], row["backend_ref"] or "")

    def ended(self, place: str) -> dict[str, EndedRun]:
        """Return the runs of a place that have ended, newest first.

        Args:
            place: the text with which the backend_ref of each run of the place begins.

        Returns:
            The runs by their backend_refs.
        """
        with self._convert_errors():
            rows = self._db.execute(
                "SELECT backend_ref, run_id, state, ended_at, read FROM runs WHERE"
                " substr(backend_ref, 1, length(?)) = ? AND state IN ('SUCCEEDED', 'FAILED',"
                " 'CANCELLED') ORDER BY created_at DESC",
                sql_values(place, place),
            ).fetchall()
        ended_runs = {}
        for backend_ref, run_id, state, ended_at, read_level in rows:
            ended_runs[backend_ref] = EndedRun(
                run_id=run_id,
                state=RunState(state),
                ended_at=ended_at or "",
                read_level=ReadLevel(read_level),
            )
        return ended_runs

    def unfinished(self, backend: str) -> list[str]:
        """Return the ids of the runs of a backend that have not ended."""
        return self.unfinished_by_backend().get(backend, [])

    def unfinished_by_backend(self) -> dict[str, list[str]]:
        """Return the ids of the runs that have not ended, by their backends."""
        with self._convert_errors():
            # The index runs_unfinished has the same condition, so SQLite reads only these rows.
            rows = self._db.execute(
                "SELECT backend, run_id FROM runs WHERE state NOT IN ('SUCCEEDED', 'FAILED',"
                " 'CANCELLED')"
            ).fetchall()
        run_ids: dict[str, list[str]] = {}
        for backend, run_id in rows:
            run_ids.setdefault(backend, []).append(run_id)
        return run_ids

    def names(self, place: str, kind: str) -> dict[str, str]:
        """Return the recorded names of the objects of a place and a kind, by the objects' ids.

        An object has a name here only after a backend has read it, see `Store.set_names`.
        """
        with self._convert_errors():
            rows = self._db.execute(
                "SELECT id, name FROM names WHERE place = ? AND kind = ?", sql_values(place, kind)
            ).fetchall()
        return {row["id"]: row["name"] for row in rows}

    def observed(self, place: str) -> Observed | None:
        """Return how far the runs of a place were read, None when they were never read."""
        with self._convert_errors():
            row = self._db.execute(
                "SELECT changed_until, created_since FROM observed WHERE place = ?",
                sql_values(place),
            ).fetchone()
        return None if row is None else Observed(row["changed_until"], row["created_since"])

    def outcomes(self, run_id: str) -> dict[str, Outcome]:
        """Return the outputs of the finished tasks of a run, by the paths of the tasks."""
        with self._convert_errors():
            rows = self._db.execute(
                "SELECT path, key, outputs FROM outcomes WHERE run_id = ?", (run_id,)
            ).fetchall()
        outcomes = {}
        for path, key, outputs in rows:
            outcomes[path] = Outcome(path, key, json.loads(outputs))
        return outcomes

    def interruptions(self, run_id: str) -> dict[str, int]:
        """Return the number of interrupted attempts of each task, by the path of the task."""
        with self._convert_errors():
            rows = self._db.execute(
                "SELECT path, COUNT(*) AS attempts FROM interrupted WHERE run_id = ? GROUP BY path",
                (run_id,),
            ).fetchall()
        return {row["path"]: row["attempts"] for row in rows}
