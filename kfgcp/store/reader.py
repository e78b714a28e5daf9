"""Read runs from the store: one run, a page of runs that match a filter, or runs as columns."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from kfgcp.errors import UsageError
from kfgcp.model import Run, RunState, Task
from kfgcp.query import RunFilter
from kfgcp.store import bulk, database
from kfgcp.store.connections import ThreadConnections
from kfgcp.store.queries import NEWEST_FIRST, choices_query, order_clause, runs_table, where_clause
from kfgcp.store.rows import (
    VersionRuns,
    metric_names,
    read_artifact,
    read_error,
    read_metric,
    read_task,
    run_not_found,
    sql_values,
)

DATABASE_NAME = "kfgcp.db"

SAMPLED_RUNS: Final = 1000
"""`Reader.columns` looks at this many of the newest matching runs."""

# A page of runs that match an expression is first searched for among this many of the newest runs,
# because most expressions match enough of them (docs/performance.md).
RUNS_SEARCHED_FIRST: Final = 2000

# Runs that one statement reads by their ids. SQLite before 3.32 accepts only 999 placeholders.
_RUNS_PER_STATEMENT: Final = 500

# The largest integer of SQLite. A larger limit or offset would be an error.
_MAX_INTEGER: Final = 2**63 - 1

_RUN_COLUMNS: Final = (
    "run_id, env, backend, backend_ref, url, pipeline, version, experiment, name, state,"
    " created_at, started_at, ended_at, outputs, error"
)

# Table with rows of a run -> the column that orders these rows.
_ROW_ORDERS: Final = {
    "labels": "name",
    "params": "seq",
    "metrics": "seq",
    "tags": "tag",
    "notes": "run_id",
}

Rows = Sequence[sqlite3.Row]


class Reader:
    """The part of the index that reads runs.

    Threads may share it. Each thread has a connection of its own, and no thread waits for another.
    """

    def __init__(self, home: Path) -> None:
        self.file = home / DATABASE_NAME
        self._connections = ThreadConnections(self.file)
        # Connect now, so that a database that cannot be opened is an error here.
        self._connections.current()

    @property
    def _db(self) -> database.Connection:
        """The connection of the calling thread."""
        return self._connections.current().connection

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Let all reads inside see the store as it is at the first read.

        They do not see what is written after the first read.
        """
        with self._convert_errors():
            self._db.execute("BEGIN")
            try:
                yield
            finally:
                if self._db.in_transaction:
                    self._db.execute("COMMIT")

    def get(self, run_id: str, *, with_tasks: bool = True) -> Run:
        """Return the run with exactly this id.

        Args:
            run_id: the id.
            with_tasks: read the tasks and artifacts of the run too.

        Raises:
            UsageError: there is no such run.
        """
        with self._convert_errors():
            for run in self._read_runs([run_id], with_tasks=with_tasks):
                return run
        raise run_not_found(run_id)

    def page(
        self,
        run_filter: RunFilter | None = None,
        order: str = NEWEST_FIRST,
        limit: int | None = None,
        offset: int = 0,
    ) -> list[Run]:
        """Return runs without tasks and artifacts.

        Args:
            run_filter: which runs, None for all.
            order: a name as in expressions, then `asc` or `desc`. Runs without a value come last.
            limit: at most this many runs, None for all.
            offset: leave out this many runs at the start.

        Raises:
            UsageError: the filter's expression or the order cannot be read.
        """
        run_filter = run_filter or RunFilter()
        with self._convert_errors():
            ids = None
            if run_filter.where and order == NEWEST_FIRST and limit is not None:
                ids = self._find_among_newest(run_filter, limit, offset)
            if ids is None:
                query, values = _ids_query(run_filter, order, limit, offset)
                ids = [row["run_id"] for row in self._db.execute(query, values)]
            return self._read_runs(ids)

    def select(
        self, run_filter: RunFilter | None = None, *, limit: int | None = None, offset: int = 0
    ) -> list[Run]:
        """Return runs without tasks and artifacts, newest first. See `page`."""
        return self.page(run_filter, limit=limit, offset=offset)

    def count(self, run_filter: RunFilter | None = None) -> int:
        """Return the number of runs that match a filter, of all runs without a filter."""
        where, values = where_clause(run_filter or RunFilter())
        with self._convert_errors():
            query = f"SELECT COUNT(*) FROM {runs_table(where)} WHERE {where}"  # noqa: S608
            return int(self._db.execute(query, values).fetchone()[0])

    def page_and_count(
        self, run_filter: RunFilter, order: str = NEWEST_FIRST, *, limit: int, offset: int = 0
    ) -> tuple[list[Run], int]:
        """Return a page of runs, and the number of all runs that match. See `page`.

        Evaluating an expression can take long, so one query returns the page and the number.
        """
        if not run_filter.where:
            return self.page(run_filter, order, limit, offset), self.count(run_filter)
        query, values = _ids_query(run_filter, order, limit, offset, extra=", COUNT(*) OVER ()")
        with self._convert_errors():
            rows = self._db.execute(query, values).fetchall()
            if not rows:
                # The offset may be beyond the last run, and then no row has the count.
                return [], self.count(run_filter)
            return self._read_runs([row[0] for row in rows]), int(rows[0][1])

    def columns(self, run_filter: RunFilter | None = None) -> dict[str, list[str]]:
        """Return the names of parameters and metrics, under the keys `params` and `metrics`.

        Metrics have the same names as in the columns of `kfgcp.runs`.

        Args:
            run_filter: return only names that the newest `SAMPLED_RUNS` matching runs have. None
                returns the names of all runs.
        """
        where = ""
        values: list[Any] = []
        if run_filter is not None and run_filter != RunFilter():
            query, values = _ids_query(run_filter, NEWEST_FIRST, SAMPLED_RUNS)
            where = f" WHERE run_id IN ({query})"
        with self._convert_errors():
            params = self._db.execute(f"SELECT DISTINCT name FROM params{where}", values).fetchall()  # noqa: S608
            keys = self._db.execute(
                f"SELECT DISTINCT task, artifact, name FROM metrics{where}",  # noqa: S608
                values,
            ).fetchall()
        metrics = metric_names([tuple(key) for key in keys])
        return {
            "params": sorted(row["name"] for row in params),
            "metrics": sorted(set(metrics.values())),
        }

    def values(self, column: str, run_filter: RunFilter | None = None) -> list[str]:
        """Return the different values that matching runs have, sorted.

        Args:
            column: pipeline, experiment, env, backend, version, state, tags, or `labels.NAME`.
            run_filter: which runs, None for all.

        Raises:
            UsageError: the values of this column cannot be listed.
        """
        where, where_values = where_clause(run_filter or RunFilter())
        query, column_values = choices_query(column, where)
        with self._convert_errors():
            rows = self._db.execute(query, column_values + where_values)
            return [row[0] for row in rows]

    def version_runs(self, pipeline: str) -> list[VersionRuns]:
        """Return the versions of a pipeline that have runs. The version that ran last is first."""
        versions = []
        with self._convert_errors():
            rows = self._db.execute(
                "SELECT version, COUNT(*), SUM(state = 'SUCCEEDED'), MIN(created_at),"
                " MAX(created_at), json_group_array(DISTINCT env) FROM runs WHERE pipeline = ?"
                " GROUP BY version ORDER BY 5 DESC",
                sql_values(pipeline),
            )
            for version, count, succeeded, first, last, envs_json in rows:
                envs = tuple(sorted(json.loads(envs_json)))
                versions.append(VersionRuns(version, count, succeeded, first, last, envs))
        return versions

    def flat(
        self,
        run_filter: RunFilter | None = None,
        *,
        order: str = NEWEST_FIRST,
        limit: int | None = None,
    ) -> bulk.Flat:
        """Return matching runs as columns. See `page` for the arguments."""
        query, values = _ids_query(run_filter, order, limit)
        with self.snapshot():
            return bulk.flat(self._db, query, values)

    def tidy(
        self,
        table: str,
        run_filter: RunFilter | None = None,
        *,
        order: str = NEWEST_FIRST,
        limit: int | None = None,
    ) -> dict[str, list[Any]]:
        """Return the metrics, tasks or artifacts of matching runs as columns.

        Args:
            table: `metrics`, `tasks` or `artifacts`. See `kfgcp.store.bulk.tidy`.
            run_filter: which runs, None for all.
            order: the order of the runs.
            limit: at most this many runs.
        """
        query, values = _ids_query(run_filter, order, limit)
        with self.snapshot():
            return bulk.tidy(self._db, table, query, values)

    def find(self, run: str) -> str:
        """Return the id of the run that a text means.

        Args:
            run: an id, a name, `latest`, or the beginning of an id or of its last 12 characters. A
                beginning has at least 4 characters, and must fit only one id.

        Raises:
            UsageError: there is no such run, or more than one.
        """
        with self._convert_errors():
            ids = [self._find_latest()] if run == "latest" else self._find_ids(run)
        if not ids:
            raise run_not_found(run)
        if len(ids) > 1 and ids[0] != run:
            raise UsageError(
                f"'{run}' means more than one run: {', '.join(ids)}.", hint="Use one of these ids."
            )
        return ids[0]

    def _find_latest(self) -> str:
        """Return the id of the newest run, or raise RunNotFound when there are no runs."""
        # Kubeflow reports whole seconds. So of all runs of the newest second, the run that was
        # recorded last counts.
        row = self._db.execute(
            "SELECT run_id FROM runs"
            " WHERE created_at >= (SELECT substr(max(created_at), 1, 19) FROM runs)"
            " ORDER BY rowid DESC"
        ).fetchone()
        if row is None:
            raise run_not_found("latest")
        return str(row["run_id"])

    def _find_ids(self, text: str) -> list[str]:
        """Return the ids of at most 6 runs that a text can mean.

        A run whose complete id is the text comes first.
        """
        conditions = ["run_id = :text", "name = :text"]
        if len(text) >= 4:
            # Ranges can use the indexes of the table. LIKE cannot.
            conditions.append("(run_id >= :text AND run_id < :beyond)")
            conditions.append("(substr(run_id, -12) >= :text AND substr(run_id, -12) < :beyond)")
        encoded = sql_values(text)[0]
        rows = self._db.execute(
            f"SELECT run_id FROM runs WHERE {' OR '.join(conditions)}"  # noqa: S608
            " ORDER BY run_id = :text DESC, created_at DESC LIMIT 6",
            # The last code point of Unicode sorts after every continuation of the text.
            {"text": encoded, "beyond": f"{encoded}\U0010ffff"},
        )
        return [str(row["run_id"]) for row in rows]

    def tasks(self, run_id: str, *, after_rev: int = -1) -> list[Task]:
        """Return the tasks of a run in the order in which they started.

        Args:
            run_id: the run.
            after_rev: only tasks that changed after this `rev` of the run.
        """
        with self._convert_errors():
            rows = self._db.execute(
                "SELECT * FROM tasks WHERE run_id = ? AND rev > ? ORDER BY seq", (run_id, after_rev)
            ).fetchall()
            return [read_task(row) for row in rows]

    def _find_among_newest(
        self, run_filter: RunFilter, limit: int, offset: int
    ) -> list[str] | None:
        """Return the ids of a page, None if not all its runs are among the newest runs.

        Only the newest `RUNS_SEARCHED_FIRST` runs are searched.
        """
        where, values = where_clause(run_filter)
        query = (
            "SELECT run_id FROM runs WHERE created_at >= (SELECT created_at FROM runs"  # noqa: S608
            f" ORDER BY created_at DESC LIMIT 1 OFFSET ?) AND {where}"
            " ORDER BY created_at DESC, rowid DESC LIMIT ? OFFSET ?"
        )
        limits = [min(limit, _MAX_INTEGER), min(offset, _MAX_INTEGER)]
        rows = self._db.execute(query, [RUNS_SEARCHED_FIRST] + values + limits).fetchall()
        if len(rows) != limit:
            return None
        return [row["run_id"] for row in rows]

    def _read_runs(self, ids: Sequence[str], *, with_tasks: bool = False) -> list[Run]:
        """Return the runs with these ids, in the same order. An id without a run is left out."""
        runs: list[Run] = []
        for start in range(0, len(ids), _RUNS_PER_STATEMENT):
            runs += self._read_few_runs(ids[start : start + _RUNS_PER_STATEMENT], with_tasks)
        return runs

    def _read_few_runs(self, ids: Sequence[str], with_tasks: bool) -> Iterator[Run]:
        """Yield the runs of at most `_RUNS_PER_STATEMENT` ids."""
        values = sql_values(*ids)
        placeholders = ", ".join("?" * len(values))
        query = f"SELECT {_RUN_COLUMNS} FROM runs WHERE run_id IN ({placeholders})"  # noqa: S608
        run_rows = {row["run_id"]: row for row in self._db.execute(query, values)}
        orders = dict(_ROW_ORDERS)
        if with_tasks:
            orders["artifacts"] = "seq"
        # Table -> id of a run -> the rows of the run.
        rows_by_table: dict[str, dict[str, list[sqlite3.Row]]] = {}
        for table, order in orders.items():
            rows_by_run: dict[str, list[sqlite3.Row]] = {}
            query = f"SELECT * FROM {table} WHERE run_id IN ({placeholders}) ORDER BY {order}"  # noqa: S608
            for row in self._db.execute(query, values):
                rows_by_run.setdefault(row["run_id"], []).append(row)
            rows_by_table[table] = rows_by_run
        for run_id in map(str, values):
            if run_id not in run_rows:
                continue
            tasks = self.tasks(run_id) if with_tasks else ()
            run_tables = {}
            for table, rows_by_run in rows_by_table.items():
                run_tables[table] = rows_by_run.get(run_id, ())
            yield _build_run(run_rows[run_id], run_tables, tasks)

    @contextmanager
    def _convert_errors(self) -> Iterator[None]:
        """Convert errors of reading into our errors.

        SQLite does not notice all damage. A value that kfgcp cannot have written, such as invalid
        JSON, is damage too.
        """
        with self._connections.current().lock, database.convert_errors(self.file):
            try:
                yield
            except (ValueError, TypeError, KeyError) as error:
                raise database.damaged_error(
                    self.file, f"a value cannot be read ({error})"
                ) from error


