"""The one index of runs of all backends, in `<home>/kfgcp.db`.

Each write is one transaction and is on disk when the call returns. Reads never wait for writes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from kfgcp import event
from kfgcp.errors import UsageError
from kfgcp.model import Run, RunState, Task
from kfgcp.store.cached_outputs import CachedOutputs
from kfgcp.store.events import RunEvents
from kfgcp.store.file_uses import FileUses
from kfgcp.store.reader import DATABASE_NAME
from kfgcp.store.request import StoredRequest
from kfgcp.store.rows import (
    TAG,
    Cancellation,
    Changes,
    EndedRun,
    Observed,
    Outcome,
    ReadLevel,
    bound,
    error_text,
    is_tag,
    json_text,
    only,
    task_row,
)

__all__ = ["DATABASE_NAME", "Store"]

_BATCH = 1_000_000
"""More rows than one write has: `rev * _BATCH + place in the write` numbers rows in the order they
came."""


class Store(FileUses, CachedOutputs, RunEvents):
    """The index of runs, see `Reader` for what it reads. Threads may share it."""

    # -- writing

    def add_run(
        self,
        run: Run,
        *,
        pipeline_spec: Mapping[str, Any] | None = None,
        request: StoredRequest | None = None,
    ) -> None:
        """Records a new run, its spec (once for each version) and how it was submitted."""
        with self._transaction():
            self._add(run, pipeline_spec, request)
            self._add_events(event.events_of(run))

    def _add(
        self, run: Run, pipeline_spec: Mapping[str, Any] | None, request: StoredRequest | None
    ) -> None:
        self._add_spec(run, pipeline_spec)
        self._db.execute(
            "INSERT INTO runs (run_id, env, backend, backend_ref, url, pipeline, version,"
            " experiment, name, state, created_at, started_at, ended_at, outputs, error, request,"
            " rev) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0)",
            bound(
                *(
                    run.run_id,
                    run.env,
                    run.backend,
                    run.backend_ref,
                    run.url,
                    run.pipeline,
                    run.version,
                ),
                *(
                    run.experiment,
                    run.name,
                    run.state,
                    run.created_at,
                    run.started_at,
                    run.ended_at,
                ),
                *(
                    json_text(run.outputs),
                    error_text(run.error),
                    json_text(request.to_dict() if request else {}),
                ),
            ),
        )
        self._add_params_and_labels(run)
        self._write(run.run_id, Changes(run.tasks, run.artifacts, run.metrics))
        self._tag(run.run_id, run.tags)
        self._note(run.run_id, run.note)

    def _add_spec(self, run: Run, pipeline_spec: Mapping[str, Any] | None) -> None:
        if pipeline_spec is not None:
            self._db.execute(
                "INSERT OR IGNORE INTO specs VALUES (?, ?, ?, ?)",
                bound(run.version, run.pipeline, json_text(pipeline_spec), run.created_at or ""),
            )

    def _add_params_and_labels(self, run: Run) -> None:
        params = [
            (run.run_id, seq, name, json_text(value))
            for seq, (name, value) in enumerate(run.params.items())
        ]
        self._db.executemany(
            "INSERT INTO params VALUES (?, ?, ?, ?)", [bound(*row) for row in params]
        )
        labels = [(run.run_id, name, value) for name, value in run.labels.items()]
        self._db.executemany("INSERT INTO labels VALUES (?, ?, ?)", [bound(*row) for row in labels])

    def _replace(
        self,
        run: Run,
        version: str,
        pipeline_spec: Mapping[str, Any] | None,
        known: Mapping[str, Task],
        *,
        tasks: bool,
    ) -> None:
        """Of a run that is known: all that its backend says of it. What was submitted here keeps
        its version, which the spec that the backend was sent need not have; without a version its
        pipeline is not known yet either."""
        if not version:
            self._add_spec(run, pipeline_spec)
            self._db.execute(
                "UPDATE runs SET pipeline = ? WHERE run_id = ?", bound(run.pipeline, run.run_id)
            )
        if not run.state.final:
            # Somebody continued a run that had ended: what cancelled it before says nothing about
            # its next end.
            self._db.execute(
                "UPDATE runs SET cancel_requested_at = NULL, cancel_requests = 0 WHERE run_id = ?"
                " AND state IN ('SUCCEEDED', 'FAILED', 'CANCELLED')",
                bound(run.run_id),
            )
        self._db.execute(
            "UPDATE runs SET url = ?, version = ?, name = ?, created_at = ?, started_at = ?,"
            " ended_at = NULL, error = NULL WHERE run_id = ?",
            bound(
                run.url,
                version or run.version,
                run.name,
                run.created_at,
                run.started_at,
                run.run_id,
            ),
        )
        for table in ("params", "labels", *(("artifacts", "metrics") if tasks else ())):
            self._db.execute(f"DELETE FROM {table} WHERE run_id = ?", bound(run.run_id))  # noqa: S608
        self._add_params_and_labels(run)
        changes = Changes(state=run.state, ended_at=run.ended_at, error=run.error)
        if tasks:
            changed = [task for task in run.tasks if known.get(task.path) != task]
            changes = replace(
                changes,
                tasks=changed,
                artifacts=run.artifacts,
                metrics=run.metrics,
                outputs=run.outputs,
            )
        self._write(run.run_id, changes)
        if tasks and run.state.final:  # what goes on in it no more and is not told of is not known
            told = {task.path for task in run.tasks}
            lost = [
                path for path, task in known.items() if path not in told and not task.state.final
            ]
            self._db.executemany(
                "DELETE FROM tasks WHERE run_id = ? AND path = ?",
                [bound(run.run_id, path) for path in lost],
            )
        if tasks and [task.path for task in run.tasks] != [
            *known
        ]:  # what was pending has no order yet
            rows = [(seq, run.run_id, task.path) for seq, task in enumerate(run.tasks)]
            self._db.executemany(
                "UPDATE tasks SET seq = ? WHERE run_id = ? AND path = ?",
                [bound(*row) for row in rows],
            )

    def put(
        self,
        run: Run,
        *,
        read_level: ReadLevel = ReadLevel.EVERYTHING,
        pipeline_spec: Mapping[str, Any] | None = None,
        request: StoredRequest | None = None,
    ) -> None:
        """Records a run of a remote backend as it is now, whether it was known or not.

        Args:
            run: with its tasks. Without them (`ReadLevel.LISTED`), the recorded tasks stay as they
                are.
            read_level: how much of it was read.
            pipeline_spec: its spec, when that was read.
            request: how it was submitted, when it is a new one of ours.
        """
        with self._transaction():
            row = self._db.execute(
                "SELECT version FROM runs WHERE run_id = ?", bound(run.run_id)
            ).fetchone()
            known_tasks: dict[str, Task] = {}
            known_metrics: set[tuple[str, str, str]] = set()
            if row is None:
                self._add(run, pipeline_spec, request)
            else:
                known_tasks = {task.path: task for task in self.tasks(run.run_id)}
                known_metrics = self._metric_keys(run.run_id)
                self._replace(
                    run, row["version"], pipeline_spec, known_tasks, tasks=read_level.has_tasks
                )
            # The end comes after the ends of the tasks, which a list does not tell.
            new_events = event.events_of(
                run,
                known_tasks=known_tasks,
                known_metrics=known_metrics,
                known_failures=self._last_failures(run.run_id),
                with_end=read_level.has_tasks,
            )
            self._add_events(new_events)
            self._db.execute(
                "UPDATE runs SET read = ? WHERE run_id = ?", bound(read_level, run.run_id)
            )

    def forget(self, run_id: str, *, has_files: bool = False) -> None:
        """Remove the record of a run, and its outputs in the cache unless another run uses the
        files.

        Args:
            run_id: the run.
            has_files: its files are in the state folder. `removals` then has the runs without a
                record that may have files which nobody uses any more: this one, and those deleted
                before whose files this one used.
        """
        with self._transaction():
            released = self._delete_record(run_id)
            self._delete_outputs(released)
            if has_files:
                self._add_removals(released)

    def set_observed(self, place: str, observed: Observed) -> None:
        with self._transaction():
            self._db.execute(
                "INSERT OR REPLACE INTO observed VALUES (?, ?, ?)",
                bound(place, observed.changed_until, observed.created_since),
            )

    def set_names(
        self, place: str, kind: str, names: Mapping[str, str], *, gone: Iterable[str] = ()
    ) -> None:
        """Remembers names by ids, and forgets those of the ids that are `gone`."""
        with self._transaction():
            self._db.executemany(
                "DELETE FROM names WHERE place = ? AND kind = ? AND id = ?",
                [bound(place, kind, id_) for id_ in gone],
            )
            self._db.executemany(
                "INSERT OR REPLACE INTO names VALUES (?, ?, ?, ?)",
                [bound(place, kind, id_, name) for id_, name in names.items()],
            )

    def tag(
        self, run_id: str, tags: Iterable[str] = (), *, remove: Iterable[str] = ()
    ) -> tuple[str, ...]:
        """Puts tags on a run and takes others off; all that it has then, sorted.

        Raises:
            UsageError: there is no such run, or a tag is not one of `is_tag`.
        """
        tags = [*tags]
        for each in tags:
            if not is_tag(each):
                raise UsageError(f"{each!r} cannot be a tag.", hint=f"A tag is {TAG}.")
        with self._transaction():
            only(self._db.execute("SELECT 1 FROM runs WHERE run_id = ?", bound(run_id)), run_id)
            self._db.executemany(
                "DELETE FROM tags WHERE run_id = ? AND tag = ?",
                [bound(run_id, tag) for tag in remove],
            )
            self._tag(run_id, tags)
            rows = self._db.execute(
                "SELECT tag FROM tags WHERE run_id = ? ORDER BY tag", bound(run_id)
            ).fetchall()
        return tuple(row[0] for row in rows)

    def note(self, run_id: str, note: str) -> None:
        """Writes the note of a run in the place of the one before; an empty one removes it.

        Raises:
            UsageError: there is no such run.
        """
        with self._transaction():
            only(self._db.execute("SELECT 1 FROM runs WHERE run_id = ?", bound(run_id)), run_id)
            self._db.execute("DELETE FROM notes WHERE run_id = ?", bound(run_id))
            self._note(run_id, note)

    def _tag(self, run_id: str, tags: Iterable[str]) -> None:
        self._db.executemany(
            "INSERT OR IGNORE INTO tags VALUES (?, ?)", [bound(run_id, tag) for tag in tags]
        )

    def _note(self, run_id: str, note: str) -> None:
        if note:
            self._db.execute("INSERT INTO notes VALUES (?, ?)", bound(run_id, note))

    def apply(self, run_id: str, changes: Changes) -> None:
        """Records what happened in a run."""
        with self._transaction():
            self._apply(run_id, changes)

    def end(self, run_id: str, changes: Changes) -> bool:
        """Record the end of a run, unless somebody else has recorded an end.

        Returns:
            Whether this call recorded it.
        """
        with self._transaction():
            state = RunState(
                only(self._db.execute("SELECT state FROM runs WHERE run_id = ?", (run_id,)), run_id)
            )
            if state.final:
                return False
            self._apply(run_id, changes)
        return True

    def _apply(self, run_id: str, changes: Changes) -> None:
        events = [*changes.events]
        if changes.started_at is not None and not self._has_started(run_id):
            events.insert(0, event.run_started(run_id, changes.started_at))
        self._write(run_id, changes)
        if changes.state is not None and changes.state.final:
            events.append(event.run_ended(run_id, changes.state, changes.ended_at))
        self._add_events(events)

    def _has_started(self, run_id: str) -> bool:
        row = self._db.execute("SELECT started_at FROM runs WHERE run_id = ?", (run_id,)).fetchone()
        return row is not None and row["started_at"] is not None

    def _metric_keys(self, run_id: str) -> set[tuple[str, str, str]]:
        rows = self._db.execute(
            "SELECT task, artifact, name FROM metrics WHERE run_id = ?", bound(run_id)
        ).fetchall()
        return {(row["task"], row["artifact"], row["name"]) for row in rows}

    def reopen(self, run_id: str) -> None:
        """A run that was interrupted goes on: it is RUNNING again, without an end and an error; the
        attempts that were under way are kept for `interruptions`."""
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
        """Ask the engine of a run to cancel it, the second time at once. This does nothing to a run
        that has ended."""
        with self._transaction():
            self._db.execute(
                "UPDATE runs SET cancel_requested_at = COALESCE(cancel_requested_at, ?),"
                " cancel_requests = cancel_requests + 1 WHERE run_id = ?"
                " AND state NOT IN ('SUCCEEDED', 'FAILED', 'CANCELLED')",
                (at, run_id),
            )

    def _write(self, run_id: str, changes: Changes) -> None:
        db = self._db
        rev = only(
            db.execute("UPDATE runs SET rev = rev + 1 WHERE run_id = ? RETURNING rev", (run_id,)),
            run_id,
        )
        if changes.started_at is not None:  # a run that goes on started when it first did
            db.execute(
                "UPDATE runs SET started_at = COALESCE(started_at, ?) WHERE run_id = ?",
                (changes.started_at, run_id),
            )
        for column, value in (
            ("state", changes.state),
            ("ended_at", changes.ended_at),
            ("outputs", None if changes.outputs is None else json_text(changes.outputs)),
            ("error", error_text(changes.error)),
        ):
            if value is not None:
                db.execute(f"UPDATE runs SET {column} = ? WHERE run_id = ?", (value, run_id))  # noqa: S608
        db.executemany(
            "INSERT INTO tasks VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (run_id,"
            " path) DO UPDATE SET rev = excluded.rev, state = excluded.state, attempts ="
            " excluded.attempts, cache = excluded.cache, started_at = excluded.started_at, ended_at"
            " = excluded.ended_at, inputs = excluded.inputs, outputs = excluded.outputs, error ="
            " excluded.error",
            [
                task_row(run_id, rev, seq, task)
                for seq, task in enumerate(changes.tasks, rev * _BATCH)
            ],
        )
        db.executemany(
            "INSERT OR REPLACE INTO outcomes VALUES (?, ?, ?, ?)",
            [bound(run_id, o.path, o.key, json_text(o.outputs)) for o in changes.outcomes],
        )
        self._add_cached(changes.cached)
        self._add_uses(run_id, changes.uses)
        for table, rows in (
            (
                "artifacts",
                [(a.task, a.name, a.type, a.uri, json_text(a.metadata)) for a in changes.artifacts],
            ),
            (
                "metrics",
                [(m.task, m.artifact, m.name, json_text(m.value)) for m in changes.metrics],
            ),
        ):
            if rows:
                marks = ", ".join("?" * len(rows[0]))
                db.executemany(
                    f"INSERT OR REPLACE INTO {table} VALUES (?, ?, {marks})",  # noqa: S608
                    [bound(run_id, seq, *row) for seq, row in enumerate(rows, rev * _BATCH)],
                )

    # -- reading

    def spec(self, version: str) -> dict[str, Any] | None:
        """The PipelineSpec of a version that a run was recorded with, None when its backend did not
        tell."""
        with self._failures():
            row = self._db.execute(
                "SELECT pipeline_spec FROM specs WHERE version = ?", (version,)
            ).fetchone()
            data: dict[str, Any] | None = None if row is None else json.loads(row[0])
        return data

    def versions(self, beginning: str) -> list[str]:
        """Versions that begin so and whose PipelineSpec is recorded, at most 6."""
        with self._failures():
            rows = self._db.execute(
                "SELECT version FROM specs WHERE substr(version, 1, length(:text)) = :text ORDER BY"
                " version LIMIT 6",
                {"text": bound(beginning)[0]},
            )
            return [row[0] for row in rows]

    def request(self, run_id: str) -> StoredRequest | None:
        """Return how a run was submitted, None when it was not submitted from here.

        Raises:
            UsageError: there is no such run.
            StateError: a newer version of kfgcp recorded it in another form.
        """
        with self._failures():
            text = only(
                self._db.execute("SELECT request FROM runs WHERE run_id = ?", (run_id,)), run_id
            )
            stored = json.loads(text)
        return StoredRequest.from_dict(stored) if stored else None

    def cancel_requests(self, run_id: str) -> int:
        """Return how often a run was asked to end, 0 for a run that is not known."""
        with self._failures():
            row = self._db.execute(
                "SELECT cancel_requests FROM runs WHERE run_id = ?", (run_id,)
            ).fetchone()
        return 0 if row is None else row[0]

    def cancellation(self, backend_ref: str) -> Cancellation | None:
        """Return what is recorded of the cancelling of a run of a remote backend, None when the run
        is not known."""
        with self._failures():
            row = self._db.execute(
                "SELECT state, ended_at, cancel_requested_at FROM runs WHERE backend_ref = ?",
                bound(backend_ref),
            ).fetchone()
        if row is None:
            return None
        return Cancellation(
            RunState(row["state"]), row["ended_at"] or "", row["cancel_requested_at"] or ""
        )

    def read_level(self, run_id: str) -> ReadLevel:
        """Return how much of a run was read."""
        with self._failures():
            return ReadLevel(
                only(self._db.execute("SELECT read FROM runs WHERE run_id = ?", (run_id,)), run_id)
            )

    def refs(self, run_id: str) -> tuple[str, str] | None:
        """The environment and the backend's own name of a run, None when it is not known."""
        with self._failures():
            row = self._db.execute(
                "SELECT env, backend_ref FROM runs WHERE run_id = ?", bound(run_id)
            ).fetchone()
        return None if row is None else (row["env"], row["backend_ref"] or "")

    def ended(self, place: str) -> dict[str, EndedRun]:
        """Return the runs below a place that have ended, by the backend's own names of them, the
        newest first."""
        with self._failures():
            rows = self._db.execute(
                "SELECT backend_ref, run_id, state, ended_at, read FROM runs WHERE"
                " substr(backend_ref, 1, length(?)) = ? AND state IN ('SUCCEEDED', 'FAILED',"
                " 'CANCELLED') ORDER BY created_at DESC",
                bound(place, place),
            ).fetchall()
        ended = {}
        for backend_ref, run_id, state, ended_at, read in rows:
            ended[backend_ref] = EndedRun(run_id, RunState(state), ended_at or "", ReadLevel(read))
        return ended

    def names(self, place: str, kind: str) -> dict[str, str]:
        """What a place calls its things of a kind, by their ids; as far as it was told."""
        with self._failures():
            rows = self._db.execute(
                "SELECT id, name FROM names WHERE place = ? AND kind = ?", bound(place, kind)
            )
            return dict(map(tuple, rows.fetchall()))

    def observed(self, place: str) -> Observed | None:
        """How far the runs of a place were read; None when never."""
        with self._failures():
            row = self._db.execute(
                "SELECT changed_until, created_since FROM observed WHERE place = ?", bound(place)
            ).fetchone()
        return None if row is None else Observed(*row)

    def unfinished(self, backend: str) -> list[str]:
        """Return the ids of the runs of a backend that have not ended."""
        return self.unfinished_by_backend().get(backend, [])

    def unfinished_by_backend(self) -> dict[str, list[str]]:
        """Return the ids of the runs that have not ended, by their backends."""
        with self._failures():
            rows = self._db.execute(
                "SELECT backend, run_id FROM runs WHERE state NOT IN ('SUCCEEDED', 'FAILED',"
                " 'CANCELLED')"
            ).fetchall()
        run_ids: dict[str, list[str]] = {}
        for backend, run_id in rows:
            run_ids.setdefault(backend, []).append(run_id)
        return run_ids

    def rev(self, run_id: str) -> int:
        """A number that grows with each change of the run."""
        with self._failures():
            return int(
                only(self._db.execute("SELECT rev FROM runs WHERE run_id = ?", (run_id,)), run_id)
            )

    def outcomes(self, run_id: str) -> dict[str, Outcome]:
        """What the finished tasks of a run put out, by their path."""
        with self._failures():
            rows = self._db.execute(
                "SELECT path, key, outputs FROM outcomes WHERE run_id = ?", (run_id,)
            ).fetchall()
        return {path: Outcome(path, key, json.loads(outputs)) for path, key, outputs in rows}

    def interruptions(self, run_id: str) -> dict[str, int]:
        """How many attempts of each task were under way when the run was interrupted, by its
        path."""
        with self._failures():
            counted = "SELECT path, COUNT(*) FROM interrupted WHERE run_id = ? GROUP BY path"
            return dict(map(tuple, self._db.execute(counted, (run_id,)).fetchall()))
