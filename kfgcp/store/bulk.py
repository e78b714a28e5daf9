"""Read many runs at once, column by column, for frames and exports.

Creating a `Run` for each row would take several times as long.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final

from kfgcp.model import seconds_between

# Up to this many runs are looked up by their ids. For more runs it is faster to read all rows of a
# table in its own order.
MAX_RUNS_BY_ID: Final = 20_000

# Ids in one statement. SQLite before 3.32 accepts only 999 placeholders.
_IDS_PER_STATEMENT: Final = 500

# Columns of the table `runs` that need no conversion, without `run_id`.
_PLAIN_FACTS: Final[tuple[str, ...]] = (
    "name",
    "pipeline",
    "version",
    "experiment",
    "env",
    "backend",
    "state",
    "created_at",
    "started_at",
    "ended_at",
)

# Columns that are computed, or that other tables have.
_OTHER_FACTS: Final[tuple[str, ...]] = ("seconds", "error", "tags", "note")

FACTS: Final = ("run_id",) + _PLAIN_FACTS + _OTHER_FACTS
"""The columns of `Flat.facts`, which every table of runs has."""

TIDY: Final[Mapping[str, Sequence[str]]] = {
    "metrics": ("run_id", "task", "artifact", "name", "value"),
    "tasks": (
        "run_id",
        "path",
        "kind",
        "state",
        "attempts",
        "cache",
        "started_at",
        "ended_at",
        "inputs",
        "outputs",
        "error",
    ),
    "artifacts": ("run_id", "task", "name", "type", "uri", "metadata"),
}
"""Table -> the columns that `tidy` returns."""

Indexes = Mapping[str, int]
"""Id of a run -> the index of its values in the columns."""


@dataclass(frozen=True, slots=True)
class Flat:
    """Runs as columns.

    Each column is a list with an item for each run: its value, None when it has none.

    Attributes:
        facts: the columns of `FACTS`. `seconds` is the duration, `error` the message of the error,
            and `tags` has the tags joined by blanks.
        labels: the columns of labels by the name of the label.
        params: the columns of parameters by the name of the parameter.
        metrics: the columns of metrics by (task, artifact, name).
    """

    facts: Mapping[str, list[Any]]
    labels: Mapping[str, list[Any]]
    params: Mapping[str, list[Any]]
    metrics: Mapping[tuple[str, str, str], list[Any]]


def flat(db: sqlite3.Connection, query: str, values: Sequence[Any]) -> Flat:
    """Return runs as columns.

    Args:
        db: the connection, in a transaction, because several statements must see the same runs.
        query: selects the ids of the runs. The columns are in the order of its result.
        values: the values for the placeholders of the query.
    """
    indexes = _read_indexes(db, query, values)
    # `|| ''` makes a text of the JSON, which can be a key of a JSON object.
    metric_key = "json_array(task, artifact, name) || ''"
    metrics = {}
    for key, column in _pivot(db, "metrics", metric_key, "value", indexes).items():
        task, artifact, name = json.loads(key)
        metrics[task, artifact, name] = column
    return Flat(
        facts=_read_facts(db, indexes),
        labels=_pivot(db, "labels", "name", "json_quote(value)", indexes),
        params=_pivot(db, "params", "name", "value", indexes),
        metrics=metrics,
    )


def tidy(
    db: sqlite3.Connection, table: str, query: str, values: Sequence[Any]
) -> dict[str, list[Any]]:
    """Return the metrics, tasks or artifacts of runs as columns, with an item for each row.

    Args:
        db: the connection, in a transaction.
        table: a key of `TIDY`, which lists the columns. JSON in the table stays text.
        query: selects the ids of the runs. The rows are in the order of its result.
        values: the values for the placeholders of the query.
    """
    indexes = _read_indexes(db, query, values)
    names = TIDY[table][1:]
    all_rows = _read_rows(db, table, f"seq, {', '.join(names)}", indexes)
    rows = [row for row in all_rows if row[0] in indexes]
    rows.sort(key=lambda row: (indexes[row[0]], row[1]))
    columns: dict[str, list[Any]] = {"run_id": [row[0] for row in rows]}
    # A row has the id of the run and `seq` before the columns.
    for position, name in enumerate(names, 2):
        columns[name] = [row[position] for row in rows]
    if table == "metrics":
        # Numbers are JSON in the table. To parse all of them in one call is much faster.
        columns["value"] = json.loads(f"[{','.join(columns['value'])}]")
    return columns


def _read_indexes(db: sqlite3.Connection, query: str, values: Sequence[Any]) -> dict[str, int]:
    return {row[0]: index for index, row in enumerate(db.execute(query, values))}


def _read_rows(
    db: sqlite3.Connection, table: str, columns: str, indexes: Indexes, group_by: str = ""
) -> Iterator[tuple[Any, ...]]:
    """Return rows of runs, with the id of the run first.

    For more than `MAX_RUNS_BY_ID` runs, the rows of all other runs are returned too.
    """
    cursor = db.cursor()
    # Plain tuples take half of the time of `sqlite3.Row` (measured with a million rows).
    cursor.row_factory = None
    query = f"SELECT run_id, {columns} FROM {table}"  # noqa: S608
    if len(indexes) > MAX_RUNS_BY_ID:
        return iter(cursor.execute(f"{query} {group_by}"))
    ids = list(indexes)
    batches = []
    for start in range(0, len(ids), _IDS_PER_STATEMENT):
        batch = ids[start : start + _IDS_PER_STATEMENT]
        placeholders = ", ".join("?" * len(batch))
        statement = f"{query} WHERE run_id IN ({placeholders}) {group_by}"
        batches.append((statement, batch))
    # The generator runs each statement only after the rows of the one before, because all
    # statements share the cursor.
    return chain.from_iterable(cursor.execute(statement, batch) for statement, batch in batches)


def _pivot(
    db: sqlite3.Connection, table: str, key: str, value: str, indexes: Indexes
) -> dict[str, list[Any]]:
    """Return a table of names and values with a column for each name.

    SQLite builds one JSON object for each run, and all objects are parsed as one array. Reading
    each row in Python takes twice as long.

    Args:
        db: the connection.
        table: the table.
        key: an SQL expression for the name, which is a text.
        value: an SQL expression for the value as JSON.
        indexes: the runs.
    """
    objects = ["{}"] * len(indexes)
    object_sql = f"'{{' || group_concat(json_quote({key}) || ':' || {value}) || '}}'"
    for run_id, json_object in _read_rows(db, table, object_sql, indexes, "GROUP BY run_id"):
        if run_id in indexes:
            objects[indexes[run_id]] = json_object
    values_of_runs: list[dict[str, Any]] = json.loads(f"[{','.join(objects)}]")
    # Name -> the index of the first run that has it.
    first_indexes: dict[str, int] = {}
    for index, run_values in enumerate(values_of_runs):
        # Most runs have only names that earlier runs have, and this test is fast.
        if run_values.keys() - first_indexes.keys():
            for name in run_values:
                first_indexes.setdefault(name, index)
    if table == "labels":
        # The labels of a run have no order.
        names = sorted(first_indexes, key=first_indexes.__getitem__)
    else:
        names = _order_names(db, table, key, list(indexes), first_indexes)
    columns = {}
    for name in names:
        columns[name] = [run_values.get(name) for run_values in values_of_runs]
    return columns


def _order_names(
    db: sqlite3.Connection,
    table: str,
    key: str,
    ids: Sequence[str],
    first_indexes: Mapping[str, int],
) -> list[str]:
    """Return names in the order of the first runs that have them, then in the order of the run.

    The order within a run is the column `seq`. `group_concat` does not keep this order, so this
    function reads the rows of the few first runs again.

    Args:
        db: the connection.
        table: the table.
        key: an SQL expression for the name.
        ids: the ids of all runs, in the order of the columns.
        first_indexes: the index of the first run that has a name, by name.
    """
    order: dict[str, int] = {}
    query = f"SELECT {key} FROM {table} WHERE run_id = ? ORDER BY seq"  # noqa: S608
    for index in sorted(set(first_indexes.values())):
        for (name,) in db.execute(query, (ids[index],)):
            order.setdefault(name, len(order))
    return sorted(first_indexes, key=lambda name: order.get(name, len(order)))


def _read_facts(db: sqlite3.Connection, indexes: Indexes) -> dict[str, list[Any]]:
    facts: dict[str, list[Any]] = {name: [None] * len(indexes) for name in FACTS}
    facts["run_id"] = list(indexes)
    plain_columns = [facts[name] for name in _PLAIN_FACTS]
    # The rows have the id first, then the plain values, and the error last.
    for row in _read_rows(db, "runs", f"{', '.join(_PLAIN_FACTS)}, error", indexes):
        index = indexes.get(row[0])
        if index is None:
            continue
        for column, value in zip(plain_columns, row[1:-1], strict=True):
            column[index] = value
        error = row[-1]
        if error is not None:
            facts["error"][index] = json.loads(error)["message"]
    facts["seconds"] = list(map(seconds_between, facts["started_at"], facts["ended_at"]))
    for run_id, note in _read_rows(db, "notes", "note", indexes):
        if run_id in indexes:
            facts["note"][indexes[run_id]] = note
    for run_id, tag in _read_rows(db, "tags", "tag", indexes):
        if run_id in indexes:
            index = indexes[run_id]
            tags = facts["tags"][index]
            facts["tags"][index] = f"{tags} {tag}" if tags else tag
    return facts
