"""Reading runs from the store: one, a page of those that match, or all as columns."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from kfgcp.errors import UsageError
from kfgcp.model import Artifact, ErrorInfo, Metric, Run, RunState, Task
from kfgcp.query import RunFilter
from kfgcp.store import bulk, database
from kfgcp.store.connections import ThreadConnections
from kfgcp.store.queries import NEWEST_FIRST, choices_query, order_clause, table, where_clause
from kfgcp.store.rows import VersionRuns, bound, metric_names, no_run, task

DATABASE_NAME = "kfgcp.db"

SAMPLE: Final = 1000
"""Runs that a filter's columns are taken from, the newest that match."""
NEAR: Final = 2000
"""Runs that a page of an expression is looked for among first."""
_CHUNK: Final = 500
_ALL: Final = 2**63 - 1
"""The largest number that SQLite takes."""
_RUN_COLUMNS: Final = (
    "run_id, env, backend, backend_ref, url, pipeline, version, experiment, name, state,"
    " created_at, started_at, ended_at, outputs, error"
)


class Reader:
    """Reads the index. Threads may share it: each has a connection of its own, and none waits for
    another."""

    def __init__(self, home: Path) -> None:
        self.file = home / DATABASE_NAME
        self._connections = ThreadConnections(self.file)
        self._connections.current()  # so that a database that cannot be opened is an error here

    @property
    def _db(self) -> database.Connection:
        """The connection of the calling thread."""
        return self._connections.current().connection

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Let all reads inside see the store as it is at the first of them, whatever is written
        meanwhile."""
        with self._failures():
            self._db.execute("BEGIN")
            try:
                yield
            finally:
                if self._db.in_transaction:
                    self._db.execute("COMMIT")

    def get(self, run_id: str, *, whole: bool = True) -> Run:
        """The run of exactly that id; with its tasks and artifacts when `whole`.

        Raises:
            UsageError: there is none.
        """
        with self._failures():
            for run in self._read([run_id], whole=whole):
                return run
        raise no_run(run_id)

    def page(
        self,
        wanted: RunFilter | None = None,
        order: str = NEWEST_FIRST,
        limit: int | None = None,
        offset: int = 0,
    ) -> list[Run]:
        """Runs without tasks and artifacts.

        Args:
            wanted: which, all by default.
            order: a name as in expressions, then `asc` or `desc`; runs without such a value come
                last.
            limit: so many at most.
            offset: so many are left out first.

        Raises:
            UsageError: the filter's expression or the order cannot be read.
        """
        wanted = wanted or RunFilter()
        with self._failures():
            ids = None
            if wanted.where and order == NEWEST_FIRST and limit is not None:
                ids = self._among_newest(wanted, limit, offset)
            if ids is None:
                selection, values = _selection(wanted, order, limit, offset)
                ids = [row[0] for row in self._db.execute(selection, values)]
            return self._read(ids)

    def select(
        self, wanted: RunFilter | None = None, *, limit: int | None = None, offset: int = 0
    ) -> list[Run]:
        """Runs without tasks and artifacts, newest first."""
        return self.page(wanted, limit=limit, offset=offset)

    def count(self, wanted: RunFilter | None = None) -> int:
        """How many runs match."""
        where, values = where_clause(wanted or RunFilter())
        with self._failures():
            query = f"SELECT COUNT(*) FROM {table(where)} WHERE {where}"  # noqa: S608
            return int(self._db.execute(query, values).fetchone()[0])

    def page_and_count(
        self, wanted: RunFilter, order: str = NEWEST_FIRST, *, limit: int, offset: int = 0
    ) -> tuple[list[Run], int]:
        """A page, and how many runs match; an expression, which may take a while, is looked through
        once for both."""
        if not wanted.where:
            return self.page(wanted, order, limit, offset), self.count(wanted)
        selection, values = _selection(wanted, order, limit, offset, also=", COUNT(*) OVER ()")
        with self._failures():
            rows = self._db.execute(selection, values).fetchall()
            if not rows:
                return [], self.count(wanted)
            return self._read([row[0] for row in rows]), int(rows[0][1])

    def columns(self, wanted: RunFilter | None = None) -> dict[str, list[str]]:
        """The names of parameters and metrics that there are: `params` and `metrics` -> names, as
        in `kfgcp.runs`.

        With a filter those of the newest `SAMPLE` runs that match.
        """
        some, values = "", list[Any]()
        if wanted is not None and wanted != RunFilter():
            selection, values = _selection(wanted, NEWEST_FIRST, SAMPLE)
            some = f" WHERE run_id IN ({selection})"
        with self._failures():
            params = self._db.execute(f"SELECT DISTINCT name FROM params{some}", values).fetchall()  # noqa: S608
            keys = self._db.execute(
                f"SELECT DISTINCT task, artifact, name FROM metrics{some}",  # noqa: S608
                values,
            )
            metrics = metric_names([tuple(key) for key in keys.fetchall()])
        return {
            "params": sorted(row[0] for row in params),
            "metrics": sorted(set(metrics.values())),
        }

    def values(self, column: str, wanted: RunFilter | None = None) -> list[str]:
        """The different values that matching runs have, sorted.

        Args:
            column: pipeline, experiment, env, backend, version, state, tags, or `labels.NAME`.
            wanted: which runs, all by default.

        Raises:
            UsageError: there is no such column.
        """
        where, values = where_clause(wanted or RunFilter())
        query, more = choices_query(column, where)
        with self._failures():
            return [row[0] for row in self._db.execute(query, [*bound(*more), *values])]

    def version_runs(self, pipeline: str) -> list[VersionRuns]:
        """The versions of a pipeline that have runs, the one that ran last first."""
        with self._failures():
            rows = self._db.execute(
                "SELECT version, COUNT(*), SUM(state = 'SUCCEEDED'), MIN(created_at),"
                " MAX(created_at), json_group_array(DISTINCT env) FROM runs WHERE pipeline = ?"
                " GROUP BY version ORDER BY 5 DESC",
                bound(pipeline),
            ).fetchall()
            return [
                VersionRuns(
                    row[0], row[1], row[2], row[3], row[4], tuple(sorted(json.loads(row[5])))
                )
                for row in rows
            ]

    def flat(
        self,
        wanted: RunFilter | None = None,
        *,
        order: str = NEWEST_FIRST,
        limit: int | None = None,
    ) -> bulk.Flat:
        """Matching runs as columns."""
        selection, values = _selection(wanted, order, limit)
        with self._failures(), self._snapshot():
            return bulk.flat(self._db, selection, values)

    def tidy(
        self,
        table: str,
        wanted: RunFilter | None = None,
        *,
        order: str = NEWEST_FIRST,
        limit: int | None = None,
    ) -> dict[str, list[Any]]:
        """The `metrics`, `tasks` or `artifacts` of matching runs as columns, see
        `kfgcp.store.bulk.tidy`.

        limit: of runs.
        """
        selection, values = _selection(wanted, order, limit)
        with self._failures(), self._snapshot():
            return bulk.tidy(self._db, table, selection, values)

    def find(self, run: str) -> str:
        """The id of the run that `run` means: its id, its name, `latest`, or 4 characters or more
        that only this id, or the last 12 characters of only this id, begin with.

        Raises:
            UsageError: there is none, or more than one.
        """
        with self._failures():
            if run == "latest":
                # Kubeflow has whole seconds: of runs of the same second the one that was recorded
                # last
                newest = "created_at >= (SELECT substr(max(created_at), 1, 19) FROM runs)"
                row = self._db.execute(
                    f"SELECT run_id FROM runs WHERE {newest} ORDER BY rowid DESC"  # noqa: S608
                ).fetchone()
                if row is None:
                    raise no_run(run)
                return str(row[0])
            begins = ("run_id", "substr(run_id, -12)") if len(run) >= 4 else ()
            either = " OR ".join(
                [
                    "run_id = :run",
                    "name = :run",
                    *(f"({id_} >= :run AND {id_} < :beyond)" for id_ in begins),
                ]
            )
            found = self._db.execute(
                f"SELECT run_id FROM runs WHERE {either} ORDER BY run_id = :run DESC, created_at"  # noqa: S608
                " DESC LIMIT 6",
                {"run": bound(run)[0], "beyond": bound(run)[0] + "\U0010ffff"},
            )
            ids = [row[0] for row in found]
        if not ids:
            raise no_run(run)
        if len(ids) > 1 and ids[0] != run:
            raise UsageError(
                f"'{run}' means more than one run: {', '.join(ids)}.", hint="Use one of these ids."
            )
        return str(ids[0])

    def tasks(self, run_id: str, *, after_rev: int = -1) -> list[Task]:
        """The tasks of a run in the order they started; only those changed after `after_rev`."""
        with self._failures():
            rows = self._db.execute(
                "SELECT * FROM tasks WHERE run_id = ? AND rev > ? ORDER BY seq", (run_id, after_rev)
            ).fetchall()
            return [task(row) for row in rows]

    def _among_newest(self, wanted: RunFilter, limit: int, offset: int) -> list[str] | None:
        """The ids of a page when the newest `NEAR` runs have all of it: what most runs match is
        found there at once."""
        where, values = where_clause(wanted)
        newest = (
            "created_at >= (SELECT created_at FROM runs ORDER BY created_at DESC LIMIT 1 OFFSET ?)"
        )
        query = f"SELECT run_id FROM runs WHERE {newest} AND {where} ORDER BY created_at DESC, rowid DESC LIMIT ? OFFSET ?"  # noqa: S608
        rows = self._db.execute(
            query, [NEAR, *values, min(limit, _ALL), min(offset, _ALL)]
        ).fetchall()
        return [row[0] for row in rows] if len(rows) == limit else None

    def _read(self, ids: Sequence[str], *, whole: bool = False) -> list[Run]:
        """Runs by their ids, in that order; what was removed meanwhile is left out."""
        found: list[Run] = []
        for start in range(0, len(ids), _CHUNK):
            some = bound(*ids[start : start + _CHUNK])
            marks = ", ".join("?" * len(some))
            rows = self._db.execute(
                f"SELECT {_RUN_COLUMNS} FROM runs WHERE run_id IN ({marks})",  # noqa: S608
                some,
            )
            known = {row["run_id"]: row for row in rows}
            parts = {
                table: self._of_runs(table, some, marks)
                for table in ("labels", "params", "metrics", "tags", "notes")
            }
            if whole:
                parts["artifacts"] = self._of_runs("artifacts", some, marks)
            for run_id in some:
                if run_id in known:
                    tasks = self.tasks(run_id) if whole else ()
                    of_run = {table: rows.get(run_id, ()) for table, rows in parts.items()}
                    found.append(_run(known[run_id], of_run, tasks))
        return found

    def _of_runs(self, table: str, ids: Sequence[str], marks: str) -> dict[str, list[Any]]:
        """Rows of a table by their run."""
        order = {"labels": "name", "tags": "tag", "notes": "run_id"}.get(table, "seq")
        found: dict[str, list[Any]] = {}
        query = f"SELECT * FROM {table} WHERE run_id IN ({marks}) ORDER BY {order}"  # noqa: S608
        for row in self._db.execute(query, ids):
            found.setdefault(row["run_id"], []).append(row)
        return found

    @contextmanager
    def _snapshot(self) -> Iterator[None]:
        """Several statements see the same runs, whatever is written meanwhile."""
        self._db.execute("BEGIN")
        try:
            yield
        finally:
            self._db.execute("ROLLBACK")

    @contextmanager
    def _failures(self) -> Iterator[None]:
        """Of reading: a value that cannot be what was written is damage that SQLite does not
        see."""
        with self._connections.current().in_use, database.failures(self.file):
            try:
                yield
            except (ValueError, TypeError, KeyError) as error:
                raise database.damaged(self.file, f"a value cannot be read ({error})") from error


def _selection(
    wanted: RunFilter | None, order: str, limit: int | None = None, offset: int = 0, also: str = ""
) -> tuple[str, list[Any]]:
    """The ids of the runs that match, as a query with its values."""
    where, values = where_clause(wanted or RunFilter())
    by, more = order_clause(order)
    query = f"SELECT run_id{also} FROM {table(where)} WHERE {where} ORDER BY {by} LIMIT ? OFFSET ?"  # noqa: S608
    return query, [*values, *more, -1 if limit is None else min(limit, _ALL), min(offset, _ALL)]


def _run(row: Any, parts: Mapping[str, Sequence[Any]], tasks: Sequence[Task]) -> Run:
    return Run(
        run_id=row["run_id"],
        env=row["env"],
        backend=row["backend"],
        backend_ref=row["backend_ref"],
        url=row["url"],
        pipeline=row["pipeline"],
        version=row["version"],
        experiment=row["experiment"],
        name=row["name"],
        labels={r["name"]: r["value"] for r in parts["labels"]},
        state=RunState(row["state"]),
        created_at=row["created_at"],
        started_at=row["started_at"],
        ended_at=row["ended_at"],
        params={r["name"]: json.loads(r["value"]) for r in parts["params"]},
        outputs=json.loads(row["outputs"]),
        metrics=tuple(
            Metric(r["task"], r["artifact"], r["name"], json.loads(r["value"]))
            for r in parts["metrics"]
        ),
        artifacts=tuple(
            Artifact(r["task"], r["name"], r["type"], r["uri"], json.loads(r["metadata"]))
            for r in parts.get("artifacts", ())
        ),
        tasks=tuple(tasks),
        error=ErrorInfo.from_dict(json.loads(row["error"])) if row["error"] else None,
        tags=tuple(r["tag"] for r in parts["tags"]),
        note=next((r["note"] for r in parts["notes"]), ""),
    )
