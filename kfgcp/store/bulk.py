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

# Up to this many runs are looked up by their ids. For more runs, whole tables are read in their own
# order, which is faster.
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

Places = Mapping[str, int]
"""Id of a run -> its place in the columns."""


@dataclass(frozen=True, slots=True)
class Flat:
    """Runs as columns.

    Each column is a list with a place for each run, None where the run has no value.

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
        db: the connection, in a transaction: several statements must see the same runs.
        query: selects the ids of the runs. The columns have its order.
        values: the values for the placeholders of the query.
    """
    places = _read_places(db, query, values)
    # `|| ''` makes a text of the JSON, which can be a key of a JSON object.
    metric_key = "json_array(task, artifact, name) || ''"
    metrics = {}
    for key, column in _pivot(db, "metrics", metric_key, "value", places).items():
        task, artifact, name = json.loads(key)
        metrics[task, artifact, name] = column
    return Flat(
        facts=_read_facts(db, places),
        labels=_pivot(db, "labels", "name", "json_quote(value)", places),
        params=_pivot(db, "params", "name", "value", places),
        metrics=metrics,
    )


def tidy(
    db: sqlite3.Connection, table: str, query: str, values: Sequence[Any]
) -> dict[str, list[Any]]:
    """Return the metrics, tasks or artifacts of runs as columns, with a place for each row.

    Args:
        db: the connection, in a transaction.
        table: a key of `TIDY`, which has the columns. JSON in the table stays text.
        query: selects the ids of the runs. The rows have its order.
        values: the values for the placeholders of the query.
    """
    places = _read_places(db, query, values)
    names = TIDY[table][1:]
    all_rows = _read_rows(db, table, f"seq, {', '.join(names)}", places)
    rows = [row for row in all_rows if row[0] in places]
    rows.sort(key=lambda row: (places[row[0]], row[1]))
    columns: dict[str, list[Any]] = {"run_id": [row[0] for row in rows]}
    for position, name in enumerate(names, 2):
        columns[name] = [row[position] for row in rows]
    if table == "metrics":
        # Numbers are JSON in the table. One call of the parser for all is much faster.
        columns["value"] = json.loads(f"[{','.join(columns['value'])}]")
    return columns


def _read_places(db: sqlite3.Connection, query: str, values: Sequence[Any]) -> dict[str, int]:
    return {row[0]: place for place, row in enumerate(db.execute(query, values))}


def _read_rows(
    db: sqlite3.Connection, table: str, columns: str, places: Places, group: str = ""
) -> Iterator[tuple[Any, ...]]:
    """Return rows of runs, with the id of the run first.

    For more than `MAX_RUNS_BY_ID` runs, the rows of all other runs are returned too.
    """
    cursor = db.cursor()
    # Plain tuples take half of the time of `sqlite3.Row` (measured with a million rows).
    cursor.row_factory = None
    query = f"SELECT run_id, {columns} FROM {table}"  # noqa: S608
    if len(places) > MAX_RUNS_BY_ID:
        return iter(cursor.execute(f"{query} {group}"))
    ids = list(places)
    batches = []
    for start in range(0, len(ids), _IDS_PER_STATEMENT):
        batch = ids[start : start + _IDS_PER_STATEMENT]
        placeholders = ", ".join("?" * len(batch))
        statement = f"{query} WHERE run_id IN ({placeholders}) {group}"
        batches.append((statement, batch))
    # Lazily, one after the other: all statements share the cursor.
    return chain.from_iterable(cursor.execute(statement, batch) for statement, batch in batches)


def _pivot(
    db: sqlite3.Connection, table: str, key: str, value: str, places: Places
) -> dict[str, list[Any]]:
    """Return a table of names and values with a column for each name.

    SQLite builds one JSON object for each run, and all objects are parsed as one array. Reading
    each row in Python takes twice as long.

    Args:
        db: the connection.
        table: the table.
        key: an SQL expression for the name, which is a text.
        value: an SQL expression for the value as JSON.
        places: the runs.
    """
    texts = ["{}"] * len(places)
    pairs = f"'{{' || group_concat(json_quote({key}) || ':' || {value}) || '}}'"
    for run_id, text in _read_rows(db, table, pairs, places, "GROUP BY run_id"):
        if run_id in places:
            texts[places[run_id]] = text
    values_by_run: list[dict[str, Any]] = json.loads(f"[{','.join(texts)}]")
    first_places: dict[str, int] = {}
    for place, values in enumerate(values_by_run):
        # Most runs have only names that earlier runs have, and this test is fast.
        if values.keys() - first_places.keys():
            for name in values:
                first_places.setdefault(name, place)
    if table == "labels":
        # Labels have no order of their own.
        names = sorted(first_places, key=first_places.__getitem__)
    else:
        names = _order_names(db, table, key, list(places), first_places)
    columns = {}
    for name in names:
        columns[name] = [values.get(name) for values in values_by_run]
    return columns


def _order_names(
    db: sqlite3.Connection,
    table: str,
    key: str,
    ids: Sequence[str],
    first_places: Mapping[str, int],
) -> list[str]:
    """Return names in the order of the first runs that have them, and within a run in its order.

    `group_concat` has no order, so the rows of these few runs are read again.
    """
    order: dict[str, int] = {}
    query = f"SELECT {key} FROM {table} WHERE run_id = ? ORDER BY seq"  # noqa: S608
    for place in sorted(set(first_places.values())):
        for (name,) in db.execute(query, (ids[place],)):
            order.setdefault(name, len(order))
    return sorted(first_places, key=lambda name: order.get(name, len(order)))


def _read_facts(db: sqlite3.Connection, places: Places) -> dict[str, list[Any]]:
    facts: dict[str, list[Any]] = {name: [None] * len(places) for name in FACTS}
    facts["run_id"] = list(places)
    plain_columns = [facts[name] for name in _PLAIN_FACTS]
    # The rows have the id first, then the plain values, and the error last.
    for row in _read_rows(db, "runs", f"{', '.join(_PLAIN_FACTS)}, error", places):
        place = places.get(row[0])
        if place is None:
            continue
        for column, value in zip(plain_columns, row[1:-1], strict=True):
            column[place] = value
        error = row[-1]
        if error is not None:
            facts["error"][place] = json.loads(error)["message"]
    facts["seconds"] = list(map(seconds_between, facts["started_at"], facts["ended_at"]))
    for run_id, note in _read_rows(db, "notes", "note", places):
        if run_id in places:
            facts["note"][places[run_id]] = note
    for run_id, tag in _read_rows(db, "tags", "tag", places):
        if run_id in places:
            place = places[run_id]
            tags = facts["tags"][place]
            facts["tags"][place] = f"{tags} {tag}" if tags else tag
    return facts
