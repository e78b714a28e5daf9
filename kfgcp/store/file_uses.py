"""Record which runs use which files, and which deleted runs still have files to remove."""

from __future__ import annotations

import time
from collections.abc import Iterable

from kfgcp.model import timestamp
from kfgcp.store import database
from kfgcp.store.rows import Origin, Use, sql_values, use_row
from kfgcp.store.writer import Writer


class FileUses(Writer):
    """The part of the index that says which files must be kept, and for which runs."""

    def is_recorded(self, run_id: str) -> bool:
        """Return whether there is a record of the run."""
        with self._convert_errors():
            return self._is_recorded(run_id)

    def _is_recorded(self, run_id: str) -> bool:
        row = self._db.execute("SELECT 1 FROM runs WHERE run_id = ?", sql_values(run_id)).fetchone()
        return row is not None

    def origins(self, run_id: str) -> dict[str, Origin]:
        """Return, by the path of the task, the attempt that produced a successful task's outputs.

        For a task that was cached, this is an attempt of an earlier run.
        """
        with self._convert_errors():
            rows = self._db.execute(
                "SELECT path, run_id, path, attempts FROM tasks WHERE run_id = :run AND state ="
                " 'SUCCEEDED' AND kind = 'container' UNION ALL SELECT task, made_by, made_task,"
                " attempt FROM uses WHERE run_id = :run AND cached",
                {"run": run_id},
            ).fetchall()
        origins = {}
        for task, origin_run_id, origin_path, attempt in rows:
            origins[task] = Origin(origin_run_id, origin_path, attempt)
        return origins

    def last_attempts(self, run_id: str) -> list[Origin]:
        """Return the last attempt of each task of a run.

        For a deleted run, return the attempts that other runs use.
        """
        with self._convert_errors():
            rows = self._db.execute(
                "SELECT run_id, path, attempts FROM tasks WHERE run_id = :run AND attempts > 0"
                " UNION SELECT made_by, made_task, attempt FROM uses WHERE made_by = :run",
                {"run": run_id},
            ).fetchall()
        attempts = []
        for origin_run_id, origin_path, attempt in rows:
            attempts.append(Origin(origin_run_id, origin_path, attempt))
        return attempts

    def removals(self) -> dict[int, str]:
        """Return the deleted runs whose files must still be removed.

        The keys are the numbers for `finish_removal`.
        """
        with self._convert_errors():
            rows = self._db.execute("SELECT id, run_id FROM removals ORDER BY id").fetchall()
        return {row["id"]: row["run_id"] for row in rows}

    def known_ids(self) -> set[str]:
        """Return the ids of all runs that are recorded, or whose files a recorded run uses."""
        with self._convert_errors():
            rows = self._db.execute(
                "SELECT run_id FROM runs UNION SELECT made_by FROM uses"
            ).fetchall()
        return {row[0] for row in rows}

    def users(self, run_id: str) -> dict[Origin, list[str]]:
        """Return the attempts of a run whose files other runs use, with the ids of these runs.

        The ids are in the order in which the runs were created, oldest first.
        """
        with self._convert_errors():
            rows = self._db.execute(
                "SELECT DISTINCT made_by, made_task, attempt, uses.run_id FROM uses JOIN runs USING"
                " (run_id) WHERE made_by = ? ORDER BY created_at, runs.rowid",
                (run_id,),
            ).fetchall()
        users: dict[Origin, list[str]] = {}
        for made_by, made_task, attempt, user in rows:
            users.setdefault(Origin(made_by, made_task, attempt), []).append(user)
        return users

    def _add_uses(self, run_id: str, uses: Iterable[Use]) -> None:
        self._db.executemany(
            "INSERT INTO uses VALUES (?, ?, ?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET cached = max(cached, excluded.cached)",
            [use_row(run_id, use) for use in uses],
        )

    def _delete_record(self, run_id: str) -> list[str]:
        """Delete all that is recorded of a run.

        Returns:
            The runs without a record whose files may be unused now: this run, and runs that were
            deleted earlier and whose files this run used.
        """
        # This comes before the deletion, which also deletes the rows of `uses`.
        rows = self._db.execute(
            "SELECT DISTINCT made_by FROM uses WHERE run_id = ?", (run_id,)
        ).fetchall()
        # The foreign keys of the other tables have ON DELETE CASCADE.
        self._db.execute("DELETE FROM runs WHERE run_id = ?", (run_id,))
        released = {run_id}
        released.update(row["made_by"] for row in rows)
        return sorted(other_run for other_run in released if not self._is_recorded(other_run))

    def add_removals(self, run_ids: Iterable[str]) -> None:
        """Record that the files of runs without a record must be removed."""
        with self._transaction():
            self._add_removals(run_ids)

    def _add_removals(self, run_ids: Iterable[str]) -> None:
        self._db.executemany(
            "INSERT INTO removals (run_id) VALUES (?)", [sql_values(run_id) for run_id in run_ids]
        )

    def finish_removal(self, number: int) -> None:
        """Record that the files of the removal with this number were removed."""
        with self._transaction():
            self._db.execute("DELETE FROM removals WHERE id = ?", (number,))

    def recorded_between(self) -> tuple[str, str]:
        """Return the period in which a folder without a record is the rest of a killed deletion.

        Every run that used this state folder since the start of the period was recorded in this
        database. So if a folder from the period has no record, the record was deleted. Since the
        end of the period, `removals` contains each deletion, so no search for folders is needed.

        A database that was copied here, from a backup for example, does not contain the runs since
        that backup. Its period starts now.

        Returns:
            The start and the end of the period.
        """
        inode = database.read_inode(self.file)
        with self._transaction():
            row = self._db.execute("SELECT since, until, inode FROM state_folder").fetchone()
            since, until, recorded_inode = row
            # Another inode means another file: the database is a copy.
            if recorded_inode != inode:
                since = timestamp(time.time())
                self._db.execute("UPDATE state_folder SET since = ?, inode = ?", (since, inode))
        return str(since), str(until)