def _ids_query(
    run_filter: RunFilter | None,
    order: str,
    limit: int | None = None,
    offset: int = 0,
    extra: str = "",
) -> tuple[str, list[Any]]:
    """Return a query for the ids of the runs that match, and its values.

    Args:
        run_filter: which runs, None for all.
        order: see `page`.
        limit: at most this many, None for all.
        offset: leave out this many at the start.
        extra: further columns after the id.
    """
    where, values = where_clause(run_filter or RunFilter())
    order_by, order_values = order_clause(order)
    query = (
        f"SELECT run_id{extra} FROM {runs_table(where)} WHERE {where}"  # noqa: S608
        f" ORDER BY {order_by} LIMIT ? OFFSET ?"
    )
    # SQLite reads -1 as no limit.
    sql_limit = -1 if limit is None else min(limit, _MAX_INTEGER)
    return query, values + order_values + [sql_limit, min(offset, _MAX_INTEGER)]


def _build_run(row: sqlite3.Row, tables: Mapping[str, Rows], tasks: Sequence[Task]) -> Run:
    """Return a run.

    Args:
        row: the row of the table `runs`.
        tables: the rows of the run in each other table.
        tasks: the tasks of the run.
    """
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
        labels={label["name"]: label["value"] for label in tables["labels"]},
        state=RunState(row["state"]),
        created_at=row["created_at"],
        started_at=row["started_at"],
        ended_at=row["ended_at"],
        params={param["name"]: json.loads(param["value"]) for param in tables["params"]},
        outputs=json.loads(row["outputs"]),
        metrics=tuple(map(read_metric, tables["metrics"])),
        artifacts=tuple(map(read_artifact, tables.get("artifacts", ()))),
        tasks=tuple(tasks),
        error=read_error(row["error"]),
        tags=tuple(tag["tag"] for tag in tables["tags"]),
        note=tables["notes"][0]["note"] if tables["notes"] else "",
    )
