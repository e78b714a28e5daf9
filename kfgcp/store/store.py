"""The index of the runs of all backends, in `<home>/kfgcp.db`.

Each write is one transaction, and it is on the disk when the call returns. A process that is killed
(kill -9) at any moment leaves either all of a write or nothing. The engine relies on this: it shows
and launches only what a committed transaction contains. Reads never wait for writes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from kfgcp import event
from kfgcp.model import Run, RunState, Task
from kfgcp.spec.digest import digest
from kfgcp.spec.json_values import JsonObject
from kfgcp.store.cached_outputs import CachedOutputs
from kfgcp.store.events import RunEvents
from kfgcp.store.file_uses import FileUses
from kfgcp.store.reader import DATABASE_NAME
from kfgcp.store.records import RunRecords
from kfgcp.store.request import StoredRequest
from kfgcp.store.rows import (
    Changes,
    Observed,
    Outcome,
    ReadLevel,
    SqlValue,
    artifact_row,
    error_json,
    fetch_value,
    json_text,
    metric_row,
    sql_values,
    task_row,
)
from kfgcp.store.tags_notes import TagsNotes

__all__ = ["DATABASE_NAME", "Store"]

# The column `seq` numbers the rows of a run in the order in which they were written:
# rev * _ROWS_PER_WRITE + the place within the write. No write has more rows than this.
_ROWS_PER_WRITE: Final = 1_000_000


class Store(FileUses, CachedOutputs, RunEvents, TagsNotes, RunRecords):
    """The index of runs: all methods to read and to write it. Threads may share it."""

    def add_run(
        self,
        run: Run,
        *,
        pipeline_spec: Mapping[str, Any] | None = None,
        request: StoredRequest | None = None,
    ) -> None:
        """Record a new run.

        Args:
            run: the run.
            pipeline_spec: the PipelineSpec of the run. The store keeps one for each version.
            request: how the run was submitted.
        """
        with self._transaction():
            self._insert_run(run, pipeline_spec, request)
            self._add_events(event.events_of(run))

    def put(
        self,
        run: Run,
        *,
        read_level: ReadLevel = ReadLevel.EVERYTHING,
        pipeline_spec: Mapping[str, Any] | None = None,
        request: StoredRequest | None = None,
    ) -> None:
        """Record what a remote backend reports about a run now. The run may be recorded already.

        Args:
            run: the run. With `ReadLevel.LISTED` it has no tasks, and the recorded tasks stay.
            read_level: how much of the run was read.
            pipeline_spec: the PipelineSpec of the run, None when it was not read.
            request: how the run was submitted, None unless this call records a run from here.
        """
        with self._transaction():
            row = self._db.execute(
                "SELECT version FROM runs WHERE run_id = ?", sql_values(run.run_id)
            ).fetchone()
            stored_tasks: dict[str, Task] = {}
            stored_metrics: set[tuple[str, str, str]] = set()
            if row is None:
                self._insert_run(run, pipeline_spec, request)
            else:
                # Read these before they are replaced. Everything new since then becomes an event.
                stored_tasks = {task.path: task for task in self.tasks(run.run_id)}
                stored_metrics = self._read_metric_keys(run.run_id)
                self._replace_run_row(run, row["version"], pipeline_spec)
                self._replace_contents(run, stored_tasks, with_tasks=read_level.has_tasks)
            # The event of the end comes after the events of the tasks. A list of runs has no tasks,
            # so the event is recorded only when the tasks are read.
            new_events = event.events_of(
                run,
                known_tasks=stored_tasks,
                known_metrics=stored_metrics,
                known_failures=self._last_failures(run.run_id),
                with_end=read_level.has_tasks,
            )
            self._add_events(new_events)
            self._db.execute(
                "UPDATE runs SET read = ? WHERE run_id = ?", sql_values(read_level, run.run_id)
            )

    def apply(self, run_id: str, changes: Changes) -> None:
        """Record the changes of a run, and the events of its start and its end.

        Raises:
            RunNotFound: there is no record of the run.
        """
        with self._transaction():
            self._apply_changes(run_id, changes)

    def end(self, run_id: str, changes: Changes) -> bool:
        """Record the end of a run, unless another process has recorded an end.

        Returns:
            True when this call recorded the end, False when the run had already ended.

        Raises:
            RunNotFound: there is no record of the run.
        """
        with self._transaction():
            cursor = self._db.execute("SELECT state FROM runs WHERE run_id = ?", (run_id,))
            if RunState(fetch_value(cursor, run_id)).final:
                return False
            self._apply_changes(run_id, changes)
        return True

    def reopen(self, run_id: str) -> None:
        """Record that an interrupted run continues.

        The run is RUNNING again, without an end and without an error. `interruptions` then counts
        the attempts that had started and had no result.
        """
        with self._transaction():
            self._db.execute(
                "INSERT OR IGNORE INTO interrupted SELECT run_id, path, attempts FROM tasks WHERE"
                " run_id = ? AND attempts > 0 AND error IS NULL AND state NOT IN ('SUCCEEDED',"
                " 'CACHED', 'SKIPPED', 'FAILED')",
                (run_id,),
            )
            self._db.execute(
                "UPDATE runs SET rev = rev + 1, state = 'RUNNING', ended_at = NULL, error = NULL,"
                " cancel_requested_at = NULL, cancel_requests = 0 WHERE run_id = ?",
                (run_id,),
            )

    def request_cancel(self, run_id: str, at: str) -> None:
        """Ask the engine of a run to cancel it. With a second request it kills the tasks at once.

        The record of a run that has ended does not change.

        Args:
            run_id: the run.
            at: the time of the request.
        """
        with self._transaction():
            self._db.execute(
                "UPDATE runs SET cancel_requested_at = COALESCE(cancel_requested_at, ?),"
                " cancel_requests = cancel_requests + 1 WHERE run_id = ?"
                " AND state NOT IN ('SUCCEEDED', 'FAILED', 'CANCELLED')",
                (at, run_id),
            )

    def forget(self, run_id: str, *, has_files: bool = False) -> None:
        """Remove the record of a run, and its outputs in the cache that no other run uses.

        The caller removes the files afterwards. When the caller is killed before it has finished,
        `removals` still has the run, and the next process removes the remaining files.

        Args:
            run_id: the run.
            has_files: whether the run has files in the state folder. Then `removals` gets the
                deleted runs whose files may be unused now: this run, and runs that were deleted
                earlier and whose files this run used.
        """
        with self._transaction():
            released = self._delete_record(run_id)
            self._delete_outputs(released)
            if has_files:
                self._add_removals(released)

    def set_observed(self, place: str, observed: Observed) -> None:
        """Record how far the runs of a place were read.

        Args:
            place: the location of runs on a service, as in `SupportsRefresh.place`.
            observed: how far they were read.
        """
        with self._transaction():
            self._db.execute(
                "INSERT OR REPLACE INTO observed VALUES (?, ?, ?)",
                sql_values(place, observed.changed_until, observed.created_since),
            )

    def set_names(
        self, place: str, kind: str, names: Mapping[str, str], *, gone: Iterable[str] = ()
    ) -> None:
        """Record names of objects of a service.

        Args:
            place: where the objects are, such as a project of a service.
            kind: the kind of the objects.
            names: id -> name.
            gone: the ids of objects whose recorded names are removed.
        """
        with self._transaction():
            self._db.executemany(
                "DELETE FROM names WHERE place = ? AND kind = ? AND id = ?",
                [sql_values(place, kind, id_) for id_ in gone],
            )
            self._db.executemany(
                "INSERT OR REPLACE INTO names VALUES (?, ?, ?, ?)",
                [sql_values(place, kind, id_, name) for id_, name in names.items()],
            )

    def _insert_run(
        self, run: Run, pipeline_spec: Mapping[str, Any] | None, request: StoredRequest | None
    ) -> None:
        self._add_spec(run, pipeline_spec)
        if request is not None and pipeline_spec is not None:
            self._prefer_original(run.version, pipeline_spec)
        # The run is first, because the rows of the other tables refer to it (foreign keys).
        self._db.execute(
            "INSERT INTO runs (run_id, env, backend, backend_ref, url, pipeline, version,"
            " experiment, name, state, created_at, started_at, ended_at, outputs, error, request,"
            " rev) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0)",
            sql_values(
                run.run_id,
                run.env,
                run.backend,
                run.backend_ref,
                run.url,
                run.pipeline,
                run.version,
                run.experiment,
                run.name,
                run.state,
                run.created_at,
                run.started_at,
                run.ended_at,
                json_text(run.outputs),
                error_json(run.error),
                json_text(request.to_dict() if request else {}),
            ),
        )
        self._add_params_and_labels(run)
        self._write_changes(run.run_id, Changes(run.tasks, run.artifacts, run.metrics))
        self._add_tags(run.run_id, run.tags)
        self._add_note(run.run_id, run.note)

    def _add_spec(self, run: Run, pipeline_spec: Mapping[str, Any] | None) -> None:
        if pipeline_spec is None:
            return
        self._db.execute(
            "INSERT OR IGNORE INTO specs VALUES (?, ?, ?, ?)",
            sql_values(run.version, run.pipeline, json_text(pipeline_spec), run.created_at or ""),
        )

    def _prefer_original(self, version: str, pipeline_spec: JsonObject) -> None:
        """Replace a recorded spec that is not the original of its version.

        A registry can have a pipeline that was translated for an environment. Such a spec is
        recorded when the original is not known.
        """
        text = json_text(pipeline_spec)
        row = self._db.execute(
            "SELECT pipeline_spec FROM specs WHERE version = ?", sql_values(version)
        ).fetchone()
        # The digest takes time, and in almost all cases both texts are the same.
        if row is None or row[0] == text or digest(pipeline_spec) != version:
            return
        if digest(json.loads(row[0])) != version:
            self._db.execute(
                "UPDATE specs SET pipeline_spec = ? WHERE version = ?", sql_values(text, version)
            )

    def _add_params_and_labels(self, run: Run) -> None:
        params = [
            sql_values(run.run_id, seq, name, json_text(value))
            for seq, (name, value) in enumerate(run.params.items())
        ]
        self._db.executemany("INSERT INTO params VALUES (?, ?, ?, ?)", params)
        labels = [sql_values(run.run_id, name, value) for name, value in run.labels.items()]
        self._db.executemany("INSERT INTO labels VALUES (?, ?, ?)", labels)

    def _replace_run_row(
        self, run: Run, stored_version: str, pipeline_spec: Mapping[str, Any] | None
    ) -> None:
        """Update the row of a recorded run, and clear its end and its error.

        `_write_changes` then writes the new state, end, outputs and error.
        """
        if not stored_version:
            # Only a list of runs was read so far. A list does not say which pipeline a run has.
            self._add_spec(run, pipeline_spec)
            self._db.execute(
                "UPDATE runs SET pipeline = ? WHERE run_id = ?",
                sql_values(run.pipeline, run.run_id),
            )
        if not run.state.final:
            # If the recorded run has ended, somebody continued it. An earlier request to cancel the
            # run says nothing about its next end. This statement comes before the new state is
            # written, because its condition tests the old state.
            self._db.execute(
                "UPDATE runs SET cancel_requested_at = NULL, cancel_requests = 0 WHERE run_id = ?"
                " AND state IN ('SUCCEEDED', 'FAILED', 'CANCELLED')",
                sql_values(run.run_id),
            )
        # A run that was submitted from here keeps its version, because the backend may have
        # received a changed spec.
        self._db.execute(
            "UPDATE runs SET url = ?, version = ?, name = ?, created_at = ?, started_at = ?,"
            " ended_at = NULL, error = NULL WHERE run_id = ?",
            sql_values(
                run.url,
                stored_version or run.version,
                run.name,
                run.created_at,
                run.started_at,
                run.run_id,
            ),
        )

    def _replace_contents(
        self, run: Run, stored_tasks: Mapping[str, Task], *, with_tasks: bool
    ) -> None:
        """Replace the parameters, the labels and the state of a recorded run.

        With tasks, also replace the tasks, artifacts, metrics and outputs.
        """
        tables = ["params", "labels"]
        if with_tasks:
            tables += ["artifacts", "metrics"]
        for table in tables:
            self._db.execute(
                f"DELETE FROM {table} WHERE run_id = ?",  # noqa: S608
                sql_values(run.run_id),
            )
        self._add_params_and_labels(run)
        if not with_tasks:
            self._write_changes(
                run.run_id, Changes(state=run.state, ended_at=run.ended_at, error=run.error)
            )
            return
        # Only tasks that changed get a new `rev`, so that followers of the run read only these.
        changed_tasks = [task for task in run.tasks if stored_tasks.get(task.path) != task]
        changes = Changes(
            tasks=changed_tasks,
            artifacts=run.artifacts,
            metrics=run.metrics,
            state=run.state,
            ended_at=run.ended_at,
            outputs=run.outputs,
            error=run.error,
        )
        self._write_changes(run.run_id, changes)
        if run.state.final:
            self._delete_lost_tasks(run, stored_tasks)
        paths = [task.path for task in run.tasks]
        if paths != list(stored_tasks):
            # Pending tasks have no order. The final order is known only after tasks have started.
            rows = [sql_values(seq, run.run_id, path) for seq, path in enumerate(paths)]
            self._db.executemany("UPDATE tasks SET seq = ? WHERE run_id = ? AND path = ?", rows)

    def _delete_lost_tasks(self, run: Run, stored_tasks: Mapping[str, Task]) -> None:
        """Delete unfinished tasks of an ended run that the backend does not report any more."""
        reported = {task.path for task in run.tasks}
        lost = []
        for path, task in stored_tasks.items():
            if path not in reported and not task.state.final:
                lost.append(sql_values(run.run_id, path))
        self._db.executemany("DELETE FROM tasks WHERE run_id = ? AND path = ?", lost)

    def _read_metric_keys(self, run_id: str) -> set[tuple[str, str, str]]:
        rows = self._db.execute(
            "SELECT task, artifact, name FROM metrics WHERE run_id = ?", sql_values(run_id)
        ).fetchall()
        return {(row["task"], row["artifact"], row["name"]) for row in rows}

    def _apply_changes(self, run_id: str, changes: Changes) -> None:
        events = list(changes.events)
        # This test comes before `_write_changes`, which records the start.
        if changes.started_at is not None and not self._has_started(run_id):
            events.insert(0, event.run_started(run_id, changes.started_at))
        self._write_changes(run_id, changes)
        if changes.state is not None and changes.state.final:
            events.append(event.run_ended(run_id, changes.state, changes.ended_at))
        self._add_events(events)

    def _has_started(self, run_id: str) -> bool:
        row = self._db.execute("SELECT started_at FROM runs WHERE run_id = ?", (run_id,)).fetchone()
        return row is not None and row["started_at"] is not None

    def _write_changes(self, run_id: str, changes: Changes) -> None:
        """Write all changes of a run except the events."""
        cursor = self._db.execute(
            "UPDATE runs SET rev = rev + 1 WHERE run_id = ? RETURNING rev", (run_id,)
        )
        rev: int = fetch_value(cursor, run_id)
        first_seq = rev * _ROWS_PER_WRITE
        self._write_run_columns(run_id, changes)
        self._db.executemany(
            "INSERT INTO tasks VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (run_id,"
            " path) DO UPDATE SET rev = excluded.rev, state = excluded.state, attempts ="
            " excluded.attempts, cache = excluded.cache, started_at = excluded.started_at, ended_at"
            " = excluded.ended_at, inputs = excluded.inputs, outputs = excluded.outputs, error ="
            " excluded.error",
            [task_row(run_id, rev, seq, task) for seq, task in enumerate(changes.tasks, first_seq)],
        )
        self._add_outcomes(run_id, changes.outcomes)
        self._add_cached(changes.cached)
        self._add_uses(run_id, changes.uses)
        self._db.executemany(
            "INSERT OR REPLACE INTO artifacts VALUES (?, ?, ?, ?, ?, ?, ?)",
            [
                artifact_row(run_id, seq, artifact)
                for seq, artifact in enumerate(changes.artifacts, first_seq)
            ],
        )
        self._db.executemany(
            "INSERT OR REPLACE INTO metrics VALUES (?, ?, ?, ?, ?, ?)",
            [
                metric_row(run_id, seq, metric)
                for seq, metric in enumerate(changes.metrics, first_seq)
            ],
        )

    def _write_run_columns(self, run_id: str, changes: Changes) -> None:
        if changes.started_at is not None:
            # A run that is continued keeps the time of its first start.
            self._db.execute(
                "UPDATE runs SET started_at = COALESCE(started_at, ?) WHERE run_id = ?",
                (changes.started_at, run_id),
            )
        columns: dict[str, SqlValue] = {
            "state": changes.state,
            "ended_at": changes.ended_at,
            "outputs": None if changes.outputs is None else json_text(changes.outputs),
            "error": error_json(changes.error),
        }
        for column, value in columns.items():
            if value is not None:
                self._db.execute(
                    f"UPDATE runs SET {column} = ? WHERE run_id = ?",  # noqa: S608
                    (value, run_id),
                )

    def _add_outcomes(self, run_id: str, outcomes: Sequence[Outcome]) -> None:
        rows = [
            sql_values(run_id, outcome.path, outcome.key, json_text(outcome.outputs))
            for outcome in outcomes
        ]
        self._db.executemany("INSERT OR REPLACE INTO outcomes VALUES (?, ?, ?, ?)", rows)
